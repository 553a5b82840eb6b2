"""How regularizers and sets are written down: as the call that makes them, and as a config."""

from __future__ import annotations

import regkit

from .constructors import constructor_arguments, constructors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from .regularizers import Member


def call_of(members: Iterable[Member]) -> str:
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


def config_of(members: Iterable[Member]) -> dict[str, Any]:
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
            raise regkit.OptionError(
                f"{label!r} is not an alias of {type(regularizer).__name__}, so build could not make it from a config. "
                "Give it under its alias, or register the class under this one"
            )
        written.setdefault(label, []).append(_options_written_down(label, regularizer))
    return {label: options[0] if len(options) == 1 else options for label, options in written.items()}


def _options_written_down(label: str, regularizer: Any) -> dict[str, Any]:
    """Every argument of an instance but those that are None, which TOML cannot hold, by default."""
    from .graph.weights import current_value

    defaults, _ = constructor_arguments(type(regularizer))
    options = {}
    for argument, value in all_options(regularizer).items():
        if value is None and defaults[argument] is None:
            continue
        try:
            if value is None:
                raise TypeError("TOML has no form for None")
            options[argument] = plain(current_value(value))
        except (TypeError, regkit.GraphError) as error:
            raise regkit.OptionError(f"{label}: {argument}={value!r} cannot be written down: {error}") from None
    return options


def _class_or_none(label: str) -> type | None:
    from .discovery import class_of

    try:
        return class_of(label)
    except regkit.RegkitError:
        return None


def all_options(regularizer: object) -> dict[str, Any]:
    """Return every constructor argument of an instance, the weight first, as it is stored."""
    for function in constructors(type(regularizer)):
        flags = function.__code__.co_flags
        if flags & 0x08:  # **kwargs: it hands on what it was given
            continue
        if flags & 0x04:
            raise regkit.OptionError(
                f"the constructor of {type(regularizer).__name__} takes *args, which have no names"
            )
        break
    names = sorted(constructor_arguments(type(regularizer))[0], key=lambda name: name != "weight")
    missing = [name for name in names if not hasattr(regularizer, name)]
    if missing:
        raise regkit.OptionError(
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


def line_of(regularizer: Any) -> str:
    """Return what a regularizer is, as the log says it: with its name in the set whose hook is running."""
    from .graph.random import Drawing
    from .messages import escaped

    arguments, _ = constructor_arguments(type(regularizer))
    others = [name for name in arguments if name not in ("pattern", "weight")]
    values = {name: value for name in others if (value := getattr(regularizer, name, None)) is not None}
    details = [name] if (name := Drawing.running_member()) is not None else []
    details += [f"{name}={globs_as_written(value)}" for name, value in values.items()]
    line = f"{weight_as_written(regularizer)} * {type(regularizer).__name__}({selection_of(regularizer)})"
    return escaped(f"{line} [{', '.join(details)}]" if details else line)


def weight_as_written(regularizer: Any) -> str:
    """Return the weight; of a live one the present value, and that it is live."""
    from .graph.weights import current_value

    weight = getattr(regularizer, "weight", 1)
    try:
        value = current_value(weight)
    except regkit.GraphError:  # symbolic: it has no value yet
        return str(weight)
    return str(weight) if value is weight else f"{value} (live)"


def selection_of(regularizer: Any) -> str:
    """Return what a regularizer selects: its pattern, or what its class says of None."""
    pattern = getattr(regularizer, "pattern", None)
    return getattr(regularizer, "default_selection", "default") if pattern is None else globs_as_written(pattern)


def globs_as_written(value: Any) -> str:
    """Return an option's value; several globs without brackets."""
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def plain(value: Any) -> Any:
    """Return a value as JSON has it, without None inside, which TOML cannot hold; TypeError if it has no form."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain_item(item) for item in value]
    from .value_forms import is_mapping

    if is_mapping(value):
        return {str(key): _plain_item(item) for key, item in value.items()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"JSON has no form for {type(value).__name__}")


def _plain_item(item: Any) -> Any:
    if item is None:
        raise TypeError("TOML has no form for None")
    return plain(item)


def table_of(members: Iterable[tuple[str, Member]]) -> str:
    """Return the HTML table of a set's members, by their names."""
    from html import escape

    rows: list[tuple[str, ...]] = [("alias", "weight", "pattern", "penalty", "distribution")]
    rows += [_row(name, member) for name, member in members]
    head, *body = (
        "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row) for tag, row in zip(["th", *["td"] * len(rows)], rows)
    )
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{cells}</tr>' for cells in body)}</table>"


def _row(name: str, member: Member) -> tuple[str, ...]:
    """What the table says of one member; its distribution where it is one that claims its alias."""
    from .messages import escaped, first_sentence
    from .registry import available

    cls = type(member.regularizer)
    sentence = first_sentence(cls.__doc__)
    claims = available().get(member.label, ()) if member.from_alias else ()
    owners = [" ".join(map(str, claim[:2])) for claim in claims if claim.distribution is not None]
    return (
        name,
        weight_as_written(member.regularizer),
        selection_of(member.regularizer),
        f"{cls.__name__}: {sentence}" if sentence else cls.__name__,
        "" if claims and claims[0].distribution is None else escaped(", ".join(owners)),
    )
