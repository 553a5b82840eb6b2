"""The study of a search: Optuna's study, opened by one process, which hands trials out and takes outcomes back."""

from __future__ import annotations

import copy
import json
import random
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast
from zlib import crc32

import numpy as np
import optuna
from filelock import FileLock, Timeout
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler, GridSampler, NSGAIIISampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage, get_storage
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import make_url, text
from sqlalchemy.exc import SQLAlchemyError

import regkit
from regkit import hosts

from ._space import Space
from ._trial import Outcome, SearchError, Task, fault_of, in_words

#: Attributes of a study and of its trials: the search, why a trial failed, which failed trial it stands for.
SEARCH, ERROR, STANDS_FOR = "regkit:search", "regkit:error", "regkit:stands_for"

#: The name of a study that gets no other.
NAME = "regkit-search"

#: Samplers whose suggestions follow from the seed and the earlier trials alone.
RESUMED_EXACTLY = (TPESampler, RandomSampler, GridSampler, NSGAIISampler, NSGAIIISampler)

#: For so many seconds a database on a server may be away.
PATIENCE = 300.0

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
GOES_ON = "Finished trials are stored: the same call goes on from there"
_Method = TypeVar("_Method", bound=Callable[..., Any])


def _guarded(method: _Method) -> _Method:
    """Put errors of a storage into words, and call again while a database on a server is away.

    Every method that has this may be called again after it failed half way.
    """

    @wraps(method)
    def guarded(self: StoredStudy, *args: Any) -> Any:
        until = 0.0
        while True:
            try:
                self._again = bool(until)
                if until:
                    self._take_up()
                return method(self, *args)
            except (StorageInternalError, SQLAlchemyError) as error:
                until = until or time.monotonic() + (PATIENCE if self._storage.is_remote else 0)
                if time.monotonic() >= until:
                    raise SearchError(f"storage {self._where} fails: {_first_line(error)}. {GOES_ON}") from error
                time.sleep(1)
            except UpdateFinishedTrialError as error:
                raise SearchError(
                    f"another process has finished a trial of the study {self.study.study_name!r} in storage "
                    f"{self._where}. One process at a time runs a search"
                ) from error
            except KeyError as error:
                if self._is_there():
                    raise
                raise SearchError(
                    f"the study {self.study.study_name!r} was deleted from storage {self._where}"
                ) from error

    return cast("_Method", guarded)


class StoredStudy:
    """A study that hands trials out and takes outcomes back. Trials that an earlier run left running come first.

    Parameters
    ----------
    search : regkit_search.Search
    space : Space
    aims : mapping of str to {"minimize", "maximize"}

    Raises
    ------
    regkit.OptionError
        If the storage cannot be opened, is in use, or holds another search of that name.
    """

    _again = False  # whether a method is called a second time, since the storage was away
    _until: float | None = None

    def __init__(self, search: Any, space: Space, aims: Mapping[str, str]) -> None:
        self.space, self.aims, self.wanted = space, dict(aims), search.trials
        self._seed, self._batch, self._max_failures, self._failures = search.seed, search.batch, search.max_failures, 0
        self._waiting: list[hosts.Member] = []
        self._out: dict[int, int] = {}  # number -> Optuna's id of trials that are out
        self._reports: dict[int, dict[int, float]] = {}  # number -> step -> value
        self._asked_for: list[Task] = []  # of the batch that is being asked for
        self._ready: list[list[Task]] = []  # what is left of the latest, each with one structure
        given, theirs = search.storage, isinstance(search.storage, optuna.Study)
        name = search.name or (given.study_name if theirs else NAME)
        sampler, pruner = (
            (search.sampler or given.sampler, search.pruner or given.pruner)
            if theirs
            else (search.sampler, search.pruner or NopPruner())
        )
        storage = given._storage if theirs else given
        self._where = shown(storage)
        self._storage = Storage(storage, self._where)
        self._storage.lock(name)
        try:
            self._open(name, sampler, pruner, search.enqueue, in_memory=storage is None)
        except BaseException:
            self.close()
            raise
        self._until = None if search.timeout is None else time.monotonic() + search.timeout

    def _open(self, name: str, sampler: BaseSampler | None, pruner: BasePruner, enqueue: Any, in_memory: bool) -> None:
        try:
            self.study = optuna.create_study(
                storage=self._storage,  # type: ignore[arg-type]  # has all that a storage of Optuna has
                study_name=name,
                directions=list(self.aims.values()),
                sampler=sampler,
                pruner=pruner,
                load_if_exists=True,
            )
        except ValueError as error:
            raise regkit.OptionError(f"Optuna refuses the study: {error}") from error
        if not in_memory and not isinstance(self.study.sampler, RESUMED_EXACTLY):
            warnings.warn(
                f"{type(self.study.sampler).__name__} may suggest other values after an interruption than without one. "
                f"These do not: {', '.join(one.__name__ for one in RESUMED_EXACTLY)}",
                stacklevel=6,
            )
        self._sampler = self.study.sampler = Seeded(self.study.sampler, self._seed)
        self._claim()
        for params in enqueue:
            self.study.enqueue_trial(dict(params), skip_if_exists=True)
        self._take_up()
        self.finished = sum(trial.number not in self._stand_ins for trial in self._trials(*FINISHED))

    def warn(self) -> None:
        """Warn of regularizers that change parameters after a step, if a training ended without one."""
        hosts.warn_without_step(self._waiting)

    def close(self) -> None:
        """Let another process have the study."""
        self._storage.unlock()

    @property
    def prunes(self) -> bool:
        """Whether reports are decided upon. Optuna prunes with one aim only."""
        return len(self.aims) == 1 and not self._batch and not isinstance(self.study.pruner, NopPruner)

    @property
    def is_done(self) -> bool:
        """Whether no trial is out, and none will be."""
        return not self._out and (not self._left or self._is_late) and self._has_enough

    @property
    def _is_late(self) -> bool:
        return self._until is not None and time.monotonic() >= self._until

    @property
    def _has_enough(self) -> bool:
        return self.finished + len(self._out) >= self.wanted or self._sampler.exhausted or self._is_late

    @_guarded
    def next(self) -> list[Task] | None:
        """Return the next trials to run at once, which share a structure; None if there are enough.

        A batch has the numbers from one multiple of `batch` to the next, and is asked for as if none of it had ended.
        So an interrupted one is the same again, with the trials of it that are finished: digits follow from its size.
        """
        while not self._ready and self._next_number() is not None:
            self._fill()
        return self._ready.pop(0) if self._ready else None

    def _fill(self) -> None:
        size = self._batch or 1
        asked = self._asked_for
        while (number := self._next_number()) is not None:
            first = number - number % size
            if asked and asked[0].number < first:
                break
            self._storage.running_from = first if self._batch else None
            try:
                asked.append(self._adopted() if self._left else self._new())
            finally:
                self._storage.running_from = None
        structures = dict.fromkeys(one.structure for one in asked)
        if asked and self._batch:
            done = [one for one in self._trials(*FINISHED) if one.number // size == asked[0].number // size]
            asked += [self._task(one.number, one.params) for one in done if self.space.is_complete(one.params)]
            asked.sort(key=lambda one: one.number)
        self._ready += [[one for one in asked if one.structure == structure] for structure in structures]
        self._asked_for = []

    def _next_number(self) -> int | None:
        """Return the number of the next trial to run; None if there are enough."""
        if self._left and not self._is_late:
            return self._left[0].number
        if self._has_enough or (self._asked_for and not self._batch):
            return None
        if not self._batch:
            return 0
        waiting = [trial.number for trial in self._trials(TrialState.WAITING)]
        return min(waiting, default=len(self._trials()))

    def _new(self) -> Task:
        trial = self._asked(self.study.ask)
        return self._sent(trial._trial_id, trial.number, self._asked(lambda: self.space.suggest(trial)))

    @_guarded
    def report(self, number: int, value: float, step: int) -> bool:
        """Record a report of a trial; return whether the trial is pruned."""
        self._reports[number][step] = value
        if not self.prunes:
            return False
        trial = copy.copy(self._storage.get_trial(self._out[number]))
        trial.intermediate_values = dict(self._reports[number])
        return self.study.pruner.prune(self.study, trial)

    @_guarded
    def begin_again(self, number: int) -> None:
        """Forget the reports of a trial that runs again from its beginning."""
        self._reports[number] = {}
        self._storage.hide_marks(self._storage.get_trial(self._out[number]))

    @_guarded
    def finish(self, number: int, outcome: Outcome) -> None:
        """Store the outcome of a trial, unless it was finished before and ran again for the others of its batch.

        Raises
        ------
        SearchError
            If the first trials have all failed.
        """
        trial_id = self._out.get(number)
        if trial_id is None:
            return
        error = outcome.error or ("" if outcome.pruned else fault_of(outcome.measures, self.aims))
        if not self._storage.get_trial(trial_id).state.is_finished():
            self._write(trial_id, number, outcome, error)
        elif not self._again:
            raise UpdateFinishedTrialError
        self.finished += 1
        if outcome.waiting and not self._waiting:
            regs = regkit.build(self.space.options(self._storage.get_trial(trial_id).params))
            self._waiting = [one for one in hosts.members(regs, "run") if one.name in outcome.waiting]
        del self._out[number], self._reports[number]
        self._failures = self._failures + 1 if error else 0
        if not error:
            self._max_failures = None
        elif self._failures == self._max_failures and not self._trials(TrialState.COMPLETE, TrialState.PRUNED):
            raise SearchError(
                f"the first {self._failures} trials have all failed. The last one: {error}. After a repair the same "
                "call goes on"
            )

    def _write(self, trial_id: int, number: int, outcome: Outcome, error: str) -> None:
        for step, value in outcome.reports.items():
            self._storage.set_trial_intermediate_value(trial_id, step, value)
        for name, value in outcome.measures.items():
            if name not in self.aims or error:
                self._storage.set_trial_user_attr(trial_id, name, value)
        if error:
            self._storage.set_trial_user_attr(trial_id, ERROR, error)
            self.study.tell(number, state=TrialState.FAIL)
        elif outcome.pruned:
            self.study.tell(number, state=TrialState.PRUNED)
        else:
            self.study.tell(number, [outcome.measures[aim] for aim in self.aims])

    # Opening

    def _claim(self) -> None:
        """Write down which search the study is of, or compare."""
        search = json.loads(json.dumps({**self.space.written(), "aims": self.aims, "seed": self._seed}))
        search.update({"batch": self._batch} if self._batch else {})
        stored = self.study.user_attrs.get(SEARCH)
        if stored == search:
            return
        trials = self._trials()
        directions = [one.name.lower() for one in self.study.directions]
        if stored is None and directions != list(self.aims.values()):
            raise regkit.OptionError(
                f"the study {self.study.study_name!r} is to {' and '.join(directions)}, and the aims are to "
                f"{' and '.join(self.aims.values())}. Give aims in the directions of the study"
            )
        if stored is None and all(self._is_ours(trial) for trial in trials):
            self.study.set_user_attr(SEARCH, search)
            return
        if stored and {**stored, "aims": 0} == {**search, "aims": 0} and self._rename(stored["aims"], trials):
            self.study.set_user_attr(SEARCH, search)
            return
        raise regkit.OptionError(
            f"storage {self._where} holds another search under the name {self.study.study_name!r}: "
            f"{_difference(stored, search)}. Give this one another name or another storage"
        )

    def _is_ours(self, trial: FrozenTrial) -> bool:
        """Whether a trial of a user's own study can be one of this search."""
        if trial.state == TrialState.WAITING:
            return True
        known = all(
            name in self.space.parameters and self.space.parameters[name].distribution == distribution
            for name, distribution in trial.distributions.items()
        )
        is_right = trial.state == TrialState.FAIL or self.space.is_complete(trial.params)
        return known and trial.state.is_finished() and is_right

    def _rename(self, before: Mapping[str, str], trials: Sequence[FrozenTrial]) -> bool:
        """Have trials that measured the aims, but failed for an earlier name of them, stand complete."""
        ours = [trial for trial in trials if STANDS_FOR not in trial.user_attrs]
        is_possible = list(before.values()) == list(self.aims.values())
        if not is_possible or any(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in ours):
            return False
        done = {trial.user_attrs.get(STANDS_FOR) for trial in trials}
        for trial in ours:
            notes = {name: value for name, value in trial.user_attrs.items() if name != ERROR}
            if trial.state == TrialState.FAIL and trial.number not in done and not fault_of(notes, self.aims):
                values = [notes.pop(aim) for aim in self.aims]
                notes[STANDS_FOR] = trial.number
                self.study.add_trial(
                    create_trial(
                        values=values, params=trial.params, distributions=trial.distributions, user_attrs=notes
                    )
                )
        return True

    # Trials

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=states or None)

    def _take_up(self) -> None:
        """Look for trials that an earlier run, or a failed attempt, left running."""
        self._storage.lock_again()
        self._left = [one for one in self._trials(TrialState.RUNNING) if one.number not in self._out]
        self._stand_ins = stand_ins(self.study)

    def _adopted(self) -> Task:
        """Take over a trial that was left running, with its number and its parameters."""
        left = self._left[0]
        self._storage.hide_marks(left)
        params = left.params
        if not self.space.is_complete(params):  # interrupted before all were suggested: the others are suggested now
            trial = optuna.trial.Trial(self.study, left._trial_id)
            params = self._asked(lambda: self.space.suggest(trial))
        self._left.pop(0)
        return self._sent(left._trial_id, left.number, params)

    def _sent(self, trial_id: int, number: int, params: Mapping[str, Any]) -> Task:
        self._out[number], self._reports[number] = trial_id, {}
        return self._task(number, params)

    def _task(self, number: int, params: Mapping[str, Any]) -> Task:
        return Task(number, self._seed, dict(params), self.space.structure(params))

    def _asked(self, ask: Callable[[], Any]) -> Any:
        """Ask the sampler."""
        try:
            return ask()
        except (StorageInternalError, SQLAlchemyError, KeyError, UpdateFinishedTrialError):
            raise
        except Exception as error:
            name = type(self._sampler.sampler).__name__
            raise regkit.OptionError(f"the sampler {name} refuses the search: {in_words(error)}") from error

    def _is_there(self) -> bool:
        try:
            self._storage.get_study_id_from_name(self.study.study_name)
        except KeyError:
            return False
        return True


def stand_ins(study: optuna.Study) -> dict[int, int]:
    """Return the numbers of failed trials for which others stand."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return {one.user_attrs[STANDS_FOR]: one.number for one in trials if STANDS_FOR in one.user_attrs}


def _difference(stored: Mapping[str, Any] | None, search: Mapping[str, Any]) -> str:
    if stored is None:
        return "it was not made by regkit-search, and has other parameters"
    name = next(name for name in {**search, **stored} if stored.get(name) != search.get(name))
    return f"its {name} is {json.dumps(stored.get(name))}, and here it is {json.dumps(search.get(name))}"


# Storages


class Storage:
    """A storage of Optuna that one process uses, and that hides a pruner's marks on trials that run again.

    Parameters
    ----------
    storage : str, path, BaseStorage or None
        A URL, the file of an SQLite database, a storage of Optuna, or None for one in memory.
    where : str
        What errors name.
    """

    #: How the marks begin that Optuna's pruners leave on a trial.
    MARKS = "completed_rung_"

    def __init__(self, storage: Any, where: str) -> None:
        is_file = isinstance(storage, str) or hasattr(storage, "__fspath__")
        if storage is not None and not isinstance(storage, BaseStorage) and not is_file:
            raise regkit.OptionError(
                f"storage is {storage!r}; accepted: a file, a URL, a storage or a study of Optuna, or None"
            )
        try:
            self._storage = get_storage(url_of(storage) if is_file else storage)
        except (SQLAlchemyError, StorageInternalError, ValueError, ImportError, RuntimeError, OSError) as error:
            raise regkit.OptionError(f"storage {where} cannot be opened: {_why(error)}") from error
        backend = getattr(self._storage, "_backend", self._storage)
        self._engine: Any = getattr(backend, "engine", None)
        self._where = where
        self._hidden: dict[int, set[str]] = {}  # by a trial's id: marks of its earlier run
        #: From this number on, trials are shown as if they were running.
        self.running_from: int | None = None
        self._lock: Any = None
        self._locked = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    @property
    def is_remote(self) -> bool:
        """Whether it is a database on a server."""
        return self._engine is not None and self._engine.dialect.name != "sqlite"

    def lock(self, name: str) -> None:
        """Have a study of a file or of PostgreSQL for this process alone, until `unlock` or until it ends."""
        self._locked = name
        dialect = self._engine.dialect.name if self._engine is not None else ""
        is_ours = True
        if dialect == "sqlite" and self._engine.url.database not in (None, "", ":memory:"):
            own = "" if name == NAME else f".{re.sub(r'[^A-Za-z0-9_-]', '_', name)}"
            self._lock = FileLock(f"{self._engine.url.database}{own}.lock")
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                is_ours = False
        elif dialect == "postgresql":
            self._lock = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            key = crc32(f"regkit-search {name}".encode())
            is_ours = self._lock.execute(text("select pg_try_advisory_lock(:key)"), {"key": key}).scalar_one()
        if not is_ours:
            self.unlock()
            raise regkit.OptionError(
                f"another process runs the search {name!r} in storage {self._where}. Wait until it has ended, or give "
                "this one another name"
            )

    def lock_again(self) -> None:
        """Take the lock again if a server has lost it."""
        if self.is_remote and self._lock is not None:
            try:
                self._lock.execute(text("select 1"))
            except SQLAlchemyError:
                self.unlock()
                self.lock(self._locked)

    def unlock(self) -> None:
        """Give the lock back."""
        if isinstance(self._lock, FileLock):
            self._lock.release()
        elif self._lock is not None:
            try:
                self._lock.invalidate()  # closes the connection, and with it the lock
                self._lock.close()
            except SQLAlchemyError:  # the server is away
                pass
        self._lock = None
        if self._engine is not None:
            self._engine.dispose()  # closes connections; the next use opens others

    def hide_marks(self, trial: FrozenTrial) -> None:
        """Hide the marks on a trial until they are set again."""
        self._hidden[trial._trial_id] = {name for name in trial.system_attrs if name.startswith(self.MARKS)}

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """As of Optuna."""
        self._storage.set_trial_system_attr(trial_id, key, value)
        self._hidden.get(trial_id, set()).discard(key)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """As of Optuna."""
        return self._seen(self._storage.get_trial(trial_id))

    def get_all_trials(self, study_id: int, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:
        """As of Optuna."""
        trials = [self._seen(one) for one in self._storage.get_all_trials(study_id, deepcopy)]
        return trials if states is None else [one for one in trials if one.state in states]

    def _seen(self, trial: FrozenTrial) -> FrozenTrial:
        hidden = self._hidden.get(trial._trial_id)
        is_early = self.running_from is not None and trial.number >= self.running_from and trial.state.is_finished()
        if not hidden and not is_early:
            return trial
        seen = copy.copy(trial)
        seen.system_attrs = {name: value for name, value in trial.system_attrs.items() if name not in (hidden or ())}
        if is_early:
            seen.state, seen.values = TrialState.RUNNING, None
        return seen


def url_of(storage: Any) -> str:
    """Return a URL as it is, and that of the file of an SQLite database."""
    return str(storage) if "://" in str(storage) else f"sqlite:///{storage}"


def shown(storage: Any) -> str:
    """Return a storage as errors name it, without a password."""
    if isinstance(storage, str) and "://" in storage:
        try:
            return repr(make_url(storage).render_as_string(hide_password=True))
        except (SQLAlchemyError, ValueError):
            return repr(re.sub(r"//[^@/]*@", "//***@", storage))
    return repr(str(storage)) if isinstance(storage, (str, Path)) else repr(storage)


def _why(error: BaseException) -> str:
    missing = error if isinstance(error, ModuleNotFoundError) else error.__cause__
    if isinstance(missing, ModuleNotFoundError):
        name = '"psycopg[binary]"' if (missing.name or "").startswith("psycopg") else missing.name
        return f"the module {missing.name} is missing. Install it: pip install {name}"
    return _first_line(error)


def _first_line(error: BaseException) -> str:
    cause = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
    return next(iter(str(cause).splitlines()), type(cause).__name__)


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
        states = self._states
        key = np.random.SeedSequence([self._seed, number], spawn_key=tuple(decision.encode()))
        for state, seed in zip(states, key.generate_state(len(states) or 1)):
            if isinstance(state, np.random.Generator):
                state.bit_generator.state = type(state.bit_generator)(int(seed)).state
            else:
                state.seed(int(seed))

    def infer_relative_search_space(self, study: Any, trial: Any) -> Any:
        """As of Optuna."""
        return self.sampler.infer_relative_search_space(study, trial)

    def before_trial(self, study: Any, trial: Any) -> None:
        """As of Optuna, seeded."""
        self._seed_for(trial.number, "before")
        self.sampler.before_trial(study, trial)

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> Any:
        """As of Optuna, seeded."""
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


def _random_states(sampler: object) -> Iterator[Any]:
    """Yield every random generator that a sampler holds, in the order of its attributes."""
    found: list[Any] = [sampler]
    seen = set()
    while found:
        one = found.pop()
        if id(one) in seen or isinstance(one, (type, str, bytes, np.ndarray)) or callable(one):
            continue
        seen.add(id(one))
        if isinstance(one, (np.random.RandomState, np.random.Generator, random.Random)):
            yield one
            continue
        if isinstance(getattr(one, "rng", None), np.random.RandomState):  # Optuna makes it on first use
            found.append(one.rng)
        if isinstance(one, Mapping):
            found += one.values()
        elif isinstance(one, (list, tuple)):
            found += one
        else:
            found += getattr(one, "__dict__", {}).values()
