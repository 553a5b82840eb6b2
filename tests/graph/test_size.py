"""Any number of penalties, and networks of any depth that the library itself can do."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import regkit

X = np.array([1.0, -2.0])


@pytest.fixture(autouse=True)
def _recursion_limit_untouched():
    before = sys.getrecursionlimit()
    yield
    assert sys.getrecursionlimit() == before


# A thousand outputs take minutes to rewrite on some libraries; what the rewriters do to 33 and 320 they do to more.
@pytest.mark.parametrize(
    "count", [1, 16, 17, 33, *(pytest.param(many, marks=pytest.mark.slow) for many in (320, 1000))]
)
def test_any_number_of_matching_outputs_forward_and_with_gradients(lib, count):
    x = lib.tensor("x", ndim=1)
    factors = [float(i % 7 - 3) for i in range(count)]
    params = [lib.shared(np.array([factor, factor])) for factor in factors]
    outputs = {f"hid{i}:out": x * param for i, param in enumerate(params)}
    loss = regkit.build(hidden_l1=dict(weight=0.5, pattern="hid*")).loss([], outputs)
    value, *gradients = lib.function([x], [loss, *lib.grad(loss, params)], rewrites=count < 1000)(X)
    assert value == pytest.approx(0.5 * 3 * np.abs(factors).sum() / count)
    for factor, gradient in zip(factors, gradients):
        np.testing.assert_allclose(gradient, 0.5 * np.sign(factor * X) * X / count)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("count", [1, 16, 17, 33, 70])
def test_a_total_has_the_dtype_of_its_terms_and_so_has_its_gradient(lib, dtype, count):
    z = lib.tensor("z", dtype, ndim=1)
    total = regkit.graph.total([(z * np.array(i % 7, dtype)).sum() for i in range(count)])
    gradient = regkit.graph.gradient(total, z)
    assert (total.dtype, gradient.dtype) == (dtype, dtype)
    value, slope = lib.function([z], [total, gradient])(np.array([1.0, 2.0], dtype))
    assert value == 3 * sum(i % 7 for i in range(count))
    np.testing.assert_array_equal(slope, [sum(i % 7 for i in range(count))] * 2)


def test_a_total_of_what_is_no_scalar_is_refused_whatever_the_number(lib):
    for terms in ([lib.tensor("z", ndim=1)] * 2, [lib.tensor("z", ndim=1)] * 40, [np.ones(3), np.ones(3)]):
        with pytest.raises(regkit.GraphError, match="term 0 of a total is not a scalar"):
            regkit.graph.total(terms)


def test_terms_of_different_dtypes_add_up_in_the_widest(lib):
    z = lib.tensor("z", "float32", ndim=0)
    terms = [z, z.astype("float64")] * 10
    total = regkit.graph.total(terms)
    assert total.dtype == "float64"
    assert lib.evaluate(total, z=np.float32(0.5)) == 10


class Peak(regkit.Regularizer):
    """The largest element of the outputs."""

    def loss(self, outputs):
        return regkit.graph.total([z.max() for _, z in regkit.select_outputs(outputs, "*")])


def test_a_set_of_many_regularizers_adds_up(lib):
    z = lib.tensor("z")
    loss = regkit.build(label=[Peak(weight=1) for _ in range(340)]).loss([], {"hid1:out": z})
    assert lib.evaluate(loss, z=np.ones((1, 2))) == 340


def test_a_total_of_arrays_is_their_sum():
    assert regkit.graph.total([np.float32(1), np.float32(2)]).dtype == "float32"
    assert regkit.graph.total([np.float64(i) for i in range(1000)]) == 499500


def test_a_mean_of_integers_is_one_of_floats():
    assert regkit.graph.mean(np.int64(i) for i in (1, 2)) == 1.5


def test_a_total_of_nothing_and_of_what_is_no_expression_are_refused():
    with pytest.raises(regkit.GraphError, match="the total of no terms"):
        regkit.graph.total([])
    with pytest.raises(regkit.GraphError, match="'term 1': None of type builtins.NoneType is not an expression"):
        regkit.graph.total([np.float64(1), None])


@pytest.mark.slow
def test_the_penalty_does_not_lower_the_depth_at_which_the_library_ends(lib):
    """theano-pymc's grad recurses through a chain of layers, and ends near 160; so does aesara's."""
    most = 300

    def differentiates(depth, regs):
        current = x = lib.tensor("x")
        outputs, params = {"in:out": x}, [lib.shared(np.eye(2)) for _ in range(depth)]
        for i, param in enumerate(params):
            current = lib.tensor_module.tanh(current.dot(param))
            outputs[f"hid{i}:out"] = current
        layers = [regkit.Layer(name) for name in outputs]
        try:
            lib.grad(((current - x) ** 2).mean() + regs.loss(layers, outputs), params)
        except RecursionError:
            return False
        return True

    works, fails = 20, most + 1
    while fails - works > 1:
        middle = (works + fails) // 2
        works, fails = (middle, fails) if differentiates(middle, regkit.build()) else (works, middle)
    assert differentiates(works, regkit.build(hidden_l1=0.1))


def test_a_draw_costs_the_same_however_deep_in_the_network_it_is(lib):
    def calls(depth):
        """How many Python functions are called to build a network with noise at every layer."""
        z, count = lib.tensor("z"), 0
        weights = lib.shared(np.eye(2))

        def seen(frame, event, argument):
            nonlocal count
            count += event == "call"

        before = sys.getprofile()
        sys.setprofile(seen)
        try:
            for seed in range(depth):
                z = lib.tensor_module.tanh(z.dot(weights))
                z = z + regkit.graph.random_stream(z, seed).normal(z)
        finally:
            sys.setprofile(before)
        return count

    calls(1)  # imports
    assert calls(40) < 1.5 * 4 * calls(10)
