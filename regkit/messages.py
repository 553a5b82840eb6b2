"""What errors and warnings have in common: the name that was probably meant, and who is warned."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


#: How many names an error lists.
LISTED = 20

#: With how many names a misspelt one is compared in full, which takes some 50 microseconds each.
_COMPARED = 1000


def nearest(name: object, names: Iterable[str], cutoff: float) -> str | None:
    """Return the name that one was probably meant to be, if any is as near as that."""
    from difflib import get_close_matches

    name, names = str(name), list(names)
    if len(names) > _COMPARED:
        names = _sharing_most(name, names)
    return next(iter(get_close_matches(name, names, n=1, cutoff=cutoff)), None)


def _sharing_most(name: str, names: list[str]) -> list[str]:
    """Return the names that have the most pairs of neighbouring letters with one in common, for their length."""
    from heapq import nlargest

    pairs = {name[i : i + 2] for i in range(len(name) - 1)}

    def shared(other: str) -> float:
        return sum([pair in other for pair in pairs]) / (len(pairs) + len(other) + 1)

    return nlargest(_COMPARED, names, key=shared)


def listed(names: Iterable[str]) -> str:
    """Return names as an error lists them: the first of many, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{', '.join(map(escaped, names[:LISTED])) or 'none'}{more}"


def escaped(text: str, keep: str = "") -> str:
    """Return a text whose control characters are written as in a repr, so that no terminal obeys them.

    So are those that turn the direction of writing around, and stray bytes. Letters of any language stay as they are,
    and so do the characters of `keep`.
    """
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign in keep else repr(sign)[1:-1] for sign in text)


def first_sentence(docstring: str | None) -> str:
    r"""Return the first sentence of a docstring, without the full stop; an empty string if there is none.

    Examples
    --------
    >>> first_sentence("Penalize activations.\n\nThe penalty is ...")
    'Penalize activations'
    """
    paragraph = " ".join((docstring or "").strip().partition("\n\n")[0].split())
    return paragraph.partition(". ")[0].rstrip(".:")


def warn(message: str) -> None:
    """Warn the nearest caller that is not regkit."""
    import warnings

    stacklevel = 2
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "regkit":
        frame = frame.f_back
        stacklevel += 1
    warnings.warn(message, UserWarning, stacklevel=stacklevel)
