"""What regularizers cost in an epoch of Keras, against the regularizers of Keras and a plain model.

The backend is that of KERAS_BACKEND. Before anything is timed, the weights after an epoch are compared with those that
Keras' own regularizers lead to.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

if hasattr(os, "sched_setaffinity"):  # before a backend starts as many threads as there are processors
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import keras
import numpy as np
import regkit_keras
from _ratios import Row, arguments, in_turns, ratios, show

import regkit

KERAS, OURS, PLACE = "Keras", "regkit", "regkit_keras.regularizer"
WEIGHT, UNITS, LAYERS, EXAMPLES, BATCH = 0.001, 256, 4, 2048, 64

X = np.random.default_rng(0).normal(size=(EXAMPLES, UNITS)).astype("float32")


def network(**places: Any) -> keras.Model:
    """Return layers of tanh, always with the same weights."""
    keras.utils.set_random_seed(0)
    hidden = [keras.layers.Dense(UNITS, "tanh", name=f"hid{i}", **places) for i in range(LAYERS)]
    return keras.Sequential([keras.Input((UNITS,)), *hidden, keras.layers.Dense(1, name="out")])


def compiled(model: keras.Model) -> keras.Model:
    """Return a model that is ready to be trained."""
    model.compile(keras.optimizers.SGD(0.001), "mse")
    return model


def epoch_of(model: keras.Model) -> Callable[[], None]:
    """Return a function that trains a model for an epoch."""

    def epoch() -> None:
        model.fit(X, X[:, :1], batch_size=BATCH, shuffle=False, verbose=0)

    return epoch


def contestants(ours: regkit.RegularizerSet, **places: dict[str, Callable[[], Any]]) -> dict[str, keras.Model]:
    """Return models that train with equal penalties: in the places of Keras, and around the model."""
    own = {name: make() for name, make in places["keras"].items()}
    found = {KERAS: compiled(network(**own)), OURS: compiled(regkit_keras.Model(network(), ours))}
    found[PLACE] = compiled(network(**{name: make() for name, make in places["regkit"].items()}))
    return found


def checked(models: dict[str, keras.Model]) -> dict[str, keras.Model]:
    """Train each model for an epoch, and compare their weights."""
    for model in models.values():
        epoch_of(model)()
    first, *others = (model.get_weights() for model in models.values())
    for other in others:
        for one, expected in zip(other, first):
            np.testing.assert_allclose(one, expected, rtol=1e-3, atol=1e-5)
    return models


def compared(case: str, models: dict[str, keras.Model], against: str, rounds: int) -> list[Row]:
    """Return the ratios of the times of their epochs."""

    def timed(epoch: Callable[[], None]) -> Callable[[], float]:
        def measure() -> float:
            start = time.process_time()
            epoch()
            return time.process_time() - start

        return measure

    for model in models.values():
        epoch_of(model)()  # compiles
    times = in_turns({name: timed(epoch_of(model)) for name, model in models.items()}, rounds)
    usual = sorted(times[against])[rounds // 2]
    notes = dict.fromkeys(models, f"{against} {1e3 * usual:.0f} ms")
    return ratios("keras_epoch", f"Keras on {keras.config.backend()}, {case}", times, against, notes)


def main() -> None:
    """Measure each case, and show the table."""
    options = arguments(__doc__, 15)
    batch = dict(weight=WEIGHT, reduction="batch")
    outputs = contestants(
        regkit.build(hidden_l1=dict(batch, weight=LAYERS * WEIGHT)),
        keras={"activity_regularizer": lambda: keras.regularizers.L1(WEIGHT)},
        regkit={"activity_regularizer": lambda: regkit_keras.regularizer("hidden_l1", batch)},
    )
    weights = contestants(
        regkit.build(weight_l2=dict(weight=LAYERS * WEIGHT, pattern="hid*")),
        keras={"kernel_regularizer": lambda: keras.regularizers.L2(WEIGHT)},
        regkit={"kernel_regularizer": lambda: regkit_keras.regularizer("weight_l2", WEIGHT)},
    )
    proximal = regkit.build(weight_l1=dict(weight=WEIGHT, by="proximal"))
    steps = {"plain": compiled(network()), OURS: compiled(regkit_keras.Model(network(), proximal))}
    rows = compared("an L1 of outputs", checked(outputs), KERAS, options.rounds)
    rows += compared("an L2 of kernels", checked(weights), KERAS, options.rounds)
    rows += compared("a proximal step", steps, "plain", options.rounds)
    processors = "one processor" if hasattr(os, "sched_setaffinity") else "all processors"
    show(
        f"Keras {keras.__version__} on {keras.config.backend()} and {processors}, in float32, CPU time",
        rows,
        options.into,
    )


if __name__ == "__main__":
    main()
