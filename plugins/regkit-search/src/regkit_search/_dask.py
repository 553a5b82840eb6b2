"""Trials on a Dask cluster. The process of the client alone has the study; workers get trials and return outcomes.

Dask places trials, and runs those of a worker that died again. This module keeps a few more trials out than there are
threads, so that adaptive clusters grow, and prefers workers that have compiled a structure.
"""

from __future__ import annotations

import math
import pickle
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any
from uuid import uuid4

import cloudpickle
from distributed import Client, Future, KilledWorker, WorkerPlugin, get_worker

import regkit

from ._folders import take_own_folders
from ._storage import GOES_ON
from ._study import StoredStudy
from ._trial import LONGEST, Networks, Outcome, SearchError, Task, in_words

#: Seconds between two looks at the workers, and until a warning that there are none.
LOOK, LONG = 1.0, 60.0

#: How long an address has to answer.
PATIENCE = "10s"

#: For how many seconds a trial waits for the answer to a report before it takes the client for gone.
ANSWER = 120

#: How many trials are out beyond one for each thread.
BACKLOG = 2


@dataclass
class Sent:
    """Trials that are out, to run at once."""

    tasks: list[Task]
    future: Future
    preferred: set[str]  #: workers that have compiled their structure
    alone: bool  #: whether nothing else is out


class Cluster:
    """The workers of a scheduler, for one search: `networks` are the arguments of `Networks`."""

    def __init__(self, client: Client, networks: bytes, resources: Mapping[str, float]) -> None:
        self._client, self._resources, self._name = client, resources, f"regkit-search-{uuid4().hex}"
        self._plugin = OnWorker(self._name, networks)
        self._news: SimpleQueue[dict[str, Any] | None] = SimpleQueue()  # reports; None for an outcome
        self._out: list[Sent] = []
        self._suspects: list[list[Task]] = []  # a trial that waited on a worker when another killed it looks the same
        self._prepared: dict[str, set[str]] = {}  # structure -> workers
        self._workers: set[str] = set()
        self._room, self._looked, self._had_workers = 0, -math.inf, time.monotonic()

    def open(self) -> None:
        """Prepare the workers, and those that come."""
        self._client.subscribe_topic(self._name, lambda event: self._news.put(event[1]))
        try:
            self._client.register_plugin(self._plugin)
        except Exception as error:  # raised where the worker imports
            raise regkit.OptionError(
                f"prepare cannot be sent to a worker: {in_words(error)}. A worker needs regkit-search, the plugins of "
                "the space and every module that prepare is from"
            ) from error

    def close(self) -> None:
        """Take back the trials that are out."""
        if self._client.status == "running":
            try:
                self._client.cancel([sent.future for sent in self._out])
                self._client.unsubscribe_topic(self._name)
                self._client.unregister_worker_plugin(self._name)
            except Exception as error:  # the cluster is ending as well; the search has ended
                warnings.warn(f"the workers of the search were not told that it has ended: {error}", stacklevel=2)

    def run(self, stored: StoredStudy, update: Callable[[], None]) -> None:
        """Run the trials of a study until there are enough."""
        while True:
            self._look(stored.prunes)
            while len(self._out) < self._room and (tasks := stored.next()) is not None:
                self._submit(tasks, stored.prunes)
            if self._suspects and not self._out:
                self._submit(self._suspects.pop(), stored.prunes, alone=True)
            if not self._out:
                return
            self._hear(stored)
            update()

    def _look(self, prunes: bool) -> None:
        """See which workers there are, now and then."""
        now = time.monotonic()
        if now - self._looked < LOOK:
            return
        if self._client.status not in ("running", "connecting"):
            raise SearchError(f"the scheduler is gone. {GOES_ON}")
        try:
            workers = self._client.scheduler_info(n_workers=-1)["workers"]
        except (OSError, TimeoutError) as error:
            raise SearchError(f"the scheduler is gone: {error}. {GOES_ON}") from error
        places = sum(map(self._places, workers.values()))
        self._looked, self._workers, self._room = now, set(workers), BACKLOG + places
        for sent in list(self._out):  # where all preferred workers died at once, Dask waits for these
            if sent.preferred and not sent.preferred & self._workers and not sent.future.done():
                sent.future.cancel()
                self._out.remove(sent)
                self._submit(sent.tasks, prunes)
        if places:
            self._had_workers = now
        elif now - self._had_workers > LONG:
            self._had_workers = math.inf  # it is told once
            address = self._client.scheduler.address
            which = f" with the resources {self._resources}" if self._resources else ""
            warnings.warn(
                f"the scheduler {address} has no workers{which}. Trials wait until there are some: dask worker "
                f"{address}",
                stacklevel=5,
            )

    def _places(self, worker: Mapping[str, Any]) -> int:
        """Return how many trials a worker runs at once."""
        shares = (worker["resources"].get(name, 0) / amount for name, amount in self._resources.items() if amount)
        return int(min((worker["nthreads"], *shares)))

    def _submit(self, tasks: list[Task], prunes: bool, alone: bool = False) -> None:
        """Send trials that run at once; where there are several structures, to workers that have compiled theirs."""
        preferred = self._prepared.get(tasks[0].structure, set()) & self._workers if len(self._prepared) > 1 else set()
        future = self._client.submit(
            run_tasks,
            self._name,
            tasks,
            prunes,
            key=f"trial-{tasks[0].number}-{uuid4().hex}",
            workers=sorted(preferred) or None,
            allow_other_workers=bool(preferred),
            resources=self._resources or None,
            pure=False,
        )
        self._out.append(Sent(tasks, future, preferred, alone))
        future.add_done_callback(lambda future: self._news.put(None))

    def _hear(self, stored: StoredStudy) -> None:
        """Wait for news for a while, and take in all of them."""
        with suppress(Empty):
            report = self._news.get(timeout=LOOK)
            while True:
                if report is not None:
                    self._answer(stored, **report)
                report = self._news.get_nowait()
        for sent in [one for one in self._out if one.future.done()]:
            if (outcomes := self._outcomes(sent)) is not None:
                self._out.remove(sent)
                for task, outcome in zip(sent.tasks, outcomes):
                    stored.finish(task.number, outcome)

    def _answer(
        self, stored: StoredStudy, number: int, reports: list[tuple[int, float]], worker: str, attempt: str
    ) -> None:
        if any(task.number == number for sent in self._out for task in sent.tasks):
            pruned = stored.report(number, dict(reports))
            send = partial(self._client.run, answer, self._name, attempt, pruned, workers=[worker], on_error="ignore")
            self._client.loop.add_callback(send)  # Dask tries for long to reach a worker that has died

    def _outcomes(self, sent: Sent) -> list[Outcome] | None:
        """Return what came of trials: none of those that are to run alone, None where Dask runs them again."""
        if sent.future.status == "cancelled":
            raise SearchError(f"the scheduler has cancelled trials, or is gone. {GOES_ON}")
        try:
            outcomes, worker = sent.future.result(timeout=LOOK)
        except TimeoutError:  # it was lost with its worker
            return None
        except KilledWorker as error:
            if not sent.alone:
                self._suspects.append(sent.tasks)
                return []
            return [Outcome(error=f"killed its workers: {error}"[:LONGEST]) for _ in sent.tasks]
        except Exception as error:  # of Dask around a trial, such as an outcome that cannot be sent
            return [Outcome(error=in_words(error)) for _ in sent.tasks]
        self._prepared.setdefault(sent.tasks[0].structure, set()).add(worker)
        return list(outcomes)


@contextmanager
def cluster(client: Any, networks: tuple[Any, ...], resources: Mapping[str, float] | None) -> Iterator[Cluster]:
    """Yield a cluster that is ready: `networks` are the arguments of `Networks`, the rest as of `run`."""
    sent = pickled(networks)
    with connected(client) as ours:
        found = Cluster(ours, sent, dict(resources or {}))
        try:
            found.open()
            yield found
        finally:
            found.close()


def pickled(sent: tuple[Any, ...]) -> bytes:
    """Return `prepare` and its arguments as they are sent to workers."""
    try:
        return cloudpickle.dumps(sent)
    except Exception as error:  # of an object that cannot be pickled
        raise regkit.OptionError(
            f"prepare cannot be sent to a worker: {type(error).__name__}: {error}. Make what it needs within it: "
            "compiled functions, open files and locks stay where they are"
        ) from error


@contextmanager
def connected(given: Any) -> Iterator[Client]:
    """Yield the client that is given, or one that is made for an address or by a function, and closed at the end."""
    client = given() if callable(given) else given
    try:
        if isinstance(client, str):
            client = Client(client, timeout=PATIENCE, set_as_default=False)
    except (OSError, TimeoutError, ValueError, TypeError, RuntimeError) as error:
        raise regkit.OptionError(
            f"client is {client!r}, where no Dask scheduler answers: {error}. Start one: dask scheduler; or give a "
            "client that has what the address needs: Client(address, security=...)"
        ) from error
    if not isinstance(client, Client):
        raise regkit.OptionError(
            f"client is {given!r}; accepted: a distributed.Client, an address, a function that "
            "returns a client, or None"
        )
    try:
        if client.asynchronous or client.status != "running":
            raise regkit.OptionError(f"client is {client!r}; accepted: one that is connected and not asynchronous")
        yield client
    finally:
        if client is not given:
            client.close()


# On a worker, whose process opens no storage


class OnWorker(WorkerPlugin):
    """A search on a worker: its networks, and the answers to reports."""

    def __init__(self, name: str, sent: bytes) -> None:
        self.name, self._sent = name, sent

    def setup(self, worker: Any) -> None:
        """Take a compile folder first, and then unpickle, which may import a library."""
        take_own_folders()
        self.answers: dict[str, SimpleQueue[bool | None]] = {}  # attempt -> whether it is pruned, None at the end
        self.networks = Networks(*pickle.loads(self._sent))

    def teardown(self, worker: Any) -> None:
        """End the trials that wait for an answer."""
        for answers in list(self.answers.values()):
            answers.put(None)


def run_tasks(name: str, tasks: list[Task], prunes: bool) -> tuple[list[Outcome], str]:
    """Run trials; return the outcomes and the worker."""
    worker, attempt = get_worker(), uuid4().hex
    here: OnWorker = worker.plugins[name]
    answers = here.answers[attempt] = SimpleQueue()

    def reported(number: int, reports: Mapping[int, float]) -> bool:
        if not prunes:
            return False
        worker.log_event(
            name, {"number": number, "reports": list(reports.items()), "worker": worker.address, "attempt": attempt}
        )
        pruned = None
        with suppress(Empty):
            pruned = answers.get(timeout=ANSWER)
        if pruned is None:
            raise SearchError("the search has ended, or does not answer")
        return pruned

    try:
        return here.networks.run(tasks, reported), worker.address
    finally:
        del here.answers[attempt]


def answer(name: str, attempt: str, pruned: bool, dask_worker: Any) -> None:
    """Let a trial know whether it is pruned."""
    here = dask_worker.plugins.get(name)
    if here is not None and attempt in here.answers:
        here.answers[attempt].put(pruned)
