"""One trial: what a search sends out, what `evaluate` is called with, what comes back."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path
from traceback import extract_tb
from typing import Any

import numpy as np
from optuna import TrialPruned

import regkit

#: What a table of trials has beside parameters and measures.
COLUMNS = ("number", "state", "failure")

#: Of what a trial's error says, the characters that are kept.
LONGEST = 2000

#: Told of each report of a trial, its value and its step; whether the trial is to end there.
Reported = Callable[[float, int], bool]


@dataclass(frozen=True)
class Task:
    """A trial as it is sent to where it runs."""

    number: int
    seed: int
    params: Mapping[str, Any]
    structure: str  #: what it has in common with those that share its compilation


@dataclass
class Outcome:
    """What came of a trial: its measures, or that it was pruned, or its error."""

    measures: dict[str, Any] = field(default_factory=dict)
    reports: list[tuple[int, float]] = field(default_factory=list)
    pruned: bool = False
    error: str = ""


class Trial:
    """What `evaluate` gets: which trial it is, its parameters, and where to report how it goes.

    Attributes
    ----------
    number : int
        From 0 on, the same in the study and for a trial that runs again.
    params : dict of str to value
        Its parameters by their names, such as ``"hidden_sparsity.weight"``.
    seed : int
        Of this trial alone: made from the seed of the search and the number. What is drawn from it is drawn again when
        the trial runs again.
    start : anything
        In `path`, what the trial before it kept; None in the first one, and in `run`.
    keep : anything
        In `path`, what is set here is the next one's `start`.
    """

    def __init__(self, task: Task, reported: Reported, start: Any = None) -> None:
        self.number = task.number
        self.params = dict(task.params)
        self.seed = trial_seed(task.seed, task.number)
        self.start = start
        self.keep: Any = None
        self.reports: list[tuple[int, float]] = []
        self._reported = reported

    def report(self, value: float, step: int) -> None:
        """Tell how the trial goes, for the study's pruner; with several aims it is only recorded.

        Parameters
        ----------
        value : real number
            What is to become small, or large, as the only aim is.
        step : int
            Of at least 0, such as an epoch; each once.

        Raises
        ------
        optuna.TrialPruned
            If the study's pruner has seen enough. Let it pass: it ends the trial.
        regkit.OptionError
            If the value or the step is not accepted.
        """
        number = as_float(value)
        if number is None:
            raise regkit.OptionError(f"report got value={value!r}; accepted: a real number")
        if not isinstance(step, Integral) or isinstance(step, bool) or step < 0:
            raise regkit.OptionError(f"report got step={step!r}; accepted: an integer of at least 0")
        if step in dict(self.reports):
            raise regkit.OptionError(f"report got step={step} for the second time; accepted: each step once")
        self.reports.append((int(step), number))
        if self._reported(number, int(step)):
            raise TrialPruned(f"pruned at step {step}")


def trial_seed(seed: int, number: int) -> int:
    """Return the seed of a trial, from that of its search and its number."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def evaluated(evaluate: Callable[[Trial], Any], trial: Trial, parameters: Collection[str]) -> Outcome:
    """Call `evaluate` and return what came of it, whatever that is; no measure may be called as a parameter is."""
    try:
        return Outcome(measures_of(evaluate(trial), parameters), trial.reports)
    except TrialPruned:
        return Outcome(reports=trial.reports, pruned=True)
    except (Exception, SystemExit) as error:  # whatever a user's code says no with
        return Outcome(reports=trial.reports, error=in_words(error))


def measures_of(returned: Any, parameters: Collection[str]) -> dict[str, Any]:
    """Return what `evaluate` returned as numbers of Python by their names.

    Raises
    ------
    regkit.OptionError
        If it is not a mapping of names to real numbers, or a name is that of a parameter, or another column's.
    """
    if not isinstance(returned, Mapping):
        raise regkit.OptionError(
            f"evaluate returned {_short(returned)}; accepted: a mapping of names to real numbers, the aims among them"
        )
    measures = {}
    for name, value in returned.items():
        number = as_float(value)
        if not isinstance(name, str) or number is None:
            raise regkit.OptionError(f"evaluate returned {_short(value)} for {name!r}; accepted: a real number")
        if name in (*COLUMNS, *parameters) or name.startswith("regkit:"):
            raise regkit.OptionError(f"evaluate returned {name!r}, which is the name of something else: choose another")
        measures[name] = number
    return measures


def what_is_wrong(measures: Mapping[str, Any], aims: Mapping[str, str]) -> str:
    """Return why measures cannot be those of a finished trial; an empty string if they can."""
    for aim in aims:
        if aim not in measures:
            return f"evaluate returned no {aim!r}, which is an aim. It returned: {', '.join(measures) or 'nothing'}"
        if math.isnan(measures[aim]):
            return f"evaluate returned NaN for {aim!r}, which is an aim"
    return ""


def in_words(error: BaseException) -> str:
    """Return an error in one line: its class, what it says, and where it was raised."""
    frames = extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno} in {frames[-1].name})" if frames else ""
    return f"{type(error).__name__}: {error}"[:LONGEST] + where


def as_float(value: Any) -> float | None:
    """Return a real number, or an array of one, of any library, as Python's; None for the rest."""
    if isinstance(value, (str, bytes, bool, complex)):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _short(value: Any) -> str:
    written = repr(value)
    return written if len(written) <= 80 else f"{written[:77]}..."
