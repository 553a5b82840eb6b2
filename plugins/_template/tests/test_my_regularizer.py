"""MyRegularizer keeps regkit's promises, and computes what its docstring says."""

import numpy as np
from my_regularizer import MyRegularizer

import regkit.testing


def twin(regularizer, layers, outputs):
    """The penalty in NumPy, from the formula, for the network that the checks use."""
    names = [name for name in outputs if name.startswith("hid2" if regularizer.pattern else "hid")]
    return np.mean([np.mean(outputs[name] ** 2) for name in names])


test_promises = regkit.testing.pytest_checks("my_regularizer", twin=twin)


def test_an_example_worked_by_hand():
    outputs = {"hid1": np.array([1.0, -3.0]), "hid2": np.array([[2.0]])}
    assert MyRegularizer("hid*").loss([], outputs) == ((1 + 9) / 2 + 4) / 2
