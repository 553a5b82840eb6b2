"""Distributions as their metadata describes them: names, versions, who claims which alias, which copy counts."""

from __future__ import annotations

import os
from collections import namedtuple

from .._messages import escaped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import NamedTuple, Union

    class _Triple(NamedTuple):
        distribution: str | None
        version: str | None
        target: str

    Place = Union[str, "Distribution"]  # a metadata folder, or what another finder has
    File = tuple[Place, bytes]  # an entry_points.txt, and whose it is
    Everything = tuple[Sequence[File], Sequence[Place]]  # of one place: the files with our group, and all that is there
    Entries = Callable[[bytes], Iterable[tuple[int, Union[str, None], str]]]
else:
    _Triple = namedtuple("Claim", ["distribution", "version", "target"])


class Claim(_Triple):
    """A claim of an alias: ``(distribution, version, target)``.

    `distribution` and `version` are None where the alias was registered in this process.
    """

    __slots__ = ()

    def __str__(self) -> str:
        if self.distribution is None:
            return escaped(f"{self.target} (registered in this process)")
        return escaped(f"{self.distribution} {self.version} ({self.target})")


class Installed:
    """What one reading found, parsed by a function for the entries of a file: every alias, and who claims it.

    `files` are those of our group; `distributions` is everything that was found, which may hide one of ours.
    """

    def __init__(self, files: Iterable[File], distributions: Iterable[Place], entries: Entries) -> None:
        self._problems: list[str] = []
        self._distributions = distributions
        self._sources: dict[str, list[tuple[Distribution, str]]] = {}
        for place, data in files:
            distribution = in_folder(place) if isinstance(place, str) else place
            try:
                self._add(distribution, entries(data))
            except UnicodeDecodeError as error:
                self._problems.append(_problem(distribution.folder, f" is not UTF-8 ({error.reason})"))

    @property
    def problems(self) -> list[str]:
        """What could not be read, whether it has plugins or not."""
        unreadable = [(place, _unreadable(place)) for place in self._distributions if isinstance(place, str)]
        return [*self._problems, *(_problem(place, why) for place, why in unreadable if why)]

    def _add(self, distribution: Distribution, entries: Iterable[tuple[int, str | None, str]]) -> None:
        for line, alias, target in entries:
            if alias is None:
                self._problems.append(_problem(distribution.folder, f", line {line} is not alias = target"))
            else:
                self._sources.setdefault(alias, []).append((distribution, target))

    def called(self, name: str) -> list[Distribution]:
        """Return the distributions of a name, with plugins or without, in the order of the path."""
        found = [distribution for distribution in self._distributions if known(distribution) == normalized(name)]
        return [in_folder(place) if isinstance(place, str) else place for place in found]

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
    """An installed distribution. Its name and version are read when asked for."""

    __slots__ = ("_header", "folder", "known", "read")

    def __init__(self, folder: str, known: str, read: Callable[[str], str | None]) -> None:
        self.folder = folder
        #: The name that it is told by, which an earlier one may hide; empty where it has none.
        self.known = known
        #: The text of one of its files of metadata, None where there is none.
        self.read = read
        self._header: dict[str, str] | None = None

    @property
    def name(self) -> str:
        """Its name, from the metadata's header or that of the folder."""
        return self._said("name") or name_and_version(os.path.basename(self.folder))[0]

    @property
    def version(self) -> str:
        """Its version, from the metadata's header or the name of the folder."""
        return self._said("version") or name_and_version(os.path.basename(self.folder))[1] or "unknown"

    def claim(self, target: str) -> Claim:
        """Return this distribution's claim of a target."""
        return Claim(self.name, self.version, target)

    def has_file(self, path: str) -> bool:
        """Tell whether a file is installed by it, as far as it keeps a list of them."""
        record = self.read("RECORD") or self.read("installed-files.txt")
        return record is None or path in record

    def _said(self, field: str) -> str | None:
        if self._header is None:
            self._header = _header(self.read("METADATA") or self.read("PKG-INFO") or "")
        return self._header.get(field)


def in_folder(folder: str) -> Distribution:
    """Return the distribution of a metadata folder."""

    def read(name: str) -> str | None:
        path = os.path.join(folder, name)
        if not os.path.isfile(path):  # a pipe, of which a reading would not end
            return None
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                return file.read()
        except OSError:
            return None

    return Distribution(folder, known(folder), read)


def _unreadable(folder: str) -> str | None:
    """Return why a metadata folder's entry_points.txt cannot be read; None if it can, or if there is none."""
    path = os.path.join(folder, "entry_points.txt")
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):  # older metadata is one file
        return None
    except OSError as error:
        return f" cannot be read: {error.strerror}"
    try:
        os.stat(path)
        if not os.path.isfile(path):
            return " cannot be read: it is not a file"
        with open(path, "rb"):
            return None
    except OSError as error:
        return f" cannot be read: {error.strerror}"


def _problem(folder: str, what: str) -> str:
    return f"{escaped(folder)}: entry_points.txt{what}"


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
