"""The engines of theano-pymc, Aesara and PyTensor, which descend from each other."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import GraphError
from ._engine import Engine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._weights import Live

#: Up to this many terms are added plainly; more go through `_chunked`.
PLAIN = 16
CHUNK = 32


class Symbolic(Engine):
    """Expressions of a graph library, which have values when a compiled function runs."""

    rebuilds = True

    def owns(self, value: Any) -> bool:
        return hasattr(value, "owner") and hasattr(value, "type")

    def eager(self, expression: Any) -> bool:
        return False

    def described(self, expression: Any) -> str:
        return f"type {expression.type}"

    def unfit(self, expression: Any) -> str:
        kind = expression.type
        if not isinstance(kind, self.module("tensor").TensorType) or hasattr(kind, "format"):  # or sparse
            return f"type {kind}"
        return super().unfit(expression)

    def float_type(self) -> str:
        return str(sys.modules[self.name].config.floatX)

    def functions(self) -> Any:
        return self.module("tensor")

    def constant(self, value: float, dtype: str) -> Any:
        return self.module("tensor").as_tensor_variable(np.asarray(value, dtype)[()])

    def total(self, terms: Sequence[Any]) -> Any:
        terms = list(terms)
        while len(terms) > PLAIN:
            terms = [self._chunked(terms[i : i + CHUNK]) for i in range(0, len(terms), CHUNK)]
        return super().total(terms)

    def _chunked(self, terms: Sequence[Any]) -> Any:
        stacked = self.module("tensor").stack(terms)
        return stacked.dot(np.ones(len(terms), dtype=stacked.dtype))

    def held(self, expression: Any) -> Any:
        return self.module("gradient").disconnected_grad(expression)

    def gradient(self, cost: Any, wrt: Sequence[Any]) -> Sequence[Any]:
        disconnected = self.module("gradient").DisconnectedInputError
        try:
            found: Sequence[Any] = self.module("tensor").grad(cost, list(wrt))
        except disconnected:
            meant = wrt[0] if len(wrt) == 1 else list(wrt)
            raise GraphError(f"{cost!r} does not depend on {meant!r}, so it has no gradient there") from None
        return found

    def jacobian(self, vector: Any, wrt: Any) -> Any:
        self.gradient(vector.sum(), [wrt])  # raises if wrt is wrong
        # A loop copies the graph between its arguments into itself, and random draws there would be new ones, or
        # refused. As arguments, they are those of the graph.
        tensor = self.module("tensor")
        return self.scanned(
            lambda i, vector, x, *draws: tensor.grad(vector[i], x),
            sequences=tensor.arange(vector.shape[0]),
            non_sequences=[vector, wrt, *self._random_draws(vector, wrt)],
        )

    def scanned(self, step: Any, **arguments: Any) -> Any:
        """Return the results of a loop over a step."""
        return self.module("scan").scan(step, **arguments)[0]

    def _random_draws(self, expression: Any, wrt: Any) -> list[Any]:
        """Return the draws between two expressions: results of operations that take a generator, or advance one."""
        generator = self.generator_type()
        draws, seen, waiting = [], {wrt}, [expression]
        while waiting:
            variable = waiting.pop()
            owner = variable.owner
            if owner is None or variable in seen:
                continue
            seen.add(variable)
            moved_on = [v.default_update for v in owner.inputs if getattr(v, "default_update", None) is not None]
            takes_one = any(isinstance(v.type, generator) for v in owner.inputs)
            if (moved_on or takes_one) and not hasattr(owner.op, "fgraph"):
                draws += [] if variable in moved_on else [variable]
            else:
                waiting += owner.inputs
        return draws

    def generator_type(self) -> Any:
        """Return the type of generators of random numbers."""
        return self.module("tensor.random.type").RandomType

    def draw(self, distribution: str, like: Any, seed: Any) -> tuple[Any, list[tuple[Any, Any]]]:
        generator = self.shared_generator(seed)
        next_state, values = _with_size(self.drawn(distribution, self.size_of(like), generator), like)
        self.move_on(generator, next_state)
        return values, [(generator, next_state)]

    def drawn(self, distribution: str, size: Any, generator: Any) -> Any:
        """Return draws of a size, from 0 to 1 or of mean 0 and deviation 1."""
        return getattr(self.module("tensor.random.basic"), distribution)(0.0, 1.0, size=size, rng=generator)

    def move_on(self, generator: Any, next_state: Any) -> None:
        """Let every function that draws from a generator advance it."""
        generator.default_update = next_state

    def shared_generator(self, seed: Any) -> Any:
        """Return a new generator as a shared variable."""
        return self.module("compile").shared(np.random.default_rng(seed))

    def size_of(self, like: Any) -> Any:
        """Return a size for draws from the type of an expression, without its shape.

        Aesara and PyTensor infer the size when a draw is made. From the shape itself they would go through the whole
        graph below it, so the time for a network with noise at every layer would grow with the square of its depth.
        """
        if not like.ndim:
            return like.shape
        tensor = self.module("tensor")
        unknown = tensor.TensorType("int64", ())
        return tensor.stack(
            [unknown() if length is None else tensor.constant(length, dtype="int64") for length in like.type.shape]
        )

    def live(self, weight: Live, like: Any) -> Any:
        return self.shared(weight)

    def shared_scalar(self, value: float) -> Any:
        return self.module("compile").shared(np.asarray(value, dtype="float64"), name="live")

    def value_of(self, scalar: Any) -> float:
        if hasattr(scalar, "get_value"):
            value = scalar.get_value()
        elif hasattr(scalar, "data"):
            value = scalar.data
        else:
            try:
                value = scalar.eval()
            except Exception as error:  # each library has its own for an input that is missing
                raise GraphError(f"{scalar!r} is symbolic: it has no value until a function is given one") from error
        found: float = value if value.ndim else value.item()
        return found

    def module(self, name: str) -> Any:
        """Return a module of the library, such as ``tensor``."""
        return import_module(f"{self.name}.{name}")


def _with_size(draws: Any, like: Any) -> list[Any]:
    """The outputs of a draw, the next state and the values, with the real size."""
    node = draws.owner
    size = node.op.size_param(node) if hasattr(node.op, "size_param") else node.inputs[1]
    inputs = [like.shape if variable is size else variable for variable in node.inputs]
    return list(node.clone_with_new_inputs(inputs).outputs)


class Theano(Symbolic):
    """Expressions of theano-pymc, which knows only NumPy's older generators."""

    name = "theano"

    def generator_type(self) -> Any:
        return self.module("tensor.random.type").RandomStateType

    def shared_generator(self, seed: Any) -> Any:
        self.module("tensor.random.var")  # teaches `shared` about them
        return self.module("compile").shared(np.random.RandomState(np.random.MT19937(seed)))

    def size_of(self, like: Any) -> Any:
        return like.shape


class Aesara(Symbolic):
    """Expressions of Aesara."""

    name = "aesara"


class PyTensor(Symbolic):
    """Expressions of PyTensor, where updates beside results are deprecated."""

    name = "pytensor"

    def scanned(self, step: Any, **arguments: Any) -> Any:
        return self.module("scan").scan(step, return_updates=False, **arguments)

    def drawn(self, distribution: str, size: Any, generator: Any) -> Any:
        draw = getattr(self.module("tensor.random.basic"), distribution)
        # newer releases want to be told that the generator's next state is known to be there
        return draw(0.0, 1.0, size=size, rng=generator, return_next_rng=True)[1]

    def move_on(self, generator: Any, next_state: Any) -> None:
        # the setter warns: it would rather have every host pass updates, but then hosts must know of us. Silencing
        # warnings for a moment is not safe where several threads draw
        setattr(generator, "_default_update" if hasattr(generator, "_default_update") else "default_update", next_state)


ENGINES = {engine.name: engine for engine in (Theano(), Aesara(), PyTensor())}
