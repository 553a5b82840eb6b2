"""What a search has found."""

from __future__ import annotations

from html import escape
from typing import Any, NamedTuple

import optuna
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from .errors import SearchError
from .spaces import Space
from .studies import ERROR, StoredStudy
from .trials import COLUMNS

#: How many trials the table in a notebook has.
SHOWN = 10


class Found(NamedTuple):
    """A trial that is the best, or one of several on the Pareto front: its number, its aims, what to build."""

    number: int
    aims: dict[str, float]
    config: dict[str, Any]


class Result:
    """The trials of a search, those of earlier runs included.

    Attributes
    ----------
    study : optuna.study.Study
        For all that Optuna does with one, such as its visualizations.
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
            States are ``"complete"``, ``"pruned"`` (the only aim is what was reported last) and ``"failed"``, whose
            reason is in the column ``failure``. A parameter of an alias that was not used is missing.
        """
        rows = [self._row(trial) for trial in self.study.get_trials(deepcopy=False)]
        measures = [name for row in rows for name in row if name not in COLUMNS]
        columns = [*COLUMNS[:2], *self._space.parameters, *self.aims, *measures, "failure"]
        return pd.DataFrame(rows, columns=list(dict.fromkeys(columns)))

    @property
    def best(self) -> dict[str, Any]:
        """What the best trial was built from, for `regkit.build`.

        Raises
        ------
        SearchError
            If there are several aims, or no trial is complete.
        """
        if len(self.aims) > 1:
            raise SearchError(f"with several aims, {', '.join(self.aims)}, there is no best trial. Take one of front")
        return self.front[0].config

    @property
    def front(self) -> list[Found]:
        """The trials that no other is better than in one aim and as good in all, in the order of the first aim.

        Raises
        ------
        SearchError
            If no trial is complete.
        """
        if not self.is_complete:
            raise SearchError(self.no_trial_is_complete())
        best = self.study.best_trials if len(self.aims) > 1 else [self.study.best_trial]
        return sorted(map(self._found, best), key=lambda one: next(iter(one.aims.values())))

    @property
    def ranking(self) -> list[Found]:
        """The complete trials by the first aim, the best first."""
        sign = -1 if next(iter(self.aims.values())) == "maximize" else 1
        return sorted(map(self._found, self._complete), key=lambda one: sign * next(iter(one.aims.values())))

    @property
    def is_complete(self) -> bool:
        """Whether any trial is complete."""
        return bool(self._complete)

    def no_trial_is_complete(self) -> str:
        """Return what is to be said if none is, with the first error."""
        return f"none of {len(self.study.get_trials(deepcopy=False))} trials is complete{self._why()}"

    @property
    def counts(self) -> str:
        """How many trials there are of each state, in words."""
        states = self.frame()["state"].value_counts()
        return ", ".join(f"{count} {state}" for state, count in states.items()) or "no trials"

    def plot(self) -> Any:
        """Return a figure: each measure against each weight on a log axis, and of several aims the Pareto front.

        Returns
        -------
        matplotlib.figure.Figure
            Pruned trials are faint, the best or those of the front stand out.
        """
        from .plotting import figure_of

        weights = [name for name, one in self._space.parameters.items() if one.live]
        front = [one.number for one in self.front]
        return figure_of(self.frame(), weights or list(self._space.parameters), self.aims, front)

    def __repr__(self) -> str:
        return f"<search of {', '.join(self._space.parameters)}: {self.counts}>"

    def _repr_html_(self) -> str:
        """The best trials, and then the others, for notebooks."""
        frame = self.frame()
        try:
            first = [one.number for one in self.front]
        except SearchError:
            first = []
        order = [*first, *(number for number in frame["number"] if number not in first)]
        shown = frame.set_index("number").loc[order[:SHOWN]].reset_index()
        more = f"<p>and {len(frame) - SHOWN} more</p>" if len(frame) > SHOWN else ""
        return f"<p>{escape(repr(self))}</p>{shown.to_html(index=False, na_rep='')}{more}"

    @property
    def _complete(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))

    def _found(self, trial: FrozenTrial) -> Found:
        return Found(trial.number, self._aims(trial), self._space.options(trial.params))

    def _row(self, trial: FrozenTrial) -> dict[str, Any]:
        notes = trial.user_attrs
        row = {"number": trial.number, "state": _STATES[trial.state], **trial.params}
        row.update({name: value for name, value in notes.items() if not name.startswith("regkit:")})
        row.update(self._aims(trial))
        row["failure"] = notes.get(ERROR)
        return row

    def _aims(self, trial: FrozenTrial) -> dict[str, float]:
        return dict(zip(self.aims, trial.values or ()))

    def _why(self) -> str:
        reasons = [one.user_attrs.get(ERROR) for one in self.study.get_trials(deepcopy=False)]
        first = next(filter(None, reasons), None)
        return f". The first that failed: {first}" if first else ""


_STATES = {state: state.name.lower() for state in TrialState} | {TrialState.FAIL: "failed"}
