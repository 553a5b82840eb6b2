"""The largest activations, and those above a threshold: which stay, in training and predictions; every promise."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from regkit_activations import HiddenThreshold, HiddenTopk

import regkit
import regkit.testing

LAYERS = [regkit.Layer(name) for name in ("in:out", "hid1:out", "out:out")]

test_promises_of_topk = regkit.testing.pytest_checks("hidden_topk", options={"k": 2})
test_promises_of_a_share = regkit.testing.pytest_checks("hidden_topk")
test_promises_of_threshold = regkit.testing.pytest_checks("hidden_threshold", options={"threshold": 0.25})


def changed(value, z, alias="hidden_topk"):
    outputs = {"hid1:out": z}
    regkit.build({alias: value}).modify_graph(outputs, LAYERS)
    return outputs["hid1:out"]


def largest(z, k):
    """The k largest of the last axis, by Python's sort, in which equal ones keep their order."""
    flat = z.reshape(-1, z.shape[-1])
    result = np.zeros_like(flat)
    for row, kept in zip(flat, result):
        for place in sorted(range(len(row)), key=lambda i: -row[i])[:k]:
            kept[place] = row[place]
    return result.reshape(z.shape)


# Which stay


def test_the_largest_values_stay_and_not_the_largest_sizes():
    z = np.array([[1.0, -5.0, 3.0, 2.0], [-1.0, -2.0, -3.0, -4.0]])
    np.testing.assert_array_equal(changed({"k": 2}, z), [[0, 0, 3, 2], [-1, -2, 0, 0]])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(7,), (5, 7), (2, 3, 7)])
def test_of_ties_the_first_stay_and_never_more_than_k(lib, shape, dtype):
    rng = np.random.default_rng(1)
    z = lib.tensor("z", dtype, ndim=len(shape))
    for k in (1, 2, 6, 7, 99):
        function = lib.function([z], changed({"k": k}, z))
        for values in (rng.integers(-2, 3, shape), np.zeros(shape), rng.normal(size=shape)):
            array = values.astype(dtype)
            expected = largest(array, k)
            for found in (function(array), changed({"k": k}, array)):
                assert found.dtype == dtype
                np.testing.assert_array_equal(found, expected)


def test_infinite_activations_are_compared_like_others():
    z = np.array([[np.inf, 1.0, -np.inf, np.inf], [-np.inf, -np.inf, -np.inf, 0.0]])
    np.testing.assert_array_equal(changed({"k": 2}, z), [[np.inf, 0, 0, np.inf], [-np.inf, 0, 0, 0]])


@pytest.mark.parametrize(("share", "k"), [(0.1, 1), (0.01, 1), (0.25, 3), (0.5, 5), (0.96, 10)])
def test_a_number_is_the_share_that_stays_rounded_and_at_least_one(share, k):
    z = np.arange(10.0)[::-1].reshape(1, 10) + 1
    assert (changed(share, z) != 0).sum() == k


def test_a_live_share_changes_without_compiling_again(lib):
    weight, z = regkit.schedules.Linear(0.5, 0.1, steps=10), lib.tensor("z", "float32")
    regs = regkit.build(hidden_topk=weight)
    outputs = {"hid1:out": z}
    regs.modify_graph(outputs, LAYERS)
    function = lib.function([z], outputs["hid1:out"])
    array = np.random.default_rng(2).normal(size=(4, 20)).astype("float32")
    for step, k in ((0, 10), (5, 6), (10, 2)):
        regs.step(step)
        np.testing.assert_array_equal(function(array), largest(array, k))


def test_the_gradient_is_that_of_what_stays(lib):
    z = lib.tensor("z")
    array = np.array([[1.0, -5.0, 3.0, 2.0]])
    for value, alias, kept in (({"k": 2}, "hidden_topk", [0, 0, 1, 1]), (1.5, "hidden_threshold", [0, 0, 1, 1])):
        total = (changed(value, z, alias) ** 2).sum()
        np.testing.assert_array_equal(lib.function([z], lib.grad(total, z))(array), 2 * array * [kept])


def test_a_threshold_keeps_what_is_above_it(lib):
    array = np.array([[0.5, -3.0, 0.25, 0.7], [0.0, 0.51, 0.5, -0.1]])
    z = lib.tensor("z")
    for value, expected in (
        (0.5, [[0, 0, 0, 0.7], [0, 0.51, 0, 0]]),
        ({"threshold": 0.5}, [[0, 0, 0, 0.7], [0, 0.51, 0, 0]]),
        ({"threshold": 0}, [[0.5, 0, 0.25, 0.7], [0, 0.51, 0.5, 0]]),
        ({"threshold": -1}, [[0.5, 0, 0.25, 0.7], [0, 0.51, 0.5, -0.1]]),
    ):
        for found in (
            lib.evaluate(changed(value, z, "hidden_threshold"), z=array),
            changed(value, array, "hidden_threshold"),
        ):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("alias", "value"), [("hidden_topk", {"k": 1}), ("hidden_threshold", {"threshold": 1})])
def test_integers_and_halves_keep_their_dtype(alias, value):
    for dtype in ("int64", "float16"):
        found = changed(value, np.array([[1, 3, 0]], dtype), alias)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, [[0, 3, 0]])


# At any weight


@pytest.mark.parametrize(("alias", "options"), [("hidden_topk", {"k": 2}), ("hidden_threshold", {"threshold": 0.5})])
def test_a_number_of_units_or_a_threshold_acts_at_any_weight_and_does_not_warn(alias, options):
    z = np.array([[1.0, -5.0, 3.0, 2.0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for weight in ({}, {"weight": 0}, {"weight": 0.9}):
            assert (changed({**options, **weight}, z, alias) != z).any()
    with pytest.warns(UserWarning, match="was given no weight, so its weight is 0 and it has no effect"):
        assert changed({"pattern": "hid*"}, z, alias) is z
    assert changed(0, z, alias) is z


def test_one_that_acts_at_any_weight_warns_where_no_graph_was_changed():
    regs = regkit.build(hidden_topk={"k": 2})
    with pytest.warns(
        UserWarning, match="hidden_topk: HiddenTopk changes graphs, and modify_graph was called with none"
    ):
        regs.loss(LAYERS, {name: np.ones((1, 3)) for name in ("in:out", "hid1:out", "out:out")})


# In predictions


@pytest.mark.parametrize(("alias", "suffix"), [("hidden_topk", "-pretopk"), ("hidden_threshold", "-prethreshold")])
def test_it_is_in_predictions_and_dropout_is_not(lib, alias, suffix):
    x = lib.tensor("x")
    hidden = lib.tensor_module.maximum(2 * x, 0)
    layers = [
        regkit.Layer("in:out", outputs={"in:out": x}),
        regkit.Layer("hid1:out", outputs={"hid1:out": hidden}),
        regkit.Layer("out:out", outputs={"out:out": hidden.sum(axis=1)}),
    ]
    regularized = regkit.build({"hidden_dropout": 0.5, alias: 0.5}).regularize(layers)
    assert f"hid1:out{suffix}" in regularized.outputs
    values = np.array([[1.0, 0.1, 4.0, 0.2]])
    found = lib.evaluate(regularized.predictions["out:out"], x=values)
    np.testing.assert_array_equal(found, [10])  # of 2, 0.2, 8 and 0.4 the same two are the largest, and above 0.5


def test_metrics_are_those_of_what_stays():
    z = np.array([[1.0, 2.0, 3.0, 0.5], [4.0, 1.0, 2.0, 0.5]])
    outputs = {"hid1:out": z}
    regs = regkit.build(hidden_topk={"k": 2})
    regs.modify_graph(outputs, LAYERS)
    assert regs.metrics(LAYERS, outputs) == {
        "hidden_topk.zeros": 0.5,
        "hidden_topk.l0": 2,
        "hidden_topk.dead": 0.25,
    }


# What is refused


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HiddenTopk(k=0), "HiddenTopk got k=0; accepted: None, or an integer of at least 1. {SHARE}"),
        (lambda: HiddenTopk(k=0.5), "HiddenTopk got k=0.5; accepted: None, or an integer of at least 1. {SHARE}"),
        (lambda: HiddenTopk(k=True), "HiddenTopk got k=True; accepted: None, or an integer of at least 1. {SHARE}"),
        (lambda: HiddenThreshold(threshold="1"), "HiddenThreshold got threshold='1'; accepted: a finite real number"),
    ],
)
def test_an_option_that_is_not_accepted_is_named(make, message):
    with pytest.raises(regkit.OptionError) as error:
        make()
    assert str(error.value) == message.format(SHARE="The share of units that stay is the weight")


def test_a_share_of_all_units_or_more_is_refused():
    with pytest.raises(regkit.OptionError, match="HiddenTopk got weight=2; accepted: .* at least 0 and below 1"):
        regkit.build(hidden_topk=2)


def test_an_output_without_units_is_an_error_that_names_it():
    with pytest.raises(regkit.GraphError, match=r"'hid1:out' has no axes; HiddenTopk expects \(..., units\)"):
        changed({"k": 1}, np.ones(()))


@pytest.mark.parametrize("cls", [HiddenTopk, HiddenThreshold])
def test_without_pattern_and_layers_or_hidden_layers_nobody_knows_what_is_meant(cls):
    with pytest.raises(
        regkit.GraphError, match=f"{cls.__name__} has no pattern that selects, and no layers were given"
    ):
        regkit.build(sparse=cls(weight=0.5)).modify_graph({"z": np.ones((1, 3))})
    regs = regkit.build(sparse=cls(weight=0.5))
    layers, outputs = [LAYERS[0], LAYERS[-1]], {"in:out": np.ones((1, 2)), "out:out": np.ones((1, 2))}
    for name in outputs:
        regs.modify_graph({name: outputs[name]}, layers)
    with pytest.raises(regkit.NoMatchError, match="sparse: the network has no hidden layers"):
        regs.loss(layers, outputs)


@pytest.mark.parametrize(
    ("alias", "value"), [("hidden_topk", {"k": 2}), ("hidden_threshold", {"weight": 1, "threshold": 1})]
)
def test_nan_stays_to_be_seen(lib, alias, value):
    z = lib.tensor("z")
    found = lib.function([z], changed(value, z, alias))(np.array([[3.0, np.nan, 2.0, -1.0]]))
    np.testing.assert_array_equal(found, [[3.0, np.nan, 2.0 * (alias != "hidden_topk"), 0.0]])
