"""The storage of a study: one process has it, its errors are words, and a database on a server may be away."""

from __future__ import annotations

import copy
import json
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any
from zlib import crc32

from filelock import FileLock, Timeout
from optuna import Study
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, get_storage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import make_url, text
from sqlalchemy.exc import SQLAlchemyError

import regkit

from ._trial import SearchError

#: The name of a study that gets no other, and the attribute of a study with the search that it is of.
NAME, SEARCH = "regkit-search", "regkit:search"

#: For so many seconds a database on a server may be away.
PATIENCE = 300.0

GOES_ON = "Finished trials are stored: the same call goes on from there"


class Storage:
    """A storage of Optuna for one process, which also hides a pruner's marks on trials that run again.

    A call is made again while a database on a server is away. Errors of the storage are a `SearchError`.
    """

    #: How the marks begin that Optuna's pruners leave on a trial.
    MARKS = "completed_rung_"

    def __init__(self, given: Any, name: str | None = None) -> None:
        self.name = name or (given.study_name if isinstance(given, Study) else NAME)
        storage = given._storage if isinstance(given, Study) else given
        self.where = shown(storage)
        #: From this number on, trials are shown as if they were running.
        self.running_from: int | None = None
        is_file = isinstance(storage, (str, os.PathLike))
        if storage is not None and not isinstance(storage, BaseStorage) and not is_file:
            raise regkit.OptionError(
                f"storage is {storage!r}; accepted: a file, a URL, a storage or a study of Optuna, or None"
            )
        try:
            self._storage = get_storage(url_of(storage) if is_file else storage)
        except (SQLAlchemyError, StorageInternalError, ValueError, ImportError, RuntimeError, OSError) as error:
            raise regkit.OptionError(f"storage {self.where} cannot be opened: {_why(error)}") from error
        self._engine: Any = getattr(getattr(self._storage, "_backend", self._storage), "engine", None)
        self._hidden: dict[int, set[str]] = {}  # by a trial's id: marks of its earlier run
        self._count = 0  # how many trials there were at the last look
        self._lock: Any = None
        self._take()

    @property
    def is_remote(self) -> bool:
        """Whether it is a database on a server."""
        return self._engine is not None and self._engine.dialect.name != "sqlite"

    def _take(self) -> None:
        """Have a study of a file or of PostgreSQL for this process alone, until `close` or until it ends."""
        name = self.name
        dialect = self._engine.dialect.name if self._engine is not None else ""
        is_ours = True
        if dialect == "sqlite" and self._engine.url.database not in (None, "", ":memory:"):
            own = "" if name == NAME else f".{re.sub(r'[^A-Za-z0-9_-]', '_', name)}"
            self._lock = FileLock(f"{self._engine.url.database}{own}.lock")
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                is_ours = False
            except OSError as error:  # of a folder that takes no file
                self.close()
                raise regkit.OptionError(f"storage {self.where} cannot be opened: {_why(error)}") from error
        elif dialect == "postgresql":
            self._lock = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            key = crc32(f"regkit-search {name}".encode())
            is_ours = self._lock.execute(text("select pg_try_advisory_lock(:key)"), {"key": key}).scalar_one()
        if not is_ours:
            self.close()
            raise regkit.OptionError(
                f"another process runs the search {name!r} in storage {self.where}. Wait until it has ended, or give "
                "this one another name"
            )

    def close(self) -> None:
        """Let another process have the study."""
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

    def taken(self) -> SearchError:
        """Return the error of a trial that another process has finished."""
        return SearchError(
            f"another process has finished a trial of the study {self.name!r} in storage {self.where}. One process at "
            "a time runs a search"
        )

    def without_marks(self, trial: FrozenTrial) -> FrozenTrial:
        """Return a trial without its marks, which are hidden from now on until they are set again."""
        marks = {name for name in trial.system_attrs if name.startswith(self.MARKS)}
        self._hidden.setdefault(trial._trial_id, set()).update(marks)
        return self._seen(trial)

    # As of Optuna

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._storage, name)
        return partial(self._call, found) if callable(found) else found

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """As of Optuna."""
        count = self._count

        def made() -> int | None:
            trials = self._storage.get_all_trials(study_id)
            return trials[-1]._trial_id if len(trials) > count else None

        self._count += 1
        return int(self._call(self._storage.create_new_trial, study_id, template_trial, made=made))

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """As of Optuna."""

        def made() -> bool | None:
            return True if self._storage.get_trial(trial_id).state == state else None

        return bool(self._call(self._storage.set_trial_state_values, trial_id, state, values, made=made))

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """As of Optuna."""
        self._call(self._storage.set_trial_system_attr, trial_id, key, value)
        self._hidden.get(trial_id, set()).discard(key)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """As of Optuna."""
        return self._seen(self._call(self._storage.get_trial, trial_id))

    def get_all_trials(self, study_id: int, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:
        """As of Optuna."""
        trials = [self._seen(one) for one in self._call(self._storage.get_all_trials, study_id, deepcopy)]
        self._count = len(trials)
        return trials if states is None else [one for one in trials if one.state in states]

    def _call(
        self, method: Callable[..., Any], *args: Any, made: Callable[[], Any] = lambda: None, **named: Any
    ) -> Any:
        """Call a method of the storage, again and again while a database on a server is away.

        `made` returns what the method would, if a call of which the answer was lost has done its work; None else.
        """
        until = None
        while True:
            try:
                if until is not None:
                    self.close()
                    self._take()
                    if (found := made()) is not None:
                        return found
                return method(*args, **named)
            except (StorageInternalError, SQLAlchemyError) as error:
                if _is_of_interrupt(error):
                    raise KeyboardInterrupt from error
                until = until or time.monotonic() + (PATIENCE if self.is_remote else 0)
                if time.monotonic() >= until:
                    raise SearchError(f"storage {self.where} fails: {_first_line(error)}. {GOES_ON}") from error
                time.sleep(1)
            except UpdateFinishedTrialError as error:
                raise self.taken() from error
            except KeyError as error:
                try:
                    self._storage.get_study_id_from_name(self.name)
                except KeyError:
                    raise SearchError(f"the study {self.name!r} was deleted from storage {self.where}") from error
                raise

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


def difference_of(stored: Mapping[str, Any] | None, search: Mapping[str, Any]) -> str | None:
    """Return in which point a search differs from the stored one; None if there is none, or it is the same."""
    before = stored or search
    for name in {**search, **before}:
        if before.get(name) != search.get(name):
            return f"its {name} is {json.dumps(before.get(name))}, and here it is {json.dumps(search.get(name))}"
    return None


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
    return repr(str(storage)) if isinstance(storage, (str, os.PathLike)) else repr(storage)


def _why(error: BaseException) -> str:
    missing = error if isinstance(error, ModuleNotFoundError) else error.__cause__
    if isinstance(missing, ModuleNotFoundError):
        name = '"psycopg[binary]"' if (missing.name or "").startswith("psycopg") else missing.name
        return f"the module {missing.name} is missing. Install it: pip install {name}"
    return _first_line(error)


def _is_of_interrupt(error: BaseException | None) -> bool:
    """Whether an error came of Ctrl-C: Optuna writes the end of a trial even then, in the midst of another call."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def _first_line(error: BaseException) -> str:
    cause = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
    return next(iter(str(cause).splitlines()), type(cause).__name__)
