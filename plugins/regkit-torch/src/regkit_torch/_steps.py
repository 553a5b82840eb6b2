"""What regularizers do after an optimizer's step, with the step sizes of its groups and its divisors."""

from __future__ import annotations

import warnings
from itertools import groupby
from typing import TYPE_CHECKING, Any

import torch

import regkit
from regkit import hosts

from ._arrays import is_sharded

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ._hooks import Network


def change_parameters(network: Network, optimizer: Any) -> None:
    """Change the parameters of a network in place as its members do after a step of an optimizer, in order.

    Raises
    ------
    regkit.OptionError
        If it is not known of the optimizer how its step depends on the gradient, which a proximal step needs.
    regkit.GraphError
        If the optimizer trains none of the parameters, or a member is to change a computed weight.
    regkit.NoMatchError
        If a pattern matches no parameter.
    """
    members = [member for member in network.routing.every.values() if member.changes_params]
    if not members:
        return
    hosts.warn_of_order(members)  # of all: those below are called apart
    seen_by = [(visible, list(some)) for visible, some in groupby(members, network.visible)]
    params = network.params_to_change(members)
    trained = {name: param for name, param in params.items() if param.requires_grad}
    if isinstance(optimizer, torch.optim.Optimizer):
        _check_proximal(optimizer, members)
        rates, divisors = _step_sizes(optimizer, trained)
    else:
        rates, divisors = dict.fromkeys(trained, optimizer), {}
    values = {name: param.detach() for name, param in params.items()}
    with torch.no_grad():
        for visible, some in seen_by:
            seen = _among(values, visible)
            regs = hosts.subset(network.regs, [member.name for member in some])
            values.update(regs.after_step(seen, _among(rates, visible), divisors=_among(divisors, visible)))
        for name in rates:
            params[name].copy_(_in_parts_of(params[name], values[name]))


def _in_parts_of(param: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Return a value as a parameter is: of a sharded one each process has a part."""
    if not is_sharded(param) or is_sharded(value):
        return value
    from torch.distributed.tensor import distribute_tensor  # which takes long to import, where nothing is sharded

    return distribute_tensor(value, param.device_mesh, param.placements, src_data_rank=None)


def _among(found: Mapping[str, Any], visible: Any) -> dict[str, Any]:
    return {name: one for name, one in found.items() if visible is None or name in visible}


def plain(optimizer: Any) -> Any:
    """Return an optimizer or a step size; of what is around an optimizer, such as an accelerator's, the inner one."""
    inner = getattr(optimizer, "optimizer", optimizer)
    if isinstance(inner, torch.optim.Optimizer) or (
        isinstance(inner, (int, float)) and not isinstance(inner, bool) and 0 <= inner < float("inf")
    ):
        return inner
    raise regkit.OptionError(f"after_step got {optimizer!r}; accepted: a torch.optim.Optimizer, or a step size")


def has_moved(optimizer: Any) -> bool:
    """Return whether the step of an optimizer moved parameters.

    It does not where a scaler of the loss found gradients that are infinite, nor, of accelerate, where a gradient is
    only accumulated.
    """
    found = getattr(getattr(optimizer, "optimizer", optimizer), "found_inf", None)
    syncs = getattr(getattr(optimizer, "gradient_state", None), "sync_gradients", True)
    return bool(syncs) and not getattr(optimizer, "step_was_skipped", False) and (found is None or not bool(found))


def follow(optimizer: Any, after: Any) -> Any:
    """Call a function after each step of an optimizer; return a handle whose ``remove()`` ends that."""
    inner = getattr(optimizer, "optimizer", optimizer)
    if not isinstance(inner, torch.optim.Optimizer):
        several = isinstance(inner, (list, tuple)) and all(isinstance(one, torch.optim.Optimizer) for one in inner)
        raise regkit.OptionError(
            "watch got several optimizers; accepted: one. Leave it out, and call run.after_step(*optimizers) after "
            "their steps"
            if several
            else f"watch got optimizer={optimizer!r}; accepted: a torch.optim.Optimizer"
        )
    return inner.register_step_post_hook(lambda *_: after(inner))


def _is(optimizer: torch.optim.Optimizer, *kinds: type[torch.optim.Optimizer]) -> bool:
    """Return whether an optimizer is of these kinds, and steps as they do."""
    return any(isinstance(optimizer, kind) and type(optimizer).step is kind.step for kind in kinds)


def _check_proximal(optimizer: torch.optim.Optimizer, members: Iterable[hosts.Member]) -> None:
    if _is(optimizer, torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW):
        return
    for member in members:
        if member.is_proximal:
            raise regkit.OptionError(
                f"{member.name}: of {type(optimizer).__name__} it is not known by what number a step multiplies the "
                "gradient, which a proximal step needs. Use SGD, Adam or AdamW; or, in a loop of your own, give the "
                "step size that is meant, run.after_step(rate), and watch no optimizer"
            )


def _step_sizes(
    optimizer: torch.optim.Optimizer, params: Mapping[str, torch.Tensor]
) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """Return the step sizes and divisors of an optimizer by the names of parameters that are trained.

    A parameter that the optimizer did not move, since it has no gradient, has neither. Where none has one, gradients
    were cleared since.
    """
    names = {id(param): name for name, param in params.items()}
    groups = [(group, [param for param in group["params"] if id(param) in names]) for group in optimizer.param_groups]
    every = [param for _, found in groups for param in found]
    if params and not every:
        raise regkit.GraphError("the optimizer trains none of the parameters that regularizers act on")
    cleared = all(param.grad is None for param in every)
    rates: dict[str, float] = {}
    divisors: dict[str, torch.Tensor] = {}
    for group, found in groups:
        rate = float(group["lr"])
        if _is(optimizer, torch.optim.SGD) and group["momentum"]:
            if group["momentum"] >= 1:
                raise regkit.OptionError(f"the optimizer has momentum={group['momentum']}; accepted: below 1")
            rate *= (1 - group["dampening"]) / (1 - group["momentum"])
        for param in found:
            if param.grad is None and not cleared:
                continue
            name = names[id(param)]
            if _is(optimizer, torch.optim.Adam, torch.optim.AdamW):
                state = optimizer.state.get(param)
                if not state or not float(state["step"]):
                    continue
                square = state["max_exp_avg_sq" if group["amsgrad"] else "exp_avg_sq"]
                divisors[name] = (square / (1 - group["betas"][1] ** float(state["step"]))).sqrt() + group["eps"]
            rates[name] = rate
    return rates, divisors


def go_on(regs: regkit.RegularizerSet, step: int) -> None:
    """Move schedules to the step from which a training goes on, of a checkpoint for one."""
    if not step:
        return
    regs.step(step)
    if regs.needs_metrics:
        warnings.warn(
            f"a training goes on at step {step}; a weight that follows a metric (regkit.schedules.Target) begins at "
            "the value that it has now",
            stacklevel=3,
        )


def mean_of_processes(metrics: dict[str, Any] | None) -> dict[str, float] | None:
    """Return metrics as numbers, in several processes their mean, so that a weight that follows them is one for all."""
    if metrics is None:
        return None
    values = torch.stack([torch.as_tensor(value, dtype=torch.float32) for value in metrics.values()])
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(values)
        values = values / torch.distributed.get_world_size()
    return dict(zip(metrics, values.tolist()))
