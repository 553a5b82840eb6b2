"""A library of arrays with no operators and no methods: what can be done with them is in functions."""

import numpy as np


class Array:
    def __init__(self, values):
        self.values = np.asarray(values)


def add(one, other):
    return Array(one.values + other.values)
