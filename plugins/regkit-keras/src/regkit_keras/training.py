"""A computation of a model in training: what regularizers see, change and add, and the values of live weights."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import keras

import regkit

from .layers import describe, find_paths, has_order, input_names
from .patterns import check_patterns, reads
from .watching import is_float, watched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .backends import Jax, Torch


class Training:
    """A set of regularizers beside the steps that train a model.

    Attributes
    ----------
    regularizers : regkit.RegularizerSet
    live : dict of str to keras.Variable
        Where a step is traced, the variables by which it takes the live weights.
    now : bool
        Whether the step that ran last was one of training.
    """

    def __init__(self, backend: Jax | Torch, regularizers: regkit.RegularizerSet) -> None:
        self.regularizers = regularizers
        self.now = False
        self._backend = backend
        self._shares: dict[str, Any] = {}
        self._in_step = False
        lives = regularizers.live() if backend.traced else {}
        self.live = {
            name: keras.Variable(value, trainable=False, dtype=keras.config.floatx(), name="live")
            for name, value in lives.items()
        }

    def forward(self, model: Any, inputs: Any, seed: keras.random.SeedGenerator) -> tuple[Any, list[Any]]:
        """Compute a model as the regularizers change it; return what it gives, and their terms."""
        return self._backend.uncompiled(self._forward)(model, inputs, seed)  # type: ignore[no-any-return]

    def _forward(self, model: Any, inputs: Any, seed: keras.random.SeedGenerator) -> tuple[Any, list[Any]]:
        regs, backend = self.regularizers, self._backend
        names = input_names(model, inputs)
        layers = describe(model, names)
        main = [layer.output_name for layer in layers]
        weights = [name for layer in layers for name in layer.param_names]
        with plain_errors():
            check_patterns(regs, has_order(model), [*names, *find_paths(model)], weights)
        state = [(variable, variable.value) for variable in model.variables]
        others: list[str] = []

        def compute(run: Any) -> Any:
            def show(name: str, value: Any) -> Any:
                if not reads(regs, name, main):
                    return value
                if not is_float(value):  # such as tokens, which have no gradient, or None
                    others.append(name)
                    return value
                with plain_errors(), backend.drawing(seed):
                    return run.tap(name, value)

            data = [backend.data(regs, one) for one in keras.tree.flatten(inputs)]
            data = [show(name, one) for name, one in zip(names, data)]
            with watched(model, show):
                return model(keras.tree.pack_sequence_as(inputs, data), training=True)

        def again(run: Any) -> None:
            with keras.StatelessScope(state):  # from the same draws, and nothing is left of it
                compute(run)

        with plain_errors():
            run = backend.run(regs, layers, seed, self._live_values(), again)
        outputs = compute(run)
        with plain_errors(others):
            terms = backend.terms(run)
        self._shares = {term.name: term.weighted for term in terms}
        return outputs, terms

    def take_shares(self, training: bool) -> dict[str, Any]:
        """Return by name what regularizers added in this step, and note whether it is one of training."""
        self.now = training
        shares, self._shares = self._shares, {}
        return shares if training else {}

    # Live weights

    def stepping(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that runs a step with the live weights as they are when it is called."""
        if not self.live:
            return step

        def with_live(state: Any, iterator: Any) -> Any:
            trainable, fixed, *others = state
            values = self.regularizers.live()
            now = [keras.ops.convert_to_tensor(values[name], variable.dtype) for name, variable in self.live.items()]
            self._in_step = True
            try:
                return step((trainable, [*fixed[: -len(now)], *now], *others), iterator)
            finally:
                self._in_step = False

        return with_live

    def _live_values(self) -> dict[str, Any] | None:
        """The values that a traced step has for live weights; outside of steps, they are read as they are."""
        return {name: variable.value for name, variable in self.live.items()} if self._in_step and self.live else None


@contextmanager
def plain_errors(others: Sequence[str] = ()) -> Iterator[None]:
    """Let errors of regularizers stay as they are: Keras would add the arguments of the layer, which are arrays.

    `others` are outputs that are not of floats, to be named where a pattern matches nothing.
    """
    try:
        yield
    except regkit.RegkitError as error:
        if others and isinstance(error, regkit.NoMatchError):
            error = regkit.NoMatchError(f"{error}. Outputs that are not arrays of floats: {', '.join(others)}")
        error._keras_call_info_injected = True  # type: ignore[attr-defined]
        raise error from None
