"""What errors and warnings have in common: the name that was probably meant, and who is warned."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


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
