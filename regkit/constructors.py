"""The arguments of a constructor: which there are, what a regularizer stores of them, how they are written down.

Read from code objects: `inspect` costs more than the rest of a build.
"""

from __future__ import annotations

from .errors import OptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


class _Required:
    def __repr__(self) -> str:
        return "<required>"


REQUIRED: Any = _Required()


def constructor_arguments(cls: type) -> tuple[dict[str, Any], bool]:
    """Return the constructor's arguments with their defaults, and whether it takes any others as well.

    A constructor with ``**kwargs`` hands them to the next one, as cooperative classes do.
    """
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


def plain(value: Any) -> Any:
    """Return a value as JSON has it; TypeError if there is no form for it."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if is_mapping(value):
        return {str(key): plain(item) for key, item in value.items()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"JSON has no form for {type(value).__name__}")


def is_mapping(value: Any) -> bool:
    """Tell whether a value is a mapping, asking for the abstract class only where it is no dict."""
    if isinstance(value, dict) or not hasattr(value, "keys"):
        return isinstance(value, dict)
    from collections.abc import Mapping

    return isinstance(value, Mapping)
