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
else:
    _Triple = tuple

GROUP = "regkit.regularizers"


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
    """Everything that one reading found: the sources of each alias, and what could not be read."""

    __slots__ = ("problems", "sources")

    def __init__(self) -> None:
        self.sources: dict[str, list[tuple[Distribution, str]]] = {}
        self.problems: list[str] = []

    def claims(self, alias: str) -> tuple[Claim, ...]:
        """Return the claims of an alias, each once, in the order of their distributions' names."""
        claims = {distribution.claim(target) for distribution, target in self.sources.get(alias, ())}
        return tuple(sorted(claims))

    def places(self, claim: Claim, alias: str) -> list[str]:
        """Return the metadata folders in which a claim of an alias stands."""
        return [d.folder for d, target in self.sources.get(alias, ()) if d.claim(target) == claim]

    def targets(self, alias: str) -> set[str]:
        """Return the different targets that an alias has: none, the one it should have, or several in conflict."""
        return {target for _, target in self.sources.get(alias, ())}


def read() -> Installed:
    """Read what is installed on `sys.path` and in what other finders offer."""
    installed = Installed()
    seen: set[str] = set()
    for finder in sys.meta_path:
        if not hasattr(finder, "find_distributions"):
            continue
        if getattr(finder, "__name__", None) == "PathFinder" and isinstance(finder, type):
            for entry in dict.fromkeys(path for path in sys.path if isinstance(path, str)):
                _read_entry(entry, installed, seen)
        else:
            _add(installed, seen, _from_library(finder, None))
    return installed


def _read_entry(entry: str, installed: Installed, seen: set[str]) -> None:
    """Read one entry of the path. What an earlier entry has of the same name is what an import would find."""
    try:
        children = os.listdir(entry or ".")
    except NotADirectoryError:
        children = None
    except (OSError, ValueError):  # no such folder, or no path at all: nothing can be imported from it either
        return
    if children is None or entry.lower().rstrip("/\\").endswith(".egg"):
        from importlib.machinery import PathFinder

        _add(installed, seen, _from_library(PathFinder, entry))
    else:
        _add(installed, seen, _from_folder(entry, children))


def _from_folder(entry: str, children: list[str]) -> Iterator[tuple[str, Distribution, bytes]]:
    # sorted, so that the order of the file system changes nothing
    for child in sorted(child for child in children if child.lower().endswith((".dist-info", ".egg-info"))):
        folder = os.path.join(entry, child)

        def read(name: str, folder: str = folder) -> str | None:
            data = _bytes(os.path.join(folder, name))
            return None if data is None else data.decode("utf-8", "replace")

        yield (
            _normalized(_name_and_version(child)[0]),
            Distribution(folder, read),
            _bytes(os.path.join(folder, "entry_points.txt")) or b"",
        )


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


def _add(installed: Installed, seen: set[str], found: Iterable[tuple[str, Distribution, bytes]]) -> None:
    """Add the claims of distributions of one place to what was found in the places before it."""
    here = set()
    group = GROUP.encode()
    for name, distribution, data in found:
        if name in seen:
            continue
        if name:  # those without a name have nothing to be told apart by, and hide nobody
            here.add(name)
        if group not in data:
            continue
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            installed.problems.append(f"{distribution.folder}: entry_points.txt is not UTF-8 ({error.reason})")
            continue
        for line, alias, target in _entries(text):
            if alias is None:
                installed.problems.append(f"{distribution.folder}: entry_points.txt, line {line} is not alias = target")
            else:
                installed.sources.setdefault(alias, []).append((distribution, target))
    seen |= here


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
