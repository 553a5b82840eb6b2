"""Compiled once: for any batch by `jax.export`, and for all sets that are equal."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import regkit_jax
from jax import export

import regkit

REDUCTIONS = [{"reduction": reduction} for reduction in ("sum", "mean", "batch")]
PENALTIES = {
    "contractive": [{"wrt": "in", **reduction} for reduction in REDUCTIONS],
    "hidden_decorrelation": [{}],
    "hidden_hoyer": REDUCTIONS,
    "hidden_kl": [{"rho": 0.1}],
    "hidden_l1": REDUCTIONS,
    "hidden_l2": REDUCTIONS,
    "hidden_variation": REDUCTIONS,
    "recurrent_norm": REDUCTIONS,
    "recurrent_state": REDUCTIONS,
}
CHANGES = [
    ("drop_path", {"weight": 0.5}),
    ("hidden_dropout", {"weight": 0.5}),
    ("hidden_noise", {"weight": 0.5}),
    ("hidden_threshold", {"threshold": 0.6}),
    ("hidden_topk", {"k": 2}),
]


def exported(function, *arguments):
    """Return a function that was exported for batches of any size, in the first axis of the first argument."""
    first, *others = arguments
    (batch,) = export.symbolic_shape("batch")
    shapes = [jax.ShapeDtypeStruct((batch, *first.shape[1:]), first.dtype), *map(jax.typeof, others)]
    return export.export(jax.jit(function))(*shapes).call


@pytest.mark.parametrize("alias", PENALTIES)
def test_a_penalty_and_its_gradient_are_exported_for_any_batch(alias):
    options = [{"weight": 0.3 + i / 7, "pattern": "h", **given} for i, given in enumerate(PENALTIES[alias])]
    regs = regkit.build({alias: options})
    w = jnp.asarray(np.random.default_rng(0).normal(size=(4, 5)))

    def loss(x, w):
        def forward(run):
            return run.tap("h", jax.nn.sigmoid(jnp.dot(run.tap("in", x), w)))

        run = regkit_jax.Run(regs, again=forward if alias == "contractive" else None)
        forward(run)
        return run.loss()

    step = jax.jit(jax.value_and_grad(loss, (0, 1)))
    x = jnp.asarray(np.random.default_rng(1).normal(size=(6, 4) if alias == "contractive" else (6, 3, 4)))
    compiled = exported(step, x, w)
    for batch in (x, x[:2]):
        for found, expected in zip(jax.tree.leaves(compiled(batch, w)), jax.tree.leaves(step(batch, w)), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("alias", "options"), CHANGES)
def test_a_change_is_exported_for_any_batch(alias, options, x, key):
    regs = regkit.build({alias: {"pattern": "h", **options}})

    def change(x, key):
        return regkit_jax.Run(regs, key=key).tap("h", x)

    compiled = exported(change, x, key)
    for batch in (x, x[:2]):
        np.testing.assert_allclose(compiled(batch, key), change(batch, key), rtol=1e-12)


@pytest.fixture
def penalty():
    """Return a function that is compiled for a set, and the sets that it was traced for."""
    traced = []

    @partial(jax.jit, static_argnums=0)
    def penalty(regs, x, live=None):
        traced.append(regs)
        run = regkit_jax.Run(regs, live=live)
        run.tap("hid", x)
        return run.loss()

    return penalty, traced


def test_sets_with_equal_configs_are_compiled_once(penalty):
    penalty, traced = penalty
    for weight, others in ((0.5, 0), (0.5, 0), (0.25, 1), (0.5, 1), (0.25, 1)):
        found = penalty(regkit.build(hidden_l1=dict(weight=weight, pattern="hid")), jnp.array([1.0, -3.0]))
        assert (float(found), len(traced)) == (4 * weight, 1 + others)


def test_a_set_with_a_live_weight_is_compiled_once_and_another_live_is_another_set(penalty):
    penalty, traced = penalty
    regs, other = (regkit.build(hidden_l1=dict(weight=regkit.Live(0.5), pattern="hid")) for _ in range(2))
    for weight in (0.5, 0.25):
        regs["hidden_l1"].weight.set(weight)
        assert float(penalty(regs, jnp.array([1.0, -3.0]), regs.live())) == 4 * weight
    assert len(traced) == 1
    penalty(other, jnp.array([1.0, -3.0]), other.live())
    assert len(traced) == 2
