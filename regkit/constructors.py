"""A constructor's arguments: which there are, what a regularizer stores of them, and one regularizer made from them.

Read from code objects: `inspect` costs more than the rest of a build.
"""

from __future__ import annotations

import regkit

from .regularizer import is_plain_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


class _Required:
    def __repr__(self) -> str:
        return "<required>"


REQUIRED: Any = _Required()


def instance(cls: type, options: dict[str, Any]) -> Any:
    """Return the regularizer that a constructor makes of its arguments, called once.

    Raises
    ------
    OptionError
        If a name is not an argument, one is missing, the weight is not accepted or not stored, or the constructor
        refuses.
    """
    arguments, takes_others, required = _read_once(cls)
    for name in options:
        if name not in arguments and not (takes_others and isinstance(name, str)):
            from .messages import nearest

            suggestion = nearest(name, arguments, cutoff=0.6)
            raise regkit.OptionError(
                f"{cls.__name__} got {name}={options[name]!r}, which is not an argument of it."
                f"{f' Did you mean {suggestion!r}?' if suggestion else ''}"
                f" Accepted: {', '.join(arguments) or 'no arguments'}"
            )
    for name in required:
        if name not in options:
            raise regkit.OptionError(f"{cls.__name__} needs the argument {name!r}. Accepted: {', '.join(arguments)}")
    if "weight" in options and not is_plain_number(options["weight"], getattr(cls, "weight_below", float("inf"))):
        from .validation import checked_weight

        options = {**options, "weight": checked_weight(cls, options["weight"])}
    try:
        regularizer = cls(**options)
    except Exception as error:  # whatever a plugin's constructor says no with
        if isinstance(error, regkit.RegkitError):
            raise
        written = ", ".join(f"{name}={given!r}" for name, given in options.items())
        raise regkit.OptionError(f"{cls.__name__}({written}) is refused: {error}") from error
    weight_of(regularizer)  # it is an error not to store it
    return regularizer


def constructor_arguments(cls: type) -> tuple[dict[str, Any], bool]:
    """Return the constructor's arguments with their defaults, and whether it takes any others as well.

    A constructor with ``**kwargs`` hands them to the next one, as cooperative classes do.
    """
    arguments, takes_others, _ = _read_once(cls)
    return dict(arguments), takes_others


#: Where a class keeps what was read of its constructor, beside that constructor.
_KEPT = "_regkit_constructor"


def _read_once(cls: type) -> tuple[dict[str, Any], bool, list[str]]:
    """Return a constructor's arguments, whether it takes others, and those that it needs, kept with the class."""
    constructor: Any
    read: tuple[dict[str, Any], bool, list[str]] | None
    constructor, read = vars(cls).get(_KEPT, (None, None))
    if read is None or constructor is not cls.__init__:  # type: ignore[misc]  # as it is now, whoever defined it
        arguments, takes_others = _read(cls)
        read = arguments, takes_others, [name for name, default in arguments.items() if default is REQUIRED]
        try:  # noqa: SIM105 - contextlib costs more to import than the rest of a build
            setattr(cls, _KEPT, (cls.__init__, read))  # type: ignore[misc]  # as above
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
    """Return the weight of any regularizer; 1 if its class has no such thing.

    Raises
    ------
    OptionError
        If its constructor takes a weight and does not store it under that name.
    """
    if hasattr(regularizer, "weight"):
        return regularizer.weight
    if "weight" in constructor_arguments(type(regularizer))[0]:
        raise regkit.OptionError(
            f"{type(regularizer).__name__} takes a weight and does not store it. Set self.weight in its constructor"
        )
    return 1
