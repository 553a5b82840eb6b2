"""The aliases there are: listed, registered, told apart from other keywords; and what errors say of them."""

from __future__ import annotations

import sys

from . import discovery
from .claims import Claim, installed
from .errors import AliasConflictError, OptionError, RegkitError, UnknownAliasError
from .signatures import implemented

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

#: How many aliases an error lists.
_LISTED = 20


def available() -> dict[str, tuple[Claim, ...]]:
    """Return every alias there is with the claims on it, importing no plugin.

    Returns
    -------
    dict of str to tuple of Claim
        A claim is ``(distribution, version, target)``. More than one target means that asking for the alias is an
        `AliasConflictError`. An alias registered in this process has None for distribution and version.

    Examples
    --------
    >>> import regkit
    >>> regkit.available()["hidden_l1"]
    (Claim(distribution='regkit-hidden-l1', version='0.1.0', target='regkit_hidden_l1:HiddenL1'),)
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
        If there is no alias, or `cls` is no class.

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

    Examples
    --------
    >>> import regkit
    >>> regkit.split(dict(hidden_l1=0.1, learning_rate=0.01))
    ({'hidden_l1': 0.1}, {'learning_rate': 0.01})
    """
    aliases = _aliases()
    options = {key: value for key, value in kwargs.items() if key in aliases}
    rest = {key: value for key, value in kwargs.items() if key not in aliases}
    for key in rest:
        suggestion = nearest(key, aliases, cutoff=0.85)
        if suggestion:
            warn(f"keyword {key!r} is no regularizer. Did you mean {suggestion!r}?")
    return options, rest


def _aliases() -> list[str]:
    return sorted({*installed().aliases, *discovery.registered})


def _claims(alias: str) -> tuple[Claim, ...]:
    cls = discovery.registered.get(alias)
    here = () if cls is None else (Claim(None, None, f"{cls.__module__}:{cls.__qualname__}"),)
    return (*here, *installed().claims(alias))


def not_one_target(alias: str) -> RegkitError:
    """Return the error of an alias that nothing claims, or that has several targets."""
    claims = installed().claims(alias)
    return AliasConflictError(_conflict(alias, claims)) if claims else UnknownAliasError(_unknown(alias))


def _unknown(alias: str) -> str:
    aliases = _aliases()
    suggestion = nearest(alias, aliases, cutoff=0.6)
    listed = ", ".join(aliases[:_LISTED]) or "none; regkit-hidden-l1 brings the first"
    more = f" and {len(aliases) - _LISTED} more" if len(aliases) > _LISTED else ""
    problems = "".join(f"\nNot readable: {problem}" for problem in installed().problems)
    return (
        f"no installed plugin provides {alias!r}."
        f"{f' Did you mean {suggestion!r}?' if suggestion else ''} Installed aliases: {listed}{more}{problems}"
    )


def _conflict(alias: str, claims: tuple[Claim, ...]) -> str:
    instance = f"{claims[0].target.rpartition(':')[2]}(...)"
    written = f"{alias}={instance}" if alias.isidentifier() else f"{{{alias!r}: {instance}}}"
    claimants = "distributions" if len({claim[:2] for claim in claims}) > 1 else "entry points of one distribution"
    return (
        f"alias {alias!r} is claimed by {len(claims)} {claimants}: "
        f"{', '.join(map(str, claims))}. "
        f"Uninstall one, or pass an instance: build({written})"
    )


def nearest(name: object, names: Iterable[str], cutoff: float) -> str | None:
    """Return the name that one was probably meant to be, if any is as near as that."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(str(name), list(names), n=1, cutoff=cutoff)), None)


def warn(message: str) -> None:
    """Warn the nearest caller that is not regkit."""
    import warnings

    stacklevel = 2
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "regkit":
        frame = frame.f_back
        stacklevel += 1
    warnings.warn(message, UserWarning, stacklevel=stacklevel)
