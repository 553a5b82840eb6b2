"""Tensors as hooks see them: with the methods and the arithmetic of NumPy's arrays."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

import regkit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .recording import Recording


class Expression:
    """A tensor that behaves as NumPy's arrays do, and is recorded where it belongs to a recording.

    While hooks are recorded, the value of a live weight is a Python float, and so is what is computed of it and of
    numbers alone: a plan takes it as an argument.
    """

    #: NumPy's scalars leave arithmetic to this class, also where they come first.
    __array_ufunc__ = None

    #: Set by `regkit_torch.engine`.
    regkit_engine: ClassVar[Any]

    name: str | None = None

    #: Whether it was made of numbers alone, and goes to the device of what it meets.
    loose = False

    def __init__(self, value: Any, node: Any = None, recording: Recording | None = None, dtype: str = "") -> None:
        self.value = value
        self.node = node
        self.recording = recording
        self._dtype = dtype  # of a float

    # What it is

    @property
    def dtype(self) -> str:
        """NumPy's name of the dtype."""
        return self._dtype or name_of(self.value.dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of the axes."""
        return () if isinstance(self.value, float) else tuple(self.value.shape)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return 1 if isinstance(self.value, float) else int(self.value.numel())

    @property
    def T(self) -> Expression:  # noqa: N802 - NumPy's name
        """The transpose: the axes in reverse."""
        return self.transpose()

    def __repr__(self) -> str:
        return f"Expression(shape={self.shape}, dtype={self.dtype})"

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("an expression without axes has no length")
        return self.shape[0]

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))

    __hash__ = object.__hash__

    # Values, which a recording is not to depend on

    def __bool__(self) -> bool:
        raise self._refusal("be true or false")

    def __float__(self) -> float:
        return float(self._known("become a Python number"))

    def __int__(self) -> int:
        return int(self._known("become a Python number"))

    __index__ = __int__

    def item(self) -> Any:
        """Return the value as a Python number."""
        return self._known("become a Python number").item()

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.asarray(numpy_of(self._known("become a NumPy array")), dtype=dtype)

    def _known(self, what: str) -> Any:
        if self.recording is not None:
            raise self._refusal(what)
        return self.value

    def _refusal(self, what: str) -> regkit.GraphError:
        return regkit.GraphError(
            f"an expression of torch of shape {self.shape} cannot {what}: hooks run once for shapes and dtypes, and "
            "what they compute is then computed for other values too. Say what depends on values with arithmetic, such "
            "as regkit.graph.functions(z).where(condition, this, that)"
        )

    # Arithmetic

    def __add__(self, other: Any) -> Any:
        return arithmetic(operator.add, self, other)

    def __radd__(self, other: Any) -> Any:
        return arithmetic(operator.add, other, self)

    def __sub__(self, other: Any) -> Any:
        return arithmetic(operator.sub, _countable(self), _countable(other))

    def __rsub__(self, other: Any) -> Any:
        return arithmetic(operator.sub, _countable(other), _countable(self))

    def __mul__(self, other: Any) -> Any:
        return arithmetic(operator.mul, self, other)

    def __rmul__(self, other: Any) -> Any:
        return arithmetic(operator.mul, other, self)

    def __truediv__(self, other: Any) -> Any:
        return arithmetic(operator.truediv, self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return arithmetic(operator.truediv, other, self)

    def __floordiv__(self, other: Any) -> Any:
        return arithmetic(operator.floordiv, self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return arithmetic(operator.floordiv, other, self)

    def __mod__(self, other: Any) -> Any:
        return arithmetic(operator.mod, self, other)

    def __rmod__(self, other: Any) -> Any:
        return arithmetic(operator.mod, other, self)

    def __pow__(self, other: Any) -> Any:
        return arithmetic(operator.pow, self, other)

    def __rpow__(self, other: Any) -> Any:
        return arithmetic(operator.pow, other, self)

    def __lt__(self, other: Any) -> Any:
        return arithmetic(operator.lt, self, other)

    def __le__(self, other: Any) -> Any:
        return arithmetic(operator.le, self, other)

    def __gt__(self, other: Any) -> Any:
        return arithmetic(operator.gt, self, other)

    def __ge__(self, other: Any) -> Any:
        return arithmetic(operator.ge, self, other)

    def __eq__(self, other: Any) -> Any:
        return arithmetic(operator.eq, self, other)

    def __ne__(self, other: Any) -> Any:
        return arithmetic(operator.ne, self, other)

    def __and__(self, other: Any) -> Any:
        return arithmetic(operator.and_, self, other)

    def __rand__(self, other: Any) -> Any:
        return arithmetic(operator.and_, other, self)

    def __or__(self, other: Any) -> Any:
        return arithmetic(operator.or_, self, other)

    def __ror__(self, other: Any) -> Any:
        return arithmetic(operator.or_, other, self)

    def __invert__(self) -> Expression:
        return call(torch.bitwise_not, self)

    def __neg__(self) -> Expression:
        return call(torch.neg, self)

    def __pos__(self) -> Expression:
        return self

    def __abs__(self) -> Expression:
        return call(torch.abs, self)

    def __matmul__(self, other: Any) -> Expression:
        return call(torch.matmul, self, other)

    def __rmatmul__(self, other: Any) -> Expression:
        return call(torch.matmul, other, self)

    # Methods

    def astype(self, dtype: Any) -> Expression:
        """Return it in another dtype."""
        wanted = torch_dtype(dtype)
        if isinstance(self.value, float):  # a number takes the dtype of what it meets
            return Expression(self.value, self.node, self.recording, name_of(wanted))
        return self if self.value.dtype == wanted else call(torch.Tensor.to, self, wanted)

    def sum(self, axis: Any = None, keepdims: bool = False) -> Expression:
        """Return the sum over axes."""
        return reduced(torch.sum, self, axis, keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> Expression:
        """Return the mean over axes."""
        return reduced(torch.mean, _floats(self), axis, keepdims)

    def var(self, axis: Any = None, keepdims: bool = False, ddof: int = 0) -> Expression:
        """Return the variance over axes, which is divided by the number of elements less `ddof`."""
        return reduced(torch.var, _floats(self), axis, keepdims, correction=ddof)

    def std(self, axis: Any = None, keepdims: bool = False, ddof: int = 0) -> Expression:
        """Return the standard deviation over axes."""
        return reduced(torch.std, _floats(self), axis, keepdims, correction=ddof)

    def max(self, axis: Any = None, keepdims: bool = False) -> Expression:
        """Return the maximum over axes."""
        return reduced(torch.amax, self, axis, keepdims)

    def min(self, axis: Any = None, keepdims: bool = False) -> Expression:
        """Return the minimum over axes."""
        return reduced(torch.amin, self, axis, keepdims)

    def any(self, axis: Any = None, keepdims: bool = False) -> Expression:
        """Tell whether any element is not zero, over axes."""
        return reduced(torch.any, self, axis, keepdims)

    def all(self, axis: Any = None, keepdims: bool = False) -> Expression:
        """Tell whether all elements are not zero, over axes."""
        return reduced(torch.all, self, axis, keepdims)

    def prod(self, axis: int | None = None, keepdims: bool = False) -> Expression:
        """Return the product over an axis, or of all elements."""
        return call(torch.prod, self) if axis is None else call(torch.prod, self, dim=axis, keepdim=keepdims)

    def argmax(self, axis: int | None = None) -> Expression:
        """Return where the maximum is along an axis; of all elements in a row without one."""
        return call(torch.argmax, self, dim=axis)

    def argmin(self, axis: int | None = None) -> Expression:
        """Return where the minimum is along an axis; of all elements in a row without one."""
        return call(torch.argmin, self, dim=axis)

    def cumsum(self, axis: int) -> Expression:
        """Return the sums up to each element of an axis."""
        return call(torch.cumsum, self, dim=axis)

    def reshape(self, *shape: Any) -> Expression:
        """Return the elements in another shape."""
        lengths = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
        return call(torch.reshape, self, tuple(int(length) for length in lengths))

    def flatten(self) -> Expression:
        """Return all elements in a row."""
        return self.reshape(-1) if self.size else self.reshape(0)

    ravel = flatten

    def transpose(self, *axes: Any) -> Expression:
        """Return it with its axes in another order, by default in reverse."""
        order = axes[0] if len(axes) == 1 and isinstance(axes[0], (tuple, list)) else axes
        return call(torch.permute, self, tuple(order or range(self.ndim)[::-1]))

    def swapaxes(self, first: int, second: int) -> Expression:
        """Return it with two axes exchanged."""
        return call(torch.swapaxes, self, first, second)

    def squeeze(self, axis: Any = None) -> Expression:
        """Return it without axes of one element."""
        return call(torch.squeeze, self) if axis is None else call(torch.squeeze, self, axis)

    def dot(self, other: Any) -> Expression:
        """Return the product that sums over the last axis of this, and over the last but one of the other."""
        other = other if isinstance(other, Expression) else Expression(torch.as_tensor(other))
        if not self.ndim or not other.ndim:
            return self * other
        if other.ndim <= 2:
            return call(torch.matmul, self, other)
        return call(torch.tensordot, self, other, dims=([self.ndim - 1], [other.ndim - 2]))

    def clip(self, low: Any = None, high: Any = None) -> Expression:
        """Return it with what is outside of an interval at its ends."""
        return call(torch.clamp, self, low, high)

    def copy(self) -> Expression:
        """Return a copy."""
        return call(torch.clone, self)

    def __getitem__(self, index: Any) -> Expression:
        indices = index if isinstance(index, tuple) else (index,)
        for one in indices:
            if self.recording is not None and isinstance(one, Expression) and one.dtype == "bool":
                raise one._refusal("select as many elements as it happens to be true for")
        if isinstance(index, Expression) and not index.ndim:  # torch would read the number to know the place
            rows = call(torch.index_select, self, 0, index.reshape(1))
            return call(torch.squeeze, rows, 0)
        return call(operator.getitem, self, index)


# How functions of torch are applied


def call(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Expression:
    """Apply a function of torch to expressions, numbers and containers of them; recorded if one of them is."""
    arguments = _mapped(arguments, _tensor)
    keywords = _mapped(keywords, _tensor)
    return applied(function, arguments, keywords)


def applied(function: Callable[..., Any], arguments: Any, keywords: Any) -> Expression:
    """Apply a function to what it can take as it is, and record that."""
    found = list(_expressions_in((arguments, keywords)))
    _bring_together(found)
    recording = next((one.recording for one in found if one.recording is not None), None)
    values = _mapped((arguments, keywords), lambda one: one.value)
    result = function(*values[0], **values[1])
    if recording is None:
        return Expression(result)
    node = recording.call(function, *_mapped((arguments, keywords), recording.node_of))
    if isinstance(result, float):
        node.meta["number"] = True
        return Expression(result, node, recording, next(one.dtype for one in found if isinstance(one.value, float)))
    node.meta["dtype"] = getattr(result, "dtype", None)
    return Expression(result, node, recording)


def arithmetic(function: Callable[..., Any], first: Any, second: Any) -> Any:
    """Apply an operator as NumPy does: a number of Python takes the dtype of the array that it meets."""
    first, second = _operand(first, second), _operand(second, first)
    if first is NotImplemented or second is NotImplemented:
        return NotImplemented
    first, second = _widened(first, second), _widened(second, first)
    numbers = [one for one in (_as_number(first), _as_number(second)) if one is not None]
    if len(numbers) == 2 and function is not operator.truediv and not isinstance(function(*numbers), float):
        return call(function, _plain(first), _plain(second))  # comparing two live weights gives no float
    return applied(function, (_plain(first), _plain(second)), {})


def reduced(function: Callable[..., Any], expression: Expression, axis: Any, keepdims: bool, **more: Any) -> Expression:
    """Reduce axes: all for None, none for an empty tuple, where torch would reduce all."""
    if isinstance(axis, (tuple, list)) and not axis:
        return expression
    if axis is None:
        axis = tuple(range(expression.ndim))
        if not keepdims and not more:
            return call(function, expression)
    return call(function, expression, dim=axis, keepdim=keepdims, **more)


class _Typed:
    """A number with the dtype that it was given."""

    def __init__(self, value: Any, dtype: torch.dtype) -> None:
        self.value = value
        self.dtype = dtype


def _operand(value: Any, other: Any) -> Any:
    """What an operator is applied to: an expression, a number, or a number with a dtype."""
    if isinstance(value, (Expression, bool, int, float)) and not isinstance(value, np.generic):
        return value
    if isinstance(value, torch.Tensor):
        return Expression(value)
    if isinstance(value, (np.ndarray, np.generic)):
        known = getattr(torch, str(value.dtype), None)
        if not isinstance(known, torch.dtype):
            return NotImplemented
        return _Typed(value.item(), known) if value.ndim == 0 else Expression(tensor_of(value))
    return NotImplemented


def _widened(value: Any, other: Any) -> Any:
    """An expression in the dtype that it gets when it meets a number that has one."""
    if not isinstance(value, Expression) or not isinstance(other, _Typed):
        return value
    own = torch_dtype(value.dtype)
    if own == torch.bfloat16 and other.dtype == torch.float32:  # which stands for it where NumPy does not know it
        return value
    return value.astype(torch.promote_types(own, other.dtype))


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, _Typed) else value


def _as_number(value: Any) -> Any:
    """The Python number that a value is; None if it is a tensor."""
    value = value.value if isinstance(value, (Expression, _Typed)) else value
    return None if isinstance(value, torch.Tensor) else value


def _mapped(value: Any, function: Callable[[Expression], Any]) -> Any:
    """Replace expressions, also those within containers and slices."""
    if isinstance(value, Expression):
        return function(value)
    if isinstance(value, (tuple, list)):
        return type(value)([_mapped(one, function) for one in value])
    if isinstance(value, dict):
        return {key: _mapped(one, function) for key, one in value.items()}
    if isinstance(value, slice):
        return slice(*(_mapped(one, function) for one in (value.start, value.stop, value.step)))
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and not value.ndim):
        return value.item()
    if isinstance(value, np.ndarray):
        return tensor_of(value)
    return value


def _expressions_in(value: Any) -> Iterator[Expression]:
    if isinstance(value, Expression):
        yield value
    elif isinstance(value, (tuple, list)):
        for one in value:
            yield from _expressions_in(one)
    elif isinstance(value, dict):
        yield from _expressions_in(list(value.values()))
    elif isinstance(value, slice):
        yield from _expressions_in((value.start, value.stop, value.step))


def _bring_together(expressions: Sequence[Expression]) -> None:
    """Move what a function made of numbers alone to where the others are."""
    loose = [one for one in expressions if one.loose]
    there = next(
        (one.value.device for one in expressions if isinstance(one.value, torch.Tensor) and not one.loose), None
    )
    for one in loose if there is not None else ():
        one.value = one.value.to(there)


def _tensor(expression: Expression) -> Expression:
    """An expression that is a tensor, as functions take it: a live weight becomes one."""
    if not isinstance(expression.value, float):
        return expression
    device = expression.recording.device if expression.recording else None
    return applied(torch.scalar_tensor, (expression,), {"dtype": torch_dtype(expression.dtype), "device": device})


def _countable(value: Any) -> Any:
    return value.astype("int64") if isinstance(value, Expression) and value.dtype == "bool" else value


def _floats(expression: Expression) -> Expression:
    floating = isinstance(expression.value, float) or expression.value.dtype.is_floating_point
    return expression if floating else expression.astype(torch.get_default_dtype())


# Names of dtypes, and NumPy's arrays


def name_of(dtype: torch.dtype) -> str:
    """Return NumPy's name of a dtype of torch."""
    return str(dtype).partition(".")[2]


def torch_dtype(dtype: Any) -> torch.dtype:
    """Return the dtype of torch for a name, or for one of NumPy's or of torch's own."""
    if isinstance(dtype, torch.dtype):
        return dtype
    name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype):
        raise regkit.GraphError(f"torch has no dtype {name!r}")
    return found


def tensor_of(array: Any) -> torch.Tensor:
    """Return a tensor with a copy of an array's elements, those of bfloat16 too."""
    if str(array.dtype) == "bfloat16":
        return torch.tensor(np.asarray(array, "float32")).to(torch.bfloat16)
    return torch.tensor(np.asarray(array))


def numpy_of(tensor: Any) -> Any:
    """Return the elements of a tensor as an array; bfloat16, which NumPy does not know, as float32."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
