"""Penalties of activations: formulas beside other implementations, gradients where they are special, every promise."""

from __future__ import annotations

import numpy as np
import pytest
from regkit_activations import HiddenDecorrelation, HiddenHoyer, HiddenKL, HiddenL2, HiddenVariation

import regkit
import regkit.testing

CLASSES = (HiddenL2, HiddenHoyer, HiddenVariation, HiddenKL, HiddenDecorrelation)
REDUCED = (HiddenL2, HiddenHoyer, HiddenVariation)


# NumPy twins: of one output, from the formulas, by other ways than the plugins' own


def l2(self, z):
    return np.linalg.norm(z) ** 2 / {"sum": 1, "mean": z.size, "batch": len(z)}[self.reduction]


def hoyer(self, z):
    measures = [np.sum(np.abs(example)) ** 2 / np.sum(example**2) if example.any() else 0.0 for example in z]
    return np.sum(measures) / (1 if self.reduction == "sum" else len(z))


def variation(self, z):
    steps = np.abs(np.diff(z, axis=self.axis))
    return np.sum(steps) / {"sum": 1, "mean": steps.size, "batch": len(z)}[self.reduction]


def kl(self, z):
    means = z.reshape(-1, z.shape[-1]).mean(axis=0)
    return sum(
        self.rho * np.log(self.rho / mean) + (1 - self.rho) * np.log((1 - self.rho) / (1 - mean)) for mean in means
    )


def decorrelation(self, z):
    covariances = np.atleast_2d(np.cov(z.reshape(-1, z.shape[-1]), rowvar=False, bias=True))
    return np.sum(np.triu(covariances, 1) ** 2)


TWINS = dict(zip(CLASSES, (l2, hoyer, variation, kl, decorrelation)))


def twin(regularizer, layers, outputs):
    arrays = regkit.testing.selected(regularizer, layers, outputs).values()
    return np.mean([TWINS[type(regularizer)](regularizer, array) for array in arrays])


SIGMOID, OF_TIME = regkit.testing.Network("sigmoid"), regkit.testing.Network(axes=3)
test_promises_of_l2 = regkit.testing.pytest_checks("hidden_l2", twin=twin)
test_promises_of_hoyer = regkit.testing.pytest_checks("hidden_hoyer", twin=twin, options={"reduction": "batch"})
test_promises_of_variation = regkit.testing.pytest_checks(
    "hidden_variation", twin=twin, options={"axis": 1, "reduction": "mean"}, network=OF_TIME
)
test_promises_of_kl = regkit.testing.pytest_checks("hidden_kl", twin=twin, options={"rho": 0.1}, network=SIGMOID)
test_promises_of_decorrelation = regkit.testing.pytest_checks(
    "hidden_decorrelation",
    twin=twin,
    network=OF_TIME,
    expected_failures={"penalty_and_gradient_are_finite_for_large_numbers": "fourth powers of 1e18 are beyond float32"},
)


# Formulas


@pytest.mark.parametrize("reduction", ["sum", "mean", "batch"])
@pytest.mark.parametrize("cls", REDUCED)
def test_every_reduction_is_that_of_the_twin_on_any_number_of_axes(cls, reduction):
    regularizer = cls("z", reduction=reduction)
    for shape in ((4, 3), (3, 4, 5), (2, 3, 2, 4)):
        z = np.random.default_rng(1).normal(size=shape)
        assert regularizer.loss([], {"z": z}) == pytest.approx(TWINS[cls](regularizer, z), rel=1e-12)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
def test_variation_is_along_any_axis_what_numpys_diff_says(lib, axis):
    array = np.random.default_rng(2).normal(size=(3, 4, 5))
    z = lib.tensor("z", ndim=3)
    for reduction in ("sum", "mean", "batch"):
        regularizer = HiddenVariation("z", axis=axis, reduction=reduction)
        expected = variation(regularizer, array)
        assert regularizer.loss([], {"z": array}) == pytest.approx(expected, rel=1e-12)
        assert lib.evaluate(regularizer.loss([], {"z": z}), z=array) == pytest.approx(expected, rel=1e-12)


def test_the_divergence_is_scipys(lib):
    from scipy.special import rel_entr

    array = np.random.default_rng(3).uniform(size=(6, 4))
    means, z = array.mean(axis=0), lib.tensor("z")
    expected = (rel_entr(0.1, means) + rel_entr(0.9, 1 - means)).sum()
    assert lib.evaluate(HiddenKL("z", rho=0.1).loss([], {"z": z}), z=array) == pytest.approx(expected, rel=1e-12)


def test_units_are_the_last_axis_and_all_others_are_examples():
    z = np.random.default_rng(4).uniform(size=(3, 4, 5))
    for regularizer in (HiddenKL("z"), HiddenDecorrelation("z")):
        assert regularizer.loss([], {"z": z}) == pytest.approx(regularizer.loss([], {"z": z.reshape(12, 5)}), rel=1e-12)


def test_small_covariances_count_beside_large_variances_in_float32():
    signs = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]], "float32")
    z = np.hstack([1000 * signs, 0.001 * signs[:, :1]])  # the covariance of the first and the last is 1
    assert HiddenDecorrelation("z").loss([], {"z": z}) == pytest.approx(1, rel=1e-5)


def test_the_measure_of_hoyer_counts_active_units_whatever_their_size(lib):
    active = np.array([[1.0, -1.0, 1.0, 0.0]])
    z = lib.tensor("z")
    function = lib.function([z], HiddenHoyer("z").loss([], {"z": z}))
    for size in (1e-200, 1.0, 1e200):
        assert function(active * size) == pytest.approx(3, rel=1e-12)


# Metrics


@pytest.mark.parametrize("cls", CLASSES)
def test_metrics_are_the_sparsity_of_the_outputs_and_means_over_them(lib, cls):
    arrays = [np.random.default_rng(7).integers(-1, 2, shape).astype("float32") for shape in ((6, 5), (2, 3, 4))]
    arrays[0][:, 1] = 0
    units = [array.reshape(-1, array.shape[-1]) for array in arrays]
    expected = {
        "zeros": np.mean([(array == 0).mean() for array in arrays]),
        "l0": np.mean([np.count_nonzero(array, axis=1).mean() for array in units]),
        "dead": np.mean([(~array.any(axis=0)).mean() for array in units]),
    }
    assert expected["dead"] >= 0.1
    inputs = [lib.tensor(f"z{array.ndim}", "float32", array.ndim) for array in arrays]
    found = cls("z*").metrics([], {z.name: z for z in inputs})
    assert found.keys() == expected.keys()
    values = lib.function(inputs, list(found.values()))(*arrays)
    np.testing.assert_allclose(values, list(expected.values()), rtol=1e-6)
    on_arrays = cls("z*").metrics([], {"z2": arrays[0], "z3": arrays[1]})
    np.testing.assert_allclose([on_arrays[name] for name in expected], list(expected.values()), rtol=1e-6)


# Where gradients are special


def with_gradient(lib, regularizer, array):
    z = lib.tensor("z", str(array.dtype), array.ndim)
    penalty = regularizer.loss([], {"z": z})
    return lib.function([z], [penalty, lib.grad(penalty, z)])(array)


@pytest.mark.parametrize("cls", [HiddenL2, HiddenHoyer, HiddenVariation, HiddenDecorrelation])
def test_activations_of_zero_cost_nothing_and_have_a_gradient_of_zero(lib, cls):
    penalty, gradient = with_gradient(lib, cls("z"), np.zeros((3, 4)))
    assert penalty == 0
    np.testing.assert_array_equal(gradient, np.zeros((3, 4)))


def test_a_dead_unit_is_pulled_by_the_divergence_and_a_saturated_one_too(lib):
    array = np.array([[0.0, 1.0, -2.0, 3.0, 0.05]] * 4)
    penalty, gradient = with_gradient(lib, HiddenKL("z"), array)
    near = 2.0**-20
    below = 0.05 * np.log(0.05 / near) + 0.95 * np.log(0.95 / (1 - near))
    above = 0.05 * np.log(0.05 / (1 - near)) + 0.95 * np.log(0.95 / near)
    assert penalty == pytest.approx(2 * below + 2 * above, rel=1e-9)
    up, down = (-0.05 / near + 0.95) / 4, (0.95 / near - 0.05) / 4
    np.testing.assert_allclose(gradient, [[up, down, up, down, 0]] * 4, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_the_gradient_of_hoyers_measure_is_that_of_the_formula_at_any_size(lib, size):
    z = np.array([[3.0, -4.0, 0.0]]) * size
    _, gradient = with_gradient(lib, HiddenHoyer("z"), z)
    np.testing.assert_allclose(gradient * size, [[2 * 7 / 25 * (1 - 21 / 25), 2 * 7 / 25 * (-1 + 28 / 25), 0]])


@pytest.mark.parametrize("cls", CLASSES)
def test_without_examples_the_penalty_is_nothing(lib, cls):
    for shape in ((0, 3), (0, 4, 3)):
        assert cls("z").loss([], {"z": np.zeros(shape)}) == 0
        penalty, gradient = with_gradient(lib, cls("z"), np.zeros(shape))
        assert penalty == 0
        assert gradient.shape == shape


def test_one_example_has_no_covariances_and_one_element_no_differences():
    one = np.random.default_rng(5).normal(size=(1, 4))
    assert HiddenDecorrelation("z").loss([], {"z": one}) == 0
    for reduction in ("sum", "mean", "batch"):
        assert HiddenVariation("z", reduction=reduction).loss([], {"z": one.T}) == 0


# Dtypes


@pytest.mark.parametrize("cls", CLASSES)
def test_float16_gives_what_float64_gives(lib, cls):
    half = np.random.default_rng(6).uniform(0.01, 0.99, size=(30, 8)).astype("float16")
    expected = cls("z").loss([], {"z": half.astype("float64")})
    for found in (cls("z").loss([], {"z": half}), with_gradient(lib, cls("z"), half)[0]):
        assert found.dtype == "float32"
        assert found == pytest.approx(expected, rel=2e-3)


def test_float16_counts_and_squares_beyond_its_largest_number():
    z = np.full((300, 300), 250, "float16")
    z[::2] = 0
    assert HiddenL2("z", reduction="mean").loss([], {"z": z}) == pytest.approx(31250, rel=2e-3)
    assert HiddenHoyer("z", reduction="mean").loss([], {"z": z}) == pytest.approx(150, rel=2e-3)
    assert HiddenVariation("z", axis=0, reduction="mean").loss([], {"z": z}) == pytest.approx(250, rel=2e-3)


@pytest.mark.parametrize("dtype", ["int64", "bool"])
@pytest.mark.parametrize("cls", CLASSES)
def test_integers_count_as_floats(lib, floatX, cls, dtype):
    array = np.array([[0, 1, 1], [1, 0, 1], [0, 0, 1]]).astype(dtype)
    expected = cls("z").loss([], {"z": array.astype("float64")})
    assert cls("z").loss([], {"z": array}) == pytest.approx(expected, rel=1e-12)
    penalty = cls("z").loss([], {"z": lib.tensor("z", dtype)})
    assert penalty.dtype == floatX
    assert lib.evaluate(penalty, z=array) == pytest.approx(expected, rel=1e-5)


# What is refused


@pytest.mark.parametrize("cls", [HiddenHoyer, HiddenKL, HiddenDecorrelation])
def test_an_output_without_units_is_an_error_that_names_it(cls):
    with pytest.raises(regkit.GraphError) as error:
        cls("z").loss([], {"z": np.ones(3)})
    assert str(error.value) == f"'z' has too few axes (1); {cls.__name__} expects (examples, units)"


def test_an_axis_that_an_output_does_not_have_is_an_error_that_names_it():
    with pytest.raises(regkit.GraphError) as error:
        HiddenVariation("z", axis=2).loss([], {"z": np.ones((2, 3))})
    assert str(error.value) == "'z' has 2 axes, so HiddenVariation finds no axis 2"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HiddenL2(reduction="max"), "HiddenL2 got reduction='max'; accepted: 'sum', 'mean', 'batch'"),
        (lambda: HiddenVariation(axis=1.0), "HiddenVariation got axis=1.0; accepted: an integer"),
        (lambda: HiddenVariation(axis=True), "HiddenVariation got axis=True; accepted: an integer"),
        (lambda: HiddenKL(rho=0), "HiddenKL got rho=0; accepted: a finite real number from 1e-06 to 0.999999"),
        (lambda: HiddenKL(rho="0.1"), "HiddenKL got rho='0.1'; accepted: a finite real number from 1e-06 to 0.999999"),
    ],
)
def test_an_option_that_is_not_accepted_is_named(make, message):
    with pytest.raises(regkit.OptionError) as error:
        make()
    assert str(error.value) == message


def test_numpys_numbers_are_options_like_pythons():
    assert type(HiddenKL(rho=np.float32(0.5)).rho) is float
    assert type(HiddenVariation(axis=np.int64(1)).axis) is int
