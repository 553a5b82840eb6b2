"""TensorFlow as the conformance kit uses it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

import regkit.testing

from ._expression import Expression, bare
from ._functions import FUNCTIONS
from ._scope import Scope, current, within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    Values = Mapping[str, np.ndarray]
    Build = Callable[[dict[str, Any]], Any]

SEED = (1, 2)


class Laboratory(regkit.testing.Laboratory):
    """Tensors, eager; the default mode is a `tf.function`."""

    name = "tensorflow"
    tensor_module = FUNCTIONS

    @contextmanager
    def running(self) -> Iterator[None]:
        """Have a seed to draw from, the same for each check."""
        with within(Scope(tf.constant(SEED))):
            yield

    def inputs(self, values: Values) -> dict[str, Any]:
        """Return an expression for each of several values, by its name."""
        return {name: Expression(tf.constant(value)) for name, value in values.items()}

    def built(self, build: Build, values: Values) -> Any:
        """Return the result for inputs of values, derivatives by these included."""
        with _taped(self.inputs(values)) as (inputs, _):
            return build(inputs)

    def shared(self, value: Any) -> Any:
        """Return a scalar variable with ``set_value``."""
        variable = tf.Variable(float(value), dtype=tf.float64)
        variable.set_value = lambda number: variable.assign(float(number))
        return variable

    def compiled(
        self, build: Build, like: Values, by: Sequence[str] = (), *, default_mode: bool = False
    ) -> Callable[[Values], list[Any]]:
        """Return a function that builds anew for each of its calls, or a `tf.function` of unknown lengths."""
        names = list(like)

        def computed(*tensors: Any) -> Any:
            with _taped(dict(zip(names, map(Expression, tensors)))) as (inputs, tape):
                made = build(inputs)
                results = made if isinstance(made, list) else [made]
            found = [bare(result) for result in results]
            if by:
                gradients = tape.gradient(found[0], [inputs[name].tensor for name in by])
                found += [
                    tf.zeros_like(inputs[name].tensor) if one is None else one for name, one in zip(by, gradients)
                ]
            return found

        if default_mode:
            unknown = [tf.TensorSpec([None] * value.ndim, value.dtype) for value in like.values()]
            computed = tf.function(computed, input_signature=unknown)
        return lambda values: [np.asarray(one) for one in computed(*(tf.constant(values[name]) for name in names))]

    def values(self, inputs: Mapping[str, Any], outputs: Any, values: Values) -> Any:
        """Return the values of outputs, which are known already."""
        return [np.asarray(bare(one)) for one in outputs] if isinstance(outputs, list) else np.asarray(bare(outputs))


@contextmanager
def _taped(inputs: dict[str, Any]) -> Iterator[tuple[dict[str, Any], Any]]:
    """Record what is computed from inputs, with derivatives by each of them for hooks."""
    seed = current().seed
    with tf.GradientTape(persistent=True) as tape:
        for one in inputs.values():
            if one.tensor.dtype.is_floating:
                tape.watch(one.tensor)
        with within(Scope(tf.constant(SEED) if seed is None else seed, tape)):
            yield inputs, tape
