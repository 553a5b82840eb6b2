"""MyRegularizer keeps regkit's promises, and changes outputs as its docstring says."""

import numpy as np
from my_regularizer import MyRegularizer

import regkit.testing

test_promises = regkit.testing.pytest_checks("my_regularizer")


def test_an_example_worked_by_hand():
    outputs = {"hid1": np.array([3.0, -6.0])}
    MyRegularizer("hid*", weight=2).modify_graph(outputs, [])
    assert {name: value.tolist() for name, value in outputs.items()} == {
        "hid1": [3 / (1 + 2), -6 / (1 + 2)],
        "hid1-original": [3, -6],
    }
