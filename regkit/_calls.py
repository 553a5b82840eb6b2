"""Calls of modules, which a host stands in for while it watches a model."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Callable


class Calls:
    """Stands between classes and the calls of their instances, for a host whose modules are objects.

    Several threads may have some of the same classes at once. Afterwards the classes are as they were.

    Parameters
    ----------
    called : callable
        Called in the place of the method, with the instance and a function that calls the method.

    Examples
    --------
    >>> from regkit import hosts
    >>> class Twice:
    ...     def __call__(self, x):
    ...         return 2 * x
    >>> calls, double = hosts.Calls(lambda module, call: call() + 1), Twice()
    >>> with calls.of([Twice]):
    ...     double(3)
    7
    >>> double(3)
    6
    """

    def __init__(self, called: Callable[[Any, Callable[[], Any]], Any]) -> None:
        self._called = called
        self._lock = threading.Lock()
        # class -> its method, the one that stands in for it, and for how many blocks
        self._standing: dict[type, tuple[Any, Any, int]] = {}

    @contextmanager
    def of(self, classes: Iterable[type]) -> Iterator[None]:
        """Stand in for the calls of classes within a block."""
        owners = {owner for cls in classes if (owner := self.owner(cls)) is not None}
        with self._lock:
            for owner in owners:
                self._begin(owner)
        try:
            yield
        finally:
            with self._lock:
                for owner in owners:
                    self._end(owner)

    @staticmethod
    def owner(cls: type) -> type | None:
        """Return the class that defines ``__call__`` for another; None if its instances cannot be called."""
        return next((base for base in cls.__mro__ if "__call__" in vars(base)), None)

    def _begin(self, owner: Any) -> None:
        original, standing, blocks = self._standing.get(owner, (None, None, 0))
        if not blocks:
            method = original = vars(owner)["__call__"]
            called = self._called

            @functools.wraps(method)
            def standing(self: Any, *arguments: Any, **keywords: Any) -> Any:
                return called(self, lambda: method.__get__(self, type(self))(*arguments, **keywords))

            owner.__call__ = standing
        self._standing[owner] = original, standing, blocks + 1

    def _end(self, owner: Any) -> None:
        original, standing, blocks = self._standing.pop(owner)
        if blocks > 1:
            self._standing[owner] = original, standing, blocks - 1
        elif vars(owner).get("__call__") is standing:  # otherwise another library has put its method there
            owner.__call__ = original
