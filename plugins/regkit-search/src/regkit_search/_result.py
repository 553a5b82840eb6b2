"""The result of a search: tables, the best trials, a picture."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import optuna
import pandas as pd
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from ._space import COLUMNS, RESERVED, Space
from ._study import ERROR, StoredStudy, stand_ins
from ._trial import SearchError

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
        return self._space.options(self._the_best().params)

    @property
    def best_params(self) -> dict[str, Any]:
        """The parameters of the best trial by name, those outside the space too.

        Raises
        ------
        SearchError
            As `best`.
        """
        return dict(self._the_best().params)

    @property
    def front(self) -> list[Found]:
        """The Pareto front, in the order of the first aim; the best trial alone if there is one aim.

        Raises
        ------
        SearchError
            If no trial is complete and within its constraints.
        """
        if len(self.aims) == 1:
            return [self._found(self._the_best())]
        if not self.is_complete:
            raise SearchError(self.no_trial_is_complete())
        return sorted(map(self._found, self.study.best_trials), key=lambda one: next(iter(one.aims.values())))

    @property
    def ranking(self) -> list[Found]:
        """The complete trials within their constraints by the first aim, the best first."""
        return list(map(self._found, self._ranked))

    @property
    def is_complete(self) -> bool:
        """Whether any trial is complete and within its constraints."""
        return bool(self._ranked)

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
        """Return a figure: each measure against each weight on a log axis, and pairs of aims with the Pareto front.

        Returns
        -------
        matplotlib.figure.Figure
            Pruned trials are faint, the best or those of the front stand out.
        """
        every = self._space.parameters
        weights = [name for name, one in every.items() if one.live]
        front = [one.number for one in self.front]
        return figure_of(self.frame(), weights or list(every), self.aims, every, front)

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
    def _ranked(self) -> list[FrozenTrial]:
        """Complete trials within their constraints, the best by the first aim first."""
        trials = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        sign = -1 if next(iter(self.aims.values())) == "maximize" else 1
        feasible = [one for one in trials if all(value <= 0 for value in one.constraints.values())]
        return sorted(feasible, key=lambda one: sign * one.values[0])

    def _the_best(self) -> FrozenTrial:
        if len(self.aims) > 1:
            raise SearchError(f"with several aims, {', '.join(self.aims)}, there is no best trial. Take one of front")
        if not self.is_complete:
            raise SearchError(self.no_trial_is_complete())
        return self._ranked[0]

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


_STATES = {state: state.name.lower() for state in TrialState} | {TrialState.FAIL: "failed"}


# The picture

#: How the dots of trials look, by their state; those of the best last, above the others.
BEST = "best"
LOOKS: dict[str, dict[str, Any]] = {
    "pruned": {"color": "grey", "alpha": 0.25},
    "complete": {"color": "steelblue", "alpha": 0.8},
    BEST: {"color": "crimson", "zorder": 3},
}


def figure_of(
    frame: pd.DataFrame,
    parameters: Sequence[str],
    aims: Mapping[str, str],
    others: Collection[str] = (),
    best: Collection[int] = (),
    joined: bool = False,
) -> Any:
    """Return a figure of a frame of trials: a row for each aim and further measure, a column for each parameter.

    Of several aims all but the last have a column too, so that each pair has a panel with the front. The name of
    such an aim stands where its row and its column meet.

    `others` are columns that are no measures, `best` the numbers of the trials that stand out. A line joins the trials
    of a path in their order.
    """
    from matplotlib.figure import Figure

    known = {*COLUMNS, *parameters, *aims, *others}
    measures = [*aims, *(one for one in frame if one not in known and pd.api.types.is_numeric_dtype(frame[one]))]
    columns = [*parameters, *list(aims)[:-1]]
    names = {one: f"{one} ({aims[one]})" if one in aims else one for one in (*columns, *measures)}
    figure = Figure(figsize=(4.2 * len(columns), 2.2 * len(measures) + 0.6), layout="constrained")
    panels = figure.subplots(len(measures), len(columns), squeeze=False, sharex="col", sharey="row")
    is_best = frame["number"].isin(list(best))
    for row, up in zip(panels, measures):
        for axes, across in zip(row, columns):
            if across == up:
                axes.set_axis_off()
                axes.text(0.5, 0.5, f"← {names[up]} ↓", ha="center", va="center", transform=axes.transAxes)
                continue
            if joined or (across in aims and up in aims):
                line = frame if joined else frame[is_best].sort_values(across)
                axes.plot(line[across], line[up], color="grey", linewidth=1, alpha=0.6)
            for state, look in LOOKS.items():
                dots = frame[is_best if state == BEST else (frame["state"] == state) & ~is_best]
                if len(dots):
                    label = "Pareto front" if state == BEST and len(best) > 1 else state
                    axes.scatter(dots[across], dots[up], s=18, linewidths=0, label=label, **look)
            axes.grid(alpha=0.2)
        if up not in columns:
            row[0].set_ylabel(names[up])
    for axes, across in zip(panels[-1], columns):
        if across in parameters:
            axes.set_xlabel(across)
            _set_scale(axes, frame[across])
    figure.legend(*panels[-1][0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


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
