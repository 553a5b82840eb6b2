"""Lightning: a callback by which a Trainer trains with regularizers."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch

import regkit
from regkit_torch import watch

from ._steps import go_on

try:
    from lightning import pytorch
except ModuleNotFoundError:  # the same under the name of its other distribution
    import pytorch_lightning as pytorch

if TYPE_CHECKING:
    from collections.abc import Callable

    from regkit_torch import Run


class Callback(pytorch.Callback):  # type: ignore[misc]  # Lightning is not typed where it is not installed
    """Regularizers in a `lightning.Trainer`: their penalties are in the loss that ``training_step`` returns.

    Each term is logged by the name of its regularizer, and after ``validation_step`` as ``val_`` and the name. Metrics
    such as ``hidden_l1.zeros`` are logged in the steps in which Lightning logs. A loss that ``training_step`` logs
    itself is without penalties. Where gradients are accumulated over batches, a penalty counts once, as the mean over
    these. After each step of the optimizer `regkit_torch.Run.after_step` is called.

    Parameters
    ----------
    regs : regkit.RegularizerSet
        What `regkit.build` returns. Patterns are for paths of modules in the LightningModule.
    forwards : {"one", "all", "last"}, default "one"
        As for `regkit_torch.watch`.

    Raises
    ------
    regkit.OptionError
        By ``Trainer.fit``, if the module optimizes by itself (``automatic_optimization = False``).

    Examples
    --------
    >>> import lightning, regkit, regkit_torch.lightning
    >>> regs = regkit.build(hidden_l1=0.1)
    >>> trainer = lightning.Trainer(callbacks=[regkit_torch.lightning.Callback(regs)], logger=False, barebones=True)
    """

    def __init__(self, regs: regkit.RegularizerSet, *, forwards: str = "one") -> None:
        self._regs = regs
        self._forwards = forwards
        self._watch: Any = None

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Open the watch before training and validation."""
        if stage not in ("fit", "validate"):
            return
        if stage == "fit" and not pl_module.automatic_optimization:
            raise regkit.OptionError(
                f"{type(pl_module).__name__} optimizes by itself (automatic_optimization = False), so there is no loss "
                "that a callback could add to. Write `with regkit_torch.watch(self, regs) as run:` and add run.loss() "
                "to the loss in training_step"
            )
        self._watch = watch(pl_module, self._regs, forwards=self._forwards)
        run = self._watch.__enter__()
        for name, add in (("training_step", _add), ("validation_step", _validate)):
            pl_module.__dict__[name] = _wrapped(getattr(pl_module, name), run, pl_module, add)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Follow the optimizer, which there is from here on."""
        self._watch.follow(trainer.optimizers[0])  # there are several only in manual optimization
        go_on(self._regs, trainer.global_step)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Close the watch."""
        self._close(pl_module, None)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Close the watch."""
        self._close(pl_module, exception)

    def _close(self, pl_module: Any, exception: BaseException | None) -> None:
        if self._watch is None:
            return
        opened, self._watch = self._watch, None
        for name in ("training_step", "validation_step"):
            pl_module.__dict__.pop(name, None)
        opened.__exit__(None if exception is None else type(exception), exception, None)


def _wrapped(step: Callable[..., Any], run: Run, module: Any, add: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(step)  # Lightning looks at the arguments that the step takes
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        run.discard()
        return add(step(*args, **kwargs), run, module)

    return wrapper


def _add(output: Any, run: Run, module: Any) -> Any:
    """Return the output of a training step with the penalties in the loss."""
    if output is None:  # the step is left out
        return None
    trainer = module.trainer
    if trainer.loggers and (trainer.global_step + 1) % trainer.log_every_n_steps == 0:
        module.log_dict(_tensors(run._metrics_now() or {}))
    penalty = run.loss()
    module.log_dict({term.name: torch.as_tensor(term.weighted).detach() for term in run.terms()})
    if isinstance(output, dict):
        return {**output, "loss": output["loss"] + penalty}
    return output + penalty


def _validate(output: Any, run: Run, module: Any) -> Any:
    """Log the terms of a validation step, and return its output."""
    metrics = run._metrics_now()
    if metrics is None:  # the step called no module
        return output
    module.log_dict(_tensors({f"val_{name}": value for name, value in metrics.items()}))
    module.log_dict({f"val_{term.name}": torch.as_tensor(term.weighted) for term in run.terms()})
    return output


def _tensors(metrics: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {name: torch.as_tensor(value) for name, value in metrics.items()}
