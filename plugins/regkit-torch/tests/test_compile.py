"""Models that torch.compile compiles, watched before their first call: seen, with the right loss and gradients."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import regkit_torch
import torch
from torch import nn
from torch._dynamo.utils import counters

import regkit

X = torch.tensor(np.random.default_rng(1).normal(size=(8, 4)))

pytestmark = pytest.mark.filterwarnings("ignore")  # the compiler has some of its own


class Block(nn.Module):
    def __init__(self, size, units):
        super().__init__()
        self.lin, self.act = nn.Linear(size, units), nn.Tanh()

    def forward(self, x):
        return self.act(self.lin(x))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.b0, self.b1, self.out = Block(4, 6), Block(6, 5), nn.Linear(5, 2)

    def forward(self, x):
        return self.out(self.b1(self.b0(x)))


@pytest.fixture
def model():
    torch._dynamo.reset()
    counters.clear()
    torch.manual_seed(3)
    yield Net().double()
    torch._dynamo.reset()


def regularizers():
    return regkit.build(hidden_l1=0.5, weight_l2=0.1)


def activations(params, x):
    a = torch.tanh(x @ params["b0.lin.weight"].T + params["b0.lin.bias"])
    return a, torch.tanh(a @ params["b1.lin.weight"].T + params["b1.lin.bias"])


def by_hand(params, x):
    a, b = activations(params, x)
    weights = [w for w in params.values() if w.ndim == 2]
    return 0.5 * (a.abs().sum() + b.abs().sum()) / 2 + 0.1 * sum((w**2).sum() for w in weights) / 3


def assert_same(loss, expected, params):
    """Two losses are the same, and so are their gradients by some parameters."""
    np.testing.assert_allclose(loss.item(), expected.item(), rtol=1e-12)
    for one, other in zip(torch.autograd.grad(loss, params), torch.autograd.grad(expected, params)):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def params_of(model):
    return {name.replace("_orig_mod.", ""): param for name, param in model.named_parameters()}


def whole(model):
    return torch.compile(model, fullgraph=True, backend="aot_eager")


def in_place(model):
    model.compile(fullgraph=True, backend="aot_eager")
    return model


def block(model):
    model.b1 = torch.compile(model.b1, fullgraph=True, backend="aot_eager")
    return model


def block_in_place(model):
    model.b1.compile(fullgraph=True, backend="aot_eager")
    return model


@pytest.mark.parametrize("compiled", [whole, in_place, block, block_in_place])
def test_a_full_graph_that_is_watched_before_its_first_call_has_the_loss_and_the_gradients_by_hand(model, compiled):
    compiled = compiled(model)
    with regkit_torch.watch(compiled, regularizers()) as run:
        for step in range(1, 4):
            x = step * X
            compiled(x)
            loss = run.loss()
            params = params_of(model)
            expected = by_hand(params, x)
            assert_same(loss, expected, [params["b0.lin.weight"], params["b1.lin.weight"]])
    assert sum(counters["graph_break"].values()) == 0


@pytest.mark.parametrize("compiled", [whole, in_place, block, block_in_place])
def test_later_watches_are_seen_too_also_for_other_outputs(model, compiled):
    compiled = compiled(model)
    for pattern in ("b1.act", "b?.act", "b1.act"):
        with regkit_torch.watch(compiled, regkit.build(hidden_l1=dict(weight=1, pattern=pattern))) as run:
            compiled(X)
            params = params_of(model)
            a, b = activations(params, X)
            expected = b.abs().sum() if pattern == "b1.act" else (a.abs().sum() + b.abs().sum()) / 2
            np.testing.assert_allclose(run.loss().item(), expected.item(), rtol=1e-12)


@pytest.mark.parametrize("compiled", [whole, in_place, block, block_in_place])
def test_watches_after_calls_outside_of_one_are_seen_and_outside_nothing_is_kept(model, compiled):
    compiled = compiled(model)
    for _ in range(3):
        compiled(X)
        with regkit_torch.watch(compiled, regularizers()) as run:
            compiled(X)
            np.testing.assert_allclose(run.loss().item(), by_hand(params_of(model), X).item(), rtol=1e-12)
        compiled(X)
        assert not run._network.left


def test_twelve_watches_of_a_full_graph_compile_it_twice_at_most(model):
    compiled = whole(model)
    for _ in range(12):
        with regkit_torch.watch(compiled, regularizers()) as run:
            compiled(X)
            np.testing.assert_allclose(run.loss().item(), by_hand(params_of(model), X).item(), rtol=1e-12)
    assert counters["stats"]["unique_graphs"] <= 2


def test_two_forwards_of_a_compiled_model_are_an_error_too(model):
    compiled = whole(model)
    with regkit_torch.watch(compiled, regularizers()) as run:
        compiled(X)
        compiled(X)
        with pytest.raises(regkit.GraphError, match="there were 2 forwards of OptimizedModule"):
            run.loss()


def test_dropout_in_a_compiled_model_changes_outputs_in_each_call(model):
    regs = regkit.build(dropout=dict(weight=0.5, pattern="b0.act"), hidden_l1=dict(weight=1, pattern="b?.act"))
    compiled = torch.compile(model, backend="aot_eager")
    seen = []
    with regkit_torch.watch(compiled, regs) as run:
        for _ in range(3):
            out = compiled(X)
            clean = torch.tanh(X @ model.b0.lin.weight.T + model.b0.lin.bias)
            dropped = run.outputs["b0.act"]
            assert (torch.isclose(dropped, 2 * clean) | (dropped == 0)).all()
            second = torch.tanh(dropped @ model.b1.lin.weight.T + model.b1.lin.bias)
            torch.testing.assert_close(out, second @ model.out.weight.T + model.out.bias)
            expected = (dropped.abs().sum() + second.abs().sum()) / 2
            np.testing.assert_allclose(run.loss().item(), expected.item(), rtol=1e-12)
            seen.append(dropped == 0)
    assert not torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[1], seen[2])


def test_from_the_second_step_on_the_penalties_are_computed_in_the_graph_of_the_model(model):
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph.code)
        return graph.forward

    compiled = torch.compile(model, backend=backend, fullgraph=True)
    with regkit_torch.watch(compiled, regularizers()) as run:
        for step in range(1, 5):
            compiled(step * X)
            loss, params = run.loss(), params_of(model)
            expected = by_hand(params, step * X)
            assert_same(loss, expected, [params["b0.lin.weight"], params["b1.lin.weight"]])
    assert ["abs" in graph for graph in graphs] == [False, True]


def test_terms_of_a_compiled_model_have_values_after_the_loss_and_gradients_before_it(model):
    compiled = whole(model)
    with regkit_torch.watch(compiled, regularizers()) as run:
        for step in range(1, 4):
            compiled(step * X)
            before, loss, after = run.terms(), run.loss(), run.terms()
            params = params_of(model)
            a, b = activations(params, step * X)
            expected = 0.5 * (a.abs().sum() + b.abs().sum()) / 2
            for terms in (before, after):
                np.testing.assert_allclose(terms[0].weighted.item(), expected.item(), rtol=1e-12)
                np.testing.assert_allclose(sum(term.weighted.item() for term in terms), loss.item(), rtol=1e-12)
            (found,) = torch.autograd.grad(before[0].weighted, [params["b0.lin.weight"]])
            (wanted,) = torch.autograd.grad(expected, [params["b0.lin.weight"]])
            torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)
            assert not after[0].weighted.requires_grad


def test_a_compiled_loss_is_of_the_weights_that_are_trained_at_the_time(model):
    compiled = whole(model)
    with regkit_torch.watch(compiled, regkit.build(hidden_l1=0.5, weight_l2=1.0)) as run:
        for frozen in ([], ["b0"], ["b0", "b1"], [], ["b0"]):
            for name, param in model.named_parameters():
                param.requires_grad_(name.partition(".")[0] not in frozen)
            for _ in range(2):
                compiled(X)
                run.loss()
                trained = [w for w in model.parameters() if w.ndim == 2 and w.requires_grad]
                expected = sum((w**2).sum().item() for w in trained) / len(trained)
                np.testing.assert_allclose(run.terms()[1].penalty.item(), expected, rtol=1e-12)


def test_new_lengths_and_validation_have_the_values_by_hand_in_compiled_code(model):
    compiled = whole(model)
    with regkit_torch.watch(compiled, regularizers()) as run:
        for rows in (8, 8, 5, 3, 7):
            compiled(X[:rows])
            np.testing.assert_allclose(run.loss().item(), by_hand(params_of(model), X[:rows]).item(), rtol=1e-12)
            model.eval()
            with torch.no_grad():
                compiled(2 * X[:rows])
                expected = by_hand(params_of(model), 2 * X[:rows]).item()
                np.testing.assert_allclose(run.loss().item(), expected, rtol=1e-12)
            model.train()


def test_live_weights_and_taps_have_the_values_by_hand_beside_compiled_code(model):
    compiled, strength = whole(model), regkit.Live(1.0)
    regs = regkit.build(hidden_l1=dict(weight=strength, pattern=["*.act", "tap"]))
    with regkit_torch.watch(compiled, regs) as run:
        for step in range(1, 6):
            strength.set(float(step))
            out = compiled(X)
            run.tap("tap", out)
            params = params_of(model)
            a, b = activations(params, X)
            expected = step * sum(z.abs().sum() for z in (a, b, out)) / 3
            np.testing.assert_allclose(run.loss().item(), expected.item(), rtol=1e-12)


def test_an_activation_that_the_model_returns_is_no_hidden_one_in_compiled_code_either():
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2), nn.ReLU()).double()
    compiled = whole(model)
    with regkit_torch.watch(compiled, regkit.build(hidden_l1=1.0)) as run:
        for _ in range(3):
            compiled(X)
            np.testing.assert_allclose(run.loss().item(), torch.tanh(model[0](X)).abs().sum().item(), rtol=1e-12)
            run.discard()


def test_an_output_that_compiled_code_changes_in_place_is_an_error():
    torch._dynamo.reset()
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(inplace=True), nn.Linear(3, 2)).double()
    compiled = whole(model)
    with regkit_torch.watch(compiled, regkit.build(hidden_l1=dict(weight=1, pattern="0"))) as run:
        for _ in range(2):
            compiled(X)
            with pytest.raises(regkit.GraphError, match="output '0' was changed in place after regularizers saw it"):
                run.loss()


def test_twelve_compiled_blocks_are_two_graphs_and_blocks_of_ten_classes_ten(model):
    blocks = nn.Sequential(*(Block(4, 4) for _ in range(12))).double()
    for one in blocks:
        one.compile(fullgraph=True, backend="aot_eager")
    with regkit_torch.watch(blocks, regkit.build(hidden_l1=dict(weight=1, pattern="*.act"))) as run:
        for _ in range(2):
            blocks(X)
            z, expected = X, 0.0
            for one in blocks:
                z = torch.tanh(z @ one.lin.weight.T + one.lin.bias)
                expected += z.abs().sum().item() / 12
            np.testing.assert_allclose(run.loss().item(), expected, rtol=1e-12)
    assert counters["stats"]["unique_graphs"] <= 2
    torch._dynamo.reset()
    counters.clear()
    others = nn.Sequential(*(type(f"Block{i}", (Block,), {})(4, 4) for i in range(10))).double()
    for one in others:
        one.compile(fullgraph=True, backend="aot_eager")
    with regkit_torch.watch(others, regkit.build(hidden_l1=dict(weight=1, pattern="*.act"))) as run:
        others(X)
        run.loss()
    assert counters["stats"]["unique_graphs"] == 10


# A step that is compiled as a whole


def steps_as_a_whole(model, run, **options):
    def step(x):
        return model(x).sum() + run.loss()

    return torch.compile(step, backend="aot_eager", **options)


def check_step(model, loss, x):
    params = params_of(model)
    _, b = activations(params, x)
    expected = (b @ params["out.weight"].T + params["out.bias"]).sum() + by_hand(params, x)
    assert_same(loss, expected, list(params.values()))


def test_a_compiled_step_with_the_loss_in_it_has_one_break_in_its_first_call_and_none_later(model):
    with regkit_torch.watch(model, regularizers()) as run:
        step = steps_as_a_whole(model, run)
        check_step(model, step(X), X)
        assert sum(counters["graph_break"].values()) == 1
        counters.clear()
        for factor in (2, 3, 4):
            check_step(model, step(factor * X), factor * X)
            terms = run.terms()
            expected = sum((w**2).sum().item() for w in model.parameters() if w.ndim == 2) / 3
            np.testing.assert_allclose(terms[1].penalty.item(), expected, rtol=1e-12)
    assert sum(counters["graph_break"].values()) == 0
    assert counters["stats"]["unique_graphs"] == 1


def test_a_step_that_ran_before_it_is_compiled_is_one_full_graph(model):
    with regkit_torch.watch(model, regularizers()) as run:
        model(X)
        run.loss()
        step = steps_as_a_whole(model, run, fullgraph=True)
        for factor in (1, 2, 3):
            check_step(model, step(factor * X), factor * X)
        assert not run._network.left
    assert counters["stats"]["unique_graphs"] == 1


def test_a_compiled_step_has_the_gradients_by_hand_where_the_backward_is_in_it(model):
    with regkit_torch.watch(model, regularizers()) as run:

        @torch.compile(backend="aot_eager")
        def step(x):
            loss = model(x).sum() + run.loss()
            loss.backward()
            return loss

        for factor in (1, 2, 3):
            model.zero_grad()
            step(factor * X)
            found = {name: param.grad.clone() for name, param in model.named_parameters()}
            run.discard()
            model.zero_grad()
            (model(factor * X).sum() + by_hand(params_of(model), factor * X)).backward()
            run.discard()
            for name, param in model.named_parameters():
                torch.testing.assert_close(found[name], param.grad, rtol=1e-10, atol=1e-12)


def test_a_compiled_step_of_two_forwards_is_an_error(model):
    with regkit_torch.watch(model, regularizers()) as run:
        model(X)
        run.loss()

        @torch.compile(backend="aot_eager")
        def step(x):
            return model(x).sum() + model(2 * x).sum() + run.loss()

        with pytest.raises(regkit.GraphError, match="there were 2 forwards of Net since the last loss"):
            step(X)


def test_a_compiled_step_that_changes_an_output_in_place_is_an_error_at_the_end_of_the_watch():
    torch._dynamo.reset()
    model = nn.Sequential(nn.Linear(4, 3), nn.Identity(), nn.Linear(3, 2)).double()
    regs = regkit.build(hidden_l1=dict(weight=1, pattern="0"))
    watched = regkit_torch.watch(model, regs)
    run = watched.__enter__()
    model(X)
    run.loss()
    model[1].forward = torch.relu_
    steps_as_a_whole(model, run)(X)
    with pytest.raises(regkit.GraphError, match="output '0' was changed in place after regularizers saw it"):
        watched.__exit__(None, None, None)


def test_a_compiled_step_after_a_forward_without_a_loss_is_an_error_also_when_it_was_compiled_before(model):
    with regkit_torch.watch(model, regularizers()) as run:
        model(X)
        run.loss()
        step, compiled = steps_as_a_whole(model, run), whole(model)
        check_step(model, step(X), X)
        compiled(X)
        run.loss()
        check_step(model, step(X), X)
        compiled(X)
        with pytest.raises(regkit.GraphError, match="there were 2 forwards of Net since the last loss"):
            step(X)
        check_step(model, step(2 * X), 2 * X)


def test_a_compiled_step_with_a_live_weight_has_its_value_at_each_step(model):
    strength = regkit.Live(1.0)
    with regkit_torch.watch(model, regkit.build(hidden_l1=dict(weight=strength, pattern="b1.act"))) as run:
        step = steps_as_a_whole(model, run)
        for factor in (1, 2, 3, 4):
            strength.set(float(factor))
            loss = step(X)
            params = params_of(model)
            _, b = activations(params, X)
            expected = (b @ params["out.weight"].T + params["out.bias"]).sum() + factor * b.abs().sum()
            np.testing.assert_allclose(loss.item(), expected.item(), rtol=1e-12)


def test_a_compiled_step_under_autocast_has_a_penalty_in_float32(model):
    model.float()
    x = X.float()
    with regkit_torch.watch(model, regkit.build(hidden_l1=dict(weight=1, pattern="b1.act"))) as run:
        step = torch.compile(lambda: (model(x), run.loss()), backend="aot_eager")
        for _ in range(3):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                _, loss = step()
                b = model.b1(model.b0(x))
            run.discard()
            assert loss.dtype is torch.float32
            torch.testing.assert_close(loss, b.float().abs().sum())


def test_the_weights_of_a_compiled_step_are_those_that_parametrizations_compute(model):
    torch.nn.utils.parametrizations.weight_norm(model.b0.lin)
    with regkit_torch.watch(model, regkit.build(weight_l2=1.0)) as run:
        step = steps_as_a_whole(model, run)
        for _ in range(3):
            loss = step(X) - model(X).sum()
            run.discard()
            weights = [model.b0.lin.weight, model.b1.lin.weight, model.out.weight]
            np.testing.assert_allclose(loss.item(), sum((w**2).sum().item() for w in weights) / 3, rtol=1e-9)
            with torch.no_grad():
                model.b0.lin.parametrizations.weight.original0.mul_(1.5)


@pytest.mark.parametrize(
    ("pattern", "tapped", "breaks"), [("b1.act", False, 0), (["b1.act", "tap"], True, 2)], ids=["modules", "tap"]
)
def test_a_compiled_step_breaks_once_for_a_tap_and_once_for_the_loss_beside_it(model, pattern, tapped, breaks):
    with regkit_torch.watch(model, regkit.build(hidden_l1=dict(weight=1, pattern=pattern))) as run:

        def loss_of(x):
            out = model(x)
            if tapped:
                out = run.tap("tap", out)
            return out.sum() + run.loss()

        loss_of(X)
        step = torch.compile(loss_of, backend="aot_eager")
        for factor in (1, 2, 3):
            loss = step(factor * X)
            params = params_of(model)
            _, b = activations(params, factor * X)
            out = b @ params["out.weight"].T + params["out.bias"]
            penalty = (b.abs().sum() + out.abs().sum()) / 2 if tapped else b.abs().sum()
            expected = out.sum() + penalty
            assert_same(loss, expected, list(params.values()))
    assert counters["stats"]["unique_graphs"] == breaks + 1


def test_a_compiled_step_takes_the_parameters_that_functional_call_swaps_in(model):
    with regkit_torch.watch(model, regularizers()) as run:
        model(X)
        run.loss()

        @torch.compile(backend="aot_eager", fullgraph=True)
        def step(params, x):
            return torch.func.functional_call(model, params, (x,)).sum() + run.loss()

        for factor in (2, 3):
            params = {name: (factor * p).detach().requires_grad_() for name, p in model.named_parameters()}
            _, b = activations(params, X)
            expected = (b @ params["out.weight"].T + params["out.bias"]).sum() + by_hand(params, X)
            loss = step(params, X)
            assert_same(loss, expected, list(params.values()))


def test_two_views_through_a_compiled_model_are_one_loss_where_the_watch_is_of_all(model):
    compiled = whole(model)
    with regkit_torch.watch(compiled, regkit.build(hidden_l1=1.0), forwards="all") as run:
        for factor in (1, 2, 3):
            compiled(factor * X)
            compiled(-2 * factor * X)
            loss = run.loss()
            expected = 0.0
            for x in (factor * X, -2 * factor * X):
                a = torch.tanh(x @ model.b0.lin.weight.T + model.b0.lin.bias)
                b = torch.tanh(a @ model.b1.lin.weight.T + model.b1.lin.bias)
                expected = expected + (a.abs().sum() + b.abs().sum()) / 4
            np.testing.assert_allclose(loss.item(), expected.item(), rtol=1e-12)


# Forwards that are used up


def test_an_attack_before_each_step_of_a_compiled_model_is_used_up_also_in_the_first(model):
    compiled = whole(model)
    with regkit_torch.watch(model, regularizers()) as run:
        for _ in range(3):
            noisy = X.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(compiled(noisy).square().sum(), noisy)
            moved = X + gradient.sign()
            compiled(moved)
            loss = run.loss()
            np.testing.assert_allclose(loss.item(), by_hand(params_of(model), moved).item(), rtol=1e-12)
            loss.backward()


@pytest.mark.parametrize("backend", ["aot_eager", "eager"])
def test_a_loss_after_the_backward_of_a_compiled_model_is_an_error_in_each_step(model, backend):
    compiled = torch.compile(model, backend=backend)
    with regkit_torch.watch(model, regularizers()) as run:
        for _ in range(3):
            compiled(X).sum().backward()
            with pytest.raises(regkit.GraphError, match="a backward has passed through the outputs"):
                run.loss()


def test_a_compiled_model_remains_for_the_loss_after_a_backward_that_keeps_the_graph(model):
    compiled = whole(model)
    with regkit_torch.watch(model, regularizers()) as run:
        for _ in range(3):
            compiled(X).sum().backward(retain_graph=True)
            np.testing.assert_allclose(run.loss().item(), by_hand(params_of(model), X).item(), rtol=1e-12)


def test_a_discriminators_step_within_a_generators_is_used_up_where_both_are_compiled():
    torch._dynamo.reset()
    torch.manual_seed(0)
    nets = nn.ModuleDict({"g": Block(4, 4), "d": Net()}).double()
    g, d = whole(nets["g"]), whole(nets["d"])
    with regkit_torch.watch(nets, regkit.build(hidden_l1=dict(weight=0.5, pattern="d.b0.act"))) as run:
        for _ in range(3):
            fake = g(X)
            (d(X).mean() - d(fake.detach()).mean()).backward()
            d(fake)
            loss = run.loss()
            by_hand = 0.5 * nets["d"].b0.forward(fake).abs().sum().item()
            run.discard()
            np.testing.assert_allclose(loss.item(), by_hand, rtol=1e-12)
            loss.backward()


@pytest.mark.parametrize("forwards", ["one", "all", "last"])
@pytest.mark.parametrize("compile_", [whole, block], ids=["whole", "block"])
def test_outputs_of_a_compiled_model_without_losses_are_not_kept_for_good(model, compile_, forwards):
    compiled = compile_(model)
    with regkit_torch.watch(model, regularizers(), forwards=forwards) as run:
        for _ in range(20):
            compiled(X).sum().backward()
        gc.collect()
        before = sum(isinstance(one, torch.Tensor) for one in gc.get_objects())
        for _ in range(20):
            compiled(X).sum().backward()
        gc.collect()
        assert sum(isinstance(one, torch.Tensor) for one in gc.get_objects()) <= before + 4
        run.discard()
