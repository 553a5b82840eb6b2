"""The workers that ``regkit search`` starts on this machine, and what Ctrl-C does while they start, run and end."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from threading import Event, Timer
from typing import Any

from .files import SearchFile

#: After so many seconds Ctrl-C is said again, if Python dropped what it raised.
AGAIN = 0.5


@contextmanager
def client_of(described: SearchFile) -> Iterator[Any]:
    """The client of a search: an address, one with workers of its own on this machine, or none.

    A terminal sends Ctrl-C to the workers too. They have it blocked, and so has whatever starts them again: threads and
    processes inherit that from the thread that makes the cluster. So the client alone is interrupted, and ends them.
    """
    if described.workers is None:
        yield described.client
        return
    from distributed import Client, LocalCluster

    alone: dict[str, Any] = dict(threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=logging.CRITICAL)
    if os.name == "posix":
        resource_tracker.ensure_running()  # the first process of multiprocessing, which would unblock in its thread
    with undisturbed():
        cluster = LocalCluster(n_workers=described.workers, **alone)
        client = Client(cluster, set_as_default=False)
    try:
        with _insisting():
            yield client
    finally:
        with undisturbed():
            client.close()
            cluster.close()


@contextmanager
def undisturbed() -> Iterator[None]:
    """Have Ctrl-C wait until the end, where the system can do that."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _insisting() -> Iterator[None]:
    """Have Ctrl-C end what runs within, also if Python drops what is raised once.

    It does so in what is called when garbage is collected, where Dask's scheduler measures how long that takes. Where
    it was heard it is not said again, which would interrupt what is cleaned up then.
    """
    ended = Event()

    def say_again() -> None:
        if not ended.is_set():
            os.kill(os.getpid(), signal.SIGINT)

    def dropped(what: Any) -> None:
        if not isinstance(what.exc_value, KeyboardInterrupt):
            told(what)
            return
        later = Timer(AGAIN, say_again)
        later.daemon = True
        later.start()

    before, told = signal.signal(signal.SIGINT, signal.default_int_handler), sys.unraisablehook
    sys.unraisablehook = dropped
    try:
        yield
    finally:
        ended.set()
        sys.unraisablehook = told
        signal.signal(signal.SIGINT, before)
