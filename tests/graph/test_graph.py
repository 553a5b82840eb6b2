"""Gradients, random streams, and telling libraries apart."""

from __future__ import annotations

import importlib
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import regkit
from regkit import graph

ZEROS = np.zeros((200, 50))


def test_an_expression_tells_its_library(lib):
    assert graph.library(lib.tensor("z")) == lib.name
    assert graph.library(lib.shared(1.0)) == lib.name
    assert graph.library(lib.tensor("z").sum() * 2) == lib.name
    assert graph.library(np.float32(1)) == "numpy"


@pytest.mark.parametrize("value", [None, "z", 1.0, [1.0], np.array("z"), np.dtype("float64"), types.SimpleNamespace()])
def test_what_is_no_expression_is_named_with_its_type_and_the_libraries_there_are(value):
    with pytest.raises(regkit.GraphError) as error:
        graph.library(value)
    kind = type(value)
    assert str(error.value) == (
        f"{value!r} of type {kind.__module__}.{kind.__qualname__} is not an expression of a supported library: "
        "theano, aesara, pytensor, numpy"
    )


@pytest.mark.subprocess
def test_the_rooms_of_the_graph_are_imported_without_numpy():
    rooms = [path.stem for path in Path(graph.__file__).parent.glob("[!_]*.py")]
    imports = "".join(f"import regkit.graph.{room}; " for room in rooms)
    subprocess.run([sys.executable, "-c", f"{imports}import sys; assert 'numpy' not in sys.modules"], check=True)


def test_classes_and_types_of_a_library_are_no_expressions_of_it(lib):
    for value in (lib.tensor("z").type, type(lib.tensor("z")), lib.module.config):
        with pytest.raises(regkit.GraphError):
            graph.library(value)


# Gradients


def test_a_gradient_is_that_of_the_formula(lib):
    x, y = lib.tensor("x"), lib.tensor("y")
    cost = (x**2 * y).sum()
    at = {"x": np.array([[1.0, 2.0]]), "y": np.array([[3.0, -1.0]])}
    np.testing.assert_allclose(lib.evaluate(graph.gradient(cost, x), **at), [[6, -4]])
    by_x, by_y = graph.gradient(cost, [x, y])
    np.testing.assert_allclose(lib.evaluate(by_x, **at), [[6, -4]])
    np.testing.assert_allclose(lib.evaluate(by_y, **at), [[1, 4]])


def test_what_has_no_gradient_is_refused(lib):
    x, y = lib.tensor("x"), lib.tensor("y")
    with pytest.raises(regkit.GraphError, match="a gradient is that of a scalar, not of"):
        graph.gradient(x, x)
    with pytest.raises(regkit.GraphError, match="does not depend on y, so it has no gradient there"):
        graph.gradient(x.sum(), y)
    with pytest.raises(regkit.GraphError, match="an array has its value and no graph"):
        graph.gradient(np.float64(1), x)
    with pytest.raises(regkit.GraphError, match="cannot be in one graph"):
        graph.gradient(x.sum(), np.ones(2))


def test_gradients_do_not_pass_through_what_is_held(lib):
    x = lib.tensor("x")
    cost = (graph.held(x**2) * x).sum()
    at = {"x": np.array([[1.0, -3.0]])}
    assert lib.evaluate(cost, **at) == -26
    np.testing.assert_array_equal(lib.evaluate(graph.gradient(cost, x), **at), [[1, 9]])  # x^2 where x^3 has 3 x^2
    with pytest.raises(regkit.GraphError, match="does not depend on x, so it has no gradient there"):
        graph.gradient(graph.held(x).sum(), x)


def test_what_is_held_of_an_array_is_the_array():
    array = np.array([1.0, 2.0])
    assert graph.held(array) is array


def generator(lib):
    """A generator that nothing moves on, as those of PyMC's random variables."""
    made = np.random.RandomState(1) if lib.name == "theano" else np.random.default_rng(1)  # theano knows no others
    importlib.import_module(f"{lib.name}.tensor.random.var" if lib.name == "theano" else f"{lib.name}.tensor.random")
    return lib.shared(made)


@pytest.mark.parametrize("moved_on", [True, False])
def test_a_jacobian_is_that_of_the_draws_of_the_graph(lib, moved_on):
    x = lib.tensor("x", ndim=1)
    if moved_on:
        draws = graph.random_stream(x, 3).normal(x)
    else:
        hidden = {"return_next_rng": True} if lib.name == "pytensor" else {}
        draws = importlib.import_module(f"{lib.name}.tensor.random.basic").normal(
            0, 1, size=x.shape, rng=generator(lib), **hidden
        )
        draws = draws[1] if hidden else draws
    rows = graph.jacobian(draws * x**2, x)
    found, drawn = lib.function([x], [rows, draws], rewrites=False)(np.array([1.0, -3.0, 0.5]))
    np.testing.assert_allclose(found, np.diag(2 * drawn * [1.0, -3.0, 0.5]))
    assert np.abs(drawn).min() > 0


def test_a_jacobian_by_what_was_drawn_holds_it_and_nothing_before_it(lib):
    x = lib.tensor("x", ndim=1)
    noisy = x + graph.random_stream(x, 3).normal(x)
    rows = graph.jacobian(noisy * graph.random_stream(x, 4).bernoulli(x, 0.5), noisy)
    again = graph.gradient((rows**2 * noisy).sum(), x)  # rows do not depend on x
    found, gradient = lib.function([x], [rows, again], rewrites=False)(np.ones(20))
    assert 0 < np.diag(found).sum() < 20
    np.testing.assert_array_equal(found, np.diag(np.diag(found)))
    np.testing.assert_array_equal(gradient, np.diag(found))


def test_a_jacobian_of_one_element_has_its_axis_too(lib):
    x = lib.tensor("x", ndim=1)
    rows = graph.jacobian(lib.tensor_module.stack([(x**2).sum()]), x)
    np.testing.assert_array_equal(lib.evaluate(rows, x=np.array([1.0, 2.0])), [[2, 4]])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_mean_of_many_terms_has_their_dtype_or_float32_and_its_sum_does_not_overflow(lib, dtype):
    values = np.linspace(60_000, 61_000, 40).astype(dtype)  # whose sum is beyond float16
    eager = graph.mean(list(values))
    x = lib.tensor("x", dtype, 1)
    compiled = lib.evaluate(graph.mean([x[i] for i in range(40)]), x=values)
    for found in (eager, compiled):
        assert found.dtype == ("float64" if dtype == "float64" else "float32")
        assert found == pytest.approx(60_500, rel=1e-3)


def test_a_mean_of_no_terms_is_refused():
    with pytest.raises(regkit.GraphError, match="the total of no terms"):
        graph.mean([])


# Random streams


def drawn(lib, stream, method="normal", *arguments, dtype="float64"):
    z = lib.tensor("z", dtype)
    return lib.function([z], getattr(stream, method)(z, *arguments))


def stream_of(lib, seed):
    return graph.random_stream(lib.tensor("any"), seed)


def test_draws_differ_from_call_to_call_without_updates_being_passed(lib):
    function = drawn(lib, stream_of(lib, 1))
    first, second = function(ZEROS), function(ZEROS)
    assert first.shape == ZEROS.shape
    assert np.abs(first - second).min() > 0


def test_draws_differ_from_call_to_call_in_the_librarys_default_mode(lib):
    z = lib.tensor("z")
    function = lib.function([z], stream_of(lib, 1).normal(z), default_mode=True)
    assert np.abs(function(ZEROS) - function(ZEROS)).min() > 0


def test_a_host_may_pass_the_updates_itself(lib):
    stream, z = stream_of(lib, 1), lib.tensor("z")
    draws = stream.normal(z)
    ((generator, next_state),) = stream.updates()
    function = lib.function([z], draws, updates=[(generator, next_state)])
    expected = drawn(lib, stream_of(lib, 1))
    for _ in range(3):
        np.testing.assert_array_equal(function(ZEROS), expected(ZEROS))


def test_one_seed_gives_the_same_draws_and_each_draw_of_a_stream_its_own(lib):
    one, same, other, listed = (stream_of(lib, seed) for seed in (1, 1, 2, [1, 2]))
    first, second = drawn(lib, one)(ZEROS), drawn(lib, one)(ZEROS)
    np.testing.assert_array_equal(first, drawn(lib, same)(ZEROS))
    for different in (
        second,
        drawn(lib, other)(ZEROS),
        drawn(lib, listed)(ZEROS),
        drawn(lib, stream_of(lib, None))(ZEROS),
    ):
        assert np.abs(first - different).min() > 0
        assert abs(np.corrcoef(first.ravel(), different.ravel())[0, 1]) < 0.05


def test_normal_draws_have_mean_0_and_deviation_1_compiled_and_in_arrays(lib):
    for draws in (drawn(lib, stream_of(lib, 3))(ZEROS), graph.random_stream(ZEROS, 3).normal(ZEROS)):
        assert abs(draws.mean()) < 5 / np.sqrt(draws.size)
        assert abs(draws.std() - 1) < 5 / np.sqrt(2 * draws.size)
        assert abs((np.abs(draws) < 1).mean() - 0.6827) < 5 * np.sqrt(0.6827 * 0.3173 / draws.size)


@pytest.mark.parametrize("probability", [0, 0.25, 1])
def test_bernoulli_draws_are_1_as_often_as_the_probability_says(lib, probability):
    compiled = drawn(lib, stream_of(lib, 4), "bernoulli", probability)(ZEROS)
    live = drawn(lib, stream_of(lib, 4), "bernoulli", lib.shared(float(probability)))(ZEROS)
    eager = graph.random_stream(ZEROS, 4).bernoulli(ZEROS, probability)
    np.testing.assert_array_equal(live, compiled)
    for draws in (compiled, eager):
        assert set(np.unique(draws)) <= {0.0, 1.0}
        deviation = np.sqrt(probability * (1 - probability) / draws.size)
        assert abs(draws.mean() - probability) <= 5 * deviation


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("method", ["normal", "bernoulli"])
def test_draws_have_the_dtype_and_the_shape_of_what_they_are_drawn_for(lib, floatX, dtype, method):
    arguments = (0.5,) if method == "bernoulli" else ()
    draws = drawn(lib, stream_of(lib, 5), method, *arguments, dtype=dtype)(np.zeros((2, 3), dtype))
    assert (draws.dtype, draws.shape) == (dtype, (2, 3))
    scalar = lib.tensor("s", dtype, 0)
    assert getattr(stream_of(lib, 5), method)(scalar, *arguments).ndim == 0
    eager = getattr(graph.random_stream(np.zeros(3, dtype), 5), method)(np.zeros((4, 1), dtype), *arguments)
    assert (eager.dtype, eager.shape) == (dtype, (4, 1))


@pytest.mark.parametrize("dtype", ["int8", "int64", "bool", "float16"])
def test_bernoulli_draws_for_narrow_dtypes_are_as_often_1(lib, dtype):
    for probability, least, most in ((0.5, 4500, 5500), (1.0, 10000, 10000)):
        zeros = ZEROS.astype(dtype)
        compiled = drawn(lib, stream_of(lib, 7), "bernoulli", probability, dtype=dtype)(zeros)
        eager = graph.random_stream(zeros, 7).bernoulli(zeros, probability)
        for draws in (compiled, eager):
            assert draws.dtype == dtype
            assert least <= (draws == 1).sum() <= most


def test_normal_draws_that_would_be_cut_off_are_refused():
    with pytest.raises(regkit.GraphError, match="normal draws of dtype int32 would be cut off"):
        graph.random_stream(ZEROS, 1).normal(np.zeros(2, "int32"))


@pytest.mark.parametrize("probability", [-0.1, 1.5, float("nan"), "0.5", None])
def test_a_probability_that_is_none_is_refused(probability):
    with pytest.raises(regkit.OptionError, match="bernoulli got probability=.*; accepted: from 0 to 1"):
        graph.random_stream(ZEROS, 1).bernoulli(ZEROS, probability)


def test_gradients_go_past_random_draws(lib):
    z = lib.tensor("z")
    noisy = z + stream_of(lib, 6).normal(z)
    value, gradient = lib.function([z], [noisy, graph.gradient((noisy**2).sum(), z)])(ZEROS)
    np.testing.assert_allclose(gradient, 2 * value)


@pytest.mark.parametrize("seed", [-1, "1", 1.5, [1, -1]])
def test_a_seed_that_is_none_is_refused(seed):
    with pytest.raises(regkit.OptionError) as error:
        graph.random_stream(ZEROS, seed)
    assert str(error.value) == f"random_stream got seed={seed!r}; accepted: integers of at least 0, or None"


def test_a_stream_draws_for_its_own_library_only(lib):
    with pytest.raises(
        regkit.GraphError, match=f"a random stream of {lib.name} cannot draw for an expression of numpy"
    ):
        stream_of(lib, 1).normal(ZEROS)
