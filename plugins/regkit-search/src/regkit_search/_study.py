"""The study of a search: Optuna's study, opened by one process, which hands trials out and takes outcomes back."""

from __future__ import annotations

import copy
import json
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.pruners import NopPruner
from optuna.samplers import BaseSampler, GridSampler, NSGAIIISampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

import regkit
from regkit import hosts

from ._space import Space
from ._storage import SEARCH, Storage, difference_of
from ._trial import Outcome, SearchError, Task, fault_of, in_words

#: Attributes of a trial: why it failed, which failed trial it stands for.
ERROR, STANDS_FOR = "regkit:error", "regkit:stands_for"

#: Samplers whose suggestions follow from the seed and the earlier trials alone.
RESUMED_EXACTLY = (TPESampler, RandomSampler, GridSampler, NSGAIISampler, NSGAIIISampler)

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


class StoredStudy:
    """A study that hands trials out and takes outcomes back. Trials that an earlier run left running come first."""

    def __init__(self, search: Any, space: Space, aims: Mapping[str, str], storage: Storage) -> None:
        self.space, self.aims, self.wanted = space, dict(aims), search.trials
        self._seed, self._batch = search.seed, search.batch
        self._failures, self._max_failures = 0, search.max_failures
        self._waiting: list[hosts.Member] = []
        self._out: dict[int, int] = {}  # number -> Optuna's id of trials that are out
        self._ready: list[list[Task]] = []  # what is left of the latest batch, each with one structure
        self._storage = storage
        theirs = search.storage if isinstance(search.storage, optuna.Study) else None
        self.study = optuna.create_study(
            storage=storage,  # type: ignore[arg-type]  # has all that a storage of Optuna has
            study_name=storage.name,
            directions=list(self.aims.values()),
            sampler=search.sampler or (theirs and theirs.sampler),
            pruner=search.pruner or (theirs.pruner if theirs else NopPruner()),
            load_if_exists=True,
        )
        if search.storage is not None and not isinstance(self.study.sampler, RESUMED_EXACTLY):
            warnings.warn(
                f"{type(self.study.sampler).__name__} may suggest other values after an interruption than without one. "
                f"These do not: {', '.join(one.__name__ for one in RESUMED_EXACTLY)}",
                stacklevel=5,
            )
        sampler = self.study.sampler
        self._sampler = self.study.sampler = Seeded(sampler, self._seed)
        self._claim()
        self._sampler.exhausted = isinstance(sampler, GridSampler) and sampler.is_exhausted(self.study)
        for params in search.enqueue:
            self.study.enqueue_trial(params, skip_if_exists=True)
        self._left = self._trials(TrialState.RUNNING)
        replaced = stand_ins(self.study)
        self.finished = sum(trial.number not in replaced for trial in self._trials(*FINISHED))
        self._until = None if search.timeout is None else time.monotonic() + search.timeout

    def warn(self) -> None:
        """Warn of regularizers that change parameters after a step, if a training ended without one."""
        hosts.warn_without_step(self._waiting)

    @property
    def prunes(self) -> bool:
        """Whether reports are decided upon. Optuna prunes with one aim only."""
        return len(self.aims) == 1 and not self._batch and not isinstance(self.study.pruner, NopPruner)

    def next(self) -> list[Task] | None:
        """Return the next trials to run at once, which share a structure; None if there are enough."""
        if not self._ready and self._is_open:
            self._ready = self._next_batch() if self._batch else [[self._next()]]
        return self._ready.pop(0) if self._ready else None

    def report(self, number: int, reports: Mapping[int, float]) -> bool:
        """Return whether a trial with these reports so far, the value of each step, is pruned."""
        if not self.prunes:
            return False
        trial = self._storage.get_trial(self._out[number])
        if len(reports) == 1:  # it begins, perhaps again
            trial = self._storage.without_marks(trial)
        trial = copy.copy(trial)
        trial.intermediate_values = dict(reports)
        return self.study.pruner.prune(self.study, trial)

    def finish(self, number: int, outcome: Outcome) -> None:
        """Store the outcome of a trial, unless it was finished before and ran again for the others of its batch."""
        if number not in self._out:
            return
        trial = self._storage.get_trial(self._out.pop(number))
        if trial.state.is_finished():
            raise self._storage.taken()
        error = outcome.error or ("" if outcome.pruned else fault_of(outcome.measures, self.aims))
        self._write(trial, outcome, error)
        self.finished += 1
        if outcome.waiting and not self._waiting:
            regs = regkit.build(self.space.options(trial.params))
            self._waiting = [one for one in hosts.members(regs, "run") if one.name in outcome.waiting]
        self._failures = self._failures + 1 if error else 0
        if not error:
            self._max_failures = None
        elif self._failures == self._max_failures and not self._trials(TrialState.COMPLETE, TrialState.PRUNED):
            raise SearchError(
                f"the first {self._failures} trials have all failed. The last one: {error}. After a repair the same "
                "call goes on"
            )

    def _write(self, trial: FrozenTrial, outcome: Outcome, error: str) -> None:
        for step, value in outcome.reports.items():
            self._storage.set_trial_intermediate_value(trial._trial_id, step, value)
        for name, value in outcome.measures.items():
            if name not in self.aims or error:
                self._storage.set_trial_user_attr(trial._trial_id, name, value)
        if error:
            self._storage.set_trial_user_attr(trial._trial_id, ERROR, error)
            self.study.tell(trial.number, state=TrialState.FAIL)
        elif outcome.pruned:
            self.study.tell(trial.number, state=TrialState.PRUNED)
        else:
            self.study.tell(trial.number, [outcome.measures[aim] for aim in self.aims])

    # Asking

    @property
    def _is_open(self) -> bool:
        """Whether another trial is to run."""
        if self._until is not None and time.monotonic() >= self._until:
            return False
        return bool(self._left) or (self.finished + len(self._out) < self.wanted and not self._sampler.exhausted)

    def _next_batch(self) -> list[list[Task]]:
        """Ask for a batch, whose numbers are from one multiple of `batch` to the next, as if none of it had ended.

        So an interrupted one is the same again, with the trials of it that are finished: digits follow from its size.
        """
        first = self._next_number() // self._batch * self._batch
        numbers = range(first, first + self._batch)
        self._storage.running_from = first
        asked = []
        while self._is_open and self._next_number() in numbers:
            asked.append(self._next())
        self._storage.running_from = None
        structures = dict.fromkeys(task.structure for task in asked)
        done = [trial for trial in self._trials(*FINISHED) if trial.number in numbers]
        asked += [self._task(trial.number, trial.params) for trial in done if self.space.is_complete(trial.params)]
        asked.sort(key=lambda task: task.number)
        return [[task for task in asked if task.structure == structure] for structure in structures]

    def _next_number(self) -> int:
        if self._left:
            return self._left[0].number
        waiting = [trial.number for trial in self._trials(TrialState.WAITING)]
        return min(waiting, default=len(self._trials()))

    def _next(self) -> Task:
        """Take over a trial that was left running, with its number and its parameters, or ask for a new one."""
        try:
            if not self._left:
                trial = self.study.ask()
                params = self.space.suggest(trial)
            else:
                trial = self._left.pop(0)
                params = trial.params
                if not self.space.is_complete(params):  # it was interrupted before all of them were suggested
                    params = self.space.suggest(optuna.trial.Trial(self.study, trial._trial_id))
        except SearchError:
            raise
        except Exception as error:  # of the sampler
            name = type(self._sampler.sampler).__name__
            raise regkit.OptionError(f"the sampler {name} refuses the search: {in_words(error)}") from error
        self._out[trial.number] = trial._trial_id
        return self._task(trial.number, params)

    def _task(self, number: int, params: Mapping[str, Any]) -> Task:
        return Task(number, self._seed, dict(params), self.space.structure(params))

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=states or None)

    # Opening

    def _claim(self) -> None:
        """Write down which search the study is of, or compare."""
        search = json.loads(json.dumps({**self.space.written(), "aims": self.aims, "seed": self._seed}))
        search.update({"batch": self._batch} if self._batch else {})
        stored = self.study.user_attrs.get(SEARCH)
        name, trials, difference = self.study.study_name, self._trials(), difference_of(stored, search)
        if stored is None:
            directions = [one.name.lower() for one in self.study.directions]
            if directions != list(self.aims.values()):
                raise regkit.OptionError(
                    f"the study {name!r} is to {' and '.join(directions)}, and the aims are to "
                    f"{' and '.join(self.aims.values())}. Give aims in the directions of the study"
                )
            if not all(map(self._is_ours, trials)):
                difference = "it was not made by regkit-search, and has other parameters"
        elif {**stored, "aims": 0} == {**search, "aims": 0} and difference and self._rename(stored["aims"], trials):
            difference = None
        if difference:
            raise regkit.OptionError(
                f"storage {self._storage.where} holds another search under the name {name!r}: {difference}. Give this "
                "one another name or another storage"
            )
        self.study.set_user_attr(SEARCH, search)

    def _is_ours(self, trial: FrozenTrial) -> bool:
        """Whether a trial of a user's own study can be one of this search."""
        known = {name: one.distribution for name, one in self.space.parameters.items()}
        is_known = all(known.get(name) == one for name, one in trial.distributions.items())
        is_right = trial.state == TrialState.FAIL or self.space.is_complete(trial.params)
        return trial.state == TrialState.WAITING or (is_known and is_right and trial.state.is_finished())

    def _rename(self, before: Mapping[str, str], trials: Sequence[FrozenTrial]) -> bool:
        """Have trials that measured the aims, but failed for an earlier name of them, stand complete."""
        ours = [trial for trial in trials if STANDS_FOR not in trial.user_attrs]
        is_possible = list(before.values()) == list(self.aims.values())
        if not is_possible or any(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in ours):
            return False
        done = stand_ins(self.study)
        for trial in ours:
            notes = {name: value for name, value in trial.user_attrs.items() if name != ERROR}
            if trial.state == TrialState.FAIL and trial.number not in done and not fault_of(notes, self.aims):
                values = [notes.pop(aim) for aim in self.aims]
                notes[STANDS_FOR] = trial.number
                given = {"params": trial.params, "distributions": trial.distributions, "user_attrs": notes}
                self.study.add_trial(create_trial(values=values, **given))
        return True


def stand_ins(study: optuna.Study) -> dict[int, int]:
    """Return the numbers of failed trials for which others stand."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return {one.user_attrs[STANDS_FOR]: one.number for one in trials if STANDS_FOR in one.user_attrs}


# Samplers


class Seeded(BaseSampler):
    """A sampler that is seeded before each decision, from the seed of the search, the trial's number, and the decision.

    The parameters of a trial then follow from the earlier trials and its number, in whichever process it is asked for.
    """

    def __init__(self, sampler: BaseSampler, seed: int) -> None:
        self.sampler, self._seed = sampler, seed
        self._states: list[Any] | None = None
        #: Whether the sampler has nothing left to suggest.
        self.exhausted = False

    def __str__(self) -> str:
        return str(self.sampler)

    def _seed_for(self, number: int, decision: str) -> None:
        if self._states is None:
            self._states = list(_random_states(self.sampler))
        key = np.random.SeedSequence([self._seed, number], spawn_key=tuple(decision.encode()))
        for state, seed in zip(self._states, key.generate_state(len(self._states) or 1)):
            state.seed(int(seed))

    def infer_relative_search_space(self, study: Any, trial: Any) -> Any:
        """As of Optuna."""
        return self.sampler.infer_relative_search_space(study, trial)

    def before_trial(self, study: Any, trial: Any) -> None:
        """As of Optuna, seeded."""
        self._seed_for(trial.number, "before")
        self.sampler.before_trial(study, trial)

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> Any:
        """As of Optuna, seeded. A genetic sampler stores parents once, and has them in another order then."""
        if isinstance(self.sampler, (NSGAIISampler, NSGAIIISampler)):
            self._seed_for(trial.number, "parents")
            self.sampler.get_parent_population(study, self.sampler.get_trial_generation(study, trial))
        self._seed_for(trial.number, "relative")
        return self.sampler.sample_relative(study, trial, search_space)

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
        """As of Optuna, seeded."""
        self._seed_for(trial.number, f"independent {param_name}")
        return self.sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Any, trial: Any, state: Any, values: Any) -> None:
        """As of Optuna, seeded. A sampler that stops the study, such as a grid at its end, is exhausted."""
        self._seed_for(trial.number, "after")
        try:
            self.sampler.after_trial(study, trial, state, values)
        except RuntimeError as error:  # Optuna lets a study stop only within its own loop
            if "Study.stop" not in str(error):
                raise
            self.exhausted = True


def _random_states(sampler: BaseSampler) -> Iterator[np.random.RandomState]:
    """Yield the random generators of a sampler of Optuna, and of what it consists of, in the order of attributes."""
    found: list[Any] = [sampler]
    seen = set()
    while found:
        one = found.pop()
        if isinstance(getattr(one, "rng", None), np.random.RandomState):  # Optuna makes it on first use
            yield one.rng
        elif id(one) not in seen and (isinstance(one, BaseSampler) or type(one).__module__.startswith("optuna.")):
            seen.add(id(one))
            found += getattr(one, "__dict__", {}).values()
