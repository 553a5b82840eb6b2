"""How regularizers and sets of them are written down: as the call that makes them, and as a config."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .discovery import class_of
from .errors import GraphError, OptionError, RegkitError
from .graph.libraries import current_value
from .signatures import constructor_arguments, constructors

if TYPE_CHECKING:
    from .regularizers import Member


def all_options(regularizer: object) -> dict[str, Any]:
    """Return every constructor argument of an instance, the weight first, as it is stored."""
    for function in constructors(type(regularizer)):
        flags = function.__code__.co_flags
        if flags & 0x08:  # **kwargs: it hands on what it was given
            continue
        if flags & 0x04:
            raise OptionError(f"the constructor of {type(regularizer).__name__} takes *args, which have no names")
        break
    names = sorted(constructor_arguments(type(regularizer))[0], key=lambda name: name != "weight")
    missing = [name for name in names if not hasattr(regularizer, name)]
    if missing:
        raise OptionError(
            f"{type(regularizer).__name__} does not store its argument {missing[0]!r} under that name, "
            f"so it cannot be written down. Set self.{missing[0]} in its constructor"
        )
    return {name: getattr(regularizer, name) for name in names}


def changed_options(regularizer: object) -> dict[str, Any]:
    """Return the constructor arguments of an instance that differ from their defaults, the weight first."""
    defaults, _ = constructor_arguments(type(regularizer))
    names = sorted((name for name in defaults if hasattr(regularizer, name)), key=lambda name: name != "weight")
    options = {name: getattr(regularizer, name) for name in names}
    return {name: value for name, value in options.items() if not _same(value, defaults[name])}


def _same(value: Any, default: Any) -> bool:
    """Equality that an array, or an expression that overloads ``==``, cannot upset."""
    plain = isinstance(value, (int, float, str)) and type(value) is type(default)
    return value is default or (plain and bool(value == default))


def value_as_written(regularizer: Any) -> str:
    """Return the value that an alias was given for a regularizer, as the user would write it."""
    options = changed_options(regularizer)
    if hasattr(regularizer, "weight") and not (options.keys() - {"weight"}):
        return repr(regularizer.weight)
    return f"dict({', '.join(f'{name}={value!r}' for name, value in options.items())})"


def call_of(members: Iterable[Member]) -> str:
    """Return the call of `build` that makes a set."""
    values: dict[str, list[str]] = {}
    for label, regularizer, built in members:
        values.setdefault(label, []).append(value_as_written(regularizer) if built else repr(regularizer))
    lines = {label: row[0] if len(row) == 1 else f"[{', '.join(row)}]" for label, row in values.items()}
    if all(label.isidentifier() for label in lines):
        return f"build({', '.join(f'{label}={value}' for label, value in lines.items())})"
    return f"build({{{', '.join(f'{label!r}: {value}' for label, value in lines.items())}}})"


def config_of(members: Iterable[Member]) -> dict[str, Any]:
    """Return all constructor arguments of a set's members by their labels, as JSON has them.

    Raises
    ------
    OptionError
        If a label is no alias of its class, or an argument cannot be written down.
    """
    written: dict[str, list[Any]] = {}
    for label, regularizer, _ in members:
        if _class_or_none(label) is not type(regularizer):
            raise OptionError(
                f"{label!r} is no alias of {type(regularizer).__name__}, so build could not make it from a config. "
                "Give it under its alias, or register the class under this one"
            )
        options = {}
        for argument, value in all_options(regularizer).items():
            try:
                options[argument] = plain(current_value(value))
            except (TypeError, GraphError) as error:
                raise OptionError(f"{label}: {argument}={value!r} cannot be written down: {error}") from None
        written.setdefault(label, []).append(options)
    return {label: options[0] if len(options) == 1 else options for label, options in written.items()}


def _class_or_none(label: str) -> type | None:
    try:
        return class_of(label)
    except RegkitError:
        return None


def plain(value: Any) -> Any:
    """Return a value as JSON has it; TypeError if there is no form for it."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"JSON has no form for {type(value).__name__}")
