"""build: from aliases and the values given to them, to regularizers in a set."""

from __future__ import annotations

from .arguments import REQUIRED, constructor_arguments, is_mapping
from .errors import OptionError, RegkitError
from .hookspecs import has_hooks, implemented
from .registry import nearest, resolve, target_of, warn
from .regularizer import ACCEPTED_WEIGHT, checked_weight, weight_of
from .regularizers import RegularizerSet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from .regularizers import Member


def build(options: Mapping[str, Any] | None = None, /, **aliases: Any) -> RegularizerSet:
    """Build regularizers from their aliases.

    Parameters
    ----------
    options : mapping of str to value, optional
        Aliases and values as read from JSON or TOML; they come before the keywords.
    **aliases : value
        A value is the weight (a real number of at least 0, or a scalar of a graph library), a mapping of the
        constructor's arguments, a regularizer, a list of these, or None for not used.

    Returns
    -------
    RegularizerSet
        In the order written.

    Raises
    ------
    UnknownAliasError
        If no installed plugin provides an alias.
    AliasConflictError
        If several targets claim it.
    PluginLoadError
        If its plugin cannot be imported.
    HookSignatureError
        If its class has hooks that cannot be called.
    OptionError
        If a value is not accepted, a name is in `options` and in the keywords, or two aliases are one regularizer.

    Examples
    --------
    >>> import numpy, regkit
    >>> regs = regkit.build(hidden_sparsity=0.5)
    >>> layers = [regkit.Layer("in:out"), regkit.Layer("hid1:out"), regkit.Layer("out:out")]
    >>> outputs = {"in:out": numpy.eye(2), "hid1:out": numpy.array([[1.0, -2.0], [0.0, 3.0]]), "out:out": numpy.eye(2)}
    >>> print(regs.loss(layers, outputs))
    3.0
    """
    if options is not None and not is_mapping(options):
        raise OptionError(f"build got {options!r}; accepted: a mapping of aliases to values, and keywords")
    values = dict(options or {})
    for alias in values:
        if not isinstance(alias, str):
            raise OptionError(f"build got the alias {alias!r}; accepted: names")
        if alias in aliases:
            raise OptionError(f"alias {alias!r} is in the mapping and in the keywords. Give it once")
    values.update(aliases)
    members: list[Member] = []
    alias_of: dict[object, str] = {}
    for alias, value in values.items():
        built = _members(alias, value)
        members += [(alias, regularizer, from_alias) for regularizer, from_alias in built]
        if any(from_alias for _, from_alias in built):
            twin = alias_of.setdefault(target_of(alias), alias)
            if twin != alias:
                raise OptionError(f"aliases {twin!r} and {alias!r} are the same regularizer. Give one of them")
    return RegularizerSet(members)


def _members(alias: str, value: Any) -> list[tuple[Any, bool]]:
    """Return the regularizers that a value of an alias stands for, and whether each was built from the alias."""
    if isinstance(value, (list, tuple)):
        for item in value:
            if isinstance(item, (list, tuple)):
                raise OptionError(f"alias {alias!r} got a list within a list: {item!r}; accepted: {_accepted_values()}")
        return [built for item in value for built in _members(alias, item)]
    if value is None:
        return []
    if type(value).__module__ != "builtins" and not isinstance(value, type) and has_hooks(type(value)):
        implemented(type(value))
        return [(value, False)]
    cls = resolve(alias)
    try:
        return [(construct(alias, cls, value), True)]
    except RegkitError as error:
        if type(error).__module__ == RegkitError.__module__:  # ours: made from one message, and so made again
            again = type(error)(f"alias {alias!r}: {error}").with_traceback(error.__traceback__)
            raise again from error.__cause__
        raise


def construct(alias: str, cls: type, value: Any) -> Any:
    """Return the regularizer that a number or a mapping stands for, of a class."""
    given_options = is_mapping(value)
    options = dict(value) if given_options else {"weight": value}
    arguments, takes_others = constructor_arguments(cls)
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


def _accepted_values() -> str:
    return f"{ACCEPTED_WEIGHT}, a mapping of constructor arguments, a regularizer, a list of these, or None"


def _is_zero(weight: Any) -> bool:
    return isinstance(weight, (int, float)) and weight == 0
