"""Regularizers of one's own that are written for tensors."""

from __future__ import annotations

import numpy as np
import pytest
import regkit_torch
import torch
import torch.nn.functional as F  # noqa: N812 - what everybody calls it
from torch import nn

import regkit


class StraightThrough(torch.autograd.Function):
    """The sign, with the gradient of the identity."""

    @staticmethod
    def forward(ctx, z):
        return z.sign()

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class Active(regkit.Regularizer):
    """The number of positive activations, by a straight-through estimator."""

    engine = "torch"

    def loss(self, outputs):
        ((_, z),) = regkit.select_outputs(outputs, self.pattern)
        assert type(z) is torch.Tensor
        Active.runs += 1
        return F.relu(StraightThrough.apply(z)).sum() if z.sum() > -1e9 else z.sum()  # it may look at values

    runs = 0


class Binary(regkit.Regularizer):
    """Rounds outputs, and keeps the originals."""

    engine = "torch"

    def modify_graph(self, outputs):
        for name, z in regkit.select_outputs(outputs, self.pattern):
            outputs[f"{name}-before"] = z
            outputs[name] = StraightThrough.apply(z)


class Nuclear(regkit.Regularizer):
    """The nuclear norm of weights, with a function that regkit does not have."""

    engine = "torch"
    selects = "params"

    def loss(self, layers):
        return sum(torch.linalg.matrix_norm(w, "nuc") for _, w in regkit.select_params(layers, self.pattern))

    def metrics(self, layers):
        return {"rank": torch.linalg.matrix_rank(regkit.select_params(layers, self.pattern)[0][1]).double()}


X = torch.tensor(np.random.default_rng(1).normal(size=(8, 4)))


@pytest.fixture
def model():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)).double()


def test_a_hook_gets_tensors_in_each_step_and_may_use_any_function_of_torch(model):
    Active.runs = 0
    with regkit_torch.watch(model, regkit.build(active=Active("1", 0.5), weight_l2=1.0)) as run:
        for step in range(3):
            x = (step + 1) * X
            model(x)
            term = run.terms()[0]
            z = torch.tanh(model[0](x))
            assert term.penalty.item() == (z > 0).sum().item()
            found = torch.autograd.grad(run.loss(), model[0].weight)[0]
            expected = torch.autograd.grad(0.5 * z[z > 0].sum(), model[0].weight)[0] + model[0].weight
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    assert Active.runs == 6


def test_a_change_of_outputs_in_tensors_keeps_its_originals(model):
    regs = regkit.build(binary=Binary("1", 1), hidden_l1=dict(weight=1, pattern="1-before"))
    with regkit_torch.watch(model, regs) as run:
        for x in (X, 2 * X):
            out = model(x)
            z = torch.tanh(model[0](x))
            torch.testing.assert_close(out, model[2](z.sign()), rtol=0, atol=0)
            np.testing.assert_allclose(run.loss().item(), z.abs().sum().item(), rtol=1e-12)


def test_a_penalty_of_weights_in_tensors_is_numpys(model):
    with regkit_torch.watch(model, regkit.build(nuclear=Nuclear("0.weight", 2.0))) as run:
        expected = 2 * np.linalg.svd(model[0].weight.detach().numpy(), compute_uv=False).sum()
        for _ in range(2):
            np.testing.assert_allclose(run.loss().item(), expected, rtol=1e-12)


def test_a_set_of_plain_tensors_takes_it_too():
    regs = regkit.build(active=Active("h", 0.5))
    h = torch.tensor([1.0, -2.0, 3.0], requires_grad=True)
    assert regs.loss({"h": h}).item() == 1
    assert regs.terms({"h": h})[0].penalty.item() == 2
    nuclear = regkit.build(nuclear=Nuclear("w", 1.0))
    assert nuclear.metrics([regkit.Layer("a", {"w": torch.eye(3)})], {}) == {"nuclear.rank": 3}


def test_arrays_of_another_library_are_refused_in_words():
    with pytest.raises(regkit.GraphError) as caught:
        regkit.build(active=Active("h", 0.5)).loss({"h": np.ones(3)})
    assert str(caught.value) == "active: Active is written for arrays of torch, and was given those of numpy"
