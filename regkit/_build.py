"""From keywords to sets: build, split, load; the known aliases; the forms of a value."""

from __future__ import annotations

from . import _discovery
from ._constructor import constructor_arguments, instance
from ._discovery import check_alias, claims_of, class_of, is_alias, registered
from ._discovery.reader import normal_form
from ._messages import nearest, warn
from ._regularizer import has_hooks, implemented, is_off
from ._sets import Entry, RegularizerSet
from ._values import accepted_weight, is_mapping, is_plain_number
from ._weights import Live, checked_weight, weight_limit
from .errors import AliasConflictError, HookSignatureError, OptionError, RegkitError, prefixed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from typing import Any, Protocol, SupportsFloat, Union

    from ._discovery.claims import Claim

    Keywords = Union[Callable[..., Any], Collection[str]]

    class _Penalizes(Protocol):
        @property
        def loss(self) -> Callable[..., Any]: ...

    class _Changes(Protocol):
        @property
        def modify_graph(self) -> Callable[..., Any]: ...

    class _Steps(Protocol):
        @property
        def after_step(self) -> Callable[..., Any]: ...

    #: A value of an alias; scalars of graph libraries have no types.
    Value = Union[
        SupportsFloat, Live, Mapping[str, Any], _Penalizes, _Changes, _Steps, list[Any], tuple[Any, ...], None
    ]

#: The classes whose hooks are checked, by alias.
_checked: dict[str, type] = {}


def build(options: Mapping[str, Any] | None = None, /, **aliases: Value) -> RegularizerSet:
    """Build regularizers from their aliases.

    Parameters
    ----------
    options : mapping of str to value, optional
        Aliases and values as read from JSON or TOML; they come before the keywords.
    **aliases : value
        The weight (a real number of at least 0, a `Live`, or a scalar of a graph library), a mapping of the
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
    if options is not None:
        aliases = _merged(options, aliases)
    entries: list[Entry] = []
    for alias, value in aliases.items():
        entries += [Entry(alias, one, from_alias) for one, from_alias in _regularizers_of(alias, value)]
    return RegularizerSet(entries)


def split(kwargs: Mapping[str, Any], own: Keywords = ()) -> tuple[dict[str, Any], dict[str, Any]]:
    """Separate a host's keywords into aliases and the rest.

    If a keyword of the rest is nearly an alias, and so probably misspelt, a warning suggests the alias.

    Parameters
    ----------
    kwargs : mapping of str to anything
    own : callable, or collection of str, default ()
        The host's keywords: the parameters of a function or class, or names. They stay in the rest. If a distribution
        claims one of them, a warning names the distribution.

    Returns
    -------
    options, rest : dict, dict
        In the order of `kwargs`. ``build(options)`` builds the first.

    Raises
    ------
    OptionError
        If `kwargs` is not a mapping, or `own` neither a function nor names.

    Examples
    --------
    >>> import regkit
    >>> def train(data, learning_rate=0.1, **kwargs): ...
    >>> regkit.split(dict(hidden_l1=0.1, learning_rate=0.01), own=train)
    ({'hidden_l1': 0.1}, {'learning_rate': 0.01})
    """
    if not is_mapping(kwargs):
        raise OptionError(f"split got {kwargs!r}; accepted: a mapping of keywords to values")
    names = _own_keywords(own)
    _discovery.refresh_if_outdated()
    options: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for key, value in kwargs.items():
        if not isinstance(key, str) or not is_alias(key):
            rest[key] = value
        elif normal_form(key) in names:
            rest[key] = value
            warn(
                f"keyword {key!r} stays the host's, and is claimed as an alias by "
                f"{', '.join(map(str, claims_of(key)))}. Give the regularizer another alias, or uninstall it"
            )
        else:
            options[key] = value
    unknown = [key for key in rest if isinstance(key, str) and normal_form(key) not in names]
    installed = _discovery.aliases() if unknown else []
    for key in unknown:
        suggestion = nearest(key, installed, cutoff=0.85)
        if suggestion:
            warn(f"keyword {key!r} is not a regularizer. Did you mean {suggestion!r}?")
    return options, rest


def _own_keywords(own: Any) -> set[str]:
    """Return the keywords that a function or class takes; a collection of names as it is."""
    try:
        if callable(own):
            from inspect import signature

            by_name = {"POSITIONAL_OR_KEYWORD", "KEYWORD_ONLY"}
            return {name for name, parameter in signature(own).parameters.items() if parameter.kind.name in by_name}
        if not isinstance(own, (str, bytes)):
            return set(map(normal_form, own))
    except (TypeError, ValueError, AttributeError):  # no signature; not iterable; not names
        pass
    raise OptionError(f"split got own={own!r}; accepted: a function or class with a signature, or names")


def load(alias: str) -> type:
    """Return the class of an alias, importing its plugin.

    Raises
    ------
    UnknownAliasError, AliasConflictError, PluginLoadError, HookSignatureError
        As `build`.

    Examples
    --------
    >>> import regkit
    >>> regkit.load("hidden_l1").__name__
    'HiddenL1'
    """
    if not isinstance(alias, str):
        raise OptionError(f"load got {alias!r}; accepted: the name of an alias")
    return _checked_class(alias)


def available() -> dict[str, tuple[Claim, ...]]:
    """Return every alias with the claims on it, without importing plugins.

    Returns
    -------
    dict of str to tuple of Claim
        A claim is ``(distribution, version, target)``. If there is more than one target, using the alias raises an
        `AliasConflictError`, unless a class was registered in this process: that claim comes first and counts, and has
        None for distribution and version.

    Examples
    --------
    >>> import regkit
    >>> (claim,) = regkit.available()["hidden_l1"]
    >>> claim.distribution, claim.target
    ('regkit-hidden-l1', 'regkit_hidden_l1:HiddenL1')
    """
    return {alias: claims for alias in _discovery.aliases() if (claims := claims_of(alias))}


def refresh() -> None:
    """Forget the metadata of installed distributions; the next call reads them again.

    `build` and `load` do this themselves for an unknown alias, and `split` if a folder of the path has changed.
    Registered classes stay.
    """
    _discovery.refresh()


def register(cls: type, *aliases: str, replace: bool = False) -> None:
    """Give a class aliases, for this process only.

    Parameters
    ----------
    cls : class
        A subclass of `Regularizer`, or a class that marks its hooks with ``@regkit.hookimpl``.
    *aliases : str
        One or more.
    replace : bool, default False
        Whether to take over the alias of another class. A class always replaces its earlier definition, of the same
        module and qualified name.

    Raises
    ------
    AliasConflictError
        If an alias belongs to another class and `replace` is false; then none of the aliases is registered.
    HookSignatureError
        If the class's hooks could not be called.
    OptionError
        If there is no alias, or `cls` is not a class.

    Examples
    --------
    >>> import regkit
    >>> class Quiet(regkit.Regularizer):
    ...     def loss(self, outputs):
    ...         return None
    >>> regkit.register(Quiet, "quiet")
    >>> regkit.build(quiet=0.1)
    build(quiet=0.1)
    """
    if not isinstance(cls, type):
        raise OptionError(f"register got {cls!r}; accepted: a class, then its aliases")
    if not aliases or not all(isinstance(alias, str) and alias for alias in aliases):
        raise OptionError(f"register got aliases {aliases!r}; accepted: one or more names")
    implemented(cls)
    for alias in aliases:
        claims = claims_of(alias)
        if claims and not replace and not _is_redefined(registered.get(alias), cls):
            raise AliasConflictError(
                f"alias {alias!r} belongs to {', '.join(map(str, claims))}. "
                f"Choose another, or pass replace=True to use {cls.__name__} for it in this process"
            )
    registered.update({normal_form(alias): cls for alias in aliases})


def _is_redefined(before: type | None, cls: type) -> bool:
    """Return whether a class is registered, or a new definition of a registered one, as when a cell runs again."""
    if before is None:
        return False
    return (before.__module__, before.__qualname__) == (cls.__module__, cls.__qualname__)


# The forms of a value


def _merged(options: Mapping[str, Any], aliases: dict[str, Any]) -> dict[str, Any]:
    """Return the aliases of a mapping, then those of keywords; an error for an alias that is in both."""
    if not is_mapping(options):
        raise OptionError(f"build got {options!r}; accepted: a mapping of aliases to values, and keywords")
    values = dict(options)
    for alias in values:
        if not isinstance(alias, str):
            raise OptionError(f"build got the alias {alias!r}; accepted: names")
        if alias in aliases:
            raise OptionError(f"alias {alias!r} is in the mapping and in the keywords. Give it once")
    values.update(aliases)
    return values


def _regularizers_of(alias: str, value: Any) -> list[tuple[Any, bool]]:
    """Return the regularizers of a value of an alias, and whether each was built from the alias."""
    if isinstance(value, (list, tuple)):
        for item in value:
            if isinstance(item, (list, tuple)):
                accepted = _accepted_values(_checked_class(alias))
                raise OptionError(f"alias {alias!r} got a list within a list: {item!r}; accepted: {accepted}")
        found = [one for item in value for one in _regularizers_of(alias, item)]
        if not found:
            check_alias(alias)
        return found
    if value is None:
        check_alias(alias)
        return []
    if isinstance(value, type) and has_hooks(value):
        raise OptionError(f"alias {alias!r} got the class {value.__name__}. Pass an instance: {value.__name__}(...)")
    if type(value).__module__ not in ("builtins", "numpy") and not isinstance(value, type):
        if has_hooks(type(value)):
            implemented(type(value))
            return [(value, False)]
        if callable(getattr(value, "loss", None)) or callable(getattr(value, "modify_graph", None)):
            raise OptionError(
                f"alias {alias!r} got an object of type {type(value).__name__}, which has a method named as a hook. "
                "Let its class be a subclass of regkit.Regularizer, or mark its hooks with @regkit.hookimpl"
            )
    cls = _checked_class(alias)
    try:
        return [(construct(alias, cls, value), True)]
    except RegkitError as error:
        raise prefixed(error, f"alias {alias!r}") from error.__cause__


def _checked_class(alias: str) -> type:
    """Return the class of an alias; its hooks are checked at the first call."""
    cls = class_of(alias)
    if _checked.get(alias) is not cls:
        try:
            implemented(cls)
        except HookSignatureError as error:
            from ._discovery.wording import shadowing

            wrong_file = shadowing(cls.__module__)
            raise HookSignatureError(f"{error}. {wrong_file}" if wrong_file else str(error)) from None
        _checked[alias] = cls
    return cls


def construct(alias: str, cls: type, value: Any) -> Any:
    """Return a regularizer of a class, made from a number or a mapping."""
    if is_plain_number(value):
        return instance(cls, {"weight": value})
    if not is_mapping(value):
        try:
            value = checked_weight(cls, value)
        except OptionError:
            if isinstance(value, Live):
                raise
            raise OptionError(f"{cls.__name__} got weight={value!r}; accepted: {_accepted_values(cls)}") from None
        return instance(cls, {"weight": value})
    options = dict(value)
    if is_mapping(options.get("weight")):
        options["weight"] = _schedule(cls, options["weight"])
    regularizer = instance(cls, options)
    if "weight" not in value and "weight" in constructor_arguments(cls)[0] and is_off(regularizer):
        warn(f"alias {alias!r}: {cls.__name__} was given no weight, so its weight is 0 and it has no effect")
    return regularizer


def _schedule(cls: type, written: Mapping[str, Any]) -> Any:
    """Return the schedule that a config has for a weight."""
    from .schedules import BY_NAME

    name = written.get("schedule")
    if not isinstance(name, str) or name not in BY_NAME:
        suggestion = nearest(name, BY_NAME, cutoff=0.6) if isinstance(name, str) else None
        raise OptionError(
            f"{cls.__name__} got weight={written!r}; accepted, of mappings: a schedule such as {{'schedule': 'warmup', "
            f"'to': 0.1, 'steps': 1000}}.{f' Did you mean {suggestion!r}?' if suggestion else ''} Schedules: "
            f"{', '.join(BY_NAME)}"
        )
    return instance(BY_NAME[name], {key: value for key, value in written.items() if key != "schedule"})


def _accepted_values(cls: type) -> str:
    return (
        f"{accepted_weight(weight_limit(cls))}, a mapping of constructor arguments, a regularizer, a list of these, "
        "or None"
    )
