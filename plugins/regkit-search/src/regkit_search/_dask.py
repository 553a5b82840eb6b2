"""Trials on a Dask cluster. The process of the client alone has the study; workers get trials and return outcomes.

Dask places trials, and runs those of a worker that died again. This module keeps a few more trials out than there are
threads, so that adaptive clusters grow, and prefers workers that have compiled a structure.
"""

from __future__ import annotations

import math
import os
import pickle
import socket
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from queue import Empty, SimpleQueue
from threading import Condition
from typing import Any
from uuid import uuid4

import cloudpickle
from distributed import Client, Future, KilledWorker, WorkerPlugin, get_worker

import regkit

from ._folders import take_own_folders
from ._study import GOES_ON, StoredStudy
from ._trial import Networks, Outcome, SearchError, Task, in_words

#: Seconds between two looks at the workers, and until a warning that there are none.
LOOK, LONG = 1.0, 60.0

#: How long an address has to answer.
PATIENCE = "10s"

#: For how many seconds a trial waits for the answer to a report before it takes the client for gone.
ANSWER = 120

#: How many trials are out beyond one for each thread.
BACKLOG = 2


class Cluster:
    """The workers of a scheduler, for one search.

    Parameters
    ----------
    client : distributed.Client, str or callable
        A client, the address of a scheduler, or a function that returns a client, which is closed at the end.
    networks : tuple
        The arguments of `Networks`.
    resources : mapping of str to number, optional
        What a trial takes of a worker's resources.

    Raises
    ------
    regkit.OptionError
        If no scheduler answers, or a worker cannot import what it is sent.
    """

    def __init__(self, client: Any, networks: tuple[Any, ...], resources: Mapping[str, float] | None) -> None:
        self._name = f"regkit-search-{uuid4().hex}"
        self._resources = dict(resources or {})
        sent = pickled(networks)
        self._client, self._is_ours = connected(client)
        self._plugin = OnWorker(self._name, sent)
        self._inbox: SimpleQueue[tuple[str, Any]] = SimpleQueue()
        self._out: dict[str, tuple[list[Task], Future]] = {}  # Dask's key -> trials that are out
        self._attempts: dict[int, str] = {}  # number -> the attempt at a trial that reported last
        self._prepared: dict[str, set[str]] = {}  # structure -> workers
        self._preferred: dict[str, frozenset[str]] = {}  # Dask's key -> workers
        self._sent, self._prunes = 0, False
        self._suspects: list[list[Task]] = []  # a trial that waited on a worker when another killed it looks the same
        self._alone: set[int] = set()
        self._late: set[tuple[str, int]] = set()
        self._warned = False
        self._room, self._looked, self._had_workers = 0, -math.inf, time.monotonic()

    def __enter__(self) -> Cluster:
        try:
            self._client.subscribe_topic(self._name, lambda event: self._inbox.put(("report", event[1])))
            self._client.register_plugin(self._plugin)
        except Exception as error:  # raised where the worker imports
            self.__exit__()
            raise regkit.OptionError(
                f"prepare cannot be sent to a worker: {in_words(error)}. A worker needs regkit-search, the plugins of "
                "the space and every module that prepare is from"
            ) from error
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        if self._client.status == "running":
            try:
                self._client.cancel([future for _, future in self._out.values()])
                self._client.unsubscribe_topic(self._name)
                self._client.unregister_worker_plugin(self._name)
            except Exception as error:  # the cluster is ending as well; the search has ended
                warnings.warn(f"the workers of the search were not told that it has ended: {error}", stacklevel=2)
        if self._is_ours:
            self._client.close()

    def run(self, stored: StoredStudy, update: Callable[[], None]) -> None:
        """Run the trials of a study until there are enough."""
        self._prunes = stored.prunes
        while not stored.is_done:
            self._look()
            self._send(stored)
            self._hear(stored)
            update()

    def _look(self) -> None:
        """See how many threads there are, now and then."""
        now = time.monotonic()
        if now - self._looked < LOOK:
            return
        self._looked = now
        if self._client.status not in ("running", "connecting"):
            raise SearchError(f"the scheduler is gone. {GOES_ON}")
        try:
            workers = self._client.scheduler_info(n_workers=-1)["workers"]
        except (OSError, TimeoutError) as error:
            raise SearchError(f"the scheduler is gone: {error}. {GOES_ON}") from error
        places = sum(map(self._places, workers.values()))
        self._room = BACKLOG + places
        self._prepared = {name: those & set(workers) for name, those in self._prepared.items()}
        self._send_elsewhere(set(workers))
        if places:
            self._had_workers = now
        elif now - self._had_workers > LONG and not self._warned:
            self._warned = True
            address = self._client.scheduler.address
            which = f" with the resources {self._resources}" if self._resources else ""
            warnings.warn(
                f"the scheduler {address} has no workers{which}. Trials wait until there are some: dask worker "
                f"{address}",
                stacklevel=5,
            )

    def _send_elsewhere(self, workers: set[str]) -> None:
        """Send trials again of which all preferred workers are gone: where all died at once, Dask waits for these."""
        for key, (tasks, future) in list(self._out.items()):
            preferred = self._preferred[key]
            if preferred and not preferred & workers and not future.done():
                del self._out[key]
                future.cancel()
                self._submit(tasks)

    def _places(self, worker: Mapping[str, Any]) -> int:
        """Return how many trials a worker runs at once."""
        shares = (worker["resources"].get(name, 0) / amount for name, amount in self._resources.items() if amount)
        return int(min((worker["nthreads"], *shares)))

    def _send(self, stored: StoredStudy) -> None:
        while len(self._out) < self._room and (tasks := stored.next()) is not None:
            self._submit(tasks, self._prepared.get(tasks[0].structure, ()))
        if self._suspects and not self._out:
            tasks = self._suspects.pop(0)
            self._alone.add(tasks[0].number)
            self._submit(tasks)

    def _submit(self, tasks: list[Task], preferred: Iterable[str] = ()) -> None:
        """Send trials that run at once to the workers, to some of them if they are free."""
        self._sent += 1
        future = self._client.submit(
            run_tasks,
            self._name,
            tasks,
            self._prunes,
            key=f"trial-{tasks[0].number}-{self._sent}-{self._name}",
            workers=sorted(preferred) or None,
            allow_other_workers=bool(preferred),
            resources=self._resources or None,
            pure=False,
        )
        self._out[future.key] = tasks, future
        self._preferred[future.key] = frozenset(preferred)
        future.add_done_callback(lambda future: self._inbox.put(("done", future)))

    def _hear(self, stored: StoredStudy) -> None:
        """Wait for news for a while, and take in all of them."""
        try:
            news = [self._inbox.get(timeout=LOOK)]
        except Empty:  # an outcome that was lost with its worker, and computed again since, is not announced
            news = [("done", future) for _, future in self._out.values() if future.done()]
        while not self._inbox.empty():
            news.append(self._inbox.get())
        for kind, what in news:
            if kind == "report":
                self._answer(stored, **what)
            elif what.key in self._out and what.status != "lost":  # lost with its worker, Dask runs the trial again
                tasks, _ = self._out[what.key]
                outcomes = self._outcomes(tasks, what)
                del self._out[what.key]
                if outcomes is None:
                    self._suspects.append(tasks)
                for task, outcome in zip(tasks, outcomes or ()):
                    stored.finish(task.number, outcome)

    def _answer(self, stored: StoredStudy, number: int, value: float, step: int, worker: str, attempt: str) -> None:
        if not any(task.number == number for tasks, _ in self._out.values() for task in tasks):
            return
        if self._attempts.setdefault(number, attempt) != attempt:  # its worker died, and another one runs it
            self._attempts[number] = attempt
            stored.begin_again(number)
        pruned = stored.report(number, value, step)
        self._client.run(answer, self._name, attempt, pruned, workers=[worker], on_error="ignore")

    def _outcomes(self, tasks: list[Task], future: Future) -> list[Outcome] | None:
        """Return what came of trials; None if they were among those whose workers died, and are to run alone."""
        if future.status == "cancelled":
            raise SearchError(f"the scheduler has cancelled trials, or is gone. {GOES_ON}")
        try:
            outcomes, worker, process, late = future.result()
        except KilledWorker as error:
            if tasks[0].number not in self._alone:
                return None
            return [Outcome(error=f"killed its workers: {error}"[:2000]) for _ in tasks]
        except Exception as error:  # of Dask around a trial, such as an outcome that cannot be sent
            return [Outcome(error=in_words(error)) for _ in tasks]
        self._prepared.setdefault(tasks[0].structure, set()).add(worker)
        if late:
            self._late.add(process)
            if len(self._late) == 2:
                warnings.warn(
                    f"workers had imported {', '.join(late)} before the search, so they compile in one folder, and "
                    "wait for each other. Start a search on fresh workers",
                    stacklevel=5,
                )
        return list(outcomes)


def pickled(sent: tuple[Any, ...]) -> bytes:
    """Return `prepare` and its arguments as they are sent to workers."""
    try:
        return cloudpickle.dumps(sent)
    except Exception as error:  # of an object that cannot be pickled
        raise regkit.OptionError(
            f"prepare cannot be sent to a worker: {type(error).__name__}: {error}. Make what it needs within it: "
            "compiled functions, open files and locks stay where they are"
        ) from error


def connected(client: Any) -> tuple[Client, bool]:
    """Return a client, and whether it was made here."""
    given, is_ours = client, not isinstance(client, Client)
    if callable(client) and is_ours:
        client = client()
    if isinstance(client, Client):
        if client.asynchronous or client.status != "running":
            raise regkit.OptionError(f"client is {client!r}; accepted: one that is connected and not asynchronous")
        return client, is_ours
    if not isinstance(client, str):
        raise regkit.OptionError(
            f"client is {given!r}; accepted: a distributed.Client, an address, a function that "
            "returns a client, or None"
        )
    try:
        return Client(client, timeout=PATIENCE, set_as_default=False), True
    except (OSError, TimeoutError, ValueError) as error:
        raise regkit.OptionError(
            f"client is {client!r}, where no Dask scheduler answers: {error}. Start one: dask scheduler"
        ) from error
    except (TypeError, RuntimeError) as error:
        raise regkit.OptionError(
            f"client is {client!r}: {error}. Give a client that has what the address needs: "
            "Client(address, security=...)"
        ) from error


# On a worker, whose process opens no storage


class OnWorker(WorkerPlugin):
    """A search on a worker: its networks, and the answers to reports."""

    def __init__(self, name: str, sent: bytes) -> None:
        self.name, self._sent = name, sent

    def setup(self, worker: Any) -> None:
        """Take a compile folder first, and then unpickle, which may import a library."""
        self.late = tuple(take_own_folders())
        self.answers: dict[str, bool] = {}  # attempt -> whether it is pruned
        self.changed, self.ended = Condition(), False
        self.networks = Networks(*pickle.loads(self._sent))

    def teardown(self, worker: Any) -> None:
        """End the trials that wait for an answer."""
        with self.changed:
            self.ended = True
            self.changed.notify_all()


def run_tasks(name: str, tasks: list[Task], asks: bool) -> tuple[list[Outcome], str, tuple[str, int], tuple[str, ...]]:
    """Run trials; return the outcomes, the worker, its process, and libraries for which a folder came too late."""
    worker, attempt = get_worker(), uuid4().hex
    here: OnWorker = worker.plugins[name]

    def reported(number: int, value: float, step: int) -> bool:
        if not asks:
            return False
        report = {"number": number, "value": value, "step": step, "worker": worker.address, "attempt": attempt}
        worker.log_event(name, report)
        with here.changed:
            if not here.changed.wait_for(lambda: here.ended or attempt in here.answers, ANSWER) or here.ended:
                raise SearchError("the search has ended, or does not answer")
            return here.answers.pop(attempt)

    outcomes = here.networks.run(tasks, reported)
    return outcomes, worker.address, (socket.gethostname(), os.getpid()), here.late


def answer(name: str, attempt: str, pruned: bool, dask_worker: Any) -> None:
    """Let a trial know whether it is pruned."""
    here = dask_worker.plugins.get(name)
    if here is not None:
        with here.changed:
            here.answers[attempt] = pruned
            here.changed.notify_all()
