"""Penalties of matrices: beside NumPy's and SciPy's own, where they are special, and every promise of a regularizer."""

from __future__ import annotations

import numpy as np
import pytest
from regkit_weights import WeightMaxNorm, WeightOrthogonal, WeightSpectral

import regkit
import regkit.testing

CLASSES = (WeightOrthogonal, WeightSpectral, WeightMaxNorm)
SHAPES = [(3, 3), (5, 2), (2, 5), (4, 1), (1, 4)]


# NumPy twins: of one matrix, by other ways than the plugins' own


def orthogonal(self, w):
    return np.sum((np.linalg.svd(w, compute_uv=False) ** 2 - 1) ** 2)


def spectral(self, w):
    return np.linalg.norm(w, 2) ** 2 / 2


def max_norm(self, w):
    return sum(max(0.0, np.linalg.norm(w.take(j, self.axis)) - self.c) ** 2 for j in range(w.shape[self.axis]))


TWINS = dict(zip(CLASSES, (orthogonal, spectral, max_norm)))


def twin(regularizer, layers, outputs):
    params = regkit.testing.selected(regularizer, layers).values()
    return np.mean([TWINS[type(regularizer)](regularizer, param) for param in params if param.ndim == 2])


FOURTH_POWERS = {"penalty_and_gradient_are_finite_for_large_numbers": "fourth powers of 1e18 are beyond float32"}
test_promises_of_orthogonal = regkit.testing.pytest_checks(
    "weight_orthogonal", twin=twin, expected_failures=FOURTH_POWERS
)
# as few iterations as are exact for the small matrices that it is tried on: libraries compile each of them
test_promises_of_spectral = regkit.testing.pytest_checks("weight_spectral", twin=twin, options={"iterations": 12})
test_promises_of_max_norm = regkit.testing.pytest_checks("weight_max_norm", twin=twin, options={"axis": 0})


def layers_of(w):
    return [regkit.Layer("hid1:out", {"hid1.w": w})]


def with_gradient(lib, regularizer, array, **how):
    w = lib.tensor("w", str(array.dtype), array.ndim)
    penalty = regularizer.loss(layers_of(w))
    return lib.function([w], [penalty, lib.grad(penalty, w)], **how)(array)


# Formulas


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cls", CLASSES)
def test_matrices_of_any_shape_have_the_penalty_of_numpys_functions(cls, shape):
    w = np.random.default_rng(1).normal(size=shape)
    regularizer = cls(**({"iterations": 200} if cls is WeightSpectral else {}))
    assert regularizer.loss(layers_of(w)) == pytest.approx(TWINS[cls](regularizer, w), rel=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_shorter_side_is_found_when_the_shape_is_known_only_at_run_time(lib, shape):
    w = np.random.default_rng(2).normal(size=shape)
    penalty, gradient = with_gradient(lib, WeightOrthogonal(), w)
    assert penalty == pytest.approx(orthogonal(None, w), rel=1e-9)
    np.testing.assert_allclose(gradient, 4 * (w @ w.T @ w - w), rtol=1e-9, atol=1e-9)


def test_orthonormal_columns_and_rows_cost_nothing():
    q, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(6, 3)))
    for w in (q, q.T):
        assert WeightOrthogonal().loss(layers_of(w)) < 1e-28


def test_the_gradient_of_the_spectral_penalty_is_that_of_scipys_singular_vectors(lib):
    from scipy.linalg import svd

    u, _, vt = svd(np.random.default_rng(4).normal(size=(5, 4)))
    s = np.array([3, 0.5, 0.2, 0.1])  # so far apart that few iterations find the first
    w = u[:, :4] * s @ vt
    penalty, gradient = with_gradient(lib, WeightSpectral(), w)
    assert penalty == pytest.approx(s[0] ** 2 / 2, rel=1e-9)
    np.testing.assert_allclose(gradient, s[0] * np.outer(u[:, 0], vt[0]), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("shape", "stated"), [((10, 10), 4e-3), ((100, 20), 6e-2), ((64, 64), 6e-2)])
def test_random_matrices_are_within_the_stated_error_and_never_above_the_true_value(shape, stated):
    rng = np.random.default_rng(5)
    errors = []
    for _ in range(40):
        w = rng.normal(size=shape)
        errors.append(1 - WeightSpectral().loss(layers_of(w)) / spectral(None, w))
    assert min(errors) > -1e-12
    assert np.mean(np.array(errors) < stated) >= 0.9


def test_a_matrix_that_is_orthogonal_to_a_start_of_ones_has_its_singular_value():
    assert WeightSpectral().loss(layers_of(np.array([[1.0, -1.0]]))) == pytest.approx(1)
    assert WeightSpectral().loss(layers_of(np.array([[1.0], [-1.0]]))) == pytest.approx(1)


# Where gradients are special, and what a dtype can hold


@pytest.mark.parametrize(("cls", "expected"), [(WeightOrthogonal, 2), (WeightSpectral, 0), (WeightMaxNorm, 0)])
def test_weights_of_zero_have_a_gradient_of_zero(lib, cls, expected):
    penalty, gradient = with_gradient(lib, cls(), np.zeros((3, 2)))
    assert penalty == expected
    np.testing.assert_array_equal(gradient, np.zeros((3, 2)))


@pytest.mark.parametrize("default_mode", [False, True])
def test_singular_values_whose_products_underflow_or_overflow_are_found(lib, default_mode):
    w = lib.tensor("w")
    penalty = WeightSpectral(iterations=8).loss(layers_of(w))
    function = lib.function([w], [penalty, lib.grad(penalty, w)], default_mode=default_mode)
    for size in (1e-150, 1e150):
        found, gradient = function(np.array([[3.0, 0.0], [0.0, 1.0]]) * size)
        assert found == pytest.approx(4.5 * size * size, rel=1e-6, abs=0)
        np.testing.assert_allclose(gradient / size, [[3, 0], [0, 0]], rtol=1e-6, atol=1e-6)


def test_norms_below_the_bound_are_free_and_others_are_pulled_to_it(lib):
    w = np.array([[3.0, 0.5], [4.0, 0.0]])
    penalty, gradient = with_gradient(lib, WeightMaxNorm(c=2), w)
    assert penalty == pytest.approx(9)
    np.testing.assert_allclose(gradient, [[6 * 0.6, 0], [6 * 0.8, 0]])


@pytest.mark.parametrize("cls", CLASSES)
def test_float16_gives_what_float64_gives(cls):
    half = (np.random.default_rng(6).normal(size=(30, 8)) / 3).astype("float16")
    found, expected = (cls().loss(layers_of(w)) for w in (half, half.astype("float64")))
    assert found == pytest.approx(expected, rel=2e-3)


# Parameters of more than two axes


@pytest.mark.parametrize("cls", CLASSES)
def test_filters_become_matrices_as_the_option_says(lib, cls):
    filters = np.random.default_rng(7).normal(size=(3, 2, 2, 4))
    w = lib.tensor("w", ndim=4)
    for axis, matrix in ((0, filters.reshape(3, 16)), (-1, filters.reshape(12, 4))):
        regularizer = cls(matrix_axis=axis)
        expected = cls().loss(layers_of(matrix))
        assert regularizer.loss(layers_of(filters)) == pytest.approx(expected, rel=1e-12)
        assert lib.evaluate(regularizer.loss(layers_of(w)), w=filters) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("cls", CLASSES)
def test_filters_without_the_option_are_an_error_that_explains(cls):
    with pytest.raises(regkit.GraphError) as error:
        cls().loss(layers_of(np.ones((3, 2, 2, 4))))
    assert str(error.value) == (
        f"parameter 'hid1.w' has 4 axes, and {cls.__name__} is about matrices. Give matrix_axis=0 to keep the first "
        "axis, as for filters of (out, in, ...), or matrix_axis=-1 to keep the last, as for (..., in, out); or a "
        "pattern that selects matrices"
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WeightMaxNorm(c=-1), "WeightMaxNorm got c=-1; accepted: a finite real number of at least 0"),
        (lambda: WeightMaxNorm(axis=2), "WeightMaxNorm got axis=2; accepted: 0, 1"),
        (lambda: WeightSpectral(iterations=0), "WeightSpectral got iterations=0; accepted: an integer of at least 1"),
        (
            lambda: WeightSpectral(iterations=2.5),
            "WeightSpectral got iterations=2.5; accepted: an integer of at least 1",
        ),
        (lambda: WeightOrthogonal(matrix_axis=1), "WeightOrthogonal got matrix_axis=1; accepted: None, 0, -1"),
        (lambda: WeightOrthogonal(matrix_axis=0.0), "WeightOrthogonal got matrix_axis=0.0; accepted: None, 0, -1"),
    ],
)
def test_an_option_that_is_not_accepted_is_named(make, message):
    with pytest.raises(regkit.OptionError) as error:
        make()
    assert str(error.value) == message


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_the_spectral_norm_of_a_parameter_without_elements_is_0(lib, shape):
    w = np.zeros(shape)
    assert WeightSpectral().loss(layers_of(w)) == 0
    assert lib.evaluate(WeightSpectral().loss(layers_of(lib.tensor("w"))), w=w) == 0
