"""One trial: the task that is sent out, the object that `evaluate` gets, the outcome that comes back."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path
from threading import Lock
from traceback import extract_tb
from typing import Any, NamedTuple

import numpy as np
from optuna import TrialPruned

import regkit
from regkit import hosts

from ._space import COLUMNS, RESERVED, Space

#: How many characters of an error are kept.
LONGEST = 2000

#: How many prepared networks are kept, the latest: each holds compiled functions, and data.
KEPT = 8

#: Gets the number of a trial and its reports so far, the value of each step; returns whether the trial is pruned.
Reported = Callable[[int, Mapping[int, float]], bool]


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
    waiting: tuple[str, ...] = ()  #: regularizers that change parameters after a step, which never came


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

    def __init__(self, task: Task, reported: Reported) -> None:
        self.number = task.number
        self.params = dict(task.params)
        self.seed = int(np.random.SeedSequence([task.seed, task.number]).generate_state(1)[0])
        self.fold = 0
        self.start: Any = None
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
        if self._reported(self.number, self.reports):
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


class Trials(list[Trial]):
    """The argument of `evaluate` in a search with `batch`: trials that are trained at once, in the order of a list.

    Attributes
    ----------
    live : dict of str to numpy.ndarray
        The live weights by the names of their regularizers, an element for each trial.
    params : dict of str to numpy.ndarray
        The parameters by their names, an element for each trial.
    seeds : numpy.ndarray of int
        The ``seed`` of each trial.
    """

    def __init__(self, trials: Sequence[Trial], live: Mapping[str, Sequence[float]]) -> None:
        super().__init__(trials)
        self.live = {name: np.array(weights) for name, weights in live.items()}
        self.params = {name: np.array([trial.params[name] for trial in trials]) for name in trials[0].params}
        self.seeds = np.array([trial.seed for trial in trials])


def evaluated(evaluate: Callable[[Any], Any], trials: Trial | Trials, parameters: Collection[str]) -> list[Outcome]:
    """Call `evaluate` and return the outcomes, whatever happens. No measure may have the name of a parameter."""
    every = [trials] if isinstance(trials, Trial) else trials
    outcomes = [Outcome(reports=trial.reports) for trial in every]
    try:
        returned = evaluate(trials)
        each = _measures(returned, None if isinstance(trials, Trial) else len(trials))
        for trial, outcome, measures in zip(every, outcomes, each):
            for name in (*trial.notes, *measures):
                if not isinstance(name, str) or name in (*COLUMNS, *parameters) or name.startswith(RESERVED):
                    raise regkit.OptionError(f"evaluate returned {name!r}, which is the name of something else")
            outcome.measures = {**trial.notes, **measures}
    except TrialPruned:
        for outcome in outcomes:
            outcome.pruned = True
    except (Exception, SystemExit) as error:  # of the user's code
        for outcome in outcomes:
            outcome.error = in_words(error)
    return outcomes


def _measures(returned: Any, count: int | None) -> list[dict[str, float]]:
    """Return the measures of a trial, or of so many trials of a batch."""
    each = "real numbers, the aims among them" if count is None else f"a number for each of the {count} trials"
    accepted = f"accepted: a mapping of names to {each}"
    if not isinstance(returned, Mapping):
        raise regkit.OptionError(f"evaluate returned {_short(returned)}; {accepted}")
    measures: list[dict[str, float]] = [{} for _ in range(count or 1)]
    for name, values in returned.items():
        numbers = [values] if count is None else list(values) if hasattr(values, "__len__") else []
        if len(numbers) != len(measures):
            raise regkit.OptionError(f"evaluate returned {_short(values)} for {name!r}; {accepted}")
        for one, value in zip(measures, numbers):
            number = as_float(value)
            if number is None:
                raise regkit.OptionError(f"evaluate returned {_short(value)} for {name!r}; accepted: a real number")
            one[name] = number
    return measures


def fault_of(measures: Mapping[str, Any], aims: Iterable[str], finite: bool = False) -> str:
    """Return why measures are not those of a complete trial; an empty string if they are."""
    for aim in aims:
        if aim not in measures:
            return f"evaluate returned no {aim!r}, which is an aim. It returned: {', '.join(measures) or 'nothing'}"
        if math.isnan(measures[aim]) or (finite and math.isinf(measures[aim])):
            shown = f"{measures[aim]:g}".replace("nan", "NaN")
            return f"evaluate returned {shown} for {aim!r}, which is an aim"
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


def check_integer(argument: str, value: Any, low: int, or_none: bool = False) -> None:
    """Raise `regkit.OptionError` unless an argument is an integer that is large enough."""
    if (type(value) is not int or value < low) and not (or_none and value is None):
        more = ", or None" if or_none else ""
        raise regkit.OptionError(f"{argument} is {value!r}; accepted: an integer of at least {low}{more}")


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


Evaluate = Callable[[Any], Mapping[str, Any]]
Prepare = Callable[[regkit.RegularizerSet], Evaluate]


class Several(regkit.Live):
    """A live weight in a batch, where it has a value for each trial."""

    @property
    def value(self) -> float:
        """An error."""
        raise regkit.OptionError(
            "a live weight has a value for each trial of a batch. Hand those of trials.live to the training, such as "
            "regkit_jax.Run(regs, live=weights) within jax.vmap"
        )


def prepared(prepare: Prepare, regs: regkit.RegularizerSet) -> Evaluate:
    """Return the function that `prepare` returns."""
    evaluate = prepare(regs)
    if not callable(evaluate):
        raise regkit.OptionError(f"prepare returned {evaluate!r}; accepted: a function of a trial")
    return evaluate


class Network(NamedTuple):
    """A network that `prepare` made for one structure, with its regularizers and their live weights."""

    structure: str
    lives: dict[str, regkit.Live]
    regs: regkit.RegularizerSet
    evaluate: Evaluate


class Networks:
    """The networks that one search has prepared in this process.

    Threads that run trials of one structure at the same time have a network each. Networks are prepared one after the
    other, because graph libraries do not compile in two threads.
    """

    def __init__(self, prepare: Prepare, space: Space, many: bool = False) -> None:
        self._prepare, self._space, self._many = prepare, space, many
        self._unused: list[Network] = []  # the latest at the end
        self._lock, self._preparing = Lock(), Lock()

    def run(self, tasks: Sequence[Task], reported: Reported) -> list[Outcome]:
        """Run trials of one structure at once: those of a batch, or one."""
        trials = [Trial(task, reported) for task in tasks]
        weights = [self._space.weights(task.params) for task in tasks]
        try:
            network = self._taken(tasks[0].structure) or self._made(tasks[0], weights[0])
            for name, live in network.lives.items():
                live.set(weights[0][name])
        except (Exception, SystemExit) as error:  # of the user's code
            return [Outcome(error=in_words(error)) for _ in tasks]
        together = Trials(trials, {name: [each[name] for each in weights] for name in network.lives})
        outcomes = evaluated(network.evaluate, together if self._many else trials[0], self._space.parameters)
        waiting = tuple(member.name for member in hosts.waiting(network.regs))
        for outcome in outcomes:
            outcome.waiting = waiting if outcome.measures else ()
        with self._lock:
            self._unused = [*self._unused, network][-KEPT:]
        return outcomes

    def _taken(self, structure: str) -> Network | None:
        with self._lock:
            latest = next((one for one in reversed(self._unused) if one.structure == structure), None)
            self._unused = [one for one in self._unused if one is not latest]
        return latest

    def _made(self, task: Task, weights: Mapping[str, float]) -> Network:
        lives = {name: (Several if self._many else regkit.Live)(weight) for name, weight in weights.items()}
        with self._preparing:
            regs = regkit.build(self._space.options(task.params, lives))
            return Network(task.structure, lives, regs, prepared(self._prepare, regs))
