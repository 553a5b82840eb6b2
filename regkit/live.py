"""A weight that changes while a network trains."""

from __future__ import annotations

import os
from _thread import allocate_lock  # threading.Lock, without the cost of importing threading

from .validation import INFINITY, checked_value, weight_limit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .graph.engine import Engine

_lock = allocate_lock()  # one for all: none is held for long


def _renew_lock() -> None:
    global _lock
    _lock = allocate_lock()


if hasattr(os, "register_at_fork"):  # another thread may hold the lock, which would never give it back in the child
    os.register_at_fork(after_in_child=_renew_lock)


class Live:
    """A weight that can change while a network trains, on any library, made before the library is known.

    On a graph library it is one shared scalar of float64, which takes the penalty's dtype in the graph: setting it
    changes the next step of a function that was compiled before. On arrays it is the number that it is at the time.
    Copies of a regularizer, and of a set, share it; a pickled one starts a life of its own.

    Parameters
    ----------
    value : real number
        Finite and at least 0; below the limit of every regularizer that uses it, such as 1 for dropout.

    Raises
    ------
    OptionError
        If the value is not accepted.

    Examples
    --------
    >>> import numpy, regkit
    >>> weight = regkit.Live(0.5)
    >>> regs = regkit.build(hidden_l1=dict(weight=weight, pattern="hid"))
    >>> print(regs.loss([], {"hid": numpy.array([1.0, -3.0])}))
    2.0
    >>> weight.set(0.25)
    >>> print(regs.loss([], {"hid": numpy.array([1.0, -3.0])}))
    1.0
    """

    def __init__(self, value: float) -> None:
        self._value = checked_value(type(self).__name__, value)
        self._limits: dict[str, float] = {}  # by the name of the class that has one: of several by one name, the lowest
        self._variables: dict[str, Any] = {}  # by the name of the engine whose shared variable it is

    @property
    def value(self) -> float:
        """The present value."""
        return self._value

    def set(self, value: float) -> None:
        """Change the value, for the next call of every compiled function.

        Raises
        ------
        OptionError
            If a regularizer that uses it would not accept the value; then nothing has changed.
        """
        with _lock:
            number = checked_value(type(self).__name__, value)
            for user, below in self._limits.items():
                checked_value(user, value, below)
            self._value = number
            for variable in self._variables.values():
                variable.set_value(number)

    def limit(self, cls: type) -> None:
        """Remember the limit of a class that uses it.

        Raises
        ------
        OptionError
            If the present value is not within it.
        """
        below = weight_limit(cls)
        if below < self._limits.get(cls.__name__, INFINITY):
            with _lock:
                checked_value(cls.__name__, self._value, below)
                self._limits[cls.__name__] = below

    def variable(self, engine: Engine) -> Any:
        """Return the shared scalar that stands for it in graphs of a library, the same at every call."""
        with _lock:
            if engine.name not in self._variables:
                self._variables[engine.name] = engine.shared_scalar(self._value)
            return self._variables[engine.name]

    def __float__(self) -> float:
        return float(self._value)

    def __repr__(self) -> str:
        return f"Live({self._value!r})"

    def __copy__(self) -> Live:
        return self

    def __deepcopy__(self, memo: Any) -> Live:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self._value, self._limits)


def _restored(cls: type[Live], value: float, limits: dict[str, float]) -> Live:
    live = cls(value)
    live._limits.update(limits)
    return live


def is_zero(weight: Any) -> bool:
    """Tell whether a weight is 0 and stays so."""
    return isinstance(weight, (int, float)) and weight == 0
