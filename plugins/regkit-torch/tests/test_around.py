"""What is done with a model that is watched, beside training it; and terms for each module."""

from __future__ import annotations

import copy
import io
import pickle

import numpy as np
import pytest
import regkit_torch
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

import regkit

X = torch.tensor(np.random.default_rng(1).normal(size=(8, 4)))


@pytest.fixture
def model():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2)).double()


def regularizers():
    return regkit.build(hidden_l1=1.0, dropout=dict(weight=0.5, pattern="3"), weight_l2=1.0)


def saved(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIES = {
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "AveragedModel": lambda model: AveragedModel(model).module,
    "torch.save": saved,
}


@pytest.mark.parametrize("form", COPIES)
def test_copies_of_a_watched_model_have_no_hooks_of_ours_and_compute_as_it_does_outside(model, form):
    handle = model[1].register_forward_hook(_twice)
    clean = model.eval()(X)
    model.train()
    with regkit_torch.watch(model, regularizers()) as run:
        copied = COPIES[form](model)
        if form != "copy":  # whose children are the same
            torch.testing.assert_close(copied(X), clean, rtol=0, atol=0)
        for module in copied.modules() if form != "copy" else [copied]:
            assert "__getstate__" not in module.__dict__
            assert all(hook is _twice for hook in module._forward_hooks.values())
            assert not module._forward_pre_hooks
            assert not module._forward_hooks_always_called
        run.discard()
        model(X)
        assert list(run.outputs) == ["1", "3"]
    handle.remove()
    assert not any(module._forward_hooks for module in model.modules())


def _twice(module, given, output):
    return 2 * output


def test_a_class_with_a_state_of_its_own_keeps_it(model):
    class Odd(nn.Sequential):
        def __getstate__(self):
            return {**super().__getstate__(), "more": 1}

    odd = Odd(*model)
    with regkit_torch.watch(odd, regularizers()):
        assert copy.deepcopy(odd).more == 1


def test_hooks_of_others_are_seen_and_their_handles_work(model):
    with regkit_torch.watch(model, regkit.build(hidden_l1=dict(weight=1, pattern="1"))) as run:
        handle = model[0].register_forward_hook(_twice)
        model(X)
        np.testing.assert_allclose(run.loss().item(), torch.tanh(2 * model[0](X) / 2).abs().sum().item(), rtol=1e-12)
        run.discard()
        handle.remove()
        model(X)
        np.testing.assert_allclose(run.loss().item(), torch.tanh(model[0](X)).abs().sum().item(), rtol=1e-12)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_scripting_a_watched_model_is_refused_in_words(model):
    words = r"torch.jit.script cannot compile a model that is watched. Script it before the watch opens, or after"
    with regkit_torch.watch(model, regularizers()), pytest.raises(regkit.GraphError, match=words):
        torch.jit.script(model)


@pytest.mark.filterwarnings("ignore")
def test_tracing_and_exporting_a_watched_model_leave_nothing_behind(model):
    model.eval()
    with regkit_torch.watch(model, regkit.build(hidden_l1=1.0)) as run:
        traced = torch.jit.trace(model, X)
        torch.testing.assert_close(traced(X), model(X), rtol=0, atol=0)
        run.discard()
        exported = torch.export.export(model, (X,)).module()
        assert run.outputs == {}
        torch.testing.assert_close(exported(X), model(X), rtol=0, atol=0)
        hidden = (torch.tanh(model[0](X)), model[:4](X))
        run.discard()
        model(X)
        expected = sum(z.abs().sum().item() for z in hidden) / 2
        np.testing.assert_allclose(run.loss().item(), expected, rtol=1e-12)


def topk_by_hand(model, x, k):
    z = torch.tanh(model[0](x))
    kept = (z >= z.topk(k, dim=1).values[:, -1:]) * z
    return model[2](kept)


@pytest.fixture
def predicting():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(X.shape[1], 6), nn.Tanh(), nn.Linear(6, 2)).to(X.dtype).eval()
    return model, regkit.build(hidden_topk=dict(k=2, pattern="1"))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("hooked", [False, True])
def test_exported_and_traced_models_have_the_changes_that_hold_in_predictions(predicting, hooked):
    model, regs = predicting
    if hooked:
        model[1].register_forward_hook(lambda *_: None)
    with regkit_torch.watch(model, regs):
        exported = torch.export.export(model, (X,)).module()
        traced = torch.jit.trace(model, X)
    expected = topk_by_hand(model, X, 2)
    torch.testing.assert_close(exported(X), expected)
    torch.testing.assert_close(traced(X), expected)


def test_a_strict_export_and_one_in_training_are_refused_where_outputs_are_changed(predicting):
    model, regs = predicting
    with regkit_torch.watch(model, regs) as run:
        with pytest.raises(Exception, match="Write strict=False"):
            torch.export.export(model, (X,), strict=True)
        model.train()
        with pytest.raises(
            regkit.GraphError, match=r"in training mode, in which regularizers change the output of '1'"
        ):
            torch.export.export(model, (X,))
        model.eval()
        model(X)
        assert run.loss() == 0


def test_a_copy_of_a_model_with_changes_in_predictions_warns(predicting):
    model, regs = predicting
    with regkit_torch.watch(model, regs):
        with pytest.warns(UserWarning, match="a copy of a watched model is not watched, so hidden_topk, which changes"):
            copied = copy.deepcopy(model)
        torch.testing.assert_close(model(X), topk_by_hand(copied, X, 2))
    torch.testing.assert_close(copied(X), model(X))


def test_parameters_may_be_swapped_by_a_conversion_within_a_watch(model):
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        with regkit_torch.watch(model, regkit.build(hidden_l1=1.0, weight_l2=1.0)) as run:
            for _ in range(2):
                (model(X).sum() + run.loss()).backward()
            model.zero_grad()
            model.float()
            (model(X.float()).sum() + run.loss()).backward()
            assert model[0].weight.dtype == torch.float32
            assert run.terms()[1].penalty.dtype == torch.float32
    finally:
        torch.__future__.set_swap_module_params_on_conversion(before)


@pytest.mark.parametrize("name", ["loss", "tap", "terms", "train", "outputs", "discard"])
def test_a_watch_without_with_says_with(model, name):
    with pytest.raises(regkit.GraphError) as caught:
        getattr(regkit_torch.watch(model, regularizers()), name)
    assert str(caught.value) == (
        f"watch is used by `with`: with regkit_torch.watch(model, regs) as run: ... run.{name}"
    )


def test_a_watch_may_open_again(model):
    watch = regkit_torch.watch(model, regkit.build(hidden_l2=dict(weight=1, pattern="*")))
    losses = []
    for _ in range(2):
        with watch as run:
            model(X)
            losses.append(run.loss().item())
    assert losses[0] == losses[1] > 0


def test_a_watch_has_no_other_attributes(model):
    watch = regkit_torch.watch(model, regularizers())
    assert not hasattr(watch, "nonsense")
    assert copy.copy(watch) is not watch


# Terms of each


def test_terms_of_each_are_those_of_a_set_that_selects_one(model):
    regs = regkit.build(
        hidden_l1=0.5,
        hidden_l2=dict(weight=2, pattern="3"),
        weight_l2=dict(weight=0.1, pattern=["0.weight", "2.weight"]),
    )
    with regkit_torch.watch(model, regs) as run:
        model(X)
        each = {term.name: term for term in run.terms(each=True)}
        first, second = torch.tanh(model[0](X)), model[:4](X)
        expected = {
            "hidden_l1/1": first.abs().sum(),
            "hidden_l1/3": second.abs().sum(),
            "hidden_l2/3": (second**2).sum(),
            "weight_l2/0.weight": (model[0].weight ** 2).sum(),
            "weight_l2/2.weight": (model[2].weight ** 2).sum(),
        }
        assert {name: term.weight for name, term in each.items()} == dict(zip(expected, (0.5, 0.5, 2, 0.1, 0.1)))
        for name, penalty in expected.items():
            np.testing.assert_allclose(each[name].penalty.item(), penalty.item(), rtol=1e-12)
            np.testing.assert_allclose(each[name].weighted.item(), each[name].weight * penalty.item(), rtol=1e-12)
        run.discard()
        model(X)
        run.loss()
        with pytest.raises(regkit.GraphError, match=r"Call run.terms\(each=True\) before run.loss\(\)"):
            run.terms(each=True)


def test_terms_of_each_of_weights_without_a_pattern_are_those_of_matrices_that_are_trained(model):
    model[2].requires_grad_(False)
    with regkit_torch.watch(model, regkit.build(weight_l1=1.0)) as run:
        assert [term.name for term in run.terms(each=True)] == ["weight_l1/0.weight", "weight_l1/4.weight"]
