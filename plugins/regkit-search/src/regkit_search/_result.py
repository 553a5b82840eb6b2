"""The result of a search: tables, the best trials, a picture."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from html import escape
from itertools import combinations
from typing import Any, NamedTuple

import optuna
import pandas as pd
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from ._space import Space
from ._study import ERROR, StoredStudy, stand_ins
from ._trial import COLUMNS, RESERVED, SearchError

#: How many trials the table in a notebook has.
SHOWN = 10

#: From how many failed trials with one choice on a warning names the choice.
TELLING = 3


class Found(NamedTuple):
    """The best trial, or one of the Pareto front: its number, its aims, the options to build from."""

    number: int
    aims: dict[str, float]
    config: dict[str, Any]


class Result:
    """The trials of a search, with those of earlier runs.

    Attributes
    ----------
    study : optuna.study.Study
        For everything that Optuna does with a study, such as ``optuna.visualization``.
    aims : dict of str to {"minimize", "maximize"}
    """

    def __init__(self, stored: StoredStudy) -> None:
        self.study: optuna.Study = stored.study
        self.aims = stored.aims
        self._space: Space = stored.space

    def frame(self) -> pd.DataFrame:
        """Return a row for each trial: number, state, parameters, aims, further measures, failure.

        Returns
        -------
        pandas.DataFrame
            States are ``"complete"``, ``"pruned"`` (the only aim is the last report) and ``"failed"``, with the reason
            in the column ``failure``. A parameter of an alias that was not used is missing.
        """
        replaced = stand_ins(self.study)
        trials = [one for one in self.study.get_trials(deepcopy=False) if one.number not in replaced]
        rows = [self._row(trial) for trial in trials if trial.state != TrialState.WAITING]
        measures = [name for row in rows for name in row if name not in COLUMNS]
        columns = [*COLUMNS[:2], *self._space.parameters, *self.aims, *measures, "failure"]
        return pd.DataFrame(rows, columns=list(dict.fromkeys(columns)))

    @property
    def best(self) -> dict[str, Any]:
        """The options of the best trial, for `regkit.build`.

        Raises
        ------
        SearchError
            If there are several aims, or no trial is complete and within its constraints.
        """
        return self._the_best().config

    @property
    def best_params(self) -> dict[str, Any]:
        """The parameters of the best trial by name, those outside the space too.

        Raises
        ------
        SearchError
            As `best`.
        """
        number = self._the_best().number
        return dict(self.study.get_trials(deepcopy=False)[number].params)

    @property
    def front(self) -> list[Found]:
        """The Pareto front, in the order of the first aim; the best trial alone if there is one aim.

        Raises
        ------
        SearchError
            If no trial is complete and within its constraints.
        """
        if not self.is_complete:
            raise SearchError(self.no_trial_is_complete())
        best = self.study.best_trials if len(self.aims) > 1 else self.ranking[:1]
        found = [one if isinstance(one, Found) else self._found(one) for one in best]
        return sorted(found, key=lambda one: next(iter(one.aims.values())))

    @property
    def ranking(self) -> list[Found]:
        """The complete trials within their constraints by the first aim, the best first."""
        sign = -1 if next(iter(self.aims.values())) == "maximize" else 1
        return sorted(map(self._found, self._feasible), key=lambda one: sign * next(iter(one.aims.values())))

    @property
    def is_complete(self) -> bool:
        """Whether any trial is complete and within its constraints."""
        return bool(self._feasible)

    def no_trial_is_complete(self) -> str:
        """Return that no trial is complete, with the first error."""
        trials = self.study.get_trials(deepcopy=False)
        if any(trial.state == TrialState.COMPLETE for trial in trials):
            return f"none of {len(trials)} trials keeps the constraints of the sampler"
        first = next((one.user_attrs[ERROR] for one in trials if ERROR in one.user_attrs), None)
        return f"none of {len(trials)} trials is complete" + (f". The first that failed: {first}" if first else "")

    @property
    def counts(self) -> str:
        """The number of trials of each state, in words."""
        states = self.frame()["state"].value_counts()
        return ", ".join(f"{count} {state}" for state, count in states.items()) or "no trials"

    def plot(self) -> Any:
        """Return a figure: each measure against each weight on a log axis, and with several aims the Pareto front.

        Returns
        -------
        matplotlib.figure.Figure
            Pruned trials are faint, the best or those of the front stand out.
        """
        weights = [name for name, one in self._space.parameters.items() if one.live]
        front = [one.number for one in self.front]
        return figure_of(self.frame(), weights or list(self._space.parameters), self.aims, front)

    def warn_of_choices(self) -> None:
        """Warn of each choice with which all trials failed, while others did not."""
        frame = self.frame()
        failed = frame["state"] == "failed"
        for name, one in self._space.parameters.items():
            if not isinstance(one.distribution, CategoricalDistribution) or failed.all():
                continue
            for choice in one.distribution.choices:
                chosen = frame[name] == choice
                if chosen.sum() >= TELLING and failed[chosen].all():
                    warnings.warn(
                        f"all {chosen.sum()} trials with {name} = {choice!r} failed. The first: "
                        f"{frame['failure'][chosen].iloc[0]}",
                        stacklevel=4,
                    )

    def __repr__(self) -> str:
        return f"<search of {', '.join(self._space.parameters)}: {self.counts}>"

    def _repr_html_(self) -> str:
        """The best trials, and then the others, for notebooks."""
        frame = self.frame()
        first = [one.number for one in self.front] if self.is_complete else []
        order = [*first, *(number for number in frame["number"] if number not in first)]
        shown = frame.set_index("number").loc[order[:SHOWN]].reset_index()
        more = f"<p>and {len(frame) - SHOWN} more</p>" if len(frame) > SHOWN else ""
        return f"<p>{escape(repr(self))}</p>{shown.to_html(index=False, na_rep='')}{more}"

    @property
    def _feasible(self) -> list[FrozenTrial]:
        trials = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return [one for one in trials if all(value <= 0 for value in _constraints(one))]

    def _the_best(self) -> Found:
        if len(self.aims) > 1:
            raise SearchError(f"with several aims, {', '.join(self.aims)}, there is no best trial. Take one of front")
        return self.front[0]

    def _found(self, trial: FrozenTrial) -> Found:
        return Found(trial.number, self._aims(trial), self._space.options(trial.params))

    def _row(self, trial: FrozenTrial) -> dict[str, Any]:
        notes = trial.user_attrs
        row = {"number": trial.number, "state": _STATES[trial.state], **trial.params}
        row.update({name: value for name, value in notes.items() if not name.startswith(RESERVED)})
        row.update(self._aims(trial))
        row["failure"] = notes.get(ERROR)
        return row

    def _aims(self, trial: FrozenTrial) -> dict[str, float]:
        return dict(zip(self.aims, trial.values or ()))


def _constraints(trial: FrozenTrial) -> list[float]:
    """Return the constraints of a trial, which keeps those that are at most 0."""
    attributes = trial.system_attrs  # a list of all in Optuna 4, and from 5 on an attribute for each that has a name
    named = [value for name, value in attributes.items() if name.startswith("constraints:")]
    return [*attributes.get("constraints", ()), *named]


_STATES = {state: state.name.lower() for state in TrialState} | {TrialState.FAIL: "failed"}


# The picture

#: How the dots of trials look, by their state.
LOOKS: dict[str, dict[str, Any]] = {
    "pruned": {"color": "grey", "alpha": 0.25, "label": "pruned"},
    "complete": {"color": "steelblue", "alpha": 0.8, "label": "complete"},
    "best": {"color": "crimson", "alpha": 1.0, "zorder": 3},
}


def figure_of(
    frame: pd.DataFrame,
    parameters: Sequence[str],
    aims: Mapping[str, str],
    best: Collection[int] = (),
    joined: bool = False,
) -> Any:
    """Return a figure of a frame of trials.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `Result.frame` returns it.
    parameters : sequence of str
        One column of panels each, with a row for each measure. A single parameter has its panels in two columns.
    aims : mapping of str to {"minimize", "maximize"}
        Their panels come first. A panel for each pair of aims, with the Pareto front, is on the right.
    best : collection of int
        Numbers of the trials that stand out.
    joined : bool, default False
        Whether a line goes through the trials in their order, as along a path.
    """
    from matplotlib.figure import Figure

    measures = [*aims, *(name for name in frame if _is_measure(frame, name, parameters, aims))]
    pairs = list(combinations(aims, 2))
    one = len(parameters) == 1
    columns = (1 + (len(measures) > 2 and len(measures) % 2 == 0)) if one else len(parameters)
    rows = len(measures) // columns if one else len(measures)
    figure = Figure(figsize=(4.2 * (columns + bool(pairs)), 2.6 * max(rows, 1) + 0.6), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(columns, 1)) if pairs else (figure, None)
    panels = left.subplots(rows, columns, squeeze=False, sharex="all" if one else "col", sharey=False if one else "row")
    labelled = {name: f"{name} ({aims[name]})" if name in aims else name for name in measures}
    for number, axes in enumerate(panels.flat):
        measure = measures[number if one else number // columns]
        parameter = parameters[0 if one else number % columns]
        _scatter(axes, frame, parameter, measure, best, joined)
        _set_scale(axes, frame[parameter])
        if one or number % columns == 0:
            axes.set_ylabel(labelled[measure])
        if not one and number // columns == rows - 1:
            axes.set_xlabel(parameter)
    if one:
        left.supxlabel(parameters[0], fontsize="medium")
    for axes, (across, up) in zip(right.subplots(len(pairs), squeeze=False).flat if right is not None else (), pairs):
        _scatter(axes, frame, across, up, best)
        front = frame[frame["number"].isin(list(best))].sort_values(across)
        axes.plot(front[across], front[up], color="crimson", linewidth=1)
        axes.set(xlabel=labelled[across], ylabel=labelled[up])
    drawn = figure.axes[-1].get_legend_handles_labels()
    if drawn[0]:
        figure.legend(*drawn, loc="outside lower center", ncols=len(drawn[0]), frameon=False)
    return figure


def _is_measure(frame: pd.DataFrame, name: str, parameters: Sequence[str], aims: Mapping[str, str]) -> bool:
    known = name in COLUMNS or name in parameters or name in aims or "." in name
    return not known and pd.api.types.is_numeric_dtype(frame[name])


def _scatter(axes: Any, frame: pd.DataFrame, across: str, up: str, best: Collection[int], joined: bool = False) -> None:
    is_best = frame["number"].isin(list(best))
    if joined:
        axes.plot(frame[across], frame[up], color="steelblue", linewidth=1, alpha=0.6)
    for state, look in LOOKS.items():
        chosen = frame[is_best if state == "best" else (frame["state"] == state) & ~is_best]
        if len(chosen):
            label = look.get("label", "best" if len(best) == 1 else "Pareto front")
            axes.scatter(chosen[across], chosen[up], s=18, linewidths=0, **{**look, "label": label})
    axes.grid(alpha=0.2)


def _set_scale(axes: Any, values: pd.Series) -> None:
    """Set a log axis for numbers that differ by more than a factor of 3; it has a place for 0 too."""
    if not pd.api.types.is_numeric_dtype(values):
        return
    positive = values[values > 0]
    if len(positive) and positive.max() > 3 * positive.min():
        if (values == 0).any():
            axes.set_xscale("symlog", linthresh=float(positive.min()))
        else:
            axes.set_xscale("log")
