"""Random numbers in a graph."""

from __future__ import annotations

from contextvars import ContextVar
from itertools import count

from .._engines import engine, engine_of, is_symbolic
from ..errors import GraphError, OptionError
from ._arithmetic import cast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .._engines import Engine

#: Ends a name in a key; the bytes of the name are below it.
END = 256


class Drawing:
    """Makes the draws of a member of a set differ from all others, by its name and the number of its earlier draws.

    `random_stream` mixes both into the seed while hooks of the member run within it. So equal members draw different
    numbers, and one member draws different numbers for a second graph, for a second output of one name, and at every
    step of a loop over arrays. Sets that were built alike draw alike.
    """

    #: The members whose hooks are running here, from the outermost set to the innermost.
    _running: ContextVar[tuple[Drawing, ...]] = ContextVar("running", default=())

    def __init__(self, name: str) -> None:
        self.member = name
        self._name = (*name.encode("utf-8", "surrogatepass"), END)
        self._times: dict[object, count[int]] = {}  # by the seed: how often there was a stream of it

    def run(self, hook: Callable[..., Any], *arguments: Any) -> Any:
        """Call a hook of the member."""
        token = self._running.set((*self._running.get(), self))
        try:
            return hook(*arguments)
        finally:
            self._running.reset(token)

    @classmethod
    def running_member(cls) -> str | None:
        """The name of the member whose hook is running here; None outside of hooks."""
        running = cls._running.get()
        return running[-1].member if running else None

    @classmethod
    def key(cls, seed: bytes) -> tuple[int, ...]:
        """Return the numbers to mix into a seed, by the hooks that run here; none outside of hooks."""
        running = cls._running.get()
        if not running:
            return ()
        names = tuple(letter for member in running for letter in member._name)
        times = running[0]._times.setdefault((seed, names), count())  # of the outermost: an inner set may be a new one
        return (next(times), *names)


class RandomStream:
    """Random draws of the shape and dtype of expressions; `random_stream` makes it.

    Each draw has a separate generator, spawned from the seed. A compiled function advances the generators by itself, so
    that every call has new numbers; a host that passes `updates` to its functions does no harm.

    Attributes
    ----------
    library : str
        The library of the draws, such as ``"pytensor"`` or ``"numpy"``.
    seed : int, sequence of int, or None
    """

    def __init__(self, engine: Engine, seed: Any) -> None:
        import numpy as np

        self._engine = engine
        self.library = engine.name
        self.seed = seed
        try:
            self._sequence = np.random.SeedSequence(seed)
        except (TypeError, ValueError):
            raise OptionError(f"random_stream got seed={seed!r}; accepted: integers of at least 0, or None") from None
        if seed is not None:
            key = Drawing.key(self._sequence.generate_state(4).tobytes())
            self._sequence = np.random.SeedSequence(seed, spawn_key=key)
        self._updates: list[tuple[Any, Any]] = []

    def normal(self, like: Any) -> Any:
        """Draw from the standard normal distribution.

        Parameters
        ----------
        like : expression
            What the draws have the shape and the dtype of.

        Returns
        -------
        expression

        Raises
        ------
        GraphError
            If `like` is not of floats.
        """
        if "float" not in str(like.dtype):
            raise GraphError(f"normal draws of dtype {like.dtype} would be cut off; draw for an expression of floats")
        return cast(self._draw("normal", like), str(like.dtype))

    def bernoulli(self, like: Any, probability: Any) -> Any:
        """Draw 1 with a probability and 0 otherwise.

        Parameters
        ----------
        like : expression
            What the draws have the shape and the dtype of.
        probability : number or scalar expression
            From 0 to 1.

        Returns
        -------
        expression
        """
        from numbers import Real

        # NumPy's scalars are Real but for those of dtypes that others add
        number = isinstance(probability, Real) or engine_of(probability) is not None
        if not is_symbolic(probability) and not (number and 0 <= float(probability) <= 1):
            raise OptionError(f"bernoulli got probability={probability!r}; accepted: from 0 to 1")
        uniform = self._draw("uniform", like)
        return cast(uniform < cast(probability, str(uniform.dtype)), str(like.dtype))

    def updates(self) -> list[tuple[Any, Any]]:
        """Return the generators of the draws so far, each with its next state, for ``function(updates=...)``.

        Returns
        -------
        list of (shared variable, expression)
            Empty outside of graph libraries.
        """
        return list(self._updates)

    def _draw(self, distribution: str, like: Any) -> Any:
        own = engine(like)
        if own is not self._engine:
            raise GraphError(f"a random stream of {self.library} cannot draw for an expression of {own.name}")
        (seed,) = self._sequence.spawn(1)
        values, updates = own.draw(distribution, like, seed)
        self._updates += updates
        return values


def random_stream(expression: Any, seed: Any = None) -> RandomStream:
    """Return a stream of random draws in the graph of an expression.

    Parameters
    ----------
    expression : expression
        Any of the graph, whose library it is of.
    seed : int or sequence of int, optional
        The same seed gives the same draws, in the same order, on the same library. None takes one from the system.
        Within a hook that a set calls, the member and the number of its draws count too: see Notes.

    Returns
    -------
    RandomStream
        ``normal(like)`` draws from the standard normal distribution and ``bernoulli(like, probability)`` 1 or 0, in the
        shape and dtype of `like`. ``updates()`` is for hosts: the generators of the draws so far, each with its next
        state, for ``function(updates=...)``. A compiled function advances them without that too.

    Raises
    ------
    OptionError
        If the seed is not accepted.
    GraphError
        If `expression` is of no known library.

    Notes
    -----
    While a set runs a hook, two things are mixed into the seed: the member's name in the set, such as ``noise[1]``, and
    the number of streams of this seed that the member has had before. So equal members of a set are independent of each
    other, and so are the draws of one member for two graphs, for two outputs of one name, and for each step of a loop
    over arrays. A set that is built, copied or unpickled begins anew, and draws the same numbers on the same network. A
    hook that is called without a set uses only its seed, and draws the same numbers every time.

    Examples
    --------
    >>> import numpy, regkit
    >>> z = numpy.zeros((2, 3), "float32")
    >>> noise = regkit.graph.random_stream(z, seed=13).normal(z)
    >>> noise.shape, noise.dtype
    ((2, 3), dtype('float32'))
    """
    return RandomStream(engine(expression), seed)
