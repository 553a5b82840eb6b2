"""Steps after an optimizer's: values by hand, and proximal operators as the minimizers that they are."""

from __future__ import annotations

import numpy as np
import pytest

import regkit

W = np.array([[3.0, -0.5, 0.0], [-1.0, 0.2, 4.0]])
PROXIMAL = [
    ("weight_l1", {}),
    ("weight_l1", {"reduction": "mean"}),
    ("weight_l1", {"reduction": "batch"}),
    ("weight_l2", {}),
    ("weight_l2", {"reduction": "mean"}),
    ("elastic_net", {"l1_ratio": 0.3}),
    ("elastic_net", {"l1_ratio": 1, "reduction": "mean"}),
    ("elastic_net", {"l1_ratio": 0}),
    ("group_lasso", {"axis": 0}),
    ("group_lasso", {"axis": 1}),
    ("group_lasso", {"axis": 1, "reduction": "mean"}),
]


def stepped(params, rate=0.5, **aliases):
    return regkit.build(aliases).after_step(params, rate)


@pytest.mark.parametrize(("alias", "options"), PROXIMAL)
@pytest.mark.parametrize("rate", [0.1, 1.0, 4.0])
def test_a_proximal_step_minimizes_the_amount_times_the_penalty_and_half_the_squared_distance(alias, options, rate):
    params = {"w": W, "v": W.T * 0.3}
    regs = regkit.build({alias: dict(weight=0.8, by="proximal", **options)})
    found = regs.after_step(params, rate)

    def objective(moved):
        distance = sum(((moved[name] - params[name]) ** 2).sum() for name in params)
        return rate * regs.loss([regkit.Layer("all", moved)], {"z": W}) + distance / 2

    least = objective(found)
    rng = np.random.default_rng(0)
    for size in (1e-3, 1e-2, 0.1, 1.0):
        for _ in range(50):
            moved = {name: value + size * rng.normal(size=value.shape) for name, value in found.items()}
            assert objective(moved) > least
        for name in params:  # along single elements, where kinks are
            for index in np.ndindex(params[name].shape):
                for sign in (-size, size):
                    moved = {**found, name: found[name].copy()}
                    moved[name][index] += sign
                    assert objective(moved) >= least - 1e-12


def test_values_of_proximal_steps_by_hand():
    w = np.array([[3.0, -0.5], [0.0, 1.0]])
    half = dict(weight=1, by="proximal")
    np.testing.assert_array_equal(stepped({"w": w}, weight_l1=half)["w"], [[2.5, 0], [0, 0.5]])
    np.testing.assert_array_equal(stepped({"w": w}, weight_l2=half)["w"], w / 2)
    net = stepped({"w": w}, elastic_net=dict(half, l1_ratio=0.5))["w"]
    np.testing.assert_allclose(net, np.array([[2.75, -0.25], [0, 0.75]]) / 1.25)
    groups = stepped({"w": np.array([[3.0, 4.0], [0.3, 0.4]])}, group_lasso=half)["w"]
    np.testing.assert_allclose(groups[0], np.array([3, 4]) * (1 - 0.5 * np.sqrt(2) / 5))
    np.testing.assert_array_equal(groups[1], [0, 0])


def test_a_step_is_divided_by_the_number_of_parameters_and_vectors_count_by_their_names_alone():
    params = {"w": np.full((1, 2), 3.0), "v": np.full((1, 2), 3.0), "b": np.full(2, 3.0)}
    found = stepped(params, 1, weight_l1=dict(weight=2, by="proximal"))
    assert [found[name].flat[0] for name in params] == [2, 2, 3]
    found = stepped(params, 1, weight_l1=dict(weight=2, pattern=["w", "b"], by="proximal"))
    assert [found[name].flat[0] for name in params] == [2, 3, 2]
    found = stepped(params, 1, decoupled_decay=0.5)
    assert [found[name].flat[0] for name in params] == [1.5, 1.5, 3]


def test_a_maximal_norm_as_a_projection_scales_slices_above_the_bound_and_adds_nothing_to_the_loss():
    w = np.array([[3.0, 0.5], [4.0, 0.0]])
    regs = regkit.build(weight_max_norm=dict(weight=1, c=2, by="projection"))
    once = regs.after_step({"w": w}, 0.1)["w"]
    np.testing.assert_allclose(once, [[1.2, 0.5], [1.6, 0]])
    np.testing.assert_allclose(regs.after_step({"w": once}, 0.1)["w"], once, rtol=1e-15)
    assert regs.loss([regkit.Layer("all", {"w": w})], {"z": w}) == 0
    filters = np.arange(24.0).reshape(2, 3, 4)
    (found,) = stepped(
        {"f": filters}, weight_max_norm=dict(weight=1, c=2, axis=0, matrix_axis=0, by="projection")
    ).values()
    np.testing.assert_allclose(np.sqrt((found**2).sum(axis=(1, 2))), 2)
    assert found.shape == filters.shape


def test_unit_norms_are_of_slices_and_zeros_stay():
    w = np.array([[3.0, 0.0], [4.0, 0.0]])
    np.testing.assert_allclose(stepped({"w": w}, weight_unit_norm=1)["w"], [[0.6, 0], [0.8, 0]])
    np.testing.assert_allclose(stepped({"w": w}, weight_unit_norm=dict(weight=1, axis=0))["w"], [[1, 0], [1, 0]])


def test_a_hard_threshold_is_the_root_of_twice_the_amount():
    found = stepped({"w": np.array([[1.0, -1.01, 0.5]])}, 0.5, weight_l0=1)["w"]
    np.testing.assert_array_equal(found, [[0, -1.01, 0]])
    layers = [regkit.Layer("all", {"w": W, "v": np.zeros((2, 2))})]
    assert regkit.build(weight_l0=1).loss(layers, {"z": W}) == 5 / 2


def test_a_distance_counts_elements_by_their_importance():
    reference, importance = {"w": W - 1, "v": np.zeros((1, 2))}, {"w": W * 0 + 2, "v": np.array([[0.0, 3.0]])}
    layers = [regkit.Layer("all", {"w": W, "v": np.array([[5.0, 2.0]])})]
    far = dict(weight=1, reference=reference)
    assert regkit.build(weight_distance=far).loss(layers, {"z": W}) == (6 + 29) / 2
    assert regkit.build(weight_distance=dict(far, importance=importance)).loss(layers, {"z": W}) == (12 + 12) / 2
    with pytest.raises(
        regkit.NoMatchError, match="weight_distance: reference has no array for parameter 'v'; it has: w"
    ):
        regkit.build(weight_distance=dict(weight=1, reference={"w": W})).loss(layers, {"z": W})
    for wrong in ({"reference": 3}, {"reference": {"w": [float("nan")]}}, {**far, "importance": {"w": [[-1.0]]}}, {}):
        with pytest.raises(regkit.OptionError, match="WeightDistance"):
            regkit.build(weight_distance={"weight": 1, **wrong})


@pytest.mark.parametrize("shape", [(1, 3), (2, 1), (3, 2)])
def test_a_reference_of_another_shape_raises_and_is_not_repeated(lib, shape):
    far = dict(weight=1, reference={"w": np.zeros(shape)})
    weighed = dict(weight=1, reference={"w": W}, importance={"w": np.ones(shape)})
    for w in (W, lib.shared(W, name="w")):
        for options, argument in ((far, "reference"), (weighed, "importance")):
            with pytest.raises(regkit.GraphError, match=rf"{argument} of 'w' is of shape \({shape[0]}, .* of \(2, 3\)"):
                regkit.build(weight_distance=options).loss([regkit.Layer("all", {"w": w})], {})


@pytest.mark.parametrize("alias", ["weight_l1", "weight_l2", "elastic_net", "group_lasso"])
def test_by_a_proximal_step_the_term_has_its_value_and_no_gradient(lib, alias):
    w = lib.tensor("w")
    layers = [regkit.Layer("all", {"w": w})]
    values = {}
    for by in ("gradient", "proximal"):
        regs = regkit.build({alias: dict(weight=0.5, by=by)})
        loss = regs.loss(layers, {})
        slope = lib.grad(loss + (w * 2).sum(), w)
        values[by] = lib.function([w], [loss, slope])(W)
    assert values["gradient"][0] == pytest.approx(values["proximal"][0])
    np.testing.assert_array_equal(values["proximal"][1], np.full(W.shape, 2.0))
    assert (values["gradient"][1] != 2).any()


def test_a_decay_of_halves_is_rounded_once():
    w = np.linspace(1, 2, 500).reshape(5, 100).astype("float16")
    for rate in (0.0001, 0.0003, 0.0007, 0.01):
        (found,) = stepped({"w": w}, rate, decoupled_decay=1).values()
        np.testing.assert_array_equal(found, (w.astype("float64") * (1 - rate)).astype("float16"))


def test_half_precision_and_empty_parameters_keep_dtype_and_shape():
    for alias in ("weight_l1", "weight_l2", "elastic_net", "group_lasso"):
        (found,) = stepped({"w": W.astype("float16")}, **{alias: dict(weight=0.1, by="proximal")}).values()
        assert (found.dtype, found.shape) == (np.float16, W.shape)
        (found,) = stepped({"w": W[:0]}, **{alias: dict(weight=0.1, by="proximal")}).values()
        assert found.shape == (0, 3)


def test_a_group_that_becomes_zero_is_divided_without_a_warning_of_numpy():
    w, divisor = np.full((1, 4), 2.0**-40), np.full((1, 4), 2.0**-8)
    regs = regkit.build(group_lasso=dict(weight=0.5, by="proximal"))
    with np.errstate(all="raise"):
        found = regs.after_step({"w": w}, 1.0, divisors={"w": divisor})["w"]
    np.testing.assert_array_equal(found, 0 * w)
