"""What a set computes beside a model: by the plan that there is for it, or by its hooks, which are recorded."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Union

import torch

import regkit
from regkit.hooks.penalties import Term, weighted_total

from .engine import global_draws
from .members import members_of
from .plans import kind_of, plans_of
from .recording import Recording

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .members import Members
    from .plans import Plan, Plans

    #: Outputs by their names, with the count of changes in place that they had.
    Kept = Mapping[str, tuple[torch.Tensor, int]]

    #: A plan, its results (the loss, each penalty, and what `Plan.rest` needs too), and the weighted penalties, which
    #: are None where nobody asked for them yet.
    Computed = tuple[Plan, tuple[Any, ...], Union[tuple[Any, ...], None]]


class Planned:
    """A set of regularizers beside layers, of which it computes what hooks say.

    Parameters
    ----------
    regs : regkit.RegularizerSet
    """

    #: What errors call it.
    _what = "Run"

    #: Of each layer the name, the role, and the names of its parameters.
    _layers: list[tuple[str, str | None, list[str]]]

    #: The plans for the members, since `_show_to`.
    _plans: Plans

    #: Parameters by their full names.
    _params: Mapping[str, torch.Tensor]

    def __init__(self, regs: regkit.RegularizerSet) -> None:
        if not isinstance(regs, regkit.RegularizerSet):
            raise regkit.OptionError(f"{self._what} got regs={regs!r}; accepted: what regkit.build returns")
        self._regs = regs
        self._members = members_of(regs)

    # Changes

    def _changed(self, outputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return what members make of the outputs of one layer, with the originals that they keep."""
        self._renew()
        plans = self._plans
        key = ("change", *((name, *kind_of(tensor)) for name, tensor in outputs.items()))
        plan = plans.get(key)
        first = next(iter(outputs.values()))
        with _full_precision(first.device.type):
            params = None if plan is None else self._params_of(plan)
            if params is not None:
                return dict(zip(plan.names, plan.call(*[outputs[name] for name in plan.outputs], *params)))
            recording = Recording(first.device)
            with recording.run(), global_draws():
                expressions = {name: recording.input("output", name, tensor) for name, tensor in outputs.items()}
                layers, ties = self._recorded_layers(recording)
                self._members.changing.modify_graph(expressions, layers)
                plan = recording.plan(list(expressions.values()), list(expressions))
        plan.recorded_for(outputs, first.device, ties)
        plans.put(key, plan)
        return {name: expression.value for name, expression in expressions.items()}

    # Penalties

    def _computed(self, kept: Kept) -> Computed | None:
        """Return what is added to the loss for outputs; None for a set without penalties."""
        plans = self._plans
        if not self._members.penalizes:
            return None
        plan = plans.last
        tensors = None if plan is None else plan.tensors_of(kept)
        if tensors is None:
            _check_unchanged(kept)
            plan = plans.get(_key_of(kept))
            tensors = None if plan is None else plan.tensors_of(kept)
        if plan is None or tensors is None:
            return self._recorded(kept, plans)
        if plan.params or plan.seen:
            params = self._params_of(plan)
            if params is None:
                return self._recorded(kept, plans)
            tensors += params
        plans.last = plan
        if not torch.is_autocast_enabled(plan.device):
            return plan, plan.call(*tensors), None
        with _full_precision(plan.device):
            return plan, plan.call(*tensors), None

    def _recorded(self, kept: Kept, plans: Plans) -> Computed:
        outputs = {name: tensor for name, (tensor, _) in kept.items()}
        first = next(iter((*outputs.values(), *self._named_params().values())), None)
        device = torch.device("cpu") if first is None else first.device
        recording = Recording(None if first is None else device)
        with _full_precision(device.type), recording.run(), global_draws():
            expressions = {name: recording.input("output", name, tensor) for name, tensor in outputs.items()}
            layers, ties = self._recorded_layers(recording)
            try:
                terms = self._members.penalizing.terms(layers, expressions)
            except regkit.NoMatchError as error:
                raise regkit.NoMatchError(f"{error}. {self._why_nothing()}") from None
            results = [weighted_total(terms), *(term.penalty for term in terms)]
            weighted = [term.weighted for term in terms]
            plan = recording.plan(results, [term.name for term in terms], weighted)
        plan.recorded_for(outputs, device, ties)
        plans.put(_key_of(kept), plan)
        plans.last = plan
        return plan, tuple(one.value for one in results), tuple(one.value for one in weighted)

    def _terms_of(self, computed: Computed) -> list[Term]:
        """Return each member's part of what was computed."""
        plan, results, weighted = computed
        if weighted is None:
            with _full_precision(plan.device):
                weighted = plan.rest(*results)
        weights = [getattr(self._members.regularizers[name], "weight", 1.0) for name in plan.names]
        return [Term(*each) for each in zip(plan.names, weights, results[1:], weighted)]

    def _why_nothing(self) -> str:
        return "Tap what it is to find, by run.tap(name, value), before run.loss()"

    # Parameters

    def _recorded_layers(self, recording: Recording) -> tuple[list[regkit.Layer], list[tuple[str, str]]]:
        """The layers with expressions for parameters, one for a parameter that several share, and who shares."""
        named = self._named_params()
        first: dict[int, str] = {}
        expressions: dict[str, Any] = {}
        for name, param in named.items():
            its = first.setdefault(id(param), name)
            expressions[name] = expressions[its] if its in expressions else recording.input("param", name, param)
        layers = [
            regkit.Layer(output_name, {name: expressions[name] for name in names if name in expressions}, role=role)
            for output_name, role, names in self._layers
        ]
        return layers, [(name, first[id(param)]) for name, param in named.items() if first[id(param)] != name]

    def _named_params(self) -> Mapping[str, torch.Tensor]:
        """The parameters as they are, by their full names."""
        return self._params

    def _param(self, name: str) -> Any:
        """The parameter of a name; None if there is none any more."""
        return self._params.get(name)

    def _params_of(self, plan: Plan) -> list[Any] | None:
        """The parameters that a plan takes; None if they, or others that hooks looked at, are not those of then."""
        if not plan.params and not plan.seen:
            return []
        params = [self._param(name) for name in plan.params]
        fits = plan.fits(params) and plan.fits_seen(self._param)
        if fits and all(self._param(name) is self._param(other) for name, other in plan.ties):
            return params
        return None

    # Plans

    def _renew(self) -> None:
        """Take the members as they are: options of a regularizer may have been set since."""
        if not self._members.are_as_they_were():
            self._show_to(members_of(self._regs))

    def _show_to(self, members: Members) -> None:
        """Show outputs to these members from here on, and take the plans for them."""
        self._plans = plans_of(self._regs, members, self._layers)
        self._members = members


def _check_unchanged(kept: Kept) -> None:
    """Raise if an output is not any more what regularizers were shown."""
    for name, (tensor, version) in kept.items():
        if tensor._version != version:
            raise regkit.GraphError(
                f"output {name!r} was changed in place after regularizers saw it, by a module such as "
                "ReLU(inplace=True) or an operation such as +=, so a penalty would be of what it has become. Say "
                "inplace=False there, or give a pattern for what comes behind"
            )


def _key_of(kept: Kept) -> tuple[Any, ...]:
    """What the plan of a loss is known by."""
    return ("loss", *((name, *kind_of(tensor)) for name, (tensor, _) in kept.items()))


def _full_precision(kind: str) -> AbstractContextManager[Any]:
    """Compute penalties and changes in the dtypes that regularizers say, also where autocast is on for a device."""
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()
