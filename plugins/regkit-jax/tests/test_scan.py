"""Layers that are scanned: the same numbers as unrolled."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import regkit_jax

import regkit

PENALTIES = {
    "hidden_l1": {"pattern": "h"},
    "hidden_l2": {"pattern": "h", "reduction": "batch"},
    "hidden_kl": {"pattern": "h", "rho": 0.05},
    "hidden_decorrelation": {"pattern": "h"},
    "weight_l1": {},
    "weight_l2": {"pattern": "blocks.*"},
    "elastic_net": {},
    "group_lasso": {},
    "weight_spectral": {},
    "weight_orthogonal": {},
}


def regs_of(alias):
    return regkit.build({alias: {"weight": 0.3, **PENALTIES[alias]}})


@pytest.mark.parametrize("alias", PENALTIES)
def test_scanned_layers_have_the_penalty_and_gradient_of_unrolled_ones(alias, x):
    rng = np.random.default_rng(0)
    params = {"w": jnp.asarray(rng.normal(size=(5, 4, 4))), "b": jnp.asarray(rng.normal(size=(5, 4)))}

    def step(h, block):
        h = jax.nn.sigmoid(jnp.dot(h, block["w"]) + block["b"])
        return h, h

    def scanned(params):
        layers = regkit_jax.layers_of({"blocks": params})
        run = regkit_jax.Run(regs_of(alias), layers=layers, stacked={"blocks.*": 0})
        run.tap_each("h", jax.lax.scan(step, x, params)[1])
        return run.loss()

    def unrolled(params):
        layers = [
            regkit.Layer(f"block{i}", {f"blocks.{i}.w": params["w"][i], f"blocks.{i}.b": params["b"][i]}, role="hidden")
            for i in range(5)
        ]
        run = regkit_jax.Run(regs_of(alias), layers=layers)
        h = x
        for i in range(5):
            h = run.tap("h", step(h, jax.tree.map(lambda part: part[i], params))[0])  # noqa: B023
        return run.loss()

    found, expected = jax.jit(jax.value_and_grad(scanned))(params), jax.value_and_grad(unrolled)(params)
    assert float(found[0]) > 0
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


def test_a_change_of_slices_raises(x, key):
    run = regkit_jax.Run(regkit.build(dropout=dict(weight=0.5, pattern="h")), key=key)
    with pytest.raises(regkit.GraphError, match="dropout would change the outputs 'h', and the scan .* is over"):
        run.tap_each("h", x)


@pytest.mark.parametrize("stacked", [3, {"w": "0"}, {1: 0}, ["w"]])
def test_stacked_is_checked(stacked):
    with pytest.raises(regkit.OptionError, match="accepted: a mapping of globs to axes"):
        regkit_jax.Run(regkit.build(weight_l2=0.1), stacked=stacked)


def test_a_glob_of_stacked_that_matches_nothing_raises():
    params = {"blocks": {"w": jnp.ones((3, 2, 2))}}
    regs = regkit.build(weight_l2=0.1)
    with pytest.raises(regkit.NoMatchError, match=r"stacked: 'blocs.\*' matches none of the parameters: blocks.w"):
        regkit_jax.Run(regs, layers=regkit_jax.layers_of(params), stacked={"blocs.*": 0})
    with pytest.raises(regkit.NoMatchError, match=r"stacked: 'blocs.\*' matches none"):
        regkit_jax.after_step(regs, params, 0.1, stacked={"blocs.*": 0})


def test_an_axis_that_is_not_there_raises():
    with pytest.raises(regkit.GraphError, match="stacked has axis 2 for 'blocks.w', which has 2 axes"):
        regkit_jax.Run(
            regkit.build(weight_l2=0.1), layers=[regkit.Layer("b", {"blocks.w": jnp.ones((2, 2))})], stacked={"*": 2}
        )


def test_the_references_of_slices_go_by_their_names():
    w = jnp.arange(12.0).reshape(3, 2, 2)

    def distance(reference):
        regs = regkit.build(weight_distance=dict(weight=1.0, reference=reference))
        return regkit_jax.Run(regs, regkit_jax.layers_of({"b": {"w": w}}), stacked={"b.w": 0}).loss()

    with pytest.raises(
        regkit.GraphError, match="reference of 'b.w' has 3 axes, and the parameter 2. .* 'b.w', 'b.w@1'"
    ):
        distance({"b.w": np.zeros((3, 2, 2))})
    found = distance({"b.w": np.zeros((2, 2)), "b.w@1": np.zeros((2, 2)), "b.w@2": np.zeros((2, 2))})
    np.testing.assert_allclose(found, (np.arange(12.0) ** 2).sum() / 3, rtol=1e-12)
