"""Models that torch.compile compiles, watched before their first call: seen, with the right loss and gradients."""

from __future__ import annotations

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


def by_hand(params, x):
    a = torch.tanh(x @ params["b0.lin.weight"].T + params["b0.lin.bias"])
    b = torch.tanh(a @ params["b1.lin.weight"].T + params["b1.lin.bias"])
    weights = [w for w in params.values() if w.ndim == 2]
    return 0.5 * (a.abs().sum() + b.abs().sum()) / 2 + 0.1 * sum((w**2).sum() for w in weights) / 3


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
            np.testing.assert_allclose(loss.item(), expected.item(), rtol=1e-12)
            weights = [params["b0.lin.weight"], params["b1.lin.weight"]]
            for one, other in zip(torch.autograd.grad(loss, weights), torch.autograd.grad(expected, weights)):
                torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
    assert sum(counters["graph_break"].values()) == 0


@pytest.mark.parametrize("compiled", [whole, in_place, block, block_in_place])
def test_later_watches_are_seen_too_also_for_other_outputs(model, compiled):
    compiled = compiled(model)
    for pattern in ("b1.act", "b?.act", "b1.act"):
        with regkit_torch.watch(compiled, regkit.build(hidden_l1=dict(weight=1, pattern=pattern))) as run:
            compiled(X)
            params = params_of(model)
            a = torch.tanh(X @ params["b0.lin.weight"].T + params["b0.lin.bias"])
            b = torch.tanh(a @ params["b1.lin.weight"].T + params["b1.lin.bias"])
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
        assert run._network.events == []


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


def test_a_compiled_step_with_the_loss_in_it_has_one_break_and_the_value_and_the_gradient_by_hand(model):
    with regkit_torch.watch(model, regularizers()) as run:

        def step(x):
            return model(x).sum() + run.loss()

        compiled = torch.compile(step, backend="aot_eager")
        for factor in (1, 2, 3):
            loss = compiled(factor * X)
            run.discard()
            params = params_of(model)
            expected = model(factor * X).sum() + by_hand(params, factor * X)
            run.discard()
            np.testing.assert_allclose(loss.item(), expected.item(), rtol=1e-12)
            found = torch.autograd.grad(loss, list(params.values()))
            for one, other in zip(found, torch.autograd.grad(expected, list(params.values()))):
                torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
    assert sum(counters["graph_break"].values()) == 1


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
