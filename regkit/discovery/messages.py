"""What is said of an alias that has no class, or several."""

from __future__ import annotations

from ..errors import AliasConflictError, RegkitError, UnknownAliasError
from ..messages import nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .claims import Claim, Installed

#: How many aliases an error lists.
_LISTED = 20


def not_one_target(alias: str, installed: Installed, registered: Iterable[str]) -> RegkitError:
    """Return the error of an alias that nothing claims, or that has several targets."""
    claims = installed.claims(alias)
    if claims:
        return AliasConflictError(_conflict(alias, claims))
    return UnknownAliasError(_unknown(alias, sorted({*installed.aliases, *registered}), installed.problems))


def _unknown(alias: str, aliases: list[str], problems: list[str]) -> str:
    suggestion = nearest(alias, aliases, cutoff=0.6)
    listed = ", ".join(aliases[:_LISTED]) or "none; regkit-hidden-l1 brings the first"
    more = f" and {len(aliases) - _LISTED} more" if len(aliases) > _LISTED else ""
    unreadable = "".join(f"\nNot readable: {problem}" for problem in problems)
    return (
        f"no installed plugin provides {alias!r}."
        f"{f' Did you mean {suggestion!r}?' if suggestion else ''} Installed aliases: {listed}{more}{unreadable}"
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
