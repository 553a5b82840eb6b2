"""Functions of expressions under NumPy's names: those of `tf.experimental.numpy`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from ._expression import Expression, alike, applied, bare

if TYPE_CHECKING:
    from collections.abc import Callable

tnp = tf.experimental.numpy

#: Functions of two, whose operands are brought to one dtype.
OF_TWO = {"maximum": tf.maximum, "minimum": tf.minimum, "matmul": tnp.matmul, "power": tf.pow, "add": tf.add}


class Functions:
    """NumPy's functions, of expressions of TensorFlow."""

    pi, e, inf, newaxis = math.pi, math.e, math.inf, None

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in OF_TWO:
            return lambda first, second: applied(OF_TWO[name], *alike(first, second))
        if callable(getattr(Expression, name, None)):
            return lambda expression, *arguments, **keywords: getattr(as_expression(expression), name)(
                *arguments, **keywords
            )
        function = getattr(tnp, name)
        return lambda *arguments, **keywords: applied(function, *arguments, **keywords)

    def where(self, condition: Any, this: Any, that: Any) -> Expression:
        """Return elements of `this` where a condition is true, and of `that` elsewhere."""
        return applied(tf.where, condition, *alike(this, that))

    def dot(self, first: Any, second: Any) -> Expression:
        """Return the product of two arrays."""
        return as_expression(first).dot(second)

    def abs(self, expression: Any) -> Expression:
        """Return absolute values."""
        return abs(as_expression(expression))

    def arange(self, *bounds: Any, dtype: Any = None) -> Expression:
        """Return numbers in a row, from 0 or a start up to an end."""
        return Expression(tf.range(*(tf.cast(bare(bound), dtype or tf.int64) for bound in bounds)))

    def eye(self, rows: Any, columns: Any = None, dtype: str = "float64") -> Expression:
        """Return a matrix with ones on its diagonal."""
        return Expression(tf.eye(bare(rows), bare(columns), dtype=dtype))

    def concatenate(self, arrays: Any, axis: int = 0) -> Expression:
        """Join arrays along an axis."""
        return Expression(tf.concat(bare(list(arrays)), axis))

    def stack(self, arrays: Any, axis: int = 0) -> Expression:
        """Join arrays along a new axis."""
        return Expression(tf.stack(bare(list(arrays)), axis))


def as_expression(value: Any) -> Expression:
    """Return an expression, made of an array if it is none."""
    return value if isinstance(value, Expression) else Expression(value)


FUNCTIONS = Functions()
