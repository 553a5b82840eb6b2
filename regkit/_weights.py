"""Weights: what is accepted as one, and `Live`, which changes while a network trains."""

from __future__ import annotations

from . import _engines
from ._values import INFINITY, accepted_value, accepted_weight, as_python_number, in_range
from .errors import GraphError, OptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ._engines import Engine


class Live:
    """A weight that can change while a network trains, on any library.

    In graphs it is a shared scalar of float64, cast to the penalty's dtype, so `set` changes the next call of a
    function that is compiled already. With NumPy arrays, the current value is used. Copies of a regularizer and of a
    set share it; an unpickled one is independent. The weights of `regkit.schedules` move by themselves.

    Hooks read it by ``regkit.graph.weight(self, like)``. It does not become a number by itself (``float(live)``
    raises): a number would stay in the graph for good.

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

    _needs_metrics = False

    def __init__(self, value: float) -> None:
        self._value = _checked_value(type(self).__name__, value)
        self._limits: dict[str, float] = {}  # by the names of classes with a limit
        self._variables: dict[str, Any] = {}  # shared scalars, by the names of their engines

    @property
    def value(self) -> float:
        """The current value."""
        return self._value

    def set(self, value: float) -> None:
        """Change the value, for the next call of every compiled function.

        Raises
        ------
        OptionError
            If a regularizer that uses it does not accept the value; the old value is kept.
        """
        number = _checked_value(type(self).__name__, value)
        for user, below in self._limits.items():
            _checked_value(user, value, below)
        self._put(number)

    def _put(self, number: float) -> None:
        """Set a number that has been checked."""
        self._value = number
        for variable in list(self._variables.values()):
            variable.set_value(number)

    # Overridden by schedules

    def _at(self, step: Any) -> Any:
        """Return the value at a step."""
        return self._value

    def _follow(self, member: str, step: int | None, metrics: Mapping[str, Any] | None) -> None:
        """Go to a step, or to the next; `member` is the name of the member whose weight it is."""

    def _config(self) -> Any:
        """Return its form in a config."""
        return self._value

    def _as_written(self) -> str:
        """Return its form in the log and in a table."""
        return f"{self._value} (live)"

    def _limit(self, cls: type) -> None:
        """Keep the limit of a class that uses it; OptionError if the current value is not below."""
        below = weight_limit(cls)
        if below < self._limits.get(cls.__name__, INFINITY):
            _checked_value(cls.__name__, self._value, below)
            self._limits[cls.__name__] = below

    def _variable(self, engine: Engine) -> Any:
        """Return its shared scalar in graphs of a library, the same at every call."""
        if engine.name not in self._variables:
            variable = self._variables.setdefault(engine.name, engine.shared_scalar(self.value))
            variable.set_value(self.value)  # which another thread may have set meanwhile
        return self._variables[engine.name]

    def __float__(self) -> float:
        raise GraphError(
            f"{self!r} is not a number, which a graph would keep for good. In a hook: regkit.graph.weight(self, like); "
            "the current value is live.value"
        )

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


def _checked_value(owner: str, value: Any, below: float = INFINITY) -> float:
    number = in_range(value, below)
    if number is None:
        raise OptionError(f"{owner} got weight={value!r}; accepted: {accepted_value(below)}")
    return number


def weight_limit(cls: type) -> float:
    """Return the limit below which the weights of a class have to be."""
    return float(getattr(cls, "weight_below", INFINITY))


def checked_weight(cls: type, weight: Any) -> Any:
    """Return a weight as it is stored: NumPy scalars as Python's, numbers, a `Live` and expressions unchanged.

    A `Live` keeps the limit of the class.

    Raises
    ------
    OptionError
        If it is not a number in range.
    GraphError
        If it is an expression that is not a scalar.
    """
    below = weight_limit(cls)
    if isinstance(weight, Live):
        weight._limit(cls)
        return weight
    refused = f"{cls.__name__} got weight={weight!r}; accepted: {accepted_weight(below)}"
    number = in_range(weight, below)
    if number is not None:
        return number
    if as_python_number(weight) is not None or not _engines.is_symbolic(weight):
        raise OptionError(refused)
    engine = _engines.engine(weight)
    expression = engine.wrap(weight)
    refused = f"{cls.__name__} got weight={weight!r} of {engine.described(weight)}; accepted: {accepted_weight(below)}"
    if str(getattr(expression, "dtype", "")).startswith(("complex", "bool")):
        raise OptionError(refused)
    if getattr(expression, "ndim", None) != 0:
        raise GraphError(refused)
    if engine.eager(expression):
        value = engine.value_of(expression)
        if in_range(value, below) is None:
            raise OptionError(f"{cls.__name__} got weight={value!r}; accepted: {accepted_weight(below)}")
    return weight


def current_value(weight: Any) -> Any:
    """Return the present number of a weight: of a `Live`, of a shared variable, or the number itself.

    Raises
    ------
    GraphError
        If it is symbolic and has no value.
    """
    if isinstance(weight, Live):
        return weight.value
    return _engines.current_value(weight)
