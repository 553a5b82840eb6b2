"""Helpers for errors and warnings: similar names, lists of names, and the stack level of a warning."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

#: The command that installs the plugins of the extra `plugins`; they are not on the index.
STANDARD_PLUGINS = "-r plugins/standard.txt"

#: How many names an error lists.
LISTED = 20

#: How many names difflib compares, which takes some 50 microseconds each.
_COMPARED = 1000


def nearest(name: object, names: Iterable[str], cutoff: float) -> str | None:
    """Return the name that was probably meant; None if no name is similar enough.

    `cutoff` is a ratio of `difflib`. Names with too few letters in common are left out before difflib is imported.
    """
    name = str(name)
    letters, length = set(name), len(name)
    close = [
        other
        for other in names
        # `length - len(letters.difference(other))` letters at most are in both: a quick bound before a closer one
        if 2 * (length - len(letters.difference(other))) >= cutoff * (length + len(other))
        and _most_in_common(name, other) >= cutoff
    ]
    if not close:
        return None
    from difflib import get_close_matches
    from heapq import nlargest

    if len(close) > _COMPARED:
        close = nlargest(_COMPARED, close, key=lambda other: _most_in_common(name, other))
    return next(iter(get_close_matches(name, close, n=1, cutoff=cutoff)), None)


def _most_in_common(first: str, second: str) -> float:
    """Return an upper bound of difflib's ratio: letters in common, in any order, for the length of both names."""
    left = list(second)
    common = 0
    for letter in first:
        if letter in left:
            left.remove(letter)
            common += 1
    return 2 * common / ((len(first) + len(second)) or 1)


def listed(names: Iterable[str]) -> str:
    """Return names as an error lists them: the first of many, and the number of the others."""
    names = list(names)
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{', '.join(map(escaped, names[:LISTED])) or 'none'}{more}"


def escaped(text: str, keep: str = "") -> str:
    """Return a text in which control characters, stray bytes and changes of direction are written as in a repr.

    Letters of any language stay, and so do the characters of `keep`.
    """
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign in keep else repr(sign)[1:-1] for sign in text)


def installing(what: str) -> str:
    """Return how to install a distribution of regkit: from a checkout, since none is on the index.

    Examples
    --------
    >>> installing("./plugins/regkit-jax")
    'in a checkout of regkit: pip install ./plugins/regkit-jax'
    """
    return f"in a checkout of regkit: pip install {what}"


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
    """Warn the nearest caller outside of regkit."""
    import warnings

    stacklevel = 2
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "regkit":
        frame = frame.f_back
        stacklevel += 1
    warnings.warn(message, UserWarning, stacklevel=stacklevel)
