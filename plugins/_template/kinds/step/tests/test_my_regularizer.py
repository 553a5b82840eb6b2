"""MyRegularizer keeps regkit's promises, and changes parameters as its docstring says."""

import numpy as np
from my_regularizer import MyRegularizer

import regkit
import regkit.testing

test_promises = regkit.testing.pytest_checks("my_regularizer")


def test_an_example_worked_by_hand():
    regs = regkit.build(my_regularizer=MyRegularizer("w", weight=2))
    after = regs.after_step({"w": np.array([3.0, -6.0]), "b": np.array([1.0])}, rate=0.25)
    assert {name: value.tolist() for name, value in after.items()} == {"w": [3 / 1.5, -6 / 1.5], "b": [1]}
