"""Graphs within nodes, such as the step of a Scan: what stands there cannot be replaced from outside.

A step function that uses an expression of the network takes a copy of its whole computation inside. A change of the
expression outside would leave that copy as it was, silently. Expressions inside and outside are compared by
signatures: the operations they are made of, down to the inputs.
"""

from __future__ import annotations

from ..errors import GraphError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any


class Interiors:
    """The expressions that stand within the nodes of a graph."""

    def __init__(self, named: Iterable[Any], nodes: list[Any], constant: Any) -> None:
        self._constant = constant
        self._numbers: dict[Any, int] = {}  # a signature's key -> its number
        self._signatures: dict[Any, int] = {}  # variable of the outer graph -> the number of its signature
        self._inside: dict[int, Any] = {}  # number of a signature found inside a node -> the node's operation
        with_interior = [node for node in nodes if _interior(node) is not None]
        if with_interior:
            outer = {variable for node in nodes for variable in node.inputs if variable.owner is None}
            reached = roots([variable for node in with_interior for variable in node.inputs])
            users = dict.fromkeys(outer, 0)
            for expression in named:
                for root in roots([expression]):
                    users[root] = users.get(root, 0) + 1
            # The inputs of a step, of which somebody kept an expression, are not those of the graph: only their type
            # counts. They are seen by no Scan from outside, and by no output but the one that was kept.
            for root in outer:
                if not isinstance(root, constant):
                    inner = root not in reached and users[root] < 2
                    self._signatures[root] = self._number(("placeholder", root.type) if inner else ("input", id(root)))
            self._sign(nodes, self._signatures)
            for node in with_interior:
                self._look_inside(node, self._signatures, node.op)

    def check(self, expression: Any, names: list[str]) -> None:
        """Raise if an expression that was changed outside stands within a node as well."""
        operation = self._inside.get(self._signatures.get(expression, -1))
        if operation is not None:
            raise GraphError(
                f"{names[0]!r} stands within {type(operation).__name__}, where a rebuild cannot reach it. Pass it to "
                "the step as an argument (non_sequences), or change the graph while it is built, with modify_graph"
            )

    def _look_inside(self, node: Any, outside: dict[Any, int], operation: Any) -> None:
        interior = _interior(node)
        if interior is None:
            return
        inner_inputs, inner_outputs, passed = interior
        signatures = {variable: self._number(("placeholder", variable.type)) for variable in inner_inputs}
        signatures.update({inner: self._of(outer, outside) for inner, outer in passed})
        nodes = list(_nodes(inner_outputs))
        self._sign(nodes, signatures)
        for inner_node in nodes:
            for variable in inner_node.outputs:
                self._inside.setdefault(signatures[variable], operation)
            self._look_inside(inner_node, signatures, operation)

    def _sign(self, nodes: list[Any], signatures: dict[Any, int]) -> None:
        for node in nodes:
            inputs = tuple(self._of(variable, signatures) for variable in node.inputs)
            for index, variable in enumerate(node.outputs):
                signatures[variable] = self._number((node.op, index, inputs))

    def _of(self, variable: Any, signatures: dict[Any, int]) -> int:
        if variable not in signatures:
            if isinstance(variable, self._constant):
                key: Any = ("constant", variable.type, _hashable(variable.data))
            else:
                key = ("input", id(variable))
            signatures[variable] = self._number(key)
        return signatures[variable]

    def _number(self, key: Any) -> int:
        return self._numbers.setdefault(key, len(self._numbers))


def _interior(node: Any) -> tuple[list[Any], list[Any], list[tuple[Any, Any]]] | None:
    """Inputs and outputs of the graph within a node, and which of the inputs stand for which of the node's own."""
    operation = node.op
    if not hasattr(operation, "inner_non_seqs"):  # an OpFromGraph has its inputs by name, and nothing is closed over
        return None
    prefix = "inner_" if hasattr(operation, "inner_inputs") else ""  # theano has none
    inner_inputs, inner_outputs = (list(getattr(operation, prefix + name)) for name in ("inputs", "outputs"))
    passed = list(zip(operation.inner_non_seqs(inner_inputs), operation.outer_non_seqs(node.inputs)))
    if hasattr(operation, "inner_shared"):  # newer pytensor passes shared variables like the others
        passed += zip(operation.inner_shared(inner_inputs), operation.outer_shared(node.inputs))
    return inner_inputs, inner_outputs, passed


def roots(variables: list[Any]) -> set[Any]:
    """Return the variables without owner from which variables are computed."""
    used = [variable for node in _nodes(variables) for variable in node.inputs]
    return {variable for variable in (*variables, *used) if variable.owner is None}


def _nodes(variables: list[Any]) -> Iterator[Any]:
    """The nodes from which variables are computed, each after those it needs, without recursion."""
    done = set()
    waiting = [variable.owner for variable in variables if variable.owner is not None]
    while waiting:
        node = waiting[-1]
        needed = [v.owner for v in node.inputs if v.owner is not None and v.owner not in done]
        if node in done or not needed:
            waiting.pop()
            if node not in done:
                done.add(node)
                yield node
        else:
            waiting += needed


def _hashable(data: Any) -> Any:
    return (data.dtype.str, data.shape, data.tobytes()) if hasattr(data, "tobytes") else repr(data)
