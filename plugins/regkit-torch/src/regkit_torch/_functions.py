"""Functions of expressions under NumPy's names, which `regkit.graph.functions` returns for tensors."""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ._arrays import Expression, arithmetic, call, created, torch_dtype

if TYPE_CHECKING:
    from collections.abc import Callable

#: NumPy's names for functions of torch that take one array.
OF_ONE = {
    **{name: name for name in ("exp", "expm1", "log", "log1p", "log2", "log10", "sqrt", "square", "sign", "floor")},
    **{name: name for name in ("ceil", "round", "sin", "cos", "tan", "sinh", "cosh", "tanh", "isnan", "isinf")},
    **{name: name for name in ("isfinite", "reciprocal", "logical_not", "positive", "exp2", "sigmoid", "trace")},
    **{name: name for name in ("arcsin", "arccos", "arctan", "arcsinh", "arccosh", "arctanh", "tril", "triu", "diag")},
    **{name: name for name in ("abs", "absolute", "negative", "fliplr", "flipud", "relu", "softmax")},
    "invert": "bitwise_not",
}

#: Those that take two arrays, or an array and a number.
OF_TWO = {
    **{name: name for name in ("maximum", "minimum", "arctan2", "logaddexp", "logical_and", "logical_or", "hypot")},
    **{name: name for name in ("logical_xor", "matmul", "outer", "fmod", "floor_divide", "remainder", "isclose")},
    "mod": "remainder",
}

#: Operators, which treat Python's numbers and NumPy's as those of expressions do.
OPERATORS = {
    **{name: name for name in ("add", "sub", "mul", "truediv", "pow", "lt", "le", "gt", "ge", "eq", "ne")},
    "subtract": "sub",
    "multiply": "mul",
    "divide": "truediv",
    "true_divide": "truediv",
    "power": "pow",
    "less": "lt",
    "less_equal": "le",
    "greater": "gt",
    "greater_equal": "ge",
    "equal": "eq",
    "not_equal": "ne",
}

#: Those that are methods of expressions.
METHODS = ("sum", "mean", "var", "std", "max", "min", "amax", "amin", "any", "all", "prod", "argmax", "argmin")
MORE_METHODS = ("cumsum", "reshape", "ravel", "transpose", "swapaxes", "squeeze", "dot", "clip", "copy")


class Functions:
    """NumPy's functions, for expressions of torch."""

    pi = math.pi
    e = math.e
    inf = math.inf
    newaxis = None

    def __getattr__(self, name: str) -> Callable[..., Any]:
        function = _named(name)
        if function is None:
            raise AttributeError(
                f"regkit-torch has no function {name!r} of NumPy's. It has: {', '.join(sorted(self.__dir__()))}"
            )
        function.__name__ = name
        self.__dict__[name] = function
        return function

    def __dir__(self) -> list[str]:
        own = [name for name in vars(Functions) if not name.startswith("_")]
        return [*own, *OF_ONE, *OF_TWO, *OPERATORS, *METHODS, *MORE_METHODS]

    # New arrays

    def arange(self, *bounds: Any, dtype: Any = None) -> Expression:
        """Return numbers in a row, from 0 or a start up to an end."""
        return created(torch.arange, tuple(map(_number, bounds)), _typed(dtype))

    def eye(self, rows: Any, columns: Any = None, dtype: Any = None) -> Expression:
        """Return a matrix with ones on its diagonal."""
        return created(torch.eye, (int(rows), int(rows if columns is None else columns)), _typed(dtype))

    def zeros(self, shape: Any, dtype: Any = None) -> Expression:
        """Return an array of zeros."""
        return created(torch.zeros, (_shape(shape),), _typed(dtype))

    def ones(self, shape: Any, dtype: Any = None) -> Expression:
        """Return an array of ones."""
        return created(torch.ones, (_shape(shape),), _typed(dtype))

    def full(self, shape: Any, fill_value: Any, dtype: Any = None) -> Expression:
        """Return an array of one number."""
        return created(torch.full, (_shape(shape), _number(fill_value)), _typed(dtype))

    def linspace(self, start: float, stop: float, num: int = 50, dtype: Any = None) -> Expression:
        """Return numbers in a row at equal distances, from a start to an end."""
        return created(torch.linspace, (start, stop, num), _typed(dtype))

    def asarray(self, value: Any, dtype: Any = None) -> Expression:
        """Return an expression of numbers, or the expression that it is given."""
        if not isinstance(value, Expression):
            value = Expression(torch.as_tensor(value))
        return value if dtype is None else value.astype(dtype)

    array = asarray

    def zeros_like(self, expression: Any, dtype: Any = None) -> Expression:
        """Return zeros of the shape and dtype of an expression."""
        return call(torch.zeros_like, expression, **_typed(dtype))

    def ones_like(self, expression: Any, dtype: Any = None) -> Expression:
        """Return ones of the shape and dtype of an expression."""
        return call(torch.ones_like, expression, **_typed(dtype))

    def full_like(self, expression: Any, fill_value: Any, dtype: Any = None) -> Expression:
        """Return one number in the shape and dtype of an expression."""
        return call(torch.full_like, expression, _number(fill_value), **_typed(dtype))

    # Arrays joined, or in another form

    def concatenate(self, arrays: Any, axis: int = 0) -> Expression:
        """Join arrays along an axis."""
        return call(torch.cat, list(arrays), dim=axis)

    def stack(self, arrays: Any, axis: int = 0) -> Expression:
        """Join arrays along a new axis."""
        return call(torch.stack, list(arrays), dim=axis)

    def expand_dims(self, expression: Any, axis: int) -> Expression:
        """Return an expression with a new axis."""
        return call(torch.unsqueeze, expression, axis)

    def moveaxis(self, expression: Any, source: Any, destination: Any) -> Expression:
        """Return an expression with axes moved."""
        return call(torch.moveaxis, expression, source, destination)

    def broadcast_to(self, expression: Any, shape: Any) -> Expression:
        """Repeat an expression up to a shape."""
        return call(torch.broadcast_to, expression, _shape(shape))

    def flip(self, expression: Any, axis: Any = None) -> Expression:
        """Reverse the order of elements along axes."""
        axes = range(expression.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
        return call(torch.flip, expression, tuple(axes))

    def roll(self, expression: Any, shift: Any, axis: Any = None) -> Expression:
        """Move elements along axes, those at the end to the beginning."""
        return call(torch.roll, expression, shift, axis)

    def repeat(self, expression: Any, repeats: int, axis: int | None = None) -> Expression:
        """Repeat each element."""
        return call(torch.repeat_interleave, expression, repeats, dim=axis)

    def tile(self, expression: Any, reps: Any) -> Expression:
        """Repeat the whole array."""
        return call(torch.tile, expression, _shape(reps))

    def diagonal(self, expression: Any, offset: int = 0) -> Expression:
        """Return the diagonal of a matrix."""
        return call(torch.diagonal, expression, offset)

    def where(self, condition: Any, this: Any, that: Any) -> Expression:
        """Return elements of `this` where a condition is true, and of `that` elsewhere."""
        return call(torch.where, condition, _like(this, that), _like(that, this))

    def tensordot(self, first: Any, second: Any, axes: Any = 2) -> Expression:
        """Return the sum of products over axes of both."""
        if not isinstance(axes, int):
            axes = [[one] if isinstance(one, int) else list(one) for one in axes]
        return call(torch.tensordot, first, second, dims=axes)

    def einsum(self, subscripts: str, *operands: Any) -> Expression:
        """Return the sum of products that subscripts give, as in ``"ij,jk->ik"``."""
        return call(torch.einsum, subscripts, *operands)

    def sort(self, expression: Any, axis: int = -1) -> Expression:
        """Return the elements along an axis in order."""
        return call(sorted_along, expression, axis)


def _named(name: str) -> Callable[..., Any] | None:
    if name in OF_ONE:
        function = getattr(torch, OF_ONE[name])
        return _or_of_numbers(name, lambda expression, **keywords: call(function, expression, **keywords))
    if name in OF_TWO:
        function = getattr(torch, OF_TWO[name])
        return _or_of_numbers(name, lambda first, second: call(function, _like(first, second), _like(second, first)))
    if name in OPERATORS:
        function = getattr(operator, OPERATORS[name])
        return _or_of_numbers(name, lambda first, second: arithmetic(function, first, second))
    if name in METHODS or name in MORE_METHODS:
        method = {"amax": "max", "amin": "min"}.get(name, name)
        return lambda expression, *arguments, **keywords: getattr(expression, method)(*arguments, **keywords)
    return None


def _or_of_numbers(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that uses NumPy for numbers: lengths are numbers here, and expressions in a graph library."""

    def either(*arguments: Any, **keywords: Any) -> Any:
        if not any(isinstance(argument, (Expression, torch.Tensor)) for argument in arguments):
            return getattr(np, name)(*arguments, **keywords)
        return function(*arguments, **keywords)

    return either


def _like(value: Any, other: Any) -> Any:
    """A number as a tensor in the dtype of the other argument."""
    if isinstance(value, Expression) or not isinstance(other, Expression):
        return value
    number = value.item() if isinstance(value, (np.ndarray, np.generic)) and not value.ndim else value
    if isinstance(number, (int, float)):
        return created(torch.scalar_tensor, (number,), _typed(other.dtype))
    return value


def _number(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _shape(shape: Any) -> tuple[int, ...]:
    return tuple(map(int, shape)) if isinstance(shape, (tuple, list)) else (int(shape),)


def _typed(dtype: Any) -> dict[str, Any]:
    return {} if dtype is None else {"dtype": torch_dtype(dtype)}


def sorted_along(tensor: torch.Tensor, axis: int) -> torch.Tensor:
    """Return the elements along an axis in order."""
    return torch.sort(tensor, dim=axis).values


FUNCTIONS = Functions()
