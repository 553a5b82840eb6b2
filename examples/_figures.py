"""Measures and pictures of the filters that `sparse_autoencoder` learns."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

NEAR_ZERO = 0.01  # an activation below this, in units of a pixel's standard deviation, counts as near zero
WELL_EXPLAINED = 0.7  # a filter of which a Gabor function explains more than this share counts as one
WINDOW = 4  # side of the window that is to hold most of a filter, in pixels
CELLS = 4  # cells per side of the patch, for counting where filters sit


class Result(NamedTuple):
    """What training at one weight gave; lengths are in pixels, angles in radians from the x axis."""

    weight: float
    filters: np.ndarray  # (units, side, side)
    activations: np.ndarray  # (patches, units)
    unexplained: float
    mean_activation: float
    near_zero: float
    best_window: float
    centres: np.ndarray  # (units, 2): x, y
    explained: np.ndarray  # (units,): share of a filter's energy that its best Gabor function explains
    orientations: np.ndarray  # (units,): which way its stripes run
    share_gabor: float
    cells: int


def measure(
    weight: float, filters: np.ndarray, activations: np.ndarray, patches: np.ndarray, reconstructions: np.ndarray
) -> Result:
    """Return the measures of one training; patches and reconstructions have a row for each patch."""
    centres = energy_centres(filters)
    explained, orientations = fit_gabors(filters)
    cells = np.floor(centres * CELLS / filters.shape[1]).astype(int)
    return Result(
        weight=weight,
        filters=filters,
        activations=activations,
        unexplained=float(((reconstructions - patches) ** 2).mean() / patches.var()),
        mean_activation=float(np.abs(activations).mean()),
        near_zero=float((np.abs(activations) < NEAR_ZERO).mean()),
        best_window=float(np.median(window_shares(filters))),
        centres=centres,
        explained=explained,
        orientations=orientations,
        share_gabor=float((explained > WELL_EXPLAINED).mean()),
        cells=len({tuple(cell) for cell in cells}),
    )


def energy_centres(filters: np.ndarray) -> np.ndarray:
    """Return x and y of each filter's centre of energy, in pixels from the patch's upper left corner."""
    energy = filters**2 / (filters**2).sum(axis=(1, 2), keepdims=True)
    middles = np.arange(filters.shape[1]) + 0.5
    return np.stack([energy.sum(axis=1) @ middles, energy.sum(axis=2) @ middles], axis=1)


def window_shares(filters: np.ndarray) -> np.ndarray:
    """Return, for each filter, the share of its energy within the square window that holds most of it."""
    energy = filters**2
    windows = np.lib.stride_tricks.sliding_window_view(energy, (WINDOW, WINDOW), axis=(1, 2)).sum(axis=(3, 4))
    return windows.max(axis=(1, 2)) / energy.sum(axis=(1, 2))


def fit_gabors(filters: np.ndarray, rounds: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Fit a Gabor function to each filter; return the share of energy it explains, and the angle of its stripes.

    A Gabor function is a plane wave under a Gaussian envelope. Two of its parameters, amplitude and phase, are linear:
    they weight the wave's cosine and sine. With the other six given, the best fit is the filter's projection on the
    plane that these two span, and the share it explains is the projection's squared length over the filter's. The six
    (centre, angle, frequency, width along and across the stripes) are found on a coarse grid, and then by compass
    search: step each up and down, take the best step if it helps, and halve the steps if none does.
    """
    side = filters.shape[1]
    flat = filters.reshape(len(filters), -1)
    flat = flat / np.linalg.norm(flat, axis=1, keepdims=True)

    places = np.arange(0.5, side)
    axes = (places, places, np.arange(8) * np.pi / 8, (0.08, 0.15, 0.25, 0.35), (0.8, 1.5, 2.5), (0.8, 1.5, 2.5))
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 6)
    shares = (np.tensordot(flat, gabor_planes(grid, side), axes=(1, 2)) ** 2).sum(axis=2)
    best, explained = grid[shares.argmax(axis=1)], shares.max(axis=1)

    lowest = np.array([0, 0, -np.inf, 0.06, 0.6, 0.6])
    highest = np.array([side, side, np.inf, 0.5, side / 2, side / 2])
    steps = np.concatenate([np.eye(6), -np.eye(6)]) * [0.5, 0.5, np.pi / 16, 0.05, 0.4, 0.4]
    scale = np.ones(len(flat))
    everyone = np.arange(len(flat))
    for _ in range(rounds):
        tried = np.clip(best[:, None] + scale[:, None, None] * steps, lowest, highest)
        shares = ((gabor_planes(tried, side) @ flat[:, None, :, None]) ** 2).sum(axis=(2, 3))
        winner = shares.argmax(axis=1)
        better = shares[everyone, winner] > explained
        best = np.where(better[:, None], tried[everyone, winner], best)
        explained = np.where(better, shares[everyone, winner], explained)
        scale = np.where(better, scale, scale / 2)
    return explained, best[:, 2] % np.pi


def gabor_planes(parameters: np.ndarray, side: int) -> np.ndarray:
    """Return two orthonormal images that span the Gabor functions of all phases: (..., 6) to (..., 2, side * side)."""
    x0, y0, angle, frequency, along, across = np.moveaxis(parameters[..., None], -2, 0)
    y, x = (places.ravel() + 0.5 for places in np.indices((side, side)))
    u = (x - x0) * np.cos(angle) + (y - y0) * np.sin(angle)  # along the stripes
    v = (y - y0) * np.cos(angle) - (x - x0) * np.sin(angle)  # across
    envelope = np.exp(-0.5 * ((u / along) ** 2 + (v / across) ** 2))
    even = envelope * np.cos(2 * np.pi * frequency * v)
    odd = envelope * np.sin(2 * np.pi * frequency * v)
    even /= np.linalg.norm(even, axis=-1, keepdims=True)
    odd -= (odd * even).sum(axis=-1, keepdims=True) * even
    odd /= np.linalg.norm(odd, axis=-1, keepdims=True)
    return np.stack([even, odd], axis=-2)


def draw(results: list[Result], path: Path, control: bool) -> None:
    """Draw one column for each weight: the filters, where each sits and which way it runs, the activations."""
    columns = len(results)
    figure = Figure(figsize=(max(3.5 * columns, 9), 12), layout="constrained")
    rows = figure.subfigures(3, 1, height_ratios=(1.03, 1.05, 0.8), hspace=0.03)
    source = "phase-scrambled photographs" if control else "photographs"
    headings = (
        f"The {len(results[0].filters)} filters learned from {source}, sorted by direction",
        "Where in the patch each filter sits, and which way it runs",
        f"How often each activation occurs, on a logarithmic scale (near zero: below {NEAR_ZERO:g})",
    )
    for row, heading in zip(rows, headings):
        row.suptitle(heading, x=0.01, ha="left", fontsize=15, fontweight="bold")
    mosaics = rows[0].subplots(1, columns, squeeze=False)[0]
    rows[1].supxlabel(
        f"Pixels of the patch. Line: an edge, of which a Gabor function explains more than {WELL_EXPLAINED:g}. "
        f"Grey dot: any other filter. Grid: the {CELLS**2} cells.",
        fontsize=11,
    )
    maps = rows[1].subplots(1, columns, squeeze=False)[0]
    draw_key(rows[1].add_axes((0.5, 0.935, 0.04, 0.06)))
    histograms = rows[2].subplots(1, columns, squeeze=False, sharex=True, sharey=True)[0]
    # A penalty that is too strong leaves no activation at all; the axis still needs a length.
    bins = np.linspace(0, max(NEAR_ZERO, *(result.activations.max() for result in results)), 50)
    for result, mosaic_axes, map_axes, histogram_axes in zip(results, mosaics, maps, histograms):
        name = f"weight {result.weight:g}" if result.weight else "no penalty"
        mosaic_axes.set_title(name, fontsize=13)
        mosaic_axes.imshow(mosaic(result.filters[np.argsort(result.orientations)]), cmap="gray", vmin=-1, vmax=1)
        mosaic_axes.axis("off")
        map_axes.set_title(f"{name}: {result.share_gabor:.0%} edges, in {result.cells} cells", fontsize=12)
        draw_map(map_axes, result)
        histogram_axes.set_title(f"{name}: {result.near_zero:.0%} near zero", fontsize=12)
        heights = np.histogram(result.activations, bins)[0] / result.activations.size
        histogram_axes.stairs(heights, bins, fill=True, color="steelblue")
        histogram_axes.set(yscale="log", xlabel="activation")
    histograms[0].set_ylabel("share of all activations")
    figure.savefig(path, dpi=110, bbox_inches="tight", pad_inches=0.2)


def mosaic(filters: np.ndarray) -> np.ndarray:
    """Return one image with all filters as tiles, each scaled to its own largest value, on white."""
    count, side, _ = filters.shape
    columns = int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    image = np.ones((rows * (side + 1) + 1, columns * (side + 1) + 1))
    for index, tile in enumerate(filters / np.abs(filters).max(axis=(1, 2), keepdims=True)):
        top, left = (1 + (side + 1) * place for place in divmod(index, columns))
        image[top : top + side, left : left + side] = tile
    return image


def draw_map(axes: Axes, result: Result) -> None:
    """Draw a short line at each filter's centre, coloured by the direction of its stripes; dots for the rest."""
    side = result.filters.shape[1]
    edges = result.explained > WELL_EXPLAINED
    reach = 0.45 * np.stack([np.cos(result.orientations), np.sin(result.orientations)], axis=1)
    lines = np.stack([result.centres - reach, result.centres + reach], axis=1)
    axes.scatter(*result.centres[~edges].T, color="0.6", s=14)
    axes.add_collection(LineCollection(lines[edges], colors=colours(result.orientations[edges]), linewidths=2.5))
    ticks = np.linspace(0, side, CELLS + 1)
    axes.set(xlim=(0, side), ylim=(side, 0), xticks=ticks, yticks=ticks, aspect="equal")
    axes.grid(color="0.85")
    axes.set_axisbelow(True)
    axes.tick_params(length=0)


def draw_key(axes: Axes) -> None:
    """Draw which colour is which direction, as spokes."""
    angles = np.arange(16) * np.pi / 8
    spokes = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    lines = np.stack([0.35 * spokes, spokes], axis=1)
    axes.add_collection(LineCollection(lines, colors=colours(angles), linewidths=2.5))
    axes.text(1.4, 0, "directions", va="center", fontsize=12)
    axes.set(xlim=(-1.1, 1.1), ylim=(1.1, -1.1), aspect="equal")  # y downwards, as in the patches
    axes.axis("off")


def colours(angles: np.ndarray) -> np.ndarray:
    """Return a colour for each direction; 0 and 180 degrees are one."""
    return colormaps["hsv"](angles % np.pi / np.pi)
