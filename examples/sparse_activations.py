"""How sparse the hidden layer of a classifier can be: digits, `hidden_l1` per element, at four weights and by a target.

    python examples/sparse_activations.py    # a table, and a picture in examples/output

A network of 256 hidden ReLU units learns to read scikit-learn's digits, with the mean of the absolute activations in
the loss. ReLU units are exactly zero where their input is negative, so the penalty makes exact zeros. The last row is
of a weight that follows the share of zeros until it is 90 % (`regkit.schedules.Target`). It runs on any graph library
that regkit supports; it needs scikit-learn for the digits, and Matplotlib for the picture.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import regkit
from _library import graph_library

SIZES = (64, 256, 10)
WEIGHTS = (0.0, 1.0, 3.0, 10.0)
AIM = 0.9
TRAINED = 1200  # of 1797 digits; what is measured is of the others
EPOCHS, BATCH, RATE = 100, 100, 0.002


class Result(NamedTuple):
    """What a network is like on digits that it has not seen."""

    weight: str
    accuracy: float
    zeros: float  # share of activations that are exactly zero
    dead: float  # share of units that are zero for all digits
    active: float  # units that are not zero, for a digit


def trained(x: np.ndarray, classes: np.ndarray, regs: regkit.RegularizerSet) -> dict[str, np.ndarray]:
    """Train a network with a set of regularizers by Adam; return its parameters."""
    library, tt = graph_library()
    rng = np.random.default_rng(0)
    params = {"w1": rng.normal(size=SIZES[:2]) * np.sqrt(2 / SIZES[0]), "b1": np.zeros(SIZES[1])}
    params |= {"w2": rng.normal(size=SIZES[1:]) * np.sqrt(2 / SIZES[1]), "b2": np.zeros(SIZES[2])}
    shared = {name: library.shared(value.astype("float32"), name=name) for name, value in params.items()}
    data, target = tt.matrix("x", dtype="float32"), tt.matrix("y", dtype="float32")
    hidden = tt.maximum(tt.dot(data, shared["w1"]) + shared["b1"], np.float32(0))
    scores = tt.dot(hidden, shared["w2"]) + shared["b2"]
    scores = scores - scores.max(axis=1, keepdims=True)
    error = (tt.log(tt.exp(scores).sum(axis=1)) - (scores * target).sum(axis=1)).mean()

    layers = [
        regkit.Layer("in", outputs={"in": data}, role="input"),
        regkit.Layer("hid", [shared["w1"], shared["b1"]], {"hid": hidden}, role="hidden"),
        regkit.Layer("out", [shared["w2"], shared["b2"]], {"out": scores}, role="output"),
    ]
    regularized = regs.regularize(layers)
    metrics = regs.metrics(layers, regularized.outputs)
    updates = adam(library, tt.grad(error + regularized.loss, list(shared.values())), list(shared.values()))
    step = library.function([data, target], list(metrics.values()), updates=updates)
    one_hot = np.eye(SIZES[2], dtype="float32")[classes]
    for _ in range(EPOCHS):
        for batch in rng.permutation(len(x)).reshape(-1, BATCH):
            values = step(x[batch], one_hot[batch])
            regs.step(metrics=dict(zip(metrics, values)))
    return {name: param.get_value() for name, param in shared.items()}


def adam(library: Any, gradients: list[Any], params: list[Any]) -> list[tuple[Any, Any]]:
    """Return the updates of Adam, without the correction of its first steps."""
    updates = []
    for param, gradient in zip(params, gradients):
        mean, square = (library.shared(np.zeros_like(param.get_value())) for _ in range(2))
        new_mean = np.float32(0.9) * mean + np.float32(0.1) * gradient
        new_square = np.float32(0.999) * square + np.float32(0.001) * gradient**2
        size = np.float32(RATE) / (new_square**0.5 + np.float32(1e-8))
        updates += [(mean, new_mean), (square, new_square), (param, param - size * new_mean)]
    return updates


def measured(weight: Any, params: dict[str, np.ndarray], x: np.ndarray, classes: np.ndarray) -> Result:
    """Return the measures of a network."""
    hidden = np.maximum(x @ params["w1"] + params["b1"], 0)
    right = (hidden @ params["w2"] + params["b2"]).argmax(axis=1) == classes
    metrics = regkit.build(hidden_l1=dict(weight=1, pattern="hid")).metrics({"hid": hidden})
    zeros, dead, active = (float(metrics[f"hidden_l1.{name}"]) for name in ("zeros", "dead", "l0"))
    return Result(weight, float(right.mean()), zeros, dead, active)


def draw(results: list[Result], path: Path) -> None:
    """Draw accuracy, dead units and active units against the share of activations that are left."""
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    figure.suptitle(f"{SIZES[1]} hidden units with hidden_l1 of each weight, on digits not seen", fontweight="bold")
    panels = figure.subplots(1, 3)
    nonzero = [100 * (1 - result.zeros) for result in results]  # on a logarithmic axis, where the sparse ones are apart
    for axes, (title, values) in zip(
        panels,
        {
            "right, %": [100 * result.accuracy for result in results],
            "dead units, %": [100 * result.dead for result in results],
            "active units for a digit": [result.active for result in results],
        }.items(),
    ):
        axes.plot(nonzero, values, "o-", color="steelblue")
        for result, at, value in zip(results, nonzero, values):
            name = result.weight.partition(",")[0]
            axes.annotate(name, (at, value), textcoords="offset points", xytext=(4, 5), fontsize=9)
        axes.set(title=title, xlabel="activations that are not exactly zero, %", xscale="log")
        axes.set_xticks([50, 20, 10, 5, 2], ["50", "20", "10", "5", "2"])
        axes.minorticks_off()
        axes.margins(0.12)
        axes.invert_xaxis()
    panels[0].set_ylim(90, 100)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Train, print the table, draw the picture."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.data))
    x, classes = (digits.data[order] / 16).astype("float32"), digits.target[order]
    print(f"{'weight':<18}{'right':>8}{'zeros':>8}{'dead':>8}{'active':>8}")
    results = []
    target = regkit.schedules.Target("zeros", AIM, start=0.1, gain=0.5, high=1.0)
    for weight in (*WEIGHTS, target):
        regs = regkit.build(hidden_l1=dict(weight=weight, reduction="mean"))
        params = trained(x[:TRAINED], classes[:TRAINED], regs)
        name = f"{target.value:.2g}, for {AIM:.0%}" if weight is target else f"{weight:g}"
        result = measured(name, params, x[TRAINED:], classes[TRAINED:])
        print(
            f"{result.weight:<18}{result.accuracy:>8.1%}{result.zeros:>8.1%}{result.dead:>8.1%}{result.active:>8.1f}",
            flush=True,
        )
        results.append(result)
    picture = Path(__file__).parent / "output" / "sparse_activations.png"
    draw(sorted(results, key=lambda result: result.zeros), picture)
    print(f"picture: {picture}")


if __name__ == "__main__":
    main()
