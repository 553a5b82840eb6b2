"""theanets, as it is, with regkit's regularizers.

``theanets = regkit_theanets.install()`` imports theanets on theano-pymc, with the few names that it expects of older
packages, and makes every installed alias a keyword of ``train``, ``itertrain``, ``predict``, ``feed_forward``, ``loss``
and ``monitors``. `uninstall` undoes that, and ``with regkit_theanets.installed() as theanets:`` does both.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .names import import_theanets, take_names_away
from .regularizers import Keywords

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["install", "installed", "uninstall"]
__version__ = "0.1.0"

_original: Any = None


def install(reduction: str | None = "mean") -> Any:
    """Make theanets take every installed alias as a keyword.

    Parameters
    ----------
    reduction : {"mean", "sum", "batch", None}, default "mean"
        What regularizers that have this option get where the caller gives none. ``"mean"`` is the scale of theanets'
        code, so that weights tuned there keep their meaning; None leaves regkit's own default, ``"sum"``.

    Returns
    -------
    module
        theanets.

    Raises
    ------
    ImportError
        If theanets is not installed, or cannot be imported; the message says what works.

    Notes
    -----
    Call it before anything else imports theanets: on theano-pymc its import needs the names that are supplied here.
    Calling it again changes the reduction.
    """
    global _original
    theanets = import_theanets()
    if _original is None:
        _original = theanets.regularizers.from_kwargs
    theanets.regularizers.from_kwargs = Keywords(theanets, _original, reduction)
    return theanets


def uninstall() -> None:
    """Give theanets its own regularizers back, and take away the names that were supplied for it."""
    global _original
    if _original is not None:
        import_theanets().regularizers.from_kwargs = _original
        _original = None
        take_names_away()


@contextmanager
def installed(reduction: str | None = "mean") -> Iterator[Any]:
    """Install for the time of a ``with`` block, which gets theanets."""
    try:
        yield install(reduction)
    finally:
        uninstall()
