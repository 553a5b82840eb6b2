"""What hooks compute, recorded once and written as straight-line code: a plan."""

from __future__ import annotations

import operator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Graph, GraphModule, Node

import regkit

from .expression import Expression

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

#: The recording that hooks run in here.
_recording: ContextVar[Recording | None] = ContextVar("recording", default=None)


class Recording:
    """Hooks run on tensors, and what they compute with them is written down as a graph of torch.fx."""

    def __init__(self, device: Any = None) -> None:
        self.device = device
        self.graph = Graph()
        self._first = self.graph.call_function(operator.pos, (0,))  # arguments of the plan come before it
        self._constants: dict[int, tuple[Node, Any]] = {}  # by id, with the tensor, so that it lives
        self._lives: dict[int, tuple[Node, regkit.Live]] = {}
        self._inputs: list[Node] = []
        self._open = True

    @classmethod
    def running(cls) -> Recording | None:
        """Return the recording that hooks run in here."""
        return _recording.get()

    @contextmanager
    def run(self) -> Iterator[Recording]:
        """Let what hooks make without an expression, such as draws, be recorded here."""
        token = _recording.set(self)
        try:
            yield self
        finally:
            _recording.reset(token)
            self._open = False

    def input(self, name: Any, tensor: torch.Tensor) -> Expression:
        """Return an expression of a tensor that the plan takes as an argument."""
        node = self._argument(f"in_{len(self._inputs)}")
        node.meta.update(name=name, tensor=tensor, dtype=tensor.dtype)
        self._inputs.append(node)
        return Expression(tensor, node, self)

    def live(self, weight: regkit.Live) -> Expression:
        """Return an expression of a live weight, whose value the plan takes as an argument."""
        if id(weight) not in self._lives:
            self._lives[id(weight)] = self._argument(f"live_{len(self._lives)}"), weight
        return Expression(float(weight.value), self._lives[id(weight)][0], self, "float64")

    def node_of(self, expression: Expression) -> Any:
        """Return what stands for an expression in the graph."""
        if expression.recording is None:
            return self._constant(expression.value)
        if expression.recording is not self:
            raise regkit.GraphError(
                f"a regularizer kept an expression of shape {expression.shape} of an earlier call of its hooks. Hooks "
                "get what they need from outputs and layers; what modify_graph adds to outputs, loss finds there"
            )
        return expression.node

    def call(self, function: Callable[..., Any], arguments: Any, keywords: Any) -> Node:
        """Record a call."""
        if not self._open:
            raise regkit.GraphError("a regularizer used an expression of its hooks after they had run")
        arguments, keywords = (_with_constants(given, self) for given in (arguments, keywords))
        return self.graph.call_function(function, arguments, keywords)

    def made(self, function: Callable[..., Any], arguments: Any, keywords: Any) -> Expression:
        """Return what a function makes of numbers alone, and record the call."""
        keywords = {"device": self.device, **keywords}
        value = function(*arguments, **keywords)
        node = self.call(function, arguments, keywords)
        node.meta["dtype"] = value.dtype
        return Expression(value, node, self)

    def _argument(self, name: str) -> Node:
        with self.graph.inserting_before(self._first):
            return self.graph.placeholder(name)

    def _constant(self, tensor: torch.Tensor) -> Node:
        if id(tensor) not in self._constants:
            self._constants[id(tensor)] = self._argument(f"constant_{len(self._constants)}"), tensor
        return self._constants[id(tensor)][0]

    def plan(self, results: Sequence[Expression], names: Sequence[str] = ()) -> Plan:
        """Return what computes the results, which have names, anew for other tensors of the same shapes and dtypes."""
        self.graph.output(tuple(self.node_of(result) for result in results))
        self.graph.erase_node(self._first)
        for node in list(self.graph.nodes):
            _without_division_by_one(node)
        _merge_equal(self.graph)
        self.graph.eliminate_dead_code()
        used: dict[str, list[Any]] = {"inputs": [], "lives": [], "constants": []}
        lives = dict(self._lives.values())
        constants = dict(self._constants.values())
        for node in [node for node in self.graph.nodes if node.op == "placeholder"]:
            kind = "inputs" if node in self._inputs else "lives" if node in lives else "constants"
            if not node.users:
                self.graph.erase_node(node)
            else:
                used[kind].append(node)
        order = [*used["inputs"], *used["lives"], *used["constants"]]
        for node in order:
            self._move_last(node)
        module = GraphModule(torch.nn.Module(), self.graph)
        return Plan(
            module.forward,
            module.code,
            [(*node.meta["name"], _kind(node.meta["tensor"])) for node in used["inputs"]],
            [lives[node] for node in used["lives"]],
            [constants[node] for node in used["constants"]],
            list(names),
        )

    def _move_last(self, node: Node) -> None:
        """Put an argument behind those before it, in front of all calls."""
        first = next((other for other in self.graph.nodes if other.op != "placeholder"), None)
        if first is not None:
            first.prepend(node)


class Plan:
    """Straight-line code that computes what hooks computed when they were recorded.

    Attributes
    ----------
    code : str
        The source.
    inputs : list of (str, str, kind)
        The tensors that it takes: ``"output"`` or ``"param"``, the name, and shape, dtype and device.
    results : list of str
        Names of what it computes.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        code: str,
        inputs: list[tuple[str, str, Any]],
        lives: list[regkit.Live],
        constants: list[torch.Tensor],
        results: list[str],
    ) -> None:
        self._function = function
        self.code = code
        self.inputs = inputs
        self._lives = lives
        self._constants = constants
        self.results = results
        self._params = [(name, kind) for what, name, kind in inputs if what == "param"]
        self._sources = [(what == "param", name) for what, name, _ in inputs]

    def fits(self, params: Mapping[str, torch.Tensor]) -> bool:
        """Tell whether the parameters are there, of the shapes, dtypes and devices that it was recorded for."""
        return all(name in params and _kind(params[name]) == kind for name, kind in self._params)

    def arguments(self, outputs: Mapping[str, torch.Tensor], params: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
        """Return the tensors that it takes, in their order."""
        return [params[name] if of_params else outputs[name] for of_params, name in self._sources]

    def __call__(self, tensors: Sequence[torch.Tensor]) -> tuple[Any, ...]:
        """Return the results for tensors, in the order of `inputs`."""
        if self._lives or self._constants:
            result = self._function(*tensors, *[float(live.value) for live in self._lives], *self._constants)
        else:
            result = self._function(*tensors)
        return result  # type: ignore[no-any-return]  # as fx wrote it


def _kind(tensor: torch.Tensor) -> tuple[Any, ...]:
    return tensor.shape, tensor.dtype, tensor.device


#: Functions that give something else at every call.
IMPURE: set[Any] = {torch.rand, torch.randn}


def _with_constants(given: Any, recording: Recording) -> Any:
    """Arguments of a call in which no tensor stands: those that hooks made become arguments of the plan."""
    if isinstance(given, torch.Tensor):
        return recording._constant(given)
    if isinstance(given, (tuple, list)):
        return type(given)([_with_constants(one, recording) for one in given])
    if isinstance(given, dict):
        return {key: _with_constants(one, recording) for key, one in given.items()}
    return given


def _without_division_by_one(node: Node) -> None:
    """Take out what changes nothing: a product with 1, or a division by it, as a mean over one term has them."""
    if node.op != "call_function" or node.target not in (operator.truediv, operator.mul) or len(node.args) != 2:
        return
    first, second = node.args
    for kept, number in ((first, second), *(((second, first),) if node.target is operator.mul else ())):
        same = isinstance(kept, Node) and kept.meta.get("dtype") == node.meta.get("dtype") is not None
        if same and type(number) in (int, float) and number == 1:
            node.replace_all_uses_with(kept)
            node.graph.erase_node(node)
            return


def _merge_equal(graph: Graph) -> None:
    """Compute once what is the same: the same function of the same arguments, but for draws."""
    seen: dict[Any, Node] = {}
    for node in list(graph.nodes):
        if node.op != "call_function" or node.target in IMPURE:
            continue
        key = (node.target, repr(node.args), repr(sorted(node.kwargs.items(), key=lambda item: item[0])))
        earlier = seen.setdefault(key, node)
        if earlier is not node:
            node.replace_all_uses_with(earlier)
            graph.erase_node(node)
