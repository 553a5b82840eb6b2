"""One picture of what the benchmarks left in a folder: each ratio with its quartiles, a panel for each benchmark.

It is narrow, with each label above its row, so that it can be read on a telephone.

python benchmarks/picture.py benchmarks/output
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

TITLES = {
    "discovery": "Finding and building one regularizer\nin a fresh process, to regkit.build",
    "building": "Building again, to a look-up and the constructor;\nwith regkit.split, to regkit.build",
    "hooks": "Driving a set's hooks, to pluggy's own call",
    "training": "A training step,\nto one without a regularizer (unless named)",
    "depth": "Building a layer with noise,\nto one in a network of 50",
    "jax_step": "JAX, to the same penalties by hand",
    "keras_epoch": "an epoch of Keras, to its own regularizers (unless said)",
    "torch_step": "PyTorch, to the penalties by hand",
    "search": "A search, to one compilation,\none worker, Optuna's own loop",
}
#: Where an axis may have a tick, from the widest steps to the narrowest.
TICKS = (
    [0.1, 1, 10, 100, 1000],
    [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500],
    [0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.2, 1.5, 2, 2.5, 3, 4, 5],
    [0.9, 0.92, 0.94, 0.96, 0.98, 1, 1.02, 1.04, 1.06, 1.08, 1.1, 1.12],
)
ROW = 0.34  # the height of a row, in inches


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where the benchmarks left their rows, with --into")
    folder = parser.parse_args().folder
    found: dict[str, dict[tuple[str, str], list[tuple[str, dict]]]] = {name: {} for name in TITLES}
    for file in sorted(folder.glob("*.json")):
        for row in json.loads(file.read_text())["rows"]:
            place = row["case"], row["contestant"]
            found[row["benchmark"]].setdefault(place, []).append((row["python"], row))
    found = {name: places for name, places in found.items() if places}
    if not found:
        raise SystemExit(f"there are no results in {folder}")
    heights = [ROW * (len(places) + 2) for places in found.values()]
    size = (5, sum(heights) + 0.6 * len(found))
    figure, panels = plt.subplots(len(found), figsize=size, height_ratios=heights, squeeze=False, layout="constrained")
    pythons = sorted({python for places in found.values() for rows in places.values() for python, _ in rows})
    pythons.sort(key=lambda python: int(python.partition(".")[2]))
    for panel, (name, places) in zip(panels[:, 0], found.items()):
        panel.set_title(TITLES[name], fontsize=10, fontweight="bold", loc="left")
        draw(panel, places, pythons)
    keys = [plt.Line2D([], [], marker="o", linestyle="", color=f"C{n}") for n in range(len(pythons))]
    names = [f"Python {python}" for python in pythons]
    figure.legend(keys, names, fontsize=9, loc="outside upper left", ncols=len(pythons), frameon=False)
    figure.supxlabel("times as long: median and quartiles\n(below 1 is faster)", fontsize=9)
    picture = folder / "ratios.png"
    figure.savefig(picture, dpi=120)
    print(f"The picture is {picture}")


def draw(panel: Axes, places: dict[tuple[str, str], list[tuple[str, dict]]], pythons: list[str]) -> None:
    """Draw a benchmark: a row for each contestant of a case."""
    panel.set_xscale("log")
    for height, ((case, contestant), rows) in enumerate(places.items()):
        panel.text(0.01, height - 0.2, f"{case}: {contestant}", fontsize=8, transform=panel.get_yaxis_transform())
        for python, row in rows:
            number = pythons.index(python)
            spread = [[row["ratio"] - row["low"]], [row["high"] - row["ratio"]]]
            y = height - 0.06 + 0.4 * (number + 0.5) / len(pythons)
            panel.errorbar(row["ratio"], y, xerr=spread, fmt="o", markersize=3, linewidth=1, color=f"C{number}")
    panel.set_ylim(len(places) - 0.3, -0.8)
    panel.set_yticks([])
    panel.axvline(1, color="grey", linewidth=0.8)
    low, high = panel.get_xlim()
    seen = [[tick for tick in some if low <= tick <= high] for some in TICKS]
    panel.xaxis.set_major_locator(FixedLocator(next((some for some in seen if len(some) > 2), seen[-1])))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter("{x:g}")
    panel.tick_params(axis="x", labelsize=8)
    panel.grid(axis="x", alpha=0.4)


if __name__ == "__main__":
    main()
