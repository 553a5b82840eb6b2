"""Where a study is stored: opened, and seen without what trials left behind that run once more."""

from __future__ import annotations

import copy
from typing import Any

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, get_storage
from optuna.trial import FrozenTrial
from sqlalchemy.exc import SQLAlchemyError

import regkit

#: What Optuna's pruners leave in a trial: how far it was let go.
RUNG = "completed_rung_"


def opened(storage: str | BaseStorage | None) -> Once:
    """Return a storage of Optuna for a URL, the file of an SQLite database, a storage, or none to be kept.

    Raises
    ------
    regkit.OptionError
        If it cannot be opened.
    """
    if storage is not None and not isinstance(storage, (str, BaseStorage)) and not hasattr(storage, "__fspath__"):
        raise regkit.OptionError(f"storage is {storage!r}; accepted: a file, a URL, a storage of Optuna, or None")
    where: Any = storage
    if isinstance(storage, str) or hasattr(storage, "__fspath__"):
        where = url_of(str(storage))
    try:
        return Once(get_storage(where))
    except (SQLAlchemyError, StorageInternalError, ValueError, ImportError, RuntimeError, OSError) as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise regkit.OptionError(f"storage {storage!r} cannot be opened: {first}") from error


def url_of(storage: str) -> str:
    """Return the URL of a storage that is one, or the file of an SQLite database."""
    return storage if "://" in storage else f"sqlite:///{storage}"


class Once:
    """A storage in which trials that run once more have not reported anything before they do so again.

    A trial of a run that was cut short has reports in the storage, and marks of a pruner. It runs again from its
    beginning, and pruners are to decide as if it ran for the first time.
    """

    def __init__(self, storage: BaseStorage) -> None:
        self._storage = storage
        self._hidden: dict[int, set[Any]] = {}  # by a trial's id: the steps and attributes of its earlier life

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def begin_again(self, trial: FrozenTrial) -> None:
        """Hide what a trial has left behind, until it is told again."""
        rungs = [name for name in trial.system_attrs if name.startswith(RUNG)]
        self._hidden[trial._trial_id] = {*trial.intermediate_values, *rungs}

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """Store a report, unless there was one of that step: the first that was told counts."""
        hidden = self._hidden.get(trial_id, set())
        if step in hidden:
            hidden.remove(step)
        else:
            self._storage.set_trial_intermediate_value(trial_id, step, intermediate_value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Store an attribute, which is seen again."""
        self._storage.set_trial_system_attr(trial_id, key, value)
        self._hidden.get(trial_id, set()).discard(key)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Return a trial without what is hidden."""
        return self._seen(self._storage.get_trial(trial_id))

    def get_all_trials(self, study_id: int, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:
        """Return all trials of a study without what is hidden."""
        return [self._seen(one) for one in self._storage.get_all_trials(study_id, deepcopy, states)]

    def _seen(self, trial: FrozenTrial) -> FrozenTrial:
        hidden = self._hidden.get(trial._trial_id)
        if not hidden:
            return trial
        seen = copy.copy(trial)
        seen.intermediate_values = {k: v for k, v in trial.intermediate_values.items() if k not in hidden}
        seen.system_attrs = {k: v for k, v in trial.system_attrs.items() if k not in hidden}
        return seen
