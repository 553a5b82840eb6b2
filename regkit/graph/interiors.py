"""Graphs within nodes, such as the step of a Scan: what they are made of, and what is passed to them."""

from __future__ import annotations

from .engines import module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any


class Interior:
    """The graph within one node.

    Attributes
    ----------
    kind : {"scan", "block", "other"}
        The step of a Scan; the graph of an OpFromGraph, which can stand in its place; one that cannot be made anew.
    inputs, outputs, nodes : list
        Of the inner graph, the nodes in topological order.
    thawed : bool
        Whether the library keeps the inner graph frozen, without telling where its expressions were made.
    passed : dict
        Inner inputs that are, in every use, what the node is given as one of its own inputs: which one.
    first : dict
        The same for inputs that start as that and go on as something else.
    moving : set
        Inner variables that are computed from any other input, and so are something else at every step.
    copies : dict
        Inner variables that are copies of a named expression: of which one.
    within : dict
        Inner nodes that have an interior themselves: which.
    """

    def __init__(self, node: Any, made_by: str) -> None:
        op = node.op
        self.op = op
        self.copies: dict[Any, Any] = {}
        self.within: dict[Any, Interior] = {}
        self.inputs, self.outputs, self.thawed = _inner_graph(op)
        self.nodes = list(nodes_of(self.outputs))
        self.passed: dict[Any, Any] = {}
        self.first: dict[Any, Any] = {}
        if hasattr(op, "inner_non_seqs"):
            self.kind = "scan"
            self.passed.update(zip(op.inner_non_seqs(self.inputs), op.outer_non_seqs(node.inputs)))
            for name in ("shared", "untraced_sit_sot"):
                if hasattr(op, f"inner_{name}"):
                    inner, outer = getattr(op, f"inner_{name}"), getattr(op, f"outer_{name}")
                    self.first.update(zip(inner(self.inputs), outer(node.inputs)))
        elif isinstance(op, module(made_by, "compile.builders").OpFromGraph):
            self.kind = "block" if _is_plain_block(op, made_by) else "other"
            self.passed.update(zip(self.inputs, node.inputs))
        else:  # a solver, which tries values of its first input
            self.kind = "other"
            self.passed.update(zip(self.inputs[1:], node.inputs[1:]))
            self.first.update(zip(self.inputs[:1], node.inputs))
        self.moving = set(self.inputs) - set(self.passed)

    def remedy(self) -> str:
        """Say what helps where a copy cannot be replaced."""
        build = "change the graph while it is built, with modify_graph"
        if self.kind == "scan":
            return f"Pass it to the step as an argument (non_sequences), or {build}"
        if self.passed.keys() >= set(self.inputs):
            return f"Give it to the {type(self.op).__name__} as an input, or {build}"
        return build.capitalize()

    def all_copies(self) -> Iterator[Any]:
        """The named expressions of which copies stand here or further within."""
        yield from self.copies.values()
        for interior in self.within.values():
            yield from interior.all_copies()


def nodes_of(variables: Iterable[Any], after: dict[Any, list[Any]] | None = None) -> Iterator[Any]:
    """The nodes from which variables are computed, each after those it needs, without recursion.

    `after` names further nodes that are to come before a node.
    """
    done = set()
    waiting = [variable.owner for variable in variables if variable.owner is not None]
    waiting.reverse()
    while waiting:
        node = waiting[-1]
        needed = [v.owner for v in node.inputs if v.owner is not None and v.owner not in done]
        if after and node in after:
            needed += [other for other in after[node] if other not in done]
        if node in done or not needed:
            waiting.pop()
            if node not in done:
                done.add(node)
                yield node
        else:
            waiting += needed


def has_interior(op: Any, made_by: str) -> bool:
    """Tell whether a node's operation has a graph of the user's within."""
    if hasattr(op, "inner_non_seqs"):
        return True
    block = module(made_by, "compile.builders").OpFromGraph
    if isinstance(op, block):  # the library's own are made of their inputs alone, and close over nothing
        return type(op) is block or not type(op).__module__.startswith(f"{made_by}.")
    return hasattr(op, "inner_inputs") and hasattr(op, "inner_outputs")


def _inner_graph(op: Any) -> tuple[list[Any], list[Any], bool]:
    graph: Any = getattr(op, "fgraph", None)
    if hasattr(graph, "unfreeze"):  # frozen nodes cannot be made anew
        graph = graph.unfreeze()
        return list(graph.inputs), list(graph.outputs), True
    # pytensor's and aesara's; theano's of an OpFromGraph; theano's of a Scan
    prefix = next(prefix for prefix in ("inner_", "local_", "") if hasattr(op, prefix + "inputs"))
    return list(getattr(op, prefix + "inputs")), list(getattr(op, prefix + "outputs")), False


def _is_plain_block(op: Any, made_by: str) -> bool:
    """Tell whether the graph of an OpFromGraph can stand in its place, gradients and all."""
    own_gradient = not (getattr(op, "_lop_is_default", True) and getattr(op, "_rop_is_default", True))
    for name in ("pullback_overrides", "pushforward_overrides"):
        own_gradient = own_gradient or getattr(op, name, None) is not None
    return type(op) is module(made_by, "compile.builders").OpFromGraph and not own_gradient
