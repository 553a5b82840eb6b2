"""HiddenL1: the formula with its three reductions, what it selects, and its gradient."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from regkit_hidden_l1 import HiddenL1

import regkit
import regkit.testing

NAMES = ("in:out", "hid1:out", "hid2:out", "out:out")
LAYERS = [regkit.Layer(name) for name in NAMES]
WORKED = {"hid1:out": np.array([[1.0, -2.0], [0.0, 3.0]]), "hid2:out": np.array([[-4.0]])}


REDUCTIONS = HiddenL1.REDUCTIONS


def twin(arrays, reduction="sum"):
    """The penalty in NumPy, from the formula."""
    count = {"sum": lambda z: 1, "mean": lambda z: max(z.size, 1), "batch": lambda z: max(z.shape[0], 1)}[reduction]
    return np.mean([np.sum(np.abs(z)) / count(z) for z in arrays])


def twin_of_network(regularizer, layers, outputs):
    """The penalty of the network that the conformance checks use."""
    return twin(regkit.testing.selected(regularizer, layers, outputs).values(), regularizer.reduction)


test_promises_of_sum = regkit.testing.pytest_checks("hidden_l1", twin=twin_of_network)
test_promises_of_mean = regkit.testing.pytest_checks(
    "hidden_sparsity", twin=twin_of_network, options={"reduction": "mean"}
)
test_promises_of_batch = regkit.testing.pytest_checks(HiddenL1, twin=twin_of_network, options={"reduction": "batch"})


@pytest.mark.parametrize(("reduction", "expected"), [("sum", 5.0), ("mean", 2.75), ("batch", 3.5)])
def test_the_worked_example_compiled(lib, reduction, expected):
    inputs = [lib.tensor(name) for name in WORKED]
    penalty = HiddenL1("hid*", reduction=reduction).loss([], dict(zip(WORKED, inputs)))
    assert lib.function(inputs, penalty)(*WORKED.values()) == expected


@pytest.mark.parametrize(("reduction", "expected"), [("sum", 5.0), ("mean", 2.75), ("batch", 3.5)])
def test_the_worked_example_in_arrays(reduction, expected):
    assert HiddenL1("hid*", reduction=reduction).loss([], WORKED) == expected


@pytest.mark.parametrize("alias", ["hidden_l1", "hidden_sparsity"])
def test_both_aliases_build_it(alias):
    (regularizer,) = regkit.build({alias: 0.1})
    assert type(regularizer) is HiddenL1
    assert (regularizer.pattern, regularizer.weight, regularizer.reduction) == (None, 0.1, "sum")


@pytest.mark.parametrize(
    ("pattern", "selected"),
    [
        (None, ["hid1:out", "hid2:out"]),
        ("hid2:out", ["hid2:out"]),
        ("*", NAMES),
        (["out:*", "hid[1]:*"], ["hid1:out", "out:out"]),
    ],
)
def test_what_each_form_of_pattern_selects(pattern, selected):
    outputs = {name: np.full((2, 3), 10.0**i) for i, name in enumerate(NAMES)}
    assert HiddenL1(pattern).loss(LAYERS, outputs) == twin([outputs[name] for name in selected])


def test_an_output_whose_name_looks_like_a_glob_is_found_as_a_hidden_layer():
    outputs = {"in": np.ones(1), "hid[1]": np.full(1, 5.0), "out": np.ones(1)}
    assert HiddenL1().loss([regkit.Layer(name) for name in outputs], outputs) == 5


def test_outputs_of_a_hidden_layer_beside_its_main_one_are_not_counted():
    outputs = {name: np.ones(2) for name in NAMES} | {"hid1:pre": np.full(2, 100.0)}
    assert HiddenL1().loss(LAYERS, outputs) == 2


def test_a_pattern_that_matches_nothing_names_the_outputs_there_are():
    with pytest.raises(regkit.NoMatchError) as error:
        HiddenL1("hid9:*").loss([], WORKED)
    assert str(error.value) == "pattern 'hid9:*' matches none of the outputs: hid1:out, hid2:out"


@pytest.mark.parametrize("layers", [["in:out"], ["in:out", "out:out"]])
def test_a_network_without_hidden_layers_names_its_layers(layers):
    with pytest.raises(regkit.NoMatchError) as error:
        HiddenL1().loss([regkit.Layer(name) for name in layers], {name: np.ones(1) for name in NAMES})
    assert str(error.value) == (
        f"the network has no hidden layers; its layers: {', '.join(layers)}. "
        "Pass a pattern to select among the outputs: in:out, hid1:out, hid2:out, out:out"
    )


def test_without_pattern_and_layers_the_error_names_the_outputs():
    with pytest.raises(regkit.OptionError) as error:
        HiddenL1().loss([], WORKED)
    assert str(error.value) == (
        "it needs a pattern, since no layers are given, of which it would take the hidden ones. Pass a pattern to "
        "select among the outputs: hid1:out, hid2:out"
    )


def test_a_hidden_layer_that_is_missing_from_the_outputs_is_named():
    with pytest.raises(regkit.NoMatchError, match="hidden output 'hid2:out' is not among the outputs: hid1:out"):
        HiddenL1().loss(LAYERS, {"hid1:out": np.ones(1)})


SHAPES = [(), (5,), (4, 3), (2, 3, 4), (2, 1, 3, 2), (2, 2, 2, 2, 2), (0,), (0, 3), (3, 0)]
CASES = [(reduction, shape) for reduction in REDUCTIONS for shape in SHAPES if (reduction, shape) != ("batch", ())]


@pytest.mark.parametrize(("reduction", "shape"), CASES)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int64", "uint8", "bool"])
def test_every_shape_and_dtype_gives_the_formula_compiled_and_in_arrays(lib, floatX, reduction, shape, dtype):
    array = np.asarray(np.random.default_rng(1).normal(size=shape, scale=3)).astype(dtype)
    z = lib.tensor("z", dtype, len(shape))
    penalty = HiddenL1("hid", reduction=reduction).loss([], {"hid": z})
    wide = {"float16": "float32", "float32": "float32", "float64": "float64"}
    floating = wide.get(dtype, floatX)
    assert penalty.dtype == floating
    value = lib.evaluate(penalty, z=array)
    assert value.dtype == floating
    expected = twin([array.astype("float64")], reduction)
    np.testing.assert_allclose(value, expected, rtol=1e-3 if dtype == "float16" else 1e-6)
    eager = HiddenL1("hid", reduction=reduction).loss([], {"hid": array})
    assert eager.dtype == wide.get(dtype, "float64")
    np.testing.assert_allclose(eager, expected, rtol=5e-3 if dtype == "float16" else 1e-6)


def test_the_lowest_integer_has_a_norm(lib):
    lowest = np.array([-128, -128], "int8")
    assert HiddenL1("hid").loss([], {"hid": lowest}) == 256
    assert lib.evaluate(HiddenL1("hid").loss([], {"hid": lib.tensor("z", "int8", 1)}), z=lowest) == 256


def test_the_loss_of_float16_is_float32_where_the_penalty_is_beyond_the_largest_number_of_float16(lib):
    ones = np.ones(100_000, "float16")
    regs = regkit.build(hidden_l1=dict(weight=0.01, pattern="hid"))
    loss = regs.loss([], {"hid": lib.tensor("z", "float16", 1)})
    for value in (regs.loss([], {"hid": ones}), lib.evaluate(loss, z=ones)):
        assert value == 1000
        assert value.dtype == "float32"


@pytest.mark.parametrize("reduction", ["mean", "batch"])
def test_more_elements_than_float16_can_count_have_a_mean(lib, reduction):
    ones = np.full(100_000, 0.5, "float16")
    regularizer = HiddenL1("hid", reduction=reduction)
    assert regularizer.loss([], {"hid": ones}) == 0.5
    assert lib.evaluate(regularizer.loss([], {"hid": lib.tensor("z", "float16", 1)}), z=ones) == 0.5


@pytest.mark.parametrize(("reduction", "shape"), [case for case in CASES if 0 not in case[1]])
def test_the_gradient_agrees_with_finite_differences_away_from_zero(lib, reduction, shape):
    rng = np.random.default_rng(2)
    points = [np.array(rng.choice([-1, 1], size) * rng.uniform(0.5, 2, size)) for size in (shape, (2, 3))]
    inputs = [lib.tensor(name, ndim=point.ndim) for name, point in zip("ab", points)]
    penalty = HiddenL1("hid*", reduction=reduction).loss([], dict(zip(("hid1", "hid2"), inputs)))
    value = lib.function(inputs, penalty)
    gradients = lib.function(inputs, lib.grad(penalty, inputs))(*points)
    step = 1e-6
    for which, gradient in enumerate(gradients):
        for index in np.ndindex(points[which].shape):
            up, down = ([point.copy() for point in points] for _ in range(2))
            up[which][index] += step
            down[which][index] -= step
            difference = (value(*up) - value(*down)) / (2 * step)
            assert gradient[index] == pytest.approx(difference, rel=1e-7, abs=1e-9)


def test_an_output_without_axes_has_a_norm_but_no_batch(lib):
    z = lib.tensor("z", ndim=0)
    for reduction in ("sum", "mean"):
        assert lib.evaluate(HiddenL1("hid", reduction=reduction).loss([], {"hid": z}), z=np.array(-3.0)) == 3
    for output in (z, np.array(-3.0)):
        with pytest.raises(regkit.GraphError) as error:
            HiddenL1("hid", reduction="batch").loss([], {"hid": output})
        assert str(error.value) == "output 'hid' has no axes, so reduction='batch' has no axis 0 to divide by"


def test_the_graph_is_left_as_it_is(lib):
    z = lib.tensor("z")
    outputs = {"hid1:out": z}
    HiddenL1("*", 0.1).modify_graph(outputs)
    assert list(outputs) == ["hid1:out"]
    assert outputs["hid1:out"] is z


def test_log_is_the_references_line_with_the_reduction(caplog):
    with caplog.at_level(logging.INFO, logger="regkit"):
        HiddenL1("hid3:out", 0.1).log()
    assert caplog.messages == ["regularizer: 0.1 * HiddenL1(hid3:out) [reduction=sum]"]


@pytest.mark.parametrize("reduction", ["max", None, 1, ["sum"]])
def test_a_reduction_that_is_none_of_the_three_is_refused(reduction):
    with pytest.raises(regkit.OptionError) as error:
        HiddenL1(reduction=reduction)
    assert str(error.value) == f"HiddenL1 got reduction={reduction!r}; accepted: 'sum', 'mean', 'batch'"


def test_the_repr_is_the_call_that_makes_it():
    assert repr(HiddenL1()) == "HiddenL1()"
    assert repr(HiddenL1(["a", "b"], 2, "mean")) == "HiddenL1(weight=2, pattern=('a', 'b'), reduction='mean')"


def test_metrics_are_shares_of_zeros_and_dead_units_and_the_number_of_active_ones(lib):
    array = np.array([[1.0, 0.0, 0.0, 2.0], [-3.0, 0.0, 0.0, 0.0]])
    other = np.array([[0.0, 1.0]])
    expected = [(5 / 8 + 1 / 2) / 2, (1.5 + 1) / 2, (1 / 2 + 1 / 2) / 2]
    regs = regkit.build(hidden_l1=dict(weight=0.1, pattern="hid*"))
    z, y = lib.tensor("z"), lib.tensor("y")
    found = regs.metrics({"hid1": z, "hid2": y})
    assert list(found) == ["hidden_l1.zeros", "hidden_l1.l0", "hidden_l1.dead"]
    np.testing.assert_allclose(lib.function([z, y], list(found.values()))(array, other), expected)
    np.testing.assert_allclose(list(regs.metrics({"hid1": array, "hid2": other}).values()), expected)
