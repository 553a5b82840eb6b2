"""The differences between the backends of Keras: how a run of regularizers is made, and the source of draws."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import keras

import regkit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager


class Jax:
    """Keras on JAX: the training step is traced, so what changes between steps has to be among its variables."""

    traced = True

    def __init__(self) -> None:
        import regkit_jax

        self._run = regkit_jax.Run

    def run(
        self,
        regs: regkit.RegularizerSet,
        layers: Sequence[regkit.Layer],
        seed: keras.random.SeedGenerator | None,
        live: Mapping[str, Any] | None,
        again: Callable[[Any], Any] | None,
    ) -> Any:
        """Return a `regkit_jax.Run`: for predictions, without a seed."""
        key = seed.next() if seed is not None and regs.changes_graph else None
        return self._run(regs, layers, key, live, again)

    def drawing(self, seed: keras.random.SeedGenerator) -> AbstractContextManager[None]:
        """Draw: a run of JAX has the key."""
        return nullcontext()

    def current(self, variable: Any, model: keras.Model, state: Sequence[Any]) -> Any:
        """Return the value of a variable of the optimizer or of a metric: in `fit`, only the state of a step has it."""
        _, _, of_optimizer, of_metrics = state
        values = zip([*model.optimizer.variables, *model.metrics_variables], [*of_optimizer, *of_metrics])
        return next(value for one, value in values if one is variable)

    def uncompiled(self, function: Any) -> Any:
        """Return a function as it is: what regularizers do is traced with the step."""
        return function

    def terms(self, run: Any, regs: regkit.RegularizerSet) -> list[Any]:
        """Return each regularizer's part of the loss."""
        return run.terms()  # type: ignore[no-any-return]

    def data(self, regs: regkit.RegularizerSet, array: Any, dtype: str) -> Any:
        """Return an input of a network."""
        return keras.ops.convert_to_tensor(array)


class Torch:
    """Keras on PyTorch: every step is computed as it is written, also the reading of live weights."""

    traced = False

    def __init__(self) -> None:
        import regkit_torch

        self._run = regkit_torch.Run

    def run(self, regs: Any, layers: Any, seed: Any, live: Any, again: Any) -> Any:
        """Return a `regkit_torch.Run`."""
        return self._run(regs, layers, train=seed is not None)

    @contextmanager
    def drawing(self, seed: keras.random.SeedGenerator) -> Iterator[None]:
        """Draw from a generator of Keras: torch's global one has its state meanwhile."""
        import torch

        numbers = [word & 0xFFFFFFFF for word in seed.next().tolist()]
        with torch.random.fork_rng():
            torch.manual_seed(numbers[0] << 32 | numbers[1])
            yield

    def current(self, variable: Any, model: keras.Model, state: Any) -> Any:
        """Return the value of a variable of the optimizer or of a metric."""
        return variable.value

    def uncompiled(self, function: Any) -> Any:
        """Return a function that ``torch.compile`` leaves as it is: it would take Python's state for constant."""
        import torch

        return torch.compiler.disable(function)

    def terms(self, run: Any, regs: regkit.RegularizerSet) -> list[Any]:
        """Return each regularizer's part of the loss; those of the last loss would have no gradients."""
        try:
            terms = run.terms()
            if regs.changes_graph:
                run.loss()  # which raises for a regularizer that was to change outputs and matched none
        except regkit.NoMatchError as error:  # its remedy is that of a run, which nobody has here
            raise regkit.NoMatchError(str(error).partition(". Show outputs to it by run.tap")[0]) from None
        return terms  # type: ignore[no-any-return]

    def data(self, regs: regkit.RegularizerSet, array: Any, dtype: str) -> Any:
        """Return an input of a network; one that gradients reach, if a regularizer differentiates by it."""
        tensor = keras.ops.convert_to_tensor(array)
        if by_inputs(regs) and tensor.is_floating_point() and not tensor.requires_grad:
            tensor = tensor.detach().requires_grad_()
        return tensor


class TensorFlow:
    """Keras on TensorFlow: the training step is a `tf.function`, which follows live weights, or runs eagerly."""

    traced = False

    def __init__(self) -> None:
        import regkit_tensorflow

        self._run = regkit_tensorflow.Run

    def run(self, regs: Any, layers: Any, seed: Any, live: Any, again: Any) -> Any:
        """Return a `regkit_tensorflow.Run`, with a tape if a regularizer differentiates by an input."""
        import tensorflow as tf

        self._tape = None
        if by_inputs(regs):
            self._tape = tf.GradientTape(persistent=True)
            self._tape.__enter__()
        number = seed.next() if seed is not None and regs.changes_graph else None
        return self._run(regs, layers, train=seed is not None, tape=self._tape, seed=number)

    def drawing(self, seed: keras.random.SeedGenerator) -> AbstractContextManager[None]:
        """Draw: a run of TensorFlow has the seed."""
        return nullcontext()

    def current(self, variable: Any, model: keras.Model, state: Any) -> Any:
        """Return the value of a variable of the optimizer or of a metric."""
        return variable.value

    def uncompiled(self, function: Any) -> Any:
        """Return a function that AutoGraph leaves as it is."""
        import tensorflow as tf

        return tf.autograph.experimental.do_not_convert(function)

    def terms(self, run: Any, regs: regkit.RegularizerSet) -> list[Any]:
        """Return each regularizer's part of the loss."""
        try:
            return run.terms()  # type: ignore[no-any-return]
        finally:
            if self._tape is not None:
                self._tape.__exit__(None, None, None)

    def data(self, regs: regkit.RegularizerSet, array: Any, dtype: str) -> Any:
        """Return an input of a network; one that the tape watches, if there is one."""
        tensor = keras.ops.convert_to_tensor(array)
        if self._tape is not None and tensor.dtype.is_floating:
            if tensor.dtype.name == "float64":  # TensorFlow has no derivative by what the network narrows
                tensor = keras.ops.cast(tensor, dtype)
            self._tape.watch(tensor)
        return tensor


def by_inputs(regs: regkit.RegularizerSet) -> bool:
    """Return whether a regularizer differentiates by an input."""
    return any(hasattr(regularizer, "wrt") for regularizer in regs)


def replicas() -> int:
    """Return on how many devices of `tf.distribute` a step runs, whose losses are added up."""
    if keras.config.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync  # type: ignore[no-any-return]


_BACKENDS = {
    "jax": (Jax, "regkit_jax"),
    "tensorflow": (TensorFlow, "regkit_tensorflow"),
    "torch": (Torch, "regkit_torch"),
}


def backend() -> Jax | TensorFlow | Torch:
    """Return the backend that Keras runs on.

    Raises
    ------
    regkit.GraphError
        If it is another one, or the distribution that has its arrays is not installed.
    """
    name = keras.config.backend()
    if name not in _BACKENDS:
        raise regkit.GraphError(
            f"Keras runs on {name}; regkit_keras works on its backends {', '.join(_BACKENDS)}. Set KERAS_BACKEND, "
            "such as KERAS_BACKEND=jax, before Keras is imported"
        )
    kind, module = _BACKENDS[name]
    try:
        return kind()  # type: ignore[return-value]  # one of the three, by name
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        distribution = module.replace("_", "-")
        raise regkit.GraphError(
            f"Keras runs on {name}, whose arrays come with the distribution {distribution}; in a checkout of regkit: "
            f"pip install ./plugins/{distribution}"
        ) from None
