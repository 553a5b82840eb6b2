"""The surroundings of hooks in a run: the key of their draws, and derivatives of what they are given.

JAX differentiates functions, and a hook gets values. So the network is computed again as a function, with another value
in the place of the one that is differentiated by, and the hook after it up to where it asks for the same derivative:
what it has there is the result of the function.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax

import regkit

from ._internals import dce_jaxpr

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    #: Called with places and the values to be there, the key, and what takes the place of `Derivatives` meanwhile.
    Again = Callable[[list[tuple[Any, Any]], Any, Any], None]

#: A key, in words.
A_KEY = "a key, such as jax.random.key(0)"


@dataclass(frozen=True)
class Scope:
    """What the hooks of one run have beside their arguments.

    Attributes
    ----------
    key : JAX array, or None
        The source of draws.
    derivatives : Derivatives, or None
        Computes derivatives by what hooks are given.
    tracing : bool
        Whether the run is within a transformation of the user's. Computing derivatives is one of ours.
    repeats : bool
        Whether the key is the same at each step of a loop that runs here.
    """

    key: Any = None
    derivatives: Derivatives | None = None
    tracing: bool = False
    repeats: bool = False


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


class Derivatives:
    """The derivatives that the hooks of one run ask for, in their order.

    Parameters
    ----------
    again : callable
        Computes everything once more.
    places_of : callable
        Returns where `again` takes another value for an expression; nothing if it is not taken anywhere.
    key : JAX array, or None
        The source of all draws.
    """

    def __init__(self, again: Again, places_of: Callable[[Any], Any], key: Any) -> None:
        self._again = again
        self._places_of = places_of
        self._key = key
        self._found: list[Any] = []

    def __call__(self, transform: Callable[..., Any], expression: Any, wrt: Sequence[Any]) -> Sequence[Any]:
        """Return what a transformation such as `jax.jacrev` makes of an expression as a function of others."""
        places = [self._places_of(one) for one in wrt]
        if not all(places):
            raise regkit.GraphError(
                "JAX computes derivatives by what was tapped, and this is by something else. Differentiate by an "
                "output that hooks are given"
            )
        count = len(self._found)

        def function(values: Sequence[Any], key: Any, earlier: Sequence[Any]) -> Any:
            try:
                self._again(list(zip(places, values)), key, _Upto(count, earlier))
            except _Reached as reached:
                return reached.expression
            raise regkit.GraphError(
                "computed again, the network and the hooks asked for other derivatives than at first. What again does "
                "has to be the same every time"
            )

        result = self._of(function, transform, expression, list(wrt), count)
        self._found.append(result)
        return result

    def more(self) -> Derivatives:
        """Return those that come after the present ones, such as in each computation of the loss."""
        result = Derivatives(self._again, self._places_of, self._key)
        result._found = list(self._found)
        return result

    def _of(self, function: Any, transform: Any, expression: Any, wrt: list[Any], count: int) -> Sequence[Any]:
        arguments = (wrt, self._key, self._found)
        program, shape = jax.make_jaxpr(function, return_shape=True)(*arguments)
        if (shape.shape, shape.dtype) != (expression.shape, expression.dtype):
            raise regkit.GraphError(
                f"computed again, what is differentiated has shape {shape.shape} and dtype {shape.dtype}; at first it "
                f"had {tuple(expression.shape)} and {expression.dtype}. What again does has to be the same every time"
            )
        _, used = dce_jaxpr(program.jaxpr, [True])
        by = used[: len(wrt)]
        if not all(by):
            raise regkit.GraphError(
                f"an expression of shape {tuple(expression.shape)} does not depend on what it is differentiated by, so "
                "it has no gradient there"
            )
        if any(used[len(jax.tree.leaves((wrt, self._key))) :]):
            raise regkit.GraphError(
                "this is a derivative of what was made with a derivative, which JAX cannot have here: each is had by "
                "computing the network once more"
            )
        rest = jax.tree.leaves(arguments)[len(wrt) :]

        def flat(values: list[Any]) -> Any:
            (result,) = jax.core.eval_jaxpr(program.jaxpr, program.consts, *values, *rest)
            return result

        derivatives: Sequence[Any] = transform(flat)(wrt)
        return derivatives


class _Upto:
    """Takes the place of `Derivatives` in a computation that ends where it asks for one more than there were."""

    def __init__(self, count: int, earlier: Sequence[Any]) -> None:
        self._count = count
        self._earlier = list(earlier)
        self._asked = 0

    def __call__(self, transform: Callable[..., Any], expression: Any, wrt: Sequence[Any]) -> Sequence[Any]:
        self._asked += 1
        if self._asked > self._count:
            raise _Reached(expression)
        found: Sequence[Any] = self._earlier[self._asked - 1]
        return found

    def more(self) -> _Upto:
        """Return itself: it counts through."""
        return self


class _Reached(BaseException):  # no Exception, which hooks may catch
    """Raised where a computation has come to the expression that is differentiated."""

    def __init__(self, expression: Any) -> None:
        super().__init__()
        self.expression = expression
