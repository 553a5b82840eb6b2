"""Plans: the operations of hooks as straight-line code, made from a recording, and kept for a set and a network."""

from __future__ import annotations

import operator
from collections import OrderedDict
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Graph, Node
from torch.utils.weak import WeakIdKeyDictionary

from ._arrays import is_sharded, length_of
from ._forward import version_of
from ._functions import sorted_along

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import regkit

    from ._arrays import Expression, Recording
    from ._compiled import Case, InGraph

    #: The name of an output, its shape, its dtype, its device.
    Kind = tuple[Any, ...]

#: How many plans of a set and a network are kept, the last used ones; and how many forms of a network.
PLANS = 512
FORMS = 8


class Plan:
    """Straight-line code for the recorded operations of hooks.

    Parameters
    ----------
    recording : Recording
    results : sequence of Expression
    names : sequence of str, default ()
        Names for the results.
    later : sequence of Expression, default ()
        More results, which the method `later` computes.
    conditions : hashable
        What it depends on besides outputs and parameters.

    Attributes
    ----------
    call : callable
        It takes the outputs and the parameters of the plan, and returns the results and what `later` needs besides.
    code : str
        The source.
    function : callable
        The same, which also takes live weights and constants.
    names, outputs, params : list of str
        Names of the results, and of the outputs and the parameters that `call` takes.
    names_of_all : list of str
        Names of all outputs in the recording.
    changed_by : frozenset of str
        The members that change these outputs.
    constants : list of tensor
    of_torch : bool
        Whether it has no live weights, and calls functions of torch alone.
    device : str
        The type of device that it was recorded on.
    any_lengths : bool
        Whether it is for outputs of other lengths too, with as many axes.
    """

    def __init__(
        self,
        recording: Recording,
        results: Sequence[Expression],
        names: Sequence[str] = (),
        later: Sequence[Expression] = (),
        conditions: Any = (),
    ) -> None:
        graph = recording.finished([*results, *later])
        _simplify(graph)
        nodes = _result(graph).args[0]
        if later:
            _fuse_weighted_sum(nodes[0])
        self._later = _split(graph, nodes[: len(results)], nodes[len(results) :])
        #: Whether all results are tensors; the number of a live weight may be among them.
        self.of_tensors = not any(node.meta.get("number", False) for node in _result(graph).args[0])
        taken = _in_order(graph, ("output", "param", "live", "constant"))
        self.names = list(names)
        self.conditions = conditions
        self.any_lengths = not recording.for_these_lengths
        self.outputs, self.params = ([node.meta["name"] for node in taken[kind]] for kind in ("output", "param"))
        self._lives: list[regkit.Live] = [node.meta["value"] for node in taken["live"]]
        self.constants: list[torch.Tensor] = [node.meta["value"] for node in taken["constant"]]
        self.of_torch = not self._lives and all(map(_is_of_torch, graph.nodes))
        self.names_of_all = list(recording.outputs)
        self.changed_by: frozenset[str] = frozenset()
        self._kinds_of_outputs = [
            (name, *kind_of(tensor)[:3], name in self.outputs) for name, tensor in recording.outputs.items()
        ]
        self._kinds_of_params = [kind_of(node.meta["value"]) for node in taken["param"]]
        #: Parameters that hooks looked at and the plan does not take: the code may have numbers from their shapes.
        self._seen = [(name, kind_of(param)) for name, param in recording.seen.items() if name not in self.params]
        self._ties = recording.ties
        self.device = "cpu" if recording.device is None else recording.device.type
        for node in (*graph.nodes, *self._later.nodes):  # tensors of this step, which nothing needs any more
            node.meta.clear()
        recording.forget()
        self.function, self.code = _compiled(graph, self.of_torch)
        self.call: Callable[..., tuple[Any, ...]] = (
            self._call_with_more if self._lives or self.constants else self.function
        )

    def _call_with_more(self, *tensors: torch.Tensor) -> tuple[Any, ...]:
        return self.function(*tensors, *[float(live.value) for live in self._lives], *self.constants)  # type: ignore[no-any-return]  # as fx wrote it

    @cached_property
    def later(self) -> Any:
        """The function that computes the results of `later` from everything that a call returned."""
        return _compiled(self._later, self.of_torch)[0]

    def outputs_in(self, shown: Mapping[str, tuple[torch.Tensor, int]]) -> list[torch.Tensor] | None:
        """Return the outputs that it takes; None if it was recorded for other ones, or one was changed in place.

        Parameters
        ----------
        shown : mapping of str to (tensor, int)
            Outputs by their names, with their counts of changes in place when they were seen.
        """
        if len(self._kinds_of_outputs) != len(shown):
            return None
        found = []
        for (name, shape, dtype, device, taken), (other, (tensor, version)) in zip(
            self._kinds_of_outputs, shown.items()
        ):
            if (
                name != other
                or (tensor.dim() != len(shape) if self.any_lengths else tensor.shape != shape)
                or tensor.dtype is not dtype
                or tensor.device != device
                or version_of(tensor) != version
            ):
                return None
            if taken:
                found.append(tensor)
        return found

    def params_by(self, param: Callable[[str], Any]) -> list[Any] | None:
        """Return the parameters that it takes; None if those of the network do not fit any more.

        Parameters fit if their shapes, dtypes and devices, and which of them are shared, are those of the recording.

        Parameters
        ----------
        param : callable
            It returns the present parameter of a name, or None.
        """
        if not self.params and not self._seen:
            return []
        params = [param(name) for name in self.params]
        if (
            len(set(map(id, params))) == len(params)
            and all(map(_is_of, params, self._kinds_of_params))
            and all(_is_of(param(name), kind) for name, kind in self._seen)
            and all(param(name) is param(other) for name, other in self._ties)
        ):
            return params
        return None


def _compiled(graph: Graph, shared: bool) -> tuple[Any, str]:
    """Return the function of a graph, and its source; torch.fx would keep a GraphModule for good.

    Sets of equal options share one function, since torch.compile would compile each function anew.
    """
    code = graph.python_code("self")
    make = _function if shared else _function.__wrapped__
    return make(code.src, tuple(code.globals.items())), code.src


@lru_cache(maxsize=PLANS)
def _function(source: str, names: tuple[tuple[str, Any], ...]) -> Any:
    found = dict(names)
    exec(source.replace("forward(self, ", "forward(", 1).replace("forward(self)", "forward()", 1), found)
    return found["forward"]


def _is_of_torch(node: Node) -> bool:
    """Return whether compiled code can call a node: a function of torch, without Python code of others."""
    if node.op != "call_function":
        return True
    module = getattr(node.target, "__module__", None) or "torch"  # methods have none
    return module.partition(".")[0] in ("torch", "_operator", "builtins") or node.target in (length_of, sorted_along)


def kind_of(tensor: torch.Tensor) -> tuple[Any, ...]:
    """Return the kind of a tensor: shape, dtype, device, and which part of it each process has."""
    return tensor.shape, tensor.dtype, tensor.device, tensor.placements if is_sharded(tensor) else None


def _is_of(tensor: Any, kind: Sequence[Any]) -> bool:
    """Return whether something is a tensor of a kind."""
    shape, dtype, device, placements = kind
    return (
        tensor is not None
        and tensor.shape == shape
        and tensor.dtype is dtype
        and tensor.device == device
        and (tensor.placements if is_sharded(tensor) else None) == placements
    )


# How a recorded graph is made shorter


def _simplify(graph: Graph) -> None:
    """Drop calls that change nothing, that occur twice, and that no result depends on."""
    for node in list(graph.nodes):
        _without_factor_one(node)
    _merge_equal(graph)
    graph.eliminate_dead_code()
    for node in graph.nodes:
        if node.op == "call_function" and node.target is torch.sum:  # the method takes a tenth less
            node.op, node.target = "call_method", "sum"


def _without_factor_one(node: Node) -> None:
    """Drop products with 1 and divisions by 1, as in a mean over one term."""
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
    """Call the same function of the same arguments once, except for draws."""
    seen: dict[Any, Node] = {}
    for node in list(graph.nodes):
        if node.op != "call_function" or node.target in (torch.rand, torch.randn):
            continue
        key = (node.target, repr(node.args), repr(sorted(node.kwargs.items(), key=lambda item: item[0])))
        earlier = seen.setdefault(key, node)
        if earlier is not node:
            node.replace_all_uses_with(earlier)
            graph.erase_node(node)


def _fuse_weighted_sum(total: Any) -> None:
    """Write a sum of weighted terms with one operation for each, ``torch.add(sum, term, alpha=weight)``, and not two.

    Multiplying a tensor by a Python number takes torch longer than any other operation on scalars.
    """
    while _is_call(total, operator.add):
        earlier, weighted = total.args
        weight, term = weighted.args if _is_call(weighted, operator.mul) else (None, None)
        is_number = isinstance(weight, float) or (isinstance(weight, Node) and weight.meta.get("number", False))
        dtypes = {one.meta.get("dtype") if isinstance(one, Node) else None for one in (total, earlier, weighted, term)}
        dtype = dtypes.pop() if len(dtypes) == 1 else None
        if is_number and dtype is not None and dtype.is_floating_point:
            total.target = torch.add
            total.args, total.kwargs = (earlier, term), {"alpha": weight}
        total = earlier


def _is_call(node: Any, function: Any) -> bool:
    return isinstance(node, Node) and node.op == "call_function" and node.target is function and len(node.args) == 2


def _split(graph: Graph, now: Sequence[Node], later: Sequence[Node]) -> Graph:
    """Make the first nodes the results of a graph, and return another graph that computes the other nodes from these.

    Further values that the other graph needs are added to the results. The graph's output is replaced.
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
    _result(graph).args = (tuple(results),)
    graph.eliminate_dead_code()
    return others


def _ancestors(nodes: Iterable[Node]) -> set[Node]:
    """Nodes and everything from which they are computed."""
    found: set[Node] = set()
    left = list(nodes)
    while left:
        node = left.pop()
        if node not in found:
            found.add(node)
            left += node.all_input_nodes
    return found


def _in_order(graph: Graph, kinds: Sequence[str]) -> dict[str, list[Node]]:
    """Return a graph's arguments by their kinds, and sort them so; arguments without users are removed."""
    found: dict[str, list[Node]] = {kind: [] for kind in kinds}
    calls = next(node for node in graph.nodes if node.op != "placeholder")
    for node in [node for node in graph.nodes if node.op == "placeholder"]:
        if node.users:
            found[node.meta["kind"]].append(node)
        else:
            graph.erase_node(node)
    for node in (one for nodes in found.values() for one in nodes):
        calls.prepend(node)
    return found


def _result(graph: Graph) -> Node:
    return next(iter(reversed(graph.nodes)))  # type: ignore[no-any-return]  # torch.fx puts the output last


# Where plans are kept


def _without_lengths(kind: Kind) -> Kind:
    """Return the kinds of outputs without their lengths."""
    name, shape, *rest = kind
    return name, len(shape), *rest


class Plans:
    """The plans of a set beside a network of one form, the last used ones.

    Attributes
    ----------
    form : object
        What the plans depend on besides the outputs: names of layers and parameters.
    layout : Layout or None
        The layout of a watched model of this form.
    last : Plan or None
        The plan of the last loss.
    in_graph : dict of Case to InGraph
        The plans that compiled code calls.
    """

    def __init__(self, form: Any) -> None:
        self.form = form
        self.layout: Any = None
        self.in_graph: dict[Case, InGraph | None] = {}
        self.last: Plan | None = None
        self._plans: OrderedDict[Any, Plan] = OrderedDict()

    def get(self, key: tuple[Any, ...], kinds: Sequence[Kind]) -> Plan | None:
        """Return the plan for a purpose and for names and kinds of outputs; None if there is none yet."""
        for full in ((*key, *map(_without_lengths, kinds)), (*key, *kinds)):
            plan = self._plans.get(full)
            if plan is not None:
                self._plans.move_to_end(full)
                return plan
        return None

    def put(self, key: tuple[Any, ...], kinds: Sequence[Kind], plan: Plan) -> None:
        """Keep a plan, and forget the least recently used one."""
        if plan.any_lengths:
            kinds = [_without_lengths(kind) for kind in kinds]
        full = (*key, *kinds)
        self._plans[full] = plan
        if len(self._plans) > PLANS:
            self._plans.popitem(last=False)


#: By a model, or by the set itself, and then by the set: by identity, since equal sets may have different members.
#: Neither is kept alive.
_kept: WeakIdKeyDictionary = WeakIdKeyDictionary()


def plans_of(owner: Any, regs: regkit.RegularizerSet, form: Any) -> Plans:
    """Return the plans of a set beside a network of a form; they live as long as the set and their owner.

    Parameters
    ----------
    owner : object
        A model, or the set.
    regs : regkit.RegularizerSet
    form : object
        Plans that were recorded for another form are not returned.
    """
    of_owner = _kept.get(owner)
    if of_owner is None:
        of_owner = _kept[owner] = WeakIdKeyDictionary()
    every = of_owner.get(regs)
    if every is None:
        every = of_owner[regs] = []
    for i, plans in enumerate(every):
        if plans.form == form:
            if i:
                every.insert(0, every.pop(i))
            return plans
    every.insert(0, Plans(form))
    del every[FORMS:]
    return every[0]
