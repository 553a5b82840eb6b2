"""Regularizers beside a model while it computes: what they are shown, what they change, what they add to the loss."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch

import regkit
from regkit.layers import check_layers, named_params

from .planning import Planned

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from regkit.hooks.penalties import Term

    from .members import Members, Route
    from .planning import Computed


class Run(Planned):
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
        If `regs` is not a set of regularizers, or `layers` not a sequence.
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
        super().__init__(regs)
        if layers is not None and not isinstance(layers, Iterable):
            raise regkit.OptionError(f"Run got layers={layers!r}; accepted: a sequence of regkit.Layer, or None")
        layers = list(layers or ())
        check_layers(layers)
        self._params = {name: param for layer in layers for name, param in named_params(layer)}
        self._layers = [
            (layer.output_name, getattr(layer, "role", None), [name for name, _ in named_params(layer)])
            for layer in layers
        ]
        self._show_to(self._members)
        self.train = train
        self._begin()

    def _show_to(self, members: Members) -> None:
        if not self._layers:
            members.check_patterns((), "Give it one, a glob for the names that are tapped, or give layers")
        super()._show_to(members)

    def _begin(self) -> None:
        self._ended = ""
        self._kept: dict[str, tuple[torch.Tensor, int]] = {}  # with the tensor's count of changes in place
        self._times: dict[str, int] = {}
        self._changed_by: set[str] = set()
        self._last: Computed | None = None

    def __repr__(self) -> str:
        return f"{self._what}({list(self._members.regularizers)}, outputs={list(self._kept)})"

    @property
    def outputs(self) -> dict[str, torch.Tensor]:
        """The outputs by their names that the next loss is of, clean originals of changed ones among them."""
        return {name: tensor for name, (tensor, _) in self._kept.items()}

    def _forget(self) -> None:
        self._kept.clear()
        self._times.clear()
        self._changed_by.clear()

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
        if self._ended:
            raise regkit.GraphError(self._ended)
        if not self._times:  # the first since the last loss
            self._renew()
        route = self._members.routes.get(name) if type(name) is str else None
        if route is None:
            route = self._first_route(name)
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
        self._last = None
        try:
            self._check_open()
            if self._members.changers:
                self._check_changes()
            self._last = computed = self._computed(self._kept)
        finally:
            self._forget()  # also by an error: the next loss is of what comes next
        return computed[1][0] if computed else 0

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
        computed = self._last or self._computed(self._kept)
        return self._terms_of(computed) if computed else []

    # What is refused

    def _check_open(self) -> None:
        """Raise if nothing can be computed here any more, and take the members as they are."""
        if self._ended:
            raise regkit.GraphError(self._ended)
        self._renew()

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


def what_is_wrong(name: str, value: Any) -> str:
    """Return the words for an output that is not a tensor of floats."""
    if not isinstance(value, torch.Tensor):
        shown = "None" if value is None else f"of type {type(value).__module__}.{type(value).__qualname__}"
        return f"output {name!r} is {shown}; accepted: a torch.Tensor of floats"
    return (
        f"output {name!r} is of {value.dtype}, which has no gradient; accepted: a torch.Tensor of floats. Give a "
        "pattern that does not match it"
    )


#: Tells which backward is running here, if any: it computes again what a checkpoint left out.
_current_backward = torch._C._current_graph_task_id
