"""Which named expressions of a graph stand as copies within its nodes.

A step function that uses an expression of the network takes a copy of its whole computation inside, and so does an
OpFromGraph. A change of the expression outside would leave that copy as it was, silently. Expressions inside and
outside are compared by signatures: the operations they are made of, down to the inputs. Where the library keeps where
in a program an expression was made, copies have that in common, and equal expressions that are not copies have not.
"""

from __future__ import annotations

from ..errors import GraphError
from ._inner_graphs import Interior, has_interior, nodes_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from typing import Any

#: The operations that unpack several variables from the one vector of SciPy's solvers.
UNPACKING = ("Split", "SplitDims", "Reshape", "DimShuffle", "ExpandDims", "ScalarFromTensor", "Cast")


class Copies:
    """The copies of named expressions that stand within the nodes of a graph."""

    def __init__(self, named: Collection[Any], nodes: list[Any], constant: Any, made_by: str) -> None:
        self._constant = constant
        self._made_by = made_by
        self._numbers: dict[Any, int] = {}  # a signature's key -> its number
        self._fixed: dict[Any, str] = {}  # named expression -> why a copy of it cannot be replaced
        self._wanted: dict[int, list[Any]] = {}  # number of a signature -> the named expressions that have it
        self.interiors: dict[Any, Interior] = {}
        with_interior = [node for node in nodes if has_interior(node.op, made_by)]
        if not with_interior:
            return
        signatures = self._outer_signatures(named, nodes, with_interior)
        for expression in named:
            if expression.owner is not None:
                self._wanted.setdefault(signatures[expression], []).append(expression)
        for node in with_interior:
            self.interiors[node] = self._look_inside(node, signatures, set(), [])

    def within_node(self, node: Any) -> list[Any]:
        """Return the named expressions of which copies stand within a node."""
        return list(dict.fromkeys(self.interiors[node].all_copies())) if node in self.interiors else []

    def in_order(self, nodes: list[Any]) -> list[Any]:
        """Return the nodes so that each comes after what it needs and after the expressions it has copies of."""
        after = {node: [copied.owner for copied in self.within_node(node)] for node in self.interiors}
        if not any(after.values()):
            return nodes
        return list(nodes_of([output for node in nodes for output in node.outputs[:1]], after))

    def check(self, expression: Any, names: list[str]) -> None:
        """Raise if an expression that was changed stands within a node where it cannot be replaced."""
        if expression in self._fixed:
            raise GraphError(f"{names[0]!r} stands within {self._fixed[expression]}")

    def _outer_signatures(self, named: Iterable[Any], nodes: list[Any], with_interior: list[Any]) -> dict[Any, int]:
        """Number the variables of the graph.

        The inputs of a step, of which somebody kept an expression, are not those of the graph: only their type counts.
        No Scan sees them from outside, and no output except the one that was kept.
        """
        reached = _roots([variable for node in with_interior for variable in node.inputs])
        users: dict[Any, set[Any]] = {expression: {expression} for expression in named}  # of each, up to two
        for node in reversed(nodes):
            using = set().union(*(users.get(output, ()) for output in node.outputs))
            for variable in node.inputs:
                of_it = users.setdefault(variable, set())
                of_it.update(list(using - of_it)[: max(0, 2 - len(of_it))])
        signatures = {}
        for root, using in users.items():
            if root.owner is None and not isinstance(root, self._constant):
                inner = root not in reached and len(using) < 2
                signatures[root] = self._number(("placeholder", root.type) if inner else ("input", id(root)))
        self._sign(nodes, signatures)
        for expression in named:
            self._of(expression, signatures)
        return signatures

    def _look_inside(
        self, node: Any, outside: dict[Any, int], moving: Collection[Any], around: list[Interior]
    ) -> Interior:
        interior = Interior(node, self._made_by)
        around = [*around, interior]
        signatures = {variable: self._number(("placeholder", variable.type)) for variable in interior.inputs}
        for inner, outer in (*interior.passed.items(), *interior.first.items()):
            signatures[inner] = self._of(outer, outside)
            if outer in moving:
                interior.moving.add(inner)
        self._sign(interior.nodes, signatures)
        unpacked = self._unpacked(interior, node) if interior.first and interior.kind == "other" else {}
        for inner_node in interior.nodes:
            if not interior.moving.isdisjoint(inner_node.inputs):
                interior.moving.update(inner_node.outputs)
            for variable in inner_node.outputs:
                self._compare(variable, signatures, around, unpacked)
            if has_interior(inner_node.op, self._made_by):
                interior.within[inner_node] = self._look_inside(inner_node, signatures, interior.moving, around)
        return interior

    def _compare(
        self, variable: Any, signatures: dict[Any, int], around: list[Interior], unpacked: dict[Any, set[Any]]
    ) -> None:
        """Record of which named expression an inner variable is a copy, and whether it can be replaced."""
        originals = self._wanted.get(signatures[variable], [])
        if unpacked:
            everything = [expression for alike in self._wanted.values() for expression in alike]
            originals = [e for e in everything if _solved_for(e, variable, unpacked)]
        if not any(interior.thawed for interior in around):
            originals = [expression for expression in originals if _may_be_copy(expression, variable)]
        rigid = [interior for interior in around if interior.kind == "other"]
        for original in originals:
            where = f"{type(around[-1].op).__name__}, "
            if rigid:
                where += f"where a rebuild cannot reach it. {rigid[0].remedy()}"
            elif variable in around[-1].moving:
                where += f"where it is another at every step and a rebuild cannot reach it. {around[-1].remedy()}"
            elif len(originals) > 1:
                where += f"or what is computed alike does, and a rebuild cannot tell which. {around[-1].remedy()}"
            else:
                around[-1].copies[variable] = original
                continue
            self._fixed.setdefault(original, where)

    def _unpacked(self, interior: Interior, node: Any) -> dict[Any, set[Any]]:
        """Return the variables that a solver unpacks from its vector, with those outside that each may stand for."""
        outside = {variable for inner in nodes_of(node.inputs[:1]) for variable in (*inner.inputs, *inner.outputs)}
        outside.update(node.inputs[:1])
        taken = set(interior.inputs[:1])
        for inner in interior.nodes:
            if inner.inputs and inner.inputs[0] in taken and _name(inner.op) in UNPACKING:
                taken.update(inner.outputs)
        return {v: {o for o in outside if o.dtype == v.dtype and o.ndim == v.ndim} for v in taken}

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


def _may_be_copy(original: Any, variable: Any) -> bool:
    """Return whether two expressions of one signature were made at one place of a program, as far as that is known.

    A copy keeps where its original was made. PyTensor from 3.3 on does not keep it for what stands within nodes.
    """
    places = [getattr(v.tag, "trace", None) or [] for v in (original, variable)]
    return not all(places) or any(place == other for place in places[0] for other in places[1])


def _roots(variables: list[Any]) -> set[Any]:
    """Return the variables without owner from which variables are computed."""
    used = [variable for node in nodes_of(variables) for variable in node.inputs]
    return {variable for variable in (*variables, *used) if variable.owner is None}


def _solved_for(expression: Any, variable: Any, unpacked: dict[Any, set[Any]]) -> bool:
    """Return whether an inner variable is an expression computed from a solver's vector, in the place of its first."""
    pairs, depends = [(expression, variable)], False
    seen = set()
    while pairs:
        pair = pairs.pop()
        if pair in seen:
            continue
        seen.add(pair)
        outer, inner = pair
        if outer in unpacked.get(inner, ()):
            depends = True
        elif outer.owner is None or inner.owner is None:
            if inner in unpacked or outer.type != inner.type:
                return False
        elif outer.owner.op != inner.owner.op or outer.owner.outputs.index(outer) != inner.owner.outputs.index(inner):
            return False
        else:
            pairs += zip(outer.owner.inputs, inner.owner.inputs)
    return depends


def _name(op: Any) -> str:
    return type(getattr(op, "scalar_op", op)).__name__


def _hashable(data: Any) -> Any:
    return (data.dtype.str, data.shape, data.tobytes()) if hasattr(data, "tobytes") else repr(data)
