"""A classifier of pytensor-ml, with and without regularizers of regkit.

    python examples/pytensor_ml_sparse.py    # a table, and a picture in examples/output

The inputs are mixtures of a few sparse causes, and the class is the strongest of them. Needs Python 3.12 and
regkit-pytensor-ml, which brings pytensor-ml, and Matplotlib for the picture.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import regkit_pytensor_ml
from matplotlib.figure import Figure
from pytensor.compile.mode import Mode
from pytensor_ml.activations import ReLU
from pytensor_ml.layers import Input, Linear, Sequential
from pytensor_ml.loss import CrossEntropy
from pytensor_ml.model import Model
from pytensor_ml.optim import adam

INPUTS, UNITS, CLASSES = 30, 64, 6
STEPS = 600
NEAR_ZERO = 0.01
SPARSE = {"hidden_sparsity": {"weight": 0.01, "reduction": "batch"}}
CASES = {
    "none": {},
    "hidden_sparsity": SPARSE,
    "hidden_dropout": {"hidden_dropout": 0.5},
    "both": {**SPARSE, "hidden_dropout": 0.5},
}


class Result(NamedTuple):
    """What training gave, measured on examples that it has not seen."""

    regularizers: str
    accuracy: float
    near_zero: float
    clean: bool  # whether two predictions are the same, and what NumPy computes of the parameters without dropout
    activations: np.ndarray


def examples(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs and their classes."""
    mixing = np.random.default_rng(0).normal(size=(CLASSES, INPUTS))
    rng = np.random.default_rng(seed)
    causes = rng.exponential(size=(count, CLASSES)) * (rng.uniform(size=(count, CLASSES)) < 0.5)
    return causes @ mixing + 0.5 * rng.normal(size=(count, INPUTS)), causes.argmax(axis=1)


def train(regularizers: str) -> Result:
    """Train a classifier with some regularizers and measure it."""
    fc1 = Linear("fc1", n_in=INPUTS, n_out=UNITS)
    logits = Linear("logits", n_in=UNITS, n_out=CLASSES)
    # Python takes a second to compile what C or numba take many for, and is fast enough for a network of this size.
    mode = Mode("py", "fast_compile")
    network = Sequential(fc1, ReLU(), logits)
    model = Model(network(Input("X", shape=(None, INPUTS))), {"mode": mode}).initialize(seed=1)

    loss = regkit_pytensor_ml.regularized(CrossEntropy(expect_logits=True), **CASES[regularizers])
    step = model.compile_train(adam(5e-3), loss)

    x, classes = examples(2000, seed=1)
    rng = np.random.default_rng(2)
    for _ in range(STEPS):
        batch = rng.integers(len(x), size=100)
        step(x[batch], classes[batch])

    x, classes = examples(1000, seed=3)
    predictions = model.predict(x)
    activations = np.maximum(x @ fc1.W.get_value() + fc1.b.get_value(), 0)
    without_dropout = activations @ logits.W.get_value() + logits.b.get_value()
    return Result(
        regularizers,
        accuracy=float((predictions.argmax(axis=1) == classes).mean()),
        near_zero=float((activations < NEAR_ZERO).mean()),
        clean=bool((model.predict(x) == predictions).all() and np.allclose(predictions, without_dropout)),
        activations=activations,
    )


def draw(results: list[Result], path: Path) -> None:
    """Draw how often each activation occurs, one column for each training."""
    figure = Figure(figsize=(3.5 * len(results), 3.6), layout="constrained")
    figure.suptitle(f"How often each hidden activation occurs (near zero: below {NEAR_ZERO:g})", fontweight="bold")
    bins = np.linspace(0, max(np.quantile(result.activations, 0.999) for result in results), 50)
    for result, axes in zip(results, figure.subplots(1, len(results), sharey=True)):
        axes.set_title(f"{result.regularizers}: {result.near_zero:.0%} near zero", fontsize=11)
        heights = np.histogram(result.activations, bins)[0] / result.activations.size
        axes.stairs(heights, bins, fill=True, color="steelblue")
        axes.set(yscale="log", xlabel="activation")
    figure.axes[0].set_ylabel("share of all activations")
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Train, print the table, draw the picture."""
    print(f"{'regularizers':<17}{'accuracy':>9}{'near zero':>11}{'predictions clean':>19}")
    results = []
    for regularizers in CASES:
        result = train(regularizers)
        clean = "yes" if result.clean else "no"
        print(f"{result.regularizers:<17}{result.accuracy:>9.1%}{result.near_zero:>11.0%}{clean:>19}", flush=True)
        results.append(result)
    picture = Path(__file__).parent / "output" / "pytensor_ml_sparse.png"
    draw(results, picture)
    print(f"picture: {picture}")


if __name__ == "__main__":
    main()
