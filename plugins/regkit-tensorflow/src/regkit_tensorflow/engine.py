"""TensorFlow's tensors as regkit uses them: the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

import regkit
from regkit.graph import Engine

from ._expression import Expression
from ._functions import FUNCTIONS
from ._scope import current, is_open

if TYPE_CHECKING:
    from collections.abc import Sequence

NO_TAPE = (
    "TensorFlow differentiates what a tape has recorded, and none is here. Compute the network within "
    "`with tf.GradientTape(persistent=True) as tape:`, which watches the inputs, and pass "
    "regkit_tensorflow.Run(regs, tape=tape)"
)


class TensorFlow(Engine):
    """Tensors and variables, which hooks see as expressions with NumPy's operators and methods."""

    name = "tensorflow"
    wraps = True

    def owns(self, value: Any) -> bool:
        return isinstance(value, (tf.Tensor, tf.Variable, Expression))

    def wrap(self, array: Any) -> Any:
        return array if isinstance(array, Expression) else Expression(array)

    def unwrap(self, expression: Any) -> Any:
        return expression.tensor if isinstance(expression, Expression) else expression

    def eager(self, expression: Any) -> bool:
        tensor = self.unwrap(expression)
        return (isinstance(tensor, tf.Variable) and tf.executing_eagerly()) or hasattr(tensor, "numpy")

    def described(self, expression: Any) -> str:
        return f"shape {self.unwrap(expression).shape}"

    def unfit(self, expression: Any) -> str:
        tensor = self.unwrap(expression)
        if tensor.shape.rank is None:
            return "an unknown number of axes"
        graph = getattr(tensor, "graph", None) if not tf.is_symbolic_tensor(tensor) else tensor.graph
        if tf.is_symbolic_tensor(tensor) and not is_open(graph):
            return (
                "a tf.function that has ended, from which a tensor has leaked: make the run, or open the watch, within "
                "the function"
            )
        if not (tensor.dtype.is_floating or tensor.dtype.is_integer or tensor.dtype.is_bool):
            return "complex numbers" if tensor.dtype.is_complex else tensor.dtype.name
        return ""

    def float_type(self) -> str:
        return "float32"

    def functions(self) -> Any:
        return FUNCTIONS

    def constant(self, value: float, dtype: str) -> Any:
        return Expression(tf.constant(value, dtype))

    def cast(self, expression: Any, dtype: str) -> Any:
        expression = self.wrap(expression)
        return expression if expression.dtype == dtype else expression.astype(dtype)

    def held(self, expression: Any) -> Any:
        return Expression(tf.stop_gradient(self.unwrap(expression)))

    def gradient(self, cost: Any, wrt: Sequence[Any]) -> Sequence[Any]:
        tensors = [self.unwrap(one) for one in wrt]
        found = self._tape().gradient(self.unwrap(cost), tensors)
        if any(gradient is None for gradient in found):
            raise regkit.GraphError(
                "the cost does not depend on an expression that it is differentiated by, or the tape does not watch "
                "it. Call tape.watch(inputs) before the network is computed"
            )
        return [Expression(gradient) for gradient in found]

    def jacobian(self, vector: Any, wrt: Any) -> Any:
        found = self._tape().jacobian(self.unwrap(vector), self.unwrap(wrt), experimental_use_pfor=False)
        if found is None:
            raise regkit.GraphError(
                "the vector does not depend on the expression that it is differentiated by, or the tape does not watch "
                "it: call tape.watch(inputs) before the network is computed"
            )
        return Expression(found)

    def _tape(self) -> Any:
        tape = current().tape
        if tape is None:
            raise regkit.GraphError(NO_TAPE)
        return tape

    def draw(self, distribution: str, like: Any, seed: Any) -> tuple[Any, list[tuple[Any, Any]]]:
        words = [int(word) & 0x7FFFFFFF for word in seed.generate_state(2)]
        base = current().seed
        if base is None and not tf.executing_eagerly():
            raise regkit.GraphError(
                "draws in a tf.function would be the same at every call. Tap the outputs in a regkit_tensorflow.Run, "
                "which takes a new seed at each"
            )
        wanted = tf.constant(words, tf.int32)
        if base is not None:
            wanted = tf.bitwise.bitwise_xor(wanted, tf.cast(base, tf.int32))
        tensor = self.unwrap(like)
        dtype = tensor.dtype if tensor.dtype in (tf.float32, tf.float64) else tf.float32
        shape = tf.shape(tensor)
        function = tf.random.stateless_normal if distribution == "normal" else tf.random.stateless_uniform
        values = function(shape, wanted, dtype=dtype)
        return Expression(tf.ensure_shape(values, tensor.shape)), []

    def live(self, weight: regkit.Live, like: Any) -> Any:
        return weight.value if tf.executing_eagerly() else Expression(self.shared(weight).variable.read_value())

    def shared_scalar(self, value: float) -> Any:
        with tf.init_scope():
            return Shared(value)

    def value_of(self, scalar: Any) -> float:
        tensor = self.unwrap(scalar)
        if not hasattr(tensor, "numpy") or not tf.executing_eagerly():
            raise regkit.GraphError(f"{tensor!r} is traced by a tf.function: it has no value until the function runs")
        return float(tensor.numpy())

    def laboratory(self) -> Any:
        from ._laboratory import Laboratory

        return Laboratory()


class Shared:
    """A scalar variable that functions which were traced before follow."""

    def __init__(self, value: float) -> None:
        self.variable = tf.Variable(value, dtype=tf.float64, trainable=False)

    def set_value(self, value: Any) -> None:
        """Set it for the next call of every function."""
        self.variable.assign(np.float64(value))


#: AutoGraph leaves errors as they are that have this: it would raise a StagingError in their place.
regkit.RegkitError.ag_pass_through = True  # type: ignore[attr-defined]

ENGINE = TensorFlow()
Expression.regkit_engine = ENGINE
