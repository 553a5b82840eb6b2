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


def trained(model, optimizer, regs, steps, **arguments):
    with regkit_torch.watch(model, regs, optimizer=optimizer, **arguments) as run:
        for _ in range(steps):
            optimizer.zero_grad()
            (model() + run.loss()).backward()
            optimizer.step()
    return run


@pytest.mark.parametrize(
    ("kind", "options", "steps"),
    [
        ("SGD", {"lr": 0.1}, 1000),
        ("SGD", {"lr": 0.1, "momentum": 0.9}, 1000),
        ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}, 1000),
        ("SGD", {"lr": 0.1, "momentum": 0.8, "dampening": 0.5}, 1000),
        ("Adam", {"lr": 0.01}, 4000),
        ("Adam", {"lr": 0.05, "amsgrad": True}, 4000),
        ("AdamW", {"lr": 0.01, "weight_decay": 0.0, "betas": (0.5, 0.9)}, 4000),
    ],
)
def test_the_lasso_has_the_zeros_of_the_closed_form(kind, options, steps):
    model = Weights(w=torch.zeros_like(V))
    optimizer = getattr(torch.optim, kind)(model.parameters(), **options)
    trained(model, optimizer, regkit.build(weight_l1=dict(weight=0.3, by="proximal")), steps)
    expected, found = soft(V.numpy(), 0.3), model.w.detach().numpy()
    np.testing.assert_array_equal(found == 0, expected == 0)
    assert 10 < (expected == 0).sum() < 50
    np.testing.assert_allclose(found, expected, atol=1e-9 if kind == "SGD" else 1e-6)


def test_called_by_hand_it_is_that_of_a_watch_with_the_optimizer():
    regs = regkit.build(weight_l1=dict(weight=0.3, by="proximal"), weight_nonnegative=1)
    models = [Weights(w=torch.zeros_like(V)) for _ in range(2)]
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9) for model in models]
    trained(models[0], optimizers[0], regs, 50)
    with regkit_torch.watch(models[1], regs) as run:
        for _ in range(50):
            optimizers[1].zero_grad()
            (models[1]() + run.loss()).backward()
            optimizers[1].step()
            run.after_step(optimizers[1])
    assert torch.equal(models[0].w, models[1].w)


def stepped(model, regs, optimizer):
    """The model after one step of the regularizers alone."""
    with regkit_torch.watch(model, regs) as run:
        run.after_step(optimizer)
    return model


@pytest.mark.parametrize(("pattern", "count"), [(None, 2), ("*", 3)])
def test_each_group_has_its_rate_and_what_counts_in_the_penalty_counts(pattern, count):
    model = Weights(**{name: np.full((2, 2), 5.0) for name in ("a", "b", "fixed")})
    model.fixed.requires_grad_(False)
    groups = [{"params": [model.a], "lr": 0.1}, {"params": [model.b], "lr": 0.2}]
    regs = regkit.build(weight_l1=dict(weight=6.0, by="proximal", pattern=pattern))
    with regkit_torch.watch(model, regs) as run:
        assert float(run.loss()) == 6 * 20  # the mean over what counts
        run.after_step(torch.optim.SGD(groups, momentum=0.5))
    for name, rate in (("a", 0.2), ("b", 0.4), ("fixed", 0.0)):  # the rate over 1 - 0.5
        np.testing.assert_allclose(getattr(model, name).detach(), 5.0 - rate * 6 / count, rtol=1e-12)


def test_a_number_is_the_rate_of_all_that_is_trained():
    model = Weights(a=np.full((2, 2), 5.0), fixed=np.full((2, 2), 5.0))
    model.fixed.requires_grad_(False)
    stepped(model, regkit.build(decoupled_decay=dict(weight=0.5, pattern="*")), 0.1)
    np.testing.assert_allclose(model.a.detach(), 5 * (1 - 0.05), rtol=1e-12)
    assert (model.fixed == 5).all()


def test_members_with_and_without_a_pattern_act_in_the_order_written():
    model = Weights(a=np.full((2, 2), 5.0), fixed=np.full((2, 2), 5.0))
    model.fixed.requires_grad_(False)
    regs = regkit.build(
        decoupled_decay=dict(weight=1.0, pattern="*"),
        weight_l1=dict(weight=4.0, by="proximal"),
        weight_nonnegative=dict(weight=1, pattern="a"),
    )
    stepped(model, regs, 0.5)
    np.testing.assert_allclose(model.a.detach(), 5 * 0.5 - 0.5 * 4.0, rtol=1e-12)


@pytest.mark.parametrize("pattern", [None, "*"])
def test_a_proximal_step_after_a_projection_warns_once_also_where_one_sees_frozen_parameters(pattern):
    model = Weights(w=V, fixed=V)
    model.fixed.requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    regs = regkit.build(
        weight_nonnegative=dict(weight=1, pattern=pattern), weight_l1=dict(weight=1, by="proximal", pattern="w")
    )
    with pytest.warns(UserWarning, match="weight_l1 is a proximal step after the projection") as found:
        trained(model, optimizer, regs, 3)
    assert len(found) == 1


def test_decay_and_projections_act_under_any_optimizer_and_proximal_steps_raise():
    model = Weights(w=np.array([[-1.0, 2.0]]))
    optimizer = torch.optim.RMSprop(model.parameters(), lr=0.1)
    with pytest.raises(regkit.OptionError, match="weight_l1: of RMSprop it is not known .* Use SGD, Adam or AdamW"):
        stepped(model, regkit.build(weight_l1=dict(weight=1, by="proximal")), optimizer)
    stepped(model, regkit.build(weight_nonnegative=1, decoupled_decay=0.5), optimizer)
    np.testing.assert_allclose(model.w.detach(), [[0.0, 2.0 * 0.95]], rtol=1e-12)


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_a_group_lasso_has_the_groups_of_the_closed_form(kind):
    model = Weights(w=torch.zeros_like(V))
    optimizer = getattr(torch.optim, kind)(model.parameters(), lr=0.1 if kind == "SGD" else 0.01)
    trained(model, optimizer, regkit.build(group_lasso=dict(weight=0.5, by="proximal")), 3000)
    norms = np.linalg.norm(V.numpy(), axis=1, keepdims=True)
    expected = V.numpy() * np.maximum(0, 1 - 0.5 * np.sqrt(9) / norms)
    np.testing.assert_array_equal(model.w.detach().numpy() == 0, expected == 0)
    assert 0 < (expected == 0).sum() < expected.size
    np.testing.assert_allclose(model.w.detach(), expected, atol=1e-9 if kind == "SGD" else 1e-5)


def test_a_parameter_that_adam_has_not_moved_stays():
    model = Weights(w=V, unused=np.full((2, 2), 5.0))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    trained(model, optimizer, regkit.build(weight_l1=dict(weight=1, by="proximal")), 3)
    assert (model.unused == 5).all()


def test_adam_as_the_paper_has_it():
    """One step by hand: the first step of Adam is the rate, the divisor the gradient's size."""
    model = Weights(w=torch.zeros_like(V))
    trained(model, torch.optim.Adam(model.parameters(), lr=0.1), regkit.build(weight_l0=0.02), 1)
    moved = 0.1 * np.sign(V.numpy())  # the gradient is -V
    kept = np.sqrt(2 * 0.1 * 0.02 / (abs(V.numpy()) + 1e-8)) < 0.1
    np.testing.assert_allclose(model.w.detach(), moved * kept, atol=1e-6)
    assert 0 < kept.sum() < kept.size


def test_a_computed_weight_raises_and_what_it_is_computed_of_can_be_named():
    model = torch.nn.Sequential(torch.nn.Linear(3, 2))
    torch.nn.utils.parametrizations.weight_norm(model[0])
    with pytest.raises(
        regkit.GraphError, match=r"weight '0.weight' is computed .* pattern=\['0.parametrizations.weight"
    ):
        stepped(model, regkit.build(decoupled_decay=0.5), 0.1)
    before = model[0].parametrizations.weight.original1.detach().clone()
    stepped(model, regkit.build(decoupled_decay=dict(weight=0.5, pattern="*original1")), 0.1)
    torch.testing.assert_close(model[0].parametrizations.weight.original1.detach(), before * 0.95)


def test_wrapped_models_go_by_the_names_of_the_model():
    model = torch.nn.Sequential(torch.nn.Linear(3, 2, bias=False))
    before = model[0].weight.detach().clone()
    stepped(
        torch.compile(model, backend="eager"), regkit.build(decoupled_decay=dict(weight=0.5, pattern="0.weight")), 0.1
    )
    torch.testing.assert_close(model[0].weight.detach(), before * 0.95)


def test_a_run_without_a_model_steps_the_parameters_of_its_layers():
    w = torch.full((2, 2), 5.0, requires_grad=True)
    run = regkit_torch.Run(regkit.build(decoupled_decay=0.5), [regkit.Layer("hid", {"w": w})])
    run.after_step(torch.optim.SGD([w], lr=0.1))
    torch.testing.assert_close(w.detach(), torch.full((2, 2), 4.75))


def test_nothing_acts_after_the_watch():
    model = Weights(w=V)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trained(model, optimizer, regkit.build(weight_nonnegative=1), 1)
    with torch.no_grad():
        model.w.fill_(-1.0)
    optimizer.step()
    assert (model.w < 0).all()


@pytest.mark.filterwarnings("ignore")  # the compiler has some of its own
def test_a_compiled_step_of_the_optimizer_is_followed():
    model = Weights(w=np.array([[-1.0, 2.0]]))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    step = torch.compile(optimizer.step, backend="eager")
    with regkit_torch.watch(model, regkit.build(weight_nonnegative=1), optimizer=optimizer):
        model.w.grad = torch.ones_like(model.w)
        step()
    np.testing.assert_allclose(model.w.detach(), [[0.0, 1.9]], rtol=1e-12)


# Schedules and metrics


def test_schedules_follow_the_optimizer():
    model = Weights(w=V)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    regs = regkit.build(weight_l2=regkit.schedules.Warmup(to=0.5, steps=10))
    with regkit_torch.watch(model, regs, optimizer=optimizer) as run:
        for n in range(12):
            loss = run.loss()
            expected = 0.5 * min(n / 10, 1) * float((V**2).sum())
            np.testing.assert_allclose(loss.item(), expected, rtol=1e-12)
            loss.backward()
            optimizer.step()


def test_a_target_is_met():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))
    x = torch.randn(64, 8)
    y = x[:, :1] * x[:, 1:2]
    target = regkit.schedules.Target("zeros", 0.9, start=1e-4, gain=0.5)
    regs = regkit.build(hidden_l1=dict(weight=target, reduction="mean"))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    with regkit_torch.watch(model, regs, optimizer=optimizer) as run:
        for _ in range(600):
            optimizer.zero_grad()
            (torch.nn.functional.mse_loss(model(x), y) + run.loss()).backward()
            optimizer.step()
        model(x)
        zeros = run.metrics()["hidden_l1.zeros"]
    by_hand = (torch.relu(model[0](x)) == 0).double().mean().item()
    np.testing.assert_allclose(float(zeros), by_hand, rtol=1e-6)
    assert abs(by_hand - 0.9) < 0.05


def test_metrics_are_of_the_forward_and_of_the_weights_that_the_penalty_is_of():
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 4))
    with torch.no_grad():
        model[0].weight[0] = 0
        model[2].weight[:, :] = 0
    model[2].weight.requires_grad_(False)
    regs = regkit.build(hidden_l1=0.1, weight_l1=0.1, hidden_topk=dict(k=1))
    x = torch.randn(5, 2)
    with regkit_torch.watch(model, regs) as run:
        model(x)
        found = run.metrics()
        run.loss()
        with pytest.raises(regkit.GraphError, match=r"Call run.metrics\(\) before run.loss\(\)"):
            run.metrics()
    hidden = torch.relu(model[0](x))
    kept = hidden * (hidden == hidden.max(-1, keepdim=True).values)
    assert float(found["weight_l1.zeros"]) == pytest.approx(2 / 6)
    assert float(found["hidden_l1.zeros"]) == pytest.approx((kept == 0).double().mean().item())
    assert float(found["hidden_topk.l0"]) == pytest.approx((kept != 0).double().sum(-1).mean().item())


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


def test_what_is_no_optimizer_raises():
    regs, model = regkit.build(weight_nonnegative=1), Weights(w=V)
    for rate in ("fast", -0.1, True):
        with pytest.raises(regkit.OptionError, match="accepted: a torch.optim.Optimizer, or a step size"):
            stepped(model, regs, rate)
    with pytest.raises(regkit.OptionError, match="watch got optimizer=0.1; accepted: a torch.optim.Optimizer"):
        trained(model, 0.1, regs, 1)
    with pytest.raises(regkit.GraphError, match="trains none of the parameters"):
        stepped(model, regs, torch.optim.SGD([torch.nn.Parameter(V)], lr=0.1))


def test_a_set_that_only_steps_has_a_loss_of_zero():
    model = Weights(w=V)
    with regkit_torch.watch(model, regkit.build(weight_max_norm=dict(weight=1, by="projection"))) as run:
        run.after_step(0.1)
        assert run.loss().item() == 0
        assert [term.name for term in run.terms()] == ["weight_max_norm"]


# Steps that are left out, weights that are tied, optimizers of other kinds


@pytest.mark.parametrize("fused", [False, True])
def test_a_step_that_a_scaler_leaves_out_changes_nothing(fused):
    model = Weights(w=V.float())
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    regs = regkit.build(
        weight_l1=dict(weight=0.5, by="proximal"), weight_l2=regkit.schedules.Linear(0.1, 1.0, steps=10)
    )
    before = model.w.detach().clone()
    with regkit_torch.watch(model, regs, optimizer=optimizer) as run:
        for times in (float("inf"), 1.0):
            optimizer.zero_grad()
            scaler.scale((model.w.square().sum() + run.loss()) * times).backward()
            scaler.step(optimizer)
            scaler.update()
            if times != 1:
                assert torch.equal(model.w, before)
    assert not torch.equal(model.w, before)
    assert model.w.isfinite().all()
    assert regs.live() == {"weight_l2": pytest.approx(0.19)}


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "number"])
def test_a_tied_weight_counts_once(optimizer):
    model = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.Linear(2, 2, bias=False))
    model.append(torch.nn.Linear(2, 2, bias=False))
    model[2].weight = model[0].weight
    torch.nn.init.constant_(model[0].weight, 5.0)
    torch.nn.init.constant_(model[1].weight, 5.0)
    for param in model.parameters():
        param.grad = torch.ones_like(param)
    rate = 0.1 if optimizer == "number" else getattr(torch.optim, optimizer)(model.parameters(), lr=0.1)
    if optimizer != "number":
        rate.step()
    before = [param.detach().clone() for param in (model[0].weight, model[1].weight)]
    stepped(model, regkit.build(weight_l1=dict(weight=2.0, by="proximal")), rate)
    for old, param in zip(before, (model[0].weight, model[1].weight)):
        torch.testing.assert_close(param.detach(), old - 0.1)  # 2 divided by 2 matrices; the first divisor of Adam is 1


def test_a_frozen_parameter_stays_where_a_pattern_names_it():
    model = Weights(a=np.full((2, 2), 5.0), fixed=np.full((2, 2), 5.0))
    model.fixed.requires_grad_(False)
    stepped(
        model, regkit.build(decoupled_decay=dict(weight=0.5, pattern="*")), torch.optim.SGD(model.parameters(), lr=0.1)
    )
    assert (model.fixed == 5).all()
    assert (model.a < 5).all()


def test_a_parameter_without_a_gradient_in_this_step_stays():
    model = Weights(w=V, other=V)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0)
    with regkit_torch.watch(model, regkit.build(decoupled_decay=0.5), optimizer=optimizer):
        for param in model.parameters():
            param.grad = torch.ones_like(param)
        optimizer.step()
        model.other.grad = None
        before = model.other.detach().clone()
        optimizer.step()
    assert torch.equal(model.other, before)


def test_by_hand_beside_a_watch_that_has_the_optimizer_raises():
    model = Weights(w=V)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = regkit_torch.watch(model, regkit.build(decoupled_decay=0.5), optimizer=optimizer)
    with watch as run, pytest.raises(regkit.GraphError, match="the watch has the optimizer"):
        run.after_step(optimizer)


def test_several_optimizers_are_one_step():
    model = Weights(a=np.full((2, 2), 5.0), b=np.full((2, 2), 5.0))
    optimizers = [torch.optim.SGD([model.a], lr=0.1), torch.optim.SGD([model.b], lr=0.2)]
    regs = regkit.build(decoupled_decay=regkit.schedules.Linear(0.5, 1.5, steps=10))
    with pytest.raises(regkit.OptionError, match=r"several optimizers; .* run.after_step\(\*optimizers\)"):
        trained(model, optimizers, regs, 1)
    with regkit_torch.watch(model, regs) as run:
        run.after_step(*optimizers)
    assert regs.live()["decoupled_decay"] == pytest.approx(0.6)
    np.testing.assert_allclose([model.a.detach()[0, 0], model.b.detach()[0, 0]], [5 * 0.95, 5 * 0.9])


def test_a_subclass_with_a_step_of_its_own_is_no_sgd():
    class Signs(torch.optim.SGD):
        def step(self, closure=None):
            for group in self.param_groups:
                for param in group["params"]:
                    param.data -= group["lr"] * param.grad.sign()

    model = Weights(w=V)
    model.w.grad = torch.ones_like(V)
    with pytest.raises(regkit.OptionError, match="of Signs it is not known"):
        stepped(model, regkit.build(weight_l1=dict(weight=1, by="proximal")), Signs(model.parameters(), lr=0.1))


def test_a_schedule_that_nothing_moves_warns():
    model = Weights(w=V)

    def train():
        with regkit_torch.watch(model, regkit.build(weight_l2=regkit.schedules.Warmup(0.5, 10))) as run:
            for _ in range(2):
                run.loss()

    with pytest.warns(UserWarning, match="weight_l2: the weight follows the step, and nothing moved it"):
        train()


def test_metrics_are_of_what_a_pattern_leaves():
    model = torch.nn.Sequential(torch.nn.Identity(), torch.nn.ReLU(), torch.nn.Linear(3, 1))
    weight = regkit.schedules.Target("zeros", 0.5, start=1.0, gain=1.0)
    regs = regkit.build(hidden_l1=dict(weight=weight, pattern=["*", "!0", "!2"]))
    x = torch.tensor([[1.0, -1.0, 0.0], [2.0, -3.0, 4.0]])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with regkit_torch.watch(model, regs, optimizer=optimizer) as run:
        model(x)
        assert float(run.metrics()["hidden_l1.zeros"]) == pytest.approx(0.5)
        model[1](x[:1])
        run.discard()
        (model(x[:1]).sum() + run.loss()).backward()
        optimizer.step()
    assert weight.value == pytest.approx(np.exp(0.5 - 2 / 3))


def test_metrics_of_weights_need_no_forward():
    model = Weights(w=np.array([[0.0, 1.0]]))
    with regkit_torch.watch(model, regkit.build(weight_l1=0.1)) as run:
        run.loss()
        assert float(run.metrics()["weight_l1.zeros"]) == 0.5
