"""Values of an alias: what each form stands for, and what is wrong with one that is not accepted."""

from __future__ import annotations

import regkit

from .constructors import constructor_arguments, instance, weight_of
from .discovery import check_known, class_of
from .regularizer import is_plain_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def merged(options: Mapping[str, Any], aliases: dict[str, Any]) -> dict[str, Any]:
    """Return the aliases of a mapping, then those of keywords; an alias may be in one of them only."""
    if not is_mapping(options):
        raise regkit.OptionError(f"build got {options!r}; accepted: a mapping of aliases to values, and keywords")
    values = dict(options)
    for alias in values:
        if not isinstance(alias, str):
            raise regkit.OptionError(f"build got the alias {alias!r}; accepted: names")
        if alias in aliases:
            raise regkit.OptionError(f"alias {alias!r} is in the mapping and in the keywords. Give it once")
    values.update(aliases)
    return values


def regularizers_of(alias: str, value: Any) -> list[tuple[Any, bool]]:
    """Return the regularizers that a value of an alias stands for, and whether each was built from the alias."""
    if isinstance(value, (list, tuple)):
        for item in value:
            if isinstance(item, (list, tuple)):
                raise regkit.OptionError(
                    f"alias {alias!r} got a list within a list: {item!r}; accepted: {_accepted_values(class_of(alias))}"
                )
        found = [one for item in value for one in regularizers_of(alias, item)]
        if not found:
            check_known(alias)
        return found
    if value is None:
        check_known(alias)
        return []
    # containers and plain numbers are not regularizers, and not worth a closer look
    if type(value).__module__ not in ("builtins", "numpy", "regkit.live") and not isinstance(value, type):
        from .hooks.signatures import has_hooks, implemented

        if has_hooks(type(value)):
            implemented(type(value))
            return [(value, False)]
    cls = class_of(alias)
    try:
        return [(construct(alias, cls, value), True)]
    except regkit.RegkitError as error:
        from .errors import prefixed

        raise prefixed(error, f"alias {alias!r}") from error.__cause__


def construct(alias: str, cls: type, value: Any) -> Any:
    """Return the regularizer that a number or a mapping stands for, of a class."""
    if is_plain_number(value):
        return instance(cls, {"weight": value})
    if not is_mapping(value):
        from .validation import checked_weight

        try:
            value = checked_weight(cls, value)
        except regkit.OptionError:
            raise regkit.OptionError(
                f"{cls.__name__} got weight={value!r}; accepted: {_accepted_values(cls)}"
            ) from None
        return instance(cls, {"weight": value})
    regularizer = instance(cls, dict(value))
    if "weight" not in value and "weight" in constructor_arguments(cls)[0] and _is_zero(weight_of(regularizer)):
        from .messages import warn

        warn(f"alias {alias!r}: {cls.__name__} was given no weight, so its weight is 0 and it has no effect")
    return regularizer


def _accepted_values(cls: type) -> str:
    from .validation import accepted_weight, weight_limit

    return (
        f"{accepted_weight(weight_limit(cls))}, a mapping of constructor arguments, a regularizer, a list of these, "
        "or None"
    )


def _is_zero(weight: Any) -> bool:
    return isinstance(weight, (int, float)) and weight == 0


def is_mapping(value: Any) -> bool:
    """Tell whether a value is a mapping, asking for the abstract class only where it is not a dict."""
    if isinstance(value, dict) or not hasattr(value, "keys"):
        return isinstance(value, dict)
    from collections.abc import Mapping

    return isinstance(value, Mapping)
