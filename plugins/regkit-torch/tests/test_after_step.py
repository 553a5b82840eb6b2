"""Steps after the optimizer's: the closed form of the lasso, an optimizer's groups, a step that never comes."""

from __future__ import annotations

import numpy as np
import pytest
import regkit_torch
import torch

import regkit

V = torch.as_tensor(np.random.default_rng(0).normal(size=(6, 9)) / 2)


class Weights(torch.nn.Module):
    """Weights alone; the loss ½ ‖w − V‖² has the soft threshold of V for its minimum with a lasso."""

    def __init__(self, **shapes):
        super().__init__()
        for name, value in shapes.items():
            self.register_parameter(name, torch.nn.Parameter(torch.as_tensor(value).clone()))

    def forward(self):
        return ((self.w - V) ** 2).sum() / 2


def soft(value, amount):
    return np.sign(value) * np.maximum(np.abs(value) - amount, 0)


@pytest.mark.parametrize(
    "options",
    [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}, {"momentum": 0.8, "dampening": 0.5}],
    ids=["plain", "momentum", "nesterov", "dampening"],
)
def test_the_lasso_has_the_zeros_of_the_closed_form_under_sgd(options):
    model = Weights(w=torch.zeros_like(V))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, **options)
    regs = regkit.build(weight_l1=dict(weight=0.3, by="proximal"))
    with regkit_torch.watch(model, regs) as run:
        for _ in range(1000):
            optimizer.zero_grad()
            (model() + run.loss()).backward()
            optimizer.step()
            regkit_torch.after_step(regs, model, optimizer)
    expected, found = soft(V.numpy(), 0.3), model.w.detach().numpy()
    np.testing.assert_array_equal(found == 0, expected == 0)
    assert 10 < (expected == 0).sum() < 50
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_each_group_has_its_rate_and_all_parameters_count():
    values = {name: np.full((2, 2), 5.0) for name in ("a", "b", "fixed")}
    model = Weights(**values)
    model.fixed.requires_grad_(False)
    groups = [{"params": [model.a], "lr": 0.1}, {"params": [model.b], "lr": 0.2}]
    regkit_torch.after_step(
        regkit.build(weight_l1=dict(weight=3.0, by="proximal")), model, torch.optim.SGD(groups, momentum=0.5)
    )
    for name, amount in (("a", 0.2), ("b", 0.4), ("fixed", 0.0)):  # 3 divided by 3 matrices, the rate by 1 - 0.5
        np.testing.assert_allclose(getattr(model, name).detach(), 5.0 - amount, rtol=1e-12)


def test_a_number_is_the_rate_of_all_that_is_trained():
    model = Weights(a=np.full((2, 2), 5.0), fixed=np.full((2, 2), 5.0))
    model.fixed.requires_grad_(False)
    regkit_torch.after_step(regkit.build(decoupled_decay=0.5), model, 0.1)
    np.testing.assert_allclose(model.a.detach(), 5 * (1 - 0.05), rtol=1e-12)
    assert (model.fixed == 5).all()


def test_under_adam_a_proximal_step_raises_and_others_act():
    model = Weights(w=np.array([[-1.0, 2.0]]))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    with pytest.raises(
        regkit.OptionError, match="weight_l1: a proximal step needs .* AdamW divides .* after_step.regs"
    ):
        regkit_torch.after_step(regkit.build(weight_l1=dict(weight=1, by="proximal")), model, optimizer)
    regkit_torch.after_step(regkit.build(weight_nonnegative=1, decoupled_decay=0.5), model, optimizer)
    np.testing.assert_allclose(model.w.detach(), [[0.0, 2.0 * 0.95]], rtol=1e-12)


@pytest.mark.parametrize("alias", ["weight_nonnegative", "weight_l1"])
def test_a_step_that_never_comes_warns_where_the_watch_ends(alias):
    value = {"weight": 1.0, "by": "proximal"} if alias == "weight_l1" else 1.0
    model, regs = Weights(w=V), regkit.build({alias: value})

    def train():
        with regkit_torch.watch(model, regs) as run:
            model()
            run.loss()

    with pytest.warns(UserWarning, match=f"{alias} changes parameters .* after_step was never called"):
        train()


def test_a_validation_without_steps_does_not_warn(recwarn):
    model, regs = Weights(w=V), regkit.build(weight_nonnegative=1)
    with torch.no_grad(), regkit_torch.watch(model.eval(), regs) as run:
        model()
        run.loss()
    assert not recwarn


def test_what_is_no_model_or_optimizer_raises():
    regs, model = regkit.build(weight_nonnegative=1), Weights(w=V)
    with pytest.raises(regkit.OptionError, match="accepted: a torch.nn.Module"):
        regkit_torch.after_step(regs, [V], 0.1)
    with pytest.raises(regkit.OptionError, match="after_step got rate='fast'"):
        regkit_torch.after_step(regs, model, "fast")
    with pytest.raises(regkit.GraphError, match="trains none of the model's"):
        regkit_torch.after_step(regs, model, torch.optim.SGD([torch.nn.Parameter(V)], lr=0.1))


@pytest.mark.filterwarnings("ignore:weight_max_norm changes parameters")
def test_a_projection_adds_a_tensor_of_nothing_to_the_loss():
    model = torch.nn.Linear(3, 2)
    with regkit_torch.watch(model, regkit.build(weight_max_norm=dict(weight=1, by="projection"))) as run:
        model(torch.ones(1, 3))
        assert torch.equal(run.loss(), torch.tensor(0.0))
