"""What hooks compute, recorded once and written as straight-line code: a plan."""

from __future__ import annotations

import operator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Graph, Node

import regkit

from .expression import Expression, Parameter
from .plans import Plan
from .rewriting import simplify, split, weights_into_sum

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

#: The recording that hooks run in here.
_recording: ContextVar[Recording | None] = ContextVar("recording", default=None)


class Recording:
    """Hooks run on tensors, and what they compute with them is written down as a graph of torch.fx."""

    def __init__(self, device: Any = None) -> None:
        self.device = device
        self.graph = Graph()
        self._first = self.graph.call_function(operator.pos, (0,))  # arguments of the plan come before it
        self._arguments: dict[int, Node] = {}  # live weights and constants by id
        self._seen: dict[str, torch.Tensor] = {}  # parameters that hooks looked at
        self._count = 0
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

    def input(self, kind: str, name: str, tensor: torch.Tensor) -> Expression:
        """Return an expression of a tensor that the plan takes as an argument: an ``"output"`` or a ``"param"``."""
        node = self._argument(kind, name, tensor)
        if kind == "param":
            return Parameter(tensor, node, self, lambda: self._seen.update({name: tensor}))
        return Expression(tensor, node, self)

    def live(self, weight: regkit.Live) -> Expression:
        """Return an expression of a live weight, whose value the plan takes as an argument."""
        if id(weight) not in self._arguments:
            self._arguments[id(weight)] = self._argument("live", "", weight)
        return Expression(float(weight.value), self._arguments[id(weight)], self, "float64")

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

    def _constant(self, tensor: torch.Tensor) -> Node:
        if id(tensor) not in self._arguments:
            self._arguments[id(tensor)] = self._argument("constant", "", tensor)
        return self._arguments[id(tensor)]

    def _argument(self, kind: str, name: str, value: Any) -> Node:
        """An argument of the plan, which remembers its value, so that nothing else gets the value's id."""
        self._count += 1
        with self.graph.inserting_before(self._first):
            node = self.graph.placeholder(f"{kind}_{self._count}")
        node.meta.update(kind=kind, name=name, value=value, number=kind == "live", dtype=getattr(value, "dtype", None))
        return node

    def plan(self, results: Sequence[Expression], names: Sequence[str] = (), rest: Sequence[Expression] = ()) -> Plan:
        """Return what computes the results, which have names, anew for other tensors of the same shapes and dtypes.

        Parameters
        ----------
        results : sequence of Expression
        names : sequence of str
            What they are called.
        rest : sequence of Expression
            More results, which are computed when they are asked for.
        """
        self.graph.output(tuple(self.node_of(result) for result in (*results, *rest)))
        self.graph.erase_node(self._first)
        simplify(self.graph)
        (output,) = (node for node in self.graph.nodes if node.op == "output")
        nodes = output.args[0]
        if rest:
            weights_into_sum(nodes[0])
        others = split(self.graph, nodes[: len(results)], nodes[len(results) :])
        used: dict[str, list[Node]] = {"output": [], "param": [], "live": [], "constant": []}
        for node in [node for node in self.graph.nodes if node.op == "placeholder"]:
            if not node.users:
                self.graph.erase_node(node)
            else:
                used[node.meta["kind"]].append(node)
        for node in [one for nodes in used.values() for one in nodes]:
            self._move_last(node)
        plan = Plan(
            self.graph,
            others,
            names,
            [node.meta["name"] for node in used["output"]],
            {node.meta["name"]: node.meta["value"] for node in used["param"]},
            self._seen,
            [node.meta["value"] for node in used["live"]],
            [node.meta["value"] for node in used["constant"]],
        )
        for node in self.graph.nodes:  # tensors of this step, which nothing needs any more
            node.meta.clear()
        return plan

    def _move_last(self, node: Node) -> None:
        """Put an argument behind those before it, in front of all calls."""
        first = next((other for other in self.graph.nodes if other.op != "placeholder"), None)
        if first is not None:
            first.prepend(node)


def _with_constants(given: Any, recording: Recording) -> Any:
    """Arguments of a call in which no tensor stands: those that hooks made become arguments of the plan."""
    if isinstance(given, torch.Tensor):
        return recording._constant(given)
    if isinstance(given, (tuple, list)):
        return type(given)([_with_constants(one, recording) for one in given])
    if isinstance(given, dict):
        return {key: _with_constants(one, recording) for key, one in given.items()}
    return given
