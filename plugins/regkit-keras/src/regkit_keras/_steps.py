"""What regularizers do after an optimizer's update, within the training step."""

from __future__ import annotations

from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

import keras

import regkit
from regkit import hosts

from ._layers import TESTED, own_attribute

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

#: Of an optimizer: the update of the variables, which is not called where a gradient is only accumulated.
UPDATE = "_backend_update_step"

#: Of Adam: the place of a variable among the mean squares of gradients.
PLACE = "_get_variable_index"


def updating(optimizer: Any) -> Any:
    """Return the optimizer that updates the variables, within those that scale the loss."""
    while isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer = optimizer.inner_optimizer
    return optimizer


def check_optimizer(optimizer: Any, members: Iterable[hosts.Member]) -> None:
    """Raise for an optimizer under which a step of regularizers is not known.

    Raises
    ------
    regkit.OptionError
        For a proximal step under another optimizer than SGD, Adam and AdamW, or under SGD with a momentum of 1.
    regkit.PluginLoadError
        If this version of Keras lacks a part of an optimizer that is used.
    """
    optimizer = updating(optimizer)
    is_sgd, is_adam = isinstance(optimizer, keras.optimizers.SGD), isinstance(optimizer, keras.optimizers.Adam)
    for member in members:
        if member.is_proximal and not is_sgd and not is_adam:
            raise regkit.OptionError(
                f"{member.name}: a proximal step depends on how the optimizer scales a gradient, which is known of "
                f"SGD, Adam and AdamW, and not of {type(optimizer).__name__}. Compile with one of these"
            )
    if is_sgd and optimizer.momentum >= 1:
        raise regkit.OptionError(f"the optimizer has momentum={optimizer.momentum}; accepted: below 1")
    parts = (UPDATE, PLACE) if is_adam else (UPDATE,)
    missing = [f"keras.optimizers.Optimizer.{name}" for name in parts if not hasattr(optimizer, name)]
    if missing:
        raise regkit.PluginLoadError(
            f"regkit_keras does not work with Keras {keras.__version__}: {', '.join(missing)} is not there. It was "
            f"tested with Keras {TESTED}. Install one of them, or a later regkit-keras"
        )


@contextmanager
def after_updates(optimizer: Any, change: Callable[[Any, list[Any], Any], None]) -> Iterator[None]:
    """Call a function after each update of an optimizer, with the optimizer, the variables and the learning rate."""
    optimizer = updating(optimizer)
    update = getattr(optimizer, UPDATE)

    @wraps(update)
    def update_and_change(grads: Any, variables: Any, learning_rate: Any) -> None:
        variables = list(variables)
        update(grads, variables, learning_rate)
        change(optimizer, variables, learning_rate)

    with own_attribute(optimizer, UPDATE, update_and_change):
        yield


def change_weights(
    regs: regkit.RegularizerSet, weights: Mapping[str, Any], optimizer: Any, updated: list[Any], learning_rate: Any
) -> None:
    r"""Assign to weights what the regularizers make of them after an update.

    Under SGD with momentum :math:`\mu` the step size is :math:`\eta / (1 - \mu)`, since that is how far a constant
    gradient moves a weight. Adam divides each gradient by :math:`(\sqrt v + \epsilon) / \sqrt{1 - \beta_2^t}`.

    Parameters
    ----------
    regs : regkit.RegularizerSet
    weights : mapping of str to keras.Variable
        All that are trained; those that were not updated count, and stay.
    optimizer : keras.optimizers.Optimizer
    updated : list of keras.Variable
    learning_rate : number, tensor or variable
    """
    ids = {id(variable) for variable in updated}
    names = [name for name, variable in weights.items() if id(variable) in ids]
    rate = _tensor(learning_rate) if isinstance(learning_rate, keras.Variable) else learning_rate
    if isinstance(optimizer, keras.optimizers.SGD):
        rate = rate / (1 - optimizer.momentum)
    divisors = {name: _divisor(optimizer, weights[name]) for name in names}
    divisors = {name: divisor for name, divisor in divisors.items() if divisor is not None}
    values = {name: _tensor(variable) for name, variable in weights.items()}
    changed = regs.after_step(values, dict.fromkeys(names, rate), divisors=divisors)
    for name in names:
        if changed[name] is not values[name]:
            weights[name].assign(changed[name])


def _divisor(optimizer: Any, variable: Any) -> Any:
    """Return by what Adam divides the corrected mean gradient of a variable; None of other optimizers."""
    if not isinstance(optimizer, keras.optimizers.Adam):
        return None
    squares = optimizer._velocity_hats if optimizer.amsgrad else optimizer._velocities
    square = _tensor(squares[optimizer._get_variable_index(variable)])
    step = keras.ops.cast(optimizer.iterations + 1, square.dtype)
    unbiased = keras.ops.sqrt(1 - keras.ops.power(keras.ops.cast(optimizer.beta_2, square.dtype), step))
    return (keras.ops.sqrt(square) + optimizer.epsilon) / unbiased


def _tensor(variable: Any) -> Any:
    """Return the present value of a variable; TensorFlow has a variable within that of Keras."""
    value = variable.value
    return value.read_value() if hasattr(value, "read_value") else value
