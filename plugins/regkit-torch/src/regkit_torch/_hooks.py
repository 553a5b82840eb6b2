"""The hooks of a set beside a network: the outputs that they are for, and the plans that are called for them."""

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
from ._plans import Plan, kind_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ._plans import Plans

    #: Outputs by their names, with the count of changes in place that they had.
    Outputs = Mapping[str, tuple[torch.Tensor, int]]


class Network:
    """The layers of a run, with their parameters. `Run` has one for given layers, `watch` one for a model.

    Attributes
    ----------
    caller : str
        The name of the public function, for errors.
    hint : str
        What to do where a pattern matches nothing, for errors.
    layers : list of (str, str or None, list of str)
        The name and the role of each layer, and the full names of its parameters.
    paths : list of str
        Names of outputs that need no tap.
    plans : Plans
        Those of the set beside this network.
    train : bool
        Whether it is in training mode.
    unmatched : list of (hosts.Member, str)
        Globs that only a name that is tapped can match.
    """

    caller: str
    hint: str
    layers: list[tuple[str, str | None, list[str]]]
    paths: list[str]
    plans: Plans
    train: bool
    unmatched: list[tuple[hosts.Member, str]]

    def param(self, name: str) -> Any:
        """Return the present parameter of a full name; None if there is none."""
        raise NotImplementedError

    def params(self) -> Mapping[str, torch.Tensor]:
        """Return the present parameters by their full names."""
        raise NotImplementedError

    def check(self, tapped: Iterable[str]) -> None:
        """Raise if no loss can be computed now, after some names were tapped."""
        if self.unmatched:
            self.check_taps(tapped)

    def check_taps(self, tapped: Iterable[str]) -> None:
        """Raise a `regkit.NoMatchError` for a glob that matches none of the names that were tapped either."""
        self.unmatched = [(member, glob) for member, glob in self.unmatched if not may_find(member, glob, tapped)]
        for member, glob in self.unmatched:
            there = {"modules": self.paths} if self.paths else {}
            raise hosts.no_match(member, [glob], **there, **{"names of run.tap(name, value)": tapped})

    def recorded_layers(self, recording: Recording) -> list[regkit.Layer]:
        """Return the layers with expressions of their parameters."""
        params = {name: recording.param(name, param) for name, param in self.params().items()}
        return [
            regkit.Layer(output_name, {name: params[name] for name in names if name in params}, role=role)
            for output_name, role, names in self.layers
        ]


@lru_cache(maxsize=1 << 15)  # a watch for each step asks the same of each module and glob
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
    """Whether a penalty is of an output, and which members change it."""

    penalized: bool
    changers: tuple[str, ...]


class Routing:
    """Which members of a set an output is for, made once for a set.

    Attributes
    ----------
    every : dict of str to hosts.Member
        By their names.
    changing, penalizing : RegularizerSet
        Those that change outputs, and those that have a penalty.
    changers : dict of str to hosts.Member
        The members of `changing`.
    routes : dict of str to Route
        By names of outputs, those of `route` so far.
    """

    def __init__(self, regs: regkit.RegularizerSet, caller: str) -> None:
        self.every = {member.name: member for member in hosts.members(regs, caller)}
        self.changers = {name: member for name, member in self.every.items() if member.changes_graph}
        penalizers = {name: member for name, member in self.every.items() if member.penalizes}
        self.changing = hosts.subset(regs, list(self.changers))
        self.penalizing = hosts.subset(regs, list(penalizers))
        self._penalizers = list(penalizers.values())
        self.routes: dict[str, Route] = {}

    def route(self, name: str) -> Route:
        """Return the route of an output."""
        if name not in self.routes:
            self.routes[name] = Route(
                any(member.looks_at(name) for member in self._penalizers),
                tuple(changer for changer, member in self.changers.items() if member.changes(name)),
            )
        return self.routes[name]

    def taken_out(self, names: Iterable[str]) -> list[str]:
        """Return the names that a pattern of a penalty takes out, so that their outputs are not kept."""
        patterns = []
        for member in self._penalizers:
            selecting = [glob for glob in member.globs or () if not glob.startswith("!")]
            if member.selects == "outputs" and member.globs is not None and len(selecting) < len(member.globs):
                patterns.append((selecting, member.globs))
        return [
            name
            for name in names
            if any(hosts.matches(name, some) and not hosts.matches(name, globs) for some, globs in patterns)
        ]


#: By sets, by identity: members of equal sets need not be equal. It does not keep a set alive.
_routing: WeakIdKeyDictionary = WeakIdKeyDictionary()


def routing_of(regs: regkit.RegularizerSet, caller: str) -> Routing:
    """Return the routing of a set, of which errors name a function as the caller."""
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

    def modify_graph(self, outputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the outputs of one layer after the hook, with the originals that regularizers keep."""
        key = ("modify_graph", *((name, *kind_of(tensor)) for name, tensor in outputs.items()))
        plan = self._plans.get(key)
        device = next(iter(outputs.values())).device
        with _full_precision(device.type):
            params = None if plan is None else plan.params_by(self._network.param)
            if plan is not None and params is not None:
                return dict(zip(plan.names, plan.call(*[outputs[name] for name in plan.outputs], *params)))
            with Recording(device, global_draws=True) as recording:
                expressions = {name: recording.output(name, tensor) for name, tensor in outputs.items()}
                self._routing.changing.modify_graph(expressions, self._network.recorded_layers(recording))
        self._plans.put(key, Plan(recording, list(expressions.values()), list(expressions)))
        return {name: expression.value for name, expression in expressions.items()}

    def loss(self, outputs: Outputs, names: Iterable[str]) -> Computed:
        """Return the set's part of the loss for outputs.

        Parameters
        ----------
        outputs : mapping of str to (tensor, int)
            Those that a penalty is of.
        names : iterable of str
            Those of all outputs that were shown.

        Raises
        ------
        regkit.GraphError
            If an output was changed in place since it was shown.
        regkit.NoMatchError
            If the pattern of a regularizer matches nothing.
        """
        plan = self._plans.last
        tensors = None if plan is None else plan.outputs_in(outputs)
        if tensors is None:
            _check_unchanged(outputs)
            plan = self._plans.get(_key_of(outputs))
            tensors = None if plan is None else plan.outputs_in(outputs)
        params = None if plan is None else plan.params_by(self._network.param)
        if plan is None or tensors is None or params is None:
            return self._recorded(outputs, names)
        self._plans.last = plan
        if not torch.is_autocast_enabled(plan.device):
            return Computed(plan, plan.call(*tensors, *params), None)
        with _full_precision(plan.device):
            return Computed(plan, plan.call(*tensors, *params), None)

    def _recorded(self, outputs: Outputs, names: Iterable[str]) -> Computed:
        first = next(iter([tensor for tensor, _ in outputs.values()] or self._network.params().values()), None)
        device = None if first is None else first.device
        with (
            _full_precision("cpu" if device is None else device.type),
            Recording(device, global_draws=True) as recording,
        ):
            expressions = {name: recording.output(name, tensor) for name, (tensor, _) in outputs.items()}
            layers = self._network.recorded_layers(recording)
            # The set checks that each glob takes something out. Those outputs were not kept, and no hook gets them.
            nothing = Expression(torch.empty(0))
            taken_out = self._routing.taken_out([*self._network.paths, *names])
            expressions.update({name: nothing for name in taken_out if name not in expressions})
            try:
                terms = self._routing.penalizing.terms(layers, expressions)
            except regkit.NoMatchError as error:
                raise regkit.NoMatchError(f"{self._of_all(names) or error}. {self._network.hint}") from None
            total = hosts.total(terms) if terms else created(torch.zeros, ((),), {})  # hooks may return None
            results = [total, *(term.penalty for term in terms)]
        weighted = [term.weighted for term in terms]
        plan = Plan(recording, results, [term.name for term in terms], weighted)
        self._plans.put(_key_of(outputs), plan)
        self._plans.last = plan
        return Computed(plan, [one.value for one in results], [one.value for one in weighted])

    def _of_all(self, names: Iterable[str]) -> regkit.NoMatchError | None:
        """Return the error for a pattern that matches none of all names; outputs that none matches are not kept."""
        for member in self._routing.every.values():
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
        if tensor._version != version:
            raise regkit.GraphError(
                f"output {name!r} was changed in place after regularizers saw it, by a module such as "
                "ReLU(inplace=True) or an operation such as +=, so a penalty would be of the changed values. Write "
                "inplace=False there, or give a pattern for the output behind it"
            )


def _key_of(outputs: Outputs) -> tuple[Any, ...]:
    """Return the key of the plan of a loss."""
    return ("loss", *((name, *kind_of(tensor)) for name, (tensor, _) in outputs.items()))


def _full_precision(device: str) -> AbstractContextManager[Any]:
    """Compute penalties and changes in the dtypes of the regularizers, also where autocast is on for a device."""
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()
