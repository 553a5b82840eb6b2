"""Tensors as hooks see them: with the methods and the arithmetic of NumPy's arrays."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

import regkit

from .array import Array
from .dtypes import name_of, numpy_of, tensor_of, torch_dtype

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .recording import Recording


class Expression(Array):
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
    def size(self) -> int:
        """The number of elements."""
        return 1 if isinstance(self.value, float) else int(self.value.numel())

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

    # How it is computed with

    @staticmethod
    def _made_of(value: torch.Tensor) -> Expression:
        """Return an expression of a tensor."""
        return Expression(value)

    @staticmethod
    def _call(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        return call(function, *arguments, **keywords)

    @staticmethod
    def _arithmetic(function: Callable[..., Any], first: Any, second: Any) -> Any:
        return arithmetic(function, first, second)

    def astype(self, dtype: Any) -> Expression:
        """Return it in another dtype."""
        wanted = torch_dtype(dtype)
        if isinstance(self.value, float):  # a number takes the dtype of what it meets
            return Expression(self.value, self.node, self.recording, name_of(wanted))
        return self if self.value.dtype == wanted else call(torch.Tensor.to, self, wanted)

    def __getitem__(self, index: Any) -> Expression:
        indices = index if isinstance(index, tuple) else (index,)
        for one in indices:
            if self.recording is not None and isinstance(one, Expression) and one.dtype == "bool":
                raise one._refusal("select as many elements as it happens to be true for")
        if isinstance(index, Expression) and not index.ndim:  # torch would read the number to know the place
            rows = call(torch.index_select, self, 0, index.reshape(1))
            return call(torch.squeeze, rows, 0)
        return call(operator.getitem, self, index)


class Parameter(Expression):
    """A parameter as hooks see it, of which the recording knows whether hooks looked at it.

    All that hooks can learn of it, also its shape and its dtype, they learn from `value`.
    """

    def __init__(self, value: torch.Tensor, node: Any, recording: Recording, seen: Callable[[], None]) -> None:
        self._seen = seen
        super().__init__(value, node, recording)

    @property
    def value(self) -> Any:
        """The tensor."""
        self._seen()
        return self._value

    @value.setter
    def value(self, value: Any) -> None:
        self._value = value


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
