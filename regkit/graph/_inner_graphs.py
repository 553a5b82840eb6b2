"""Graphs within nodes, such as the step of a Scan: their variables, and nodes made anew with changes within."""

from __future__ import annotations

from .._engines import import_library_module, library

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any

    Place = Callable[[Any], Any]


class Interior:
    """The graph within one node.

    Attributes
    ----------
    kind : {"scan", "block", "other"}
        The step of a Scan; the graph of an OpFromGraph, which can replace the node; a graph that cannot be rebuilt.
    inputs, outputs, nodes : list
        Those of the inner graph, the nodes in topological order.
    thawed : bool
        Whether the library keeps the inner graph frozen, without the places where its expressions were made.
    passed : dict
        Inner inputs that always have the value of one input of the node, with that input.
    first : dict
        Inner inputs that have the value of an input of the node only at the first step, with that input.
    moving : set
        Inner variables that depend on any other inner input, and so differ at every step.
    copies : dict
        Inner variables that are copies of a named expression, with that expression.
    within : dict
        Inner nodes that have inner graphs themselves, with their interiors.
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
        elif isinstance(op, import_library_module(f"{made_by}.compile.builders").OpFromGraph):
            self.kind = "block" if _is_plain_block(op, made_by) else "other"
            self.passed.update(zip(self.inputs, node.inputs))
        else:  # a solver, which tries values of its first input
            self.kind = "other"
            self.passed.update(zip(self.inputs[1:], node.inputs[1:]))
            self.first.update(zip(self.inputs[:1], node.inputs))
        self.moving = set(self.inputs) - set(self.passed)

    def remedy(self) -> str:
        """Return the advice for a copy that cannot be replaced."""
        build = "change the graph while it is built, with modify_graph"
        if self.kind == "scan":
            return f"Pass it to the step as an argument (non_sequences), or {build}"
        if self.passed.keys() >= set(self.inputs):
            return f"Give it to the {type(self.op).__name__} as an input, or {build}"
        return build.capitalize()

    def all_copies(self) -> Iterator[Any]:
        """Return the named expressions that have copies here or further within."""
        yield from self.copies.values()
        for interior in self.within.values():
            yield from interior.all_copies()


def nodes_of(variables: Iterable[Any], after: dict[Any, list[Any]] | None = None) -> Iterator[Any]:
    """Return the nodes from which variables are computed, each after those it needs, without recursion.

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
    """Return whether a node's operation has a graph of the user's within."""
    if hasattr(op, "inner_non_seqs"):
        return True
    block = import_library_module(f"{made_by}.compile.builders").OpFromGraph
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
    """Return whether the graph of an OpFromGraph can stand in its place, gradients and all."""
    own_gradient = not (getattr(op, "_lop_is_default", True) and getattr(op, "_rop_is_default", True))
    for name in ("pullback_overrides", "pushforward_overrides"):
        own_gradient = own_gradient or getattr(op, name, None) is not None
    return type(op) is import_library_module(f"{made_by}.compile.builders").OpFromGraph and not own_gradient


def remade(node: Any, interior: Interior, inputs: list[Any], replaced: Mapping[Any, Any]) -> list[Any]:
    """Return the results of a node with other inputs, and with the copies within it replaced.

    A Scan gets each expression as one more argument of its step (non_sequences). An OpFromGraph is replaced by its
    graph.

    Parameters
    ----------
    node : node
    interior : Interior
        The node's.
    inputs : list of expressions
        The new inputs of the node.
    replaced : mapping of expression to expression
        By named expressions, the expression that replaces the copies.
    """
    return _remade(node, interior, inputs, set(replaced), replaced.__getitem__)


def _remade(node: Any, interior: Interior, inputs: list[Any], originals: set[Any], place: Place) -> list[Any]:
    make = _scan if interior.kind == "scan" else _block
    made = make(node, interior, inputs, originals, place)
    return [of_the_type(new, old) for new, old in zip(made, node.outputs)]


def _block(node: Any, interior: Interior, inputs: list[Any], originals: set[Any], place: Place) -> list[Any]:
    return _walk(interior, dict(zip(interior.inputs, inputs)), originals, place)


def _scan(node: Any, interior: Interior, inputs: list[Any], originals: set[Any], place: Place) -> list[Any]:
    arguments: dict[Any, tuple[Any, Any]] = {}  # added arguments: the variable within, the expression outside

    def place_within(original: Any) -> Any:
        if original not in arguments:
            outer = place(original)
            arguments[original] = (outer.type(), outer)
        return arguments[original][0]

    step_inputs = [variable.type() for variable in interior.inputs]
    outputs = _walk(interior, dict(zip(interior.inputs, step_inputs)), originals, place_within)
    more = list(arguments.values())
    step_inputs += [inner for inner, _ in more]
    op = node.op
    if library(node.outputs[0]) == "theano":
        new_op = type(op)(step_inputs, outputs, op.info.copy())
    else:
        import dataclasses

        names = ("mode", "truncate_gradient", "name", "as_while", "profile", "allow_gc", "strict")
        taken = type(op).__init__.__code__.co_varnames  # newer libraries have as_while among the rest of info
        info = dataclasses.replace(op.info, n_non_seqs=op.info.n_non_seqs + len(more))
        options = {name: getattr(op, name) for name in names if name in taken and hasattr(op, name)}
        new_op = type(op)(step_inputs, outputs, info, **options)
    return list(new_op.make_node(*inputs, *(outer for _, outer in more)).outputs)


def _walk(interior: Interior, made: dict[Any, Any], originals: set[Any], place: Place) -> list[Any]:
    """Rebuild an inner graph from the replacements of its inputs; return its outputs."""
    for node in interior.nodes:
        inputs = [made.get(variable, variable) for variable in node.inputs]
        within = interior.within.get(node)
        if within and not originals.isdisjoint(within.all_copies()):
            outputs = _remade(node, within, inputs, originals, place)
        else:
            outputs = node.clone_with_new_inputs(inputs, strict=False).outputs
        for old, new in zip(node.outputs, outputs):
            original = interior.copies.get(old)
            made[old] = place(original) if original in originals else new
    return [made.get(variable, variable) for variable in interior.outputs]


def of_the_type(result: Any, expression: Any) -> Any:
    """Return a replacement for an expression, with the known lengths of the axes of that expression.

    Raises
    ------
    ValueError
        If they are known to be others.
    """
    if result.type == expression.type or not hasattr(expression.type, "ndim"):
        return result
    if library(result) == "theano":  # which knows of an axis whether its length is 1, and no other length
        if result.broadcastable != expression.broadcastable:
            result = import_library_module("theano.tensor").patternbroadcast(result, expression.broadcastable)
        return result
    before, now = expression.type.shape, result.type.shape
    if any(old is not None and new is not None and old != new for old, new in zip(before, now)):
        raise ValueError(f"{result.type} instead of {expression.type}")
    if any(old is not None and new is None for old, new in zip(before, now)):
        lengths = [new if old is None else old for old, new in zip(before, now)]
        result = import_library_module(f"{library(result)}.tensor.shape").specify_shape(result, lengths)
    return result
