"""Regularizers beside a model while it computes: what they are shown, what they change, what they add to the loss."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch

import regkit
from regkit.hooks.penalties import Term, weighted_total
from regkit.layers import check_layers, named_params

from .engine import global_draws
from .members import Members
from .plans import Plans, plans_of
from .recording import Recording

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .recording import Plan


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
        if not isinstance(regs, regkit.RegularizerSet):
            raise regkit.OptionError(f"{self._what} got regs={regs!r}; accepted: what regkit.build returns")
        self.train = train
        self._members = Members(regs)
        self._owner: Any = regs
        self._layers = list(layers or ())
        check_layers(self._layers)
        self._params = {name: param for layer in self._layers for name, param in named_params(layer)}
        if not self._layers:
            self._members.check_patterns((), "Give it one, a glob for the names that are tapped, or give layers")
        self._plans: Plans | None = None
        self._ended = ""
        self._forget()
        self._last: tuple[Plan, tuple[Any, ...]] | None = None

    _what = "Run"

    def __repr__(self) -> str:
        return f"{self._what}({list(self._members.regularizers)}, outputs={list(self._kept)})"

    @property
    def outputs(self) -> dict[str, torch.Tensor]:
        """The outputs by their names that the next loss is of, clean originals of changed ones among them."""
        return {name: tensor for name, (tensor, _) in self._kept.items()}

    def _forget(self) -> None:
        self._kept: dict[str, tuple[torch.Tensor, int]] = {}
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
        if not isinstance(name, str) or not name or "@" in name:
            raise regkit.GraphError(f"tap got the name {name!r}; accepted: a string without @")
        self._check_open()
        _check_output(name, value)
        return self._given({name: value}, self.train)[name]

    def _given(self, outputs: dict[str, torch.Tensor], train: bool) -> Mapping[str, torch.Tensor]:
        """Take the outputs of one layer, and return what they are from there on, with the originals that are kept."""
        given = outputs
        if train:
            changers = {member for name in outputs for member in self._members.changers(name)}
            if changers:
                outputs = self._changed(outputs)
                self._changed_by |= changers
        if torch.is_grad_enabled() and not _in_backward():
            times = max(self._times.get(name, 0) for name in outputs)
            for name, tensor in outputs.items():
                if self._members.reads(name) or (self._members.read_originals and name not in given):
                    self._kept[f"{name}@{times}" if times else name] = tensor, tensor._version
                self._times[name] = times + 1
            self._last = None
        return outputs

    def _changed(self, outputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        plans = self._current_plans()
        key = ("change", *((name, tensor.shape, tensor.dtype, tensor.device) for name, tensor in outputs.items()))
        plan = plans.get(key)
        with _full_precision(outputs):
            if plan is not None:
                results = plan(plan.arguments(outputs, self._params))
                return dict(zip(plan.results, results))
            recording = Recording(next(iter(outputs.values())).device)
            with recording.run(), global_draws():
                expressions = {name: recording.input(("output", name), tensor) for name, tensor in outputs.items()}
                self._members.changing.modify_graph(expressions, self._recorded_layers(recording))
                plan = recording.plan(list(expressions.values()), list(expressions))
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
        self._check_changes()
        self._last = self._computed()
        self._forget()
        return self._last[1][0] if self._last else 0

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
        plan_and_results = self._last or self._computed()
        if plan_and_results is None:
            return []
        plan, (_, *parts) = plan_and_results
        weights = [getattr(self._members.regularizers[name], "weight", 1.0) for name in plan.results]
        return [Term(*each) for each in zip(plan.results, weights, parts[::2], parts[1::2])]

    def _computed(self) -> tuple[Plan, tuple[Any, ...]] | None:
        """The plan for what was kept, and its results: the loss, then each penalty and what it adds."""
        if not len(self._members.penalizing):
            return None
        plans = self._current_plans()
        key: list[Any] = ["loss"]
        outputs = {}
        for name, (tensor, version) in self._kept.items():
            if tensor._version != version:
                raise regkit.GraphError(_changed_in_place(name))
            outputs[name] = tensor
            key += name, tensor.shape, tensor.dtype, tensor.device
        whole = tuple(key)
        plan = plans.get(whole)
        with _full_precision(outputs):
            if plan is not None and plan.fits(self._params):
                return plan, plan(plan.arguments(outputs, self._params))
            plan, results = self._recorded(outputs)
        plans.put(whole, plan)
        return plan, results

    def _recorded(self, outputs: dict[str, torch.Tensor]) -> tuple[Plan, tuple[Any, ...]]:
        first = next(iter(outputs.values()), None)
        first = next(iter(self._params.values()), None) if first is None else first
        recording = Recording(None if first is None else first.device)
        with recording.run(), global_draws():
            expressions = {name: recording.input(("output", name), tensor) for name, tensor in outputs.items()}
            try:
                terms = self._members.penalizing.terms(self._recorded_layers(recording), expressions)
            except regkit.NoMatchError as error:
                raise regkit.NoMatchError(f"{error}. {self._why_nothing()}") from None
            results = [weighted_total(terms), *(part for term in terms for part in (term.penalty, term.weighted))]
            plan = recording.plan(results, [term.name for term in terms])
        return plan, tuple(result.value for result in results)

    def _recorded_layers(self, recording: Recording) -> list[regkit.Layer]:
        """The layers with expressions for parameters, one for a parameter that several share."""
        expressions: dict[int, Any] = {}
        layers = []
        for layer in self._layers:
            params = {}
            for name, _ in named_params(layer):
                param = self._params[name]
                if id(param) not in expressions:
                    expressions[id(param)] = recording.input(("param", name), param)
                params[name] = expressions[id(param)]
            layers.append(regkit.Layer(layer.output_name, params, role=getattr(layer, "role", None)))
        return layers

    def _current_plans(self) -> Plans:
        """The plans for the members as they are: options of a regularizer may have been set since."""
        if self._plans is None or not self._members.are(self._plans.states):
            self._plans = plans_of(self._owner, self._members)
        return self._plans

    # What is refused

    def _check_open(self) -> None:
        if self._ended:
            raise regkit.GraphError(self._ended)

    def _check_changes(self) -> None:
        """Raise for a regularizer that was to change outputs, in training, and was shown none that it could."""
        if not self.train:
            return
        for name, regularizer in zip(self._members.changing.keys(), self._members.changing):
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


def _check_output(name: str, value: Any) -> None:
    """Raise if an output is not a tensor of floats."""
    if not isinstance(value, torch.Tensor):
        shown = "None" if value is None else f"of type {type(value).__module__}.{type(value).__qualname__}"
        raise regkit.GraphError(f"output {name!r} is {shown}; accepted: a torch.Tensor of floats")
    if not value.is_floating_point():
        raise regkit.GraphError(
            f"output {name!r} is of {value.dtype}, which has no gradient; accepted: a torch.Tensor of floats. Give a "
            "pattern that does not match it"
        )


def _in_backward() -> bool:
    """Tell whether a backward is running here, which computes again what a checkpoint left out."""
    return torch._C._current_graph_task_id() != -1


def _full_precision(outputs: Mapping[str, torch.Tensor]) -> AbstractContextManager[Any]:
    """Compute penalties and changes in the dtypes that regularizers say, also where autocast is on."""
    kind = next((tensor.device.type for tensor in outputs.values()), "cpu")
    if torch.is_autocast_enabled(kind):
        return torch.autocast(kind, enabled=False)
    return _NOTHING


_NOTHING = nullcontext()
