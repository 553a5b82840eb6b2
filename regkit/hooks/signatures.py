"""Which hooks a class implements, and what they take.

Read from code objects: `inspect` costs more than the rest of a build.
"""

from __future__ import annotations

import regkit

from ..regularizer import Regularizer
from .specs import HOOKS, MARK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def implemented(cls: type) -> dict[str, tuple[str, ...]]:
    """Return the hooks that a class implements, each with the arguments that its implementation takes.

    Raises
    ------
    HookSignatureError
        If an implementation could not be called as regkit calls it, or there is none.
    """
    found: dict[str, tuple[str, ...]] = {}
    own = _attributes_before_the_hooks(cls)
    for name, attribute in own.items():
        options = _mark(attribute)
        if options is not None:
            _check_mark(cls, name, options)
        if name in HOOKS and (options is not None or issubclass(cls, Regularizer)):
            found[name] = _hook_arguments(cls, name, attribute)
    if not found:
        raise _refused(cls, f" has no hook. Override one of {_hooks_in_words()}")
    if issubclass(cls, Regularizer):
        found.setdefault("log", ())
    return {name: found[name] for name in HOOKS if name in found}


def has_hooks(cls: type) -> bool:
    """Tell whether a class means to be a regularizer, rightly written or not."""
    return issubclass(cls, Regularizer) or any(
        _mark(attribute) for base in cls.__mro__ for attribute in vars(base).values()
    )


def _attributes_before_the_hooks(cls: type) -> dict[str, object]:
    """What the class and its bases define, nearest first, down to `Regularizer`, behind which Python finds no hook."""
    found: dict[str, object] = {}
    for base in cls.__mro__:
        if base is object or base is Regularizer:
            break
        for name, attribute in vars(base).items():
            nearest = found.setdefault(name, attribute)
            if (
                name in HOOKS
                and _mark(attribute) is not None
                and _mark(nearest) is None
                and not issubclass(cls, Regularizer)
            ):
                raise _refused(cls, f".{name} overrides a hook. Mark it too with @regkit.hookimpl")
    return found


def _mark(attribute: object) -> Any:
    """What ``@regkit.hookimpl`` left on an attribute, or None."""
    return getattr(attribute, MARK, None) or getattr(getattr(attribute, "__func__", None), MARK, None)


def _check_mark(cls: type, name: str, options: dict[str, object]) -> None:
    if name not in HOOKS:
        raise _refused(cls, f" marks {name!r}, which is not a hook. The hooks are {_hooks_in_words()}")
    unusual = [option for option, value in options.items() if value]
    if unusual:
        raise _refused(
            cls,
            f".{name} is marked with {', '.join(unusual)}. "
            "Use @regkit.hookimpl without options: regularizers run in the order the user wrote",
        )


def _hook_arguments(cls: type, name: str, attribute: object) -> tuple[str, ...]:
    """The arguments of one implementation, read from its code object."""
    expected = HOOKS[name]
    function = attribute
    while hasattr(function, "__wrapped__") or hasattr(function, "__func__"):
        function = getattr(function, "__wrapped__", None) or function.__func__  # type: ignore[attr-defined]  # by hasattr
    code = getattr(function, "__code__", None)
    if code is None:
        raise _refused(cls, f".{name} is {attribute!r}. Write it as a method: {_signature(name)}")
    problems = []
    taken = code.co_varnames[: code.co_argcount]
    if not isinstance(attribute, staticmethod):
        if not taken:
            problems.append("no self")
        taken = taken[1:]
    defaults = getattr(function, "__defaults__", None) or ()
    with_default = taken[len(taken) - len(defaults) :] if defaults else ()
    problems += [f"argument {argument!r} with a default" for argument in with_default]
    problems += [f"unknown argument {a!r}" for a in taken if a not in expected and a not in with_default]
    rest = code.co_varnames[code.co_argcount :]
    problems += [f"keyword-only argument {argument!r}" for argument in rest[: code.co_kwonlyargcount]]
    rest = rest[code.co_kwonlyargcount :]
    if code.co_flags & 0x04:
        problems.append(f"*{rest[0]}")
        rest = rest[1:]
    if code.co_flags & 0x08:
        problems.append(f"**{rest[0]}")
    if problems:
        raise _refused(
            cls, f".{name} has {', '.join(problems)}. Expected {_signature(name)}, or fewer of these arguments"
        )
    return tuple(taken)


def _refused(cls: type, why: str) -> Exception:
    error: Exception = regkit.HookSignatureError(f"{cls.__module__}.{cls.__qualname__}{why}")
    return error


def _signature(name: str) -> str:
    return f"{name}({', '.join(('self', *HOOKS[name]))})"


def _hooks_in_words() -> str:
    return ", ".join(_signature(name) for name in HOOKS)
