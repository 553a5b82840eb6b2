"""Standing between classes and the calls of their instances for a while."""

from __future__ import annotations

import functools
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    #: Called with the method that it stands for, the instance, and the arguments.
    StandIn = Callable[[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]], Any]

_lock = threading.Lock()
#: Class -> its own method, what stands in for it, and how many blocks need that: several threads may have some open.
_patched: dict[type, tuple[Any, Any, int]] = {}


@contextmanager
def patched(classes: Iterable[type], stand_in: StandIn) -> Iterator[None]:
    """Let calls of the instances of classes go through a function; afterwards the classes are what they were."""
    owners = {owner for one in classes if (owner := _owner(one)) is not None}
    with _lock:
        for owner in owners:
            _begin(owner, stand_in)
    try:
        yield
    finally:
        with _lock:
            for owner in owners:
                _end(owner)


def _owner(one: type) -> type | None:
    """The class in which the method is written."""
    return next((base for base in one.__mro__ if "__call__" in vars(base)), None)


def _begin(owner: type, stand_in: StandIn) -> None:
    original, standing, blocks = _patched.get(owner, (None, None, 0))
    if not blocks:
        method = original = vars(owner)["__call__"]

        @functools.wraps(method)
        def standing(self: Any, *arguments: Any, **keywords: Any) -> Any:
            return stand_in(method, self, arguments, keywords)

        owner.__call__ = standing  # type: ignore[method-assign]
    _patched[owner] = original, standing, blocks + 1


def _end(owner: type) -> None:
    original, standing, blocks = _patched.pop(owner)
    if blocks > 1:
        _patched[owner] = original, standing, blocks - 1
    elif vars(owner).get("__call__") is standing:  # otherwise somebody else has put theirs there
        owner.__call__ = original  # type: ignore[method-assign]
