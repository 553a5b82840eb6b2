"""Regularizers beside a model while it computes: what they are shown, what they change, what they add to the loss."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

import regkit
from regkit.hooks.penalties import Term, weighted_total
from regkit.layers import check_layers, named_params

from .engine import global_draws
from .members import members_of
from .plans import kind_of, plans_of
from .recording import Recording

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .members import Route
    from .plans import Plan, Plans


class Computed(NamedTuple):
    """What a plan gave: the loss, each penalty, what `Plan.rest` needs too; what that gave, if it was asked already."""

    plan: Plan
    results: tuple[Any, ...]
    weighted: tuple[Any, ...] | None


class Run:
    r"""Regularizers beside computations with torch: outputs are tapped in it, and then it has their loss.

    `watch` makes one for a model and taps for it. Without a model, functional code taps by itself.

    Parameters
    ----------
    regs : regkit.RegularizerSet
        What `regkit.build` returns.
    layers : sequence of regkit.Layer, optional
        The layers of the network: their parameters for penalties of weights, their order or roles for regularizers
        without a pattern. Without layers, those of outputs need a pattern.
    train : bool, default True
        Whether regularizers that change outputs, such as noise and dropout, do so. It can be set at any time.

    Raises
    ------
    regkit.OptionError
        If `regs` is not a set of regularizers.
    regkit.GraphError
        If a regularizer of outputs has no pattern and there are no layers.

    Notes
    -----
    Hooks of the set run once for names, shapes and dtypes, and what they compute with torch is recorded as
    straight-line code, which is called from then on. It belongs to the set, so a run for each step costs no more than
    one for all.

    Examples
    --------
    >>> import regkit, regkit_torch, torch
    >>> run = regkit_torch.Run(regkit.build(hidden_l1=dict(weight=0.5, pattern="hid")))
    >>> w = torch.tensor([1.0, -2.0], requires_grad=True)
    >>> hid = run.tap("hid", torch.eye(2) @ w)
    >>> loss = (hid**2).sum() + run.loss()  # 1 + 4, and half of 1 + 2
    >>> loss.item()
    6.5
    >>> loss.backward()
    >>> w.grad
    tensor([ 2.5000, -4.5000])
    """

    def __init__(self, regs: regkit.RegularizerSet, layers: Sequence[Any] | None = None, *, train: bool = True) -> None:
        self._begin(regs, train)
        layers = list(layers or ())
        check_layers(layers)
        self._params = {name: param for layer in layers for name, param in named_params(layer)}
        self._layers: list[tuple[str, str | None, list[str]]] = [
            (layer.output_name, getattr(layer, "role", None), [name for name, _ in named_params(layer)])
            for layer in layers
        ]
        if not layers:
            self._members.check_patterns((), "Give it one, a glob for the names that are tapped, or give layers")

    def _begin(self, regs: regkit.RegularizerSet, train: bool) -> None:
        if not isinstance(regs, regkit.RegularizerSet):
            raise regkit.OptionError(f"{self._what} got regs={regs!r}; accepted: what regkit.build returns")
        self.train = train
        self._regs = regs
        self._members = members_of(regs)
        self._plans: Plans | None = None
        self._ended = ""
        self._forget()
        self._last: Computed | None = None

    _what = "Run"

    def __repr__(self) -> str:
        return f"{self._what}({list(self._members.regularizers)}, outputs={list(self._kept)})"

    @property
    def outputs(self) -> dict[str, torch.Tensor]:
        """The outputs by their names that the next loss is of, clean originals of changed ones among them."""
        return {name: tensor for name, (tensor, _) in self._kept.items()}

    def _forget(self) -> None:
        self._kept: dict[str, tuple[torch.Tensor, int]] = {}  # with the tensor's count of changes in place
        self._times: dict[str, int] = {}
        self._changed_by: set[str] = set()

    # What comes

    def tap(self, name: str, value: torch.Tensor) -> torch.Tensor:
        """Show an output to the regularizers, and return what it is from there on.

        Parameters
        ----------
        name : str
            What patterns know it by. Tapped again before the next loss it is ``name@1``, then ``name@2``, which a
            pattern that matches the name matches too.
        value : torch.Tensor of floats

        Returns
        -------
        torch.Tensor
            The same, unless a regularizer changes it, in training.

        Raises
        ------
        regkit.GraphError
            If it is not a tensor of floats, or the run has ended.
        """
        route = self._members.routes.get(name) if type(name) is str else None
        if route is None:
            route = self._first_route(name)
        if self._ended:
            raise regkit.GraphError(self._ended)
        if not isinstance(value, torch.Tensor) or not value.is_floating_point():
            raise regkit.GraphError(what_is_wrong(name, value))
        if route.changers and self.train:
            return self._given({name: value}, True)[name]
        self._keep(name, value, route.reads)
        return value

    def _first_route(self, name: Any) -> Route:
        if not isinstance(name, str) or not name or "@" in name:
            raise regkit.GraphError(f"tap got the name {name!r}; accepted: a string without @")
        return self._members.route(name)

    def _keep(self, name: str, tensor: torch.Tensor, reads: bool) -> None:
        """Keep an output that regularizers do not change."""
        if torch.is_grad_enabled() and _current_backward() == -1:
            times = self._times.get(name, 0)
            self._times[name] = times + 1
            if reads:
                self._kept[f"{name}@{times}" if times else name] = tensor, tensor._version
            self._last = None

    def _given(self, outputs: dict[str, torch.Tensor], train: bool) -> Mapping[str, torch.Tensor]:
        """Take the outputs of one layer, and return what they are from there on, with the originals that are kept."""
        members, given = self._members, outputs
        changers = {member for name in outputs for member in members.route(name).changers} if train else None
        if changers:
            outputs = self._changed(outputs)
            self._changed_by |= changers
        if torch.is_grad_enabled() and _current_backward() == -1:
            times = max(self._times.get(name, 0) for name in outputs)
            for name, tensor in outputs.items():
                if members.route(name).reads or (members.read_originals and name not in given):
                    self._kept[f"{name}@{times}" if times else name] = tensor, tensor._version
                self._times[name] = times + 1
            self._last = None
        return outputs

    def _changed(self, outputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        plans = self._current_plans()
        key = ("change", *((name, *kind_of(tensor)) for name, tensor in outputs.items()))
        plan = plans.get(key)
        with _full_precision(next(iter(outputs.values())).device.type):
            if plan is not None:
                params = self._params_of(plan)
                if params is not None:
                    results = plan([*[outputs[name] for name in plan.outputs], *params])
                    return dict(zip(plan.names, results))
            recording = Recording(next(iter(outputs.values())).device)
            with recording.run(), global_draws():
                expressions = {name: recording.input("output", name, tensor) for name, tensor in outputs.items()}
                layers, ties = self._recorded_layers(recording)
                self._members.changing.modify_graph(expressions, layers)
                plan = recording.plan(list(expressions.values()), list(expressions))
                plan.ties = ties
        plans.put(key, plan)
        return {name: expression.value for name, expression in expressions.items()}

    # What is added to the loss

    def loss(self) -> Any:
        """Return what the regularizers add to the loss: weight times penalty, of all outputs since the last loss.

        Returns
        -------
        torch.Tensor
            A scalar; the number 0 for a set without penalties.

        Raises
        ------
        regkit.NoMatchError
            If the pattern of a regularizer matches nothing that was kept.
        regkit.GraphError
            If an output was changed in place since, a penalty cannot be computed, or the run has ended.
        """
        self._check_open()
        if self._members.changers:
            self._check_changes()
        self._last = last = self._computed()
        self._forget()
        return last.results[0] if last else 0

    def terms(self) -> list[Term]:
        """Return each regularizer's part of the loss: of the outputs since the last loss, or else of the last loss.

        Returns
        -------
        list of regkit.Term

        Raises
        ------
        regkit.NoMatchError, regkit.GraphError
            As `loss`.
        """
        if self._last is None:
            self._check_open()
        computed = self._last or self._computed()
        if computed is None:
            return []
        plan, results, weighted = computed
        if weighted is None:
            with _full_precision(plan.device):
                weighted = plan.rest(*results)
        weights = [getattr(self._members.regularizers[name], "weight", 1.0) for name in plan.names]
        return [Term(*each) for each in zip(plan.names, weights, results[1:], weighted)]

    def _computed(self) -> Computed | None:
        """What is added to the loss for what was kept."""
        plans, kept = self._current_plans(), self._kept
        if not self._members.penalizes:
            return None
        plan = plans.last
        if plan is None or not _are_of(plan.kinds, kept):
            for name, (tensor, version) in kept.items():
                if tensor._version != version:
                    raise regkit.GraphError(_changed_in_place(name))
            plan = plans.get(_key_of(kept))
        params = None if plan is None else self._params_of(plan)
        if plan is not None and params is not None:
            plans.last = plan
            with _full_precision(plan.device):
                return Computed(plan, plan([*[kept[name][0] for name in plan.outputs], *params]), None)
        return self._recorded({name: tensor for name, (tensor, _) in kept.items()}, plans)

    def _recorded(self, outputs: dict[str, torch.Tensor], plans: Plans) -> Computed:
        first = next(iter(outputs.values()), None)
        first = next(iter(self._named_params().values()), None) if first is None else first
        recording = Recording(None if first is None else first.device)
        with _full_precision("cpu" if first is None else first.device.type), recording.run(), global_draws():
            expressions = {name: recording.input("output", name, tensor) for name, tensor in outputs.items()}
            layers, ties = self._recorded_layers(recording)
            try:
                terms = self._members.penalizing.terms(layers, expressions)
            except regkit.NoMatchError as error:
                raise regkit.NoMatchError(f"{error}. {self._why_nothing()}") from None
            results = [weighted_total(terms), *(term.penalty for term in terms)]
            weighted = [term.weighted for term in terms]
            plan = recording.plan(results, [term.name for term in terms], weighted)
        plan.kinds = [(name, *kind_of(tensor)) for name, tensor in outputs.items()]
        plan.device = "cpu" if first is None else first.device.type
        plan.ties = ties
        plans.put(_key_of(self._kept), plan)
        plans.last = plan
        return Computed(plan, tuple(one.value for one in results), tuple(one.value for one in weighted))

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

    def _named_params(self) -> dict[str, torch.Tensor]:
        """The parameters as they are, by their full names."""
        return self._params

    def _params_of(self, plan: Plan) -> list[Any] | None:
        """The parameters that a plan takes; None if they are not what it was recorded for."""
        if not plan.params:
            return []
        params = [self._param(name) for name in plan.params]
        if plan.fits(params) and all(self._param(name) is self._param(other) for name, other in plan.ties):
            return params
        return None

    def _param(self, name: str) -> Any:
        return self._params.get(name)

    def _current_plans(self) -> Plans:
        """The plans for the members as they are: options of a regularizer may have been set since."""
        if self._plans is None or not self._members.are_as_they_were():
            self._members = members_of(self._regs)
            self._plans = self._plans_of_members()
        return self._plans

    def _plans_of_members(self) -> Plans:
        return plans_of(self._regs, self._members, self._layers)

    # What is refused

    def _check_open(self) -> None:
        if self._ended:
            raise regkit.GraphError(self._ended)

    def _check_changes(self) -> None:
        """Raise for a regularizer that was to change outputs, in training, and was shown none that it could."""
        if not self.train:
            return
        for name, regularizer in self._members.changers.items():
            if name not in self._changed_by:
                raise regkit.NoMatchError(
                    f"{name}: pattern {regularizer.pattern!r} matches none of the outputs: "
                    f"{', '.join(self._times) or 'none'}. {self._why_nothing()}"
                )

    def _why_nothing(self) -> str:
        return "Tap what it is to find, by run.tap(name, value), before run.loss()"


def _changed_in_place(name: str) -> str:
    return (
        f"output {name!r} was changed in place after regularizers saw it, by a module such as ReLU(inplace=True) or an "
        "operation such as +=, so a penalty would be of what it has become. Say inplace=False there, or give a pattern "
        "for what comes behind"
    )


def what_is_wrong(name: str, value: Any) -> str:
    """Return the words for an output that is not a tensor of floats."""
    if not isinstance(value, torch.Tensor):
        shown = "None" if value is None else f"of type {type(value).__module__}.{type(value).__qualname__}"
        return f"output {name!r} is {shown}; accepted: a torch.Tensor of floats"
    return (
        f"output {name!r} is of {value.dtype}, which has no gradient; accepted: a torch.Tensor of floats. Give a "
        "pattern that does not match it"
    )


def _key_of(kept: Mapping[str, tuple[torch.Tensor, int]]) -> tuple[Any, ...]:
    """What the plan of a loss is known by."""
    return ("loss", *((name, *kind_of(tensor)) for name, (tensor, _) in kept.items()))


def _are_of(kinds: Sequence[tuple[Any, ...]], kept: Mapping[str, tuple[torch.Tensor, int]]) -> bool:
    """Tell whether outputs are of names, shapes, dtypes and devices, and none was changed in place since."""
    if len(kinds) != len(kept):
        return False
    for (name, shape, dtype, device), (its_name, (tensor, version)) in zip(kinds, kept.items()):
        if (
            name != its_name
            or tensor.shape != shape
            or tensor.dtype is not dtype
            or tensor.device != device
            or tensor._version != version
        ):
            return False
    return True


#: Tells which backward is running here, if any: it computes again what a checkpoint left out.
_current_backward = torch._C._current_graph_task_id


def _full_precision(kind: str) -> AbstractContextManager[Any]:
    """Compute penalties and changes in the dtypes that regularizers say, also where autocast is on for a device."""
    if torch.is_autocast_enabled(kind):
        return torch.autocast(kind, enabled=False)
    return _NOTHING


_NOTHING = nullcontext()
