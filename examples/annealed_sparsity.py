"""A schedule for a regularizer: ``hidden_sparsity`` rises from 0 while a network trains, compiled once.

The weight is a `regkit.Live`, and a schedule is any function of the step. Setting it changes the next step, with no
other compilation; `terms` shows the raw and the weighted penalty as they go. It runs on any graph library that regkit
supports::

    python examples/annealed_sparsity.py
"""

from __future__ import annotations

import argparse
import time

import numpy as np

import regkit
from _library import graph_library

LAYERS = (12, 24, 12)  # units of the input, the hidden layer and the output
RATE = 0.05


def sparse_mixtures(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return data that a sparse code fits: each row a sum of three of 24 patterns, in units of its deviation."""
    patterns = rng.normal(size=(24, LAYERS[0]))
    codes = np.zeros((count, 24))
    for row in codes:
        row[rng.choice(24, 3, replace=False)] = rng.uniform(0.5, 1, 3)
    data = codes @ patterns
    return data / data.std()


def main() -> None:
    """Train, and print a line for each tenth of the epochs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=500, help="steps of gradient descent on all data")
    parser.add_argument("--weight", type=float, default=0.5, help="of hidden_sparsity in the last epoch")
    options = parser.parse_args()
    if options.epochs < 10 or not 0 <= options.weight < float("inf"):
        parser.error("accepted: --epochs of at least 10, and a finite --weight of at least 0")

    library, tt = graph_library()
    rng = np.random.default_rng(0)
    x = library.shared(sparse_mixtures(500, rng), name="x")
    encoder, decoder = (
        library.shared(rng.normal(size=size) / np.sqrt(size[0]), name=name)
        for name, size in (("hid1.w", LAYERS[:2]), ("out.w", LAYERS[1:]))
    )

    weight = regkit.Live(0)
    regs = regkit.build(hidden_sparsity=dict(weight=weight, reduction="batch"))
    hidden = tt.maximum(x.dot(encoder), 0)
    # Rows of unit norm, or the penalty would be cheated by small activations under a large decoder.
    rows = decoder / tt.sqrt((decoder**2).sum(axis=1, keepdims=True))
    out = hidden.dot(rows)
    layers = [
        regkit.Layer("in", outputs={"in": x}, role="input"),
        regkit.Layer("hid1", [encoder], {"hid1": hidden}, role="hidden"),
        regkit.Layer("out", [decoder], {"out": out}, role="output"),
    ]
    regularized = regs.regularize(layers)

    error = ((out - x) ** 2).sum(axis=1).mean()
    (term,) = regularized.terms
    gradients = tt.grad(error + regularized.loss, [encoder, decoder])
    updates = [(param, param - RATE * gradient) for param, gradient in zip([encoder, decoder], gradients)]
    began = time.perf_counter()
    step = library.function([], [error, term.penalty, term.weighted, hidden.mean()], updates=updates)
    print(f"{library.__name__} {library.__version__}: 1 compilation, {time.perf_counter() - began:.1f} s")

    for _ in range(options.epochs // 5):  # without a penalty at first, until the network has learnt something
        step()
    print("epoch  weight  error   penalty  weighted  mean activation")
    for epoch in range(options.epochs + 1):
        weight.set(options.weight * epoch / options.epochs)
        values = [float(value) for value in step()]
        if epoch % (options.epochs // 10) == 0:
            print(f"{epoch:>5}  {weight.value:<6.3g}  {values[0]:<6.3f}  {values[1]:<7.3f}  ", end="")
            print(f"{values[2]:<8.3f}  {values[3]:.4f}")


if __name__ == "__main__":
    main()
