"""theanets, as it is, with regkit's regularizers.

``theanets = regkit_theanets.install()`` imports theanets on theano-pymc, with the few names that it expects of older
packages, and makes every installed alias a keyword of ``train``, ``itertrain``, ``predict``, ``feed_forward``, ``loss``
and ``monitors``. `uninstall` undoes that, and ``with regkit_theanets.installed() as theanets:`` does both.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import regkit

from ._names import import_theanets, take_names_away
from ._regularizers import Keywords, in_parts

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["install", "installed", "uninstall"]
__version__ = "0.3.0"

#: What theanets had in the places that are ours now: (class or module, name, value).
_originals: list[tuple[Any, str, Any]] = []


def install(reduction: str | None = "mean") -> Any:
    """Make theanets take every installed alias as a keyword.

    Parameters
    ----------
    reduction : {"mean", "sum", "batch", None}, default "mean"
        What regularizers that have this option get where the caller gives none, and they accept it. ``"mean"`` is the
        scale of theanets' code, so that weights tuned there keep their meaning; None leaves regkit's own default,
        ``"sum"``.

    Returns
    -------
    module
        theanets.

    Raises
    ------
    ImportError
        If theanets is not installed, or cannot be imported; the message says what works.
    regkit.OptionError
        If the reduction is none of those.

    Notes
    -----
    Call it before anything else imports theanets: on theano-pymc its import needs the names that are supplied here.
    Calling it again changes the reduction.
    """
    if reduction not in (None, "mean", "sum", "batch"):
        raise regkit.OptionError(f"install got reduction={reduction!r}; accepted: 'mean', 'sum', 'batch', None")
    theanets = import_theanets()
    if not _originals:
        trainers = theanets.trainer.SupervisedPretrainer, theanets.trainer.UnsupervisedPretrainer
        places = [(theanets.regularizers, "from_kwargs"), *((trainer, "itertrain") for trainer in trainers)]
        _originals.extend((place, name, getattr(place, name)) for place, name in places)
    (_, _, from_kwargs), *pretrainers = _originals
    keywords = Keywords(theanets, from_kwargs, reduction)
    theanets.regularizers.from_kwargs = keywords
    for trainer, name, itertrain in pretrainers:
        setattr(trainer, name, in_parts(itertrain, keywords))
    return theanets


def uninstall() -> None:
    """Give theanets its own regularizers back, and take away the names that were supplied for it."""
    while _originals:
        place, name, value = _originals.pop()
        setattr(place, name, value)
    take_names_away()


@contextmanager
def installed(reduction: str | None = "mean") -> Iterator[Any]:
    """Install for the time of a ``with`` block, which gets theanets; afterwards all is as it was before."""
    outer = import_theanets().regularizers.from_kwargs if _originals else None
    try:
        yield install(reduction)
    finally:
        if outer is None:
            uninstall()
        else:
            install(outer.reduction)
