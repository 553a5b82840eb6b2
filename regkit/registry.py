"""The aliases there are: listed, registered, told apart from other keywords."""

from __future__ import annotations

from . import discovery
from .discovery.claims import Claim
from .errors import AliasConflictError, OptionError
from .hooks.signatures import implemented
from .messages import nearest, warn
from .value_forms import is_mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


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
    return discovery.class_of(alias)


def available() -> dict[str, tuple[Claim, ...]]:
    """Return every alias there is with the claims on it, importing no plugin.

    Returns
    -------
    dict of str to tuple of Claim
        A claim is ``(distribution, version, target)``. More than one target means that asking for the alias is an
        `AliasConflictError`, unless one was registered in this process: that comes first and counts, and has None for
        distribution and version.

    Examples
    --------
    >>> import regkit
    >>> (claim,) = regkit.available()["hidden_l1"]
    >>> claim.distribution, claim.target
    ('regkit-hidden-l1', 'regkit_hidden_l1:HiddenL1')
    """
    return {alias: _claims(alias) for alias in _aliases()}


def refresh() -> None:
    """Forget what was read of the installed distributions; the next call reads again.

    What was registered in this process stays.
    """
    from importlib import invalidate_caches

    discovery.forget()
    invalidate_caches()


def register(cls: type, *aliases: str, replace: bool = False) -> None:
    """Give a class aliases, for this process only.

    Parameters
    ----------
    cls : class
        A subclass of `Regularizer`, or a class that marks its hooks with ``@regkit.hookimpl``.
    *aliases : str
        One or more.
    replace : bool, default False
        Whether to take an alias over from another class.

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
        claims = _claims(alias)
        if claims and discovery.registered.get(alias) is not cls and not replace:
            raise AliasConflictError(
                f"alias {alias!r} belongs to {', '.join(map(str, claims))}. "
                f"Choose another, or pass replace=True to use {cls.__name__} for it in this process"
            )
    discovery.registered.update(dict.fromkeys(aliases, cls))


def split(kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part a host's keywords into those that are aliases and the rest.

    A keyword of the rest that is nearly an alias warns with the suggestion: it is more likely misspelt than meant.

    Parameters
    ----------
    kwargs : mapping of str to anything

    Returns
    -------
    options, rest : dict, dict
        In the order of `kwargs`. ``build(options)`` builds the first.

    Raises
    ------
    OptionError
        If `kwargs` is not a mapping.

    Examples
    --------
    >>> import regkit
    >>> regkit.split(dict(hidden_l1=0.1, learning_rate=0.01))
    ({'hidden_l1': 0.1}, {'learning_rate': 0.01})
    """
    if not is_mapping(kwargs):
        raise OptionError(f"split got {kwargs!r}; accepted: a mapping of keywords to values")
    aliases = _aliases()
    options = {key: value for key, value in kwargs.items() if key in aliases}
    rest = {key: value for key, value in kwargs.items() if key not in aliases}
    for key in rest:
        suggestion = nearest(key, aliases, cutoff=0.85)
        if suggestion:
            warn(f"keyword {key!r} is not a regularizer. Did you mean {suggestion!r}?")
    return options, rest


def _aliases() -> list[str]:
    return sorted({*discovery.installed().aliases, *discovery.registered})


def _claims(alias: str) -> tuple[Claim, ...]:
    cls = discovery.registered.get(alias)
    here = () if cls is None else (Claim(None, None, f"{cls.__module__}:{cls.__qualname__}"),)
    return (*here, *discovery.installed().claims(alias))
