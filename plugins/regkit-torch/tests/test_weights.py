"""Penalties of weights are of the weights that modules compute with; without a pattern, of those that are trained."""

from __future__ import annotations

import numpy as np
import pytest
import regkit_torch
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.utils import parametrizations, parametrize, prune

import regkit

X = torch.tensor(np.random.default_rng(1).normal(size=(8, 4)))


def linear(value=2.0, rows=3):
    layer = nn.Linear(4, rows).double()
    nn.init.constant_(layer.weight, value)
    return layer


def l2(pattern=None):
    return regkit.build(weight_l2=dict(weight=1, pattern=pattern))


# Weights that are computed


@pytest.mark.parametrize("forward", [True, False])
@pytest.mark.parametrize("factor", [1, 10])
def test_of_a_weight_norm_the_penalty_is_of_the_normalized_weight_whatever_v_is(factor, forward):
    layer = parametrizations.weight_norm(linear())
    norms = torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.float64)
    with torch.no_grad():
        layer.parametrizations.weight.original0.copy_(norms)  # g, the norm of each row
        layer.parametrizations.weight.original1.mul_(factor)
    model = nn.Sequential(layer)
    with regkit_torch.watch(model, l2()) as run:
        if forward:
            model(X)
        loss = run.loss()
        np.testing.assert_allclose(loss.item(), 1 + 4 + 9, rtol=1e-12)
        loss.backward()
        torch.testing.assert_close(layer.parametrizations.weight.original0.grad, 2 * norms, rtol=1e-12, atol=0)


def test_originals_count_by_a_name_that_matches_them_alone():
    model = nn.Sequential(parametrizations.weight_norm(linear()))
    with torch.no_grad():
        model[0].parametrizations.weight.original0.fill_(5.0)
    with regkit_torch.watch(model, l2("0.parametrizations.weight.original0")) as run:
        assert run.loss().item() == 3 * 25
    with regkit_torch.watch(model, l2("*")) as run:
        np.testing.assert_allclose(run.loss().item(), 3 * 25, rtol=1e-12)  # once, of the weight


class Random(nn.Module):
    """A parametrization that draws in each forward of training."""

    def forward(self, w):
        return w * torch.rand((), dtype=w.dtype) if self.training else w


def test_a_random_parametrization_counts_as_the_forward_drew_it_and_without_a_forward_as_in_eval_mode():
    model = nn.Sequential(linear(rows=1))
    model[0].bias = None
    parametrize.register_parametrization(model[0], "weight", Random())
    with regkit_torch.watch(model, l2()) as run:
        for _ in range(3):
            factor = model(X)[0].item() / (2 * X[0].sum().item())
            assert factor < 1
            np.testing.assert_allclose(run.loss().item(), 4 * (2 * factor) ** 2, rtol=1e-12)
        np.testing.assert_allclose(run.loss().item(), 16, rtol=1e-12)
        assert model[0].parametrizations.weight[0].training


def test_a_penalty_leaves_the_vectors_of_a_spectral_norm_where_the_forward_left_them():
    torch.manual_seed(3)
    model = nn.Sequential(parametrizations.spectral_norm(nn.Linear(4, 3).double(), n_power_iterations=1))
    other = nn.Sequential(parametrizations.spectral_norm(nn.Linear(4, 3).double(), n_power_iterations=1))
    other.load_state_dict(model.state_dict())
    with regkit_torch.watch(model, l2()) as run:
        for _ in range(2):
            model(X)
            other(X)
            (run.loss() + run.loss()).backward()
    vectors = [one[0].parametrizations.weight[0]._u for one in (model, other)]
    torch.testing.assert_close(*vectors, rtol=0, atol=0)


def test_a_pruned_weight_counts_with_its_mask_in_every_step():
    model = nn.Sequential(linear())
    prune.custom_from_mask(model[0], "weight", torch.tensor([[1.0], [0.0], [0.0]]).expand(3, 4))
    with regkit_torch.watch(model, l2()) as run:
        for value in (2.0, 3.0):
            with torch.no_grad():
                model[0].weight_orig.fill_(value)
            (model(X).sum() + run.loss()).backward()
            assert run.terms()[0].penalty.item() == 4 * value**2
    with regkit_torch.watch(model, l2("0.weight_orig")) as run:
        assert run.loss().item() == 12 * 9


def test_the_older_weight_norm_counts_too():
    with pytest.warns(FutureWarning):
        model = nn.Sequential(nn.utils.weight_norm(linear()))
    with torch.no_grad():
        model[0].weight_g.fill_(2.0)
    with regkit_torch.watch(model, l2()) as run:
        for _ in range(2):
            model(X)
            loss = run.loss()
            np.testing.assert_allclose(loss.item(), 3 * 4, rtol=1e-12)
            loss.backward()


# Weights that are swapped in


def test_the_weights_that_functional_call_swaps_in_are_those_that_count():
    model = nn.Sequential(linear(), nn.Tanh())
    swapped = {name: (3 * param.detach()).requires_grad_() for name, param in model.named_parameters()}
    with regkit_torch.watch(model, l2()) as run:
        for _ in range(2):
            functional_call(model, swapped, X)
            loss = run.loss()
            assert loss.item() == 12 * 36
            (gradient,) = torch.autograd.grad(loss, swapped["0.weight"])
            assert (gradient == 12).all()
        model(X)
        assert run.loss().item() == 12 * 4


def test_within_a_transform_the_gradient_is_that_of_its_weights():
    model = nn.Sequential(linear(), nn.Tanh())
    params = {name: param.detach() for name, param in model.named_parameters()}
    regs = l2() + regkit.build(hidden_l2=dict(weight=1, pattern="1"))
    with regkit_torch.watch(model, regs) as run:

        def objective(params):
            functional_call(model, params, X)
            return run.loss()

        found = torch.func.grad(objective)(params)["0.weight"]
        weight = model[0].weight
        by_hand = (weight**2).sum() + (torch.tanh(X @ weight.T + model[0].bias) ** 2).sum()
        torch.testing.assert_close(found, torch.autograd.grad(by_hand, weight)[0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("regularizer", "words"),
    [
        ("weight_l2", r"weight '0.weight' of a transform of torch.func that has ended. Call run.loss\(\) within the"),
        ("hidden_l1", "a backward has passed through the outputs of the forward already"),
    ],
)
def test_a_loss_outside_the_transform_of_its_forward_is_an_error(regularizer, words):
    model = nn.Sequential(linear(), nn.Tanh(), nn.Linear(3, 1).double())
    params = {name: param.detach() for name, param in model.named_parameters()}
    with regkit_torch.watch(model, regkit.build(**{regularizer: 1.0})) as run:
        torch.func.grad(lambda params: functional_call(model, params, X).sum())(params)
        with pytest.raises(regkit.GraphError, match=words):
            run.loss()


def test_penalties_of_a_batch_of_weights_are_those_of_each_below_vmap():
    regs = regkit.build(weight_l2=dict(weight=regkit.Live(0), pattern="w"), hidden_l1=dict(weight=1, pattern="hid"))
    w = torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=torch.float64)

    def loss(w, weights):
        of_weights = regkit.hosts.with_weights(regs, weights)
        return of_weights.loss([regkit.Layer("hid", {"w": w})], {"hid": w[:1]})

    weights = {"weight_l2": torch.tensor([0.0, 0.5, 2.0], dtype=torch.float64)}
    # squares add up to 14.25; the absolute values of hid to 3
    found = torch.func.vmap(loss, in_dims=(None, 0))(w, weights)
    assert found.tolist() == [3.0, 3.0 + 0.5 * 14.25, 3.0 + 2 * 14.25]
    gradients = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(w, weights)
    by_hand = [2 * weight * w + torch.tensor([[1.0, -1.0], [0.0, 0.0]]) for weight in (0.0, 0.5, 2.0)]
    assert (gradients == torch.stack(by_hand)).all()


# Which weights count by default


def test_frozen_weights_integers_and_complex_ones_count_by_a_pattern_alone():
    model = nn.ModuleDict({"frozen": linear(3.0), "trained": linear(2.0), "codes": nn.Module(), "wave": nn.Module()})
    model["frozen"].requires_grad_(False)
    model["codes"].weight = nn.Parameter(torch.ones(3, 3, dtype=torch.int8), requires_grad=False)
    model["wave"].weight = nn.Parameter(torch.ones(3, 3, dtype=torch.complex128))
    with regkit_torch.watch(model, l2()) as run:
        assert run.loss().item() == 12 * 4
    with regkit_torch.watch(model, l2("!wave*")) as run:
        assert run.loss().item() == 12 * 4
    with regkit_torch.watch(model, l2(["frozen.weight", "trained.weight"])) as run:
        assert run.loss().item() == (12 * 4 + 12 * 9) / 2
    with regkit_torch.watch(model, l2("codes.weight")) as run:
        assert run.loss().item() == 9


def test_a_weight_that_is_frozen_or_trained_again_counts_from_the_next_loss_on():
    model = nn.Sequential(linear(1.0), nn.Linear(3, 2).double())
    nn.init.constant_(model[1].weight, 3.0)
    with regkit_torch.watch(model, l2()) as run:
        for _ in range(2):
            model.requires_grad_(True)
            assert [run.loss().item() for _ in range(2)] == 2 * [(12 + 54) / 2]
            model[1].requires_grad_(False)
            assert [run.loss().item() for _ in range(2)] == 2 * [12]


def test_one_member_by_pattern_and_one_by_default_see_each_its_own():
    model = nn.Sequential(linear(1.0), nn.Linear(3, 2).double().requires_grad_(False))
    nn.init.constant_(model[1].weight, 3.0)
    regs = regkit.build(weight_l2=[1.0, dict(weight=1, pattern="1.weight")], weight_l1=10.0)
    with regkit_torch.watch(model, regs) as run:
        for _ in range(2):
            run.loss()
            assert [(term.name, term.penalty.item()) for term in run.terms()] == [
                ("weight_l2", 12),
                ("weight_l2[1]", 54),
                ("weight_l1", 12),
            ]
