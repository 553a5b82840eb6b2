"""What is accepted as a weight, and how a number is told from what is not one.

A plain number needs none of this: see `regkit.Regularizer`.
"""

from __future__ import annotations

from .errors import GraphError, OptionError
from .regularizer import LARGEST_FLOAT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

INFINITY = float("inf")


def accepted_weight(below: float = INFINITY) -> str:
    """Return in words what a weight may be."""
    return f"{accepted_value(below)}, a regkit.Live of one, or a scalar of a graph library"


def accepted_value(below: float = INFINITY) -> str:
    """Return in words what a live weight may be set to."""
    return f"a finite real number of at least 0{'' if below == INFINITY else f' and below {below:g}'}"


def range_in_words(low: float, high: float) -> str:
    """Return in words from where to where a number may be."""
    if high == INFINITY:
        return f"of at least {low:g}"
    return f"from {low:g} to {high:g}"


def weight_limit(cls: type) -> float:
    """Return what the weight of a class's instances has to be below."""
    return float(getattr(cls, "weight_below", INFINITY))


def checked_weight(cls: type, weight: Any) -> Any:
    """Return the weight as it will be used: Python numbers and expressions as they are, NumPy scalars as Python's.

    A `Live` learns the limit of the class.
    """
    from .live import Live

    below = weight_limit(cls)
    if isinstance(weight, Live):
        weight.limit(cls)
        return weight
    from .graph.libraries import engine, is_symbolic

    if is_symbolic(weight):
        own = engine(weight)
        expression = own.wrap(weight)
        refused = f"{cls.__name__} got weight={weight!r} of {own.described(weight)}; accepted: {accepted_weight(below)}"
        if str(getattr(expression, "dtype", "")).startswith(("complex", "bool")):
            raise OptionError(refused)
        if getattr(expression, "ndim", None) != 0:
            raise GraphError(refused)
        if own.eager(expression):  # its value is known, and is held to what a number is
            _in_range(cls.__name__, own.value_of(expression), below, accepted_weight(below))
        return weight
    return checked_constant(cls.__name__, weight, below)


def checked_constant(owner: str, weight: Any, below: float = INFINITY) -> float:
    """Return a weight that does not change as a Python number."""
    return _in_range(owner, weight, below, accepted_weight(below))


def checked_value(owner: str, value: Any, below: float = INFINITY) -> float:
    """Return what a live weight is set to as a Python number."""
    return _in_range(owner, value, below, accepted_value(below))


def _in_range(owner: str, weight: Any, below: float, accepted: str) -> float:
    number = as_python_number(weight)
    if number is None or not 0 <= number <= LARGEST_FLOAT or not number < below:
        raise OptionError(f"{owner} got weight={weight!r}; accepted: {accepted}")
    return number


def as_python_number(value: Any) -> float | None:
    """Return a Python number for one, or a NumPy scalar or 0-d array of one; None for the rest, bool included.

    A float of fewer digits than Python's becomes the shortest number that it stands for: 0.1 for ``float32(0.1)``.
    """
    if getattr(value, "ndim", None) == 0 and type(value).__module__.partition(".")[0] == "numpy":
        if getattr(value, "mask", False):
            return None
        if value.dtype.kind == "f" and value.dtype.itemsize < 8:
            value = float(str(value[()]))
        else:  # item() keeps integers that are longer than a double
            value = float(value) if value.dtype.kind == "f" else value.item()
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
