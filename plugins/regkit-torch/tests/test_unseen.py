"""What hooks cannot see is an error, errors name what would match, and hidden outputs have a default."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import regkit_torch
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import regkit

X = torch.tensor(np.random.default_rng(1).normal(size=(8, 4)))


class Blocks(nn.Module):
    """Two blocks, called in one way or another."""

    def __init__(self, way=lambda module, x: module(x)):
        super().__init__()
        self.b0 = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
        self.b1 = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
        self.out = nn.Linear(4, 2)
        self.way = way

    def forward(self, x):
        return self.out(self.way(self.b1, self.b0(x)))


def blocks(*args):
    torch.manual_seed(3)
    return Blocks(*args).double()


def without_gradients(module, x):
    with torch.no_grad():
        z = module(x)
    return z + x


@pytest.mark.parametrize(
    ("way", "words"),
    [
        (
            lambda module, x: checkpoint(module, x, use_reentrant=True),
            "ran within checkpoint(..., use_reentrant=True) beside modules with gradients, so a penalty of it would "
            "have none. Write use_reentrant=False there, or give a pattern that does not match it, such as "
            "pattern=['*.1', '!b1.*']",
        ),
        (
            without_gradients,
            "ran under torch.no_grad() beside modules with gradients, so a penalty of it would have none. Give a "
            "pattern that does not match it, such as pattern=['*.1', '!b1.*']",
        ),
    ],
    ids=["reentrant", "no_grad"],
)
def test_one_block_of_two_that_ran_without_gradients_is_an_error_that_names_it(way, words):
    model = blocks(way)
    with regkit_torch.watch(model, regkit.build(hidden_l1=dict(weight=1, pattern="b?.1"))) as run:
        model(X)
        with pytest.raises(regkit.GraphError) as caught:
            run.loss()
    assert str(caught.value) == f"module 'b1.1' {words}"
    with regkit_torch.watch(model, regkit.build(hidden_l1=dict(weight=1, pattern=["*.1", "!b1.*"]))) as run:
        model(X)
        np.testing.assert_allclose(run.loss().item(), torch.tanh(model.b0[0](X)).abs().sum().item(), rtol=1e-12)


@pytest.mark.parametrize("way", [lambda part, x: checkpoint(part, x, use_reentrant=True), without_gradients])
@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("forwards", ["one", "all", "last"])
def test_a_part_that_is_called_apart_without_gradients_is_an_error_too(way, order, forwards):
    model = blocks()
    calls = [lambda: way(model.b0, X.clone().requires_grad_()), lambda: model.b1(X)][::order]
    regs = regkit.build(hidden_l1=dict(weight=1, pattern="b?.1"))
    with regkit_torch.watch(model, regs, forwards=forwards) as run:
        for _ in range(2):
            for call in calls:
                call()
            with pytest.raises(regkit.GraphError, match="module 'b0.1' ran .* or call run.discard.. after it$"):
                run.loss()
            calls[0]()
            run.discard()
            model.b1(X)
            expected = torch.tanh(model.b1[0](X)).abs().sum().item()
            np.testing.assert_allclose(run.loss().item(), expected, rtol=1e-12)


def test_a_validation_of_parts_whose_loss_nobody_asked_for_is_no_part_of_the_training_loss():
    model = blocks()
    with regkit_torch.watch(model, regkit.build(hidden_l1=dict(weight=1, pattern="b?.1"))) as run:
        for _ in range(2):
            with torch.no_grad():
                model.b1(model.b0(X))
            second = model.b1(model.b0(X))
            first = torch.tanh(model.b0[0](X))
            np.testing.assert_allclose(
                run.loss().item(), (first.abs().sum() + second.abs().sum()).item() / 2, rtol=1e-12
            )


#: torch.compile looks at the gradient of what a block is given.
compiles = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")


def wrapped(module):
    return torch.compile(module, backend="eager")


def in_place(module):
    module.compile(backend="eager")
    return module


@compiles
@pytest.mark.parametrize("compiled", [wrapped, in_place])
def test_a_block_that_was_compiled_and_called_before_is_seen(compiled):
    model = blocks()
    model.b1 = compiled(model.b1)
    model(X)
    with regkit_torch.watch(model, regkit.build(hidden_l1=dict(weight=1, pattern="b?.1"))) as run:
        model(X)
        first, second = run.outputs.values()
        expected = torch.tanh(model.b0[0](X))
        torch.testing.assert_close(first, expected, rtol=0, atol=0)
        last = dict(model.b1.named_modules())
        lin = last.get("_orig_mod.0", last.get("0"))
        torch.testing.assert_close(second, torch.tanh(expected @ lin.weight.T + lin.bias), rtol=1e-12, atol=0)
        np.testing.assert_allclose(run.loss().item(), (first.abs().sum() + second.abs().sum()).item() / 2, rtol=1e-12)


def test_a_module_that_is_called_by_its_forward_is_seen_and_changed_too():
    model = blocks(lambda module, x: module[1].forward(module[0](x)))
    regs = regkit.build(hidden_l1=dict(weight=1, pattern="b?.1"), dropout=dict(weight=0.5, pattern="b1.1"))
    with regkit_torch.watch(model, regs) as run:
        out = model(X)
        first = torch.tanh(model.b0[0](X))
        second, clean = run.outputs["b1.1"], torch.tanh(model.b1[0](first))
        assert (torch.isclose(second, 2 * clean) | (second == 0)).all()
        torch.testing.assert_close(out, model.out(second), rtol=0, atol=0)
        np.testing.assert_allclose(run.loss().item(), (first.abs().sum() + second.abs().sum()).item() / 2, rtol=1e-12)


def test_a_compiled_block_that_shows_nothing_is_an_error_that_names_it():
    model = blocks()

    class Deaf(nn.Module):  # as a compiled module whose code ignores what is new
        def __init__(self, inner):
            super().__init__()
            self._orig_mod = inner

        def forward(self, x):
            return torch.tanh(torch.nn.functional.linear(x, self._orig_mod[0].weight, self._orig_mod[0].bias))

    model.b1 = Deaf(model.b1)
    for regularizer in ("hidden_l1", "dropout"):
        regs = regkit.build(**{regularizer: dict(weight=0.5, pattern="b?.1")})
        with regkit_torch.watch(model, regs) as run:
            model(X)
            with pytest.raises(regkit.GraphError) as caught:
                run.loss()
            run._network._unchanged.clear()
        assert str(caught.value) == (
            "module 'b1.1' ran in code that torch.compile had compiled before the watch opened, which does not show "
            "its outputs. Call torch.compiler.reset() after the watch opened, so that it is compiled again"
        )


def test_a_module_that_was_seen_in_the_same_forward_is_not_missing():
    class Conditioned(nn.Module):
        def __init__(self):
            super().__init__()
            self.b = nn.Sequential(nn.Linear(4, 4), nn.Tanh())

        def forward(self, x):
            with torch.no_grad():
                guess = self.b(x)
            return self.b(x + guess)

    torch.manual_seed(3)
    model = Conditioned().double()
    with regkit_torch.watch(model, regkit.build(hidden_l1=dict(weight=1, pattern="b.1"))) as run:
        out = model(X)
        np.testing.assert_allclose(run.loss().item(), out.abs().sum().item(), rtol=1e-12)


@pytest.mark.parametrize("pattern", ["b?.1", ["b0.1", "b1.1"], None])
def test_modules_that_did_not_run_are_fine(pattern):
    model = blocks(lambda module, x: x)  # an expert without tokens
    with regkit_torch.watch(model, regkit.build(hidden_l1=dict(weight=1, pattern=pattern))) as run:
        model(X)
        np.testing.assert_allclose(run.loss().item(), model.b0(X).abs().sum().item(), rtol=1e-12)


# Names


class Attention(nn.Module):
    def __init__(self, form):
        super().__init__()
        self.form = form

    def forward(self, x):
        return self.form(x)


@dataclasses.dataclass
class Output:
    hidden: torch.Tensor
    logits: torch.Tensor


@pytest.mark.parametrize(
    ("form", "names"),
    [
        (lambda x: (x, 2 * x), ["attn:0", "attn:1"]),
        (lambda x: Output(x, 2 * x), ["attn:hidden", "attn:logits"]),
        (lambda x: {"hidden": x, "logits": 2 * x}, ["attn:hidden", "attn:logits"]),
    ],
)
def test_the_parts_of_an_output_are_named_by_an_error_and_match(form, names):
    model = nn.ModuleDict({"attn": Attention(form)})
    with regkit_torch.watch(model, regkit.build(hidden_l1=dict(weight=1, pattern="attn"))) as run:
        model.attn(X)
        with pytest.raises(
            regkit.NoMatchError, match=f"pattern 'attn' matches none of the outputs: {', '.join(names)}"
        ):
            run.loss()
    regs = regkit.build(hidden_l1=dict(weight=1, pattern=names[1]), dropout=dict(weight=0.5, pattern=names[0]))
    with regkit_torch.watch(model, regs) as run:
        found = model.attn(X)
        np.testing.assert_allclose(run.loss().item(), 2 * X.abs().sum().item(), rtol=1e-12)
    assert type(found) is type(form(X))
    first = found[0] if isinstance(found, tuple) else found["hidden"] if isinstance(found, dict) else found.hidden
    assert (torch.isclose(first, 2 * X) | (first == 0)).all()


def test_a_pattern_for_the_second_name_of_a_module_or_a_parameter_names_the_first():
    model = nn.ModuleDict({"enc": nn.Sequential(nn.Linear(4, 4), nn.Tanh()), "dec": nn.Linear(4, 4)})
    model["again"] = model["enc"]
    with regkit_torch.watch(model, regkit.build(hidden_l1=dict(weight=1, pattern="again.1"))) as run:
        with pytest.raises(
            regkit.NoMatchError, match="'again.1' is the same module as 'enc.1', which is its name here"
        ):
            run.loss()
        run.discard()
        run.tap("again.1", X)
    regs = regkit.build(weight_l2=dict(weight=1, pattern="again.0.weight"))
    words = "'again.0.weight' is the same parameter as 'enc.0.weight', which is its name here"
    with pytest.raises(regkit.NoMatchError, match=words), regkit_torch.watch(model, regs):
        pass


@pytest.mark.parametrize("by", [{}, dict(by="proximal")], ids=["penalty", "proximal"])
def test_a_pattern_for_the_second_name_of_a_tied_parameter_names_the_first(by):
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    regs = regkit.build(weight_l1=dict(weight=1, pattern="2.weight", **by))
    with pytest.raises(regkit.NoMatchError) as caught, regkit_torch.watch(model, regs):
        pass
    assert str(caught.value) == (
        "weight_l1: pattern '2.weight' matches none of the parameters: 0.weight, 0.bias, 2.bias. '2.weight' is the "
        "same parameter as '0.weight', which is its name here"
    )


def test_each_pattern_that_names_print_selects_its_row():
    model = nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Tanh()) for _ in range(2)))
    for row in regkit_torch.names(model, X.float()):
        regularizer = "hidden_l1" if row.kind == "output" else "weight_l1"
        regs = regkit.build({regularizer: dict(weight=1, pattern=row.pattern)})
        with regkit_torch.watch(model, regs) as run:
            model(X.float())
            names = [term.name for term in run.terms(each=True)]
            run.loss()
        assert f"{regularizer}/{row.name}" in names


def test_names_are_a_table_of_outputs_and_parameters():
    model = blocks()
    for param in model.parameters():
        nn.init.ones_(param)
    nn.init.zeros_(model.b0[0].weight[:, :1])
    table = regkit_torch.names(model, torch.zeros(1, 4, dtype=torch.float64))
    assert [row.name for row in table if row.kind == "output"] == ["b0.0", "b0.1", "b0", "b1.0", "b1.1", "b1", "out"]
    rows = {row.name: row for row in table}
    assert rows["b0.1"] == ("b0.1", "output", "Tanh", (1, 4), 0.0, "b0.1")
    assert rows["b0.0.weight"] == ("b0.0.weight", "parameter", "Linear", (4, 4), 0.25, "b0.*.weight")
    assert str(table).splitlines()[0] == "name         kind       class       shape  zeros  pattern"
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


def test_the_pattern_of_a_name_selects_the_same_part_of_all_blocks():
    model = nn.ModuleDict({"h": nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for _ in range(3)))})

    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.h = model.h

        def forward(self, x):
            return self.h(x)

    table = {row.name: row for row in regkit_torch.names(Whole(), X.float())}
    assert table["h.0.1"].pattern == "h.*.1"
    assert table["h.2.0.weight"].pattern == "h.*.*.weight"


# The default


class Gated(nn.Module):
    """Activations of all kinds, of which one is the model's output."""

    def __init__(self):
        super().__init__()
        self.hid, self.act, self.prelu = nn.Linear(4, 4), nn.Tanh(), nn.PReLU()
        self.soft, self.attn = nn.Softmax(-1), nn.MultiheadAttention(4, 2, batch_first=True)
        self.lstm, self.cell = nn.LSTM(4, 3, batch_first=True), nn.GRUCell(3, 2)
        self.last = nn.Sigmoid()

    def forward(self, x):
        z = self.soft(self.prelu(self.act(self.hid(x))))
        z, _ = self.attn(z, z, z)
        z, _ = self.lstm(z)
        return {"out": self.last(self.cell(z[:, -1]))}


def test_without_a_pattern_activations_and_recurrent_modules_are_hidden_but_softmax_attention_and_the_output():
    torch.manual_seed(3)
    model = Gated().double()
    x = X[:, None].repeat(1, 3, 1)
    kept = {}
    for name in ("act", "prelu", "lstm", "cell"):
        getattr(model, name).register_forward_hook(lambda _, __, output, name=name: kept.update({name: output}))
    with regkit_torch.watch(model, regkit.build(hidden_l1=1.0)) as run:
        for _ in range(2):
            model(x)
            loss = run.loss()
            hidden = [kept["act"], kept["prelu"], kept["lstm"][0], kept["cell"]]
            np.testing.assert_allclose(loss.item(), sum(z.abs().sum().item() for z in hidden) / 4, rtol=1e-12)


def test_the_default_is_what_is_taken_out_of():
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 1)).double()
    with regkit_torch.watch(model, regkit.build(hidden_l1=dict(weight=1, pattern="!1"))) as run:
        model(X)
        np.testing.assert_allclose(run.loss().item(), model[:4](X).abs().sum().item(), rtol=1e-12)
    words = "pattern '!9' takes out none of the modules: 0, 1, 2, 3, 4; and none of the names"
    with regkit_torch.watch(model, regkit.build(hidden_l1=dict(weight=1, pattern="!9"))) as run:
        model(X)
        with pytest.raises(regkit.NoMatchError, match=words):
            run.loss()
        run.tap("9", X)


def test_dropout_without_a_pattern_changes_hidden_outputs_and_refuses_the_models():
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    clean = torch.tanh(model[0](X))
    with regkit_torch.watch(model, regkit.build(hidden_dropout=0.5, hidden_l1=1.0)) as run:
        model(X)
        dropped = run.outputs["1"]
        assert (torch.isclose(dropped, 2 * clean) | (dropped == 0)).all()
        np.testing.assert_allclose(run.loss().item(), dropped.abs().sum().item(), rtol=1e-12)
    part = model[:2]
    with regkit_torch.watch(part, regkit.build(hidden_dropout=0.5)), pytest.raises(regkit.GraphError) as caught:
        part(X)
    assert str(caught.value) == (
        "hidden_dropout changed '1', which is the model's output and no hidden one. Take it out: pattern='!1'"
    )


# Of the default, what a model or a part returns


@pytest.mark.parametrize(
    "view", [lambda p: p.squeeze(-1), lambda p: p[:, 0], lambda p: p.T, lambda p: (p.view(-1), 1)], ids=range(4)
)
@pytest.mark.parametrize("gradients", [True, False])
@compiles
@pytest.mark.parametrize("compiled", [False, True])
def test_an_activation_of_which_the_model_returns_a_view_is_no_hidden_one(view, gradients, compiled):
    class Classifier(nn.Sequential):
        def forward(self, x):
            return view(super().forward(x))

    torch._dynamo.reset()
    torch.manual_seed(3)
    model = Classifier(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1), nn.Sigmoid()).double()
    called = torch.compile(model, backend="aot_eager") if compiled else model
    expected = 0.5 * torch.tanh(model[0](X)).abs().sum().item()
    with regkit_torch.watch(model, regkit.build(hidden_l1=0.5)) as run:
        for _ in range(2):
            with torch.inference_mode(not gradients):
                called(X)
                np.testing.assert_allclose(run.loss().item(), expected, rtol=1e-12)


def autoencoder(**more):
    torch.manual_seed(3)
    parts = {
        "encoder": nn.Sequential(nn.Linear(4, 3), nn.Tanh()),
        "decoder": nn.Sequential(nn.Linear(3, 3), nn.Softplus(), nn.Linear(3, 4), nn.Sigmoid()),
    }
    return nn.ModuleDict({**parts, **more}).double()


@compiles
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    "between",
    [lambda h: h, lambda h: h.view(-1, 3), lambda h: 2 * torch.relu(h) + 1, lambda h: h.detach()],
    ids=["same", "view", "computed", "detached"],
)
def test_what_another_part_reads_is_hidden_and_what_the_last_part_returns_is_not(between, compiled):
    torch._dynamo.reset()
    model = autoencoder()
    encoder, decoder = model["encoder"], model["decoder"]
    if compiled:
        encoder, decoder = (torch.compile(part, backend="aot_eager") for part in (encoder, decoder))
    h = torch.tanh(model["encoder"][0](X))
    inner = model["decoder"][:2](between(h))
    with regkit_torch.watch(model, regkit.build(hidden_l1=0.5)) as run:
        for _ in range(2):
            decoder(between(encoder(X)))
            expected = 0.25 * (h.abs().sum() + inner.sum()).item()  # the mean of two outputs
            np.testing.assert_allclose(run.loss().item(), expected, rtol=1e-12)
            decoder(between(h))
            np.testing.assert_allclose(run.loss().item(), 0.5 * inner.sum().item(), rtol=1e-12)


def test_without_gradients_what_another_part_reads_is_hidden_too():
    model = autoencoder()
    with regkit_torch.watch(model, regkit.build(hidden_l1=0.5)) as run, torch.inference_mode():
        h = model["encoder"](X)
        inner = model["decoder"][:2].forward(h)
        run.discard()
        model["decoder"](model["encoder"](X)[:])
        np.testing.assert_allclose(run.loss().item(), 0.25 * (h.abs().sum() + inner.sum()).item(), rtol=1e-12)


def test_the_output_of_a_part_is_hidden_where_a_module_whose_calls_are_not_seen_may_read_it():
    model = autoencoder(head=nn.Linear(3, 2))
    h = torch.tanh(model["encoder"][0](X))
    with regkit_torch.watch(model, regkit.build(hidden_l1=0.5)) as run:
        model["head"](model["encoder"](X))
        np.testing.assert_allclose(run.loss().item(), 0.5 * h.abs().sum().item(), rtol=1e-12)


@compiles
@pytest.mark.parametrize("compiled", [False, True])
def test_dropout_without_a_pattern_on_what_a_part_returns_is_an_error_with_two_answers(compiled):
    torch._dynamo.reset()
    model = autoencoder()
    decoder = torch.compile(model["decoder"], backend="aot_eager") if compiled else model["decoder"]

    def step():
        decoder(torch.ones(2, 3).double())
        run.loss()

    with regkit_torch.watch(model, regkit.build(hidden_dropout=0.5)) as run:
        with pytest.raises(regkit.GraphError) as caught:
            step()
        run.discard()
    assert str(caught.value) == (
        "hidden_dropout changed 'decoder.3', which 'decoder' returned. That part was called apart, so this may be the "
        "model's output and no hidden one. Take it out, pattern='!decoder.3', or name what is to be changed, "
        "pattern='decoder.3'"
    )
    for pattern, changed in ((["!decoder.3", "!encoder.1"], False), ("decoder.3", True)):
        with regkit_torch.watch(model, regkit.build(hidden_dropout=dict(weight=0.5, pattern=pattern))) as run:
            assert (model["decoder"](torch.ones(99, 3).double()) == 0).any() == changed
            run.loss()
