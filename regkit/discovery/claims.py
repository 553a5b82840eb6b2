"""Who claims which alias: distributions with their names and versions.

Apart from :mod:`regkit.discovery`, because finding a regularizer in a plain folder needs none of it.
"""

from __future__ import annotations

import os

from ..messages import escaped
from .names import known, name_and_version, normalized

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Union

    Place = Union[str, "Distribution"]  # a metadata folder, or what another finder has
    File = tuple[Place, bytes]  # what an entry_points.txt holds, and whose it is
    Everything = tuple[Sequence[File], Sequence[Place]]  # of one place: the files of our group, and all that is there
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
