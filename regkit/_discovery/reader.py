"""Reads which entry points are installed, from metadata files, and imports what an entry point names.

A distribution claims an alias by an entry point::

    [project.entry-points."regkit.regularizers"]
    hidden_l1 = "regkit_hidden_l1:HiddenL1"

Plain directories on the path are read file by file: `importlib.metadata` takes 6 to 15 times as long, and lets one
broken distribution stop all others. Zip files, eggs and finders of other kinds go through it.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from .distributions import Distribution, Everything, File, Installed

_READ_ONLY = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)  # a pipe gives nothing at once


class Reading:
    """The entry points of one group, as they were installed at one time; an empty reading has none.

    Attributes
    ----------
    places : list of (files, distributions)
        Of each place on the path, the files of entry points with the group, and everything that is installed there.
    loaded : dict of str to class
        For the caller: the classes that were imported for aliases of this reading.
    """

    def __init__(self, group: str, empty: bool = False) -> None:
        self._group = group
        self._folders = _folders()
        self._changed = list(map(_change_time, self._folders))
        self.places = [] if empty else [place for place in _places(group.encode()) if place[1]]
        self._files = _visible(self.places)
        self.loaded: dict[str, type] = {}
        self._targets: dict[int, dict[str | None, set[str]]] = {}  # of each file that was parsed, by its number
        self._installed: Installed | None = None

    def is_outdated(self) -> bool:
        """Return whether the path, or a folder on it, has changed since."""
        return self._folders != _folders() or self._changed != list(map(_change_time, self._folders))

    def targets_of(self, alias: str) -> set[str]:
        """Return the targets of an alias: none, the right one, or several in conflict.

        A file is parsed at the first alias whose bytes occur in it.
        """
        name = alias.encode("utf-8", "surrogatepass")
        found: set[str] = set()
        for number, (_, data) in enumerate(self._files):
            targets = self._targets.get(number)
            if targets is None:
                if name not in data and data.isascii():  # other letters may be written in another normal form
                    continue
                targets = self._targets[number] = _targets(data, self._group)
            found |= targets.get(normal_form(alias), set())
        return found

    def all_targets(self) -> dict[str, list[str]]:
        """Return the targets of every alias."""
        found: dict[str, list[str]] = {}
        for _, data in self._files:
            for alias, targets in _targets(data, self._group).items():
                if alias is not None:
                    found[alias] = sorted({*found.get(alias, ()), *targets})
        return found

    def installed(self) -> Installed:
        """Return who claims which alias."""
        if self._installed is None:
            from .distributions import Installed

            distributions = dict.fromkeys(distribution for _, here in self.places for distribution in here)
            self._installed = Installed(self._files, distributions, lambda data: entries(data, self._group))
        return self._installed


def normal_form(alias: str) -> str:
    """Return an alias in Unicode's normal form C, in which aliases are compared."""
    if alias.isascii():
        return alias
    from unicodedata import normalize

    return normalize("NFC", alias)


def _folders() -> list[str]:
    return list(dict.fromkeys(path for path in sys.path if isinstance(path, str)))


def _change_time(folder: str) -> int | None:
    try:
        return os.stat(folder or ".").st_mtime_ns
    except (OSError, ValueError):
        return None


def _places(group: bytes) -> Iterator[Everything]:
    """Yield of each place the files of entry points with a group, and everything that is installed there.

    The places are the entries of `sys.path` and what finders of other kinds have.
    """
    for finder in list(sys.meta_path):
        if isinstance(finder, type) and finder.__name__ == "PathFinder":
            for entry in _folders():
                yield _entry(entry, group)
        elif hasattr(finder, "find_distributions"):
            yield _of_group(group, _of_finder(finder))


def _entry(entry: str, group: bytes) -> Everything:
    """Read one entry of the path."""
    try:
        children = os.listdir(entry or ".")
    except NotADirectoryError:
        if not os.path.isfile(entry):  # a pipe, of which a reading would not end
            return [], []
        children = None
    except (OSError, ValueError):  # no such folder, or no path at all: nothing can be imported from it either
        return [], []
    if children is None or entry.lower().rstrip("/\\").endswith(".egg"):
        return _of_group(group, _in_entry(entry))
    names = [child for child in children if child.lower().endswith((".dist-info", ".egg-info"))]
    if names and not os.path.isabs(entry):  # its metadata may be wanted when the process has gone elsewhere
        entry = os.path.abspath(entry)
    prefix = os.path.join(entry, "")
    folders = [prefix + name for name in names]
    files = [(folder, data) for folder in folders if group in (data := _bytes(f"{folder}/entry_points.txt"))]
    return sorted(files), folders  # in no order of the file system's


def _of_group(group: bytes, distributions: Sequence[File]) -> Everything:
    return [file for file in distributions if group in file[1]], [distribution for distribution, _ in distributions]


def _visible(places: list[Everything]) -> Sequence[File]:
    """Return the files of all places; of one distribution, those of the first place, which an import would find."""
    if len(places) > 1 and any(files for files, _ in places[1:]):
        from .distributions import visible

        return visible(places)
    return places[0][0] if places else []


def _bytes(path: str) -> bytes:
    """Return the content of a file, or nothing where there is none. `open` takes half as long again as these calls."""
    try:
        descriptor = os.open(path, _READ_ONLY)
    except OSError:
        return b""
    try:
        data = b""
        while part := os.read(descriptor, 1 << 16):
            data += part
        return data
    except OSError:  # a folder, for example
        return b""
    finally:
        os.close(descriptor)


# Zip files, eggs, and finders of other kinds, which only `importlib.metadata` can read


def _in_entry(entry: str) -> list[tuple[Distribution, bytes]]:
    """Return the distributions of a zip file or an egg on the path, with their entry points."""
    from importlib.metadata import DistributionFinder, MetadataPathFinder

    return _distributions(MetadataPathFinder, DistributionFinder.Context(path=[entry]), entry)


def _of_finder(finder: Any) -> list[tuple[Distribution, bytes]]:
    """Return the distributions that a finder of another kind has, with their entry points."""
    from importlib.metadata import DistributionFinder

    return _distributions(finder, DistributionFinder.Context(), "unknown")


def _distributions(finder: Any, context: Any, where: str) -> list[tuple[Distribution, bytes]]:
    """Return the distributions of a finder but those that cannot be read."""
    from .distributions import Distribution, name_and_version, normalized

    try:
        distributions = list(finder.find_distributions(context))
    except Exception:  # a third party's finder; an error there must not harm regkit's users
        return []
    found = []
    for distribution in distributions:
        name = ""
        try:
            name = distribution.metadata.get("Name") or ""
            data = (distribution.read_text("entry_points.txt") or "").encode()
        except UnicodeDecodeError as error:
            data = error.object  # reported where the text is needed
        except Exception:  # as above
            continue
        folder = str(getattr(distribution, "_path", ""))  # which those of the standard library and its backport have
        if not name and folder.lower().endswith((".dist-info", ".egg-info")):
            place, known = folder, normalized(name_and_version(os.path.basename(folder))[0])
        else:
            place, known = name or where, normalized(name)
        found.append((Distribution(place, known, distribution.read_text), data))
    return found


# Entry points


def entries(data: bytes, group: str) -> Iterator[tuple[int, str | None, str]]:
    """Yield line number, alias and target of each entry of a group; None for the alias where a line is no entry.

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


def _targets(data: bytes, group: str) -> dict[str | None, set[str]]:
    """Return the targets of each alias in a file; nothing of a file that is not UTF-8, which `Installed` reports."""
    found: dict[str | None, set[str]] = {}
    try:
        for _, alias, target in entries(data, group):
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
