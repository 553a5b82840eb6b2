"""What is accepted as a weight and as a pattern, the options that every regularizer has.

A plain number and a glob need none of this: see `Regularizer`.
"""

from __future__ import annotations

import sys

from .errors import GraphError, OptionError
from .graph.libraries import is_symbolic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Union

    Pattern = Union[str, Sequence[str], None]

LARGEST_FLOAT = sys.float_info.max
ACCEPTED_WEIGHT = "a finite real number of at least 0, or a scalar of a graph library"


def checked_weight(owner: str, weight: Any) -> Any:
    """Return the weight as it will be used: Python numbers and expressions as they are, NumPy scalars as Python's."""
    number: float | None = weight
    if type(weight) is not float and type(weight) is not int:
        if is_symbolic(weight):
            if str(getattr(weight, "dtype", "")).startswith(("complex", "bool")):
                raise OptionError(f"{owner} got weight={weight!r} of type {weight.type}; accepted: {ACCEPTED_WEIGHT}")
            if getattr(weight, "ndim", None) != 0:
                raise GraphError(f"{owner} got weight={weight!r} of type {weight.type}; accepted: {ACCEPTED_WEIGHT}")
            return weight
        number = _as_python_number(weight)
    if number is None or not 0 <= number <= LARGEST_FLOAT:
        raise OptionError(f"{owner} got weight={weight!r}; accepted: {ACCEPTED_WEIGHT}")
    return number


def _as_python_number(value: Any) -> float | None:
    """A Python number for what is one or a NumPy scalar or 0-d array of one; None for the rest, bool included."""
    if getattr(value, "ndim", None) == 0 and type(value).__module__.partition(".")[0] == "numpy":
        if getattr(value, "mask", False):
            return None
        value = float(value) if value.dtype.kind == "f" else value.item()  # item() keeps what is longer than a double
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def checked_pattern(owner: str, pattern: Any) -> Pattern:
    """Return the pattern, a list copied into a tuple so that nobody changes it from outside."""
    if pattern is None or isinstance(pattern, str):
        return pattern
    if isinstance(pattern, (list, tuple)) and pattern and all(isinstance(glob, str) for glob in pattern):
        return tuple(pattern)
    raise OptionError(f"{owner} got pattern={pattern!r}; accepted: None, a glob, or a list of one or more globs")
