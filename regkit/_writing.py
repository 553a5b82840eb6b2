"""How a set is written: as a call, a config, a table."""

from __future__ import annotations

from ._constructor import all_options, constructor_arguments, plain, selection_of, value_as_written, weight_as_written
from ._discovery import claims_of, class_of
from ._messages import escaped, first_sentence
from ._weights import Live, current_value
from .errors import GraphError, OptionError, RegkitError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from ._sets import Entry


def call_of(members: Iterable[Entry]) -> str:
    """Return the call of `build` that makes a set."""
    values: dict[str, list[str]] = {}
    for member in members:
        written = value_as_written(member.regularizer) if member.from_alias else repr(member.regularizer)
        values.setdefault(member.label, []).append(written)
    lines = {label: row[0] if len(row) == 1 else f"[{', '.join(row)}]" for label, row in values.items()}
    if all(_is_keyword_argument(label) for label in lines):
        return f"build({', '.join(f'{label}={value}' for label, value in lines.items())})"
    return f"build({{{', '.join(f'{label!r}: {value}' for label, value in lines.items())}}})"


def _is_keyword_argument(label: str) -> bool:
    from keyword import iskeyword

    return label.isidentifier() and not iskeyword(label)


def config_of(members: Iterable[Entry]) -> dict[str, Any]:
    """Return the constructor arguments of a set's members by their labels, as JSON and TOML have them.

    Raises
    ------
    OptionError
        If a label is not an alias of its class, or an argument cannot be written down.
    """
    written: dict[str, list[Any]] = {}
    for member in members:
        label, regularizer = member.label, member.regularizer
        if _class_or_none(label) is not type(regularizer):
            raise OptionError(
                f"{label!r} is not an alias of {type(regularizer).__name__}, so build could not make it from a config. "
                "Give it under its alias, or register the class under this one"
            )
        written.setdefault(label, []).append(_options_written_down(label, regularizer))
    return {label: options[0] if len(options) == 1 else options for label, options in written.items()}


def _options_written_down(label: str, regularizer: Any) -> dict[str, Any]:
    """Return every argument of an instance, without those that are None by default, which TOML cannot hold."""
    defaults, _ = constructor_arguments(type(regularizer))
    options = {}
    for argument, value in all_options(regularizer).items():
        if value is None and defaults[argument] is None:
            continue
        try:
            if value is None:
                raise TypeError("TOML has no form for None")
            options[argument] = plain(value._config() if isinstance(value, Live) else current_value(value))
        except (TypeError, GraphError) as error:
            raise OptionError(f"{label}: {argument}={value!r} cannot be written down: {error}") from None
    return options


def _class_or_none(label: str) -> type | None:
    try:
        return class_of(label)
    except RegkitError:
        return None


def table_of(members: Iterable[tuple[str, Entry]]) -> str:
    """Return the HTML table of a set's members, by their names."""
    from html import escape

    rows: list[tuple[str, ...]] = [("alias", "weight", "pattern", "penalty", "distribution")]
    rows += [_row(name, member) for name, member in members]
    head, *body = (
        "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row) for tag, row in zip(["th", *["td"] * len(rows)], rows)
    )
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{cells}</tr>' for cells in body)}</table>"


def _row(name: str, member: Entry) -> tuple[str, ...]:
    """Return the row of one member; with its distribution, if that claims its alias."""
    cls = type(member.regularizer)
    sentence = first_sentence(cls.__doc__)
    claims = claims_of(member.label) if member.from_alias else ()
    owners = [" ".join(map(str, claim[:2])) for claim in claims if claim.distribution is not None]
    return (
        name,
        weight_as_written(member.regularizer),
        selection_of(member.regularizer),
        f"{cls.__name__}: {sentence}" if sentence else cls.__name__,
        "" if claims and claims[0].distribution is None else escaped(", ".join(owners)),
    )
