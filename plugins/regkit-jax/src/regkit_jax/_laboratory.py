"""JAX as regkit's conformance kit uses it, in 64 bits."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

import regkit.testing

from ._scope import Derivatives, Scope, current, within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    Values = Mapping[str, np.ndarray]

#: So often a function is called as it stands; one that is called on, as for finite differences, is jitted by then.
STEP_BY_STEP = 5


class Laboratory(regkit.testing.Laboratory):
    """JAX as checks use it: as it is, step by step, and under ``jit`` for the default mode."""

    name = "jax"
    tensor_module = jnp

    @contextmanager
    def running(self) -> Iterator[None]:
        """Compute in 64 bits, and have a key to draw from."""
        with jax.enable_x64(True), within(Scope(jax.random.key(0))):
            yield

    def inputs(self, values: Values) -> dict[str, Any]:
        """Return the values as arrays."""
        return {name: jnp.asarray(value) for name, value in values.items()}

    def built(self, build: Callable[[dict[str, Any]], Any], values: Values) -> Any:
        """Return what is made of inputs for values, derivatives by these included."""
        return _built(build, self.inputs(values), jax.random.key(0))

    def compiled(
        self,
        build: Callable[[dict[str, Any]], Any],
        like: Values,
        by: Sequence[str] = (),
        *,
        default_mode: bool = False,
    ) -> Callable[[Values], list[Any]]:
        """Return a function of named values that builds anew for its first calls, unless it is jitted."""

        def of(differentiated: dict[str, Any], others: dict[str, Any], key: Any) -> Any:
            made = _built(build, {name: {**others, **differentiated}[name] for name in like}, key)
            return made if by or isinstance(made, list) else [made]

        function = jax.value_and_grad(of) if by else of
        jitted = jax.jit(function)
        calls = count()

        def computed(values: Values) -> list[Any]:
            inputs = self.inputs(values)
            differentiated = {name: inputs.pop(name) for name in by}
            called = jitted if default_mode or next(calls) >= STEP_BY_STEP else function
            result = called(differentiated, inputs, jax.random.key(0))
            if by:
                result = [result[0], *(result[1][name] for name in by)]
            return [np.asarray(value) for value in result]

        return computed

    def values(self, inputs: Mapping[str, Any], outputs: Any, values: Values) -> Any:
        """Return the values of outputs, which are known already."""
        return [np.asarray(output) for output in outputs] if isinstance(outputs, list) else np.asarray(outputs)


def _built(build: Callable[[dict[str, Any]], Any], inputs: dict[str, Any], key: Any) -> Any:
    """What is made of inputs, with derivatives by each of them."""
    before = current()
    tracing = before is not None and before.tracing

    def again(values: list[tuple[Any, Any]], key: Any, derivatives: Any) -> None:
        replaced = {name: value for names, value in values for name in names}
        with within(Scope(key, derivatives, tracing)):
            build({**inputs, **replaced})

    def places(expression: Any) -> tuple[str, ...]:
        return tuple(name for name, value in inputs.items() if value is expression)

    with within(Scope(key, Derivatives(again, places, key), tracing)):
        return build(inputs)
