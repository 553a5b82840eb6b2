"""MyRegularizer keeps regkit's promises, and computes what its docstring says."""

import numpy as np
from my_regularizer import MyRegularizer

import regkit
import regkit.testing


def twin(regularizer, layers, outputs):
    """The penalty in NumPy, from the formula; `selected` gives the parameters that the pattern means."""
    return np.mean([np.mean(w**2) for w in regkit.testing.selected(regularizer, layers).values()])


test_promises = regkit.testing.pytest_checks("my_regularizer", twin=twin)


def test_an_example_worked_by_hand():
    layers = [regkit.Layer("hid1", {"hid1.w": np.array([[1.0, -3.0]]), "hid1.b": np.array([2.0])})]
    assert MyRegularizer().loss(layers) == ((1 + 9) / 2 + 4) / 2
