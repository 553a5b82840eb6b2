"""The engine for acme_arrays, as a third party writes one: what hooks see is NumPy's array of the values."""

import numpy as np
from acme_arrays import Array

import regkit
from regkit.graph import Engine


class Expression(np.ndarray):
    """The values of an array, which knows whose they are."""


class Acme(Engine):
    name = "acme"
    wraps = True

    def owns(self, value):
        return isinstance(value, (Array, Expression))

    def wrap(self, array):
        if isinstance(array, Expression):
            return array
        expression = array.values.view(Expression)
        expression.array = array
        return expression

    def unwrap(self, expression):
        array = getattr(expression, "array", None)
        return Array(expression) if array is None else array

    def eager(self, expression):
        return True

    def float_type(self):
        return "float32"

    def functions(self):
        return np

    def constant(self, value, dtype):
        return np.asarray(value, dtype).view(Expression)

    def cast(self, expression, dtype):
        return np.asarray(expression, dtype).view(Expression)

    def held(self, expression):
        return expression

    def gradient(self, cost, wrt):
        raise regkit.GraphError("an acme array has no gradient")

    def jacobian(self, vector, wrt):
        raise regkit.GraphError("an acme array has no jacobian")

    def draw(self, distribution, like, seed):
        return self.constant(getattr(np.random.default_rng(seed), distribution)(size=like.shape), "float64"), []

    def value_of(self, scalar):
        return float(scalar)

    def laboratory(self):
        return Laboratory()


class Laboratory(regkit.testing.Laboratory):
    name = "acme"
    gradients = False
    changes_in_place = True
    tensor_module = np

    def inputs(self, values):
        return {name: value.view(Expression) for name, value in values.items()}

    def compiled(self, build, like, by=(), *, default_mode=False):
        def function(values):
            made = build(self.inputs(values))
            return made if isinstance(made, list) else [made]

        return function

    def values(self, inputs, outputs, values):
        return outputs


Expression.regkit_engine = ENGINE = Acme()
