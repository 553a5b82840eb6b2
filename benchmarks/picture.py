"""One picture of what the benchmarks left in a folder: each ratio with its quartiles, a panel for each benchmark.

python benchmarks/picture.py benchmarks/output
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import LogLocator, NullLocator

TITLES = {
    "discovery": "finding and building one regularizer in a fresh process,\nto regkit.build",
    "building": "building again, to a look-up and the constructor (unless said)",
    "hooks": "driving a set's hooks, to pluggy's own call",
    "training": "a training step, to one without a regularizer (unless said)",
    "depth": "building a layer with noise, to one in a network of 50",
    "jax_step": "JAX, to the same penalties by hand",
    "keras_epoch": "an epoch of Keras, to its own regularizers (unless said)",
    "torch_step": "PyTorch, to the penalties by hand",
    "search": "a search, to one compilation, one worker, Optuna's own loop",
}


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
    figure, panels = plt.subplots(
        len(found),
        figsize=(9, 1.2 * len(found) + 0.2 * sum(map(len, found.values()))),
        height_ratios=[len(places) + 2 for places in found.values()],
        squeeze=False,
        layout="constrained",
    )
    pythons = sorted({python for places in found.values() for rows in places.values() for python, _ in rows})
    pythons.sort(key=lambda python: int(python.partition(".")[2]))
    for panel, (name, places) in zip(panels[:, 0], found.items()):
        for height, rows in enumerate(places.values()):
            for python, row in rows:
                number = pythons.index(python)
                spread = [[row["ratio"] - row["low"]], [row["high"] - row["ratio"]]]
                y = height + 0.5 * (number + 0.5) / len(pythons) - 0.25
                panel.errorbar(row["ratio"], y, xerr=spread, fmt="o", markersize=3, color=f"C{number}")
        panel.set_yticks(range(len(places)), [f"{case}: {contestant}" for case, contestant in places], fontsize=7)
        panel.set_ylim(len(places) - 0.5, -0.5)
        panel.axvline(1, color="grey", linewidth=0.8)
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 1.2, 1.5, 2, 3, 5)))
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_locator(NullLocator())
        panel.tick_params(axis="x", labelsize=7)
        panel.grid(axis="x", alpha=0.3)
        panel.set_title(TITLES[name], fontsize=9)
    keys = [plt.Line2D([], [], marker="o", linestyle="", color=f"C{n}") for n in range(len(pythons))]
    panels[0, 0].legend(keys, [f"Python {python}" for python in pythons], fontsize=7, loc="lower right")
    panels[-1, 0].set_xlabel("times as long (median and quartiles; below 1 is faster)", fontsize=8)
    picture = folder / "ratios.png"
    figure.savefig(picture, dpi=130)
    print(f"The picture is {picture}")


if __name__ == "__main__":
    main()
