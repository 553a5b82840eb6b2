"""Random numbers in a graph."""

from __future__ import annotations

from contextvars import ContextVar
from itertools import count

from ..errors import GraphError, OptionError
from .arithmetic import cast
from .libraries import is_symbolic, library, module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: Ends a name in a key; the bytes of the name are below it.
END = 256


class Drawing:
    """What tells the draws of one member of a set from all others: its name there, and how often it has drawn before.

    While its hooks run within it, `random_stream` mixes both into the seed. So members that are equal in all draw
    different numbers, and so does one member for a second graph, for a second output of one name, and at every step of
    a loop over arrays. Sets that were built alike draw alike.
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
        """What is to be mixed into a seed here and now; nothing outside of hooks."""
        running = cls._running.get()
        if not running:
            return ()
        names = tuple(letter for member in running for letter in member._name)
        times = running[0]._times.setdefault((seed, names), count())  # of the outermost: an inner set may be a new one
        return (next(times), *names)


class RandomStream:
    """Random draws of the shape and dtype of expressions; `random_stream` makes it.

    Each draw has a generator of its own, spawned from the seed. A compiled function moves the generators on by itself,
    so that every call sees other numbers; a host that passes `updates` to its functions does no harm.

    Attributes
    ----------
    library : str
        The graph library of the draws, or ``"numpy"``.
    seed : int, sequence of int, or None
    """

    def __init__(self, made_by: str, seed: Any) -> None:
        import numpy as np

        self.library = made_by
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
        if not str(like.dtype).startswith("float"):
            raise GraphError(f"normal draws of dtype {like.dtype} would be cut off; draw for an expression of floats")
        return cast(self._draw("normal", (0.0, 1.0), like), str(like.dtype))

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

        if not is_symbolic(probability) and not (isinstance(probability, Real) and 0 <= float(probability) <= 1):
            raise OptionError(f"bernoulli got probability={probability!r}; accepted: from 0 to 1")
        uniform = self._draw("uniform", (0.0, 1.0), like)
        return cast(uniform < cast(probability, str(uniform.dtype)), str(like.dtype))

    def updates(self) -> list[tuple[Any, Any]]:
        """Return the generators of the draws so far, each with its next state, for ``function(updates=...)``.

        Returns
        -------
        list of (shared variable, expression)
            Empty for arrays.
        """
        return list(self._updates)

    def _draw(self, distribution: str, parameters: tuple[float, float], like: Any) -> Any:
        import numpy as np

        made_by = library(like)
        if made_by != self.library:
            raise GraphError(f"a random stream of {self.library} cannot draw for an expression of {made_by}")
        (seed,) = self._sequence.spawn(1)
        if made_by == "numpy":
            return np.asarray(getattr(np.random.default_rng(seed), distribution)(*parameters, like.shape))
        generator = self._shared_generator(seed)
        # pytensor's newer releases want to be told that the generator's next state is known to be there
        hidden = {"return_next_rng": True} if made_by == "pytensor" else {}
        draws = getattr(module(made_by, "tensor.random.basic"), distribution)(
            *parameters, size=_size_of_the_type(made_by, like), rng=generator, **hidden
        )
        next_state, values = _with_size(draws[1] if hidden else draws, like)
        # pytensor's setter warns: it would rather have every host pass updates, but then hosts must know of us.
        # Silencing warnings for a moment is not safe where several threads draw
        setattr(generator, "_default_update" if hasattr(generator, "_default_update") else "default_update", next_state)
        self._updates.append((generator, next_state))
        return values

    def _shared_generator(self, seed: Any) -> Any:
        import numpy as np

        if self.library == "theano":  # knows NumPy's older generators only
            module("theano", "tensor.random.var")  # teaches `shared` about them
            return module("theano", "compile").shared(np.random.RandomState(np.random.MT19937(seed)))
        return module(self.library, "compile").shared(np.random.default_rng(seed))


def _size_of_the_type(made_by: str, like: Any) -> Any:
    """A size for draws that says no more of an expression's shape than its type does.

    aesara and pytensor work out what they can of the size when a draw is made. Given the shape itself they go through
    the whole graph below it, which for a network with noise at every layer takes the square of its depth.
    """
    if made_by == "theano" or not like.ndim:
        return like.shape
    tensor = module(made_by, "tensor")
    unknown = tensor.TensorType("int64", ())
    return tensor.stack(
        [unknown() if length is None else tensor.constant(length, dtype="int64") for length in like.type.shape]
    )


def _with_size(draws: Any, like: Any) -> list[Any]:
    """The outputs of a draw, the next state and the values, with the size that it is really to have."""
    node = draws.owner
    size = node.op.size_param(node) if hasattr(node.op, "size_param") else node.inputs[1]
    inputs = [like.shape if variable is size else variable for variable in node.inputs]
    return list(node.clone_with_new_inputs(inputs).outputs)


def random_stream(expression: Any, seed: Any = None) -> RandomStream:
    """Return a stream of random draws in the graph of an expression.

    Parameters
    ----------
    expression : expression
        Any of the graph: it tells the library.
    seed : int or sequence of int, optional
        The same seed gives the same draws, in the same order, on the same library. None takes one from the system.
        Within a hook that a set calls, it is the seed of that member of the set and of this time: see Notes.

    Returns
    -------
    RandomStream

    Raises
    ------
    OptionError
        If the seed is not accepted.
    GraphError
        If `expression` is of no known library.

    Notes
    -----
    While a set runs a hook, two things are mixed into the seed: the member's name in the set, such as ``noise[1]``, and
    how many streams of this seed the member has had before. So equal members of a set are independent of each other,
    and so are the draws of one member for two graphs, for two outputs of one name, and for each step of a loop over
    arrays. A set that is built, copied or unpickled begins anew: on the same network it draws the same. A hook that is
    called without a set has its seed alone, and draws the same every time.

    Examples
    --------
    >>> import numpy, regkit
    >>> z = numpy.zeros((2, 3), "float32")
    >>> noise = regkit.graph.random_stream(z, seed=13).normal(z)
    >>> noise.shape, noise.dtype
    ((2, 3), dtype('float32'))
    """
    return RandomStream(library(expression), seed)
