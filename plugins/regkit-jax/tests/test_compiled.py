"""What a compiled step has of regularizers: the operations of the same penalties by hand, and none beside them."""

from __future__ import annotations

import re
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import regkit_jax

import regkit

WEIGHT = 0.25
NAMES = [f"hid{i}" for i in range(4)]


def step_of(loss):
    def step(params, x, weights):
        cost, gradients = jax.value_and_grad(loss)(params, x, weights)
        return jax.tree.map(lambda param, gradient: param - 0.1 * gradient, params, gradients), cost

    return jax.jit(step)


def by_hand(params, x, weights):
    z, penalty = x, 0
    for w, weight in zip(params, weights.values() if weights else [WEIGHT] * len(params)):
        z = jnp.tanh(z @ w)
        penalty = penalty + weight * (z * z).sum()
    return ((z - x) ** 2).mean() + penalty


def operations(step, *arguments):
    """How many operations of each kind there are in what XLA made of a step, and what it counts of arithmetic."""
    compiled = step.lower(*arguments).compile()
    return Counter(re.findall(r"= \S+ ([a-z][\w-]*)\(", compiled.as_text())), compiled.cost_analysis()["flops"]


@pytest.mark.parametrize("live", [False, True], ids=["fixed weights", "weights handed in"])
def test_a_compiled_step_has_the_operations_of_the_penalties_by_hand(live):
    regs = regkit.build(
        hidden_l2=[dict(weight=regkit.Live(WEIGHT) if live else WEIGHT, pattern=name) for name in NAMES]
    )

    def ours(params, x, weights):
        run, z = regkit_jax.Run(regs, live=weights), x
        for name, w in zip(NAMES, params):
            z = run.tap(name, jnp.tanh(z @ w))
        return ((z - x) ** 2).mean() + run.loss()

    params = [jnp.asarray(np.random.default_rng(i).normal(size=(8, 8))) for i in range(len(NAMES))]
    arguments = params, jnp.ones((5, 8)), dict(regs.live()) or None
    found, expected = operations(step_of(ours), *arguments), operations(step_of(by_hand), *arguments)
    assert expected[0]["fusion"] > len(NAMES)
    assert found == expected


def test_where_no_unit_is_dead_and_nothing_zero_the_compiled_shares_are_zero():
    """XLA multiplies by the reciprocal of a count, and in float32 2,000 times 1 / 2,000 is not 1."""
    regs = regkit.build(hidden_l1=dict(weight=1, pattern="hid"))
    found = jax.jit(lambda z: regs.metrics({"hid": z}))(jnp.ones((3, 2000), jnp.float32))
    assert (float(found["hidden_l1.zeros"]), float(found["hidden_l1.dead"])) == (0, 0)
