"""What is installed: aliases, and the distributions that claim them, read from metadata without importing any plugin.

A distribution claims an alias by an entry point::

    [project.entry-points."regkit.regularizers"]
    hidden_l1 = "regkit_hidden_l1:HiddenL1"

Plain directories on the path are read here, file by file, because importing `importlib.metadata` alone costs more than
everything else that finding a regularizer takes. Zip files, eggs and finders of other kinds go to it.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    _Triple = tuple[str | None, str | None, str]
    _File = tuple[str | "Distribution", bytes]  # a metadata folder, or what another finder has; its entry points
else:
    _Triple = tuple

GROUP = "regkit.regularizers"
_GROUP = GROUP.encode()


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
        stem, version = _name_and_version(os.path.basename(self.folder))
        return Claim(self._header.get("name") or stem, self._header.get("version") or version or "unknown", target)


class Installed:
    """Everything that one reading found: the files that may have an alias, parsed when it is asked for."""

    __slots__ = ("_by_alias", "_everything", "_files")

    def __init__(self, files: list[_File]) -> None:
        self._files = files
        self._by_alias: dict[str, list[tuple[Distribution, str]]] = {}
        self._everything: tuple[dict[str, list[tuple[Distribution, str]]], list[str]] | None = None

    @property
    def sources(self) -> dict[str, list[tuple[Distribution, str]]]:
        """Every alias, with the distributions that claim it and their targets."""
        return self._parsed()[0]

    @property
    def problems(self) -> list[str]:
        """What could not be read."""
        return self._parsed()[1]

    def claims(self, alias: str) -> tuple[Claim, ...]:
        """Return the claims of an alias, each once, in the order of their distributions' names."""
        return tuple(sorted({distribution.claim(target) for distribution, target in self._of(alias)}))

    def places(self, claim: Claim, alias: str) -> list[str]:
        """Return the metadata folders in which a claim of an alias stands."""
        return [distribution.folder for distribution, target in self._of(alias) if distribution.claim(target) == claim]

    def targets(self, alias: str) -> set[str]:
        """Return the different targets that an alias has: none, the one it should have, or several in conflict."""
        return {target for _, target in self._of(alias)}

    def _of(self, alias: str) -> list[tuple[Distribution, str]]:
        """The sources of one alias, from the files in which its bytes occur: the others need not be parsed for it."""
        found = self._by_alias.get(alias)
        if found is None:
            name = alias.encode("utf-8", "surrogatepass")
            files = [file for file in self._files if name in file[1]]
            found = self._by_alias[alias] = _parse(files)[0].get(alias, [])
        return found

    def _parsed(self) -> tuple[dict[str, list[tuple[Distribution, str]]], list[str]]:
        if self._everything is None:
            self._everything = _parse(self._files)
        return self._everything


def _parse(files: list[_File]) -> tuple[dict[str, list[tuple[Distribution, str]]], list[str]]:
    """Return the sources of every alias in some files, and what could not be read of them."""
    sources: dict[str, list[tuple[Distribution, str]]] = {}
    problems = []
    for place, data in files:
        distribution = _distribution(place) if isinstance(place, str) else place
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            problems.append(f"{distribution.folder}: entry_points.txt is not UTF-8 ({error.reason})")
            continue
        for line, alias, target in _entries(text[1:] if text[:1] == "\ufeff" else text):
            if alias is None:
                problems.append(f"{distribution.folder}: entry_points.txt, line {line} is not alias = target")
            else:
                sources.setdefault(alias, []).append((distribution, target))
    return sources, problems


def read() -> Installed:
    """Read what is installed on `sys.path` and in what other finders offer."""
    files: list[_File] = []
    earlier = _Names()
    for finder in sys.meta_path:
        if not hasattr(finder, "find_distributions"):
            continue
        if getattr(finder, "__name__", None) == "PathFinder" and isinstance(finder, type):
            for entry in dict.fromkeys(path for path in sys.path if isinstance(path, str)):
                _read_entry(entry, files, earlier)
        else:
            _add_from_library(finder, None, files, earlier)
    return Installed(files)


class _Names:
    """The names of the distributions in the places that were read; worked out where a later place has one of ours.

    Of one distribution, what an earlier place has is what an import would find.
    """

    __slots__ = ("_folders", "_names")

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._folders: list[str] = []

    def __bool__(self) -> bool:
        return bool(self._folders or self._names)

    def __contains__(self, name: str) -> bool:
        while self._folders:
            self._add(_normalized(_name_and_version(self._folders.pop())[0]))
        return name in self._names

    def add_folders(self, folders: list[str]) -> None:
        self._folders += folders

    def add(self, names: Iterable[str]) -> None:
        for name in names:
            self._add(name)

    def _add(self, name: str) -> None:
        if name:  # those without a name have nothing to be told apart by, and hide nobody
            self._names.add(name)


def _read_entry(entry: str, files: list[_File], earlier: _Names) -> None:
    """Read one entry of the path."""
    try:
        children = os.listdir(entry or ".")
    except NotADirectoryError:
        children = None
    except (OSError, ValueError):  # no such folder, or no path at all: nothing can be imported from it either
        return
    if children is None or entry.lower().rstrip("/\\").endswith(".egg"):
        from importlib.machinery import PathFinder

        _add_from_library(PathFinder, entry, files, earlier)
        return
    folders = [child for child in children if child.lower().endswith((".dist-info", ".egg-info"))]
    ours = []
    prefix = os.path.join(entry, "")
    for child in folders:
        folder = prefix + child
        data = _bytes(folder + "/entry_points.txt")
        if (
            data is not None
            and _GROUP in data
            and not (earlier and _normalized(_name_and_version(child)[0]) in earlier)
        ):
            ours.append((folder, data))
    files += sorted(ours)  # so that the order of the file system changes nothing
    earlier.add_folders(folders)


def _distribution(folder: str) -> Distribution:
    def read(name: str) -> str | None:
        data = _bytes(os.path.join(folder, name))
        return None if data is None else data.decode("utf-8", "replace")

    return Distribution(folder, read)


def _add_from_library(finder: Any, entry: str | None, files: list[_File], earlier: _Names) -> None:
    """Add what `importlib.metadata` knows of one finder."""
    here = list(_from_library(finder, entry))
    for name, distribution, data in here:
        if _GROUP in data and name not in earlier:
            files.append((distribution, data))
    earlier.add(name for name, _, _ in here)


def _from_library(finder: Any, entry: str | None) -> Iterator[tuple[str, Distribution, bytes]]:
    """What `importlib.metadata` knows of one finder. A distribution that cannot be read is as if it were not there."""
    from importlib.metadata import DistributionFinder

    context = DistributionFinder.Context() if entry is None else DistributionFinder.Context(path=[entry])
    try:
        distributions = list(finder.find_distributions(context))
    except Exception:  # a finder of somebody else's; theirs must not harm ours
        return
    for distribution in distributions:
        name = ""
        try:
            name = distribution.metadata.get("Name") or ""
            data = (distribution.read_text("entry_points.txt") or "").encode()
        except UnicodeDecodeError as error:
            data = error.object  # said to be unreadable where its text is needed
        except Exception:  # as above
            continue
        yield _normalized(name), Distribution(name or entry or "unknown", distribution.read_text), data


def _entries(text: str) -> Iterator[tuple[int, str | None, str]]:
    """Yield line number, alias and target of each entry of our group; no alias where the line is none."""
    inside = False
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        if line.startswith("[") and line.endswith("]"):
            inside = line[1:-1].strip() == GROUP
        elif inside:
            alias, equals, value = line.partition("=")
            if equals and alias.strip() and value.strip():
                yield number, alias.strip(), _target(value)
            else:
                yield number, None, ""


def _target(value: str) -> str:
    """``module:Class`` of an entry point's value, without spaces and without the extras it may name."""
    module, colon, attribute = value.partition("[")[0].partition(":")
    return f"{module.strip()}{colon}{attribute.strip()}"


def _bytes(path: str) -> bytes | None:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except OSError:
        return None


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


def _name_and_version(folder: str) -> tuple[str, str]:
    """Name and version as the name of a metadata folder has them: ``acme_l1-2.1.dist-info``."""
    stem, suffix = os.path.splitext(folder)
    if suffix.lower() == ".egg-info":
        parts = stem.split("-")
        return parts[0], parts[1] if len(parts) > 1 else ""
    name, dash, version = stem.rpartition("-")
    return (name, version) if dash else (stem, "")


def _normalized(name: str) -> str:
    """The name as distributions are compared: acme-l1, Acme_L1 and acme.l1 are one."""
    parts = name.lower().replace("_", "-").replace(".", "-").split("-")
    return "-".join(part for part in parts if part)
