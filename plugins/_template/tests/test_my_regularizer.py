"""MyRegularizer keeps regkit's promises, and computes what its docstring says."""

import numpy as np
from my_regularizer import MyRegularizer

import regkit.testing


def twin(regularizer, layers, outputs):
    """The penalty in NumPy, from the formula; `selected` gives the outputs that the pattern means."""
    return np.mean([np.mean(z**2) for z in regkit.testing.selected(regularizer, layers, outputs).values()])


test_promises = regkit.testing.pytest_checks("my_regularizer", twin=twin)


def test_an_example_worked_by_hand():
    outputs = {"hid1": np.array([1.0, -3.0]), "hid2": np.array([[2.0]])}
    assert MyRegularizer("hid*").loss([], outputs) == ((1 + 9) / 2 + 4) / 2
