"""The training step of a real network with HiddenL1 beside none, the same penalty by hand, and theanets' own.

By hand there are two forms: ``abs(z).mean()``, and ``abs(z).sum() / z.size``, whose compiled graph is that of the first
in Theano, and another one in PyTensor.

The network is an autoencoder of 256 inputs with three hidden layers, trained by gradient descent on batches of 128.
All steps are compiled in one process; the graph library, in its default mode, is the one that is installed. Before
anything is timed, each form's loss is compared with the form by hand. Time is the CPU time of the process; with
OMP_NUM_THREADS=1 and OPENBLAS_NUM_THREADS=1 it depends little on what else runs.
"""

from __future__ import annotations

import importlib
import os
import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
from _ratios import Row, arguments, in_turns, installed_library, ratios, show

import regkit

SIZES = (256, 128, 64, 128, 256)
BATCH = 128
WEIGHT = 0.01
STEPS = 20
NONE, BY_HAND, BY_SUM = "no regularizer", "the penalty by hand", "the penalty by hand, sum / size"
OURS, THEANETS = "regkit's hidden_l1", "theanets' hidden_l1"


class Network:
    """An autoencoder, always with the same first parameters."""

    def __init__(self, library: Any, tt: Any) -> None:
        rng = np.random.default_rng(0)
        dtype = library.config.floatX
        self.x = tt.matrix("x", dtype=dtype)
        self.params = []
        self.layers = [regkit.Layer("in:out")]
        self.outputs = {"in:out": self.x}
        last = self.x
        for number, (inputs, units) in enumerate(zip(SIZES, SIZES[1:]), start=1):
            name = "out" if number == len(SIZES) - 1 else f"hid{number}"
            start = rng.normal(size=(inputs, units)) / np.sqrt(inputs)
            w = library.shared(start.astype(dtype), name=f"{name}.w")
            b = library.shared(np.zeros(units, dtype), name=f"{name}.b")
            last = last.dot(w) + b
            last = last if name == "out" else tt.tanh(last)
            self.outputs[f"{name}:out"] = last
            self.params += [w, b]
            self.layers.append(regkit.Layer(f"{name}:out", params=(w, b)))
        error = last - self.x
        self.loss = (error * error).mean()


def step_of(library: Any, tt: Any, form: str) -> Callable[[np.ndarray], Any]:
    """Compile the training step of one form, from the first parameters."""
    net = Network(library, tt)
    loss = net.loss
    if form in (BY_HAND, BY_SUM):
        sizes = [abs(net.outputs[f"hid{number}:out"]) for number in (1, 2, 3)]
        means = [z.mean() if form == BY_HAND else z.sum() / z.size.astype(str(z.dtype)) for z in sizes]
        loss = loss + constant(WEIGHT, loss) * ((means[0] + means[1] + means[2]) / constant(3, loss))
    elif form == OURS:
        regs = regkit.build(hidden_l1=dict(weight=WEIGHT, reduction="mean"))
        loss = loss + regs.loss(net.layers, net.outputs)
    return library.function([net.x], loss, updates=descent(tt, loss, net.params))


def step_of_theanets(theanets: Any, form: str) -> Callable[[np.ndarray], Any]:
    """Compile the training step of one form in a network of theanets'."""
    theano, tt = importlib.import_module("theano"), importlib.import_module("theano.tensor")
    net = theanets.Autoencoder(SIZES, rng=1)
    start = np.random.RandomState(0)
    for param in net.params:
        param.set_value((start.randn(*param.get_value().shape) / 16).astype(theano.config.floatX))
    loss = net.loss(**({} if form == NONE else {"hidden_l1": WEIGHT}))
    return theano.function(net.variables, loss, updates=descent(tt, loss, net.params))


def descent(tt: Any, loss: Any, params: list[Any]) -> list[tuple[Any, Any]]:
    """Return the updates of gradient descent."""
    gradients = tt.grad(loss, params)
    return [(param, param - constant(0.05, loss) * gradient) for param, gradient in zip(params, gradients)]


def constant(value: float, like: Any) -> np.ndarray:
    """Return a number in the type of an expression."""
    return np.asarray(value, dtype=str(like.dtype))


def measure(
    case: str, steps: dict[str, Callable[[np.ndarray], Any]], ours: str, others: tuple[str, ...], rounds: int
) -> list[Row]:
    """Return the rows of compiled steps: to the step without a regularizer, and of ours to others of equal losses."""
    data = np.random.default_rng(1).normal(size=(BATCH, SIZES[0])).astype("float32")
    losses = {form: [float(step(data)) for _ in range(3)] for form, step in steps.items()}
    for other in others:
        np.testing.assert_allclose(losses[ours], losses[other], rtol=1e-5)
    assert losses[NONE] != losses[ours]
    times = in_turns({form: seconds_of(step, data) for form, step in steps.items()}, rounds)
    notes = {form: f"{1000 * statistics.median(measured):.2f} ms a step" for form, measured in times.items()}
    return ratios("training", case, times, NONE, notes) + [
        row
        for other in others
        for row in ratios("training", f"{case}, to {other}", times, other, notes)
        if row.contestant == ours
    ]


def seconds_of(step: Callable[[np.ndarray], Any], data: np.ndarray) -> Callable[[], float]:
    """Return what measures the seconds of one step, over several."""

    def measured() -> float:
        began = time.process_time()
        for _ in range(STEPS):
            step(data)
        return (time.process_time() - began) / STEPS

    return measured


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__, rounds=25)
    name = installed_library()
    flags = f"{name.upper()}_FLAGS"
    os.environ[flags] = ",".join([*filter(None, [os.environ.get(flags)]), "floatX=float32"])
    library, tt = importlib.import_module(name), importlib.import_module(f"{name}.tensor")
    steps = {form: step_of(library, tt, form) for form in (NONE, BY_HAND, BY_SUM, OURS)}
    rows = measure(f"{name} {library.__version__}", steps, OURS, (BY_HAND, BY_SUM), options.rounds)
    if find_spec("regkit_theanets") and find_spec("theanets"):
        hosted = importlib.import_module("regkit_theanets")
        with hosted.installed() as theanets:
            steps = {form: step_of_theanets(theanets, form) for form in (NONE, OURS)}
        steps[THEANETS] = step_of_theanets(theanets, THEANETS)
        rows += measure(f"theanets {theanets.__version__}", steps, OURS, (THEANETS,), options.rounds)
    show("The training step of an autoencoder, to the same step without a regularizer", rows, options.into)


if __name__ == "__main__":
    main()
