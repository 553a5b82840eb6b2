"""What runs on a Dask worker. Its process opens no storage: it has its orders from the client, and answers to it."""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass, field
from threading import Condition
from typing import Any

from distributed import get_worker

from .errors import SearchError
from .folders import take_own_folders
from .structures import Structures
from .trials import Outcome, Task

#: How many seconds a trial waits to be told whether it is pruned, before it takes the client for gone.
PATIENCE = 120


@dataclass
class Here:
    """A search in this process: its prepared structures, and the answers to its trials' reports."""

    structures: Structures
    answers: dict[tuple[int, int], bool] = field(default_factory=dict)  # (number, step) -> whether it is pruned
    changed: Condition = field(default_factory=Condition)
    ended: bool = False


#: By the worker's address, as one process may have several, and the search.
_searches: dict[tuple[str, str], Here] = {}


@dataclass(frozen=True)
class Readiness:
    """What a worker says when it has taken a search in: who it is, and for which libraries folders came too late."""

    process: tuple[str, int]
    late: tuple[str, ...]


def take_in(search: str, sent: bytes) -> Readiness:
    """Make a worker ready for a search: its compile folder first, then what was sent, which may import a library."""
    import socket

    late = take_own_folders()
    prepare, space = pickle.loads(sent)
    _searches[get_worker().address, search] = Here(Structures(prepare, space))
    return Readiness((socket.gethostname(), os.getpid()), tuple(late))


def run_task(search: str, task: Task, asks: bool) -> Outcome | None:
    """Run a trial, asking the client at each report whether it is to go on if `asks` says so.

    None if the worker does not know the search: another process than the one that took it in has its address now.
    """
    worker = get_worker()
    here = _searches.get((worker.address, search))
    if here is None:
        return None

    def reported(value: float, step: int) -> bool:
        if asks:
            report = {"number": task.number, "value": value, "step": step, "worker": worker.address}
            worker.log_event(topic_of(search), report)
        with here.changed:
            this = task.number, step
            told = not asks or here.changed.wait_for(lambda: here.ended or this in here.answers, PATIENCE)
            if here.ended or not told:
                raise SearchError("the search has ended, or does not answer")
            return here.answers.pop(this, False)

    return here.structures.run(task, reported)


def answer(search: str, number: int, step: int, pruned: bool, dask_worker: Any) -> None:
    """Tell a trial whether it is to end."""
    here = _searches.get((dask_worker.address, search))
    if here is not None:
        with here.changed:
            here.answers[number, step] = pruned
            here.changed.notify_all()


def forget(search: str, dask_worker: Any) -> None:
    """Let go of what was prepared for a search; trials that still run end at their next report."""
    here = _searches.pop((dask_worker.address, search), None)
    if here is not None:
        with here.changed:
            here.ended = True
            here.changed.notify_all()


def topic_of(search: str) -> str:
    """Under which topic of Dask's events a search's trials report."""
    return f"regkit-search-{search}"
