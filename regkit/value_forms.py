"""Values of an alias: what each form stands for, and what is wrong with one that is not accepted.

A plain number needs none of this: see :mod:`regkit.regularizers`.
"""

from __future__ import annotations

from .constructors import REQUIRED, constructor_arguments, is_mapping, weight_of
from .discovery import class_of
from .errors import OptionError, RegkitError
from .graph.libraries import is_symbolic
from .hooks.signatures import has_hooks, implemented
from .messages import nearest, warn
from .validation import ACCEPTED_WEIGHT, checked_weight

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def merged(options: Mapping[str, Any], aliases: dict[str, Any]) -> dict[str, Any]:
    """Return the aliases of a mapping, then those of keywords; an alias may be in one of them only."""
    if not is_mapping(options):
        raise OptionError(f"build got {options!r}; accepted: a mapping of aliases to values, and keywords")
    values = dict(options)
    for alias in values:
        if not isinstance(alias, str):
            raise OptionError(f"build got the alias {alias!r}; accepted: names")
        if alias in aliases:
            raise OptionError(f"alias {alias!r} is in the mapping and in the keywords. Give it once")
    values.update(aliases)
    return values


def built(alias: str, value: Any) -> list[tuple[Any, bool]]:
    """Return the regularizers that a value of an alias stands for, and whether each was built from the alias."""
    if isinstance(value, (list, tuple)):
        for item in value:
            if isinstance(item, (list, tuple)):
                raise OptionError(f"alias {alias!r} got a list within a list: {item!r}; accepted: {_accepted_values()}")
        return [one for item in value for one in built(alias, item)]
    if value is None:
        return []
    if _may_be_a_regularizer(value) and has_hooks(type(value)):
        implemented(type(value))
        return [(value, False)]
    cls = class_of(alias)
    try:
        return [(construct(alias, cls, value), True)]
    except RegkitError as error:
        if type(error).__module__ == RegkitError.__module__:  # ours: made from one message, and so made again
            again = type(error)(f"alias {alias!r}: {error}").with_traceback(error.__traceback__)
            raise again from error.__cause__
        raise


def _may_be_a_regularizer(value: Any) -> bool:
    """Whether a closer look is worth its time: numbers and expressions are no regularizers."""
    return not (type(value).__module__ in ("builtins", "numpy") or isinstance(value, type) or is_symbolic(value))


def construct(alias: str, cls: type, value: Any) -> Any:
    """Return the regularizer that a number or a mapping stands for, of a class."""
    arguments, takes_others = constructor_arguments(cls)
    given_options = is_mapping(value)
    options = dict(value) if given_options else {"weight": value}
    _check_names(cls, options, arguments, takes_others)
    if "weight" in options:
        try:
            options["weight"] = checked_weight(cls.__name__, options["weight"])
        except OptionError:
            accepted = ACCEPTED_WEIGHT if given_options else _accepted_values()
            raise OptionError(f"{cls.__name__} got weight={options['weight']!r}; accepted: {accepted}") from None
    try:
        regularizer = cls(**options)
    except RegkitError:
        raise
    except Exception as error:  # whatever a plugin's constructor says no with
        written = ", ".join(f"{name}={given!r}" for name, given in options.items())
        raise OptionError(f"{cls.__name__}({written}) is refused: {error}") from error
    weight_of(regularizer)  # it is an error not to store it
    if given_options and "weight" in arguments and "weight" not in options and _is_zero(weight_of(regularizer)):
        warn(f"alias {alias!r}: {cls.__name__} was given no weight, so its weight is 0 and it has no effect")
    return regularizer


def _check_names(cls: type, options: dict[str, Any], arguments: dict[str, Any], takes_others: bool) -> None:
    """Raise if an option is no argument of the constructor, or it needs one that is missing."""
    for name in options:
        if name not in arguments and not (takes_others and isinstance(name, str)):
            suggestion = nearest(name, arguments, cutoff=0.6)
            raise OptionError(
                f"{cls.__name__} got {name}={options[name]!r}, which is no argument of it."
                f"{f' Did you mean {suggestion!r}?' if suggestion else ''}"
                f" Accepted: {', '.join(arguments) or 'no arguments'}"
            )
    for name, default in arguments.items():
        if default is REQUIRED and name not in options:
            raise OptionError(f"{cls.__name__} needs the argument {name!r}. Accepted: {', '.join(arguments)}")


def _accepted_values() -> str:
    return f"{ACCEPTED_WEIGHT}, a mapping of constructor arguments, a regularizer, a list of these, or None"


def _is_zero(weight: Any) -> bool:
    return isinstance(weight, (int, float)) and weight == 0
