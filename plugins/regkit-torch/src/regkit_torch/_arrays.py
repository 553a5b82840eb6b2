"""Tensors as hooks see them: expressions that behave like NumPy's arrays, and the recording of their operations."""

from __future__ import annotations

import operator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch.fx import Graph, Node

import regkit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


# Dtypes, and conversion between arrays of NumPy and tensors


def name_of(dtype: torch.dtype) -> str:
    """Return NumPy's name of a dtype of torch."""
    return str(dtype).partition(".")[2]


def torch_dtype(dtype: Any) -> torch.dtype:
    """Return the dtype of torch for a name, or for a dtype of NumPy or of torch."""
    if isinstance(dtype, torch.dtype):
        return dtype
    name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype):
        raise regkit.GraphError(f"torch has no dtype {name!r}")
    return found


def tensor_of(array: Any) -> torch.Tensor:
    """Return a tensor with a copy of an array's elements; the array may be of bfloat16."""
    if str(array.dtype) == "bfloat16":
        return torch.tensor(np.asarray(array, "float32")).to(torch.bfloat16)
    return torch.tensor(np.asarray(array))


def numpy_of(tensor: Any) -> Any:
    """Return the elements of a tensor as an array; bfloat16, which NumPy does not have, as float32."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


# Expressions


def _operator(function: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    return lambda first, second: arithmetic(function, first, second)


def _reflected(function: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    return lambda second, first: arithmetic(function, first, second)


class Expression:
    """A tensor with the operators and the methods of NumPy's arrays, recorded if it belongs to a recording.

    While hooks are recorded, the value of a live weight is a Python number, and so is the length of an axis of an
    output, and a result of only these and numbers. A plan takes live weights as arguments, and reads lengths from its
    outputs. If a hook makes an int of a length, or branches on it, the plan is only for outputs of these lengths.
    """

    #: NumPy's scalars leave arithmetic to this class, also where they come first.
    __array_ufunc__ = None

    #: Set by `regkit_torch.engine`.
    regkit_engine: ClassVar[Any]

    name: str | None = None

    #: Whether it was computed only from numbers, so that it moves to the device of the tensors that it meets.
    on_any_device = False

    #: Whether it was computed from outputs, whose lengths may differ in other steps.
    varies = False

    def __init__(self, value: Any, node: Any = None, recording: Recording | None = None, dtype: str = "") -> None:
        self.value = value
        self.node = node
        self.recording = recording
        self._dtype = dtype  # of a float

    @property
    def dtype(self) -> str:
        """NumPy's name of the dtype."""
        return self._dtype or (name_of(self.value.dtype) if isinstance(self.value, torch.Tensor) else "int64")

    @property
    def shape(self) -> tuple[Any, ...]:
        """The lengths of the axes."""
        if _is_number(self.value):
            return ()
        if not self.varies:
            return tuple(self.value.shape)
        return tuple(_applied(length_of, (self, axis), {}) for axis in range(self.value.ndim))

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return 0 if _is_number(self.value) else int(self.value.ndim)

    @property
    def size(self) -> Any:
        """The number of elements."""
        if _is_number(self.value):
            return 1
        return _applied(torch.Tensor.numel, (self,), {}) if self.varies else int(self.value.numel())

    @property
    def present_shape(self) -> tuple[int, ...]:
        """The present lengths of the axes, for errors."""
        return () if _is_number(self.value) else tuple(self.value.shape)

    def __repr__(self) -> str:
        return f"Expression(shape={self.present_shape}, dtype={self.dtype})"

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("an expression without axes has no length")
        return int(self.shape[0])

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))

    # Values, on which a recording must not depend, but for lengths

    def __hash__(self) -> int:
        return hash(int(self)) if self._is_length else object.__hash__(self)

    def __bool__(self) -> bool:
        if not self._is_length:
            raise self._refusal("be true or false")
        return bool(self._known("be true or false"))

    def __float__(self) -> float:
        return float(self._known("become a Python number"))

    def __int__(self) -> int:
        return int(self._known("become a Python number"))

    __index__ = __int__

    def item(self) -> Any:
        """Return the value as a Python number."""
        known = self._known("become a Python number")
        return known.item() if isinstance(known, torch.Tensor) else known

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        known = self._known("become a NumPy array")
        return np.asarray(numpy_of(known) if isinstance(known, torch.Tensor) else known, dtype=dtype)

    @property
    def _is_length(self) -> bool:
        """Whether it is the length of an axis, or computed only from lengths."""
        return self.varies and _is_number(self.value)

    def _known(self, use: str) -> Any:
        if self.recording is not None:
            if not self._is_length:
                raise self._refusal(use)
            self.recording.for_these_lengths = True
        return self.value

    def _refusal(self, use: str) -> regkit.GraphError:
        return regkit.GraphError(
            f"an expression of torch of shape {self.present_shape} cannot {use}: hooks run once for shapes and dtypes, "
            "and what they compute is then computed for other values too. Write what depends on values as arithmetic, "
            "such as regkit.graph.functions(z).where(condition, this, that)"
        )

    # Operators

    __add__, __radd__ = _operator(operator.add), _reflected(operator.add)
    __mul__, __rmul__ = _operator(operator.mul), _reflected(operator.mul)
    __truediv__, __rtruediv__ = _operator(operator.truediv), _reflected(operator.truediv)
    __floordiv__, __rfloordiv__ = _operator(operator.floordiv), _reflected(operator.floordiv)
    __mod__, __rmod__ = _operator(operator.mod), _reflected(operator.mod)
    __pow__, __rpow__ = _operator(operator.pow), _reflected(operator.pow)
    __and__, __rand__ = _operator(operator.and_), _reflected(operator.and_)
    __or__, __ror__ = _operator(operator.or_), _reflected(operator.or_)
    __lt__, __le__ = _operator(operator.lt), _operator(operator.le)
    __gt__, __ge__ = _operator(operator.gt), _operator(operator.ge)
    __eq__, __ne__ = _operator(operator.eq), _operator(operator.ne)  # type: ignore[assignment]  # elementwise

    def __sub__(self, other: Any) -> Any:
        return arithmetic(operator.sub, _countable(self), _countable(other))

    def __rsub__(self, other: Any) -> Any:
        return arithmetic(operator.sub, _countable(other), _countable(self))

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

    def __getitem__(self, index: Any) -> Expression:
        indices = index if isinstance(index, tuple) else (index,)
        for one in indices:
            if self.recording is not None and isinstance(one, Expression) and one.dtype == "bool":
                raise one._refusal("select as many elements as it happens to be true for")
        if isinstance(index, Expression) and not index.ndim:  # torch would read the number to know the place
            rows = call(torch.index_select, self, 0, index.reshape(1))
            return call(torch.squeeze, rows, 0)
        return call(operator.getitem, self, index)

    # Methods

    @property
    def T(self) -> Expression:  # noqa: N802 - NumPy's name
        """The transpose: the axes in reverse."""
        return self.transpose()

    def astype(self, dtype: Any) -> Expression:
        """Return it in another dtype."""
        wanted = torch_dtype(dtype)
        if _is_number(self.value):  # which takes the dtype of the other operand
            number = (
                _applied(float, (self,), {}) if wanted.is_floating_point and type(self.value) is not float else self
            )
            found = Expression(number.value, number.node, number.recording, name_of(wanted))
            found.varies = number.varies
            return found
        return self if self.value.dtype == wanted else call(torch.Tensor.to, self, wanted)

    def sum(self, axis: Any = None, keepdims: bool = False) -> Expression:
        """Return the sum over axes."""
        return self._reduced(torch.sum, axis, keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> Expression:
        """Return the mean over axes."""
        return _floats(self)._reduced(torch.mean, axis, keepdims)

    def var(self, axis: Any = None, keepdims: bool = False, ddof: int = 0) -> Expression:
        """Return the variance over axes, divided by the number of elements less `ddof`."""
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
        """Return whether any element is not zero, over axes."""
        return self._reduced(torch.any, axis, keepdims)

    def all(self, axis: Any = None, keepdims: bool = False) -> Expression:
        """Return whether all elements are not zero, over axes."""
        return self._reduced(torch.all, axis, keepdims)

    def _reduced(self, function: Callable[..., Any], axis: Any, keepdims: bool, **more: Any) -> Expression:
        """Reduce axes: all for None, none for an empty tuple, where torch would reduce all."""
        if isinstance(axis, (tuple, list)) and not axis:
            return self
        if axis is None:
            axis = tuple(range(self.ndim))
            if not keepdims and not more:
                return call(function, self)
        return call(function, self, dim=axis, keepdim=keepdims, **more)

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
        lengths = tuple(one if isinstance(one, Expression) and one._is_length else int(one) for one in lengths)
        return _applied(torch.reshape, (self, lengths), {})

    def flatten(self) -> Expression:
        """Return all elements in a row."""
        return self.reshape(-1)

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
        if self.varies and self.recording is not None:  # how many axes it has depends on lengths
            self.recording.for_these_lengths = True
        return call(torch.squeeze, self) if axis is None else call(torch.squeeze, self, axis)

    def dot(self, other: Any) -> Any:
        """Return the product that sums over the last axis of this, and over the last but one of the other."""
        other = other if isinstance(other, Expression) else Expression(torch.as_tensor(other))
        if not self.ndim or not other.ndim:
            return self * other
        if other.ndim <= 2:
            return call(torch.matmul, self, other)
        return call(torch.tensordot, self, other, dims=([self.ndim - 1], [other.ndim - 2]))

    def clip(self, low: Any = None, high: Any = None) -> Expression:
        """Return it with all elements limited to an interval."""
        return call(torch.clamp, self, low, high)

    def copy(self) -> Expression:
        """Return a copy."""
        return call(torch.clone, self)


class Parameter(Expression):
    """A parameter as hooks see it; it calls a function when a hook looks at it.

    Everything that hooks can read, also its shape and its dtype, comes from `value`.
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


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float))


def length_of(tensor: torch.Tensor, axis: int) -> int:
    """Return the length of an axis."""
    return tensor.shape[axis]


def _countable(value: Any) -> Any:
    return value.astype("int64") if isinstance(value, Expression) and value.dtype == "bool" else value


def _floats(expression: Expression) -> Expression:
    floating = _is_number(expression.value) or expression.value.dtype.is_floating_point
    return expression if floating else expression.astype(torch.get_default_dtype())


# How functions of torch are applied


def call(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Expression:
    """Apply a function of torch to expressions, numbers and containers of them; recorded if one of them is."""
    return _applied(function, _mapped(arguments, _tensor), _mapped(keywords, _tensor))


def arithmetic(function: Callable[..., Any], first: Any, second: Any) -> Any:
    """Apply an operator as NumPy does: a number of Python takes the dtype of the array that it meets."""
    first, second = _operand(first), _operand(second)
    if first is NotImplemented or second is NotImplemented:
        return NotImplemented
    first, second = _widened(first, second), _widened(second, first)
    numbers = [one for one in (_as_number(first), _as_number(second)) if one is not None]
    live = any(isinstance(one, Expression) and not one.varies for one in (first, second))
    if len(numbers) == 2 and live and function is not operator.truediv and not isinstance(function(*numbers), float):
        return call(function, _plain(first), _plain(second))  # a comparison of two live weights is not a float
    return _applied(function, (_plain(first), _plain(second)), {})


def created(function: Callable[..., Any], arguments: Sequence[Any], keywords: dict[str, Any]) -> Expression:
    """Return the result of a function of only numbers; while hooks are recorded, as a part of the recording."""
    recording = Recording.current()
    if recording is None:
        expression = Expression(function(*arguments, **keywords))
        expression.on_any_device = "device" not in keywords
        return expression
    keywords = {"device": recording.device, **keywords}
    value = function(*_mapped(arguments, lambda one: one.value), **keywords)
    node = recording.call(function, _mapped(arguments, recording.node_of), keywords)
    node.meta["dtype"] = value.dtype
    expression = Expression(value, node, recording)
    expression.varies = any(True for _ in _expressions_in(arguments))
    return expression


def _applied(function: Callable[..., Any], arguments: Any, keywords: Any) -> Expression:
    """Apply a function to arguments that it takes as they are, live weights as floats, and record the call."""
    found = list(_expressions_in((arguments, keywords)))
    _move_to_one_device(found)
    recording = next((one.recording for one in found if one.recording is not None), None)
    values = _mapped((arguments, keywords), lambda one: one.value)
    sharded = [is_sharded(one.value) for one in found]
    if any(sharded) and not (function in BY_PARTS and all(map(_fits_parts, found, sharded))):
        return _applied(function, *_mapped((arguments, keywords), _whole))
    result = function(*values[0], **values[1])
    if recording is None:
        return _whole(Expression(result)) if is_sharded(result) and not result.ndim else Expression(result)
    node = recording.call(function, *_mapped((arguments, keywords), recording.node_of))
    if is_sharded(result) and not result.ndim:  # a scalar is whole: it meets those of outputs
        return _whole(Expression(result, node, recording))
    if _is_number(result):
        node.meta["number"] = True
        dtypes = (one.dtype for one in found if isinstance(one.value, float))
        expression = Expression(result, node, recording, next(dtypes, "float64") if type(result) is float else "int64")
    else:
        node.meta["dtype"] = getattr(result, "dtype", None)
        expression = Expression(result, node, recording)
    # of numbers, those of lengths alone
    expression.varies = (all if _is_number(result) else any)(one.varies for one in found)
    return expression


def is_sharded(value: Any) -> bool:
    """Return whether a tensor is in parts on several processes."""
    return type(value) not in (torch.Tensor, torch.nn.Parameter) and hasattr(value, "full_tensor")


#: Functions that each process computes for its part of an array; other functions get the whole array.
BY_PARTS = {
    *(operator.add, operator.sub, operator.mul, operator.truediv, operator.pow, torch.abs, torch.neg, torch.sqrt),
    *(
        torch.maximum,
        torch.minimum,
        torch.square,
        torch.exp,
        torch.log,
        torch.sum,
        torch.Tensor.to,
        torch.Tensor.detach,
    ),
}


def _fits_parts(expression: Expression, sharded: bool) -> bool:
    """Return whether an array can meet parts of others: it is in parts too, or a scalar."""
    return sharded or not expression.ndim


def _full_tensor(sharded: Any) -> torch.Tensor:
    return sharded.full_tensor()  # type: ignore[no-any-return]


def _whole(expression: Expression) -> Expression:
    """Return an expression of the whole array, of which each process has a part."""
    if not is_sharded(expression.value):
        return expression
    value = _full_tensor(expression.value)
    if expression.recording is None:
        return Expression(value)
    node = expression.recording.call(_full_tensor, (expression.recording.node_of(expression),), {})
    node.meta["dtype"] = value.dtype
    return Expression(value, node, expression.recording)


class _Typed:
    """A number with the dtype of the NumPy scalar that it was."""

    def __init__(self, value: Any, dtype: torch.dtype) -> None:
        self.value = value
        self.dtype = dtype


def _operand(value: Any) -> Any:
    """Return an operand of an operator: an expression, a number, or a number with a dtype."""
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
    before = torch_dtype(value.dtype)
    if before == torch.bfloat16 and other.dtype == torch.float32:  # which stands for it where NumPy does not know it
        return value
    return value.astype(torch.promote_types(before, other.dtype))


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


def _move_to_one_device(expressions: Sequence[Expression]) -> None:
    """Move expressions of numbers alone to the device of the others."""
    devices = (one.value.device for one in expressions if isinstance(one.value, torch.Tensor) and not one.on_any_device)
    device = next(devices, None)
    for one in expressions if device is not None else ():
        if one.on_any_device:
            one.value = one.value.to(device)


def _tensor(expression: Expression) -> Expression:
    """An expression that is a tensor, as functions take it: a live weight becomes one."""
    if not _is_number(expression.value):
        return expression
    device = expression.recording.device if expression.recording else None
    return _applied(torch.scalar_tensor, (expression,), {"dtype": torch_dtype(expression.dtype), "device": device})


# Recordings

#: The recording that hooks run in here.
_current: ContextVar[Recording | None] = ContextVar("recording", default=None)


class Recording:
    """Hooks run on tensors within ``with recording:``, and their calls are written into a graph of torch.fx.

    Parameters
    ----------
    device : torch.device, optional
        Where tensors are that are made of numbers alone; by default where torch makes them.
    global_draws : bool, default False
        Whether draws are those of torch's global generator. Activation checkpointing runs a forward again in the
        backward with the state that this generator had; draws of another one would be other numbers there.

    Attributes
    ----------
    graph : torch.fx.Graph
        Arguments that are tensors or numbers come before all calls. Their ``meta`` has ``kind`` ("output", "param",
        "live" or "constant"), ``name`` and ``value``.
    outputs : dict of str to tensor
        The outputs that hooks are given, by their names.
    seen : dict of str to tensor
        The parameters that hooks looked at.
    ties : list of (str, str)
        Of parameters with several names, each further name with the first.
    """

    def __init__(self, device: Any = None, global_draws: bool = False) -> None:
        self.device = device
        self.global_draws = global_draws
        self.graph = Graph()
        self.outputs: dict[str, torch.Tensor] = {}
        self.seen: dict[str, torch.Tensor] = {}
        self.ties: list[tuple[str, str]] = []
        self._start = self.graph.call_function(operator.pos, (0,))  # arguments come before it
        self._arguments: dict[int, Node] = {}  # live weights and constants by id
        self._params: dict[int, tuple[str, Parameter]] = {}  # by id
        self._open = True
        #: Whether hooks made an int of a length, or a choice by one.
        self.for_these_lengths = False

    @classmethod
    def current(cls) -> Recording | None:
        """Return the recording that hooks run in here."""
        return _current.get()

    def __enter__(self) -> Recording:
        self._token = _current.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)
        self._open = False

    # Arguments

    def output(self, name: str, tensor: torch.Tensor) -> Expression:
        """Return an expression of an output."""
        self.outputs[name] = tensor
        expression = Expression(tensor, self._argument("output", name, tensor), self)
        expression.varies = True
        return expression

    def param(self, name: str, tensor: torch.Tensor) -> Expression:
        """Return an expression of a parameter: the same for all names of one."""
        if id(tensor) in self._params:
            first, param = self._params[id(tensor)]
            self.ties.append((name, first))
            return param
        node = self._argument("param", name, tensor)
        param = Parameter(tensor, node, self, lambda: self.seen.update({name: tensor}))
        self._params[id(tensor)] = name, param
        return param

    def live(self, weight: regkit.Live) -> Expression:
        """Return an expression of a live weight."""
        if id(weight) not in self._arguments:
            self._arguments[id(weight)] = self._argument("live", "", weight)
        return Expression(float(weight.value), self._arguments[id(weight)], self, "float64")

    def _constant(self, tensor: torch.Tensor) -> Node:
        if id(tensor) not in self._arguments:
            self._arguments[id(tensor)] = self._argument("constant", "", tensor)
        return self._arguments[id(tensor)]

    def _argument(self, kind: str, name: str, value: Any) -> Node:
        """Return a new argument, which keeps its value alive, so that nothing else gets the value's id."""
        with self.graph.inserting_before(self._start):
            node = self.graph.placeholder(f"{kind}_{len(self.graph.nodes)}")
        node.meta.update(kind=kind, name=name, value=value, number=kind == "live", dtype=getattr(value, "dtype", None))
        return node

    # Calls

    def node_of(self, expression: Expression) -> Node:
        """Return the node of the graph that an expression is."""
        if expression.recording is None:
            return self._constant(expression.value)
        if expression.recording is not self:
            raise regkit.GraphError(
                f"a regularizer kept an expression of shape {expression.shape} of an earlier call of its hooks. Hooks "
                "get what they need from outputs and layers; what modify_graph adds to outputs, loss finds there"
            )
        return expression.node

    def call(self, function: Callable[..., Any], arguments: Any, keywords: Any) -> Node:
        """Record a call; tensors in its arguments, which hooks made, become constants."""
        if not self._open:
            raise regkit.GraphError("a regularizer used an expression of its hooks after they had run")
        arguments, keywords = (self._with_constants(given) for given in (arguments, keywords))
        return self.graph.call_function(function, tuple(arguments), keywords)

    def _with_constants(self, given: Any) -> Any:
        if isinstance(given, torch.Tensor):
            return self._constant(given)
        if isinstance(given, (tuple, list)):
            return type(given)([self._with_constants(one) for one in given])
        if isinstance(given, dict):
            return {key: self._with_constants(one) for key, one in given.items()}
        return given

    def finished(self, results: Sequence[Expression]) -> Graph:
        """Return the graph, with results."""
        self.graph.output(tuple(self.node_of(result) for result in results))
        self.graph.erase_node(self._start)
        return self.graph

    def forget(self) -> None:
        """Forget all tensors, since the expressions that hooks got and this recording refer to each other."""
        self.outputs, self.seen, self._params, self._arguments = {}, {}, {}, {}
