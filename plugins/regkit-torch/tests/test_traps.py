"""What goes wrong in silence around forward hooks: here it is right, or refused with words."""

from __future__ import annotations

import collections
import copy
import gc
import pickle
import weakref

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


@pytest.mark.parametrize("private", [False, True])
def test_what_the_test_above_compares_is_wrong_for_draws_of_a_generator_that_no_checkpoint_restores(private):
    def found(reentrant):
        model = net(reentrant)
        generator = torch.Generator().manual_seed(7) if private else None

        def drop(module, given, output):  # plain torch
            return output * 2 * (torch.rand(output.shape, generator=generator, dtype=output.dtype) < 0.5)

        model.act.register_forward_hook(drop)
        return gradients(model, regkit.build())

    expected = found(None)
    for reentrant in (False, True):
        off = max((one - other).abs().max().item() for one, other in zip(found(reentrant), expected))
        assert off > 0.1 if private else off < 1e-12


def test_a_penalty_within_a_checkpoint_counts_once():
    regs = regkit.build(hidden_l2=dict(weight=0.3, pattern="act"))
    for found, expected in zip(gradients(net(False), regs), gradients(net(), regs)):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


def test_a_penalty_within_a_reentrant_checkpoint_ends_in_words():
    model = net(True)
    with regkit_torch.watch(model, regkit.build(hidden_l2=dict(weight=0.3, pattern="act"))) as run:
        model(X.clone().requires_grad_())
        with pytest.raises(regkit.GraphError, match=r"module 'act' ran within checkpoint"):
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
        "operation such as +=, so a penalty would be of the changed values. Write inplace=False there, or give a "
        "pattern for the output behind it"
    )
    with regkit_torch.watch(model, regkit.build(hidden_l1=dict(weight=0.1, pattern="act"))) as run:
        model(X)
        np.testing.assert_allclose(run.loss().item(), 0.1 * F.relu(model.hid(X)).sum().item(), rtol=1e-12)


def test_an_in_place_module_behind_noise_is_right_where_no_penalty_is_of_the_noisy_output():
    model = net(inplace=True)
    regs = regkit.build(noise=dict(weight=0.1, pattern="hid"), hidden_l1=dict(weight=0.1, pattern="act"))
    with regkit_torch.watch(model, regs) as run:
        model(X)
        assert list(run.outputs) == ["act"]
        assert run.loss() > 0


def test_what_is_changed_in_place_is_refused_also_where_a_plan_is_there():
    run = regkit_torch.Run(regkit.build(hidden_l1=dict(weight=0.1, pattern="hid")))
    for _ in range(2):
        run.tap("hid", X)
        run.loss()
    hid = run.tap("hid", X.clone())
    hid.clamp_(min=0)
    with pytest.raises(regkit.GraphError, match="output 'hid' was changed in place"):
        run.loss()


def test_a_function_is_invisible_to_a_watch_and_a_tap_shows_it():
    class Functional(Net):
        def forward(self, x, tap=lambda name, value: value):
            return self.out(tap("relu", F.relu(self.hid(x))))

    torch.manual_seed(3)
    model = Functional().double()
    regs = regkit.build(hidden_l1=dict(weight=0.1, pattern="relu"))
    with regkit_torch.watch(model, regs) as run:
        model(X)
        with pytest.raises(regkit.NoMatchError, match="none of the names of run.tap"):
            run.loss()
        model(X, run.tap)
        np.testing.assert_allclose(run.loss().item(), 0.1 * F.relu(model.hid(X)).sum().item(), rtol=1e-12)


def test_a_regularizer_that_was_to_change_outputs_and_was_shown_none_since_the_last_loss_is_an_error():
    model = net()
    with regkit_torch.watch(model, regkit.build(noise=dict(weight=0.1, pattern="act"))) as run:
        model(X)
        assert run.loss() == 0
        with pytest.raises(regkit.NoMatchError, match="noise: pattern 'act' matches none of the outputs: none"):
            run.loss()


def test_a_part_that_is_compiled_goes_by_its_path_and_shows_its_output_once():
    model = net()
    weight, bias = model.hid.weight, model.hid.bias
    model.hid = torch.compile(model.hid, backend="eager")
    regs = regkit.build(hidden_l1=dict(weight=0.1, pattern="hid"), weight_l2=dict(weight=1, pattern="hid.weight"))
    with regkit_torch.watch(model, regs) as run:
        model(X)
        assert list(run.outputs) == ["hid"]
        expected = 0.1 * F.linear(X, weight, bias).abs().sum() + (weight**2).sum()
        np.testing.assert_allclose(run.loss().item(), expected.item(), rtol=1e-12)


def test_a_copy_of_a_watched_model_is_not_taken_for_it():
    model = net()
    with regkit_torch.watch(model, regkit.build(hidden_l1=dict(weight=0.1, pattern="act"))) as run:
        copied = copy.deepcopy(model)  # as for a mean of the parameters over steps: hooks are copied too
        model(X)
        pickled = pickle.loads(pickle.dumps(model))
        shallow = copy.copy(model.act)
        for other in (copied, pickled, shallow):
            other(X)
        np.testing.assert_allclose(run.loss().item(), 0.1 * torch.tanh(model.hid(X)).abs().sum().item(), rtol=1e-12)
    for other in (copied, pickled):
        other(X)
        assert run.outputs == {}
    gone = weakref.ref(model)
    del model, run, shallow
    gc.collect()
    assert gone() is None  # nothing of it is in the copies


def test_replicas_on_several_devices_are_refused():
    model = net()
    with regkit_torch.watch(model, regkit.build(hidden_l1=dict(weight=0.1, pattern="act"))):
        for module in (model, model.act):
            with pytest.raises(regkit.GraphError, match="a model that is watched runs as replicas on several devices"):
                module._replicate_for_data_parallel()  # what DataParallel calls for each of several devices


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda model: model.add_module("more", nn.Linear(2, 2)), "new modules are more"),
        (lambda model: setattr(model, "act", nn.ReLU()), "new modules are act"),
        (lambda model: delattr(model, "act"), "modules or parameters are gone, or shared, or have other names"),
        (
            lambda model: model.hid.register_parameter("gain", nn.Parameter(torch.ones(2))),
            "new parameters are hid.gain",
        ),
    ],
)
def test_a_model_that_is_given_other_modules_within_a_watch_is_refused(change, words):
    model = net()
    with regkit_torch.watch(model, regkit.build(weight_l2=1)) as run:
        run.loss()
        change(model)
        with pytest.raises(regkit.GraphError) as caught:
            run.loss()
    assert str(caught.value) == (
        f"the model has changed within the watch: {words}. Leave the watch before modules or parameters are added, "
        "replaced or taken out, and open a new one after it"
    )
    assert not hooks(model)


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
    assert (seen.dtype, loss.dtype) == (torch.bfloat16, torch.float32)
    expected = 0.5 * (seen.detach().double() ** 2).sum().item()
    np.testing.assert_allclose(loss.item(), expected, rtol=1e-6)
    assert torch.isfinite(model.hid.weight.grad).all()


class Gram(regkit.Regularizer):
    """A penalty that multiplies matrices, which autocast would do in bfloat16."""

    def loss(self, layers, outputs):
        ((_, z),) = regkit.select_outputs(outputs, self.pattern)
        return (z.T @ z).sum()


def test_under_autocast_a_penalty_of_float32_is_computed_in_float32():
    z = X.float()
    run = regkit_torch.Run(regkit.build(gram=Gram("z", 1)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for _ in range(2):  # the first records, the second calls a plan
            run.tap("z", z)
            loss = run.loss()
            assert loss.dtype == torch.float32
            np.testing.assert_allclose(loss.item(), (X.T @ X).sum().item(), rtol=1e-5)


def test_the_loss_after_a_forward_in_eval_mode_is_of_the_clean_outputs():
    model = net().eval()
    regs = regkit.build(noise=dict(weight=5, pattern="hid"), hidden_l1=dict(weight=0.1, pattern="act"))
    clean = torch.tanh(model.hid(X)).abs().sum().item()
    with regkit_torch.watch(model, regs) as run:
        model(X)
        np.testing.assert_allclose(run.loss().item(), 0.1 * clean, rtol=1e-12)


def test_a_watch_has_the_mode_of_its_model():
    model = net()
    with regkit_torch.watch(model, regkit.build(noise=dict(weight=5, pattern="hid"))) as run:
        assert run.train
        model.eval()
        assert not run.train
        with pytest.raises(regkit.GraphError) as caught:
            run.train = True
    assert str(caught.value) == "a watch has the mode of its model: call model.train() or model.eval()"


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


class Packed(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 3, batch_first=True)

    def forward(self, x):
        z, (last, _) = self.lstm(nn.utils.rnn.pack_padded_sequence(x, [3, 1], batch_first=True))
        return nn.utils.rnn.pad_packed_sequence(z, batch_first=True)[0], last


@pytest.mark.parametrize("options", [{}, dict(pattern="lstm:0")], ids=["default", "pattern"])
def test_of_a_packed_sequence_the_data_are_shown_and_changed(options):
    torch.manual_seed(1)
    model, x = Packed().double(), torch.ones(2, 3, 4).double()
    steps, _ = model.lstm(x)
    shown = torch.cat([steps[0], steps[1, :1]])  # without the padding
    with regkit_torch.watch(model, regkit.build(hidden_l1=dict(weight=0.5, **options))) as run:
        model(x)
        np.testing.assert_allclose(run.loss().item(), 0.5 * shown.abs().sum().item(), rtol=1e-12)
    assert [row.name for row in regkit_torch.names(model, x) if row.kind == "output"] == [
        "lstm:0",
        "lstm:1:0",
        "lstm:1:1",
    ]
    with regkit_torch.watch(model, regkit.build(hidden_dropout=dict(weight=0.5, **options))):
        padded, _ = model(x)
    kept = torch.cat([padded[0], padded[1, :1]])
    assert (torch.isclose(kept, 2 * shown) | (kept == 0)).all()


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


@pytest.mark.parametrize("form", [tuple, list, collections.namedtuple("Pair", "first, second")._make])
def test_a_change_of_one_output_of_several_leaves_the_others_and_what_they_are_in(form):
    class Several(nn.Module):
        def forward(self, x):
            return form([x, {"b": 2 * x, "c": 3 * x}])

    model = nn.Sequential(Several())
    with regkit_torch.watch(model, regkit.build(dropout=dict(weight=0.5, pattern="0:1:b"))):
        found = model(X)
        clean = model.eval()(X)[1]["b"]
    torch.testing.assert_close(clean, 2 * X, rtol=0, atol=0)
    assert type(found) is type(form([1, 2]))
    first, second = found
    assert first is X
    torch.testing.assert_close(second["c"], 3 * X, rtol=0, atol=0)
    is_dropped, is_scaled = (torch.isclose(second["b"], factor * X) for factor in (0, 4))
    assert (is_dropped | is_scaled).all()
    assert is_dropped.any()


def test_a_module_that_is_called_again_in_a_forward_goes_by_numbers():
    model = net()
    twice = nn.Sequential(model.hid, model.act, model.act)
    regs = regkit.build(hidden_l1=dict(weight=1, pattern="1"))
    act = torch.tanh(model.hid(X))
    with regkit_torch.watch(twice, regs) as run:
        twice(X)
        assert list(run.outputs) == ["1", "1@1"]
        expected = (act.abs().sum() + torch.tanh(act).abs().sum()).item() / 2
        np.testing.assert_allclose(run.loss().item(), expected, rtol=1e-12)


# Bad input


def hooks(model):
    return [module for module in model.modules() if module._forward_hooks or "forward" in module.__dict__]


def test_a_model_is_watched_once_at_a_time():
    model = net()
    regs = regkit.build(hidden_l1=dict(weight=0.1, pattern="act"))
    with regkit_torch.watch(model, regs):
        for part in (model, nn.Sequential(model), model.hid):
            with pytest.raises(regkit.GraphError, match="is watched already"), regkit_torch.watch(part, regs):
                pass
        assert hooks(model) == [model, model.act]
    assert hooks(model) == []


def test_a_watch_that_does_not_open_leaves_nothing_behind():
    model = net()
    for regs in (regkit.build(noise=0.1), regkit.build(weight_l2=dict(weight=0.1, pattern="none"))):
        with pytest.raises(regkit.RegkitError), regkit_torch.watch(model, regs):
            pass
        assert hooks(model) == []
    with regkit_torch.watch(model, regkit.build(weight_l2=0.1)) as run:
        assert run.loss() > 0


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((F.relu, regkit.build(weight_l2=1)), "watch got a model of type function; accepted: a torch.nn.Module"),
        ((net(), [0.1]), "watch got regs=[0.1]; accepted: a set of regularizers, which regkit.build returns"),
    ],
)
def test_a_watch_of_something_else_says_what_it_takes(args, words):
    with pytest.raises(regkit.OptionError) as caught, regkit_torch.watch(*args):
        pass
    assert str(caught.value) == words


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("act@1", X, "tap got the name 'act@1'; accepted: a string without @"),
        (None, X, "tap got the name None; accepted: a string without @"),
        ("act", None, "output 'act' is None; accepted: a torch.Tensor of floats"),
        ("act", torch.arange(3), "output 'act' is of torch.int64, which has no gradient; accepted: a torch.Tensor of"),
    ],
)
def test_a_tap_of_something_else_says_what_it_takes(name, value, words):
    run = regkit_torch.Run(regkit.build(hidden_l1=dict(weight=0.1, pattern="act")))
    with pytest.raises(regkit.GraphError) as caught:
        run.tap(name, value)
    assert str(caught.value).startswith(words)


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


@pytest.mark.parametrize("layers", [regkit.Layer("act"), 3])
def test_a_run_of_layers_that_are_not_a_sequence_says_what_it_takes(layers):
    with pytest.raises(regkit.OptionError) as caught:
        regkit_torch.Run(regkit.build(weight_l2=1), layers)
    assert str(caught.value) == f"Run got layers={layers!r}; accepted: a sequence of regkit.Layer, or None"


def test_a_loss_that_raised_leaves_nothing_for_the_next():
    run = regkit_torch.Run(regkit.build(hidden_l1=dict(weight=0.5, pattern="hid")))
    hid = run.tap("hid", torch.ones(2))
    hid += 1
    with pytest.raises(regkit.GraphError, match="changed in place"):
        run.loss()
    with pytest.raises(regkit.NoMatchError, match="none of the outputs: none"):
        run.terms()
    run.tap("hid", torch.ones(2))
    assert list(run.outputs) == ["hid"]
    assert run.loss() == 1


def test_a_run_that_has_ended_says_so():
    model = net()
    with regkit_torch.watch(model, regkit.build(hidden_l1=dict(weight=0.1, pattern="act"))) as run:
        model(X)
    for use in (run.loss, run.terms, lambda: run.tap("act", X)):
        with pytest.raises(regkit.GraphError, match="this watch has ended"):
            use()


def test_the_terms_of_the_last_loss_are_there_after_the_watch():
    model = net()
    with regkit_torch.watch(model, regkit.build(weight_l2=dict(weight=0.5, pattern="hid.weight"))) as run:
        run.loss()
    (term,) = run.terms()
    np.testing.assert_allclose(term.weighted.item(), 0.5 * (model.hid.weight**2).sum().item(), rtol=1e-12)


@pytest.mark.parametrize("alias", ["input_noise", "input_dropout"])
def test_a_change_of_the_input_that_was_not_tapped_is_an_error(alias):
    layers = [regkit.Layer("in", role="input"), regkit.Layer("hid", role="hidden")]
    run = regkit_torch.Run(regkit.build({alias: 0.5}), layers)
    for _ in range(2):  # the second by the plan of the first
        run.skip("in")  # such as tokens
        hid = torch.ones(2, 3)
        assert torch.equal(run.tap("hid", hid), hid)
        with pytest.raises(regkit.NoMatchError, match=f"^{alias}: Input.* was shown no output that it changes"):
            run.loss()
    run.tap("in", torch.ones(2, 3))
    run.tap("hid", torch.ones(2, 3))
    assert run.loss() == 0
