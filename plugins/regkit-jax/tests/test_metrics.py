"""Metrics of a run: those of NumPy, under transformations, and what a weight that follows them gets to."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import regkit_jax
import regkit_jax.nnx
from flax import nnx

import regkit

Z = np.array([[1.0, 0.0, 0.0, 2.0], [0.0, 0.0, 0.0, 3.0]])
EXPECTED = {"hidden_l1.zeros": 5 / 8, "hidden_l1.l0": 1.5, "hidden_l1.dead": 0.5}
L1 = dict(weight=1.0, pattern=["*", "!tokens"])


def of_run(z):
    run = regkit_jax.Run(regkit.build(hidden_l1=L1))
    run.skip("tokens")
    run.tap("hid", z)
    return run.loss(), run.metrics()


def floats(metrics):
    return {name: float(value) for name, value in metrics.items()}


def test_metrics_are_those_of_numpy_beside_a_loss_that_is_differentiated():
    (loss, found), slopes = jax.jit(jax.value_and_grad(of_run, has_aux=True))(jnp.asarray(Z))
    assert floats(found) == pytest.approx(EXPECTED)
    assert float(loss) == 6
    np.testing.assert_array_equal(slopes[Z > 0], 1)


@pytest.mark.parametrize("alias", ["hidden_l1", "hidden_topk"])
def test_with_axis_name_they_are_of_the_whole_batch(alias):
    value = dict(weight=1.0, pattern="hid") if alias == "hidden_l1" else dict(k=4, pattern="hid")

    def metrics(z):
        run = regkit_jax.Run(regkit.build({alias: value}), axis_name="batch")
        run.tap("hid", z)
        return run.metrics()

    found = jax.vmap(metrics, axis_name="batch", out_axes=None)(jnp.asarray(Z))
    assert floats(found) == pytest.approx({name.replace("hidden_l1", alias): one for name, one in EXPECTED.items()})


def test_those_of_predictions_are_of_the_changes_that_hold_there():
    run = regkit_jax.Run(regkit.build(hidden_topk=dict(k=1, pattern="hid"), dropout=dict(weight=0.5, pattern="hid")))
    run.tap("hid", jnp.asarray([[1.0, 2.0, 3.0, 4.0]]))
    assert floats(run.metrics()) == {"hidden_topk.zeros": 0.75, "hidden_topk.l0": 1, "hidden_topk.dead": 0.75}


def test_a_watch_of_nnx_has_them():
    model = nnx.Sequential(nnx.Linear(4, 4, rngs=nnx.Rngs(0)), nnx.relu)
    regs, x = regkit.build(hidden_l1=dict(weight=1.0, pattern="layers.0")), jnp.eye(4)

    @nnx.jit
    def metrics(model):
        with regkit_jax.nnx.watch(model, regs) as run:
            model(x)
            return run.metrics()

    assert floats(metrics(model)) == {"hidden_l1.zeros": 0, "hidden_l1.l0": 4, "hidden_l1.dead": 0}


def test_a_target_gets_there():
    """The hidden layer is the soft threshold of the data, whose quantile the weight becomes."""
    target = regkit.schedules.Target("zeros", 0.75, start=0.1, gain=0.5)
    regs = regkit.build(hidden_l1=dict(weight=target, pattern="hid"))
    x = jnp.asarray(np.random.default_rng(0).exponential(size=(500, 8)))

    @jax.jit
    def step(live):
        run = regkit_jax.Run(regs, live=live)
        run.tap("hid", jnp.maximum(x - live["hidden_l1"], 0))
        return run.metrics()

    for _ in range(200):
        regs.step(metrics=step(regs.live()))
    assert target.value == pytest.approx(np.quantile(x, 0.75), rel=1e-3)
