"""What is said of an alias that has no class, or several, or one that cannot be imported."""

from __future__ import annotations

from ..errors import AliasConflictError, PluginLoadError, RegkitError, UnknownAliasError
from ..messages import escaped, listed, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .claims import Claim, Installed

#: How many aliases an error suggests.
_SUGGESTED = 4


def not_one_target(alias: str, installed: Installed, registered: Iterable[str]) -> RegkitError:
    """Return the error of an alias that nothing claims, or that has several targets."""
    claims = installed.claims(alias)
    if claims:
        return AliasConflictError(_conflict(alias, claims))
    return UnknownAliasError(_unknown(alias, sorted({*installed.aliases, *registered}), installed.problems))


def not_loaded(alias: str, claims: Iterable[Claim], error: BaseException) -> PluginLoadError:
    """Return the error of an alias whose plugin does not import."""
    try:
        said = escaped(str(error), keep="\n\t")
    except Exception:  # it is a plugin's own
        said = "(its message cannot be shown)"
    return PluginLoadError(
        f"alias {alias!r} of {', '.join(map(str, claims))} could not be loaded: {type(error).__name__}: {said}. "
        "Fix or uninstall it; other plugins are unaffected"
    )


def _unknown(alias: str, aliases: list[str], problems: list[str]) -> str:
    meant = " or ".join(map(repr, _meant(alias, aliases)))
    installed = listed(aliases) if aliases else "none; regkit-hidden-l1 brings the first"
    unreadable = "".join(f"\nNot readable: {problem}" for problem in problems)
    return (
        f"no installed plugin provides {alias!r}."
        f"{f' Did you mean {meant}?' if meant else ''} Installed aliases: {installed}{unreadable}"
    )


def _meant(alias: str, aliases: list[str]) -> list[str]:
    """Return what it means elsewhere and what it is part of; or else the alias that is near."""
    from .elsewhere import meant_elsewhere

    words = [name for name in aliases if alias in name.split("_")]
    common = [name for name in meant_elsewhere(alias) if name in aliases]
    if common:
        return list(dict.fromkeys([*common, *words]))[:_SUGGESTED]
    suggestion = nearest(alias, aliases, cutoff=0.6)
    if suggestion is not None:
        return [suggestion]
    return (words or [name for name in aliases if len(alias) > 1 and alias in name])[:_SUGGESTED]


def _conflict(alias: str, claims: tuple[Claim, ...]) -> str:
    instance = escaped(f"{claims[0].target.rpartition(':')[2]}(...)")
    written = f"{alias}={instance}" if alias.isidentifier() else f"{{{alias!r}: {instance}}}"
    claimants = "distributions" if len({claim[:2] for claim in claims}) > 1 else "entry points of one distribution"
    return (
        f"alias {alias!r} is claimed by {len(claims)} {claimants}: "
        f"{', '.join(map(str, claims))}. "
        f"Uninstall one, or pass an instance: build({written})"
    )
