"""A tensor as hooks see it: with the operators and methods of NumPy's arrays."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Callable

tnp = tf.experimental.numpy


class Expression:
    """A tensor with the operators and methods of NumPy's arrays.

    A number of Python, or an array of NumPy without axes, takes part as NumPy's scalars do: the tensor keeps its dtype,
    unless the number has a wider one. Lengths of axes that are not known while a function is traced are expressions.

    Attributes
    ----------
    tensor : tf.Tensor
    """

    regkit_engine: Any = None  # set where the engine is defined
    __array_ufunc__ = None  # NumPy leaves operators to this class
    __hash__ = object.__hash__

    def __init__(self, tensor: Any) -> None:
        self.tensor = tf.convert_to_tensor(tensor)

    def __repr__(self) -> str:
        return f"Expression({self.tensor!r})"

    @property
    def dtype(self) -> str:
        """NumPy's name of the dtype."""
        return str(self.tensor.dtype.name)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.tensor.shape)

    @property
    def shape(self) -> tuple[Any, ...]:
        """The lengths of the axes."""
        known = self.tensor.shape.as_list()
        if None not in known:
            return tuple(known)
        lengths = tf.shape(self.tensor, tf.int64)
        return tuple(Expression(lengths[i]) if length is None else length for i, length in enumerate(known))

    @property
    def size(self) -> Any:
        """The number of elements."""
        known = self.tensor.shape.num_elements()
        return Expression(tf.size(self.tensor, tf.int64)) if known is None else known

    def astype(self, dtype: Any) -> Expression:
        """Return it in another dtype."""
        return Expression(tf.cast(self.tensor, tf.as_dtype(np.dtype(dtype) if not isinstance(dtype, str) else dtype)))

    def __getitem__(self, index: Any) -> Expression:
        if isinstance(index, Expression) and index.ndim:
            return applied(tf.boolean_mask if index.dtype == "bool" else tf.gather, self, index)
        return applied(operator.getitem, self, index)

    def __neg__(self) -> Expression:
        return applied(tf.negative, self)

    def __pos__(self) -> Expression:
        return self

    def __abs__(self) -> Expression:
        return applied(tf.abs, self)

    def __invert__(self) -> Expression:
        return applied(tf.logical_not, self)

    def __matmul__(self, other: Any) -> Expression:
        return applied(tnp.matmul, *alike(self, other))

    def __rmatmul__(self, other: Any) -> Expression:
        return applied(tnp.matmul, *alike(other, self))

    # Methods

    @property
    def T(self) -> Expression:  # noqa: N802 - NumPy's name
        """The transpose: the axes in reverse."""
        return applied(tf.transpose, self)

    def sum(self, axis: Any = None, keepdims: bool = False) -> Expression:
        """Return the sum over axes."""
        return applied(tf.reduce_sum, counted(self), axis, keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> Expression:
        """Return the mean over axes."""
        return applied(tf.reduce_mean, floating(self), axis, keepdims)

    def var(self, axis: Any = None, keepdims: bool = False) -> Expression:
        """Return the variance over axes."""
        return applied(tf.math.reduce_variance, floating(self), axis, keepdims)

    def std(self, axis: Any = None, keepdims: bool = False) -> Expression:
        """Return the standard deviation over axes."""
        return applied(tf.math.reduce_std, floating(self), axis, keepdims)

    def max(self, axis: Any = None, keepdims: bool = False) -> Expression:
        """Return the maximum over axes."""
        return applied(tf.reduce_max, self, axis, keepdims)

    def min(self, axis: Any = None, keepdims: bool = False) -> Expression:
        """Return the minimum over axes."""
        return applied(tf.reduce_min, self, axis, keepdims)

    def prod(self, axis: Any = None, keepdims: bool = False) -> Expression:
        """Return the product over axes."""
        return applied(tf.reduce_prod, counted(self), axis, keepdims)

    def any(self, axis: Any = None, keepdims: bool = False) -> Expression:
        """Return whether any element is not zero, over axes."""
        return applied(tf.reduce_any, self.astype("bool"), axis, keepdims)

    def all(self, axis: Any = None, keepdims: bool = False) -> Expression:
        """Return whether all elements are not zero, over axes."""
        return applied(tf.reduce_all, self.astype("bool"), axis, keepdims)

    def argmax(self, axis: int | None = None) -> Expression:
        """Return the place of the maximum along an axis; of all elements in a row without an axis."""
        return applied(tf.argmax, self.flatten() if axis is None else self, axis or 0)

    def argmin(self, axis: int | None = None) -> Expression:
        """Return the place of the minimum along an axis; of all elements in a row without an axis."""
        return applied(tf.argmin, self.flatten() if axis is None else self, axis or 0)

    def argsort(self, axis: int = -1, **_: Any) -> Expression:
        """Return the order that sorts an axis; of equal elements the first comes first."""
        return applied(tf.argsort, self, axis, "ASCENDING", True)

    def cumsum(self, axis: int) -> Expression:
        """Return the sums up to each element of an axis."""
        return applied(tf.cumsum, self, axis)

    def reshape(self, *shape: Any) -> Expression:
        """Return the elements in another shape."""
        lengths = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
        if any(isinstance(length, Expression) for length in lengths):
            lengths = tf.stack([tf.cast(bare(length), tf.int64) for length in lengths])
        return applied(tf.reshape, self, lengths)

    def flatten(self) -> Expression:
        """Return all elements in a row."""
        return self.reshape(-1)

    ravel = flatten

    def transpose(self, *axes: Any) -> Expression:
        """Return it with its axes in another order, by default in reverse."""
        order = axes[0] if len(axes) == 1 and isinstance(axes[0], (tuple, list)) else axes
        return applied(tf.transpose, self, order or None)

    def swapaxes(self, first: int, second: int) -> Expression:
        """Return it with two axes exchanged."""
        return applied(tnp.swapaxes, self, first, second)

    def squeeze(self, axis: Any = None) -> Expression:
        """Return it without axes of one element."""
        return applied(tf.squeeze, self, axis)

    def dot(self, other: Any) -> Expression:
        """Return the product that sums over the last axis of this, and over the last but one of the other."""
        first, second = alike(self, other)
        if not first.ndim or not second.ndim:
            return applied(tf.multiply, first, second)
        return applied(tf.tensordot, first, second, [[first.ndim - 1], [max(0, second.ndim - 2)]])

    def clip(self, low: Any = None, high: Any = None) -> Expression:
        """Return it with what is outside of an interval at its ends."""
        found = self if low is None else applied(tf.maximum, *alike(self, low))
        return found if high is None else applied(tf.minimum, *alike(found, high))

    def copy(self) -> Expression:
        """Return a copy."""
        return applied(tf.identity, self)


def _operators() -> None:
    """Give the class the operators of two, which bring both sides to one dtype."""
    functions: dict[str, Callable[..., Any]] = {
        "add": tf.add,
        "sub": tf.subtract,
        "mul": tf.multiply,
        "truediv": tf.truediv,
        "floordiv": tf.math.floordiv,
        "mod": tf.math.floormod,
        "pow": tf.pow,
        "and": tf.logical_and,
        "or": tf.logical_or,
    }
    comparisons = {"lt": tf.less, "le": tf.less_equal, "gt": tf.greater, "ge": tf.greater_equal}
    comparisons.update(eq=tf.equal, ne=tf.not_equal)

    def made(function: Callable[..., Any], reflected: bool) -> Callable[[Any, Any], Any]:
        def method(self: Expression, other: Any) -> Any:
            if other is not None and not isinstance(other, (Expression, tf.Tensor, np.ndarray, np.generic, int, float)):
                return NotImplemented
            pair = alike(other, self) if reflected else alike(self, other)
            return applied(function, *pair)

        return method

    for name, function in functions.items():
        setattr(Expression, f"__{name}__", made(function, False))
        setattr(Expression, f"__r{name}__", made(function, True))
    for name, function in comparisons.items():
        setattr(Expression, f"__{name}__", made(function, False))


def bare(value: Any) -> Any:
    """Return the tensor of an expression; anything else as it is, containers with those of their elements."""
    if isinstance(value, Expression):
        return value.tensor
    if isinstance(value, (tuple, list)):
        return type(value)([bare(one) for one in value])
    if isinstance(value, slice):
        return slice(bare(value.start), bare(value.stop), bare(value.step))
    return value


def applied(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Expression:
    """Apply a function of TensorFlow to expressions."""
    return Expression(function(*map(bare, arguments), **{name: bare(value) for name, value in keywords.items()}))


def alike(first: Any, second: Any) -> tuple[Expression, Expression]:
    """Return two operands in the dtype that NumPy's rules give them; numbers of Python take that of the other."""
    dtypes = [_dtype(one) for one in (first, second) if not _is_number(one)]
    wanted = dtypes[0] if len(set(dtypes)) == 1 else _common(dtypes)
    if not _is_float(wanted) and any(_is_number(one) and isinstance(one, float) for one in (first, second)):
        wanted = "float64"
    return _in_dtype(first, wanted), _in_dtype(second, wanted)


def counted(expression: Expression) -> Expression:
    """Return an expression that can be added up: bools count."""
    return expression.astype("int64") if expression.dtype == "bool" else expression


def floating(expression: Expression) -> Expression:
    """Return an expression of floats."""
    return expression if _is_float(expression.dtype) else expression.astype("float64")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, np.generic)


def _dtype(value: Any) -> str:
    return str(getattr(value.dtype, "name", value.dtype))


def _is_float(dtype: str) -> bool:
    return "float" in dtype


def _common(dtypes: list[str]) -> str:
    found = np.result_type(*(tf.as_dtype(dtype).as_numpy_dtype for dtype in dtypes))
    return str(tf.as_dtype(found).name)


def _in_dtype(value: Any, dtype: str) -> Expression:
    if isinstance(value, Expression):
        return value if value.dtype == dtype else value.astype(dtype)
    return Expression(tf.cast(value, dtype)) if hasattr(value, "dtype") else Expression(tf.constant(value, dtype))


_operators()
