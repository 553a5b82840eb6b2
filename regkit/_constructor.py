"""A regularizer's constructor: its arguments, an instance made from them, and how an instance is written down.

Arguments are read from code objects: `inspect` costs more than the rest of a build.
"""

from __future__ import annotations

from ._messages import escaped, nearest
from ._values import INFINITY, is_mapping, is_plain_number
from ._weights import Live, checked_weight, current_value
from .errors import GraphError, OptionError, RegkitError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


class _Required:
    def __repr__(self) -> str:
        return "<required>"


REQUIRED: Any = _Required()


def instance(cls: type, options: dict[str, Any]) -> Any:
    """Return a new regularizer; the constructor is called once.

    Raises
    ------
    OptionError
        If a name is not an argument, one is missing, the weight is not accepted or not stored, or the constructor
        refuses.
    """
    arguments, takes_others, required = _read_once(cls)
    for name in options:
        if name not in arguments and not (takes_others and isinstance(name, str)):
            suggestion = nearest(name, arguments, cutoff=0.6)
            raise OptionError(
                f"{cls.__name__} got {name}={options[name]!r}, which is not an argument of it."
                f"{f' Did you mean {suggestion!r}?' if suggestion else ''}"
                f" Accepted: {', '.join(arguments) or 'no arguments'}"
            )
    for name in required:
        if name not in options:
            raise OptionError(f"{cls.__name__} needs the argument {name!r}. Accepted: {', '.join(arguments)}")
    if "weight" in options and not is_plain_number(options["weight"], getattr(cls, "weight_below", INFINITY)):
        options = {**options, "weight": checked_weight(cls, options["weight"])}
    try:
        regularizer = cls(**options)
    except Exception as error:  # a plugin's constructor may refuse with any exception
        if isinstance(error, RegkitError):
            raise
        written = ", ".join(f"{name}={given!r}" for name, given in options.items())
        raise OptionError(f"{cls.__name__}({written}) is refused: {error}") from error
    weight_of(regularizer)  # it is an error not to store it
    return regularizer


def constructor_arguments(cls: type) -> tuple[dict[str, Any], bool]:
    """Return the constructor's arguments with their defaults, and whether it takes any others as well.

    A constructor with ``**kwargs`` passes them to the next one, as cooperative classes do.
    """
    arguments, takes_others, _ = _read_once(cls)
    return dict(arguments), takes_others


#: The attribute of a class in which its constructors, and the arguments read from them, are kept.
_KEPT = "_regkit_constructor"


def _read_once(cls: type) -> tuple[dict[str, Any], bool, list[str]]:
    """Return a constructor's arguments, whether it takes others, and those that it needs, kept with the class.

    They are read again if the constructor has been replaced, or its code, as by reloading a module.
    """
    parts = [part for f in constructors(cls) for part in (f.__code__, f.__defaults__, f.__kwdefaults__)]
    kept: tuple[list[Any], tuple[dict[str, Any], bool, list[str]]] | None = vars(cls).get(_KEPT)
    if kept is not None and list(map(id, kept[0])) == list(map(id, parts)):
        return kept[1]
    arguments, takes_others = _read(cls)
    read = arguments, takes_others, [name for name, default in arguments.items() if default is REQUIRED]
    try:  # noqa: SIM105 - contextlib costs more to import than the rest of a build
        setattr(cls, _KEPT, (parts, read))
    except TypeError:  # a class that takes no attributes, such as int
        pass
    return read


def _read(cls: type) -> tuple[dict[str, Any], bool]:
    arguments: dict[str, Any] = {}
    for function in constructors(cls):
        code = function.__code__
        names = code.co_varnames[1 : code.co_argcount]
        defaults = function.__defaults__ or ()
        required = len(names) - len(defaults)
        for position, name in enumerate(names):
            arguments.setdefault(name, REQUIRED if position < required else defaults[position - required])
        for name in code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]:
            arguments.setdefault(name, (function.__kwdefaults__ or {}).get(name, REQUIRED))
        if not code.co_flags & 0x08:
            return arguments, False
    return arguments, bool(arguments)


def constructors(cls: type) -> Iterator[Any]:
    """Yield the functions that make an instance of a class, nearest first."""
    for base in cls.__mro__:
        function: Any = vars(base).get("__init__")
        while hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        if hasattr(function, "__code__"):
            yield function


def weight_of(regularizer: object) -> Any:
    """Return the weight of any regularizer; 1 if its class has no weight.

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


# How an instance is written down


def all_options(regularizer: object) -> dict[str, Any]:
    """Return every constructor argument of an instance as it is stored, the weight first."""
    for function in constructors(type(regularizer)):
        flags = function.__code__.co_flags
        if flags & 0x08:  # **kwargs: it passes its arguments on
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
    """Return whether two values are equal; arrays, and expressions that overload ``==``, do no harm."""
    plain = isinstance(value, (int, float, str)) and type(value) is type(default)
    return value is default or (plain and bool(value == default))


def value_as_written(regularizer: Any) -> str:
    """Return the value that an alias was given for a regularizer, as the user would write it."""
    options = changed_options(regularizer)
    if hasattr(regularizer, "weight") and not (options.keys() - {"weight"}):
        return repr(regularizer.weight)
    return f"dict({', '.join(f'{name}={value!r}' for name, value in options.items())})"


def line_of(regularizer: Any, name: str | None = None) -> str:
    """Return the log line of a regularizer: weight, class, selection, the name in a set, and the other options."""
    arguments, _ = constructor_arguments(type(regularizer))
    others = [argument for argument in arguments if argument not in ("pattern", "weight")]
    values = {other: value for other in others if (value := getattr(regularizer, other, None)) is not None}
    details = [] if name is None else [name]
    details += [f"{other}={globs_as_written(value)}" for other, value in values.items()]
    line = f"{weight_as_written(regularizer)} * {type(regularizer).__name__}({selection_of(regularizer)})"
    return escaped(f"{line} [{', '.join(details)}]" if details else line)


def weight_as_written(regularizer: Any) -> str:
    """Return the weight as written; a live one by its present value, marked as live, or by its schedule."""
    weight = getattr(regularizer, "weight", 1)
    if isinstance(weight, Live):
        return weight._as_written()
    try:
        value = current_value(weight)
    except GraphError:  # symbolic: it has no value yet
        return str(weight)
    return str(weight) if value is weight else f"{value} (live)"


def selection_of(regularizer: Any) -> str:
    """Return what a regularizer selects: its pattern, or the words of its class for None."""
    pattern = getattr(regularizer, "pattern", None)
    return getattr(regularizer, "default_selection", "default") if pattern is None else globs_as_written(pattern)


def globs_as_written(value: Any) -> str:
    """Return an option's value; several globs without brackets."""
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def plain(value: Any) -> Any:
    """Return a value in JSON's form, without None inside, which TOML cannot hold; TypeError if it has none."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain_item(item) for item in value]
    if is_mapping(value):
        return {str(key): _plain_item(item) for key, item in value.items()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"JSON has no form for {type(value).__name__}")


def _plain_item(item: Any) -> Any:
    if item is None:
        raise TypeError("TOML has no form for None")
    return plain(item)
