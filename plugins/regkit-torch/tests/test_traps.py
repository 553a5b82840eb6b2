"""What goes wrong in silence around forward hooks: here it is right, or refused with words."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import regkit_torch
import torch
import torch.nn.functional as F  # noqa: N812 - what everybody calls it
from torch import nn
from torch.utils.checkpoint import checkpoint

import regkit

X = torch.tensor(np.random.default_rng(1).normal(size=(8, 4)))


class Net(nn.Module):
    """A block that may be computed again in the backward."""

    def __init__(self, reentrant=None, inplace=False):
        super().__init__()
        self.reentrant = reentrant
        self.hid = nn.Linear(4, 6)
        self.act = nn.ReLU(inplace=True) if inplace else nn.Tanh()
        self.out = nn.Linear(6, 2)

    def block(self, x):
        return self.act(self.hid(x))

    def forward(self, x):
        if self.reentrant is None:
            return self.out(self.block(x))
        return self.out(checkpoint(self.block, x, use_reentrant=self.reentrant))


def net(*args, **kwargs):
    torch.manual_seed(3)
    return Net(*args, **kwargs).double()


def gradients(model, regs, x=X, steps=1):
    """Gradients of the last step, with draws of a known state."""
    x = x.clone().requires_grad_()
    with regkit_torch.watch(model, regs) as run:
        for _ in range(steps):
            model.zero_grad()
            torch.manual_seed(7)
            loss = model(x).sum() + run.loss()
            loss.backward()
            assert run.outputs == {}  # nothing was kept while the backward computed again
    return [param.grad for param in model.parameters()]


# Checkpoints


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("reentrant", [False, True])
def test_dropout_within_a_checkpoint_has_the_gradients_it_has_without(reentrant, steps):
    regs = regkit.build(dropout=dict(weight=0.5, pattern="act"), noise=dict(weight=0.1, pattern="hid"))
    for found, expected in zip(gradients(net(reentrant), regs, steps=steps), gradients(net(), regs)):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


def test_a_penalty_within_a_checkpoint_counts_once():
    regs = regkit.build(hidden_l2=dict(weight=0.3, pattern="act"))
    for found, expected in zip(gradients(net(False), regs), gradients(net(), regs)):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


def test_a_penalty_within_a_reentrant_checkpoint_ends_in_words():
    model = net(True)
    with regkit_torch.watch(model, regkit.build(hidden_l2=dict(weight=0.3, pattern="act"))) as run:
        model(X.clone().requires_grad_())
        with pytest.raises(regkit.NoMatchError, match="within a reentrant checkpoint"):
            run.loss()


# What hooks do not see, or no longer


def test_an_in_place_module_behind_a_watched_one_is_refused():
    model = net(inplace=True)
    with regkit_torch.watch(model, regkit.build(hidden_l1=dict(weight=0.1, pattern="hid"))) as run:
        model(X)
        with pytest.raises(regkit.GraphError) as caught:
            run.loss()
    assert str(caught.value) == (
        "output 'hid' was changed in place after regularizers saw it, by a module such as ReLU(inplace=True) or an "
        "operation such as +=, so a penalty would be of what it has become. Say inplace=False there, or give a pattern "
        "for what comes behind"
    )
    with regkit_torch.watch(model, regkit.build(hidden_l1=dict(weight=0.1, pattern="act"))) as run:
        model(X)
        np.testing.assert_allclose(run.loss().item(), 0.1 * F.relu(model.hid(X)).sum().item(), rtol=1e-12)


def test_a_function_is_invisible_to_a_watch_and_a_tap_shows_it():
    class Functional(Net):
        def forward(self, x, tap=lambda name, value: value):
            return self.out(tap("relu", F.relu(self.hid(x))))

    torch.manual_seed(3)
    model = Functional().double()
    regs = regkit.build(hidden_l1=dict(weight=0.1, pattern="relu"))
    with regkit_torch.watch(model, regs) as run:
        model(X)
        with pytest.raises(regkit.NoMatchError, match="none of what was tapped"):
            run.loss()
        model(X, run.tap)
        np.testing.assert_allclose(run.loss().item(), 0.1 * F.relu(model.hid(X)).sum().item(), rtol=1e-12)


def test_a_forward_without_gradients_leaves_nothing():
    model = net()
    with regkit_torch.watch(model, regkit.build(hidden_l1=dict(weight=0.1, pattern="act"))) as run:
        with torch.no_grad():
            model(X)
        assert run.outputs == {}
        model(X)
        run.loss()
        with pytest.raises(regkit.NoMatchError, match="Nothing is kept of forwards under torch.no_grad"):
            run.loss()


def test_a_model_that_was_compiled_before_ends_in_words_and_not_in_a_loss_of_nothing():
    model = net()
    compiled = torch.compile(model, backend="eager")
    compiled(X)
    with regkit_torch.watch(compiled, regkit.build(hidden_l1=dict(weight=0.1, pattern="act"))) as run:
        compiled(X)
        with pytest.raises(regkit.NoMatchError, match="nor of a model that torch.compile has compiled"):
            run.loss()


def test_a_copy_of_a_watched_model_is_not_taken_for_it():
    model = net()
    with regkit_torch.watch(model, regkit.build(hidden_l1=dict(weight=0.1, pattern="act"))) as run:
        copied = copy.deepcopy(model)  # as for a mean of the parameters over steps: hooks are copied too
        model(X)
        copied(X)
        np.testing.assert_allclose(run.loss().item(), 0.1 * torch.tanh(model.hid(X)).abs().sum().item(), rtol=1e-12)
    copied(X)
    assert run.outputs == {}


# Modes


def test_under_autocast_penalties_of_bfloat16_are_computed_in_float32():
    model = net().float()
    model.act = nn.Identity()
    regs = regkit.build(hidden_l2=dict(weight=0.5, pattern="hid"))
    with regkit_torch.watch(model, regs) as run, torch.autocast("cpu", dtype=torch.bfloat16):
        model(X.float())
        seen = run.outputs["hid"]
        loss = run.loss()
        loss.backward()
    assert seen.dtype == torch.bfloat16
    expected = 0.5 * (seen.detach().double() ** 2).sum().item()
    np.testing.assert_allclose(loss.item(), expected, rtol=2.0**-8)  # one rounding to bfloat16
    assert torch.isfinite(model.hid.weight.grad).all()


def test_the_loss_after_a_forward_in_eval_mode_is_of_the_clean_outputs():
    model = net().eval()
    regs = regkit.build(noise=dict(weight=5, pattern="hid"), hidden_l1=dict(weight=0.1, pattern="act"))
    clean = torch.tanh(model.hid(X)).abs().sum().item()
    with regkit_torch.watch(model, regs) as run:
        model(X)
        np.testing.assert_allclose(run.loss().item(), 0.1 * clean, rtol=1e-12)


# Names


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda model: torch.compile(model, backend="eager")])
def test_what_wrappers_put_before_paths_is_left_out(wrap):
    model = net()
    with regkit_torch.watch(wrap(model), regkit.build(weight_l2=dict(weight=1, pattern="hid.weight"))) as run:
        np.testing.assert_allclose(run.loss().item(), (model.hid.weight**2).sum().item(), rtol=1e-12)


def test_data_parallel_on_one_device_has_the_loss_of_its_model():
    model = net()
    regs = regkit.build(hidden_l1=dict(weight=0.1, pattern="act"))
    parallel = nn.DataParallel(model)
    with regkit_torch.watch(parallel, regs) as run:
        parallel(X)
        np.testing.assert_allclose(run.loss().item(), 0.1 * torch.tanh(model.hid(X)).abs().sum().item(), rtol=1e-12)


def test_the_outputs_of_an_lstm_go_by_numbers():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(4, 3)

        def forward(self, x):
            return self.lstm(x)[0]

    model = Recurrent().double()
    regs = regkit.build(hidden_l2=dict(weight=1, pattern="lstm:0"), hidden_l1=dict(weight=1, pattern="lstm:1:0"))
    with regkit_torch.watch(model, regs) as run:
        model(X[:, None])
        assert set(run.outputs) == {"lstm:0", "lstm:1:0"}
        loss = run.loss().item()
    every, (last, _) = model.lstm(X[:, None])
    np.testing.assert_allclose(loss, ((every**2).sum() + last.abs().sum()).item(), rtol=1e-12)


def test_forwards_since_the_last_loss_all_count_and_go_by_numbers():
    model = net()
    regs = regkit.build(hidden_l1=dict(weight=1, pattern="act"))
    expected = sum(torch.tanh(model.hid(x)).abs().sum().item() for x in (X, 2 * X)) / 2
    with regkit_torch.watch(model, regs) as run:
        model(X)
        model(2 * X)
        assert list(run.outputs) == ["act", "act@1"]
        np.testing.assert_allclose(run.loss().item(), expected, rtol=1e-12)


# Bad input


def hooks(model):
    return [module for module in model.modules() if module._forward_hooks]


def test_a_model_is_watched_once_at_a_time():
    model = net()
    regs = regkit.build(hidden_l1=dict(weight=0.1, pattern="act"))
    with regkit_torch.watch(model, regs):
        for part in (model, nn.Sequential(model)):
            with pytest.raises(regkit.GraphError, match="is watched already"), regkit_torch.watch(part, regs):
                pass
        assert hooks(model) == [model.act]
    assert hooks(model) == []


class Odd(nn.Module):
    def __init__(self, given):
        super().__init__()
        self.given = given

    def forward(self, x):
        return self.given


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "output '0' is None; accepted: a torch.Tensor of floats"),
        (torch.arange(3), "output '0' is of torch.int64, which has no gradient"),
        ("text", "output '0' is of type builtins.str; accepted: a torch.Tensor of floats"),
    ],
)
def test_what_is_not_a_tensor_of_floats_is_refused_and_hooks_are_removed(given, words):
    model = nn.Sequential(Odd(given))
    with (
        pytest.raises(regkit.GraphError, match=words),
        regkit_torch.watch(model, regkit.build(hidden_l1=dict(weight=0.1, pattern="0"))),
    ):
        model(X)
    assert hooks(model) == []


def test_a_run_that_has_ended_says_so():
    model = net()
    with regkit_torch.watch(model, regkit.build(hidden_l1=dict(weight=0.1, pattern="act"))) as run:
        model(X)
    with pytest.raises(regkit.GraphError, match="this watch has ended"):
        run.loss()
