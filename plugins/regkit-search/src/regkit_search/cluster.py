"""Trials on a Dask cluster. The client's process alone has the study; workers are sent trials and send back results.

Each trial is sent to one worker, which this module chooses: where its structure is compiled, if such a worker is free.
Dask would choose by data that there is none of, and would run a trial of a worker that died on its own, a number of
times that the scheduler's settings decide.
"""

from __future__ import annotations

import time
import warnings
from collections import deque
from queue import Empty, SimpleQueue
from typing import Any
from uuid import uuid4

import cloudpickle
from distributed import Client, Future, KilledWorker

import regkit

from .errors import SearchError
from .placing import Places
from .progress import Progress
from .spaces import Space
from .structures import Prepare
from .studies import StoredStudy
from .trials import Outcome, Task, in_words
from .worker import Readiness, answer, forget, run_task, take_in, topic_of

#: Seconds between two looks at which workers there are, and that a search waits for the first, or for another one.
LOOK, WAIT = 1.0, 60.0
#: So long may there be no worker in a run that has begun: a process that was killed is started again, on a busy machine
#: after a minute or more.
GONE = 300.0

#: How long an address has to answer.
PATIENCE = "10s"


class Cluster:
    """The workers of a scheduler, made ready for one search.

    Parameters
    ----------
    client : distributed.Client or str
    prepare : callable
    space : Space

    Raises
    ------
    regkit.OptionError
        If nothing answers, there are no workers, or a worker cannot take in what it is sent.
    """

    def __init__(self, client: Any, prepare: Prepare, space: Space) -> None:
        self._search = uuid4().hex
        self._sent = _pickled(prepare, space)
        self._client, self._is_ours = _connected(client)
        self._inbox: SimpleQueue[tuple[str, Any]] = SimpleQueue()
        self._places = Places()
        self._out: dict[str, tuple[Task, str, Future]] = {}  # Dask's key -> a trial that is out, where, its future
        self._getting_ready: dict[str, tuple[str, Future]] = {}  # Dask's key -> a worker that is getting ready
        self._processes: dict[tuple[str, int], str] = {}
        self._waiting: deque[Task] = deque()
        self._looked = self._had_workers = time.monotonic()

    def __enter__(self) -> Cluster:
        try:
            self._client.subscribe_topic(topic_of(self._search), lambda event: self._inbox.put(("report", event[1])))
            self._make_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        if self._client.status == "running":
            for _, _, future in self._out.values():
                future.cancel()
            self._client.unsubscribe_topic(topic_of(self._search))
            self._client.run(forget, self._search, on_error="ignore")
        if self._is_ours:
            self._client.close()

    def run(self, stored: StoredStudy) -> None:
        """Run a study's trials until there are enough."""
        with Progress(stored) as progress:
            while not stored.is_done:
                self._send(stored)
                self._look(stored)
                self._hear(stored)
                progress.update()

    # Workers

    def _make_ready(self) -> None:
        """Have the first workers take the search in, all at once; what goes wrong in one is told before any trial."""
        deadline = time.monotonic() + WAIT
        while not (there := self._client.nthreads()):
            if time.monotonic() > deadline:
                raise regkit.OptionError(
                    f"the scheduler {self._client.scheduler.address} has no workers. Start some: dask worker "
                    f"{self._client.scheduler.address}"
                )
            time.sleep(LOOK / 10)
        futures = {address: self._take_in(address) for address in there}
        for address, future in futures.items():
            try:
                self._is_ready(address, future.result(), there[address])
            except Exception as error:  # of any kind: it is raised where what was sent is imported
                raise regkit.OptionError(
                    f"prepare cannot be sent to worker {address}: {in_words(error)}. A worker needs regkit-search, the "
                    "plugins of the space and every module that prepare is from"
                ) from error

    def _take_in(self, address: str) -> Future:
        return self._client.submit(take_in, self._search, self._sent, workers=[address], pure=False)

    def _is_ready(self, address: str, readiness: Readiness, threads: int) -> None:
        self._places.add(address, threads)
        other = self._processes.setdefault(readiness.process, address)
        if readiness.late and other == address and len(self._processes) > 1:
            warnings.warn(
                f"worker {address} had imported {', '.join(readiness.late)} before the search, so it compiles in the "
                "folder that it shares with others, and waits for them. Start a search on fresh workers",
                stacklevel=4,
            )

    def _look(self, stored: StoredStudy) -> None:
        """See which workers have come and which are gone, now and then."""
        now = time.monotonic()
        if now - self._looked < LOOK:
            return
        self._looked = now
        if self._client.status != "running":
            raise SearchError("the scheduler is gone. What is finished is stored: the same call goes on from there")
        there = self._client.nthreads()
        expected = {*self._places.addresses, *(address for address, _ in self._getting_ready.values())}
        for address in expected - set(there):
            self._is_lost(address, stored)
        for address in set(there) - expected:
            self._later_ready(address)
        for _, _, future in self._out.values():
            if future.done():  # Dask calls back once, and not for a trial that it ran again on its own
                self._inbox.put(("done", future))
        if there:
            self._had_workers = now
        elif now - self._had_workers > GONE:
            raise SearchError(
                f"all workers have been gone for {GONE:.0f} s. What is finished is stored: the same call goes on from "
                "there"
            )

    def _later_ready(self, address: str) -> None:
        future = self._take_in(address)
        self._getting_ready[future.key] = address, future
        future.add_done_callback(lambda future: self._inbox.put(("ready", future)))

    def _is_lost(self, address: str, stored: StoredStudy) -> None:
        """Send the trials of a worker that died elsewhere; one that has taken enough workers with it has failed."""
        self._places.remove(address)
        for key, (there, future) in list(self._getting_ready.items()):
            if there == address:
                del self._getting_ready[key]
                future.cancel()
        for key, (task, there, future) in list(self._out.items()):
            if there == address:
                del self._out[key]
                future.cancel()
                self._was_killed(stored, task, address)

    # Trials

    def _send(self, stored: StoredStudy) -> None:
        """Send out as many trials as there is room for."""
        while True:
            if not self._waiting:
                if not self._places.has_room(self._only_structure(stored)):
                    return
                task = stored.next()
                if task is None:
                    return
                self._waiting.append(task)
            task = self._waiting[0]
            address = self._places.best(task.structure)
            if address is None:
                return
            self._waiting.popleft()
            self._places.begin(address, task.structure)
            future = self._client.submit(run_task, self._search, task, stored.prunes, workers=[address], pure=False)
            self._out[future.key] = task, address, future
            future.add_done_callback(lambda future: self._inbox.put(("done", future)))

    def _only_structure(self, stored: StoredStudy) -> str | None:
        return stored.space.structure({}) if stored.space.has_one_structure else None

    def _hear(self, stored: StoredStudy) -> None:
        """Wait for news for a while, and take in all that there are."""
        try:
            news = [self._inbox.get(timeout=LOOK)]
            while not self._inbox.empty():
                news.append(self._inbox.get())
        except Empty:
            return
        for kind, what in news:
            if kind == "report":
                self._answer(stored, **what)
            elif kind == "ready":
                self._has_come(what)
            elif what.key in self._out:
                self._is_done(stored, what)

    def _answer(self, stored: StoredStudy, number: int, value: float, step: int, worker: str) -> None:
        if any(task.number == number and there == worker for task, there, _ in self._out.values()):
            pruned = stored.report(number, value, step)
            self._client.run(answer, self._search, number, step, pruned, workers=[worker], on_error="ignore")

    def _has_come(self, future: Future) -> None:
        """Let a worker that came later have trials, if it could take the search in."""
        if future.key not in self._getting_ready or future.status == "cancelled":
            return
        address, _ = self._getting_ready.pop(future.key)
        if future.status == "error":
            warnings.warn(f"worker {address} takes no part in the search: {in_words(future.exception())}", stacklevel=5)
            self._places.add(address, 0)
            return
        self._is_ready(address, future.result(), self._client.nthreads().get(address, 0))

    def _is_done(self, stored: StoredStudy, future: Future) -> None:
        """Take in what came of a trial, unless its worker died before it was fetched: that is seen later."""
        task, address, _ = self._out[future.key]
        try:
            outcome = self._outcome(future)
        except TimeoutError:
            return
        del self._out[future.key]
        if outcome is None:
            self._places.remove(address)  # whoever is there now is asked to take the search in
            self._was_killed(stored, task, address)
        else:
            self._places.end(address, task.structure)
            stored.finish(task.number, outcome)

    def _outcome(self, future: Future) -> Outcome | None:
        """What came of a trial; None if its worker died with it."""
        if future.status == "cancelled":
            raise SearchError("the scheduler has cancelled trials, or is gone. The same call goes on from the storage")
        try:
            return future.result(timeout=WAIT)  # small, and there already
        except TimeoutError:
            raise
        except KilledWorker:
            return None
        except Exception as error:  # of what Dask does around a trial, such as sending back its result
            return Outcome(error=in_words(error))

    def _was_killed(self, stored: StoredStudy, task: Task, address: str) -> None:
        if self._left_in_order(address) or stored.killed(task.number, address):
            self._waiting.append(task)

    def _left_in_order(self, address: str) -> bool:
        """Whether a worker that is gone was sent away, as a cluster does that becomes smaller."""
        events = [event for _, event in self._client.get_events(address)]
        return any(event.get("action") == "remove-worker" and event.get("expected") for event in events)


def _pickled(prepare: Prepare, space: Space) -> bytes:
    try:
        return cloudpickle.dumps((prepare, space))
    except Exception as error:  # whatever an object says that cannot be pickled
        raise regkit.OptionError(
            f"prepare cannot be sent to a worker: {type(error).__name__}: {error}. Make what it needs within it: "
            "compiled functions, open files and locks stay where they are"
        ) from error


def _connected(client: Any) -> tuple[Client, bool]:
    """Return a client, and whether it was made here."""
    if isinstance(client, Client):
        if client.asynchronous or client.status != "running":
            raise regkit.OptionError(f"client is {client!r}; accepted: one that is connected and not asynchronous")
        return client, False
    if not isinstance(client, str):
        raise regkit.OptionError(f"client is {client!r}; accepted: a distributed.Client, an address, or None")
    try:
        return Client(client, timeout=PATIENCE, set_as_default=False), True
    except (OSError, TimeoutError, ValueError) as error:
        raise regkit.OptionError(
            f"client is {client!r}, where no Dask scheduler answers: {error}. Start one: dask scheduler"
        ) from error
