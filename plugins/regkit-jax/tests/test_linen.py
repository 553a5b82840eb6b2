"""Modules of Flax Linen that are watched: values and gradients by hand, and what is not silent."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import regkit_jax
from flax import linen as nn

import regkit


class Block(nn.Module):
    @nn.compact
    def __call__(self, x):
        return x + jnp.tanh(nn.Dense(4, name="mlp", param_dtype=jnp.float64)(x))


class Net(nn.Module):
    remat: bool = False

    @nn.compact
    def __call__(self, x):
        block = (nn.remat(Block) if self.remat else Block)(name="block")
        return nn.Dense(2, name="out", param_dtype=jnp.float64)(block(block(x)))


@pytest.fixture
def params(x):
    return Net().init(jax.random.key(0), x)["params"]


def by_hand(params, x):
    mlp = lambda h: jnp.dot(h, params["block"]["mlp"]["kernel"]) + params["block"]["mlp"]["bias"]  # noqa: E731
    first = mlp(x)
    second = mlp(x + jnp.tanh(first))
    last = x + jnp.tanh(first) + jnp.tanh(second)
    out = jnp.dot(last, params["out"]["kernel"]) + params["out"]["bias"]
    kernels = params["block"]["mlp"]["kernel"], params["out"]["kernel"]
    norms = (abs(first).sum() + abs(second).sum()) / 2
    return (out**2).sum() + 0.3 * norms + 0.2 * sum((w**2).sum() for w in kernels) / 2


def test_penalties_and_gradients_are_those_by_hand_and_names_are_paths(params, x):
    regs = regkit.build(hidden_l1=dict(weight=0.3, pattern="block.mlp"), weight_l2=dict(weight=0.2, pattern="*.kernel"))

    def loss(params):
        with regkit_jax.linen.watch(params, regs) as run:
            return (Net().apply({"params": params}, x) ** 2).sum() + run.loss()

    found = jax.jit(jax.value_and_grad(loss))(params)
    expected = jax.value_and_grad(by_hand)(params, x)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


def test_a_change_goes_on_through_the_model(params, x):
    regs = regkit.build(hidden_topk=dict(k=1, pattern="block"))
    with regkit_jax.linen.watch(params, regs) as run:
        found = Net().apply({"params": params}, x)
    assert [name for name in run.outputs if "-" not in name] == ["block", "block@1"]
    assert ((run.outputs["block@1"] != 0).sum(axis=-1) == 1).all()
    last = run.outputs["block@1"]
    np.testing.assert_allclose(found, jnp.dot(last, params["out"]["kernel"]) + params["out"]["bias"], rtol=1e-12)


def test_a_module_within_remat_raises(params, x):
    regs = regkit.build(hidden_l1=dict(weight=0.3, pattern="block.mlp"))

    def loss(params):
        with regkit_jax.linen.watch(params, regs) as run:
            return (Net(remat=True).apply({"params": params}, x) ** 2).sum() + run.loss()

    with pytest.raises(regkit.GraphError, match="was tapped in a function that JAX has transformed"):
        jax.grad(loss)(params)


def test_penalties_of_parameters_hold_through_remat(params, x):
    regs = regkit.build(weight_l2=dict(weight=0.2, pattern="*.kernel"))

    def loss(params):
        with regkit_jax.linen.watch(params, regs) as run:
            return (Net(remat=True).apply({"params": params}, x) ** 2).sum() + run.loss()

    def plain(params):
        kernels = params["block"]["mlp"]["kernel"], params["out"]["kernel"]
        return (Net().apply({"params": params}, x) ** 2).sum() + 0.2 * sum((w**2).sum() for w in kernels) / 2

    for one, other in zip(jax.tree.leaves(jax.grad(loss)(params)), jax.tree.leaves(jax.grad(plain)(params))):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_a_watch_in_which_nothing_is_applied_and_one_outside_raise(params, x):
    regs = regkit.build(hidden_l1=dict(weight=0.3, pattern="block"))
    with (
        pytest.raises(regkit.GraphError, match="no module of Linen was called"),
        regkit_jax.linen.watch(params, regs),
    ):
        pass
    with (
        pytest.raises(regkit.GraphError, match="the run was made outside of the function"),
        regkit_jax.linen.watch(params, regkit.build(weight_l2=0.1)) as run,
    ):
        jax.grad(lambda params: (Net().apply({"params": params}, x) ** 2).sum() + run.loss())(params)


def test_a_regularizer_of_outputs_needs_a_pattern(params):
    with (
        pytest.raises(regkit.OptionError, match="A model of Linen"),
        regkit_jax.linen.watch(params, regkit.build(hidden_l1=0.1)),
    ):
        pass


def test_a_change_that_finds_nothing_to_change_raises_without_a_loss(params, x, key):
    regs = regkit.build(dropout=dict(weight=0.5, pattern="blok"))
    with (
        pytest.raises(regkit.NoMatchError, match="pattern 'blok' matches none of the outputs: block.mlp, block, out"),
        regkit_jax.linen.watch(params, regs, key=key),
    ):
        Net().apply({"params": params}, x)
    with regkit_jax.linen.watch(params, regs):  # predictions
        Net().apply({"params": params}, x)


def test_a_watch_of_other_parameters_than_those_that_are_differentiated_raises(params, x):
    def loss(inner):
        with regkit_jax.linen.watch(params, regkit.build(weight_l2=0.1)) as run:
            return (Net().apply({"params": inner}, x) ** 2).sum() + run.loss()

    with pytest.raises(regkit.GraphError, match="module 'block.mlp' was applied with parameters that JAX transforms"):
        jax.grad(loss)(params)
    assert float(loss(params)) > 0


def test_other_parameters_that_are_not_differentiated_may_be_applied_in_a_watch(params, x):
    def loss(inner):
        with regkit_jax.linen.watch(inner, regkit.build(weight_l2=1.0)) as run:
            return 0 * Net().apply({"params": params}, x).sum() + run.loss()

    gradients = jax.grad(loss)(params)
    np.testing.assert_allclose(gradients["out"]["kernel"], params["out"]["kernel"], rtol=1e-12)  # two kernels
