"""What the hidden units of a network stand for: a sparse autoencoder of its activations, with and without a penalty.

    python examples/sparse_dictionary.py    # a table, and a picture in examples/output

A small network learns to read scikit-learn's digits. Its few hidden units each say several things at once. A dictionary
of many more directions, of which few are to be active at a time, takes them apart. Needs JAX and regkit-jax, or PyTorch
and regkit-torch; scikit-learn for the digits, and Matplotlib for the picture.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import regkit

UNITS, FEATURES = 32, 128
WEIGHT = 0.1
CASES = {
    "none": {},
    "hidden_sparsity": {"hidden_sparsity": {"weight": WEIGHT, "pattern": "codes", "reduction": "batch"}},
}
TRAINED = 1200  # of 1797 digits; what is measured and drawn is of the others
SHOWN, EXAMPLES = 12, 10  # features in the picture, and digits for each


class Result(NamedTuple):
    """What a dictionary is like on digits that neither it nor the network has seen."""

    regularizers: str
    codes: np.ndarray  # (digits, features)
    unexplained: float  # share of the activations' variance that the dictionary does not give back
    active: float  # share of features that are active for a digit
    dead: int  # features that never are
    one_class: float  # share of the commonest class among the digits that activate a feature most, by its strength
    accuracy: float  # of the network, with what the dictionary gives back in the place of its activations


def measured(
    regularizers: str,
    dictionary: dict[str, np.ndarray],
    activations: np.ndarray,
    classes: np.ndarray,
    network: dict[str, np.ndarray],
    scale: float,
) -> Result:
    """Return the measures of a dictionary."""
    codes = np.maximum((activations - dictionary["offset"]) @ dictionary["encoder"] + dictionary["bias"], 0)
    back = codes @ dictionary["directions"] + dictionary["offset"]
    alive = np.flatnonzero(codes.max(axis=0) > 0)
    shares = [one_class(codes, classes, feature) for feature in alive]
    return Result(
        regularizers,
        codes,
        unexplained=float(((back - activations) ** 2).sum() / ((activations - activations.mean(axis=0)) ** 2).sum()),
        active=float((codes > 0).mean()),
        dead=FEATURES - len(alive),
        one_class=float(np.average(shares, weights=codes[:, alive].sum(axis=0))),
        accuracy=accuracy(back * scale, classes, network),
    )


def one_class(codes: np.ndarray, classes: np.ndarray, feature: int) -> float:
    """Return the share of the commonest class among the digits that activate a feature most."""
    return float(np.bincount(classes[strongest(codes, feature)]).max() / EXAMPLES)


def strongest(codes: np.ndarray, feature: int) -> np.ndarray:
    """Return which digits activate a feature most."""
    return np.argsort(-codes[:, feature], kind="stable")[:EXAMPLES]


def accuracy(hidden: np.ndarray, classes: np.ndarray, network: dict[str, np.ndarray]) -> float:
    """Return the share of digits that a network reads rightly from its hidden activations."""
    return float(((hidden @ network["w2"] + network["b2"]).argmax(axis=1) == classes).mean())


def draw(results: list[Result], images: np.ndarray, path: Path) -> None:
    """Draw, for the features that say most, the digits that activate each most, beside how often it is active."""
    figure = Figure(figsize=(6.2 * len(results), 7.6), layout="constrained")
    figure.suptitle(
        f"What the {SHOWN} strongest features of each dictionary stand for: the digits that activate them most",
        fontweight="bold",
    )
    for result, axes in zip(results, figure.subplots(1, len(results))):
        features = np.argsort(-result.codes.sum(axis=0))[:SHOWN]
        rows = [np.hstack([framed(images[digit]) for digit in strongest(result.codes, one)]) for one in features]
        axes.imshow(np.vstack(rows), cmap="gray_r", vmin=0, vmax=16)
        side = rows[0].shape[0]
        shares = [f"{(result.codes[:, one] > 0).mean():.0%}" for one in features]
        axes.set_yticks(side * np.arange(SHOWN) + side / 2 - 0.5, shares)
        axes.set_xticks([])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_ylabel("a feature in each row: share of digits for which it is active")
        name = result.regularizers if result.regularizers == "none" else f"{result.regularizers}, weight {WEIGHT:g}"
        axes.set_title(f"{name}: {result.active:.0%} of the features active", fontsize=11)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=110)


def framed(image: np.ndarray) -> np.ndarray:
    """Return the image of a digit with white around it."""
    return np.pad(image.reshape(8, 8), 1)


def library() -> ModuleType:
    """Return what trains, in the first library that is there."""
    missing = []
    for name in ("jax", "torch"):
        try:
            return importlib.import_module(f"_dictionary_{name}")
        except ModuleNotFoundError as error:
            if error.name not in (name, f"regkit_{name}"):
                raise
            missing.append(error.name)
    sys.exit(f"{' and '.join(missing)} are missing. Install JAX and regkit-jax, or PyTorch and regkit-torch")


def main() -> None:
    """Train, print the table, draw the picture."""
    train = library()
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.data))
    images, classes = digits.data[order], digits.target[order]
    seen, new = slice(None, TRAINED), slice(TRAINED, None)

    network = train.trained_network(images[seen] / 16, classes[seen], UNITS, steps=1500)
    hidden = np.maximum(images / 16 @ network["w1"] + network["b1"], 0)
    print(f"network in {train.NAME}: {UNITS} hidden units, {accuracy(hidden[new], classes[new], network):.1%} right")
    scale = float(np.sqrt((hidden[seen] ** 2).sum(axis=1).mean()))  # so that an activation vector has length 1 or so
    print(f"{'regularizers':<17}{'unexplained':>12}{'active':>8}{'dead':>6}{'one class':>11}{'network right':>15}")
    results = []
    for regularizers, options in CASES.items():
        dictionary = train.trained_dictionary(hidden[seen] / scale, FEATURES, 2000, regkit.build(options))
        result = measured(regularizers, dictionary, hidden[new] / scale, classes[new], network, scale)
        print(
            f"{result.regularizers:<17}{result.unexplained:>12.1%}{result.active:>8.0%}{result.dead:>6}"
            f"{result.one_class:>11.0%}{result.accuracy:>15.1%}",
            flush=True,
        )
        results.append(result)
    picture = Path(__file__).parent / "output" / "sparse_dictionary.png"
    draw(results, images[new], picture)
    print(f"picture: {picture}")


if __name__ == "__main__":
    main()
