"""The networks of `values` as models of Keras 3, and what aliases do in them while they are trained.

The layers compute by their backend's own operators. Those of Keras 3.15 compute float64 in float32 on JAX and PyTorch,
and so do its metrics and optimizers: what a penalty adds is read from the model's `losses`, and derivatives are those
of the backend. All that is asked of an engine is asked here, but for one thing: the clean outputs that noise and
dropout keep beside the changed ones are within the step, where a user of Keras does not get them.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import regkit_keras

import regkit
import values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SEED = 5

if keras.config.backend() == "torch":
    import torch as functions
    from torch import zeros_like as zeros
elif keras.config.backend() == "tensorflow":
    import tensorflow as tf

    functions = tf
else:
    import jax
    import jax.numpy as functions


class Units(keras.layers.Layer):
    """Units of tanh or sigmoid."""

    def __init__(self, count: int, kind: str, name: str) -> None:
        super().__init__(name=name)
        self.count, self.kind = count, kind

    def build(self, shape: tuple[int, ...]) -> None:
        self.kernel = self.add_weight(shape=(shape[-1], self.count), name="kernel")
        self.bias = self.add_weight(shape=(self.count,), name="bias")

    def call(self, x: Any) -> Any:
        z = x @ self.kernel.value + self.bias.value
        return 1 / (1 + functions.exp(-z)) if self.kind == "sigmoid" else functions.tanh(z)


def network(kind: str) -> keras.Model:
    """Return a model of some kind with the parameters of `values`."""
    given = values.inputs(kind)
    layers = [Units(values.UNITS[name], kind, name) for name in values.SEEDS]
    model = keras.Sequential([keras.Input(given["in:out"].shape[1:], name="in"), *layers])
    model.set_weights([given[f"{name}.{parameter}"] for name in values.SEEDS for parameter in "wb"])
    return model


def adding(z: np.ndarray, seen: dict[str, Any]) -> keras.Model:
    """Return a model whose layers add z to what they get; what the one before made of it is then in `seen`."""

    class Adding(keras.layers.Layer):
        def __init__(self, before: str, name: str) -> None:
            super().__init__(name=name)
            self.before = before

        def build(self, shape: tuple[int, ...]) -> None:
            self.kernel = self.add_weight(shape=z.shape, name="kernel")

        def call(self, x: Any) -> Any:
            seen[self.before] = x
            return x + self.kernel.value

    layers = [Adding(before, name) for before, name in zip(values.UNITS, values.SEEDS)]
    model = keras.Sequential([keras.Input(batch_shape=z.shape, name="in"), *layers])
    model.set_weights([z] * len(layers))
    return model


def trained(
    model: keras.Model, regs: regkit.RegularizerSet, x: np.ndarray, of: Callable[[Any, list[Any]], list[Any]]
) -> tuple[list[float], dict[str, np.ndarray]]:
    """Compute a model in training.

    Returns
    -------
    scalars : list of float
        What `of` makes of the outputs and the losses of the model.
    gradients : dict of str to array
        The derivatives of the sum of these, by the data and by the weights.
    """
    around = regkit_keras.Model(model, regs, seed=SEED)
    names = [f"{layer.name}.{variable.name[0]}" for layer in model.layers for variable in layer.weights]
    names = ["in:out", *(name.replace(".k", ".w") for name in names)]
    data, weights = keras.ops.convert_to_tensor(x), [variable.value for variable in around.trainable_variables]
    if keras.config.backend() == "torch":
        data.requires_grad_()
        scalars = of(around(data, training=True), around.losses)
        total = sum(scalars)
        by = [data, *weights]
        differentiable = total.requires_grad  # a count is not
        gradients = functions.autograd.grad(total, by, materialize_grads=True) if differentiable else map(zeros, by)
        return [scalar.item() for scalar in scalars], dict(zip(names, (gradient.numpy() for gradient in gradients)))

    if keras.config.backend() == "tensorflow":
        with functions.GradientTape() as tape:
            tape.watch(data)
            scalars = of(around(data, training=True), around.losses)
            total_of_all = functions.add_n(scalars)
        gradients = tape.gradient(total_of_all, [data, *weights], unconnected_gradients="zero")
        return [float(scalar) for scalar in scalars], dict(zip(names, map(np.asarray, gradients)))

    fixed = [variable.value for variable in around.non_trainable_variables]

    def total(given: list[Any]) -> tuple[Any, list[Any]]:
        outputs, _, losses = around.stateless_call(given[1:], fixed, given[0], training=True, return_losses=True)
        scalars = of(outputs, losses)
        return sum(scalars), scalars

    (_, scalars), gradients = jax.jit(jax.value_and_grad(total, has_aux=True))([data, *weights])
    return [scalar.item() for scalar in scalars], dict(zip(names, map(np.asarray, gradients)))


def _renamed(value: Any) -> Any:
    """Return an option with the names that Keras gives to parameters."""
    if not isinstance(value, dict):
        return value
    return {name.replace(".w", "/kernel").replace(".b", "/bias"): array for name, array in value.items()}


class InKeras:
    """Aliases in a `regkit_keras.Model`: penalties are what they add to its losses in training."""

    gradients = True

    @contextmanager
    def running(self) -> Iterator[None]:
        """Compute in float64."""
        before = keras.config.floatx(), keras.config.dtype_policy()
        keras.config.set_floatx("float64")
        keras.config.set_dtype_policy("float64")
        try:
            with jax.enable_x64(True) if keras.config.backend() == "jax" else nullcontext():
                yield
        finally:
            keras.config.set_floatx(before[0])
            keras.config.set_dtype_policy(before[1])

    def penalties(self, alias: str, penalty: Any, weight: float) -> tuple[list[float], Any, dict[str, np.ndarray]]:
        """Return the weighted penalty with each of its options; these, as all are differentiated; the gradients."""
        every = [{name: _renamed(value) for name, value in options.items()} for options in penalty.options]
        regs = regkit.build({alias: [{"weight": weight, **options} for options in every]})
        x = values.inputs(penalty.kind)["in:out"]
        found, gradients = trained(network(penalty.kind), regs, x, lambda _, losses: losses)
        return found, penalty.options, gradients

    def stepped(self, regs: regkit.RegularizerSet, params: dict[str, np.ndarray], rate: float) -> dict[str, Any]:
        """Return what parameters are after an update by gradients of 0."""
        around = regkit_keras.Model(network("tanh"), regs)
        around.compile(keras.optimizers.SGD(rate), lambda _, outputs: 0 * outputs)
        x = values.inputs("tanh")["in:out"]
        around.train_on_batch(x, np.zeros(len(x)))
        return dict(zip(params, around.get_weights()))

    def changes(self, alias: str, weight: float, z: np.ndarray, kept: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Return by unit what an output is before an alias and after it."""
        seen: dict[str, Any] = {}
        around = regkit_keras.Model(adding(z, seen), regkit.build({alias: weight}), seed=SEED)
        last = around(z, training=True)
        after = [keras.ops.convert_to_numpy(seen.get(unit, last)) for unit in values.UNITS]
        return dict(zip(values.UNITS, zip([z, *(one + z for one in after)], after)))

    def total_and_gradient(self, alias: str, weight: float, z: np.ndarray, unit: str) -> tuple[Any, Any, Any]:
        """Return what an output is before an alias, the sum of it after that, and the derivatives by it."""
        before, _ = self.changes(alias, weight, z, "")[unit]  # the same seed draws the same
        seen: dict[str, Any] = {}
        (total,), gradients = trained(
            adding(z, seen), regkit.build({alias: weight}), z, lambda last, _: [keras.ops.sum(seen.get(unit, last))]
        )
        return before, total, gradients["in:out" if unit == "in" else f"{unit}.w"]
