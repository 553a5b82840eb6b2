"""Regularizer: what plugin authors subclass; its weight, its pattern, and the way it is written down."""

from __future__ import annotations

import sys

from .arguments import changed_options, constructor_arguments
from .errors import GraphError, OptionError
from .hookspecs import Hooks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Union

    Pattern = Union[str, Sequence[str], None]

LARGEST_FLOAT = sys.float_info.max
ACCEPTED_WEIGHT = "a finite real number of at least 0, or a scalar of a graph library"


class Regularizer(Hooks):
    """Base class of regularizers.

    A regularizer adds ``weight * loss(layers, outputs)`` to the loss of a network, or changes the outputs of its
    layers. A subclass overrides any of the hooks `loss`, `modify_graph` and `log`, with their arguments or fewer.
    Further constructor arguments are stored under their own name: repr, config and copy rest on that.

    Parameters
    ----------
    pattern : str or sequence of str, optional
        Case-sensitive glob, or several, for the names of outputs or parameters. What None selects is the subclass's
        to say.
    weight : real number or scalar of a graph library, default 0
        Strength of the regularizer, dimensionless and at least 0. A symbolic or shared scalar is live: changing it
        needs no recompilation.

    Raises
    ------
    OptionError
        If the weight is no finite real number of at least 0, or the pattern no glob.
    GraphError
        If the weight is an expression that is no scalar.

    Examples
    --------
    >>> import numpy, regkit
    >>> class HiddenMax(regkit.Regularizer):
    ...     def loss(self, outputs):
    ...         (name, z), = regkit.select_outputs(outputs, self.pattern)
    ...         return abs(z).max()
    >>> HiddenMax("hid1:out", weight=0.5)
    HiddenMax(weight=0.5, pattern='hid1:out')
    >>> print(HiddenMax("hid1:out").loss({"hid1:out": numpy.array([1.0, -3.0])}))
    3.0
    """

    _declares_hooks = True

    def __init__(self, pattern: Pattern = None, weight: Any = 0.0) -> None:
        self.pattern = checked_pattern(type(self).__name__, pattern)
        self.weight = checked_weight(type(self).__name__, weight)

    def log(self) -> None:
        """Log one line at level INFO to the logger ``regkit``, such as ``regularizer: 0.1 * HiddenL1(hid3:out)``."""
        import logging

        pattern = getattr(self, "pattern", None)
        logging.getLogger("regkit").info(
            "regularizer: %s * %s(%s)",
            weight_of(self),
            type(self).__name__,
            pattern if pattern is None or isinstance(pattern, str) else ", ".join(pattern),
        )

    def checked_choice(self, argument: str, value: Any, accepted: Sequence[str]) -> str:
        """Return the value of a constructor's argument if it is one of several; otherwise raise an OptionError.

        Examples
        --------
        >>> import regkit
        >>> regkit.Regularizer().checked_choice("reduction", "max", ("sum", "mean"))
        Traceback (most recent call last):
            ...
        regkit.errors.OptionError: Regularizer got reduction='max'; accepted: 'sum', 'mean'
        """
        if not isinstance(value, str) or value not in accepted:
            choices = ", ".join(map(repr, accepted))
            raise OptionError(f"{type(self).__name__} got {argument}={value!r}; accepted: {choices}")
        return value

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in changed_options(self).items())})"


def checked_weight(owner: str, weight: Any) -> Any:
    """Return the weight as it will be used: Python numbers and expressions as they are, NumPy scalars as Python's."""
    number: float | None = weight
    if type(weight) is not float and type(weight) is not int:
        from .graph.libraries import is_symbolic  # only here: most weights are plain numbers

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


def weight_of(regularizer: object) -> Any:
    """Return the weight of any regularizer; 1 if its class has no such thing.

    Raises
    ------
    OptionError
        If its constructor takes a weight and does not store it under that name.
    """
    if hasattr(regularizer, "weight"):
        return regularizer.weight
    if "weight" in constructor_arguments(type(regularizer))[0]:
        raise OptionError(
            f"{type(regularizer).__name__} takes a weight and does not store it. Set self.weight in its constructor"
        )
    return 1
