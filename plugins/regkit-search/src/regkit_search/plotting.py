"""Pictures of what was found: each measure against each weight, several aims against each other."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

#: How the dots of trials look, by what became of them.
LOOKS: dict[str, dict[str, Any]] = {
    "pruned": {"color": "grey", "alpha": 0.25, "label": "pruned"},
    "complete": {"color": "steelblue", "alpha": 0.8, "label": "complete"},
    "best": {"color": "crimson", "alpha": 1.0, "zorder": 3},
}


def figure_of(
    frame: pd.DataFrame,
    parameters: Sequence[str],
    aims: Mapping[str, str],
    best: Collection[int],
    joined: bool = False,
) -> Figure:
    """Return the figure of a frame of trials.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `Result.frame` gives it.
    parameters : sequence of str
        A column of panels for each; numbers that are spread over more than a factor of 3 have a log axis.
    aims : mapping of str to {"minimize", "maximize"}
        Their panels come first. Two or more have a panel for each pair as well, with the Pareto front.
    best : collection of int
        Numbers of the trials that stand out.
    joined : bool, default False
        Whether a line goes through the trials in their order, as along a path.
    """
    measures = [*aims, *(name for name in frame if _is_measure(frame, name, parameters, aims))]
    pairs = list(combinations(aims, 2))
    rows, columns = len(measures), len(parameters) + bool(pairs)
    figure = Figure(figsize=(4.2 * columns, 2.9 * max(rows, 1)), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    for row, measure in zip(panels, measures):
        for axes, parameter in zip(row, parameters):
            _scatter(axes, frame, parameter, measure, best, joined)
            axes.set(xlabel=parameter, ylabel=_label(measure, aims))
            _set_scale(axes, frame[parameter])
    for number, axes in enumerate(panels[:, -1] if pairs else ()):
        if number >= len(pairs):
            axes.set_axis_off()
            continue
        across, up = pairs[number]
        _scatter(axes, frame, across, up, best)
        front = frame[frame["number"].isin(list(best))].sort_values(across)
        axes.plot(front[across], front[up], color="crimson", linewidth=1, label="Pareto front")
        axes.set(xlabel=_label(across, aims), ylabel=_label(up, aims))
    handles, labels = panels[0, -1].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=len(handles), frameon=False)
    return figure


def _is_measure(frame: pd.DataFrame, name: str, parameters: Sequence[str], aims: Mapping[str, str]) -> bool:
    known = name in ("number", "state", "failure") or name in parameters or name in aims or "." in name
    return not known and pd.api.types.is_numeric_dtype(frame[name])


def _scatter(
    axes: Axes, frame: pd.DataFrame, across: str, up: str, best: Collection[int], joined: bool = False
) -> None:
    is_best = frame["number"].isin(list(best))
    if joined:
        axes.plot(frame[across], frame[up], color="steelblue", linewidth=1, alpha=0.6)
    for state, look in LOOKS.items():
        chosen = frame[is_best if state == "best" else (frame["state"] == state) & ~is_best]
        if len(chosen):
            label = look.get("label", "best" if len(best) == 1 else "front")
            axes.scatter(chosen[across], chosen[up], s=18, linewidths=0, **{**look, "label": label})
    axes.grid(alpha=0.2)


def _set_scale(axes: Axes, values: pd.Series) -> None:
    """Numbers that are spread over more than a factor of 3 have a log axis, on which 0 has a place too."""
    if not pd.api.types.is_numeric_dtype(values):
        return
    positive = values[values > 0]
    if len(positive) and positive.max() > 3 * positive.min():
        if (values == 0).any():
            axes.set_xscale("symlog", linthresh=float(np.min(positive)))
        else:
            axes.set_xscale("log")


def _label(measure: str, aims: Mapping[str, str]) -> str:
    return f"{measure} ({aims[measure]})" if measure in aims else measure
