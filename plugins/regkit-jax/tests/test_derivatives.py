"""Penalties of derivatives, which compute the network again, against derivatives by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import regkit_jax

import regkit

CONTRACTIVE = dict(weight=0.7, pattern="hid*", wrt="in")


def loss(regs, params, x, key=None):
    def forward(run):
        h = run.tap("in", x)
        for name in ("hid1", "hid2"):
            h = run.tap(name, jnp.tanh(jnp.dot(h, params["w1" if name == "hid1" else "w2"])))
        return h

    run = regkit_jax.Run(regs, key=key, again=forward)
    return (forward(run) ** 2).sum() + run.loss()


def by_hand(params, x):
    def hid1(x):
        return jnp.tanh(jnp.dot(x, params["w1"]))

    def hid2(x):
        return jnp.tanh(jnp.dot(hid1(x), params["w2"]))

    norms = [(jax.vmap(jax.jacfwd(hid))(x) ** 2).sum() for hid in (hid1, hid2)]
    return (hid2(x) ** 2).sum() + 0.7 * sum(norms) / 2


@pytest.mark.parametrize("outer", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_contractive_and_its_gradient_are_those_by_hand(outer, params, x):
    regs = regkit.build(contractive=CONTRACTIVE)
    found = outer(jax.value_and_grad(lambda params, x: loss(regs, params, x)))(params, x)
    expected = jax.value_and_grad(by_hand)(params, x)
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12), found, expected)


def test_what_runs_again_draws_the_same(x, key):
    regs = regkit.build(dropout=dict(weight=0.5, pattern="hid"), contractive=dict(weight=1, pattern="hid", wrt="in"))

    def forward(run):
        return run.tap("hid", 3 * run.tap("in", x))

    run = regkit_jax.Run(regs, key=key, again=forward)
    kept = (forward(run) != 0).sum()
    assert 0 < kept < x.size
    np.testing.assert_allclose(run.loss(), kept * (2 * 3) ** 2, rtol=1e-12)


def test_without_again_a_derivative_is_refused(x):
    run = regkit_jax.Run(regkit.build(contractive=CONTRACTIVE))
    run.tap("hid1", 2 * run.tap("in", x))
    with pytest.raises(regkit.GraphError, match=r"JAX differentiates functions.* Pass regkit_jax.Run\(..., again="):
        run.loss()


def test_an_output_that_does_not_depend_on_the_input_is_refused(x):
    def forward(run):
        run.tap("in", x)
        run.tap("hid1", 2 * x)  # and not what tap has returned

    run = regkit_jax.Run(regkit.build(contractive=CONTRACTIVE), again=forward)
    forward(run)
    with pytest.raises(regkit.GraphError, match="does not depend on what it is differentiated by"):
        run.loss()


def test_an_again_that_taps_nothing_in_its_run_is_refused(x):
    run = regkit_jax.Run(regkit.build(contractive=CONTRACTIVE), again=lambda run: None)
    run.tap("hid1", 2 * run.tap("in", x))
    with pytest.raises(regkit.GraphError, match="again tapped nothing in the run that it was given"):
        run.loss()


def test_an_again_that_computes_something_else_is_refused(x):
    def forward(run, units=4):
        run.tap("hid1", 2 * run.tap("in", x)[:, :units])

    run = regkit_jax.Run(regkit.build(contractive=CONTRACTIVE), again=lambda run: forward(run, 2))
    forward(run)
    with pytest.raises(regkit.GraphError, match="What again does has to be the same every time"):
        run.loss()


def test_a_live_weight_beside_a_derivative_is_read_as_at_first(x):
    regs = regkit.build(contractive={**CONTRACTIVE, "weight": regkit.Live(0.5)}, hidden_l1=dict(weight=0, pattern="in"))

    def forward(run):
        run.tap("hid1", 2 * run.tap("in", x))

    run = regkit_jax.Run(regs, again=forward)
    forward(run)
    np.testing.assert_allclose(run.loss(), 0.5 * 4 * x.size, rtol=1e-12)
