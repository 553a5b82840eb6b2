"""The hooks of a set beside a network: which outputs they get, and the plans that are called in their place."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, nullcontext
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.utils.weak import WeakIdKeyDictionary

import regkit
from regkit import hosts

from ._arrays import Expression, Recording, created
from ._forward import version_of
from ._plans import Plan, kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Hashable, Iterable, Mapping, Sequence

    from ._forward import Forward
    from ._plans import Plans

    #: Outputs by their names, with their counts of changes in place when they were seen.
    Outputs = Mapping[str, tuple[torch.Tensor, int]]


class Network:
    """The layers of a run, with their parameters: a subclass for the layers of a `Run`, and one for a watched model.

    Attributes
    ----------
    caller : str
        The name of the public function, for errors.
    hint : str
        Advice for errors of patterns that match nothing.
    layers : list of (str, str or None, list of str)
        The name and the role of each layer, and the full names of its parameters.
    paths : list of str
        Names of outputs that need no tap.
    hidden : dict of str to None, or None
        Names of outputs that are selected by default; None where the layers have roles or an order.
    final : container of str
        Those that are the model's output in this loss, and so are not hidden.
    plans : Plans
        The plans of the set beside this network.
    routes : dict of str to Route
        The routes that `route` has returned, by names of outputs.
    regs : regkit.RegularizerSet
    routing : Routing
    train : bool
        Whether it is in training mode.
    unmatched : list of (hosts.Member, str)
        Globs that only a tapped name can match, with their members.
    """

    caller: str
    hint: str
    layers: list[tuple[str, str | None, list[str]]]
    paths: list[str]
    hidden: Mapping[str, None] | None = None
    final: Container[str] = ()
    plans: Plans
    routes: dict[str, Route]
    regs: regkit.RegularizerSet
    routing: Routing
    train: bool
    unmatched: list[tuple[hosts.Member, str]]

    def param(self, name: str) -> Any:
        """Return the present parameter of a full name; None if there is none."""
        raise NotImplementedError

    def params(self) -> Mapping[str, torch.Tensor]:
        """Return the present parameters by their full names."""
        raise NotImplementedError

    def params_to_change(self, members: Iterable[hosts.Member]) -> dict[str, torch.Tensor]:
        """Return all parameters by their names, for members that change some of them after a step."""
        return dict(self.params())

    def visible(self, member: hosts.Member) -> Container[str] | None:
        """Return the names of the parameters that a member sees, None for all."""
        return None

    def groups(self) -> list[tuple[list[str], Container[str] | None]]:
        """Return the names of members with a penalty, with the names of the parameters that each sees; None for all."""
        found: dict[Container[str] | None, list[str]] = {}
        for name, member in self.routing.penalizers.items():
            found.setdefault(self.visible(member), []).append(name)
        return [(names, visible) for visible, names in found.items()]

    def route(self, name: str) -> Route:
        """Return the route of an output."""
        if name not in self.routes:
            self.routes[name] = self.routing.route(name, self.hidden)
        return self.routes[name]

    def check(self, tapped: Iterable[str]) -> None:
        """Raise if no loss can be computed, given the names that were tapped."""
        if self.unmatched:
            self.check_taps(tapped)

    def check_taps(self, tapped: Iterable[str]) -> None:
        """Raise a `regkit.NoMatchError` for a glob of `unmatched` that matches no tapped name either."""
        self.unmatched = [(member, glob) for member, glob in self.unmatched if not may_find(member, glob, tapped)]
        for member, glob in self.unmatched:
            there = {"modules": self.paths} if self.paths else {}
            error = hosts.no_match(member, [glob], **there, **{"names of run.tap(name, value)": tapped})
            raise regkit.NoMatchError(f"{error}{self.tied(glob)}")

    def settle(self) -> None:
        """Handle the outputs that compiled code has left."""

    def check_began(self, since: str) -> None:
        """Raise, if a loss takes outputs, that there was no forward."""

    def check_seen(self, forwards: Sequence[Forward]) -> None:
        """Raise if a module that a member looks at ran unseen."""

    def of_forwards(self, forwards: Sequence[Forward]) -> Hashable:
        """Use the weights of these forwards; return what a plan depends on besides outputs and parameters."""
        return ()

    def noted(self, plan: Plan, outputs: Outputs) -> None:
        """Take a new plan for a loss of outputs."""

    def loss_in_graph(self) -> Computed | None:
        """Return the loss within compiled code; None where it cannot be computed there."""
        return None

    def check_globs(self, names: Iterable[str]) -> None:
        """Raise if one of several globs of a penalty matches no name."""

    def tied(self, glob: str) -> str:
        """Return a sentence on a module that a glob matches under another name; an empty string if there is none."""
        return ""

    def recorded_layers(
        self, recording: Recording, outputs: Container[str], visible: Container[str] | None = None
    ) -> list[regkit.Layer]:
        """Return the layers with expressions of their parameters.

        Parameters
        ----------
        recording : Recording
        outputs : container of str
            The names of all outputs. Other names in `hidden` are not hidden layers of this loss.
        visible : container of str, optional
            The names of parameters; by default all.
        """
        params = {
            name: recording.param(name, param)
            for name, param in self.params().items()
            if visible is None or name in visible
        }
        return [
            regkit.Layer(output_name, {name: params[name] for name in names if name in params}, role=role)
            for output_name, role, names in self.rows(outputs)
        ]

    def rows(self, outputs: Container[str]) -> list[tuple[str, str | None, list[str]]]:
        """Return the rows of `layers`; hidden are those in `hidden` that are among some outputs."""
        if self.hidden is None:
            return self.layers
        hidden = {name: "hidden" for name in self.hidden if name in outputs and name not in self.final}
        rows = [(name, hidden.pop(name, role), names) for name, role, names in self.layers]
        return rows + [(name, role, []) for name, role in hidden.items()]


@lru_cache(maxsize=1 << 15)  # a watch that is opened in each step repeats the calls
def may_match(path: str, glob: str) -> bool:
    """Return whether a glob may match an output of a module, such as ``lstm:0``, or an original kept beside it."""
    glob = glob.removeprefix("!")
    heads = (glob[: end.start()] for end in re.finditer("[:-]", glob))
    return any(fnmatchcase(path, head) for head in (glob, *heads)) or fnmatchcase(f"{path}:0", glob)


def may_find(member: hosts.Member, glob: str, names: Iterable[str]) -> bool:
    """Return whether a glob of a member may match an output of one of these names, or take one out."""
    globs = member.globs or ()
    earlier = [one for one in globs[: globs.index(glob)] if not one.startswith("!")] if glob.startswith("!") else []
    return any(
        may_match(name, glob) and (not earlier or any(may_match(name, one) for one in earlier)) for name in names
    )


class Route(NamedTuple):
    """Whether an output is kept, which members change it, and which of these do so in predictions too."""

    kept: bool
    changers: tuple[str, ...]
    predicting: tuple[str, ...]

    def changed_by(self, train: bool) -> tuple[str, ...]:
        """Return the members that change the output in one of the two modes."""
        return self.changers if train else self.predicting


class Routing:
    """The members of a set, sorted by what they do with outputs; made once for a set.

    Attributes
    ----------
    every : dict of str to hosts.Member
        By their names.
    changing, predicting, penalizing : RegularizerSet
        The sets of those that change outputs, of those that do so in predictions too, and of those with a penalty.
    changers, penalizers : dict of str to hosts.Member
        Those that change outputs, and those with a penalty.
    looking : dict of str to hosts.Member
        Those that get outputs after the forward: for a penalty, or for metrics.
    """

    def __init__(self, regs: regkit.RegularizerSet, caller: str) -> None:
        self.every = {member.name: member for member in hosts.members(regs, caller)}
        self.changers = {name: member for name, member in self.every.items() if member.changes_graph}
        self.penalizers = {name: member for name, member in self.every.items() if member.penalizes}
        self.looking = {
            name: member for name, member in self.every.items() if member.penalizes or "metrics" in member.hooks
        }
        self.changing = hosts.subset(regs, list(self.changers))
        self.predicting = hosts.subset(regs, [name for name, one in self.changers.items() if one.in_predictions])
        self.penalizing = hosts.subset(regs, list(self.penalizers))

    def route(self, name: str, hidden: Container[str] | None) -> Route:
        """Return the route of an output; `hidden` are the names that are selected by default."""
        changers = [
            changer
            for changer, member in self.changers.items()
            if (
                member.changes(name) if hidden is None or not member.needs_pattern else by_default(member, name, hidden)
            )
        ]
        predicting = [changer for changer in changers if self.changers[changer].in_predictions]
        kept = any(looks_at(member, name, hidden) for member in self.looking.values())
        return Route(kept, tuple(changers), tuple(predicting))


def looks_at(member: hosts.Member, name: str, hidden: Container[str] | None) -> bool:
    """Return whether a member gets an output; `hidden` are the names that are selected by default."""
    if hidden is None or not member.needs_pattern:
        return member.looks_at(name)
    # outputs that a glob takes out are kept too, since the set checks that they exist
    taken = name.partition("@")[0] in hidden or by_default(member, name, hidden)
    return taken or any(hosts.matches(name, globs) for globs in member.named)


def by_default(member: hosts.Member, name: str, hidden: Container[str]) -> bool:
    """Return whether a member that selects from the default, without a pattern or with ``!``, selects an output."""
    globs = member.globs or ()
    if name.partition("@")[0] in hidden:
        return not globs or hosts.matches(name, globs)
    adding = next((i for i, glob in enumerate(globs) if not glob.startswith("!")), len(globs))
    return adding < len(globs) and hosts.matches(name, globs[adding:])


#: The routings of sets, by identity, since equal sets may have different members; it does not keep a set alive.
_routing: WeakIdKeyDictionary = WeakIdKeyDictionary()


def routing_of(regs: regkit.RegularizerSet, caller: str) -> Routing:
    """Return the routing of a set; errors name the function `caller`."""
    routing = _routing.get(regs) if isinstance(regs, regkit.RegularizerSet) else None
    if routing is None:
        routing = Routing(regs, caller)
        _routing[regs] = routing
    return routing


class Computed(NamedTuple):
    """A set's part of a loss, as a plan returns it."""

    plan: Plan
    results: Sequence[torch.Tensor]  # the weighted sum, each penalty, and what `Plan.later` needs besides
    weighted: Sequence[torch.Tensor] | None  # None if `Plan.later` did not compute them yet

    def detached(self) -> Computed:
        """Return it without its graph."""
        if self.weighted is None and self.plan.of_tensors:
            return Computed(self.plan, [one.detach() if one.requires_grad else one for one in self.results], None)
        weighted = None if self.weighted is None else list(map(_detached, self.weighted))
        return Computed(self.plan, list(map(_detached, self.results)), weighted)


def _of_torch(scalar: Any) -> Expression:
    """Return an expression; a constant, as a projection has for a penalty, is a number of NumPy."""
    return scalar if isinstance(scalar, Expression) else created(torch.full, ((), float(scalar)), {})


def _detached(result: Any) -> Any:
    return result.detach() if isinstance(result, torch.Tensor) else result  # or the number of a live weight


class Hooks:
    """The hooks of a set beside a network. They run once for names, shapes and dtypes; then plans are called.

    Parameters
    ----------
    routing : Routing
    network : Network
    """

    def __init__(self, routing: Routing, network: Network) -> None:
        self._routing = routing
        self._network = network
        self._plans = network.plans

    def modify_graph(
        self, outputs: Mapping[str, torch.Tensor], train: bool
    ) -> tuple[dict[str, torch.Tensor], frozenset[str]]:
        """Return the outputs of one layer after the hook, with the originals that are kept, and who changed them."""
        key, kinds = ("modify_graph", train), [(name, *kind_of(tensor)) for name, tensor in outputs.items()]
        plan = self._plans.get(key, kinds)
        device = next(iter(outputs.values())).device
        with _full_precision(device.type):
            params = None if plan is None else plan.params_by(self._network.param)
            if plan is not None and params is not None:
                changed = dict(zip(plan.names, plan.call(*[outputs[name] for name in plan.outputs], *params)))
                return changed, plan.changed_by
            with Recording(device, global_draws=True) as recording:
                expressions = {name: recording.output(name, tensor) for name, tensor in outputs.items()}
                layers = self._network.recorded_layers(recording, outputs)
                changing = self._routing.changing if train else self._routing.predicting
                changing.modify_graph(expressions, layers)
                others = {member.name for member in hosts.unchanged(changing, expressions)}
        plan = Plan(recording, list(expressions.values()), list(expressions))
        plan.changed_by = frozenset(changing.keys()) - others
        self._plans.put(key, kinds, plan)
        return {name: expression.value for name, expression in expressions.items()}, plan.changed_by

    def in_predictions(self, outputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the outputs of one layer with the changes of predictions, by calls that a tracer sees."""
        changed, params = dict(outputs), self._network.params()
        layers = [
            regkit.Layer(name, {one: params[one] for one in names if one in params}, role=role)
            for name, role, names in self._network.rows(outputs)
        ]
        with _full_precision(next(iter(outputs.values())).device.type):
            self._routing.predicting.modify_graph(changed, layers)
        return changed

    def loss(
        self,
        outputs: Outputs,
        names: Callable[[], Iterable[str]],
        conditions: Hashable = (),
        computed: Computed | None = None,
    ) -> Computed:
        """Return the set's part of the loss for outputs.

        Parameters
        ----------
        outputs : mapping of str to (tensor, int)
            The outputs for penalties.
        names : callable
            It returns the names of all outputs that were shown.
        conditions : hashable
            What else a plan depends on.
        computed : Computed, optional
            The loss of these outputs in compiled code; returned if that called the plan for these outputs.

        Raises
        ------
        regkit.GraphError
            If an output was changed in place since it was shown.
        regkit.NoMatchError
            If the pattern of a regularizer matches nothing.
        """
        plan = self._plans.last
        tensors = None if plan is None or plan.conditions != conditions else plan.outputs_in(outputs)
        if tensors is None:
            _check_unchanged(outputs)
            plan = self._plans.get(("loss", conditions), _kinds_of(outputs))
            tensors = None if plan is None else plan.outputs_in(outputs)
        params = None if plan is None else plan.params_by(self._network.param)
        if plan is None or tensors is None or params is None:
            return self._recorded(outputs, names(), conditions)
        self._plans.last = plan
        if computed is not None and computed.plan is plan:
            return computed
        if not torch.is_autocast_enabled(plan.device):
            return Computed(plan, plan.call(*tensors, *params), None)
        with _full_precision(plan.device):
            return Computed(plan, plan.call(*tensors, *params), None)

    def _recorded(self, outputs: Outputs, names: Iterable[str], conditions: Hashable) -> Computed:
        self._network.check_globs(names)
        first = next(iter([tensor for tensor, _ in outputs.values()] or self._network.params().values()), None)
        device = None if first is None else first.device
        with (
            _full_precision("cpu" if device is None else device.type),
            Recording(device, global_draws=True) as recording,
        ):
            expressions = {name: recording.output(name, tensor) for name, (tensor, _) in outputs.items()}
            found = {}
            for members, visible in self._network.groups():
                layers = self._network.recorded_layers(recording, outputs, visible)
                try:
                    every = hosts.terms(hosts.subset(self._routing.penalizing, members), layers, expressions)
                except regkit.NoMatchError as error:
                    raise regkit.NoMatchError(f"{self._of_all(names) or error}. {self._network.hint}") from None
                found.update({term.name: term for term in every})
            terms = [found[name] for name in self._routing.penalizers if name in found]
            total = hosts.total(terms) if terms else 0.0  # hooks may return None
            results = list(map(_of_torch, (total, *(term.penalty for term in terms))))
            weighted = [_of_torch(term.weighted) for term in terms]
        plan = Plan(recording, results, [term.name for term in terms], weighted, conditions)
        self._plans.put(("loss", conditions), _kinds_of(outputs), plan)
        self._plans.last = plan
        self._network.noted(plan, outputs)
        return Computed(plan, [one.value for one in results], [one.value for one in weighted])

    def each(self, outputs: Mapping[str, torch.Tensor]) -> list[regkit.Term]:
        """Return a term for each output or weight that a member selects, as if it selected only that one."""
        network, found = self._network, []
        params = {name: param.detach() for name, param in network.params().items()}
        for member in self._routing.penalizers.values():
            subset = hosts.subset(self._routing.penalizing, [member.name])
            of_params = member.selects == "params"
            seen = network.visible(member)
            for one in params if of_params else outputs:
                if not (seen is None or one in seen if of_params else self._selects(member, one)):
                    continue
                beside = {name for name in outputs if any(hosts.matches(name, globs) for globs in member.named)}
                shown = {name: output for name, output in outputs.items() if name in beside or name == one}
                layers = [
                    regkit.Layer(name, {one: params[one]} if of_params and one in names else {}, role=role)
                    for name, role, names in network.rows({one})
                ]
                try:
                    terms = hosts.terms(subset, layers, shown)
                except regkit.NoMatchError:  # a vector, or a weight that the pattern does not match
                    continue
                found += [term._replace(name=f"{member.name}/{one}") for term in terms]
        return found

    def metrics(self, outputs: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        """Return the metrics of members, for outputs and for the present weights."""
        network, found = self._network, {}
        params = {name: param.detach() for name, param in network.params().items()}
        for member in self._routing.looking.values():
            if "metrics" in member.hooks:
                seen = network.visible(member)
                layers = [
                    regkit.Layer(name, {one: params[one] for one in names if seen is None or one in seen}, role=role)
                    for name, role, names in network.rows(outputs)
                ]
                shown = {name: tensor for name, tensor in outputs.items() if looks_at(member, name, network.hidden)}
                found.update(hosts.metrics(hosts.subset(network.regs, [member.name]), layers, shown))
        return found

    def _selects(self, member: hosts.Member, name: str) -> bool:
        """Return whether the pattern of a member selects an output, and not only another option."""
        if member.needs_pattern and self._network.hidden is not None:
            return name not in self._network.final and by_default(member, name, self._network.hidden)
        return member.globs is None or hosts.matches(name, member.globs)

    def _of_all(self, names: Iterable[str]) -> regkit.NoMatchError | None:
        """Return the error for a pattern that matches nothing, with all names: not all outputs are kept."""
        for member in self._routing.penalizers.values():
            globs = None if member.needs_pattern or member.selects != "outputs" else member.globs
            if globs is not None and not any(hosts.matches(name, globs) for name in names):
                return hosts.no_match(member, globs, outputs=names)
        return None

    def terms(self, computed: Computed) -> list[regkit.Term]:
        """Return each member's part of a loss."""
        plan, results, weighted = computed
        if weighted is None:
            with _full_precision(plan.device):
                weighted = plan.later(*results)
        weights = [getattr(self._routing.every[name].regularizer, "weight", 1.0) for name in plan.names]
        return [regkit.Term(*each) for each in zip(plan.names, weights, results[1:], weighted)]


def _check_unchanged(outputs: Outputs) -> None:
    """Raise if an output was changed in place after regularizers were shown it."""
    for name, (tensor, version) in outputs.items():
        if version_of(tensor) != version:
            raise changed_in_place(name)


def changed_in_place(name: str) -> regkit.GraphError:
    """Return the error for an output that was changed in place."""
    return regkit.GraphError(
        f"output {name!r} was changed in place after regularizers saw it, by a module such as ReLU(inplace=True) or an "
        "operation such as +=, so a penalty would be of the changed values. Write inplace=False there, or give a "
        "pattern for the output behind it"
    )


def _kinds_of(outputs: Outputs) -> list[tuple[Any, ...]]:
    """Return the names and kinds of outputs, the key of a plan."""
    return [(name, *kind_of(tensor)) for name, (tensor, _) in outputs.items()]


def _full_precision(device: str) -> AbstractContextManager[Any]:
    """Compute penalties and changes in the dtypes of the regularizers, also where autocast is on for a device."""
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()
