"""What hooks do with expressions: the operators and the methods of NumPy's arrays."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from .expression import Expression


class Array:
    """Operators and methods of NumPy's arrays, said with functions of torch.

    What an array is, and how functions are applied to it, is the subclass's to say.
    """

    value: Any

    @property
    def dtype(self) -> str:
        """NumPy's name of the dtype."""
        raise NotImplementedError

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of the axes."""
        raise NotImplementedError

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        raise NotImplementedError

    def astype(self, dtype: Any) -> Any:
        """Return it in another dtype."""
        raise NotImplementedError

    @staticmethod
    def _made_of(value: torch.Tensor) -> Any:
        """Return a tensor as such an array."""
        raise NotImplementedError

    @staticmethod
    def _call(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        """Apply a function of torch."""
        raise NotImplementedError

    @staticmethod
    def _arithmetic(function: Callable[..., Any], first: Any, second: Any) -> Any:
        """Apply an operator."""
        raise NotImplementedError

    # Arithmetic

    def __add__(self, other: Any) -> Any:
        return self._arithmetic(operator.add, self, other)

    def __radd__(self, other: Any) -> Any:
        return self._arithmetic(operator.add, other, self)

    def __sub__(self, other: Any) -> Any:
        return self._arithmetic(operator.sub, _countable(self), _countable(other))

    def __rsub__(self, other: Any) -> Any:
        return self._arithmetic(operator.sub, _countable(other), _countable(self))

    def __mul__(self, other: Any) -> Any:
        return self._arithmetic(operator.mul, self, other)

    def __rmul__(self, other: Any) -> Any:
        return self._arithmetic(operator.mul, other, self)

    def __truediv__(self, other: Any) -> Any:
        return self._arithmetic(operator.truediv, self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return self._arithmetic(operator.truediv, other, self)

    def __floordiv__(self, other: Any) -> Any:
        return self._arithmetic(operator.floordiv, self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return self._arithmetic(operator.floordiv, other, self)

    def __mod__(self, other: Any) -> Any:
        return self._arithmetic(operator.mod, self, other)

    def __rmod__(self, other: Any) -> Any:
        return self._arithmetic(operator.mod, other, self)

    def __pow__(self, other: Any) -> Any:
        return self._arithmetic(operator.pow, self, other)

    def __rpow__(self, other: Any) -> Any:
        return self._arithmetic(operator.pow, other, self)

    def __lt__(self, other: Any) -> Any:
        return self._arithmetic(operator.lt, self, other)

    def __le__(self, other: Any) -> Any:
        return self._arithmetic(operator.le, self, other)

    def __gt__(self, other: Any) -> Any:
        return self._arithmetic(operator.gt, self, other)

    def __ge__(self, other: Any) -> Any:
        return self._arithmetic(operator.ge, self, other)

    def __eq__(self, other: Any) -> Any:
        return self._arithmetic(operator.eq, self, other)

    def __ne__(self, other: Any) -> Any:
        return self._arithmetic(operator.ne, self, other)

    def __and__(self, other: Any) -> Any:
        return self._arithmetic(operator.and_, self, other)

    def __rand__(self, other: Any) -> Any:
        return self._arithmetic(operator.and_, other, self)

    def __or__(self, other: Any) -> Any:
        return self._arithmetic(operator.or_, self, other)

    def __ror__(self, other: Any) -> Any:
        return self._arithmetic(operator.or_, other, self)

    def __invert__(self) -> Expression:
        return self._call(torch.bitwise_not, self)

    def __neg__(self) -> Expression:
        return self._call(torch.neg, self)

    def __pos__(self) -> Any:
        return self

    def __abs__(self) -> Expression:
        return self._call(torch.abs, self)

    def __matmul__(self, other: Any) -> Expression:
        return self._call(torch.matmul, self, other)

    def __rmatmul__(self, other: Any) -> Expression:
        return self._call(torch.matmul, other, self)

    # Methods

    @property
    def T(self) -> Expression:  # noqa: N802 - NumPy's name
        """The transpose: the axes in reverse."""
        return self.transpose()

    def sum(self, axis: Any = None, keepdims: bool = False) -> Expression:
        """Return the sum over axes."""
        return self._reduced(torch.sum, axis, keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> Expression:
        """Return the mean over axes."""
        return _floats(self)._reduced(torch.mean, axis, keepdims)

    def var(self, axis: Any = None, keepdims: bool = False, ddof: int = 0) -> Expression:
        """Return the variance over axes, which is divided by the number of elements less `ddof`."""
        return _floats(self)._reduced(torch.var, axis, keepdims, correction=ddof)

    def std(self, axis: Any = None, keepdims: bool = False, ddof: int = 0) -> Expression:
        """Return the standard deviation over axes."""
        return _floats(self)._reduced(torch.std, axis, keepdims, correction=ddof)

    def max(self, axis: Any = None, keepdims: bool = False) -> Expression:
        """Return the maximum over axes."""
        return self._reduced(torch.amax, axis, keepdims)

    def min(self, axis: Any = None, keepdims: bool = False) -> Expression:
        """Return the minimum over axes."""
        return self._reduced(torch.amin, axis, keepdims)

    def any(self, axis: Any = None, keepdims: bool = False) -> Expression:
        """Tell whether any element is not zero, over axes."""
        return self._reduced(torch.any, axis, keepdims)

    def all(self, axis: Any = None, keepdims: bool = False) -> Expression:
        """Tell whether all elements are not zero, over axes."""
        return self._reduced(torch.all, axis, keepdims)

    def _reduced(self, function: Callable[..., Any], axis: Any, keepdims: bool, **more: Any) -> Any:
        """Reduce axes: all for None, none for an empty tuple, where torch would reduce all."""
        if isinstance(axis, (tuple, list)) and not axis:
            return self
        if axis is None:
            axis = tuple(range(self.ndim))
            if not keepdims and not more:
                return self._call(function, self)
        return self._call(function, self, dim=axis, keepdim=keepdims, **more)

    def prod(self, axis: int | None = None, keepdims: bool = False) -> Expression:
        """Return the product over an axis, or of all elements."""
        return (
            self._call(torch.prod, self) if axis is None else self._call(torch.prod, self, dim=axis, keepdim=keepdims)
        )

    def argmax(self, axis: int | None = None) -> Expression:
        """Return where the maximum is along an axis; of all elements in a row without one."""
        return self._call(torch.argmax, self, dim=axis)

    def argmin(self, axis: int | None = None) -> Expression:
        """Return where the minimum is along an axis; of all elements in a row without one."""
        return self._call(torch.argmin, self, dim=axis)

    def cumsum(self, axis: int) -> Expression:
        """Return the sums up to each element of an axis."""
        return self._call(torch.cumsum, self, dim=axis)

    def reshape(self, *shape: Any) -> Expression:
        """Return the elements in another shape."""
        lengths = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
        return self._call(torch.reshape, self, tuple(int(length) for length in lengths))

    def flatten(self) -> Expression:
        """Return all elements in a row."""
        return self.reshape(-1) if self.size else self.reshape(0)

    ravel = flatten

    def transpose(self, *axes: Any) -> Expression:
        """Return it with its axes in another order, by default in reverse."""
        order = axes[0] if len(axes) == 1 and isinstance(axes[0], (tuple, list)) else axes
        return self._call(torch.permute, self, tuple(order or range(self.ndim)[::-1]))

    def swapaxes(self, first: int, second: int) -> Expression:
        """Return it with two axes exchanged."""
        return self._call(torch.swapaxes, self, first, second)

    def squeeze(self, axis: Any = None) -> Expression:
        """Return it without axes of one element."""
        return self._call(torch.squeeze, self) if axis is None else self._call(torch.squeeze, self, axis)

    def dot(self, other: Any) -> Expression:
        """Return the product that sums over the last axis of this, and over the last but one of the other."""
        other = other if isinstance(other, Array) else self._made_of(torch.as_tensor(other))
        if not self.ndim or not other.ndim:
            return self * other
        if other.ndim <= 2:
            return self._call(torch.matmul, self, other)
        return self._call(torch.tensordot, self, other, dims=([self.ndim - 1], [other.ndim - 2]))

    def clip(self, low: Any = None, high: Any = None) -> Expression:
        """Return it with what is outside of an interval at its ends."""
        return self._call(torch.clamp, self, low, high)

    def copy(self) -> Expression:
        """Return a copy."""
        return self._call(torch.clone, self)


def _countable(value: Any) -> Any:
    return value.astype("int64") if isinstance(value, Array) and value.dtype == "bool" else value


def _floats(expression: Any) -> Any:
    floating = isinstance(expression.value, float) or expression.value.dtype.is_floating_point
    return expression if floating else expression.astype(torch.get_default_dtype())
