"""Changing named expressions of a finished graph, and everything that depends on them."""

from __future__ import annotations

from ..errors import GraphError
from .interiors import Interiors
from .libraries import common_library, library, module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Modify = Callable[[dict[str, Any]], None]


def rebuild(outputs: Mapping[str, Any], modify: Modify) -> dict[str, Any]:
    """Return the named expressions of a graph with changes applied to them from the inputs on.

    The graph is walked in topological order. Each node is built anew with its rebuilt inputs, so that a change is seen
    by all that depends on it, other changed expressions included. (Replacing two dependent expressions in one
    ``clone`` silently loses the first.) The given graph is untouched.

    Parameters
    ----------
    outputs : mapping of str to expression
        Named expressions of one graph.
    modify : callable
        Called with a dict of the rebuilt expression by its name, for each; it may replace the expression, keeping its
        dtype and number of dimensions, and add others under new names. Names of the same expression come in one call.

    Returns
    -------
    dict of str to expression
        The same names, rebuilt, then the new ones that `modify` added.

    Raises
    ------
    GraphError
        If the expressions are arrays, or of several libraries or graphs, if `modify` changes a dtype or a number of
        dimensions or takes a name away, or if what it changes also stands within a Scan, where it cannot be replaced.
    """
    made_by = common_library(outputs.items())
    if made_by is None:
        return {}
    if made_by == "numpy":
        raise GraphError("arrays have their value and no graph, so nothing can be rebuilt")
    named: dict[Any, list[str]] = {}
    for name, expression in outputs.items():
        named.setdefault(expression, []).append(name)
    basic = module(made_by, "graph.basic")
    traversal = module(made_by, "graph.traversal" if made_by == "pytensor" else "graph.basic")
    nodes = traversal.io_toposort([], list(named))
    _check_one_graph(named, nodes, basic.Constant)
    interiors = Interiors(named, nodes, basic.Constant)

    rebuilt: dict[Any, Any] = {}
    added: dict[str, Any] = {}

    def visit(original: Any, expression: Any) -> None:
        if original in named:
            changed = _modified(expression, named[original], modify, outputs, added)
            if changed is not expression:
                interiors.check(original, named[original])
            expression = changed
        if expression is not original:
            rebuilt[original] = expression

    for expression in named:
        if expression.owner is None:
            visit(expression, expression)
    for node in nodes:
        inputs = [rebuilt.get(variable, variable) for variable in node.inputs]
        changed = any(new is not old for new, old in zip(inputs, node.inputs))
        new_node = node.clone_with_new_inputs(inputs, strict=False) if changed else node
        for original, expression in zip(node.outputs, new_node.outputs):
            visit(original, expression)
    return {**{name: rebuilt.get(expression, expression) for name, expression in outputs.items()}, **added}


def _modified(
    expression: Any, names: list[str], modify: Modify, outputs: Mapping[str, Any], added: dict[str, Any]
) -> Any:
    """Run `modify` on one expression under all its names; return what it is now and collect what was added."""
    current = dict.fromkeys(names, expression)
    modify(current)
    common_library([("the graph", expression), *current.items()])
    results: list[Any] = []
    for name in names:
        if name not in current:
            raise GraphError(f"{name!r} was taken away. A changed output keeps its name")
        result = current.pop(name)
        if (result.dtype, result.ndim) != (expression.dtype, expression.ndim):
            raise GraphError(
                f"{name!r} was changed from {expression.type} to {result.type}; it keeps its dtype and dimensions"
            )
        if library(result) == "theano" and result.broadcastable != expression.broadcastable:
            result = module("theano", "tensor").patternbroadcast(result, expression.broadcastable)
        if result is not expression and all(result is not other for other in results):
            results.append(result)
    if len(results) > 1:
        raise GraphError(f"{', '.join(map(repr, names))} are one expression, and were changed into different ones")
    for name in current:
        if name in outputs or name in added:
            raise GraphError(f"the new name {name!r} is taken already")
    added.update(current)
    return results[0] if results else expression


def _check_one_graph(named: Mapping[Any, list[str]], nodes: list[Any], constant: type) -> None:
    """Raise for an expression that has no input in common with the others, directly or through yet others."""
    if len(named) < 2:
        return
    group: dict[Any, Any] = {}

    def find(variable: Any) -> Any:
        while group.setdefault(variable, variable) is not variable:
            group[variable] = variable = group[group[variable]]
        return variable

    for node in nodes:
        for variable in (*node.outputs, *node.inputs):
            if not isinstance(variable, constant) or variable in named:
                group[find(variable)] = find(node.outputs[0])
    parts: dict[Any, list[str]] = {}
    for expression, names in named.items():
        parts.setdefault(find(expression), []).extend(names)
    if len(parts) > 1:
        largest, *others = sorted(parts.values(), key=len, reverse=True)
        raise GraphError(
            f"{others[0][0]!r} is not in the graph of {', '.join(map(repr, largest))}: they have no input in common"
        )
