"""What hooks of a run find around them: the key of their draws, and how derivatives are had."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .derivatives import Derivatives

#: In words, what a key is.
A_KEY = "a key, such as jax.random.key(0)"


@dataclass(frozen=True)
class Scope:
    """What the hooks of one run have beside their arguments.

    Attributes
    ----------
    key : JAX array, or None
        What draws come from.
    derivatives : Derivatives, or None
        What computes the derivatives of something that hooks are given.
    tracing : bool
        Whether the run is within a transformation of the user's. Computing derivatives is one of our own.
    """

    key: Any = None
    derivatives: Derivatives | None = None
    tracing: bool = False


_current: ContextVar[Scope | None] = ContextVar("regkit_jax_scope", default=None)


def current() -> Scope | None:
    """Return the scope of the hook that is running here; None outside of runs."""
    return _current.get()


@contextmanager
def within(scope: Scope) -> Iterator[None]:
    """Let hooks run within a scope."""
    token = _current.set(scope)
    try:
        yield
    finally:
        _current.reset(token)
