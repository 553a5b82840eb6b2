"""What regularizers cost in a compiled training step of JAX, against the same penalties by hand; and compiling it.

A step has the forward, the loss, the gradient and the update. Before anything is timed, losses and gradients are
compared with those by hand.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

if hasattr(os, "sched_setaffinity"):  # before JAX starts as many threads as there are processors
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import jax
import jax.numpy as jnp
import numpy as np
import optax
import regkit_jax
from _ratios import Row, arguments, in_turns, ratios, show
from flax import nnx

import regkit

BY_HAND, OURS = "by hand", "regkit"
WEIGHT, RATE = 0.01, 1e-4
UNITS, EXAMPLES = 256, 64
#: Steps in a row that are timed as one.
STEPS = 20

Step = Callable[[], Any]


def data() -> jax.Array:
    """Return the examples."""
    return jax.random.normal(jax.random.key(1), (EXAMPLES, UNITS))


def parameters(layers: int) -> list[jax.Array]:
    """Return the matrices of a network, always the same."""
    return [jax.random.normal(key, (UNITS, UNITS)) / UNITS**0.5 for key in jax.random.split(jax.random.key(0), layers)]


def regularizers(names: list[str], live: bool = False) -> regkit.RegularizerSet:
    """Return one regularizer for each output."""
    return regkit.build(
        hidden_l2=[dict(weight=regkit.Live(WEIGHT) if live else WEIGHT, pattern=name) for name in names]
    )


def loss_by_hand(params: list[jax.Array], x: jax.Array, weights: dict[str, Any] | None) -> jax.Array:
    """Return the loss of a network, with penalties as one writes them."""
    z, penalty = x, 0.0
    of_each = [WEIGHT] * len(params) if weights is None else list(weights.values())
    for w, weight in zip(params, of_each):
        z = jnp.tanh(z @ w)
        penalty = penalty + weight * (z * z).sum()
    return ((z - x) ** 2).mean() + penalty


def loss_of_ours(regs: regkit.RegularizerSet) -> Callable[..., jax.Array]:
    """Return the loss of a network with regularizers."""

    def loss(params: list[jax.Array], x: jax.Array, live: dict[str, Any] | None) -> jax.Array:
        run, z = regkit_jax.Run(regs, live=live), x
        for i, w in enumerate(params):
            z = run.tap(f"hid{i}", jnp.tanh(z @ w))
        return ((z - x) ** 2).mean() + run.loss()

    return loss


def step_of(loss: Callable[..., jax.Array]) -> Any:
    """Return the compiled step of a loss, another one each time."""

    @jax.jit
    def step(params: Any, x: jax.Array, weights: Any) -> Any:
        cost, gradients = jax.value_and_grad(loss)(params, x, weights)
        return jax.tree.map(lambda param, gradient: param - RATE * gradient, params, gradients), cost

    return step


def checked(losses: dict[str, Any], *arguments: Any) -> None:
    """Compare losses and gradients with those by hand."""
    expected, found = (jax.jit(jax.value_and_grad(losses[name]))(*arguments) for name in (BY_HAND, OURS))
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5), found, expected)


def steps(count: int, live: bool) -> dict[str, Step]:
    """Return a function for each contestant: so many steps."""
    x = data()
    regs = regularizers([f"hid{i}" for i in range(count)], live)
    values = dict(regs.live())
    losses = {BY_HAND: loss_by_hand, OURS: loss_of_ours(regs)}
    checked(losses, parameters(count), x, values or None)

    def contestant(loss: Any, weights: Callable[[], Any]) -> Step:
        step, state = step_of(loss), [parameters(count)]

        def train() -> None:
            params = state[0]
            for _ in range(STEPS):
                params, cost = step(params, x, weights())
            state[0] = jax.block_until_ready((params, cost))[0]

        return train

    if not live:
        return {name: contestant(loss, lambda: None) for name, loss in losses.items()}
    return {
        BY_HAND: contestant(losses[BY_HAND], lambda: dict(values)),
        OURS: contestant(losses[OURS], regs.live),
    }


def compilations(count: int, whole: bool) -> dict[str, Step]:
    """Return a function for each contestant: traces a step, and compiles it if the whole of it is asked for."""
    x, params = data(), parameters(count)
    losses = {BY_HAND: loss_by_hand, OURS: loss_of_ours(regularizers([f"hid{i}" for i in range(count)]))}

    def contestant(loss: Any) -> Step:
        def prepare() -> Any:  # another function each time, or JAX would know that it has traced it before
            lowered = step_of(lambda *arguments: loss(*arguments)).lower(params, x, None)
            return lowered.compile() if whole else lowered

        return prepare

    return {name: contestant(loss) for name, loss in losses.items()}


class Network(nnx.Module):
    """Layers of Flax NNX, whose outputs before the activation are penalized."""

    def __init__(self, layers: int) -> None:
        rngs = nnx.Rngs(0)
        self.layers = nnx.List([nnx.Linear(UNITS, UNITS, rngs=rngs) for _ in range(layers)])

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the output of the last layer after the activation."""
        for layer in self.layers:
            x = jnp.tanh(layer(x))
        return x


def steps_of_nnx(count: int) -> dict[str, Step]:
    """Return a function for each contestant: so many steps of its own model of Flax NNX."""
    x, regs = data(), regularizers([f"layers.{i}" for i in range(count)])

    def by_hand(model: Network) -> jax.Array:
        z, penalty = x, 0.0
        for layer in model.layers:
            output = layer(z)
            penalty = penalty + WEIGHT * (output * output).sum()
            z = jnp.tanh(output)
        return ((z - x) ** 2).mean() + penalty

    def ours(model: Network) -> jax.Array:
        with regkit_jax.nnx.watch(model, regs) as run:
            return ((model(x) - x) ** 2).mean() + run.loss()

    expected, found = (nnx.value_and_grad(loss)(Network(count)) for loss in (by_hand, ours))
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5), found, expected)

    def contestant(loss: Callable[[Network], jax.Array]) -> Step:
        model = Network(count)
        optimizer = nnx.Optimizer(model, optax.sgd(RATE), wrt=nnx.Param)

        @nnx.jit
        def step(model: Network, optimizer: Any) -> jax.Array:
            cost, gradients = nnx.value_and_grad(loss)(model)
            optimizer.update(model, gradients)
            return cost

        def train() -> None:
            for _ in range(STEPS):
                cost = step(model, optimizer)
            jax.block_until_ready((cost, nnx.state(model)))

        return train

    return {BY_HAND: contestant(by_hand), OURS: contestant(ours)}


def compared(case: str, contestants: dict[str, Step], calls: int, rounds: int) -> list[Row]:
    """Return the ratio of the contestants' times."""

    def timed(function: Step) -> Callable[[], float]:
        def measure() -> float:
            start = time.process_time()
            function()
            return time.process_time() - start

        return measure

    for function in contestants.values():
        function()  # compiles
    times = in_turns({name: timed(function) for name, function in contestants.items()}, rounds)
    hand = sorted(times[BY_HAND])[rounds // 2] / calls
    return ratios("jax_step", case, times, BY_HAND, {OURS: f"by hand {1e3 * hand:.2f} ms"})


def main() -> None:
    """Measure each case, and show the table."""
    options = arguments(__doc__, 30)
    rows = []
    for what, live in (("regularizers", False), ("live weights handed in", True)):
        for count in (1, 4, 16):
            rows += compared(f"a step, {what}: {count}", steps(count, live), STEPS, options.rounds)
    rows += compared("a step of Flax NNX, regularizers: 4", steps_of_nnx(4), STEPS, options.rounds)
    rows += compared("tracing a step, regularizers: 16", compilations(16, False), 1, options.rounds)
    rows += compared("tracing and compiling it", compilations(16, True), 1, options.rounds)
    processors = "one processor" if hasattr(os, "sched_setaffinity") else "all processors"
    show(f"JAX {jax.__version__} on {processors}, in float32, CPU time", rows, options.into)


if __name__ == "__main__":
    main()
