"""A Bayesian network with and without hidden_l1: its maximum a posteriori, and a short posterior by NUTS.

    python examples/pymc_sparse.py    # a table, and, with Matplotlib, a picture in examples/output

Prints, for each, the error of the reconstruction and the share of hidden activations near zero; of the posterior, the
mean over draws and its standard deviation. Needs Python 3.12 and regkit-pymc, which brings PyMC.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
from pathlib import Path

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import regkit_pymc

WEIGHTS = (0, 3)  # of hidden_l1, whose penalty is a sum over all examples
EXAMPLES, INPUTS, CAUSES, HIDDEN = 40, 6, 3, 5
NOISE = 0.2  # standard deviation of what the causes do not explain
NEAR_ZERO = 0.05


def data() -> np.ndarray:
    """Return inputs that a few sparse causes explain."""
    rng = np.random.default_rng(0)
    active = rng.exponential(size=(EXAMPLES, CAUSES)) * (rng.uniform(size=(EXAMPLES, CAUSES)) < 0.3)
    return active @ rng.normal(size=(CAUSES, INPUTS)) + NOISE * rng.normal(size=(EXAMPLES, INPUTS))


def network(x: np.ndarray, weight: float) -> pm.Model:
    """Return an autoencoder whose weights have a normal prior, as a penalty, and whose hidden layer is to be sparse."""
    with pm.Model() as model:
        w1, w2 = pm.Flat("w1", shape=(INPUTS, HIDDEN)), pm.Flat("w2", shape=(HIDDEN, INPUTS))
        b1 = pm.Normal("b1", 0, 3, shape=HIDDEN)
        hid1 = pm.Deterministic("hid1", pt.sigmoid(x @ w1 + b1))
        out = pm.Deterministic("out", hid1 @ w2)
        pm.Normal("x", out, NOISE, observed=x)
        regkit_pymc.regularize(hidden_l1=dict(weight=weight, pattern="hid*"), weight_l2=0.1)
    return model


def fits(model: pm.Model, draws: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return hidden activations and outputs, with an axis of draws first, of the maximum and of the posterior."""
    rng = np.random.default_rng(1)
    start = {"w1": rng.normal(size=(INPUTS, HIDDEN)), "w2": rng.normal(size=(HIDDEN, INPUTS))}
    with model:
        maximum = pm.find_MAP(initvals=start, return_inferencedata=True, jitter=False, progressbar=False).posterior
        begin = {name: maximum[name].values[0, 0] for name in ("w1", "w2", "b1")}
        posterior = pm.sample(
            draws=draws,
            tune=draws,
            chains=1,
            cores=1,
            step=pm.NUTS(max_treedepth=5),
            initvals=begin,
            random_seed=1,
            progressbar=False,
            compute_convergence_checks=False,
        ).posterior
    return {
        name: (found["hid1"].values[0], found["out"].values[0])
        for name, found in (("maximum", maximum), ("posterior", posterior))
    }


def draw(activations: dict[float, np.ndarray], path: Path) -> None:
    """Draw the activations of the posterior, examples by units, and how often each occurs; a column for each weight."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(activations), 7), layout="constrained")
    figure.suptitle("Hidden activations in the posterior: black is 0, white is 1", fontweight="bold")
    axes = figure.subplots(2, len(activations), squeeze=False, sharey="row", height_ratios=(1.6, 1))
    bins = np.linspace(0, 1, 41)
    for (means, shares), (weight, draws) in zip(axes.T, activations.items()):
        means.set_title(f"hidden_l1={weight:g}" if weight else "no penalty", fontsize=13)
        means.imshow(draws.mean(axis=0), cmap="gray", vmin=0, vmax=1, aspect="auto")
        means.set(xlabel="unit", xticks=range(HIDDEN))
        shares.stairs(np.histogram(draws, bins)[0] / draws.size, bins, fill=True, color="steelblue")
        shares.set(yscale="log", xlabel="activation")
    axes[0, 0].set_ylabel("example (mean of the draws)")
    axes[1, 0].set_ylabel("share of all draws")
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Fit, print the table, draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--draws", type=int, default=60, help="of the posterior, after as many of tuning")
    options = parser.parse_args()
    logging.getLogger("pymc").setLevel(logging.ERROR)
    x = data()
    activations = {}
    print(f"{'hidden_l1':<11}{'fit':<11}{'error':>15}{'near zero':>15}")
    for weight in WEIGHTS:
        for name, (hidden, output) in fits(network(x, weight), options.draws).items():
            errors = np.sqrt(((output - x) ** 2).mean(axis=(1, 2)))
            shares = (hidden < NEAR_ZERO).mean(axis=(1, 2))
            error, near_zero = f"{errors.mean():.3f}", f"{shares.mean():.0%}"
            if len(hidden) > 1:
                error, near_zero = f"{error} ± {errors.std():.3f}", f"{near_zero} ± {shares.std():.0%}"
            print(f"{weight:<11}{name:<11}{error:>15}{near_zero:>15}", flush=True)
            activations[weight] = hidden
    if importlib.util.find_spec("matplotlib") is None:
        print("no picture: Matplotlib is not installed")
        return
    picture = Path(__file__).parent / "output" / "pymc_sparse.png"
    draw(activations, picture)
    print(f"picture: {picture}")


if __name__ == "__main__":
    main()
