"""A model of torch with regularizers: hooks on its modules show their outputs to a run."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import torch

import regkit

from .naming import module_paths, named_outputs, params_of, with_outputs
from .running import Run, _check_output

if TYPE_CHECKING:
    from collections.abc import Iterator

_watched: WeakSet[torch.nn.Module] = WeakSet()


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
        outputs of modules that are in training mode.

    Raises
    ------
    regkit.OptionError, regkit.GraphError
        If the model is not one or is watched already, `regs` is not a set, or a regularizer of outputs has no pattern.
    regkit.NoMatchError
        If a pattern can match no module and no parameter.

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
    handles = []
    watched = list(model.modules())
    try:
        _watched.update(watched)
        handles += [module.register_forward_hook(run.hook(path)) for path, module in run.to_watch()]
        run.log()
        yield run
    finally:
        for handle in handles:
            handle.remove()
        for module in watched:
            _watched.discard(module)
        run.end()


class Watched(Run):
    """The run of a model that is watched."""

    _what = "watch"

    def __init__(self, model: torch.nn.Module, regs: regkit.RegularizerSet) -> None:
        if not isinstance(model, torch.nn.Module):
            raise regkit.OptionError(f"watch got a model of type {type(model).__name__}; accepted: a torch.nn.Module")
        if any(module in _watched for module in model.modules()):
            raise regkit.GraphError(
                "the model, or a part of it, is watched already. Put all regularizers into one set, "
                "watch(model, regs + more), or leave the first watch before"
            )
        self._model = model
        self._modules = module_paths(model)
        layers = [
            regkit.Layer(path or "model", params_of(path, module), role="hidden") for path, module in self._modules
        ]
        super().__init__(regs, layers)
        self._owner = model
        self._regs = regs
        self._paths = [path for path, _ in self._modules if path]
        self._members.check_patterns(self._paths, "Give it one, a glob for paths of modules")
        self._members.check_matches(self._paths, list(self._params))

    @property
    def train(self) -> bool:
        """Whether the model is in training mode."""
        return bool(self._model.training)

    @train.setter
    def train(self, value: bool) -> None:
        """Leave it to the model."""

    def log(self) -> None:
        """Log the regularizers."""
        self._regs.log()

    def end(self) -> None:
        """Forget what was kept."""
        self._forget()
        self._ended = "this watch has ended, and nothing is kept of the model since. Use run.loss() within `with`"

    def to_watch(self) -> Iterator[tuple[str, torch.nn.Module]]:
        """Return the modules that a regularizer may look at, by their paths."""
        return ((path, module) for path, module in self._modules if path and self._members.may_read(path))

    def hook(self, path: str) -> Any:
        """Return the forward hook of a module."""

        def show(module: torch.nn.Module, _: Any, output: Any) -> Any:
            if torch.compiler.is_compiling():  # compiled code would show the outputs of this run to the end of its days
                return None
            return self._shown(path, module, output)

        return show

    def _shown(self, path: str, module: torch.nn.Module, output: Any) -> Any:
        if isinstance(output, torch.Tensor):
            if not self._members.reads(path):
                return None
            outputs = {path: output}
        else:
            outputs = {name: one for name, one in named_outputs(path, output) if self._members.reads(name)}
            if not outputs:
                return None
        for name, one in outputs.items():
            _check_output(name, one)
        if getattr(module, "_is_replica", False):
            raise regkit.GraphError(
                f"module {path!r} runs as replicas on several devices at once (DataParallel), whose outputs are not in "
                "one place. Use torch.nn.parallel.DistributedDataParallel"
            )
        changed = self._given(outputs, module.training)
        if all(changed[name] is one for name, one in outputs.items()):
            return None
        return changed[path] if path in outputs else with_outputs(path, output, changed)

    def _why_nothing(self) -> str:
        return (
            "Nothing is kept of forwards under torch.no_grad() or within a reentrant checkpoint, nor of a model that "
            "torch.compile has compiled; what functions such as F.relu compute is not an output of a module: "
            "run.tap(name, value) shows it"
        )

    def _check_open(self) -> None:
        if not self._ended:
            self._params = {
                name: param for path, module in self._modules for name, param in params_of(path, module).items()
            }
        super()._check_open()
