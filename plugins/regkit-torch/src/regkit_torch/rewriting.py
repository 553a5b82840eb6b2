"""What is done with a recorded graph before it becomes a plan: what changes nothing goes, sums are said faster."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Graph, Node

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Functions that give something else at every call.
IMPURE: set[Any] = {torch.rand, torch.randn}


def simplify(graph: Graph) -> None:
    """Take out what changes nothing, what is there twice, and what nothing depends on."""
    for node in list(graph.nodes):
        _without_division_by_one(node)
    _merge_equal(graph)
    graph.eliminate_dead_code()
    for node in graph.nodes:
        if node.op == "call_function" and node.target is torch.sum:  # the method takes a tenth less
            node.op, node.target = "call_method", "sum"


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


def weights_into_sum(total: Any) -> None:
    """Say a sum of weighted terms with one operation for each, ``torch.add(sum, term, alpha=weight)``, and not two.

    Multiplying a tensor by a Python number takes torch longer than any other operation on scalars.
    """
    while _is(total, operator.add):
        earlier, weighted = total.args
        weight, term = weighted.args if _is(weighted, operator.mul) else (None, None)
        is_number = isinstance(weight, float) or (isinstance(weight, Node) and weight.meta.get("number", False))
        dtypes = {one.meta.get("dtype") if isinstance(one, Node) else None for one in (total, earlier, weighted, term)}
        dtype = dtypes.pop() if len(dtypes) == 1 else None
        if is_number and dtype is not None and dtype.is_floating_point:
            total.target = torch.add
            total.args, total.kwargs = (earlier, term), {"alpha": weight}
        total = earlier


def _is(node: Any, function: Any) -> bool:
    return isinstance(node, Node) and node.op == "call_function" and node.target is function and len(node.args) == 2


def split(graph: Graph, now: Sequence[Node], later: Sequence[Node]) -> Graph:
    """Make the first nodes the results of a graph, and return another graph that computes the others from all results.

    What the other graph needs beside the results is added to them.

    Parameters
    ----------
    graph : Graph
        It has an output, which is replaced.
    now, later : sequence of Node
    """
    needed, wanted = _ancestors(now), _ancestors(later)
    moved = [node for node in graph.nodes if node in wanted and node not in needed and node.op != "placeholder"]
    used = [one for node in moved for one in node.all_input_nodes] + list(later)
    results = [*now, *(node for node in dict.fromkeys(used) if node not in (*moved, *now))]
    others = Graph()
    copies: dict[Node, Node] = {}
    for i, node in enumerate(results):
        copies[node] = others.placeholder(f"in_{i}")
    for node in moved:
        copies[node] = others.node_copy(node, lambda one: copies[one])
    others.output(tuple(copies[node] for node in later))
    (output,) = (node for node in graph.nodes if node.op == "output")
    output.args = (tuple(results),)
    graph.eliminate_dead_code()
    return others


def _ancestors(nodes: Iterable[Node]) -> set[Node]:
    """Nodes with all that they are computed from."""
    found: set[Node] = set()
    left = list(nodes)
    while left:
        node = left.pop()
        if node not in found:
            found.add(node)
            left += node.all_input_nodes
    return found
