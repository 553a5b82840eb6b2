"""JAX's arrays and tracers as regkit uses them: the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.export import is_symbolic_dim

import regkit
from regkit.graph import Engine

from . import _internals
from ._scope import A_KEY, current

if TYPE_CHECKING:
    from collections.abc import Sequence

NO_DERIVATIVES = (
    "JAX differentiates functions, and hooks get values. Pass regkit_jax.Run(..., again=forward), where forward(run) "
    "computes the network and taps its outputs: it is computed once more for each derivative"
)


class JAX(Engine):
    """Arrays and tracers of JAX, which behave as NumPy's arrays do."""

    name = "jax"

    def owns(self, value: Any) -> bool:
        return isinstance(value, jax.Array) or is_symbolic_dim(value)

    def eager(self, expression: Any) -> bool:
        return not isinstance(expression, jax.core.Tracer)

    def unfit(self, expression: Any) -> str:
        if _internals.ended(expression):
            return "a function that JAX has transformed and that has ended, from which a tracer has leaked"
        return "random keys" if jnp.issubdtype(expression.dtype, jax.dtypes.extended) else super().unfit(expression)

    def float_type(self) -> str:
        return str(jnp.result_type(float))

    def functions(self) -> Any:
        return jnp

    def constant(self, value: float, dtype: str) -> Any:
        return jnp.asarray(value, dtype)

    def cast(self, expression: Any, dtype: str) -> Any:
        # a length is a number, or for jax.export an expression of symbols, which is no array
        return super().cast(jnp.asarray(expression) if is_symbolic_dim(expression) else expression, dtype)

    def held(self, expression: Any) -> Any:
        return jax.lax.stop_gradient(expression)

    def absolute(self, expression: Any) -> Any:
        return jnp.where(expression == 0, jnp.zeros_like(expression), abs(expression))  # JAX has a derivative of 1 at 0

    def gradient(self, cost: Any, wrt: Sequence[Any]) -> Sequence[Any]:
        return self._derivatives(jax.grad, cost, wrt)

    def jacobian(self, vector: Any, wrt: Any) -> Any:
        (result,) = self._derivatives(jax.jacrev, vector, [wrt])
        return result

    def _derivatives(self, transform: Any, expression: Any, wrt: Sequence[Any]) -> Sequence[Any]:
        scope = current()
        if scope is None or scope.derivatives is None:
            raise regkit.GraphError(NO_DERIVATIVES)
        return scope.derivatives(transform, expression, wrt)

    def draw(self, distribution: str, like: Any, seed: Any) -> tuple[Any, list[tuple[Any, Any]]]:
        scope = current()
        if scope is None or scope.key is None:
            raise regkit.GraphError(
                "JAX draws from a key, and none is here: a fixed seed would draw the same at every step. Tap the "
                f"outputs in a regkit_jax.Run(regs, key=key), where key is {A_KEY}, another for each step"
            )
        if scope.repeats:
            raise regkit.GraphError(
                "the key is a constant of the body of a loop of JAX (scan, map, fori_loop, while_loop), which would "
                "draw the same at every step. Make the Run in the body, with a key for each step: one of "
                "jax.random.split(key, steps) that is scanned, or jax.random.fold_in(key, step)"
            )
        key = scope.key
        for word in seed.generate_state(2):
            key = jax.random.fold_in(key, word)
        # numbers of 16 bits are too few for a probability
        dtype = jnp.float32 if like.dtype.itemsize < 4 else like.dtype
        return getattr(jax.random, distribution)(key, like.shape, dtype), []

    def live(self, weight: regkit.Live, like: Any) -> Any:
        scope = current()
        if _internals.tracing() if scope is None else scope.tracing:
            raise regkit.GraphError(
                f"{weight!r} is read while JAX traces, and a compiled step would keep the value that it has now. Pass "
                "regs.live() to the step as an argument, and there regkit_jax.Run(regs, live=values)"
            )
        return weight.value

    def value_of(self, scalar: Any) -> float:
        if isinstance(scalar, jax.core.Tracer):
            raise regkit.GraphError(f"{scalar!r} is traced by JAX: it has no value until the function runs")
        return float(np.asarray(scalar))

    def laboratory(self) -> Any:
        from ._laboratory import Laboratory

        return Laboratory()


ENGINE = JAX()
