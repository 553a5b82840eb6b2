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

import regkit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .claims import Installed, Place

GROUP = "regkit.regularizers"
_GROUP = GROUP.encode()
_READ_ONLY = os.O_RDONLY | getattr(os, "O_BINARY", 0)

#: Classes that were registered in this process, by alias; they come before what is installed.
registered: "dict[str, type]" = {}

_lock = allocate_lock()
_files: "list[tuple[Place, bytes]] | None" = None
_parsed: "Installed | None" = None
_loaded: "dict[str, tuple[type, str]]" = {}


def class_of(alias: str) -> type:
    """Return the class of an alias, importing its plugin if nobody has asked for it before.

    Raises
    ------
    UnknownAliasError, AliasConflictError, PluginLoadError, HookSignatureError
    """
    cls = registered.get(alias)
    return (_loaded.get(alias) or _load(alias))[0] if cls is None else cls


def identity_of(alias: str) -> object:
    """Return what is equal for two aliases of one regularizer: the registered class, or the target in the metadata."""
    cls = registered.get(alias)
    return (_loaded.get(alias) or _load(alias))[1] if cls is None else cls


def _load(alias: str) -> "tuple[type, str]":
    """Load the class of an installed alias; return it with its target."""
    loaded = _loaded  # of this reading, should there be another meanwhile
    targets = targets_of(alias)
    if len(targets) != 1:
        from .messages import not_one_target

        raise not_one_target(alias, installed(), registered)
    (target,) = targets
    found = loaded[alias] = _import(alias, target), target
    return found


def targets_of(alias: str) -> "set[str]":
    """Return the targets that an alias has: none, the one it should have, or several in conflict.

    Only the files in which the alias's bytes occur are parsed for it.
    """
    name = alias.encode("utf-8", "surrogatepass")
    found: set[str] = set()
    for _, data in files():
        if name in data:
            try:
                found.update(target for _, claimed, target in entries(data) if claimed == alias)
            except UnicodeDecodeError:
                continue
    return found


def files() -> "list[tuple[Place, bytes]]":
    """Return where files of entry points with our group are, and what they hold; read once and then remembered."""
    global _files
    found = _files
    if found is None:
        with _lock:
            found = _files = read() if _files is None else _files
    return found


def installed() -> "Installed":
    """Return what is installed with all that is known of it, parsed once for each reading."""
    global _parsed
    found, parsed = files(), _parsed
    if parsed is None or parsed.files is not found:
        from .claims import Installed

        parsed = _parsed = Installed(found, entries)
    return parsed


def forget() -> None:
    """Forget what was read and loaded; what was registered stays."""
    global _files, _loaded
    with _lock:
        _files = None
        _loaded = {}


def read() -> "list[tuple[Place, bytes]]":
    """Read what is installed on `sys.path` and in what other finders offer.

    Of one distribution, what an earlier place has is what an import would find.
    """
    found: list[tuple[Place, bytes]] = []
    folders: list[str] = []  # the names of all metadata folders so far
    names: set[str] = set()  # of the distributions in them, worked out where a later place has one of ours
    for finder in sys.meta_path:
        if isinstance(finder, type) and finder.__name__ == "PathFinder":
            for entry in dict.fromkeys([path for path in sys.path if isinstance(path, str)]):
                _read_entry(entry, found, folders, names)
        elif hasattr(finder, "find_distributions"):
            from .claims import by_importlib_metadata

            found += _of_our_group(by_importlib_metadata(finder, None, folders, names))
    return found


def _read_entry(entry: str, found: "list[tuple[Place, bytes]]", earlier: "list[str]", names: "set[str]") -> None:
    """Read one entry of the path."""
    try:
        children = os.listdir(entry or ".")
    except NotADirectoryError:
        children = None
    except (OSError, ValueError):  # no such folder, or no path at all: nothing can be imported from it either
        return
    if children is None or entry.lower().rstrip("/\\").endswith(".egg"):
        from .claims import by_importlib_metadata

        found += _of_our_group(by_importlib_metadata(None, entry, earlier, names))
        return
    folders = [child for child in children if child.lower().endswith((".dist-info", ".egg-info"))]
    prefix = os.path.join(entry, "")
    ours = [(folder, data) for folder in folders if _GROUP in (data := _bytes(f"{prefix}{folder}/entry_points.txt"))]
    if ours and (earlier or names):
        from .claims import not_hidden

        ours = not_hidden(ours, earlier, names)
    if ours and not os.path.isabs(entry):  # its metadata may be wanted when the process has gone elsewhere
        prefix = os.path.join(os.path.abspath(entry), "")
    found += sorted([(prefix + folder, data) for folder, data in ours])  # in no order of the file system's
    earlier += folders


def _of_our_group(files: "list[tuple[Place, bytes]]") -> "list[tuple[Place, bytes]]":
    return [(place, data) for place, data in files if _GROUP in data]


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


def entries(data: bytes) -> "Iterator[tuple[int, str | None, str]]":
    """Yield line number, alias and target of each entry of our group; no alias where the line is none.

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


def _import(alias: str, target: str) -> type:
    module, _, attribute = target.partition(":")
    try:
        if not module or not attribute:
            raise ImportError("the entry point names no class, which is written module:Class")
        __import__(module)
        found: object = sys.modules[module]
        for part in attribute.split("."):
            found = getattr(found, part)
        if not isinstance(found, type):
            raise ImportError(f"it is {found!r}, not a class")
    except (Exception, SystemExit) as error:  # whatever a plugin does while it is imported
        provider = ", ".join(map(str, installed().claims(alias)))
        raise regkit.PluginLoadError(
            f"alias {alias!r} of {provider} could not be loaded: {type(error).__name__}: {error}. "
            "Mend or uninstall that distribution; the others are not concerned"
        ) from error
    hooks_are_plain = getattr(found, "_hooks_are_plain", None)  # what a `Regularizer` knows of itself
    if hooks_are_plain is None or not hooks_are_plain():
        from ..hooks.signatures import implemented

        implemented(found)
    return found
