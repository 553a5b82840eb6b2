"""What `sparse_dictionary` trains, in JAX."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import regkit_jax

import regkit

NAME = "jax"

Params = dict[str, Any]


def trained_network(images: np.ndarray, classes: np.ndarray, units: int, steps: int) -> dict[str, np.ndarray]:
    """Train a classifier with one hidden layer of ReLU units; return its parameters."""
    first, second, draws = jax.random.split(jax.random.key(0), 3)
    params = {
        "w1": jax.random.normal(first, (images.shape[1], units)) / images.shape[1] ** 0.5,
        "b1": jnp.zeros(units),
        "w2": jax.random.normal(second, (units, 10)) / units**0.5,
        "b2": jnp.zeros(10),
    }

    def loss(params: Params, x: Any, y: Any) -> Any:
        logits = jax.nn.relu(x @ params["w1"] + params["b1"]) @ params["w2"] + params["b2"]
        decay = sum((param**2).sum() for param in params.values())
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=1).mean() + 5e-5 * decay

    return _trained(params, loss, (jnp.asarray(images, "float32"), jnp.asarray(classes)), 128, steps, 3e-3, draws)


def trained_dictionary(
    activations: np.ndarray, features: int, steps: int, regs: regkit.RegularizerSet
) -> dict[str, np.ndarray]:
    """Train a dictionary with a set of regularizers, whose pattern is that of the codes; return its parameters."""
    inputs = activations.shape[1]
    first, draws = jax.random.split(jax.random.key(1))
    directions = _of_length_1(jax.random.normal(first, (features, inputs)))
    params = {
        "encoder": directions.T,
        "bias": jnp.zeros(features),
        "directions": directions,
        "offset": jnp.zeros(inputs),
    }

    def loss(params: Params, z: Any) -> Any:
        run = regkit_jax.Run(regs)
        codes = run.tap("codes", jax.nn.relu((z - params["offset"]) @ params["encoder"] + params["bias"]))
        error = codes @ _of_length_1(params["directions"]) + params["offset"] - z
        return (error**2).sum(axis=1).mean() + run.loss()

    found = _trained(params, loss, (jnp.asarray(activations, "float32"),), 256, steps, 2e-3, draws)
    return {**found, "directions": np.asarray(_of_length_1(found["directions"]))}


def _of_length_1(directions: Any) -> Any:
    return directions / jnp.linalg.norm(directions, axis=1, keepdims=True)


def _trained(
    params: Params, loss: Callable[..., Any], data: tuple[Any, ...], size: int, steps: int, rate: float, key: Any
) -> dict[str, np.ndarray]:
    """Minimize a loss of parameters and batches of the data by Adam."""

    def step(state: tuple[Params, Params, Params], numbered: Any) -> tuple[tuple[Params, Params, Params], None]:
        params, means, squares = state
        number, key = numbered
        batch = jax.random.randint(key, (size,), 0, len(data[0]))
        gradients = jax.grad(loss)(params, *(array[batch] for array in data))
        means = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, means, gradients)
        squares = jax.tree.map(lambda s, g: 0.999 * s + 0.001 * g * g, squares, gradients)
        move = partial(_moved, rate * jnp.sqrt(1 - 0.999**number) / (1 - 0.9**number))
        return (jax.tree.map(move, params, means, squares), means, squares), None

    nothing = jax.tree.map(jnp.zeros_like, params)
    numbered = (jnp.arange(1.0, steps + 1), jax.random.split(key, steps))
    (params, _, _), _ = jax.jit(lambda state: jax.lax.scan(step, state, numbered))((params, nothing, nothing))
    return {name: np.asarray(param) for name, param in params.items()}


def _moved(rate: Any, param: Any, mean: Any, square: Any) -> Any:
    return param - rate * mean / (jnp.sqrt(square) + 1e-8)
