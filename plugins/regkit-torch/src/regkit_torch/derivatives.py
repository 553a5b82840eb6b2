"""Derivatives of tensors by those that they are computed from."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING

import torch

import regkit

from .expression import Expression, applied, call

if TYPE_CHECKING:
    from collections.abc import Sequence


def derivatives(cost: Expression, wrt: Sequence[Expression]) -> list[Expression]:
    """Return the derivatives of a scalar by each of several expressions.

    Raises
    ------
    regkit.GraphError
        If it does not depend on one of them, or torch does not follow what is computed from it.
    """
    found = applied(_gradients, (cost, *wrt), {})
    return [call(operator.getitem, found, i) for i in range(len(wrt))]


def rows(vector: Expression, wrt: Expression) -> Expression:
    """Return the derivatives of each element of a vector, along a first axis; errors are those of `derivatives`."""
    return call(_jacobian, vector, wrt)


def _gradients(cost: torch.Tensor, *wrt: torch.Tensor) -> tuple[torch.Tensor, ...]:
    for tensor in wrt:
        if not tensor.requires_grad:
            raise regkit.GraphError(
                f"a tensor of shape {tuple(tensor.shape)} that is differentiated by does not require gradients. Call "
                "its requires_grad_() before the model computes with it"
            )
    found = torch.autograd.grad(cost, wrt, create_graph=True, allow_unused=True) if cost.requires_grad else [None]
    if any(gradient is None for gradient in found):
        raise regkit.GraphError(
            f"a tensor of shape {tuple(cost.shape)} does not depend on what it is differentiated by, so it has no "
            "gradient there"
        )
    return tuple(found)


def _jacobian(vector: torch.Tensor, wrt: torch.Tensor) -> torch.Tensor:
    _gradients(vector.sum(), wrt)  # says what is wrong with wrt
    if not len(vector):
        return wrt.new_zeros((0, *wrt.shape))
    each = (torch.autograd.grad(one, wrt, create_graph=True, materialize_grads=True)[0] for one in vector)
    return torch.stack(list(each))
