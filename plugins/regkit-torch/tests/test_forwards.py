"""Which forwards a loss is of."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest
import regkit_torch
import torch
from torch import nn

import regkit

X = torch.tensor(np.random.default_rng(1).normal(size=(8, 4)))


class Net(nn.Module):
    """An encoder and a decoder, which may be called apart."""

    def __init__(self):
        super().__init__()
        self.enc = nn.Sequential(nn.Linear(4, 6), nn.Tanh())
        self.dec = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 1))
        self.fails = False

    def forward(self, x):
        z = self.enc(x)
        if self.fails:
            raise MemoryError("out of memory")
        return self.dec(z)


@pytest.fixture
def model():
    torch.manual_seed(3)
    return Net().double()


def l1(pattern="*.1", weight=1.0):
    return regkit.build(hidden_l1=dict(weight=weight, pattern=pattern))


def of_enc(model, x=X):
    """The sum of absolute values of the encoder's activations, with NumPy."""
    weight, bias = (param.detach().numpy() for param in model.enc[0].parameters())
    return abs(np.tanh(x.detach().numpy() @ weight.T + bias)).sum()


def of_dec(model, z):
    """That of the decoder's."""
    weight, bias = (param.detach().numpy() for param in model.dec[0].parameters())
    return abs(np.tanh(z.detach().numpy() @ weight.T + bias)).sum()


def of_both(model, x=X):
    """The mean of the two in a forward of the model."""
    weight, bias = (param.detach().numpy() for param in model.enc[0].parameters())
    return (of_enc(model, x) + of_dec(model, torch.tensor(np.tanh(x.detach().numpy() @ weight.T + bias)))) / 2


# Several forwards

SEVERAL = (
    "there were 2 forwards of {} since the last loss, and a penalty would be the mean of them. For a loss of all, such "
    "as of two views of an example or of all time steps, open watch(..., forwards='all'); for that of the last forward "
    "of each module, forwards='last'; after a forward that does not count, call run.discard()"
)


@pytest.mark.parametrize(
    ("second", "name"),
    [
        (lambda model: model(2 * X), "Net"),
        (lambda model: model.enc(2 * X), "Net"),  # which the model contains
    ],
)
def test_two_forwards_that_conflict_are_an_error_with_three_answers(model, second, name):
    with regkit_torch.watch(model, l1()) as run:
        for ask in (run.terms, run.loss):
            model(X)
            second(model)
            with pytest.raises(regkit.GraphError) as caught:
                ask()
            if ask == run.terms:
                run.discard()
            assert str(caught.value) == SEVERAL.format(name)
        model(X)  # the loss that raised took away what it was of
        np.testing.assert_allclose(run.loss().item(), of_both(model), rtol=1e-12)


def test_a_part_before_the_whole_conflicts_too(model):
    with regkit_torch.watch(model, l1()) as run:
        model.enc(X)
        model(X)
        with pytest.raises(regkit.GraphError, match="there were 2 forwards of Sequential since"):
            run.loss()


def test_all_forwards_count_where_the_watch_is_for_all(model):
    with regkit_torch.watch(model, l1(), forwards="all") as run:
        for _ in range(2):
            model(X)
            model(2 * X)
            assert list(run.outputs) == ["enc.1", "dec.1", "enc.1@1", "dec.1@1"]
            expected = (of_both(model, X) + of_both(model, 2 * X)) / 2
            np.testing.assert_allclose(run.loss().item(), expected, rtol=1e-12)


def test_the_last_forward_counts_where_the_watch_is_for_the_last(model):
    with regkit_torch.watch(model, l1(), forwards="last") as run:
        model(X)
        model(2 * X)
        np.testing.assert_allclose(run.loss().item(), of_both(model, 2 * X), rtol=1e-12)
        model.enc(X)
        model.enc(3 * X)
        z = torch.ones(2, 6, dtype=torch.float64)
        model.dec(z)
        expected = (of_enc(model, 3 * X) + of_dec(model, z)) / 2
        np.testing.assert_allclose(run.loss().item(), expected, rtol=1e-12)


def test_a_forward_that_is_discarded_does_not_count(model):
    with regkit_torch.watch(model, l1()) as run:
        model(2 * X)
        run.discard()
        assert run.outputs == {}
        model(X)
        np.testing.assert_allclose(run.loss().item(), of_both(model), rtol=1e-12)


def test_parts_that_are_called_apart_are_one_loss(model):
    with regkit_torch.watch(model, l1()) as run:
        z = torch.ones(2, 6, dtype=torch.float64)
        model.enc(X)
        model.dec(z)
        np.testing.assert_allclose(run.loss().item(), (of_enc(model) + of_dec(model, z)) / 2, rtol=1e-12)


def test_siblings_that_share_a_module_are_one_loss():
    torch.manual_seed(3)
    trunk = nn.Sequential(nn.Linear(4, 6), nn.Tanh()).double()
    heads = nn.ModuleList([nn.Sequential(trunk, nn.Linear(6, 1)), nn.Sequential(trunk, nn.Linear(6, 2))]).double()
    with regkit_torch.watch(heads, l1("0.0.1")) as run:
        for head in heads:
            head(X)
        expected = abs(np.tanh(trunk[0](X).detach().numpy())).sum()  # twice, and the mean of it
        np.testing.assert_allclose(run.loss().item(), expected, rtol=1e-12)
        assert run.outputs == {}


def test_a_tap_after_a_forward_belongs_to_it(model):
    regs = regkit.build(hidden_l2=dict(weight=1, pattern="out"))
    with regkit_torch.watch(model, regs, forwards="last") as run:
        for x in (X, 2 * X):
            out = run.tap("out", model(x))
        np.testing.assert_allclose(run.loss().item(), (out**2).sum().item(), rtol=1e-12)


@pytest.mark.parametrize("forwards", ["two", None])
def test_another_word_for_forwards_is_refused(model, forwards):
    with pytest.raises(regkit.OptionError) as caught:
        regkit_torch.watch(model, l1(), forwards=forwards)
    assert str(caught.value) == f"watch got forwards={forwards!r}; accepted: 'one', 'all', 'last'"


def test_of_many_forwards_without_a_loss_few_are_kept(model):
    activations = []
    with regkit_torch.watch(model, l1()) as run:
        for _ in range(10):
            model(X)
            activations.append(weakref.ref(next(iter(run.outputs.values()))))
            gc.collect()
        assert sum(one() is not None for one in activations) < 6
        with pytest.raises(regkit.GraphError, match="there were 10 forwards of Net"):
            run.loss()


# Forwards that raised


@pytest.mark.parametrize("again", [True, False])
def test_a_forward_that_raised_does_not_count_and_frees_what_it_kept(model, again):
    with regkit_torch.watch(model, l1()) as run:
        model.fails = True
        kept = []
        handle = model.enc[1].register_forward_hook(lambda _, __, output: kept.append(weakref.ref(output)))
        try:
            model(X)
        except MemoryError:
            model.fails = False
            if again:  # within the handler of the other one
                model(X / 2)
        handle.remove()
        gc.collect()
        assert kept[0]() is None
        if not again:
            model(X / 2)
        np.testing.assert_allclose(run.loss().item(), of_both(model, X / 2), rtol=1e-12)


def test_a_forward_that_was_interrupted_does_not_count(model):
    class Interrupts(nn.Module):
        def forward(self, z):
            raise KeyboardInterrupt

    dec, model.dec = model.dec, Interrupts()
    with regkit_torch.watch(model, l1("enc.1")) as run:
        with pytest.raises(KeyboardInterrupt):
            model(X)
        with pytest.raises(regkit.GraphError, match="there was no forward with gradients"):
            run.loss()
        with pytest.raises(KeyboardInterrupt):
            model(X)
        with pytest.raises(KeyboardInterrupt):
            model(X)
        model.enc(2 * X)
        model.enc(3 * X)
    model.dec = dec


def test_a_module_whose_output_is_none_counts(model):
    class Silent(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            self.inner(x)

    silent = Silent(model)
    with regkit_torch.watch(silent, l1("inner.*.1")) as run:
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            silent(X)
        np.testing.assert_allclose(run.loss().item(), of_both(model), rtol=1e-12)


# Forwards that were used up


def test_an_attack_before_the_step_does_not_count(model):
    with regkit_torch.watch(model, l1()) as run:
        for _ in range(2):
            x = X.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(model(x).sum(), x)
            attacked = X + 0.1 * gradient.sign()
            loss = model(attacked).sum() + run.loss()
            expected = model(attacked).sum().item() + of_both(model, attacked)
            run.discard()
            np.testing.assert_allclose(loss.item(), expected, rtol=1e-12)
            loss.backward()


def test_an_attack_after_the_forward_does_not_count_either(model):
    with regkit_torch.watch(model, l1()) as run:
        out = model(X)
        x = (2 * X).requires_grad_()
        torch.autograd.grad(model(x).sum(), x)
        loss = out.sum() + run.loss()
        np.testing.assert_allclose((loss - out.sum()).item(), of_both(model), rtol=1e-12)
        loss.backward()


def test_a_discriminators_step_within_a_generators_does_not_count():
    torch.manual_seed(3)
    both = nn.ModuleDict(
        {
            "gen": nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 4)),
            "dis": nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)),
        }
    ).double()
    with regkit_torch.watch(both, l1()) as run:
        fake = both.gen(X)
        both.dis(X).sum().backward()
        both.dis(fake.detach()).sum().backward()
        loss = both.dis(fake).sum() + run.loss()
        hidden = [np.tanh(both[name][0](x).detach().numpy()) for name, x in (("gen", X), ("dis", fake))]
        expected = both.dis(fake).sum().item() + sum(abs(z).sum() for z in hidden) / 2
        np.testing.assert_allclose(loss.item(), expected, rtol=1e-12)
        loss.backward()


@pytest.mark.parametrize("keep", [dict(retain_graph=True), dict(create_graph=True)])
def test_a_backward_that_keeps_its_graph_uses_nothing_up(model, keep):
    with regkit_torch.watch(model, l1()) as run:
        out = model(X).sum()
        torch.autograd.grad(out, list(model.parameters()), **keep)
        np.testing.assert_allclose(run.loss().item(), of_both(model), rtol=1e-12)


def test_a_backward_of_the_output_alone_uses_nothing_up(model):
    with regkit_torch.watch(model, l1()) as run:
        z = model.enc(X)
        logits = model.dec(z)
        torch.autograd.grad((logits**2).sum(), logits)  # which passes through no module
        loss = run.loss()
        np.testing.assert_allclose(loss.item(), of_both(model), rtol=1e-12)
        loss.backward()


def test_a_loss_after_the_backward_is_an_error_in_words(model):
    with regkit_torch.watch(model, l1()) as run:
        model(X).sum().backward()
        with pytest.raises(regkit.GraphError) as caught:
            run.loss()
        assert str(caught.value) == (
            "a backward has passed through the outputs of the forward already, and has freed what a loss of them would "
            "need. Call run.loss() before the backward, or backward(retain_graph=True)"
        )
        model(X)
        np.testing.assert_allclose(run.loss().item(), of_both(model), rtol=1e-12)


def test_a_loss_of_weights_alone_may_come_after_the_backward(model):
    with regkit_torch.watch(model, regkit.build(weight_l2=dict(weight=1, pattern="enc.0.weight"))) as run:
        model(X).sum().backward()
        np.testing.assert_allclose(run.loss().item(), (model.enc[0].weight ** 2).sum().item(), rtol=1e-12)


def test_a_loss_of_a_frozen_trunk_after_the_backward_of_the_head_is_an_error(model):
    model.enc.requires_grad_(False)
    with regkit_torch.watch(model, l1("enc.1")) as run:
        model(X).sum().backward()
        with pytest.raises(regkit.GraphError, match="a backward has passed through"):
            run.loss()


# Without gradients


@pytest.mark.parametrize("without", [torch.no_grad, torch.inference_mode])
def test_losses_and_terms_have_their_values_without_gradients(model, without):
    regs = l1() + regkit.build(weight_l2=dict(weight=1, pattern="enc.0.weight"))
    square = (model.enc[0].weight ** 2).sum().item()
    with regkit_torch.watch(model, regs) as run:
        for _ in range(2):
            with without():
                for x in (2 * X, X):  # of which the last counts
                    model(x)
                np.testing.assert_allclose([term.penalty for term in run.terms()], [of_both(model), square], rtol=1e-12)
                loss = run.loss()
                np.testing.assert_allclose(loss.item(), of_both(model) + square, rtol=1e-12)
                np.testing.assert_allclose([term.penalty for term in run.terms()], [of_both(model), square], rtol=1e-12)
        assert not loss.requires_grad


def test_a_training_forward_survives_a_validation_in_between_which_it_has_nothing_of(model):
    with regkit_torch.watch(model, l1()) as run:
        model(X)
        model.eval()
        with torch.no_grad():
            model(2 * X)
            np.testing.assert_allclose(run.loss().item(), of_both(model, 2 * X), rtol=1e-12)
            model(3 * X)
        model.train()
        loss = run.loss()
        np.testing.assert_allclose(loss.item(), of_both(model), rtol=1e-12)
        loss.backward()


def test_a_forward_without_gradients_is_no_part_of_a_loss_with_them(model):
    with regkit_torch.watch(model, l1()) as run:
        with torch.no_grad():
            model(X)
        with pytest.raises(regkit.GraphError, match="no forward with gradients of watched modules in this thread"):
            run.loss()


# Within a forward, other threads, memory


def test_a_loss_within_a_forward_is_of_what_that_has_given_so_far(model):
    class Step(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = model

        def forward(self, x):
            out = self.net(x).sum()
            return out, run.loss()

    step = Step()
    with regkit_torch.watch(step, l1("net.*.1")) as run:
        for _ in range(2):
            out, loss = step(X)
            np.testing.assert_allclose(loss.item(), of_both(model), rtol=1e-12)
            (out + loss).backward()


def test_two_threads_in_one_model_do_not_mix(model):
    barrier = threading.Barrier(2, timeout=60)
    found = {}
    with regkit_torch.watch(model, l1()) as run:

        def train(factor):
            for _ in range(20):
                barrier.wait()
                model(factor * X)
                barrier.wait()
                found.setdefault(factor, []).append(run.loss().item())

        threads = [threading.Thread(target=train, args=(factor,)) for factor in (1, 3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for factor in (1, 3):
        np.testing.assert_allclose(found[factor], 20 * [of_both(model, factor * X)], rtol=1e-12)


def test_a_loss_in_another_thread_than_its_forward_is_an_error_that_counts_those(model):
    release, ready = threading.Event(), threading.Event()
    with regkit_torch.watch(model, l1()) as run:

        def forward():
            model(X)
            ready.set()
            release.wait(60)

        thread = threading.Thread(target=forward)
        thread.start()
        ready.wait(60)
        with pytest.raises(regkit.GraphError, match="There are 1 forwards of other threads, and a loss is of those of"):
            run.loss()
        release.set()
        thread.join()


@pytest.mark.parametrize("backward", [True, False])
def test_activations_go_when_the_loss_and_its_backward_have_gone(model, backward):
    with regkit_torch.watch(model, l1()) as run:
        out = model(X)
        kept = weakref.ref(run.outputs["enc.1"])
        loss = out.sum() + run.loss()
        if backward:
            loss.backward()
        del out, loss
        assert kept() is None
        assert [term.name for term in run.terms()] == ["hidden_l1"]  # whose values are there


def test_activations_go_with_a_backward_without_a_loss(model):
    with regkit_torch.watch(model, l1()) as run:
        out = model(X)
        kept = weakref.ref(run.outputs["enc.1"])
        out.sum().backward()
        del out
        assert kept() is None


@pytest.mark.parametrize("ask", ["loss", "terms"])
def test_a_loss_without_a_forward_is_an_error_that_names_since_when(model, ask):
    with regkit_torch.watch(model, l1()) as run:
        for since in ("the watch opened", "the last loss"):
            with pytest.raises(regkit.GraphError) as caught:
                (run.loss if since == "the last loss" else getattr(run, ask))()
            assert str(caught.value) == (
                f"there was no forward with gradients of watched modules in this thread since {since}, so there are no "
                "outputs for a penalty. Call the model before each run.loss(). A model that torch.compile compiled "
                "before the watch opened needs torch.compiler.reset() once."
            )
            model(X)
            run.loss()


def test_a_loss_of_a_thread_that_has_ended_is_an_error(model):
    with regkit_torch.watch(model, l1()) as run:
        thread = threading.Thread(target=model, args=(X,))
        thread.start()
        thread.join()
        with pytest.raises(regkit.GraphError, match="there was no forward .* in this thread since the watch opened"):
            run.loss()
