"""How sets are written down: as the call that makes them, and as a config."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .constructors import all_options, plain, value_as_written
from .discovery import class_of
from .errors import GraphError, OptionError, RegkitError
from .graph.libraries import current_value

if TYPE_CHECKING:
    Member = tuple[str, Any, bool]  # of a set: label, regularizer, whether it was built from the label


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
