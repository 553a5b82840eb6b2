"""transformers: a Trainer that trains with regularizers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

from regkit_torch import watch

from ._steps import go_on

if TYPE_CHECKING:
    from collections.abc import Mapping

    import regkit
    from regkit_torch import Run


def attach(trainer: Any, regs: regkit.RegularizerSet, *, forwards: str = "one") -> Attached:
    """Add the penalties of regularizers to the loss that a Trainer trains with.

    It works with label smoothing, with a ``compute_loss_func``, and with ``gradient_accumulation_steps``, over which a
    penalty counts once, as the mean. Each term is in the logs by the name of its regularizer, as the mean since the
    last log, and after an evaluation as ``eval_`` and the name; ``eval_loss`` is without penalties. Metrics such as
    ``hidden_l1.zeros`` are in the logs too, in training those of the first batch since the last log. After each step of
    the optimizer `regkit_torch.Run.after_step` is called.

    Parameters
    ----------
    trainer : transformers.Trainer
    regs : regkit.RegularizerSet
        What `regkit.build` returns. Patterns are for paths of modules in ``trainer.model``.
    forwards : {"one", "all", "last"}, default "one"
        As for `regkit_torch.watch`.

    Returns
    -------
    Attached
        Its ``detach()`` takes the regularizers off again.

    Notes
    -----
    docs/torch-frameworks.md has an example.
    """
    return Attached(trainer, regs, forwards)


class Attached:
    """Regularizers on a Trainer, as `attach` returns them."""

    def __init__(self, trainer: Any, regs: regkit.RegularizerSet, forwards: str) -> None:
        self._trainer = trainer
        self._regs = regs
        self._forwards = forwards
        self._watch: Any = None
        self._run: Any = None
        self._model: Any = None
        self._sums: dict[str, dict[str, Any]] = {"": {}, "eval_": {}}
        self._batches = {"": 0, "eval_": 0}
        self._metrics: dict[str, Any] = {}
        self._compute_loss, self._log = trainer.compute_loss, trainer.log
        trainer.compute_loss, trainer.log = self._with_penalty, self._with_terms
        self._callback = _Follow(self)
        trainer.add_callback(self._callback)
        if trainer.model is not None:  # patterns are looked at now
            self._run_of(trainer.model)

    def detach(self) -> None:
        """Take the regularizers off the Trainer."""
        for name in ("compute_loss", "log"):
            self._trainer.__dict__.pop(name, None)
        self._trainer.remove_callback(self._callback)
        if self._watch is not None:
            opened, self._watch = self._watch, None
            opened.__exit__(None, None, None)

    def _run_of(self, model: Any) -> Run:
        """Return the run of the present model: `model_init` makes one for each training."""
        if model is not self._model:
            if self._watch is not None:
                self._watch.__exit__(None, None, None)
            self._model = model
            self._watch = watch(model, self._regs, forwards=self._forwards)
            self._run = self._watch.__enter__()
        return self._run  # type: ignore[no-any-return]

    def _with_penalty(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None, **more: Any
    ) -> Any:
        run = self._run_of(self._trainer.model)
        run.discard()
        loss, outputs = self._compute_loss(
            model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch, **more
        )
        if torch.is_grad_enabled():
            if not self._batches[""]:
                self._metrics = run._metrics_now() or {}
            penalty = run.loss()
            if self._is_scaled(num_items_in_batch):  # then Trainer does not divide
                penalty = penalty / self._trainer.current_gradient_accumulation_steps
            loss = loss + penalty
            self._count("", run)
        else:
            self._count("eval_", run, run._metrics_now())
        return (loss, outputs) if return_outputs else loss

    def _is_scaled(self, num_items_in_batch: Any) -> bool:
        """Return whether the loss of a batch is its share of the accumulated one already."""
        trainer = self._trainer
        declared = getattr(trainer, "loss_is_scaled_for_ga", None)
        if declared is not None:
            return bool(declared)
        by_model = trainer.model_accepts_loss_kwargs and num_items_in_batch is not None
        return bool(by_model or trainer.compute_loss_func is not None)

    def _count(self, prefix: str, run: Run, metrics: Mapping[str, Any] | None = None) -> None:
        sums = self._sums[prefix]
        for name, value in {**{term.name: term.weighted for term in run.terms()}, **(metrics or {})}.items():
            value = torch.as_tensor(value).detach()
            sums[name] = sums[name] + value if name in sums else value
        self._batches[prefix] += 1

    def _with_terms(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> Any:
        for prefix in ("", "eval_"):
            if f"{prefix}loss" in logs and self._batches[prefix]:
                means = {name: float(value) / self._batches[prefix] for name, value in self._sums[prefix].items()}
                metrics = {name: float(value) for name, value in self._metrics.items()} if not prefix else {}
                logs.update({f"{prefix}{name}": value for name, value in {**means, **metrics}.items()})
                self._sums[prefix], self._batches[prefix] = {}, 0
        return self._log(logs, *args, **kwargs)


class _Follow(TrainerCallback):  # type: ignore[misc]  # transformers is not typed where it is not installed
    """Has regularizers follow the optimizer of a training."""

    def __init__(self, attached: Attached) -> None:
        self._attached = attached

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        attached = self._attached
        attached._run_of(attached._trainer.model)
        attached._watch.follow(attached._trainer.optimizer)
        go_on(attached._regs, state.global_step)
