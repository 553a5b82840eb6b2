"""Models that are watched: what is kept of them, what is changed, what is added to the loss."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import regkit_torch
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

import regkit


class Net(nn.Module):
    """Two hidden layers, of which the second is within a block."""

    def __init__(self) -> None:
        super().__init__()
        self.hid1 = nn.Linear(4, 6)
        self.act = nn.Tanh()
        self.block = nn.Sequential(nn.Linear(6, 5), nn.Tanh())
        self.out = nn.Linear(5, 2)

    def forward(self, x):
        return self.out(self.block(self.act(self.hid1(x))))


@pytest.fixture
def model():
    torch.manual_seed(3)
    return Net().double()


X = torch.tensor(np.random.default_rng(1).normal(size=(8, 4)))


def numpys(model, x=X):
    """The outputs, written down with NumPy."""
    values = {name: param.detach().numpy() for name, param in model.named_parameters()}
    hid1 = x.numpy() @ values["hid1.weight"].T + values["hid1.bias"]
    act = np.tanh(hid1)
    block = np.tanh(act @ values["block.0.weight"].T + values["block.0.bias"])
    return {"hid1": hid1, "act": act, "block.1": block, "out": block @ values["out.weight"].T + values["out.bias"]}


def test_the_loss_is_numpys_of_the_outputs_that_patterns_match(model):
    regs = regkit.build(
        hidden_l1=dict(weight=0.3, pattern=["act", "block.*1"]), hidden_l2=dict(weight=2, pattern="hid1")
    )
    with regkit_torch.watch(model, regs) as run:
        model(X)
        loss = run.loss()
    outputs = numpys(model)
    expected = 0.3 * (abs(outputs["act"]).sum() + abs(outputs["block.1"]).sum()) / 2 + 2 * (outputs["hid1"] ** 2).sum()
    np.testing.assert_allclose(loss.item(), expected, rtol=1e-12)


def test_gradients_are_those_of_the_penalty_by_hand(model):
    with regkit_torch.watch(model, regkit.build(hidden_l1=dict(weight=0.3, pattern="act"), weight_l2=0.1)) as run:
        (model(X).sum() + run.loss()).backward()
    found = {name: param.grad.clone() for name, param in model.named_parameters()}
    model.zero_grad()
    act = torch.tanh(model.hid1(X))
    matrices = [param for param in model.parameters() if param.ndim == 2]
    by_hand = 0.3 * act.abs().sum() + 0.1 * sum((w**2).sum() for w in matrices) / len(matrices)
    (model(X).sum() + by_hand).backward()
    for name, param in model.named_parameters():
        torch.testing.assert_close(found[name], param.grad, rtol=1e-12, atol=1e-14)


def test_hooks_are_gone_after_the_watch_and_after_an_exception(model):
    def hooks():
        return [module for module in model.modules() if module._forward_hooks or "forward" in module.__dict__]

    regs = regkit.build(hidden_l1=dict(weight=0.3, pattern="act"))
    with regkit_torch.watch(model, regs):
        assert hooks() == [model, model.act]
    assert hooks() == []
    with pytest.raises(ZeroDivisionError), regkit_torch.watch(model, regs):
        raise ZeroDivisionError
    assert hooks() == []
    with regkit_torch.watch(model, regs) as run:  # it can be watched again
        model(X)
        assert run.loss() > 0


def test_dropout_changes_what_follows_in_training_and_nothing_in_eval_mode(model):
    regs = regkit.build(
        dropout=dict(weight=0.5, pattern="act"),
        hidden_l1=dict(weight=1, pattern="act"),
        hidden_l2=dict(weight=0, pattern="act*"),
    )
    clean = numpys(model)
    with regkit_torch.watch(model, regs) as run:
        changed = model(X)
        kept = run.outputs
        assert not torch.allclose(changed, torch.tensor(clean["out"]))
        np.testing.assert_allclose(kept["act-predrop"].detach(), clean["act"], rtol=1e-12)
        dropped = kept["act"].detach().numpy()
        assert set(np.unique(np.isclose(dropped, 0) | np.isclose(dropped, 2 * clean["act"]))) == {True}
        np.testing.assert_allclose(run.loss().item(), abs(dropped).sum(), rtol=1e-12)
        model.eval()
        np.testing.assert_allclose(model(X).detach(), clean["out"], rtol=1e-12)
        np.testing.assert_allclose(run.loss().item(), abs(clean["act"]).sum(), rtol=1e-12)


def test_a_live_weight_changes_the_next_loss(model):
    weight = regkit.Live(0.5)
    with regkit_torch.watch(model, regkit.build(hidden_l1=dict(weight=weight, pattern="act"))) as run:
        for value in (0.5, 0.25, 2.0):
            weight.set(value)
            model(X)
            np.testing.assert_allclose(run.loss().item(), value * abs(numpys(model)["act"]).sum(), rtol=1e-12)


def test_terms_are_those_of_the_last_loss_until_something_comes(model):
    with regkit_torch.watch(model, regkit.build(hidden_l1=dict(weight=0.5, pattern="act"), weight_l2=0.1)) as run:
        model(X)
        before = run.terms()
        loss = run.loss()
        after = run.terms()
    assert [term.name for term in before] == [term.name for term in after] == ["hidden_l1", "weight_l2"]
    torch.testing.assert_close(sum(term.weighted for term in before), loss)
    torch.testing.assert_close([term.penalty for term in after], [term.penalty for term in before])


def test_a_set_is_logged_once_for_a_model_and_not_at_each_watch(model, caplog):
    regs = regkit.build(hidden_l1=dict(weight=0.5, pattern="act"))
    with caplog.at_level("INFO", "regkit"):
        for _ in range(3):
            with regkit_torch.watch(model, regs):
                pass
        assert len(caplog.records) == 1
        with regkit_torch.watch(Net().double(), regs):
            pass
    assert len(caplog.records) == 2


# Bad input


TABLE = """There is:
  0    Linear
  1    Sequential
  1.0  Linear
  1.1  Softmax"""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"hidden_l1": 0.1},
            "hidden_l1: HiddenL1 needs a pattern. The model has no modules of torch.nn.modules.activation or recurrent "
            "ones, whose outputs are the default. Name some: hidden_l1=dict(weight=..., pattern='0'). ",
        ),
        (
            {"noise": 0.1},
            "noise: GaussianNoise needs a pattern. Which modules are all layers, input and output too is not known of "
            "a model. Name some: noise=dict(weight=..., pattern='0'). ",
        ),
    ],
)
def test_a_regularizer_of_outputs_without_a_pattern_is_refused_with_a_table_where_no_default_is_known(options, words):
    model = nn.Sequential(nn.Linear(4, 3), nn.Sequential(nn.Linear(3, 3), nn.Softmax(-1)))
    with pytest.raises(regkit.OptionError) as caught, regkit_torch.watch(model, regkit.build(**options)):
        pass
    assert str(caught.value) == (f"{words}regkit_torch.names(model, *inputs) shows outputs and parameters. {TABLE}")


@dataclasses.dataclass
class Output:
    """What models and their parts return in transformers: a dataclass, or tuples."""

    last_hidden_state: torch.Tensor


class Feed(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.norm = nn.Linear(6, 6), nn.LayerNorm(6)

    def forward(self, z):
        return torch.tanh(self.norm(self.fc(z)))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn = nn.MultiheadAttention(6, 1)
        self.mlp = Feed()

    def forward(self, z):
        return (self.mlp(z + self.attn(z, z, z)[0]),)


class Trunk(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte = nn.Embedding(10, 6)
        self.h = nn.ModuleList([Block(), Block()])

    def forward(self, tokens):
        z = self.wte(tokens)
        for block in self.h:
            (z,) = block(z)
        return Output(z)


class Language(nn.Module):
    def __init__(self):
        super().__init__()
        self.transformer = Trunk()
        self.head = nn.Linear(6, 10)

    def forward(self, tokens):
        return self.head(self.transformer(tokens).last_hidden_state)


def recurrent():
    return nn.Sequential(*[nn.ModuleDict({"lstm": nn.LSTM(3, 3)}) for _ in range(2)])


@pytest.mark.parametrize(
    ("make", "alias", "pattern"),
    [
        (Language, "hidden_l1", "transformer.h.*.mlp.fc"),
        (lambda: weight_norm(nn.Linear(4, 3)), "hidden_l1", "hid*"),
        (lambda: nn.Sequential(nn.Flatten(), weight_norm(nn.Linear(4, 3))), "hidden_l1", "1"),
        (lambda: nn.Sequential(nn.LazyLinear(3)), "hidden_l1", "0"),
        (recurrent, "noise", "*.lstm:0"),
    ],
    ids=["of a dataclass", "a single module", "of a weight that is computed", "lazy", "of a tuple"],
)
def test_the_pattern_that_the_error_proposes_is_one_of_tensors(make, alias, pattern):
    with pytest.raises(regkit.OptionError) as caught, regkit_torch.watch(make(), regkit.build(**{alias: 0.1})):
        pass
    assert f"Name some: {alias}=dict(weight=..., pattern={pattern!r}). " in str(caught.value)


def test_the_pattern_that_the_error_proposes_for_a_model_that_returns_dataclasses_has_a_loss():
    torch.manual_seed(3)
    model, seen = Language().double(), []
    for block in model.transformer.h:
        block.mlp.fc.register_forward_hook(lambda _, __, output: seen.append(output))
    regs = regkit.build(hidden_l1=dict(weight=0.1, pattern="transformer.h.*.mlp.fc"))
    with regkit_torch.watch(model, regs) as run:
        model(torch.arange(5)[:, None])
        expected = 0.1 * (seen[0].abs().sum() + seen[1].abs().sum()) / 2
        torch.testing.assert_close(run.loss(), expected)


def test_a_run_without_layers_needs_patterns():
    with pytest.raises(regkit.OptionError, match="needs a pattern. Give one for names that are tapped, or give layers"):
        regkit_torch.Run(regkit.build(hidden_l1=0.1))


MISSPELLED = (
    "pattern 'hid2' matches none of the modules: hid1, act, block, block.0, block.1, out; and none of the names of "
    "run.tap(name, value): "
)


@pytest.mark.parametrize("time", ["first", "second"])  # the second opens with what is known of the model
def test_a_pattern_that_matches_no_module_and_no_tap_names_those_there_are_at_the_first_loss(model, time):
    regs = regkit.build(hidden_l1=dict(weight=0.1, pattern="hid2"), hidden_l2=dict(weight=0.1, pattern="relu"))
    if time == "second":
        with pytest.raises(regkit.NoMatchError), regkit_torch.watch(model, regs):
            pass
    with regkit_torch.watch(model, regs) as run:
        run.tap("relu", torch.relu(model(X)))
        for ask in (run.loss, run.terms):
            with pytest.raises(regkit.NoMatchError) as caught:
                ask()
            assert str(caught.value) == f"hidden_l1: {MISSPELLED}relu"
        run.tap("hid2", model(X))


def test_a_pattern_that_matched_nothing_is_an_error_at_the_end_where_no_loss_was_asked_for(model):
    regs = regkit.build(noise=dict(weight=0.1, pattern="hid2"))
    with pytest.raises(regkit.NoMatchError) as caught, regkit_torch.watch(model, regs):
        model(X)
    assert str(caught.value) == f"noise: {MISSPELLED}none"
    with pytest.raises(ZeroDivisionError), regkit_torch.watch(model, regs):  # but not in the place of another error
        raise ZeroDivisionError


def test_one_glob_of_several_that_matches_nothing_is_an_error(model):
    regs = regkit.build(hidden_l1=dict(weight=0.1, pattern=["act", "hid2"]))
    with regkit_torch.watch(model, regs) as run:
        model(X)
        with pytest.raises(regkit.NoMatchError) as caught:
            run.loss()
        run.tap("hid2", X)
    assert str(caught.value) == f"hidden_l1: {MISSPELLED}none"


def test_a_pattern_of_parameters_that_matches_none_is_refused_when_the_watch_opens(model):
    with (
        pytest.raises(regkit.NoMatchError, match=r"weight_l2: pattern 'hid1' matches none of the parameters: hid1.we"),
        regkit_torch.watch(model, regkit.build(weight_l2=dict(weight=0.1, pattern="hid1"))),
    ):
        raise AssertionError("the watch opened")  # no tap could be a parameter


def test_a_glob_of_several_that_was_to_change_outputs_and_matched_no_tap_is_an_error():
    run = regkit_torch.Run(regkit.build(dropout=dict(weight=0.5, pattern=["a", "b"])))
    run.tap("a", X)
    with pytest.raises(regkit.NoMatchError) as caught:
        run.loss()
    assert str(caught.value) == "dropout: pattern 'b' matches none of the names of run.tap(name, value): a"
    run.tap("a", X)
    run.tap("b", X)
    assert run.loss() == 0


# Globs that take out


class Lookup(nn.Module):
    """A module whose output is integers."""

    def forward(self, x):
        return torch.arange(len(x))


class Several(nn.Module):
    """Modules with integers and with several outputs, which a pattern for all has to leave out."""

    def __init__(self):
        super().__init__()
        self.ids, self.act, self.lstm = Lookup(), nn.Tanh(), nn.LSTM(4, 3)

    def forward(self, x):
        self.ids(x)
        return self.lstm(self.act(x)[:, None])


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        (["*", "!ids", "!lstm*"], ["act"]),
        (["*", "!ids", "!lstm:1*"], ["act", "lstm:0"]),
        (["*", "!ids", "!lstm:*", "lstm:1:1"], ["act", "lstm:1:1"]),
    ],
)
def test_globs_that_begin_with_an_exclamation_mark_take_outputs_out(pattern, left):
    torch.manual_seed(3)
    model = Several().double()
    with regkit_torch.watch(model, regkit.build(hidden_l1=dict(weight=1, pattern=pattern))) as run:
        every, (_, cell) = model(X)
        assert list(run.outputs) == left
        loss = run.loss()
    outputs = {"act": torch.tanh(X), "lstm:0": every, "lstm:1:1": cell}
    expected = sum(outputs[name].abs().sum().item() for name in left) / len(left)
    np.testing.assert_allclose(loss.item(), expected, rtol=1e-12)


def test_a_glob_that_takes_nothing_out_is_an_error():
    model = Several().double()
    regs = regkit.build(hidden_l1=dict(weight=1, pattern=["act", "!ids"]))
    with (
        pytest.raises(regkit.NoMatchError, match="pattern '!ids' takes out none of the modules: ids, act, lstm; and"),
        regkit_torch.watch(model, regs) as run,
    ):
        run.loss()
    run = regkit_torch.Run(regkit.build(hidden_l1=dict(weight=1, pattern=["*", "!b"])))
    run.tap("a", X)
    with pytest.raises(regkit.NoMatchError, match="hidden_l1: pattern '!b' takes out none of the outputs: a"):
        run.loss()
    run.tap("a", X)
    run.tap("b", X)
    np.testing.assert_allclose(run.loss().item(), X.abs().sum().item(), rtol=1e-12)


def test_a_pattern_takes_out_a_name_that_is_skipped():
    run = regkit_torch.Run(regkit.build(hidden_l1=dict(weight=1, pattern=["*", "!tokens"])))
    run.skip("tokens")
    run.tap("act", X)
    np.testing.assert_allclose(run.loss().item(), X.abs().sum().item(), rtol=1e-12)


# Taps beside a model


def test_a_pattern_may_match_what_is_tapped_alone(model):
    regs = regkit.build(hidden_l1=dict(weight=0.1, pattern="relu*"), hidden_l2=dict(weight=2, pattern="act"))
    found = []
    for _ in range(3):
        with regkit_torch.watch(model, regs) as run:
            run.tap("relu1", torch.relu(model(X)))
            found.append(run.loss().item())
    outputs = numpys(model)
    expected = 0.1 * np.maximum(outputs["out"], 0).sum() + 2 * (outputs["act"] ** 2).sum()
    np.testing.assert_allclose(found, 3 * [expected], rtol=1e-12)


def test_noise_of_a_name_that_is_tapped_alone_is_added_in_training_mode(model):
    regs = regkit.build(noise=dict(weight=0.5, pattern="relu"))
    with regkit_torch.watch(model, regs) as run:
        out = model(X)
        assert not torch.allclose(run.tap("relu", out), out)
        model.eval()
        assert run.tap("relu", out) is out


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_a_change_that_holds_in_predictions_is_made_in_eval_mode_too(compiled):
    regs = regkit.build(hidden_topk=dict(k=1, pattern="0"), dropout=dict(weight=0.5, pattern="0"))
    model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Linear(5, 2)).eval()
    x = torch.randn(4, 3)
    hidden = model[0](x)
    expected = model[1](torch.where(hidden == hidden.max(-1, keepdim=True).values, hidden, torch.zeros(())))
    call = torch.compile(model, backend="eager") if compiled else model
    with torch.no_grad(), regkit_torch.watch(model, regs) as run:
        torch.testing.assert_close(call(x), expected)
        assert run.loss() == 0
    run = regkit_torch.Run(regs, train=False)
    torch.testing.assert_close((run.tap("0", hidden) != 0).sum(-1), torch.ones(4, dtype=torch.int64))


def test_a_change_that_holds_in_predictions_and_matches_nothing_raises_in_eval_mode():
    run = regkit_torch.Run(regkit.build(hidden_topk=dict(k=1, pattern="y")), train=False)
    run.tap("x", torch.ones(2, 3))
    with pytest.raises(regkit.NoMatchError, match="hidden_topk"):
        run.loss()
