"""After an optimizer's step: closed forms, on arrays and as updates of a graph library."""

from __future__ import annotations

import numpy as np
import pytest

import regkit

RNG = np.random.default_rng(5)
BASIS = np.linalg.qr(RNG.normal(size=(80, 60)))[0]  # orthonormal columns
TARGET = RNG.normal(size=(80, 1))
STRENGTH = 0.5
RATE = 0.5


def lasso() -> np.ndarray:
    """The closed form for an orthonormal basis: the soft threshold of the least-squares solution."""
    least_squares = BASIS.T @ TARGET
    return np.sign(least_squares) * np.maximum(0, abs(least_squares) - STRENGTH)


def gradient(w: np.ndarray) -> np.ndarray:
    return BASIS.T @ (BASIS @ w - TARGET)


def test_the_lasso_of_an_orthonormal_basis_has_the_zeros_of_its_closed_form():
    regs = regkit.build(weight_l1=dict(weight=STRENGTH, by="proximal"))
    w = np.zeros((60, 1))
    for _ in range(100):
        w = regs.after_step({"w": w - RATE * gradient(w)}, RATE)["w"]
    expected = lasso()
    assert 10 < (expected == 0).sum() < 50
    np.testing.assert_array_equal(w == 0, expected == 0)
    np.testing.assert_allclose(w, expected, rtol=0, atol=1e-12)


def test_by_its_gradient_the_same_penalty_has_no_zeros():
    regs = regkit.build(weight_l1=STRENGTH)
    layer = regkit.Layer("out", {"w": np.zeros((60, 1))})
    w = np.full((60, 1), 0.01)
    for _ in range(100):
        w = w - RATE * (gradient(w) + STRENGTH * np.sign(w))
    assert regs.after_step({"w": w}, RATE)["w"] is w  # there is nothing to do after the step
    assert not regs.changes_params
    assert (w == 0).sum() == 0
    assert regs.loss([layer], {}) == 0


@pytest.mark.parametrize("form", [list, tuple, dict])
@pytest.mark.parametrize("live", [False, True])
def test_updates_of_a_graph_library_have_the_steps_in_them(lib, form, live):
    w = lib.shared(np.zeros((60, 1)), name="w")
    frozen = lib.shared(np.ones((2, 2)), name="frozen")
    count = lib.shared(np.asarray(0.0), name="count")
    basis, target = lib.tensor("basis"), lib.tensor("target")
    cost = ((target - basis.dot(w)) ** 2).sum() / 2
    weight = regkit.Live(1.0) if live else STRENGTH
    regs = regkit.build(weight_l1=dict(weight=weight, pattern="w", by="proximal"))
    updates = form([(w, w - RATE * lib.grad(cost, w)), (count, count + 1)])
    stepped = regs.after_step(updates, RATE, [regkit.Layer("out", [w, frozen])])
    assert type(stepped) is form
    pairs = list(stepped.items()) if form is dict else list(stepped)
    assert [variable for variable, _ in pairs] == [w, count]
    train = lib.function([basis, target], cost + regs.loss([regkit.Layer("out", [w, frozen])], {}), pairs)
    if live:
        weight.set(STRENGTH)
    for _ in range(100):
        train(BASIS, TARGET)
    np.testing.assert_allclose(w.get_value(), lasso(), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(w.get_value() == 0, lasso() == 0)
    assert count.get_value() == 100


def test_a_symbolic_rate_leaves_float32_as_it_is(lib, floatX):
    w = lib.shared(np.array([[3.0, -0.5]], "float32"), name="w")
    rate = lib.tensor("rate", "float64", 0)
    regs = regkit.build(
        weight_l1=dict(weight=1, by="proximal"), decoupled_decay=0.5, weight_max_norm=dict(weight=1, by="projection")
    )
    ((_, new),) = regs.after_step([(w, w * 1)], rate, [regkit.Layer("out", [w])])
    assert (new.dtype, new.ndim) == ("float32", 2)
    lib.function([rate], [], [(w, new)])(1.0)
    np.testing.assert_array_equal(w.get_value(), [[1, 0]])  # 3 - 1, halved


def test_frozen_parameters_count_in_the_mean_and_stay(lib):
    w, frozen = (lib.shared(np.full((1, 2), 3.0), name=name) for name in ("w", "frozen"))
    regs = regkit.build(weight_l1=dict(weight=2, by="proximal"))
    pairs = regs.after_step([(w, w * 1)], 1.0, [regkit.Layer("out", [w, frozen])])
    lib.function([], [], pairs)()
    np.testing.assert_array_equal(w.get_value(), [[2, 2]])  # 2 divided by two parameters
    np.testing.assert_array_equal(frozen.get_value(), [[3, 3]])


def test_updates_of_other_variables_than_the_layers_have_are_refused(lib):
    w = lib.shared(np.ones((1, 2)), name="w")
    regs = regkit.build(decoupled_decay=0.1)
    for layers in ([], [regkit.Layer("out", [lib.shared(np.ones((1, 2)), name="w")])]):
        with pytest.raises(regkit.GraphError, match="none is of a parameter of the layers. Pass layers"):
            regs.after_step([(w, w * 1)], 0.1, layers)


# Arrays


PARAMS = {"w": np.array([[3.0, -0.5]]), "b": np.array([4.0])}


def test_members_step_in_the_order_written_and_the_given_parameters_stay():
    w = np.array([[3.0, 4.0], [0.3, -0.1]])
    bounded = dict(weight_max_norm=dict(weight=1, c=1, axis=0, by="projection"))
    shrunk = dict(decoupled_decay=0.5)
    before = {"w": w.copy()}
    first = regkit.build(**bounded, **shrunk).after_step(before, 1)["w"]
    last = regkit.build(**shrunk, **bounded).after_step(before, 1)["w"]
    np.testing.assert_allclose(first, [[0.3, 0.4], [0.15, -0.05]])
    np.testing.assert_allclose(last, [[0.6, 0.8], [0.15, -0.05]])
    np.testing.assert_array_equal(before["w"], w)


def test_a_proximal_step_after_a_projection_warns_once():
    regs = regkit.build(weight_nonnegative=1, weight_l1=dict(weight=1, by="proximal"))
    with pytest.warns(UserWarning, match="weight_l1 is a proximal step after the projection weight_nonnegative"):
        regs.after_step(PARAMS, 0.1)
    regs.after_step(PARAMS, 0.1)


def test_a_projection_holds_at_rate_zero_and_is_off_at_weight_zero():
    for weight, expected in ((0.1, 0), (0, -0.5), (regkit.Live(2.0), 0), (regkit.Live(0.0), -0.5)):
        regs = regkit.build(weight_nonnegative=weight)
        assert regs.after_step(PARAMS, 0)["w"][0, 1] == expected


def test_losses_without_a_step_warn_once_and_not_after_a_step():
    layers = [regkit.Layer("out", PARAMS)]
    regs = regkit.build(weight_l1=dict(weight=1, by="proximal"), decoupled_decay=0.1)
    regs.loss(layers, {})
    with pytest.warns(UserWarning, match="weight_l1, decoupled_decay change parameters after an optimizer's step, and"):
        regs.loss(layers, {"hid": np.ones(2)})
    regs.loss(layers, {"hid": np.ones(2)})
    regs = regkit.build(decoupled_decay=0.1)
    regs.after_step(PARAMS, 0.1)
    for _ in range(3):
        regs[:].loss(layers, {"hid": np.ones(2)})
    assert regkit.hosts.waiting(regs) == []


@pytest.mark.parametrize("rate", [-1, float("nan"), float("inf"), "0.1", None, True, np.ones(2)])
def test_a_rate_that_is_no_step_size_is_refused(rate):
    with pytest.raises(regkit.OptionError, match="after_step got rate=.*; accepted: a finite number of at least 0"):
        regkit.build(decoupled_decay=0.1).after_step(PARAMS, rate)


@pytest.mark.parametrize("params", [3, "w", [np.ones((1, 2))], {"w"}, zip("w", "v")])
def test_what_is_neither_parameters_nor_updates_is_refused(params):
    with pytest.raises(regkit.OptionError, match="after_step got params=.*; accepted: a dict of names to arrays, or"):
        regkit.build(decoupled_decay=0.1).after_step(params, 0.1)


def test_no_parameters_at_all_raise():
    with pytest.raises(regkit.OptionError, match="after_step got no parameters; accepted: all parameters"):
        regkit.build(decoupled_decay=0.1).after_step({}, 0.1)


def test_integers_are_not_rounded():
    regs = regkit.build(weight_l2=dict(weight=1, by="proximal", pattern="w"))
    with pytest.raises(regkit.GraphError, match="weight_l2: parameter 'w' is of int64, which a step would round"):
        regs.after_step({"w": np.array([[3, -1]], "int64")}, 0.5)
    found = regs.after_step({"w": np.ones((1, 2)), "table": np.array([[3, -1]])}, 0.5)
    np.testing.assert_array_equal(found["w"], [[0.5, 0.5]])
    np.testing.assert_array_equal(found["table"], [[3, -1]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda params: params.pop("w"), "mine: after_step took away 'w'"),
        (lambda params: params.update(more=np.ones(2)), "mine: after_step added 'more'"),
        (lambda params: params.update(w=params["w"].astype("float32")), "from float64, 2 axes, to float32, 2"),
        (lambda params: params.update(w=params["w"].sum()), "from float64, 2 axes, to float64, 0"),
    ],
)
def test_a_hook_keeps_names_dtypes_and_axes(change, message):
    class Changes(regkit.Regularizer):
        selects = None

        def after_step(self, params):
            change(params)

    with pytest.raises(regkit.GraphError, match=message):
        regkit.build(mine=Changes(weight=1)).after_step(dict(PARAMS), 0.1)


def test_the_amount_is_the_step_size_times_the_weight_and_layers_are_those_of_the_host():
    given = []

    class Takes(regkit.Regularizer):
        selects = "params"

        def after_step(self, params, amount, layers):
            given.append((sorted(params), amount, layers))

    layers = [regkit.Layer("out")]
    assert Takes.changes_params
    regkit.build(mine=Takes(weight=0.25), half=Takes(weight=regkit.Live(0.5))).after_step(PARAMS, 0.5, layers)
    assert given == [(["b", "w"], 0.125, layers), (["b", "w"], 0.25, layers)]


# Metrics


def test_metrics_are_those_of_numpy_by_the_names_of_members():
    w = np.array([[0.0, 0.0], [3.0, 0.0], [1.0, 2.0]])
    layers = [regkit.Layer("out", {"w": w, "v": np.ones((2, 2))})]
    regs = regkit.build(group_lasso=1, weight_l1=[dict(weight=1, pattern="w"), 1])
    found = regs.metrics(layers, {})
    assert {name: float(value) for name, value in found.items()} == pytest.approx(
        {"group_lasso.zeros": 0.25, "group_lasso.groups": 1 / 6, "weight_l1.zeros": 0.5, "weight_l1[1].zeros": 0.25}
    )


@pytest.mark.parametrize("shape", [(5, 4), (5, 3, 4), (4,), (0, 4)])
def test_sparsity_is_that_of_numpy(lib, shape):
    z = np.maximum(0, RNG.normal(size=shape))
    if z.size:
        z[..., 0] = 0
    active = z != 0
    leading = tuple(range(z.ndim - 1))
    expected = {
        "zeros": 1 - active.sum() / max(1, active.size),
        "l0": active.sum() / max(1, active.size) * z.shape[-1],
        "dead": (~active.any(axis=leading)).mean(),
    }
    arrays = regkit.graph.sparsity([z])
    x = lib.tensor("x", ndim=z.ndim)
    names = list(expected)
    compiled = lib.function([x], [regkit.graph.sparsity([x])[name] for name in names])(z)
    for name, value in zip(names, compiled):
        assert float(arrays[name]) == pytest.approx(expected[name])
        assert float(value) == pytest.approx(expected[name])


def test_nan_is_no_zero(lib):
    z = np.array([[np.nan, 0.0, 1.0], [0.0, 0.0, 2.0]])
    expected = {"zeros": 0.5, "l0": 1.5, "dead": 1 / 3}
    x = lib.tensor("x")
    found = lib.function([x], [regkit.graph.sparsity([x])[name] for name in expected])(z)
    for name, value in zip(expected, found):
        assert float(value) == float(regkit.graph.sparsity([z])[name]) == pytest.approx(expected[name])
    layers = [regkit.Layer("all", {"w": z})]
    assert regkit.build(weight_l0=1).loss(layers, {}) == 3
    assert regkit.build(weight_l0=1).metrics(layers, {})["weight_l0.zeros"] == 0.5


@pytest.mark.parametrize(("returned", "words"), [(3, "expected a mapping"), ({"a": np.ones(2)}, "'a' has 1 axes")])
def test_metrics_that_are_no_scalars_by_name_are_refused(returned, words):
    class Mine(regkit.Regularizer):
        def metrics(self):
            return returned

    with pytest.raises(regkit.GraphError, match=f"mine: .*{words}"):
        regkit.build(mine=Mine()).metrics({"hid": np.ones(2)})


# A rate for each parameter, and the divisors of an optimizer


def test_each_parameter_has_its_rate_and_those_without_count_and_stay():
    params = {name: np.full((2, 2), 5.0) for name in ("a", "b", "c", "fixed")}
    regs = regkit.build(weight_l1=dict(weight=4.0, by="proximal"), decoupled_decay=dict(weight=1.0, pattern="b"))
    found = regs.after_step(params, {"a": 0.1, "b": 0.2, "c": np.float64(0.1)})
    expected = {"a": 5 - 0.1, "b": (5 - 0.2) * 0.8, "c": 5 - 0.1, "fixed": 5.0}  # 4 divided by 4 matrices
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-12)


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_divided_by_what_the_optimizer_divides_by_the_lasso_has_the_zeros_of_its_closed_form(optimizer):
    regs = regkit.build(weight_l1=dict(weight=STRENGTH, by="proximal"))
    w, mean, square = (np.zeros((60, 1)) for _ in range(3))
    beta = 0.9 if optimizer == "adam" else 0.0
    rate = 0.01
    for n in range(1, 4001):
        g = gradient(w)
        mean, square = beta * mean + (1 - beta) * g, 0.99 * square + 0.01 * g**2
        divisor = np.sqrt(square / (1 - 0.99**n)) + 1e-8
        w = regs.after_step({"w": w - rate * mean / (1 - beta**n) / divisor}, rate, divisors={"w": divisor})["w"]
    np.testing.assert_array_equal(w == 0, lasso() == 0)
    np.testing.assert_allclose(w, lasso(), atol=1e-6)


@pytest.mark.parametrize(
    ("alias", "options", "step"),
    [
        ("weight_l1", {}, lambda w, a: np.sign(w) * np.maximum(0, abs(w) - a)),
        ("weight_l2", {}, lambda w, a: w / (1 + 2 * a)),
        ("elastic_net", {"l1_ratio": 0.3}, lambda w, a: np.sign(w) * np.maximum(0, abs(w) - 0.3 * a) / (1 + 0.7 * a)),
        ("weight_l0", {}, lambda w, a: w * (abs(w) > np.sqrt(2 * a))),
    ],
)
def test_each_element_has_its_amount(lib, alias, options, step, floatX):
    values, divisor = RNG.normal(size=(3, 4)), RNG.uniform(0.1, 2, size=(3, 4))
    if alias != "weight_l0":
        options = {**options, "by": "proximal"}
    regs = regkit.build({alias: dict(weight=0.5, pattern="w", **options)})
    w, d = lib.tensor("w"), lib.tensor("d")
    found = lib.function([w, d], regs.after_step({"w": w, "b": w}, 0.2, divisors={"w": d})["w"])(values, divisor)
    np.testing.assert_allclose(found, step(values, 0.1 / divisor), rtol=1e-12, atol=1e-15)


def test_decay_and_projections_are_not_divided():
    params, divisors = {"w": np.array([[3.0, -1.0]])}, {"w": np.array([[0.5, 0.1]])}
    found = regkit.build(decoupled_decay=1.0, weight_nonnegative=1).after_step(params, 0.1, divisors=divisors)
    np.testing.assert_allclose(found["w"], [[2.7, 0]])


def test_a_group_has_the_minimum_by_hand(lib, floatX):
    """Of bound · ‖w‖ + ½ Σ d (w - v)²: where the gradient is zero, and zero where the pull is within the bound."""
    values, divisor = RNG.normal(size=(20, 4)), 10 ** RNG.uniform(-6, 0, size=(20, 4))
    regs = regkit.build(group_lasso=dict(weight=0.5, pattern="w", by="proximal"))
    w, d = lib.tensor("w"), lib.tensor("d")
    found = lib.function([w, d], regs.after_step({"w": w}, 0.2, divisors={"w": d})["w"])(values, divisor)
    bound = 0.2 * 0.5 * np.sqrt(4)
    norms = np.linalg.norm(found, axis=1, keepdims=True)
    pulls = np.linalg.norm(divisor * values, axis=1, keepdims=True)
    np.testing.assert_array_equal(norms == 0, pulls <= bound)
    assert 3 < (norms == 0).sum() < 17
    gradient = bound * found / np.where(norms > 0, norms, 1) + divisor * (found - values)
    np.testing.assert_allclose(np.where(norms > 0, gradient, 0), 0, atol=1e-12)


def test_a_proximal_step_that_takes_no_divisors_raises_where_there_are_some():
    class Shrinks(regkit.Regularizer):
        selects = "params"
        by = "proximal"

        def after_step(self, params, amount):
            params.update({name: w / (1 + amount) for name, w in params.items()})

    regs = regkit.build(shrinks=Shrinks(weight=1.0))
    with pytest.raises(regkit.GraphError, match="shrinks: the proximal step of Shrinks has one amount .* SGD"):
        regs.after_step(PARAMS, 0.1, divisors={"w": np.ones((1, 2))})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(rate={"v": 0.1}), "after_step got rate for .v.; accepted: the full names of parameters, .w., .b."),
        (dict(rate={"w": -0.1}), "after_step got rate=-0.1; accepted: a finite number"),
        (dict(rate=0.1, divisors={"v": np.ones(2)}), "after_step got divisors for .v.; accepted: the full names"),
        (dict(rate=0.1, divisors=np.ones(2)), "after_step got divisors=.* accepted: a dict"),
        (
            dict(rate=0.1, divisors={"w": np.ones(2)}),
            "a divisor of shape \\(2,\\) for parameter .w. of shape \\(1, 2\\)",
        ),
    ],
)
def test_rates_and_divisors_that_are_none_raise(arguments, message):
    with pytest.raises(regkit.OptionError, match=message):
        regkit.build(decoupled_decay=0.1).after_step(PARAMS, **arguments)


def test_an_array_under_two_names_counts_once_and_stays_tied():
    tied, other = np.full((2, 2), 5.0), np.full((2, 2), 5.0)
    regs = regkit.build(weight_l1=dict(weight=2.0, by="proximal"))
    for rate in (0.1, {"a": 0.1, "b": 0.1, "c": 0.1}):
        found = regs.after_step({"a": tied, "b": tied, "c": other}, rate)
        assert found["a"] is found["b"]
        np.testing.assert_allclose([found["a"], found["c"]], 5 - 0.1)  # 2 divided by 2


def test_a_schedule_that_nothing_moves_is_warned_of_at_the_second_loss():
    regs = regkit.build(hidden_l1=regkit.schedules.Warmup(to=0.5, steps=10), weight_l2=0.1)
    regkit.hosts.warn_of_schedules(regs, 1)
    with pytest.warns(UserWarning, match="hidden_l1: the weight follows the step, and nothing moved it"):
        regkit.hosts.warn_of_schedules(regs, 1)
    regkit.hosts.warn_of_schedules(regs, 5)  # once


def test_a_schedule_that_moved_is_not(recwarn):
    regs = regkit.build(hidden_l1=regkit.schedules.Warmup(to=0.5, steps=10))
    regs.step()
    regkit.hosts.warn_of_schedules(regs, 5)
    assert not recwarn


def test_an_array_under_two_names_has_the_rate_and_the_divisor_that_are_given_under_either():
    tied, other = np.full((2, 2), 5.0), np.full((2, 2), 5.0)
    params = {"a": tied, "b": tied, "c": other}
    regs = regkit.build(weight_l1=dict(weight=2.0, by="proximal"))
    for name in ("a", "b"):
        found = regs.after_step(params, {name: 0.1})
        np.testing.assert_allclose([found["a"], found["b"], found["c"]], [tied - 0.1, tied - 0.1, other])
        found = regs.after_step(params, 0.1, divisors={name: np.full((2, 2), 0.5)})
        np.testing.assert_allclose([found["a"], found["b"], found["c"]], [tied - 0.2, tied - 0.2, other - 0.1])
    with pytest.raises(regkit.OptionError, match=r"rate=0.1 and rate=0.2 for one array, which is 'a' and 'b'"):
        regs.after_step(params, {"a": 0.1, "b": 0.2})
