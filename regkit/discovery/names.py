"""Distributions' names: which metadata folder is whose, and what an earlier place of the path hides."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .claims import Everything, File, Place


def visible(places: Iterable[Everything]) -> list[File]:
    """Return the files of all places, but for those of distributions that an earlier place has.

    Without a name there is nothing to tell a distribution by, and it hides none.
    """
    found: list[File] = []
    earlier: set[str] = set()
    unnamed: list[Place] = []  # what earlier places have, where no name was needed yet
    for files, distributions in places:
        if files:
            earlier.update(filter(None, map(known, unnamed)))
            unnamed = []
            found += [(place, data) for place, data in files if known(place) not in earlier]
        unnamed += distributions
    return found


def known(distribution: Place) -> str:
    """Return the name that a distribution is told by: that of its metadata folder, where it has one."""
    if isinstance(distribution, str):
        return normalized(name_and_version(os.path.basename(distribution))[0])
    return distribution.known


def name_and_version(folder: str) -> tuple[str, str]:
    """Return name and version as the name of a metadata folder has them: ``acme_l1-2.1.dist-info``."""
    stem, suffix = os.path.splitext(folder)
    if suffix.lower() == ".egg-info":
        parts = stem.split("-")
        return parts[0], parts[1] if len(parts) > 1 else ""
    name, dash, version = stem.rpartition("-")
    return (name, version) if dash else (stem, "")


def normalized(name: str) -> str:
    """Return the name as distributions are compared: acme-l1, Acme_L1 and acme.l1 are one."""
    parts = name.lower().replace("_", "-").replace(".", "-").split("-")
    return "-".join(part for part in parts if part)
