"""A model of torch with regularizers: hooks on its modules show their outputs to a run."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.hooks import RemovableHandle

import regkit
from regkit.messages import listed

from .forwards import After, Before
from .members import may_match, nothing_there
from .naming import module_paths, named_outputs, params_of, with_outputs
from .planning import Planned
from .plans import plans_of
from .running import Run, what_is_wrong
from .structure import Layout, form_of, have_contents

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .members import Members

#: Ids of modules that are watched, each of which a watch holds until it ends.
_watched: set[int] = set()


@contextmanager
def watch(model: torch.nn.Module, regs: regkit.RegularizerSet) -> Iterator[Run]:
    """Show the outputs of a model's modules to regularizers, for as long as the ``with`` statement runs.

    Outputs go by the path of their module in ``model.named_modules()``, such as ``encoder.fc1``; of several outputs
    ``lstm:0`` is the first and ``lstm:1:0`` the first of the second. Parameters go by their names in
    ``model.named_parameters()``. What wrappers put before these, ``module.`` and ``_orig_mod.``, is left out.

    Parameters
    ----------
    model : torch.nn.Module
    regs : regkit.RegularizerSet
        What `regkit.build` returns. Regularizers of outputs need a pattern.

    Yields
    ------
    Run
        ``run.loss()`` is what the regularizers add, of all forwards since the last time. Nothing is kept of a forward
        under ``torch.no_grad()``, nor of what a checkpoint computes again in the backward. Noise and dropout change the
        outputs of modules that are in training mode. ``run.tap(name, value)`` shows what is not a module's output.

    Raises
    ------
    regkit.OptionError, regkit.GraphError
        If the model is not one or is watched already, `regs` is not a set, or a regularizer of outputs has no pattern.
    regkit.NoMatchError
        If a pattern matches no module, no parameter, and nothing that was tapped before the first loss: by
        ``run.loss()``, or at the end of a watch without one. At once for a penalty of weights.

    Examples
    --------
    >>> import regkit, regkit_torch, torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
    >>> regs = regkit.build(hidden_l1=dict(weight=0.1, pattern="1"), weight_l2=0.01)
    >>> x, y = torch.ones(8, 4), torch.zeros(8, 1)
    >>> with regkit_torch.watch(model, regs) as run:
    ...     loss = torch.nn.functional.mse_loss(model(x), y) + run.loss()
    ...     loss.backward()
    >>> [term.name for term in run.terms()]
    ['hidden_l1', 'weight_l2']
    """
    run = Watched(model, regs)
    try:
        run.begin()
        yield run
        run.check_taps()
    finally:
        run.end()


class Watched(Run):
    """The run of a model that is watched."""

    _what = "watch"

    def __init__(self, model: torch.nn.Module, regs: regkit.RegularizerSet) -> None:
        if not isinstance(model, torch.nn.Module):
            raise regkit.OptionError(f"watch got a model of type {type(model).__name__}; accepted: a torch.nn.Module")
        Planned.__init__(self, regs)  # not that of Run, which is given layers
        self._begin()
        self._model = model
        self._modules, self.ids, self._form, self._contents = form_of(model)
        if not _watched.isdisjoint(self.ids):
            raise regkit.GraphError(
                "the model, or a part of it, is watched already. Put all regularizers into one set, "
                "watch(model, regs + more), or leave the first watch before"
            )
        self._layout: Any = None  # a Layout, once there are members
        self._hooked: list[torch.nn.Module] = []
        self._to_tap: list[tuple[str, str]] = []
        self._tapped: dict[str, bool] = {}
        self._show_to(self._members)

    @property
    def train(self) -> bool:
        """Whether the model is in training mode."""
        return bool(self._model.training)

    @train.setter
    def train(self, value: bool) -> None:
        """Leave it to the model."""

    def begin(self) -> None:
        """Put a forward hook on each module that a regularizer may look at.

        A watch for each step does so each time, and ``register_forward_hook`` takes three times as long: it makes a
        handle with three weak references. So it makes one, and the hooks of all modules go by its number.
        """
        _watched.update(self.ids)
        self._number = RemovableHandle(OrderedDict()).id
        self._model._forward_pre_hooks[self._number] = Before(self, "", self._model)
        self._put_hooks()

    def _put_hooks(self) -> None:
        for module in self._hooked:
            module._forward_hooks.pop(self._number, None)
        self._hooked = [self._modules[place] for _, place in self._layout.watched]
        for (path, _), module in zip(self._layout.watched, self._hooked):
            module._forward_hooks[self._number] = After(self, path, module)

    def end(self) -> None:
        """Remove the hooks, and forget what was kept."""
        self._model._forward_pre_hooks.pop(self._number, None)
        for module in self._hooked:
            module._forward_hooks.pop(self._number, None)
        _watched.difference_update(self.ids)
        self._forget()
        self._ended = "this watch has ended, and nothing is kept of the model since. Use run.loss() within `with`"

    def before(self) -> None:
        """Take the members as they are, when the model begins to compute the first outputs since the last loss."""
        if not self._times:
            self._renew()

    def after(self, path: str, module: torch.nn.Module, output: Any) -> Any:
        """Take what a module gave; return what it is from there on, or None for the same."""
        if not self._times:  # where a part of the model is called and not the model
            self._renew()
        route = self._members.routes.get(path) or self._members.route(path)
        if isinstance(output, torch.Tensor) and not (route.changers and module.training):
            if route.reads:
                if not output.is_floating_point():
                    raise regkit.GraphError(what_is_wrong(path, output))
                self._keep(path, output, True)
            return None
        return self._shown(path, module, output)

    def _shown(self, path: str, module: torch.nn.Module, output: Any) -> Any:
        outputs = {name: one for name, one in named_outputs(path, output) if self._members.route(name).reads}
        if not outputs:
            return None
        for name, one in outputs.items():
            if not isinstance(one, torch.Tensor) or not one.is_floating_point():
                raise regkit.GraphError(what_is_wrong(name, one))
        changed = self._given(outputs, module.training)
        if all(changed[name] is one for name, one in outputs.items()):
            return None
        return with_outputs(path, output, changed)

    # Patterns that no module has an output for: a tap may

    def tap(self, name: str, value: torch.Tensor) -> torch.Tensor:
        """Show an output to the regularizers, and return what it is from there on: see `Run.tap`."""
        value = super().tap(name, value)
        self._tapped[name] = True
        if self._to_tap:
            self._to_tap = [(member, glob) for member, glob in self._to_tap if not may_match(name, glob)]
        return value

    def check_taps(self) -> None:
        """Raise for a pattern that matched no module and nothing that was tapped.

        Raises
        ------
        regkit.NoMatchError
            With the modules, the parameters and the tapped names that there are.
        """
        self._renew()
        for member, glob in self._to_tap:
            raise regkit.NoMatchError(
                f"{nothing_there(member, glob, self._layout.paths, list(self._layout.params))}; and none of what was "
                f"tapped by run.tap(name, value): {listed(list(self._tapped))}"
            )

    def _check_open(self) -> None:
        super()._check_open()
        self._check_form()
        if self._to_tap:
            self.check_taps()

    def _why_nothing(self) -> str:
        return (
            "Nothing is kept of forwards under torch.no_grad() or within a reentrant checkpoint, nor of a model that "
            "torch.compile has compiled; what functions such as F.relu compute is not an output of a module: "
            "run.tap(name, value) shows it"
        )

    # Members and modules, which may be others than when it opened

    def _show_to(self, members: Members) -> None:
        plans = plans_of(self._model, members, self._form)
        before = self._layout
        if plans.layout is None:
            if before is not None and before.looks == members.looks:
                plans.layout = before
            else:
                self._check_form()
                plans.layout = Layout(self._model, self.ids, members)
                self._regs.log()
        self._plans, self._members, self._layout = plans, members, plans.layout
        if self._layout is before:
            return
        self._layers = self._layout.layers
        self._to_tap = [
            (member, glob)
            for member, glob in self._layout.unmatched
            if not any(may_match(name, glob) for name in self._tapped)
        ]
        if before is not None:
            self._put_hooks()

    def _check_form(self) -> None:
        """Raise if the model has other modules or names of parameters than when the watch opened."""
        if have_contents(self._modules, self._contents):
            return
        there = module_paths(self._model)
        modules_there = [path for path, module in there if id(module) not in self.ids]
        params_there = [name for path, module in there for name in params_of(path, module)]
        new = {"modules": modules_there, "parameters": [one for one in params_there if one not in self._layout.params]}
        said = (f"new {kind} are {listed(names)}" for kind, names in new.items() if names)
        raise regkit.GraphError(
            "the model has changed within the watch: "
            f"{next(said, 'modules or parameters are gone, or shared, or have other names')}. Leave the watch before "
            "modules or parameters are added, replaced or taken out, and open a new one after it"
        )

    # Parameters, which may be others than before in each step

    def _named_params(self) -> dict[str, torch.Tensor]:
        found = ((name, self._param(name)) for name in self._layout.params)
        return {name: param for name, param in found if param is not None}

    def _param(self, name: str) -> Any:
        place, short = self._layout.params[name]
        return self._modules[place]._parameters.get(short)
