"""Who claims which alias: distributions with their names and versions, and what only `importlib.metadata` can read.

Apart from :mod:`regkit.discovery`, because finding a regularizer in a plain folder needs none of it.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Union

    Place = Union[str, "Distribution"]  # a metadata folder, or what another finder has
    Entries = Callable[[bytes], Iterable[tuple[int, Union[str, None], str]]]

    _Triple = tuple[str | None, str | None, str]
else:
    _Triple = tuple


class Claim(_Triple):  # a named tuple, without the cost of importing collections
    """A claim of an alias: ``(distribution, version, target)``.

    `distribution` and `version` are None where the alias was registered in this process.
    """

    __slots__ = ()

    def __new__(cls, distribution: str | None, version: str | None, target: str) -> Claim:
        """Make the claim of three parts."""
        return tuple.__new__(cls, (distribution, version, target))

    def __getnewargs__(self) -> _Triple:
        return self

    @property
    def distribution(self) -> str | None:
        """Name of the distribution."""
        return self[0]

    @property
    def version(self) -> str | None:
        """Version of the distribution."""
        return self[1]

    @property
    def target(self) -> str:
        """Where the class is: ``module:Class``."""
        return self[2]

    def __repr__(self) -> str:
        return f"Claim(distribution={self[0]!r}, version={self[1]!r}, target={self[2]!r})"

    def __str__(self) -> str:
        if self.distribution is None:
            return f"{self.target} (registered in this process)"
        return f"{self.distribution} {self.version} ({self.target})"


class Installed:
    """What one reading found, parsed by a function for the entries of a file: every alias, and who claims it."""

    def __init__(self, files: list[tuple[Place, bytes]], entries: Entries) -> None:
        self.files = files
        #: What could not be read.
        self.problems: list[str] = []
        self._sources: dict[str, list[tuple[Distribution, str]]] = {}
        for place, data in files:
            distribution = _in_folder(place) if isinstance(place, str) else place
            try:
                self._add(distribution, entries(data))
            except UnicodeDecodeError as error:
                self.problems.append(f"{distribution.folder}: entry_points.txt is not UTF-8 ({error.reason})")

    def _add(self, distribution: Distribution, entries: Iterable[tuple[int, str | None, str]]) -> None:
        for line, alias, target in entries:
            if alias is None:
                self.problems.append(f"{distribution.folder}: entry_points.txt, line {line} is not alias = target")
            else:
                self._sources.setdefault(alias, []).append((distribution, target))

    @property
    def aliases(self) -> list[str]:
        """Every alias that anything claims."""
        return list(self._sources)

    def claims(self, alias: str) -> tuple[Claim, ...]:
        """Return the claims of an alias, each once, in the order of their distributions' names."""
        sources = self._sources.get(alias, [])
        return tuple(sorted({distribution.claim(target) for distribution, target in sources}))

    def places(self, claim: Claim, alias: str) -> list[str]:
        """Return the metadata folders in which a claim of an alias stands."""
        sources = self._sources.get(alias, [])
        return [distribution.folder for distribution, target in sources if distribution.claim(target) == claim]


class Distribution:
    """An installed distribution that has entry points of our group. Its name and version are read when asked for."""

    __slots__ = ("_header", "_read", "folder")

    def __init__(self, folder: str, read: Callable[[str], str | None]) -> None:
        self.folder = folder
        self._read = read
        self._header: dict[str, str] | None = None

    def claim(self, target: str) -> Claim:
        """Return this distribution's claim of a target."""
        if self._header is None:
            self._header = _header(self._read("METADATA") or self._read("PKG-INFO") or "")
        stem, version = name_and_version(os.path.basename(self.folder))
        return Claim(self._header.get("name") or stem, self._header.get("version") or version or "unknown", target)


def _in_folder(folder: str) -> Distribution:
    def read(name: str) -> str | None:
        try:
            with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as file:
                return file.read()
        except OSError:
            return None

    return Distribution(folder, read)


def by_importlib_metadata(
    finder: Any, entry: str | None, earlier: list[str], names: set[str]
) -> list[tuple[Place, bytes]]:
    """Return the files of entry points that `importlib.metadata` knows of a finder, or of an entry of the path.

    A distribution that cannot be read is as if it were not there. `earlier` and `names` are those of `not_hidden`, and
    get the names of what was found.
    """
    from importlib.metadata import DistributionFinder, MetadataPathFinder

    context = DistributionFinder.Context() if entry is None else DistributionFinder.Context(path=[entry])
    try:
        distributions = list((finder or MetadataPathFinder).find_distributions(context))
    except Exception:  # a finder of somebody else's; theirs must not harm ours
        return []
    _name_folders(earlier, names)
    found: list[tuple[Place, bytes]] = []
    here = set()
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
            place, known = name or entry or "unknown", normalized(name)
        here.add(known)
        if known not in names:
            found.append((Distribution(place, distribution.read_text), data))
    names |= here - {""}
    return found


def not_hidden(ours: list[tuple[str, bytes]], earlier: list[str], names: set[str]) -> list[tuple[str, bytes]]:
    """Return those metadata folders, with what they hold, whose distributions no earlier place has.

    `earlier` are the metadata folders of those places; their names are moved to `names`, and the list is empty then.
    """
    _name_folders(earlier, names)
    return [(folder, data) for folder, data in ours if normalized(name_and_version(folder)[0]) not in names]


def _name_folders(earlier: list[str], names: set[str]) -> None:
    """Move from folders to names. Without a name there is nothing to tell a distribution by, and it hides none."""
    names.update(filter(None, (normalized(name_and_version(folder)[0]) for folder in earlier)))
    earlier.clear()


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


def _header(text: str) -> dict[str, str]:
    """Name and version of a core metadata file: its first lines, up to an empty one."""
    header: dict[str, str] = {}
    for line in text.splitlines():
        if not line.strip():
            break
        key, colon, value = line.partition(":")
        if colon and value.strip():
            header.setdefault(key.strip().lower(), value.strip())
    return header
