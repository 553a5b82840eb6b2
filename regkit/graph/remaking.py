"""Making nodes anew with expressions in the place of copies that stand within them."""

from __future__ import annotations

from .engines import module
from .libraries import library

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from .interiors import Interior

    Place = Callable[[Any], Any]


def remade(node: Any, interior: Interior, inputs: list[Any], replaced: Mapping[Any, Any]) -> list[Any]:
    """Return what a node gives with other inputs, the copies that stand within it replaced.

    A Scan gets each expression as one more argument of its step (non_sequences). The graph of an OpFromGraph takes its
    place.

    Parameters
    ----------
    node : node
    interior : Interior
        The node's.
    inputs : list of expressions
        In the place of the node's own.
    replaced : mapping of expression to expression
        What takes the place of the copies of each.
    """
    return _remade(node, interior, inputs, set(replaced), replaced.__getitem__)


def _remade(node: Any, interior: Interior, inputs: list[Any], originals: set[Any], place: Place) -> list[Any]:
    make = _scan if interior.kind == "scan" else _block
    made = make(node, interior, inputs, originals, place)
    return [of_the_type(new, old) for new, old in zip(made, node.outputs)]


def _block(node: Any, interior: Interior, inputs: list[Any], originals: set[Any], place: Place) -> list[Any]:
    return _walk(interior, dict(zip(interior.inputs, inputs)), originals, place)


def _scan(node: Any, interior: Interior, inputs: list[Any], originals: set[Any], place: Place) -> list[Any]:
    arguments: dict[Any, tuple[Any, Any]] = {}  # what is passed in addition: its name within, what it is outside

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
    """Make an inner graph anew, from what is in the place of its inputs on."""
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
    """Return what takes the place of an expression, with the lengths of axes that were known of it.

    Raises
    ------
    ValueError
        If they are known to be others.
    """
    if result.type == expression.type or not hasattr(expression.type, "ndim"):
        return result
    if library(result) == "theano":  # which knows of an axis whether its length is 1, and no other length
        if result.broadcastable != expression.broadcastable:
            result = module("theano", "tensor").patternbroadcast(result, expression.broadcastable)
        return result
    before, now = expression.type.shape, result.type.shape
    if any(old is not None and new is not None and old != new for old, new in zip(before, now)):
        raise ValueError(f"{result.type} instead of {expression.type}")
    if any(old is not None and new is None for old, new in zip(before, now)):
        lengths = [new if old is None else old for old, new in zip(before, now)]
        result = module(library(result), "tensor.shape").specify_shape(result, lengths)
    return result
