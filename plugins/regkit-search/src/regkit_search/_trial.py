"""One trial: the task that is sent out, the object that `evaluate` gets, the outcome that comes back."""

from __future__ import annotations

import json
import math
import warnings
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path
from threading import Lock
from traceback import extract_tb
from typing import Any

import numpy as np
from optuna import TrialPruned

import regkit

from ._space import Space

#: The columns of a table of trials beside parameters and measures.
COLUMNS = ("number", "state", "failure")

#: Names that begin so are not for measures.
RESERVED = "regkit:"

#: How many characters of an error are kept.
LONGEST = 2000

#: How many prepared networks are kept, the latest: each holds compiled functions, and data.
KEPT = 8

#: Gets each report of a trial, its value and its step; returns whether the trial is pruned.
Reported = Callable[[float, int], bool]


class SearchError(regkit.RegkitError, RuntimeError):
    """A search cannot go on, or has no such result."""


@dataclass(frozen=True)
class Task:
    """A trial as it is sent to where it runs."""

    number: int
    seed: int
    params: Mapping[str, Any]
    structure: str = ""  #: equal for trials that share a compilation


@dataclass
class Outcome:
    """The measures of a trial, or that it was pruned, or its error."""

    measures: dict[str, Any] = field(default_factory=dict)
    reports: dict[int, float] = field(default_factory=dict)
    pruned: bool = False
    error: str = ""


class Trial:
    """The argument of `evaluate`: a trial with its parameters, to which it reports.

    Attributes
    ----------
    number : int
        From 0 on. A trial that runs again keeps its number.
    params : dict of str to value
        Parameters by their names, such as ``"hidden_sparsity.weight"``.
    seed : int
        Follows from the seed of the search and the number, so that random draws from it repeat when the trial runs
        again.
    fold : int
        In `cv_path`, the number of the fold that is left out of training; 0 elsewhere.
    start : object
        In `path` and `cv_path`, the value that the trial before kept; None in the first one, and in `run`.
    keep : object
        In `path` and `cv_path`, set it to hand a value on to the next trial as its `start`.
    """

    def __init__(self, task: Task, reported: Reported, start: Any = None, fold: int = 0) -> None:
        self.number = task.number
        self.params = dict(task.params)
        self.seed = int(np.random.SeedSequence([task.seed, task.number]).generate_state(1)[0])
        self.fold, self.start = fold, start
        self.keep: Any = None
        self.reports: dict[int, float] = {}
        self.notes: dict[str, Any] = {}
        self._reported, self._pruned = reported, False

    def report(self, value: float, step: int) -> None:
        """Report how the trial goes, for the study's pruner; with several aims it is only recorded.

        Parameters
        ----------
        value : real number
            Comparable with the only aim.
        step : int
            At least 0, such as an epoch. A second value of a step is ignored with a warning, as by Optuna.

        Raises
        ------
        optuna.TrialPruned
            If the pruner ends the trial. Let it pass.
        regkit.OptionError
            If the value or the step is not accepted.
        """
        number = as_float(value)
        if number is None:
            raise regkit.OptionError(f"report got value={value!r}; accepted: a real number")
        if not isinstance(step, Integral) or isinstance(step, bool) or step < 0:
            raise regkit.OptionError(f"report got step={step!r}; accepted: an integer of at least 0")
        if step in self.reports:
            warnings.warn(f"report got step={step} for the second time, and ignores {value!r}", stacklevel=2)
            return
        self.reports[int(step)] = number
        if self._reported(number, int(step)):
            self._pruned = True
            raise TrialPruned(f"pruned at step {step}")

    def should_prune(self) -> bool:
        """Return whether the pruner has ended the trial, for callbacks written for trials of Optuna."""
        return self._pruned

    def set_user_attr(self, key: str, value: Any) -> None:
        """Store a value that JSON can hold beside the measures, as Optuna does.

        Raises
        ------
        regkit.OptionError
            If JSON cannot hold the value.
        """
        try:
            json.dumps(value)
        except (TypeError, ValueError):
            raise regkit.OptionError(
                f"set_user_attr got {key}={value!r}; accepted: values that JSON can hold"
            ) from None
        self.notes[key] = value


def evaluated(evaluate: Callable[[Trial], Any], trial: Trial, parameters: Collection[str]) -> Outcome:
    """Call `evaluate` and return its outcome, whatever happens. No measure may have the name of a parameter."""
    outcome = Outcome(reports=trial.reports)
    try:
        measures = _measures(evaluate(trial))
        for name in (*trial.notes, *measures):
            if not isinstance(name, str) or name in (*COLUMNS, *parameters) or name.startswith(RESERVED):
                raise regkit.OptionError(f"evaluate returned {name!r}, which is the name of something else")
        outcome.measures = {**trial.notes, **measures}
    except TrialPruned:
        outcome.pruned = True
    except (Exception, SystemExit) as error:  # of the user's code
        outcome.error = in_words(error)
    return outcome


def _measures(returned: Any) -> dict[str, float]:
    if not isinstance(returned, Mapping):
        raise regkit.OptionError(
            f"evaluate returned {_short(returned)}; accepted: a mapping of names to real numbers, the aims among them"
        )
    measures = {}
    for name, value in returned.items():
        number = as_float(value)
        if number is None:
            raise regkit.OptionError(f"evaluate returned {_short(value)} for {name!r}; accepted: a real number")
        measures[name] = number
    return measures


def fault_of(measures: Mapping[str, Any], aims: Mapping[str, str]) -> str:
    """Return why measures are not those of a complete trial; an empty string if they are."""
    for aim in aims:
        if aim not in measures:
            return f"evaluate returned no {aim!r}, which is an aim. It returned: {', '.join(measures) or 'nothing'}"
        if math.isnan(measures[aim]):
            return f"evaluate returned NaN for {aim!r}, which is an aim"
    return ""


def in_words(error: BaseException) -> str:
    """Return an error in one line: its class, its message, and where it was raised."""
    frames = extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno} in {frames[-1].name})" if frames else ""
    try:
        message = str(error)
    except Exception as another:  # of the error's own class
        message = f"its message cannot be had: {type(another).__name__}"
    return f"{type(error).__name__}: {message}"[:LONGEST] + where


def as_float(value: Any) -> float | None:
    """Return a real number, or an array of one element of any library, as a float; None for other values."""
    if isinstance(value, (str, bytes, bool, complex)):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _short(value: Any) -> str:
    written = repr(value)
    return written if len(written) <= 80 else f"{written[:77]}..."


# Preparing


Evaluate = Callable[[Trial], Mapping[str, Any]]
Prepare = Callable[[regkit.RegularizerSet], Evaluate]


class Prepared:
    """A network that `prepare` made for one structure, with the live weights of its regularizers."""

    def __init__(self, prepare: Prepare, options: Callable[[Mapping[str, regkit.Live]], Any], weights: Any) -> None:
        self.lives = {name: regkit.Live(weight) for name, weight in weights.items()}
        self.evaluate = prepare(regkit.build(options(self.lives)))
        if not callable(self.evaluate):
            raise regkit.OptionError(f"prepare returned {self.evaluate!r}; accepted: a function of a trial")


class Networks:
    """The networks that one search has prepared in this process.

    Threads that run trials of one structure at the same time have a network each. Networks are prepared one after the
    other, because graph libraries do not compile in two threads.
    """

    def __init__(self, prepare: Prepare, space: Space) -> None:
        self._prepare, self._space = prepare, space
        self._unused: OrderedDict[int, tuple[str, Prepared]] = OrderedDict()  # the latest at the end
        self._lock, self._preparing = Lock(), Lock()

    def run(self, task: Task, reported: Reported) -> Outcome:
        """Run a trial."""
        try:
            weights = self._space.weights(task.params)
            network = self._taken(task.structure) or self._made(task, weights)
            for name, weight in weights.items():
                network.lives[name].set(weight)
        except (Exception, SystemExit) as error:  # of the user's code
            return Outcome(error=in_words(error))
        outcome = evaluated(network.evaluate, Trial(task, reported), self._space.parameters)
        with self._lock:
            self._unused[id(network)] = task.structure, network
            while len(self._unused) > KEPT:
                self._unused.popitem(last=False)
        return outcome

    def _taken(self, structure: str) -> Prepared | None:
        with self._lock:
            for key, (its, network) in reversed(self._unused.items()):
                if its == structure:
                    del self._unused[key]
                    return network
        return None

    def _made(self, task: Task, weights: Mapping[str, float]) -> Prepared:
        with self._preparing:
            return Prepared(self._prepare, lambda lives: self._space.options(task.params, lives), weights)
