"""Regularizers beside computations with torch: they are shown outputs, change some of them, and add to the loss."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch

import regkit
from regkit import hosts

from ._hooks import Computed, Hooks, Network, Routing, routing_of
from ._plans import plans_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._hooks import Route


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
        self._params = {name: param for layer in given for name, param in hosts.named_params(layer)}
        self.layers = [
            (layer.output_name, getattr(layer, "role", None), [name for name, _ in hosts.named_params(layer)])
            for layer in given
        ]
        self.train = train
        self.plans = plans_of(regs, regs, self.layers)
        self.paths = []
        several = (member for member in routing.changers.values() if member.globs and len(member.globs) > 1)
        self.unmatched = [(member, glob) for member in several for glob in member.globs or ()]

    def check(self, tapped: Iterable[str]) -> None:
        """Raise for a glob of a change, one of several, that matches no name that was tapped in training."""
        if self.train:
            super().check(tapped)

    def param(self, name: str) -> Any:
        """Return the parameter of a full name."""
        return self._params.get(name)

    def params(self) -> Mapping[str, torch.Tensor]:
        """Return the parameters by their full names."""
        return self._params


class Shown:
    """The outputs that regularizers were shown since the last loss.

    Attributes
    ----------
    outputs : dict of str to (tensor, int)
        Those that a penalty is of, with the count of changes in place that each had.
    times : dict of str to int
        How often each name was shown.
    changed_by : set of str
        The members that changed an output.
    """

    __slots__ = ("changed_by", "outputs", "times")

    def __init__(self) -> None:
        self.outputs: dict[str, tuple[torch.Tensor, int]] = {}
        self.times: dict[str, int] = {}
        self.changed_by: set[str] = set()


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
        If `regs` is not a set of regularizers, `layers` not a sequence, or a regularizer of outputs has no pattern and
        there are no layers.

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
        self._routing = routing_of(regs, "Run")
        self._network = layers if isinstance(layers, Network) else Layers(layers, train, self._routing, regs)
        if not self._network.layers:
            hosts.check_patterns(self._routing.every.values(), (), "Give one for names that are tapped, or give layers")
        self._hooks = Hooks(self._routing, self._network)
        self._tapped: dict[str, bool] = {}
        self._shown = Shown()
        self._last: Computed | None = None
        self._ended = ""

    def __repr__(self) -> str:
        return f"{self._network.caller}({list(self._routing.every)}, outputs={list(self._shown.outputs)})"

    @property
    def train(self) -> bool:
        """Whether outputs are changed: in a watch, whether the model is in training mode."""
        return self._network.train

    @train.setter
    def train(self, value: bool) -> None:
        self._network.train = value

    @property
    def outputs(self) -> dict[str, torch.Tensor]:
        """The outputs by their names that the next loss is of, clean originals of changed ones among them."""
        return {name: tensor for name, (tensor, _) in self._shown.outputs.items()}

    # Outputs

    def tap(self, name: str, value: torch.Tensor) -> torch.Tensor:
        """Show an output to the regularizers, and return it with their changes, to be used from there on.

        Parameters
        ----------
        name : str
            The name for patterns. Tapped again before the next loss it is ``name@1``, then ``name@2``, which a pattern
            that matches the name matches too.
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
        if self._ended:
            raise regkit.GraphError(self._ended)
        if type(name) is not str or name not in self._tapped:
            if not isinstance(name, str) or not name or "@" in name:
                raise regkit.GraphError(f"tap got the name {name!r}; accepted: a string without @")
            self._tapped[name] = True
        route = self._routing.routes.get(name) or self._routing.route(name)
        if not isinstance(value, torch.Tensor) or not value.is_floating_point():
            raise not_floats(name, value)
        if route.changers and self._network.train:
            return self._show({name: value}, True)[name]
        self._keep(name, value, route)
        return value

    def skip(self, name: str) -> None:
        """Name an output that is not tapped, such as tokens, so that patterns can take it out: ``["*", "!tokens"]``."""
        self._tapped[name] = True
        self._shown.times.setdefault(name, 1)

    def _keep(self, name: str, tensor: torch.Tensor, route: Route) -> None:
        """Keep an output that regularizers do not change."""
        if torch.is_grad_enabled() and _current_backward() == -1:
            shown = self._shown
            times = shown.times.get(name, 0)
            shown.times[name] = times + 1
            if route.penalized:
                shown.outputs[f"{name}@{times}" if times else name] = tensor, tensor._version
            self._last = None

    def _show(self, outputs: dict[str, torch.Tensor], train: bool) -> dict[str, torch.Tensor]:
        """Take the outputs of one layer, and return them with their changes and the originals that are kept."""
        route = self._routing.route
        changers = {changer for name in outputs for changer in route(name).changers} if train else ()
        shown = self._shown
        if changers:
            outputs = self._hooks.modify_graph(outputs)
            shown.changed_by.update(changers)
        if torch.is_grad_enabled() and _current_backward() == -1:
            times = max(shown.times.get(name, 0) for name in outputs)
            for name, tensor in outputs.items():
                if route(name).penalized:
                    shown.outputs[f"{name}@{times}" if times else name] = tensor, tensor._version
                shown.times[name] = times + 1
            self._last = None
        return outputs

    # The loss

    def loss(self) -> Any:
        """Return the regularizers' part of the loss: weight times penalty, of all outputs since the last loss.

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
        shown, self._shown = self._shown, Shown()  # after an error too, the next loss is of later outputs
        self._last = None
        self._check_open()
        if self._routing.changers:
            self._check_changes(shown)
        self._last = computed = self._computed(shown)
        return computed.results[0] if computed else 0

    def terms(self) -> list[regkit.Term]:
        """Return each regularizer's part of the loss: of the outputs since the last loss, or else of the last loss.

        Returns
        -------
        list of regkit.Term

        Raises
        ------
        regkit.NoMatchError, regkit.GraphError
            As `loss`.
        """
        computed = self._last
        if computed is None:
            self._check_open()
            computed = self._computed(self._shown)
        return self._hooks.terms(computed) if computed else []

    def _computed(self, shown: Shown) -> Computed | None:
        return self._hooks.loss(shown.outputs, shown.times) if len(self._routing.penalizing) else None

    # Errors

    def _check_open(self) -> None:
        """Raise if nothing can be computed here any more."""
        if self._ended:
            raise regkit.GraphError(self._ended)
        self._network.check(self._tapped)

    def _check_changes(self, shown: Shown) -> None:
        """Raise for a regularizer that changes outputs, in training, and was shown none that it changes."""
        if not self._network.train:
            return
        for name, member in self._routing.changers.items():
            if name not in shown.changed_by:
                if member.globs is not None:
                    error = str(hosts.no_match(member, member.globs, outputs=shown.times))
                else:
                    error = f"{name}: {type(member.regularizer).__name__} was shown no output that it changes"
                raise regkit.NoMatchError(f"{error}. {self._network.hint}")

    def _end(self, reason: str) -> None:
        """Forget all outputs, and refuse more."""
        self._shown = Shown()
        self._ended = reason


def not_floats(name: str, value: Any) -> regkit.GraphError:
    """Return the error for an output that is not a tensor of floats."""
    if not isinstance(value, torch.Tensor):
        shown = "None" if value is None else f"of type {type(value).__module__}.{type(value).__qualname__}"
        return regkit.GraphError(f"output {name!r} is {shown}; accepted: a torch.Tensor of floats")
    return regkit.GraphError(
        f"output {name!r} is of {value.dtype}, which has no gradient; accepted: a torch.Tensor of floats. Give a "
        "pattern that does not match it"
    )


#: Returns the number of the backward that runs here, -1 for none: a backward computes checkpoints again.
_current_backward = torch._C._current_graph_task_id
