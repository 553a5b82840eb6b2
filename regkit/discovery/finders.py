"""What only `importlib.metadata` can read: zip files, eggs, and finders of other kinds."""

from __future__ import annotations

import os
from importlib.metadata import DistributionFinder, MetadataPathFinder

from .claims import Distribution
from .names import name_and_version, normalized

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def in_entry(entry: str) -> list[tuple[Distribution, bytes]]:
    """Return the distributions of a zip file or an egg on the path, with their entry points."""
    return _distributions(MetadataPathFinder, DistributionFinder.Context(path=[entry]), entry)


def of_finder(finder: Any) -> list[tuple[Distribution, bytes]]:
    """Return the distributions that a finder of another kind has, with their entry points."""
    return _distributions(finder, DistributionFinder.Context(), "unknown")


def _distributions(finder: Any, context: Any, where: str) -> list[tuple[Distribution, bytes]]:
    """Return what a finder has; a distribution that cannot be read is as if it were not there."""
    try:
        distributions = list(finder.find_distributions(context))
    except Exception:  # a finder of somebody else's; theirs must not harm ours
        return []
    found = []
    for distribution in distributions:
        name = ""
        try:
            name = distribution.metadata.get("Name") or ""
            data = (distribution.read_text("entry_points.txt") or "").encode()
        except UnicodeDecodeError as error:
            data = error.object  # said to be unreadable where its text is needed
        except Exception:  # as above
            continue
        folder = str(getattr(distribution, "_path", ""))  # which the library's own have, and its backport's
        if not name and folder.lower().endswith((".dist-info", ".egg-info")):
            place, known = folder, normalized(name_and_version(os.path.basename(folder))[0])
        else:
            place, known = name or where, normalized(name)
        found.append((Distribution(place, known, distribution.read_text), data))
    return found
