"""A run or watch outside of what JAX transforms: never a gradient of 0 or a change that is not applied."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import regkit_jax
from flax import nnx

import regkit

DECAY = regkit.build(weight_decay=5.0)
OUTSIDE = "the run was made outside of the function that JAX transforms here .*gradient of 0. Make the Run, or open the"


@pytest.fixture
def model():
    return nnx.Sequential(nnx.Linear(4, 3, rngs=nnx.Rngs(0)), nnx.Linear(3, 2, rngs=nnx.Rngs(1)))


@pytest.mark.parametrize("transform", [jax.grad, jax.jit, jax.checkpoint, jax.vmap, jax.jacfwd])
def test_a_run_of_parameters_opened_outside_raises(transform):
    run = regkit_jax.Run(DECAY, layers=[regkit.Layer("hid", {"hid.w": jnp.ones((2, 3))})])
    with pytest.raises(regkit.GraphError, match=OUTSIDE):
        transform(lambda w: (w**2).sum() + run.loss())(jnp.ones((2, 3)))


@pytest.mark.parametrize("transform", [nnx.grad, nnx.jit, nnx.remat])
def test_a_watch_opened_outside_raises_for_penalties_of_parameters(transform, model, x):
    with pytest.raises(regkit.GraphError, match=OUTSIDE), regkit_jax.nnx.watch(model, DECAY) as run:
        transform(lambda model: (model(x) ** 2).sum() + run.loss())(model)


@pytest.mark.parametrize("alias", ["dropout", "hidden_l1"])
def test_a_watch_of_which_no_module_was_called_raises(alias, model, x, key):
    regs = regkit.build({alias: {"weight": 0.5, "pattern": "layers.0"}})
    with (
        pytest.raises(regkit.GraphError, match="no module of the watched model was called.*open the watch inside"),
        regkit_jax.nnx.watch(model, regs, key=key),
    ):
        nnx.jit(lambda model: model(x))(model)


def test_a_watch_of_parameters_alone_needs_no_call(model):
    with regkit_jax.nnx.watch(model, DECAY) as run:
        found = run.loss()
    kernels = [np.asarray(layer.kernel[...]) for layer in model.layers]
    np.testing.assert_allclose(found, 5 * sum((w**2).sum() for w in kernels) / 2, rtol=1e-6)


@pytest.mark.parametrize("inner", [nnx.remat, nnx.jit, lambda f: f])
def test_within_the_function_a_model_may_be_called_through_others(inner, model, x):
    def loss(model):
        with regkit_jax.nnx.watch(model, DECAY) as run:
            return (inner(lambda model, x: model(x))(model, x) ** 2).sum() + run.loss()

    def hand(model):
        return (model(x) ** 2).sum() + 5 * sum((layer.kernel[...] ** 2).sum() for layer in model.layers) / 2

    found, expected = nnx.value_and_grad(loss)(model), nnx.value_and_grad(hand)(model)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_a_batch_of_one_example_under_vmap_raises(x):
    regs = regkit.build(hidden_l1=dict(weight=1.0, pattern="hid", reduction="batch"))

    def penalty(row):
        run = regkit_jax.Run(regs)
        run.tap("hid", row)
        return run.loss()

    with pytest.raises(regkit.GraphError, match=r"reduction='batch' divides by the first axis of 'hid', .* shape \(4,"):
        jax.vmap(penalty)(x)
    np.testing.assert_allclose(penalty(x), abs(np.asarray(x)).sum() / 6, rtol=1e-12)


def test_terms_come_out_of_jit():
    regs = regkit.build(hidden_l1=dict(weight=0.5, pattern="hid"))

    @jax.jit
    def terms(x):
        run = regkit_jax.Run(regs)
        run.tap("hid", x)
        return run.terms()

    (term,) = terms(jnp.array([1.0, -2.0]))
    assert (term.name, float(term.weight), float(term.penalty), float(term.weighted)) == ("hidden_l1", 0.5, 3.0, 1.5)


def test_a_change_that_holds_in_predictions_is_made_without_a_key():
    regs = regkit.build(hidden_topk=dict(k=1, pattern="hid"), dropout=dict(weight=0.5, pattern="hid"))
    run = regkit_jax.Run(regs)
    np.testing.assert_array_equal(run.tap("hid", jnp.array([[1.0, 3.0, 2.0]])), [[0.0, 3.0, 0.0]])
    assert run.loss() == 0


def test_a_watch_of_another_model_than_the_one_that_is_differentiated_raises(model, x):
    def loss(inner):
        with regkit_jax.nnx.watch(model, DECAY) as run:
            return (inner(x) ** 2).sum() + run.loss()

    with pytest.raises(regkit.GraphError, match="the watched model was not called, but another, whose parameters JAX"):
        nnx.grad(loss)(model)


@pytest.mark.parametrize("transform", [nnx.jit, lambda f: f])
def test_another_model_may_be_called_beside_the_watched_one(transform, model, x):
    teacher = nnx.clone(model)

    def loss(model, x):
        with regkit_jax.nnx.watch(model, DECAY) as run:
            return ((model(x) - teacher(x)) ** 2).sum() + run.loss()

    gradients = transform(nnx.grad(loss))(model, x)
    for i in range(2):  # the outputs are equal, so what is left is the decay: 5 / 2 of the squares
        np.testing.assert_allclose(gradients["layers"][i]["kernel"][...], 5 * model.layers[i].kernel[...], rtol=1e-5)


def test_a_gradient_by_the_input_may_close_over_the_watched_model(model, x):
    def loss(x):
        with regkit_jax.nnx.watch(model, DECAY) as run:
            return (model(x) ** 2).sum() + run.loss()

    np.testing.assert_allclose(jax.grad(loss)(x), jax.grad(lambda x: (model(x) ** 2).sum())(x), rtol=1e-5)


def with_jvp(f):
    function = jax.custom_jvp(f)
    function.defjvp(lambda values, tangents: (f(*values), (1 - jnp.tanh(values[0]) ** 2) * tangents[0]))
    return function


def with_vjp(f):
    function = jax.custom_vjp(f)
    function.defvjp(lambda x: (f(x), x), lambda x, cotangent: (cotangent * (1 - jnp.tanh(x) ** 2),))
    return function


@pytest.mark.parametrize("with_derivative", [with_jvp, with_vjp])
@pytest.mark.parametrize("alias", ["hidden_l1", "hidden_topk"])
def test_a_tap_within_a_function_that_has_a_derivative_of_its_own_raises(with_derivative, alias, x):
    regs = regkit.build({alias: {"pattern": "hid", **({"k": 1} if alias == "hidden_topk" else {"weight": 0.5})}})

    def loss(x):
        run = regkit_jax.Run(regs)
        h = with_derivative(lambda x: run.tap("hid", jnp.tanh(x)))(x)
        return h.sum() + run.loss()

    with pytest.raises(regkit.GraphError, match="output 'hid' is tapped where the transformation of the run is not"):
        jax.grad(loss)(x)


def test_what_a_function_with_a_derivative_of_its_own_returns_may_be_tapped(x):
    def loss(x):
        run = regkit_jax.Run(regkit.build(hidden_l1=dict(weight=0.5, pattern="hid")))
        return run.tap("hid", with_vjp(jnp.tanh)(x)).sum() + run.loss()

    expected = (1 + 0.5 * np.sign(x)) / np.cosh(x) ** 2
    np.testing.assert_allclose(jax.grad(loss)(x), expected, rtol=1e-12)


def test_a_tap_after_the_function_of_the_run_has_ended_raises(x, key):
    runs = []
    jax.jit(lambda key: runs.append(regkit_jax.Run(regkit.build(dropout=dict(weight=0.5, pattern="h")), key=key)))(key)
    with pytest.raises(regkit.GraphError, match="or after the function that made the run has ended"):
        runs[0].tap("h", x)
