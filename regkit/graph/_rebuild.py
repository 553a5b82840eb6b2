"""Changing named expressions of a finished graph, and everything that depends on them."""

from __future__ import annotations

from .._engines import common_engine, import_library_module
from ..errors import GraphError
from ._copies import Copies
from ._inner_graphs import nodes_of, of_the_type, remade

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any, overload

    Modify = Callable[[dict[str, Any]], None]


if TYPE_CHECKING:

    @overload
    def rebuild(outputs: Mapping[str, Any], modify: Modify) -> dict[str, Any]: ...
    @overload
    def rebuild(
        outputs: Mapping[str, Any], modify: Modify, also: Sequence[Any]
    ) -> tuple[dict[str, Any], tuple[Any, ...]]: ...


def rebuild(outputs: Mapping[str, Any], modify: Modify, also: Sequence[Any] | None = None) -> Any:
    """Return the named expressions of a graph with changes applied to them from the inputs on.

    The graph is walked in topological order. Each node is built anew with its rebuilt inputs, so that a change is seen
    by all that depends on it, other changed expressions included. (Replacing two dependent expressions in one
    ``clone`` silently loses the first.) The given graph is untouched.

    Parameters
    ----------
    outputs : mapping of str to expression
        Named expressions of one graph.
    modify : callable
        Called for each named expression, with a dict of its name to the rebuilt expression. It may replace the
        expression, keeping its dtype and number of dimensions, and add others under new names. An expression with
        several names has one call: all names get the first change.
    also : sequence of expressions, optional
        Further expressions to rebuild, such as a loss, which `modify` never gets.

    Returns
    -------
    dict of str to expression
        The same names, rebuilt, then the new ones that `modify` added.
    tuple of expressions
        Only if `also` is given: those, rebuilt, in their order.

    Raises
    ------
    GraphError
        If the expressions are arrays, or of several libraries, if `modify` changes a dtype, a number of dimensions or
        a known length, or takes a name away, if something is changed and the expressions are of several graphs, or if
        a changed expression also stands within a node where it cannot be replaced, such as the step of a Scan.
    """
    further = () if also is None else tuple(also)
    engine = common_engine([*outputs.items(), *((f"also {i}", expression) for i, expression in enumerate(further))])
    if engine is not None and not engine.rebuilds:
        raise GraphError(
            "arrays have their value and no graph, so nothing can be rebuilt. Change each before the next is computed "
            "from it, as modify_graph does"
        )
    result = ({}, ()) if engine is None else _rebuilt(outputs, modify, further, engine.name)
    return result[0] if also is None else result


def _rebuilt(
    outputs: Mapping[str, Any], modify: Modify, further: tuple[Any, ...], made_by: str
) -> tuple[dict[str, Any], tuple[Any, ...]]:
    named: dict[Any, list[str]] = {}
    for name, expression in outputs.items():
        named.setdefault(expression, []).append(name)
    constant = import_library_module(f"{made_by}.graph.basic").Constant
    nodes = list(nodes_of([*named, *further]))
    copies = Copies(named, nodes, constant, made_by)

    rebuilt: dict[Any, Any] = {}
    replaced: dict[Any, Any] = {}  # what `modify` changed itself
    added: dict[str, Any] = {}

    def visit(original: Any, expression: Any) -> None:
        if original in named:
            changed = _modified(expression, named[original], modify, outputs, added)
            if changed is not expression:
                if not replaced:
                    check_one_graph(named, nodes, constant)
                copies.check(original, named[original])
                replaced[original] = changed
            expression = changed
        if expression is not original:
            rebuilt[original] = expression

    for expression in named:
        if expression.owner is None:
            visit(expression, expression)
    for node in copies.in_order(nodes):
        inputs = [rebuilt.get(variable, variable) for variable in node.inputs]
        if any(original in replaced for original in copies.within_node(node)):
            made = remade(node, copies.interiors[node], inputs, replaced)
        elif any(new is not old for new, old in zip(inputs, node.inputs)):
            made = node.clone_with_new_inputs(inputs, strict=False).outputs
        else:
            made = node.outputs
        for original, expression in zip(node.outputs, made):
            visit(original, expression)
    return (
        {**{name: rebuilt.get(expression, expression) for name, expression in outputs.items()}, **added},
        tuple(rebuilt.get(expression, expression) for expression in further),
    )


class OneExpression(dict[str, "Any"]):
    """The names of one expression, as `modify` gets them; a change of one name counts for all.

    Each regularizer reads and changes the names as in any dict; then `agree` makes them one expression again.
    """

    def __init__(self, names: Iterable[str], expression: Any) -> None:
        super().__init__(dict.fromkeys(names, expression))
        self.expression = expression
        self._names = list(self)

    def agree(self) -> None:
        """Give all names the first changed expression."""
        changed = [self[name] for name in self._names if name in self and self[name] is not self.expression]
        if changed:
            self.expression = changed[0]
            self.update({name: changed[0] for name in self._names if name in self})


def _modified(
    expression: Any, names: list[str], modify: Modify, outputs: Mapping[str, Any], added: dict[str, Any]
) -> Any:
    """Run `modify` on one expression under all its names; return the new expression, and collect the added ones."""
    current = OneExpression(names, expression)
    modify(current)
    common_engine([("the graph", expression), *current.items()])
    for name in names:
        if name not in current:
            raise GraphError(f"{name!r} was taken away. A changed output keeps its name")
    current.agree()
    for name in current:
        if name not in names and (name in outputs or name in added):
            raise GraphError(
                f"the new name {name!r} is taken already. Give the outputs as they were before a set changed them"
            )
    result = current.expression
    if result is not expression:
        if (result.dtype, result.ndim) != (expression.dtype, expression.ndim):
            raise GraphError(
                f"{names[0]!r} was changed from {expression.type} to {result.type}; it keeps its dtype and dimensions"
            )
        try:
            result = of_the_type(result, expression)
        except ValueError:
            raise GraphError(
                f"{names[0]!r} was changed from {expression.type} to {result.type}; it keeps its shape"
            ) from None
    added.update({name: kept for name, kept in current.items() if name not in names})
    return result


def check_one_graph(named: Mapping[Any, list[str]], nodes: list[Any], constant: type) -> None:
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
