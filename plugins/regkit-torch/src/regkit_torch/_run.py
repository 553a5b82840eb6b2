"""`Run`: it shows regularizers the outputs of computations with torch, lets them change some, and returns the loss."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

import regkit
from regkit import hosts

from ._compiled import outside
from ._forward import in_checkpoint, without_gradients
from ._forwards import Forwards, merged
from ._hooks import Computed, Hooks, Network, routing_of
from ._plans import plans_of
from ._steps import change_parameters, has_moved, mean_of_processes, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._forward import Forward
    from ._hooks import Route, Routing


class Layers(Network):
    """The layers that a `Run` is given."""

    caller = "Run"
    hint = "Show outputs to it by run.tap(name, value) before run.loss()"

    def __init__(
        self, layers: Sequence[Any] | None, train: bool, routing: Routing, regs: regkit.RegularizerSet
    ) -> None:
        if layers is not None and not isinstance(layers, Iterable):
            raise regkit.OptionError(f"Run got layers={layers!r}; accepted: a sequence of regkit.Layer, or None")
        given = list(layers or ())
        hosts.check_layers(given)
        if not given:
            hosts.check_patterns(routing.every.values(), (), "Give one for names that are tapped, or give layers")
        self._params = {name: param for layer in given for name, param in hosts.named_params(layer)}
        self.layers = [
            (layer.output_name, getattr(layer, "role", None), [name for name, _ in hosts.named_params(layer)])
            for layer in given
        ]
        self.regs = regs
        self.routing = routing
        self.routes = {}
        self.train = train
        self.plans = plans_of(regs, regs, self.layers)
        self.paths = []
        several = (member for member in routing.changers.values() if member.globs and len(member.globs) > 1)
        self.unmatched = [(member, glob) for member in several for glob in member.globs or ()]

    def check(self, tapped: Iterable[str]) -> None:
        """Raise if one of several globs of a change matches no name that was tapped in training."""
        if self.train:
            super().check(tapped)

    def check_globs(self, names: Iterable[str]) -> None:
        """Raise if one of several globs of a penalty matches no output or parameter.

        Without layers, this raises for any penalty of parameters.
        """
        hosts.check_given_layers(self.routing.penalizers.values(), self.layers)
        several = [member for member in self.routing.penalizers.values() if member.globs and len(member.globs) > 1]
        for kind, there in (("outputs", names), ("params", self._params)):
            for member, glob in hosts.unmatched(several, **{kind: there}):
                raise hosts.no_match(member, [glob], **{"outputs" if kind == "outputs" else "parameters": there})

    def param(self, name: str) -> Any:
        """Return the parameter of a full name."""
        return self._params.get(name)

    def params(self) -> Mapping[str, torch.Tensor]:
        """Return the parameters by their full names."""
        return self._params


class Run:
    r"""Regularizers for functional code with torch: tap outputs, then call `loss`.

    `watch` makes a run for a model, and shows it the outputs of modules.

    Parameters
    ----------
    regs : regkit.RegularizerSet
        What `regkit.build` returns.
    layers : sequence of regkit.Layer, optional
        The layers of the network: their parameters for penalties of weights, their order or roles for regularizers
        without a pattern. Without layers, those of outputs need a pattern.
    train : bool, default True
        Whether regularizers such as noise and dropout change outputs. It can be set at any time.

    Raises
    ------
    regkit.OptionError
        If `regs` is not a set of regularizers, `layers` not a sequence, or a regularizer of outputs has no pattern and
        there are no layers.

    Notes
    -----
    Hooks of the set run once for names, shapes and dtypes. Their operations are recorded as straight-line code, which
    later steps call. The code is kept with the set, so a run for each step costs no more than one run for all steps.

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
        routing = routing_of(regs, "Run")
        self._begin(Layers(layers, train, routing, regs), Forwards("all", marks=False))

    @classmethod
    def of(cls, network: Network, forwards: Forwards) -> Run:
        """Return the run of a network whose outputs a watch shows."""
        run = cls.__new__(cls)
        run._begin(network, forwards)
        return run

    def _begin(self, network: Network, forwards: Forwards) -> None:
        self._routing = network.routing
        self._network = network
        self._forwards = forwards
        self._hooks = Hooks(self._routing, network)
        self._tapped: dict[str, bool] = {}
        self._last: Computed | None = None
        self._metrics: dict[str, Any] | None = None
        self._losses = 0  # with gradients, in training mode
        self._compiled_losses = 0
        self._follows = False  # whether an optimizer's steps are followed
        self._since = "the watch opened"
        self._ended = ""

    def __repr__(self) -> str:
        return f"{self._network.caller}({list(self._routing.every)}, outputs={list(self.outputs)})"

    @property
    def train(self) -> bool:
        """Whether outputs are changed: in a watch, whether the model is in training mode."""
        return self._network.train

    @train.setter
    def train(self, value: bool) -> None:
        self._network.train = value

    @property
    def outputs(self) -> dict[str, torch.Tensor]:
        """The outputs of the next loss by their names, with the clean originals of changed ones."""
        self._network.settle()
        found = merged([one for one in self._forwards.kept() if one.outputs])
        return {name: tensor for name, (tensor, _) in found.items()}

    # Outputs

    @outside
    def tap(self, name: str, value: torch.Tensor) -> torch.Tensor:
        """Show an output to the regularizers, and return it with their changes: continue with the returned tensor.

        Parameters
        ----------
        name : str
            The name for patterns. Tapped again in the same forward, the output is ``name@1``, then ``name@2``; a
            pattern that matches the name matches these too.
        value : torch.Tensor of floats

        Returns
        -------
        torch.Tensor
            `value` itself, unless a regularizer changes it: in training, or in predictions too.

        Raises
        ------
        regkit.GraphError
            If it is not a tensor of floats, or the run has ended.
        """
        if self._ended:
            raise regkit.GraphError(self._ended)
        if type(name) is not str or name not in self._tapped:
            if not isinstance(name, str) or not name or "@" in name:
                raise regkit.GraphError(f"tap got the name {name!r}; accepted: a string without @")
            self._tapped[name] = True
        route = self._network.routes.get(name) or self._network.route(name)
        if not isinstance(value, torch.Tensor) or not value.is_floating_point():
            raise not_floats(name, value)
        if route.changed_by(self._network.train):
            return self._show({name: value}, self._network.train)[name]
        self._keep(name, value, route)
        return value

    def skip(self, name: str) -> None:
        """Name an output that is not tapped, such as tokens, so that a pattern can exclude it: ``["*", "!tokens"]``."""
        self._tapped[name] = True
        self._forwards.here.shown[name] = None

    def _keep(self, name: str, tensor: torch.Tensor, route: Route, module: torch.nn.Module | None = None) -> None:
        """Keep an output that regularizers do not change."""
        grad = torch.is_grad_enabled()
        forward = self._forwards.of_output(module, grad)
        if forward is None:
            return
        if forward.grad and not grad:
            if route.kept:
                forward.missed[name] = without_gradients(name, in_checkpoint())
            return
        times = forward.times.get(name, 0)
        forward.times[name] = times + 1
        if route.kept:
            forward.keep(f"{name}@{times}" if times else name, tensor)

    def _show(
        self, outputs: dict[str, torch.Tensor], train: bool, module: torch.nn.Module | None = None
    ) -> dict[str, torch.Tensor]:
        """Take the outputs of one layer, and return them with their changes and the originals that are kept."""
        route = self._network.route
        if any(route(name).changed_by(train) for name in outputs):
            outputs, changed_by = self._hooks.modify_graph(outputs, train)
            self._forwards.here.changed_by.update(changed_by)
        grad = torch.is_grad_enabled()
        forward = self._forwards.of_output(module, grad)
        if forward is None:
            return outputs
        times = max(forward.times.get(name, 0) for name in outputs)
        for name, tensor in outputs.items():
            if forward.grad and not grad:
                if route(name).kept:
                    forward.missed[name] = without_gradients(name, in_checkpoint())
                continue
            forward.times[name] = times + 1
            if route(name).kept:
                forward.keep(f"{name}@{times}" if times else name, tensor)
        return outputs

    # The loss

    def _loss_in_graph(self) -> Any:
        """Return the loss in code that is compiled; None where it cannot be computed there."""
        computed = None if self._ended else self._network.loss_in_graph()
        if computed is None:
            return None
        self._last = Computed(computed.plan, [one.detach() for one in computed.results], None)
        if torch.is_grad_enabled() and self._network.train:
            self._compiled_losses = 2  # with a count, torch.compile would compile again for each loss
        return computed.results[0]

    @partial(outside, inside=_loss_in_graph)
    def loss(self) -> Any:
        """Return the regularizers' part of the loss, weight times penalty, for the forward since the last loss.

        Under ``torch.no_grad()`` it takes only forwards that ran under ``torch.no_grad()``, which the next loss with
        gradients ignores.

        Returns
        -------
        torch.Tensor
            A scalar; the number 0 for a set without penalties.

        Raises
        ------
        regkit.NoMatchError
            If the pattern of a regularizer matches nothing that was kept.
        regkit.GraphError
            If a model was called several times since the last loss and the watch takes one forward, or a backward has
            passed through the forward already; if a module that a pattern matches ran unseen; if an output was changed
            in place since it was seen, a penalty cannot be computed, or the run has ended.
        """
        if self._ended:
            raise regkit.GraphError(self._ended)
        self._last = None
        self._losses += torch.is_grad_enabled() and self._network.train
        self._network.settle()
        here = self._forwards.here
        changed_by, shown = here.changed_by, here.shown
        began, since = self._forwards.began(), self._since
        self._since = "the last loss"
        forwards = self._forwards.of_loss(take=True)  # after an error too, the next loss is of later outputs
        self._network.check(self._tapped)
        if not began:
            self._network.check_began(since)
        self._network.check_seen(forwards)
        if self._routing.changers:
            self._check_changes(changed_by, forwards, shown)
        if torch.is_grad_enabled() and self._network.regs.needs_metrics:
            self._metrics = self._hooks.metrics(_detached(forwards))
        computed = self._computed(forwards, shown, forwards[0].computed if len(forwards) == 1 else None)
        if computed is None:
            return 0
        self._last = computed.detached()
        return computed.results[0]

    @outside
    def terms(self, each: bool = False) -> list[regkit.Term]:
        """Return each regularizer's part of the loss: for the forward since the last loss, or else of the last loss.

        The parts of the last loss have no gradients.

        Parameters
        ----------
        each : bool, default False
            Whether to return a term for each output or weight that a regularizer selects, as if it selected only that
            one: named ``hidden_l1/enc.1``, without gradients. This is for the forward since the last loss, so call it
            before the loss.

        Returns
        -------
        list of regkit.Term

        Raises
        ------
        regkit.NoMatchError, regkit.GraphError
            As `loss`; with `each` also if the last loss has taken the outputs.
        """
        if self._ended:
            if self._last is None or each:
                raise regkit.GraphError(self._ended)
            return self._hooks.terms(self._last)
        self._network.settle()
        forwards = self._forwards.of_loss(take=False)
        computed = self._last
        if each and self._last is not None and not merged(forwards):
            raise regkit.GraphError(
                "there was no forward since the last loss, which took the outputs. Call run.terms(each=True) before "
                "run.loss()"
            )
        if computed is None or forwards or each:
            self._network.check(self._tapped)
            if not self._forwards.began():
                self._network.check_began(self._since)
            self._network.check_seen(forwards)
            if each:
                self._network.of_forwards(forwards)
                return self._hooks.each(_detached(forwards))
            computed = self._computed(forwards, self._forwards.here.shown)
        return self._hooks.terms(computed) if computed else []

    @outside
    def metrics(self) -> dict[str, Any]:
        """Return scalars to look at, such as the share of zeros, by the names of member and scalar.

        Those of outputs are for the forward since the last loss, so call it before the loss.

        Raises
        ------
        regkit.GraphError
            If there was no forward since the last loss, or the run has ended.
        """
        found = self._metrics_now()
        if found is None:
            raise regkit.GraphError(
                "there was no forward since the last loss, which took the outputs. Call run.metrics() before run.loss()"
            )
        return found

    @outside
    def _metrics_now(self) -> dict[str, Any] | None:
        """Return the metrics; None if some are of outputs and there was no forward since the last loss."""
        if self._ended:
            raise regkit.GraphError(self._ended)
        self._network.settle()
        forwards = self._forwards.of_loss(take=False)
        looking = [one for one in self._routing.looking.values() if "metrics" in one.hooks]
        if not merged(forwards) and any(one.selects == "outputs" for one in looking):
            return None
        self._network.check_seen(forwards)
        self._network.of_forwards(forwards)
        return self._hooks.metrics(_detached(forwards))

    @outside
    def after_step(self, *optimizers: Any) -> None:
        r"""Let regularizers act after an optimizer's step: they change parameters in place, and schedules move a step.

        Call it once after the steps of all optimizers; a watch that has the optimizer does so itself. Regularizers act
        in order, on all parameters that their penalties select; parameters that are frozen, or have no gradient where
        others have one, do not change. The step size of a group is the rate :math:`\eta`. So that a proximal step has
        the zeros of the closed form,

        - the step size is :math:`\eta (1 - d) / (1 - \mu)` for SGD with momentum :math:`\mu` and dampening :math:`d`,
          which is how far a constant gradient moves a weight in all;
        - the amount is divided by :math:`\sqrt{\hat v} + \epsilon`, as gradients are, for Adam and AdamW.

        Then weights that are `regkit.schedules` move, a `regkit.schedules.Target` by the metrics of the last loss, with
        several processes by their mean. Nothing happens after a step of an optimizer of accelerate that only
        accumulated gradients, or that a loss scaler skipped. Only a watch that has the optimizer knows which steps a
        `torch.amp.GradScaler` skipped.

        Parameters
        ----------
        *optimizers : torch.optim.Optimizer or float
            A number is the step size for all parameters.

        Raises
        ------
        regkit.OptionError
            If it is neither, or, for a proximal step, an optimizer of another kind.
        regkit.GraphError
            If an optimizer trains none of the parameters, a weight is computed by a parametrization, or the watch has
            the optimizer.
        regkit.NoMatchError
            If a pattern matches no parameter.

        Examples
        --------
        >>> import regkit, regkit_torch, torch
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> _ = torch.nn.init.constant_(model.weight, 0.75)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        >>> regs = regkit.build(weight_l1=dict(weight=1.0, by="proximal"))
        >>> with regkit_torch.watch(model, regs) as run:
        ...     (model(torch.zeros(1, 2)).sum() + run.loss()).backward()
        ...     optimizer.step()
        ...     run.after_step(optimizer)
        >>> model.weight.tolist()
        [[0.25, 0.25]]
        """
        if self._ended:
            raise regkit.GraphError(self._ended)
        if self._follows:
            raise regkit.GraphError("the watch has the optimizer, and does after each step what after_step does")
        if not optimizers:
            raise regkit.OptionError("after_step got no optimizer; accepted: run.after_step(optimizer)")
        self._after_step(*optimizers)

    @outside
    def _after_step(self, *optimizers: Any) -> None:
        inner = list(map(plain, optimizers))
        if not any(map(has_moved, optimizers)):
            return
        for outer, one in zip(optimizers, inner):
            if has_moved(outer):
                change_parameters(self._network, one)
        self._network.regs.step(metrics=mean_of_processes(self._metrics))

    @outside
    def discard(self) -> None:
        """Forget the forwards since the last loss, so that the next loss is of later ones.

        Examples
        --------
        >>> import regkit, regkit_torch, torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh())
        >>> with regkit_torch.watch(model, regkit.build(hidden_l1=dict(weight=0.1, pattern="1"))) as run:
        ...     teacher = model(torch.ones(2, 4))
        ...     run.discard()
        ...     loss = (model(torch.zeros(2, 4)) - teacher).square().sum() + run.loss()
        """
        if self._ended:
            raise regkit.GraphError(self._ended)
        self._network.settle()
        self._forwards.discard()

    def _computed(
        self, forwards: list[Forward], shown: Mapping[str, None], given: Computed | None = None
    ) -> Computed | None:
        if not self._routing.penalizers:
            return None
        conditions = self._network.of_forwards(forwards)
        outputs = forwards[0].outputs if len(forwards) == 1 else merged([one for one in forwards if one.outputs])
        return self._hooks.loss(outputs, lambda: _names(forwards, shown), conditions, given)

    # Errors

    def _check_changes(self, changed_by: set[str], forwards: Sequence[Forward], shown: Mapping[str, None]) -> None:
        """Raise for a regularizer that changes outputs in this mode, and was shown none that it changes."""
        for name, member in self._routing.changers.items():
            if name not in changed_by and (self._network.train or member.in_predictions):
                if member.globs is not None:
                    error = str(hosts.no_match(member, member.globs, outputs=_names(forwards, shown)))
                else:
                    error = f"{name}: {type(member.regularizer).__name__} was shown no output that it changes"
                raise regkit.NoMatchError(f"{error}. {self._network.hint}")

    def _end(self, reason: str) -> None:
        """Forget all outputs, and take no more."""
        self._forwards.clear()
        self._ended = reason


def _detached(forwards: list[Forward]) -> dict[str, torch.Tensor]:
    """Return the outputs of forwards, detached from their graph."""
    return {name: tensor.detach() for name, (tensor, _) in merged(forwards).items()}


def _names(forwards: Iterable[Forward], shown: Mapping[str, None]) -> list[str]:
    """Return the names of all outputs that forwards showed."""
    return list(dict.fromkeys((*(name for one in forwards for name in one.times), *shown)))


def not_floats(name: str, value: Any) -> regkit.GraphError:
    """Return the error for an output that is not a tensor of floats."""
    if not isinstance(value, torch.Tensor):
        shown = "None" if value is None else f"of type {type(value).__module__}.{type(value).__qualname__}"
        return regkit.GraphError(f"output {name!r} is {shown}; accepted: a torch.Tensor of floats")
    return regkit.GraphError(
        f"output {name!r} is of {value.dtype}, which has no gradient; accepted: a torch.Tensor of floats. Give a "
        "pattern that does not match it"
    )
