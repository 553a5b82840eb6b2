"""What regularizers do after an optimizer's step, with the step sizes of its groups."""

from __future__ import annotations

from typing import Any

import torch
from torch.distributed.tensor import DTensor

import regkit
from regkit import hosts


def after_step(regs: regkit.RegularizerSet, model: torch.nn.Module, optimizer: Any) -> None:
    r"""Change the parameters of a model in place as the regularizers do after an optimizer's step, in order.

    Call it after each ``optimizer.step()``. Of SGD with momentum :math:`\mu` and dampening :math:`d` the step size is
    :math:`\eta (1 - d) / (1 - \mu)`, for each group its own, since that is how far a constant gradient moves a weight:
    so a proximal step has the zeros of the closed form. All parameters count, in the mean over them too; those that are
    not trained by the optimizer stay.

    Parameters
    ----------
    regs : regkit.RegularizerSet
    model : torch.nn.Module
    optimizer : torch.optim.Optimizer or float
        A number is the step size of all parameters.

    Raises
    ------
    regkit.OptionError
        If an argument is none of those; for a proximal step under another optimizer than SGD, whose step is not a
        number times the gradient: give the number that is meant.
    regkit.GraphError
        If a parameter is sharded, or the optimizer trains none of the model's.
    regkit.NoMatchError
        If a pattern matches no parameter.

    Examples
    --------
    >>> import regkit, regkit_torch, torch
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> _ = torch.nn.init.constant_(model.weight, 0.75)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    >>> regkit_torch.after_step(regkit.build(weight_l1=dict(weight=1.0, by="proximal")), model, optimizer)
    >>> model.weight.tolist()
    [[0.25, 0.25]]
    """
    members = hosts.members(regs, "after_step")
    if not isinstance(model, torch.nn.Module):
        raise regkit.OptionError(f"after_step got a model of type {type(model).__name__}; accepted: a torch.nn.Module")
    params = dict(model.named_parameters())
    sharded = next((name for name, param in params.items() if isinstance(param, DTensor)), None)
    if sharded is not None:
        raise regkit.GraphError(
            f"parameter {sharded!r} is sharded, and steps of regularizers are of whole parameters. Use penalties with "
            "a gradient there, by='gradient'"
        )
    if isinstance(optimizer, torch.optim.Optimizer):
        rates = _rates(optimizer, members)
        known = {name: rates[id(param)] for name, param in params.items() if id(param) in rates}
        if params and not known:
            raise regkit.GraphError("the optimizer trains none of the model's parameters")
    else:
        known = dict.fromkeys((name for name, param in params.items() if param.requires_grad), optimizer)
    values = {name: param.detach() for name, param in params.items()}
    with torch.no_grad():
        changed = {rate: regs.after_step(values, rate) for rate in dict.fromkeys(known.values())}
        for name, rate in known.items():
            params[name].copy_(changed[rate][name])


def _rates(optimizer: torch.optim.Optimizer, members: tuple[hosts.Member, ...]) -> dict[int, float]:
    """Return the step sizes of an optimizer by the ids of parameters."""
    # adapters such as an accelerator's have the optimizer within
    inner = getattr(optimizer, "optimizer", optimizer)
    is_sgd = isinstance(inner, torch.optim.SGD)
    for member in () if is_sgd else members:
        if member.changes_params and getattr(member.regularizer, "by", None) == "proximal":
            raise regkit.OptionError(
                f"{member.name}: a proximal step needs a step that is a number times the gradient, as that of "
                f"torch.optim.SGD, and {type(inner).__name__} divides each gradient by its size. Use SGD, or give the "
                "step size that is meant: after_step(regs, model, rate)"
            )
    rates: dict[int, float] = {}
    for group in optimizer.param_groups:
        if is_sgd and group["momentum"] >= 1:
            raise regkit.OptionError(f"the optimizer has momentum={group['momentum']}; accepted: below 1")
        scale = (1 - group["dampening"]) / (1 - group["momentum"]) if is_sgd and group["momentum"] else 1.0
        rates.update(dict.fromkeys(map(id, group["params"]), float(group["lr"]) * scale))
    return rates
