"""Reads which entry points are installed, and imports the object that an entry point names.

A distribution claims an alias by an entry point::

    [project.entry-points."regkit.regularizers"]
    hidden_l1 = "regkit_hidden_l1:HiddenL1"

Folders on the path are read file by file: `importlib.metadata` takes at least five times as long, and one broken
distribution stops it. Zip files, eggs and finders of other kinds are left to it.

The environment variable ``REGKIT_BLOCK=name[,name]`` leaves distributions out.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, Union

    Source = Union[str, "Distribution"]  # a metadata folder, or a distribution of another finder
    File = tuple[Source, bytes]  # an entry_points.txt
    Place = tuple[list[File], list[Source]]  # files that mention the group, and everything that is installed there

#: The environment variable with the names of distributions that do not count.
BLOCK = "REGKIT_BLOCK"

_METADATA = (".dist-info", ".egg-info")
_LEFT_BY_PIP = "~"  # pip renames what it replaces, and on Windows cannot always remove it afterwards
_READ_ONLY = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)  # an empty pipe does not block
_AT_ONCE = 1 << 16


class Reading:
    """The entry points of one group, as they are installed when the reading is made.

    Attributes
    ----------
    group : str
    files : list of (distribution, data)
        The files of entry points that count.
    hidden : list of ((distribution, data), distribution)
        Files that do not count, and the distribution of the same name, earlier on the path, that hides each.
    blocked : list of (distribution, data)
        Files of distributions that `REGKIT_BLOCK` leaves out.
    distributions : list
        Everything that is installed, with or without entry points, in the order of the path.
    loaded : dict of str to class
        The classes that the caller has imported for aliases of this reading.
    """

    def __init__(self, group: str, places: Iterable[Place] | None = None) -> None:
        self.group = group
        self._folders = _folders()
        self._changed = list(map(_change_time, self._folders))
        places = [place for place in (scan(group) if places is None else places) if place[1]]
        self.files, self.hidden = _first_copies(places)
        self.blocked: list[File] = []
        if os.environ.get(BLOCK):
            left_out = blocked_names()
            self.blocked = [file for file in self.files if key_of(file[0]) in left_out]
            self.files = [file for file in self.files if key_of(file[0]) not in left_out]
            self.hidden = [(file, first) for file, first in self.hidden if key_of(file[0]) not in left_out]
        self.distributions = [distribution for _, here in places for distribution in here]
        self.loaded: dict[str, type] = {}
        self._parsed: dict[int, dict[str, set[str]]] = {}  # by the position of the file
        self._all: dict[str, list[str]] | None = None

    def is_outdated(self) -> bool:
        """Return whether the path, or a folder on it, has changed since."""
        return self._folders != _folders() or self._changed != list(map(_change_time, self._folders))

    def targets_of(self, alias: str) -> set[str]:
        """Return the targets of an alias: none, one, or several that conflict.

        Where no distribution claims ``acme-l1:hidden_l1``, it is the alias hidden_l1 of the distribution acme-l1. A
        file is parsed when the bytes of an alias first occur in it.
        """
        alias = normal_form(alias)
        found = self._targets_of(alias, None)
        if not found and ":" in alias:
            distribution, _, alias = alias.partition(":")
            found = self._targets_of(alias, normalized(distribution))
        return found

    def _targets_of(self, alias: str, distribution: str | None) -> set[str]:
        name = alias.encode("utf-8", "surrogatepass")
        found: set[str] = set()
        for position, (source, data) in enumerate(self.files):
            # the bytes of other letters than those of ASCII depend on the normal form
            if (name in data or not data.isascii()) and distribution in (None, key_of(source)):
                found |= self._targets_in(position).get(alias, set())
        return found

    def all_targets(self) -> dict[str, list[str]]:
        """Return the targets of every alias."""
        if self._all is None:
            found: dict[str, set[str]] = {}
            for position in range(len(self.files)):
                for alias, targets in self._targets_in(position).items():
                    found[alias] = found.get(alias, set()) | targets
            self._all = {alias: sorted(targets) for alias, targets in found.items()}
        return self._all

    def _targets_in(self, position: int) -> dict[str, set[str]]:
        targets = self._parsed.get(position)
        if targets is None:
            targets = self._parsed[position] = targets_in(self.files[position][1], self.group)
        return targets


class Distribution:
    """An installed distribution, whose name and version are read when they are needed.

    Attributes
    ----------
    folder : str
        The metadata folder; a name of the distribution where a finder keeps none.
    key : str
        The normalized name. A distribution with the same key, earlier on the path, hides this one. Empty if there is no
        name: then it hides none.
    read : callable
        Returns the text of a metadata file, or None if there is no such file.
    """

    __slots__ = ("_header", "folder", "key", "read")

    def __init__(self, folder: str, key: str, read: Callable[[str], str | None]) -> None:
        self.folder = folder
        self.key = key
        self.read = read
        self._header: dict[str, str] | None = None

    @property
    def name(self) -> str:
        """The name in the metadata, or in the name of the folder."""
        return self._field("name") or _name_and_version(self.folder)[0]

    @property
    def version(self) -> str:
        """The version in the metadata, or in the name of the folder."""
        return self._field("version") or _name_and_version(self.folder)[1] or "unknown"

    def _field(self, field: str) -> str | None:
        if self._header is None:
            self._header = _header(self.read("METADATA") or self.read("PKG-INFO") or "")
        return self._header.get(field)


def _header(text: str) -> dict[str, str]:
    """Return the fields of a core metadata file: the lines before the first empty one."""
    header: dict[str, str] = {}
    for line in text.splitlines():
        if not line.strip():
            break
        key, colon, value = line.partition(":")
        if colon and value.strip():
            header.setdefault(key.strip().lower(), value.strip())
    return header


def distribution_of(source: Source) -> Distribution:
    """Return the distribution of a metadata folder, or one of another finder as it is."""
    if not isinstance(source, str):
        return source

    def read(name: str) -> str | None:
        path = os.path.join(source, name)
        if not os.path.isfile(path):  # a pipe would block
            return None
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                return file.read()
        except OSError:
            return None

    return Distribution(source, key_of(source), read)


def key_of(source: Source) -> str:
    """Return the normalized name of a distribution, by the name of its metadata folder if it has one."""
    return normalized(_name_and_version(source)[0]) if isinstance(source, str) else source.key


def _name_and_version(folder: str) -> tuple[str, str]:
    """Return name and version in the name of a metadata folder: ``acme_l1-2.1.dist-info``."""
    stem, suffix = os.path.splitext(os.path.basename(folder))
    if suffix.lower() == ".egg-info":
        parts = stem.split("-")
        return parts[0], parts[1] if len(parts) > 1 else ""
    name, dash, version = stem.rpartition("-")
    return (name, version) if dash else (stem, "")


def blocked_names() -> list[str]:
    """Return the normalized names of the distributions that the environment leaves out."""
    return [normalized(name.strip()) for name in os.environ.get(BLOCK, "").split(",") if name.strip()]


def normalized(name: str) -> str:
    """Return the name as distributions are compared: acme-l1, Acme_L1 and acme.l1 are one."""
    parts = name.lower().replace("_", "-").replace(".", "-").split("-")
    return "-".join(part for part in parts if part)


def normal_form(alias: str) -> str:
    """Return an alias in Unicode's normal form C, in which aliases are compared."""
    if alias.isascii():
        return alias
    from unicodedata import normalize

    return normalize("NFC", alias)


# The places of the path


def scan(mention: str) -> Iterator[Place]:
    """Yield for each place the files of entry points that mention a group, and everything that is installed there.

    The places are the entries of `sys.path`, and finders of other kinds.
    """
    group = mention.encode()
    for finder in list(sys.meta_path):
        if isinstance(finder, type) and finder.__name__ == "PathFinder":
            for entry in _folders():
                yield _entry(entry, group)
        elif hasattr(finder, "find_distributions"):
            yield _of_finder(finder, group)


def left_by_pip(mention: str) -> list[str]:
    """Return the metadata folders that pip renamed and did not remove, whose entry points mention a group."""
    found: dict[str, None] = {}  # a folder may be on the path twice
    for entry in _folders():
        try:
            entry = os.path.realpath(entry)
            children = os.listdir(entry)
        except (OSError, ValueError):
            continue
        left = [child for child in sorted(children) if child.startswith(_LEFT_BY_PIP) and child.endswith(_METADATA)]
        folders = [os.path.join(entry, child) for child in left]
        found.update((folder, None) for folder in folders if mention.encode() in _bytes(f"{folder}/entry_points.txt"))
    return list(found)


def _folders() -> list[str]:
    return list(dict.fromkeys(path for path in sys.path if isinstance(path, str)))


def _change_time(folder: str) -> int | None:
    try:
        return os.stat(folder or ".").st_mtime_ns
    except (OSError, ValueError):
        return None


def _entry(entry: str, group: bytes) -> Place:
    """Read one entry of the path."""
    try:
        children = os.listdir(entry or ".")
    except NotADirectoryError:
        if not os.path.isfile(entry):  # a pipe would block
            return [], []
        children = None
    except (OSError, ValueError):  # no such folder, or not a path: nothing can be imported from it either
        return [], []
    if children is None or entry.lower().rstrip("/\\").endswith(".egg"):
        return _in_entry(entry, group)
    names = [child for child in children if child.lower().endswith(_METADATA) and child[0] != _LEFT_BY_PIP]
    if names and not os.path.isabs(entry):  # the process may change its working directory before metadata are needed
        entry = os.path.abspath(entry)
    prefix = os.path.join(entry, "")
    folders: list[Source] = [prefix + name for name in sorted(names)]  # the file system has no order
    return [(folder, data) for folder in folders if group in (data := _bytes(f"{folder}/entry_points.txt"))], folders


def _first_copies(places: list[Place]) -> tuple[list[File], list[tuple[File, Source]]]:
    """Return the files that count, and those hidden by a distribution of the same name in an earlier place."""
    files: list[File] = []
    hidden: list[tuple[File, Source]] = []
    first: dict[str, Source] = {}
    without_key: list[Source] = []  # of earlier places: most often no key is needed
    for here, distributions in places:
        if here:
            for source in without_key:
                first.setdefault(key_of(source), source)
            first.pop("", None)
            without_key = []
        for file in here:
            other = first.get(key_of(file[0])) if first else None
            if other is None:
                files.append(file)
            else:
                hidden.append((file, other))
        without_key = without_key + distributions
    return files, hidden


def _bytes(path: str) -> bytes:
    """Return the content of a file; nothing if there is no file. `open` takes twice as long as these calls."""
    try:
        descriptor = os.open(path, _READ_ONLY)
    except OSError:
        return b""
    try:
        data = part = os.read(descriptor, _AT_ONCE)
        while len(part) == _AT_ONCE:
            part = os.read(descriptor, _AT_ONCE)
            data += part
        return data
    except OSError:  # a folder, for example
        return b""
    finally:
        os.close(descriptor)


# Zip files, eggs, and finders of other kinds, which only `importlib.metadata` can read


def _in_entry(entry: str, group: bytes) -> Place:
    """Read a zip file or an egg on the path."""
    from importlib.metadata import DistributionFinder, MetadataPathFinder

    return _by_library(MetadataPathFinder, DistributionFinder.Context(path=[entry]), entry, group)


def _of_finder(finder: Any, group: bytes) -> Place:
    """Read a finder of another kind."""
    from importlib.metadata import DistributionFinder

    return _by_library(finder, DistributionFinder.Context(), "unknown", group)


def _by_library(finder: Any, context: Any, where: str, group: bytes) -> Place:
    """Read what a finder has, without the distributions that cannot be read."""
    files: list[File] = []
    found: list[Source] = []
    try:
        distributions = list(finder.find_distributions(context))
    except Exception:  # an error in a finder of a third party must not harm others
        return files, found
    for distribution in distributions:
        folder = str(getattr(distribution, "_path", "")).rstrip("/\\")  # of the standard library, and of its backport
        stem = os.path.basename(folder)
        if stem.startswith(_LEFT_BY_PIP):
            continue
        name = ""
        try:
            name = distribution.metadata.get("Name") or ""
            data = (distribution.read_text("entry_points.txt") or "").encode()
        except UnicodeDecodeError as error:
            data = error.object  # reported when the text is needed
        except Exception:  # as above
            continue
        if not name and stem.lower().endswith(_METADATA):
            found.append(Distribution(folder, key_of(folder), _reader(distribution)))
        else:
            found.append(Distribution(name or where, normalized(name), _reader(distribution)))
        if group in data:
            files.append((found[-1], data))
    return files, found


def _reader(distribution: Any) -> Callable[[str], str | None]:
    def read(name: str) -> str | None:
        try:
            text: str | None = distribution.read_text(name)
        except Exception:  # as above
            return None
        return text

    return read


# Entry points


def entries(data: bytes, group: str) -> Iterator[tuple[int, str | None, str]]:
    """Yield line number, alias and target of each entry of a group; the alias is None if a line is not an entry.

    Raises
    ------
    UnicodeDecodeError
        At the first entry.
    """
    inside = False
    text = data.decode()
    for number, raw in enumerate((text[1:] if text[:1] == "\ufeff" else text).splitlines(), start=1):
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        if line.startswith("[") and line.endswith("]"):
            inside = line[1:-1].strip() == group
        elif inside:
            alias, equals, value = line.partition("=")
            if equals and alias.strip() and value.strip():
                yield number, normal_form(alias.strip()), _target(value)
            else:
                yield number, None, ""


def _target(value: str) -> str:
    """Return ``module:Class`` of an entry point's value, without spaces and extras."""
    module, colon, attribute = value.partition("[")[0].partition(":")
    return f"{module.strip()}{colon}{attribute.strip()}"


def targets_in(data: bytes, group: str) -> dict[str, set[str]]:
    """Return the targets of each alias in a file; none if it is not UTF-8, which `Installed.problems` reports."""
    found: dict[str, set[str]] = {}
    try:
        for _, alias, target in entries(data, group):
            if alias is not None:
                found.setdefault(alias, set()).add(target)
    except UnicodeDecodeError:
        pass
    return found


def imported(target: str) -> object:
    """Import the object that a target names: ``module:attribute``."""
    module, _, attribute = target.partition(":")
    __import__(module)
    found: object = sys.modules[module]
    for part in attribute.split("."):
        found = getattr(found, part)
    return found
