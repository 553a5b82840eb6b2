"""Plain values: what counts as a number or a mapping, and how messages describe what is accepted."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from typing_extensions import TypeIs

INFINITY = float("inf")
LARGEST_FLOAT = sys.float_info.max

#: The divisors of a sum over an array: none, the number of elements, the number of examples.
REDUCTIONS = ("sum", "mean", "batch")


def is_plain_number(value: Any, below: float = INFINITY) -> bool:
    """Return whether a value is a Python number that is accepted as a weight; False for NumPy's numbers."""
    return (type(value) is float or type(value) is int) and 0 <= value <= LARGEST_FLOAT and value < below


def is_zero(weight: Any) -> bool:
    """Return whether a weight is the constant 0."""
    return isinstance(weight, (int, float)) and weight == 0


def is_mapping(value: Any) -> TypeIs[Mapping[Any, Any]]:
    """Return whether a value is a mapping; the abstract class is imported only if it is not a dict."""
    if isinstance(value, dict) or not hasattr(value, "keys"):
        return isinstance(value, dict)
    from collections.abc import Mapping as AnyMapping

    return isinstance(value, AnyMapping)


def as_python_number(value: Any) -> float | None:
    """Return the Python number of a number, a NumPy scalar or a 0-d NumPy array; None for anything else, also bool.

    A float of lower precision becomes the shortest number that rounds to it: 0.1 for ``float32(0.1)``.
    """
    if getattr(value, "ndim", None) == 0 and type(value).__module__.partition(".")[0] == "numpy":
        if getattr(value, "mask", False):
            return None
        if value.dtype.kind == "f" and value.dtype.itemsize < 8:
            value = float(str(value[()]))
        else:  # item() keeps integers that are longer than a double
            value = float(value) if value.dtype.kind == "f" else value.item()
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def in_range(value: Any, below: float = INFINITY) -> float | None:
    """Return the Python number of a weight that is finite, at least 0 and below a limit; None for anything else."""
    number = as_python_number(value)
    return number if number is not None and 0 <= number <= LARGEST_FLOAT and number < below else None


def accepted_value(below: float = INFINITY) -> str:
    """Describe the numbers that a weight may be."""
    return f"a finite real number of at least 0{'' if below == INFINITY else f' and below {below:g}'}"


def accepted_weight(below: float = INFINITY) -> str:
    """Describe everything that a weight may be."""
    return f"{accepted_value(below)}, a regkit.Live of one, or a scalar of a graph library"


def range_in_words(low: float, high: float) -> str:
    """Describe a range of numbers; an empty string for all numbers."""
    if low == -INFINITY and high == INFINITY:
        return ""
    return f"of at least {low:g}" if high == INFINITY else f"from {low:g} to {high:g}"
