"""From alias to class: what is installed, read from metadata; and of all that, the one class that was asked for.

A distribution claims an alias by an entry point::

    [project.entry-points."regkit.regularizers"]
    hidden_l1 = "regkit_hidden_l1:HiddenL1"

Plain directories on the path are read here, file by file, because importing `importlib.metadata` alone costs more than
everything else that finding a regularizer takes. Zip files, eggs and finders of other kinds go to it, by way of
:mod:`regkit.discovery.claims`, which also knows whose a claim is.
"""

import os
import sys
from _thread import allocate_lock  # threading.Lock, without the cost of importing threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .claims import Everything, File, Installed

GROUP = "regkit.regularizers"
_READ_ONLY = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)  # a pipe gives nothing at once

#: Classes that were registered in this process, by alias; they come before what is installed.
registered: "dict[str, type]" = {}

_lock = allocate_lock()
_reading: "Reading | None" = None


def _renew_lock() -> None:
    global _lock
    _lock = allocate_lock()


if hasattr(os, "register_at_fork"):  # another thread may hold the lock, which would never give it back in the child
    os.register_at_fork(after_in_child=_renew_lock)


def class_of(alias: str) -> type:
    """Return the class of an alias, importing its plugin if nobody has asked for it before.

    Raises
    ------
    UnknownAliasError, AliasConflictError, PluginLoadError, HookSignatureError
    """
    cls = registered.get(alias)
    return reading().loaded(alias) if cls is None else cls


def check_known(alias: str) -> None:
    """Raise UnknownAliasError if nothing provides an alias. Nothing is imported, and a conflict does not matter."""
    if alias not in registered and not reading().targets_of(alias):
        from .messages import not_one_target

        raise not_one_target(alias, installed(), registered)


def reading() -> "Reading":
    """Return what is installed, read on first need and then remembered."""
    global _reading
    found = _reading
    if found is None:
        with _lock:
            found = _reading = Reading() if _reading is None else _reading
    return found


def installed() -> "Installed":
    """Return what is installed with all that is known of it, parsed when that is asked for."""
    return reading().installed()


def forget() -> None:
    """Forget what was read and loaded; what was registered stays."""
    global _reading
    with _lock:
        _reading = None


class Reading:
    """What is installed of a group of entry points, as it was read once, and what was loaded of it."""

    def __init__(self, group: str = GROUP) -> None:
        self._group = group
        #: Of each place, the files of entry points with the group, and everything that is installed there.
        self.places = [place for place in _places(group.encode()) if place[1]]
        self._files = _visible(self.places)
        self._loaded: dict[str, type] = {}
        self._targets: dict[int, dict[str | None, set[str]]] = {}  # by the number of a file: of each alias in it
        self._installed: Installed | None = None

    def loaded(self, alias: str) -> type:
        """Return the class of an installed alias, imported if nobody has asked for it before."""
        found = self._loaded.get(alias)
        if found is None:
            targets = self.targets_of(alias)
            if len(targets) != 1:
                from .messages import not_one_target

                raise not_one_target(alias, self.installed(), registered)
            (target,) = targets
            found = self._loaded[alias] = self._import(alias, target)
        return found

    def targets_of(self, alias: str) -> "set[str]":
        """Return the targets that an alias has: none, the one it should have, or several in conflict.

        A file is parsed when it is the first time that the bytes of an alias occur in it.
        """
        name = alias.encode("utf-8", "surrogatepass")
        found: set[str] = set()
        for number, (_, data) in enumerate(self._files):
            targets = self._targets.get(number)
            if targets is None:
                if name not in data:
                    continue
                targets = self._targets[number] = _targets(data, self._group)
            found |= targets.get(alias, set())
        return found

    def all_targets(self) -> "dict[str, list[str]]":
        """Return the targets of each alias there is."""
        found: dict[str, list[str]] = {}
        for _, data in self._files:
            for alias, targets in _targets(data, self._group).items():
                if alias is not None:
                    found[alias] = sorted({*found.get(alias, ()), *targets})
        return found

    def installed(self) -> "Installed":
        """Return who claims which alias."""
        if self._installed is None:
            from .claims import Installed

            distributions = dict.fromkeys(distribution for _, here in self.places for distribution in here)
            self._installed = Installed(self._files, distributions, lambda data: entries(data, self._group))
        return self._installed

    def _import(self, alias: str, target: str) -> type:
        try:
            found = _class(target)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever a plugin does while it is imported; some of it is not an Exception
            from .messages import not_loaded

            raise not_loaded(alias, self.installed().claims(alias), error) from error
        from ..hooks.signatures import implemented

        implemented(found)
        return found


def _places(group: bytes) -> "Iterator[Everything]":
    """Yield of each place the files of entry points with a group, and everything that is installed there.

    The places are the entries of `sys.path` and what finders of other kinds have.
    """
    for finder in sys.meta_path:
        if isinstance(finder, type) and finder.__name__ == "PathFinder":
            for entry in dict.fromkeys([path for path in sys.path if isinstance(path, str)]):
                yield _entry(entry, group)
        elif hasattr(finder, "find_distributions"):
            from .finders import of_finder

            yield _of_group(group, of_finder(finder))


def _entry(entry: str, group: bytes) -> "Everything":
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
        from .finders import in_entry

        return _of_group(group, in_entry(entry))
    names = [child for child in children if child.lower().endswith((".dist-info", ".egg-info"))]
    if names and not os.path.isabs(entry):  # its metadata may be wanted when the process has gone elsewhere
        entry = os.path.abspath(entry)
    prefix = os.path.join(entry, "")
    folders = [prefix + name for name in names]
    files = [(folder, data) for folder in folders if group in (data := _bytes(f"{folder}/entry_points.txt"))]
    return sorted(files), folders  # in no order of the file system's


def _of_group(group: bytes, distributions: "Sequence[File]") -> "Everything":
    return [file for file in distributions if group in file[1]], [distribution for distribution, _ in distributions]


def _visible(places: "list[Everything]") -> "Sequence[File]":
    """Return the files of all places; of one distribution, what an earlier place has is what an import would find."""
    if len(places) > 1 and any(files for files, _ in places[1:]):
        from .names import visible

        return visible(places)
    return places[0][0] if places else []


def _bytes(path: str) -> bytes:
    """The content of a file, or nothing where there is none. `open` takes half as long again as these calls."""
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


def entries(data: bytes, group: str = GROUP) -> "Iterator[tuple[int, str | None, str]]":
    """Yield line number, alias and target of each entry of a group; no alias where the line is none.

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
                yield number, alias.strip(), _target(value)
            else:
                yield number, None, ""


def _target(value: str) -> str:
    """``module:Class`` of an entry point's value, without spaces and without the extras it may name."""
    module, colon, attribute = value.partition("[")[0].partition(":")
    return f"{module.strip()}{colon}{attribute.strip()}"


def _targets(data: bytes, group: str) -> "dict[str | None, set[str]]":
    """Return the targets of each alias in a file; nothing of one that is not UTF-8, which is told elsewhere."""
    found: dict[str | None, set[str]] = {}
    try:
        for _, alias, target in entries(data, group):
            found.setdefault(alias, set()).add(target)
    except UnicodeDecodeError:
        pass
    return found


def imported(target: str) -> object:
    """Import what a target names, ``module:attribute``, of whichever type it is."""
    module, _, attribute = target.partition(":")
    __import__(module)
    found: object = sys.modules[module]
    for part in attribute.split("."):
        found = getattr(found, part)
    return found


def _class(target: str) -> type:
    """Import the class that a target names."""
    module, _, attribute = target.partition(":")
    if not module or not attribute:
        raise ImportError("the entry point names no class, which is written module:Class")
    found = imported(target)
    if not isinstance(found, type):
        raise ImportError(f"{attribute} is of type {type(found).__name__}, not a class")
    return found
