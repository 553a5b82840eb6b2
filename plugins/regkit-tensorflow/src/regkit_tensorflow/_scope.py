"""What hooks may use of the computation that they run in: a seed for draws, a tape for derivatives."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Iterator


class Scope(NamedTuple):
    """The seed of this computation, a tensor of two integers, and the tape that records it; each may be None."""

    seed: Any = None
    tape: Any = None


NOTHING = Scope()
_current: ContextVar[Scope] = ContextVar("regkit_tensorflow_scope", default=NOTHING)


def current() -> Scope:
    """Return the scope of the hook that is running."""
    return _current.get()


@contextmanager
def within(scope: Scope) -> Iterator[None]:
    """Run hooks within a scope."""
    token = _current.set(scope)
    try:
        yield
    finally:
        _current.reset(token)


def is_open(graph: Any) -> bool:
    """Return whether a graph is that of the function which is being traced, or of one around it."""
    here = tf.compat.v1.get_default_graph() if not tf.executing_eagerly() else None
    while here is not None:
        if here is graph:
            return True
        here = getattr(here, "outer_graph", None)
    return False
