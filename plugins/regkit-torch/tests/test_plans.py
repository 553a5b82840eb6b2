"""Plans: hooks run once for a model, a set, shapes and dtypes, and are then called as straight-line code."""

from __future__ import annotations

import gc
import linecache
import weakref

import numpy as np
import pytest
import regkit_torch
import torch
from regkit_torch import _plans
from torch import nn

import regkit


class Counted(regkit.Regularizer):
    """Mean of the squares, which counts how often its hook runs."""

    def loss(self, layers, outputs):
        Counted.count += 1
        return regkit.graph.mean([(z * z).sum() / 1.0 for _, z in regkit.select_outputs(outputs, self.pattern)])

    count = 0


@pytest.fixture
def model():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)).double()


@pytest.fixture
def regs():
    Counted.count = 0
    return regkit.build(counted=Counted("1", 0.5))


def inputs(rows=8, seed=0):
    return torch.tensor(np.random.default_rng(seed).normal(size=(rows, 4)))


def by_hand(model, x):
    return 0.5 * (torch.tanh(model[0](x)) ** 2).sum().item()


def test_hooks_run_once_for_a_shape_and_the_plan_outlives_the_watch(model, regs):
    for seed in range(3):
        with regkit_torch.watch(model, regs) as run:
            for step in range(2):
                x = inputs(seed=10 * seed + step)
                model(x)
                np.testing.assert_allclose(run.loss().item(), by_hand(model, x), rtol=1e-12)
    assert Counted.count == 1


def test_hooks_run_once_for_all_lengths_and_again_for_another_dtype(model, regs):
    with regkit_torch.watch(model, regs) as run:
        for rows in (8, 3, 1, 8):
            model(inputs(rows))
            np.testing.assert_allclose(run.loss().item(), by_hand(model, inputs(rows)), rtol=1e-12)
        assert Counted.count == 1
        model.float()(inputs(3).float())
        assert run.loss().dtype == torch.float32
    assert Counted.count == 2


LENGTHS = {
    "hidden_l1": dict(reduction="batch"),
    "hidden_l2": dict(reduction="mean"),
    "hidden_hoyer": dict(reduction="batch"),
    "hidden_variation": dict(axis=0, reduction="batch"),
    "hidden_kl": {},
    "hidden_decorrelation": {},
}


@pytest.mark.parametrize("alias", LENGTHS)
def test_a_penalty_of_new_lengths_has_the_value_and_the_gradient_of_a_set_that_is_new(alias):
    options = dict(weight=0.5, pattern="z", **LENGTHS[alias])
    run = regkit_torch.Run(regkit.build(**{alias: options}))
    for shape in ((8, 4), (3, 4), (1, 4), (5, 6), (8, 3, 4), (2, 7, 4)):
        z = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 0.9 + 0.05
        z.requires_grad_()
        run.tap("z", z)
        loss = run.loss()
        expected = regkit.build(**{alias: options}).loss({"z": z})
        np.testing.assert_allclose(loss.item(), expected.item(), rtol=1e-12)
        for one, other in zip(torch.autograd.grad(loss, z), torch.autograd.grad(expected, z)):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("alias", ["dropout", "noise"])
def test_draws_of_new_lengths_are_those_of_a_set_that_is_new(alias):
    regs = regkit.build(**{alias: dict(weight=0.5, pattern="z")})
    run = regkit_torch.Run(regs)
    for shape in ((8, 4), (3, 4), (5, 6)):
        z = torch.ones(shape, dtype=torch.float64)
        torch.manual_seed(7)
        found = run.tap("z", z)
        torch.manual_seed(7)
        other = regkit_torch.Run(regkit.build(**{alias: dict(weight=0.5, pattern="z")})).tap("z", z)
        torch.testing.assert_close(found, other, rtol=0, atol=0)
    assert len(run._network.plans._plans) == 1


class Halves(regkit.Regularizer):
    """The first half of the rows, whose number it makes an int of."""

    def loss(self, outputs):
        Halves.count += 1
        ((_, z),) = regkit.select_outputs(outputs, self.pattern)
        return z[: int(z.shape[0]) // 2].sum() if z.shape[0] > 1 else z.sum()

    count = 0


def test_a_length_that_is_read_as_a_number_makes_a_plan_of_that_length_alone():
    Halves.count = 0
    run = regkit_torch.Run(regkit.build(halves=Halves("z", 1)))
    for rows in (8, 3, 1, 8, 3, 1):
        run.tap("z", torch.ones(rows, 2))
        assert run.loss().item() == 2 * max(rows // 2, 1)
    assert Halves.count == 3


def test_plans_leave_nothing_with_torch_fx(model):
    def kept():
        return [name for name in linecache.cache if "eval_with_key" in name]

    before = len(kept())
    for _ in range(3):
        run = regkit_torch.Run(regkit.build(counted=Counted("z", 1)))
        run.tap("z", torch.ones(2))
        run.loss()
    assert len(kept()) == before


class Silent(regkit.Regularizer):
    def loss(self, outputs):
        return None


def test_a_hook_without_a_penalty_adds_nothing():
    run = regkit_torch.Run(regkit.build(silent=Silent("a", 1.0)))
    for _ in range(2):
        run.tap("a", torch.ones(2))
        assert run.loss() == 0
        assert run.terms() == []


class Slotted:
    """A regularizer whose attributes are in slots, and which is not a subclass of another."""

    __slots__ = ("pattern", "weight")

    def __init__(self, pattern=None, weight=1.0):
        self.pattern, self.weight = pattern, weight

    @regkit.hookimpl
    def loss(self, outputs):
        ((_, z),) = regkit.select_outputs(outputs, self.pattern)
        return z.sum()


def test_a_regularizer_with_slots_works():
    run = regkit_torch.Run(regkit.build(slotted=Slotted("a", 3.0)))
    for _ in range(2):  # the first records, the second calls
        run.tap("a", torch.ones(2))
        run.tap("b", torch.ones(2))
        assert run.loss() == 6


class Multiple(regkit.Regularizer):
    """A multiple of the sum of an output, whose factor is no argument of the constructor."""

    factor = 1

    def loss(self, outputs):
        ((_, z),) = regkit.select_outputs(outputs, self.pattern)
        return self.factor * z.sum()


def test_sets_that_are_equal_have_plans_of_their_own(model):
    regkit.register(Multiple, "multiple", replace=True)
    first, second = Multiple("1", 1.0), Multiple("1", 1.0)
    second.factor = 3
    sets = [regkit.build(multiple=regularizer) for regularizer in (first, second)]
    assert sets[0] == sets[1]
    total = torch.tanh(model[0](inputs())).sum().item()
    for regs, expected in zip(sets, (total, 3 * total)):
        with regkit_torch.watch(model, regs) as run:
            model(inputs())
            np.testing.assert_allclose(run.loss().item(), expected, rtol=1e-12)
        run = regkit_torch.Run(regs)
        run.tap("1", torch.ones(2))
        assert run.loss() == expected / total * 2


def test_a_parameter_in_the_place_of_another_is_the_one_that_counts(model):
    with regkit_torch.watch(model, regkit.build(weight_l2=dict(weight=1, pattern="0.weight"))) as run:
        run.loss()
        model[0].weight = nn.Parameter(torch.full((6, 4), 2.0, dtype=torch.float64))
        assert run.loss().item() == 4 * 24


class MeanSquare(regkit.Regularizer):
    selects = "params"

    def loss(self, layers):
        ((_, w),) = regkit.select_params(layers, self.pattern)
        return (w * w).sum() / w.size


def test_a_parameter_of_another_shape_in_the_place_of_one_has_another_plan(model):
    with regkit_torch.watch(model, regkit.build(mean_square=MeanSquare("0.weight", 1))) as run:
        for shape in ((6, 4), (6, 5), (6, 4)):
            model[0].weight = nn.Parameter(torch.full(shape, 3.0, dtype=torch.float64))
            assert run.loss().item() == 9


class PerRow(regkit.Regularizer):
    """Sum of the squares for each row of the first parameter, whose values it does not need."""

    def loss(self, layers, outputs):
        ((_, z),) = regkit.select_outputs(outputs, self.pattern)
        return (z**2).sum() / next(layer.params[0] for layer in layers if layer.params).shape[0]


class Scaled(regkit.Regularizer):
    """Multiplies an output by the number of rows of the first parameter."""

    def modify_graph(self, layers, outputs):
        for name, z in regkit.select_outputs(outputs, self.pattern):
            outputs[name] = z * len(next(layer.params[0] for layer in layers if layer.params))


def test_a_parameter_of_which_hooks_read_the_shape_alone_has_another_plan_for_another_shape():
    regs = regkit.build(per_row=PerRow("1", 1), scaled=Scaled("1", 1))
    model = nn.Sequential(nn.Linear(4, 6), nn.AdaptiveAvgPool1d(2)).double()
    for rows in (6, 3, 6):
        model[0] = nn.Linear(4, rows).double()
        with regkit_torch.watch(model, regs) as run:
            for _ in range(2):
                z = model(inputs())
                pooled = nn.functional.adaptive_avg_pool1d(model[0](inputs()), 2)
                torch.testing.assert_close(z, rows * pooled, rtol=1e-12, atol=0)
                np.testing.assert_allclose(run.loss().item(), rows * (pooled**2).sum().item(), rtol=1e-12)


def test_a_set_has_other_plans_for_parameters_of_other_shapes():
    regs = regkit.build(per_row=PerRow("a", 1))
    for rows in (2, 4, 2):
        run = regkit_torch.Run(regs, [regkit.Layer("a", {"w": torch.ones(rows)})])
        run.tap("a", torch.ones(8))
        assert run.loss().item() == 8 / rows


def test_outputs_in_another_order_and_of_other_names_have_another_plan():
    run = regkit_torch.Run(regkit.build(a=Counted("a", 1), b=Counted("b*", 10)))
    x, y = torch.full((2,), 1.0), torch.full((2,), 2.0)
    for names, expected in (("ab", 2 + 80), ("ba", 8 + 20), ("ab", 2 + 80), (("a", "b2"), 2 + 80)):
        for name, value in zip(names, (x, y)):
            run.tap(name, value)
        assert run.loss().item() == expected


class Original(regkit.Regularizer):
    """Doubles an output, and penalizes the original, which neither its pattern nor another option names."""

    def modify_graph(self, outputs):
        for name, z in regkit.select_outputs(outputs, self.pattern):
            outputs[f"before {name}"] = z
            outputs[name] = 2 * z

    def loss(self, outputs):
        return outputs[f"before {self.pattern}"].sum()


def test_an_output_that_a_hook_asks_for_and_does_not_look_at_is_an_error_in_words():
    run = regkit_torch.Run(regkit.build(original=Original("hid", 1)))
    assert run.tap("hid", torch.tensor([1.0, 2.0])).tolist() == [2, 4]
    with pytest.raises(regkit.GraphError, match="original: the hook asked for the output 'before hid', which"):
        run.loss()


class Named(Original):
    """The same, where an option names the original."""

    def __init__(self, pattern=None, weight=0.0, original="before *"):
        super().__init__(pattern, weight)
        self.original = original


def test_an_original_that_an_option_names_is_there_for_the_penalty():
    run = regkit_torch.Run(regkit.build(named=Named("hid", 1)))
    for _ in range(2):
        assert run.tap("hid", torch.tensor([1.0, 2.0])).tolist() == [2, 4]
        assert run.loss().item() == 3


def test_a_layer_that_is_added_between_two_watches_counts(model):
    regs = regkit.build(weight_l2=dict(weight=1, pattern="*.weight"))

    def loss():
        with regkit_torch.watch(model, regs) as run:
            return run.loss().item()

    def by_hand():
        squares = [(part.weight**2).sum().item() for part in model if isinstance(part, nn.Linear)]
        return sum(squares) / len(squares)

    np.testing.assert_allclose(loss(), by_hand(), rtol=1e-12)
    model.append(nn.Linear(2, 3).double())
    np.testing.assert_allclose(loss(), by_hand(), rtol=1e-12)
    model[1] = nn.Linear(6, 6).double()  # in the place of one without parameters
    np.testing.assert_allclose(loss(), by_hand(), rtol=1e-12)


def test_a_parameter_that_two_modules_share_counts_once_and_for_both_when_they_share_it_no_more():
    model = nn.Sequential(*(nn.Linear(3, 3, bias=False) for _ in range(3))).double()
    first, second = (nn.Parameter(torch.full((3, 3), value, dtype=torch.float64)) for value in (1.0, 2.0))
    nn.init.zeros_(model[2].weight)
    model[0].weight = model[1].weight = first
    with regkit_torch.watch(model, regkit.build(weight_l2=1)) as run:
        assert [run.loss().item() for _ in range(2)] == [(9 + 0) / 2] * 2
        model[1].weight = second
        assert [run.loss().item() for _ in range(2)] == [(9 + 36 + 0) / 3] * 2
        model[0].weight = second
        assert [run.loss().item() for _ in range(2)] == [(36 + 0) / 2] * 2


def test_a_set_has_other_plans_for_other_layers():
    regs = regkit.build(hidden_l2=1)  # of what is hidden in the layers that there are
    outputs = {name: torch.full((2,), float(i), dtype=torch.float64) for i, name in enumerate("abc", 1)}
    found = []
    for names in ("abc", "acb", "abc"):
        run = regkit_torch.Run(regs, [regkit.Layer(name) for name in names])
        for name, output in outputs.items():
            run.tap(name, output)
        found.append(run.loss().item())
    assert found == [2 * 4, 2 * 9, 2 * 4]


def test_terms_are_those_of_the_loss_also_where_a_plan_was_called(model):
    weight = regkit.Live(0.5)
    regs = regkit.build(a=Counted("1", weight), b=Counted("0", 0.25), c=Counted("1", 0))
    hid = model[0](inputs())
    first, second = ((z**2).sum().item() for z in (torch.tanh(hid), hid))
    with regkit_torch.watch(model, regs) as run:
        for value in (0.5, 2.0):  # the first records, the second calls
            weight.set(value)
            model(inputs())
            loss = run.loss()
            weight.set(7.0)  # which is not what the loss had
            terms = run.terms()
            np.testing.assert_allclose([term.penalty.item() for term in terms], [first, second, first], rtol=1e-12)
            weighted = [value * first, 0.25 * second, 0]
            np.testing.assert_allclose([term.weighted.item() for term in terms], weighted, rtol=1e-12)
            np.testing.assert_allclose(loss.item(), sum(weighted), rtol=1e-12)


def test_plans_are_bounded_and_the_one_not_used_for_longest_goes(monkeypatch, model, regs):
    monkeypatch.setattr(_plans, "PLANS", 2)
    run = regkit_torch.Run(regkit.build(counted=Counted("z", 0.5)))

    def loss(axes):
        run.tap("z", torch.ones((2,) * axes))
        run.loss()

    for axes in (1, 2, 1, 3):
        loss(axes)
    assert Counted.count == 3
    for axes, hooks_ran in ((1, 3), (2, 4)):  # 1 was used after 2, so 3 took the place of 2
        loss(axes)
        assert Counted.count == hooks_ran


def test_a_model_that_is_gone_takes_its_plans_with_it(regs):
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh())
    with regkit_torch.watch(model, regs) as run:
        model(inputs().float())
        run.loss().backward()
    gone = weakref.ref(model)
    del model, run
    gc.collect()
    assert gone() is None


def test_a_set_that_is_gone_takes_its_plans_and_a_model_that_an_option_holds_with_it():
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh()).double()
    counted = Counted("1", 0.5)
    counted.teacher = model  # which keeps the model alive as long as the set is
    regs = regkit.build(counted=counted)
    with regkit_torch.watch(model, regs) as run:
        model(inputs())
        run.loss().backward()
    gone = weakref.ref(model), weakref.ref(regs)
    del model, run, counted, regs
    gc.collect()
    assert [one() for one in gone] == [None, None]


def test_a_plan_computes_once_what_is_the_same_and_divides_by_no_one(model):
    regs = regkit.build(a=Counted("1", 0.5), b=Counted("1", 0.25))
    with regkit_torch.watch(model, regs) as run:
        model(inputs())
        loss = run.loss()
        code = run._last.plan.code
    np.testing.assert_allclose(loss.item(), 1.5 * by_hand(model, inputs()), rtol=1e-12)
    assert code.count("sum(") == 1
    assert "/ 1.0" not in code


def test_a_plan_adds_a_term_with_its_weight_in_one_operation_and_gradients_are_right(model):
    weight = regkit.Live(0.5)
    regs = regkit.build(a=Counted("0", 0.25), b=Counted("1", weight), c=Counted("2", 3))
    with regkit_torch.watch(model, regs) as run:
        for _ in range(2):
            model(inputs())
            found = torch.autograd.grad(run.loss(), list(model.parameters()))
        code = run._last.plan.code
    assert (code.count("alpha"), code.count(" + "), code.count(" * ")) == (2, 0, 4)  # three squares and the first term
    hid = model[0](inputs())
    act = torch.tanh(hid)
    loss = 0.25 * (hid**2).sum() + 0.5 * (act**2).sum() + 3 * (model[2](act) ** 2).sum()
    for one, other in zip(found, torch.autograd.grad(loss, list(model.parameters()))):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


class Branching(regkit.Regularizer):
    def loss(self, layers, outputs):
        ((_, z),) = regkit.select_outputs(outputs, self.pattern)
        return z.sum() if z.sum() > 0 else -z.sum()


def test_a_regularizer_that_branches_on_values_is_refused_while_recording(model):
    with regkit_torch.watch(model, regkit.build(branching=Branching("1", 1))) as run:
        model(inputs())
        with pytest.raises(regkit.GraphError, match=r"an expression of torch of shape \(\) cannot be true or false"):
            run.loss()


def test_draws_are_other_ones_at_every_call_and_those_of_the_global_seed(model):
    drawn = []
    with regkit_torch.watch(model, regkit.build(noise=dict(weight=0.3, pattern="1"))):
        for seed in (1, 1, 1, 2):  # the first of them records
            torch.manual_seed(seed)
            drawn.append(model(inputs()).detach())
        drawn.append(model(inputs()).detach())
    torch.testing.assert_close(drawn[0], drawn[1], rtol=0, atol=0)
    torch.testing.assert_close(drawn[0], drawn[2], rtol=0, atol=0)
    assert not torch.allclose(drawn[2], drawn[3])
    assert not torch.allclose(drawn[3], drawn[4])
