"""A compile folder for each worker: graph libraries lock theirs while they compile, and others would wait for it."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from configparser import ConfigParser, Error
from contextlib import suppress
from importlib.util import find_spec
from itertools import count
from pathlib import Path

from filelock import FileLock, Timeout

#: The graph libraries that compile into a folder.
LIBRARIES = ("theano", "aesara", "pytensor")

#: By library, the lock of this process' own folder, which it has as long as it lives.
_own: dict[str, FileLock] = {}

#: Where the folders of workers are, below the user's, and within one of those what is just being taken over.
WORKERS, INCOMING = "workers", "incoming"
#: Files that libraries write once and never change, so that a second name for them does: what compilers made.
NEVER_CHANGED = (".so", ".pyd", ".dylib", ".nbc")
#: Seconds for which nobody has written what is taken over: it is complete.
SETTLED = 5.0


def take_own_folders() -> None:
    """Give every graph library that is installed, and not imported yet, a compile folder that no other process has.

    It is below the user's ``base_compiledir``. The lowest number that is free is taken, so that the next worker finds
    what was compiled there; what was compiled in the user's folder, or by other workers of this machine, is taken over.
    Libraries read the setting when they are imported.
    """
    for name in LIBRARIES:
        if name in _own or name in sys.modules or find_spec(name) is None:
            continue
        variable = f"{name.upper()}_FLAGS"
        flags = os.environ.get(variable, "")
        base = base_folder(name, flags)
        folder = _taken(name, base / WORKERS)
        for other in (base, *_neighbours(folder)):
            take_over(other, folder)
        others = [flag for flag in flags.split(",") if flag.strip() and not _is_base(flag)]
        os.environ[variable] = ",".join([*others, f"base_compiledir={folder}"])


def base_folder(library: str, flags: str) -> Path:
    """Return a library's ``base_compiledir`` without importing it: from its flags, its file, or its default."""
    written = [flag.partition("=")[2].strip() for flag in flags.split(",") if _is_base(flag)]
    if not written:
        files = os.environ.get(f"{library.upper()}RC", f"~/.{library}rc").split(os.pathsep)
        settings = ConfigParser(interpolation=None)
        try:
            settings.read([Path(file).expanduser() for file in files])
        except (Error, UnicodeDecodeError):
            settings.clear()  # the library will say what is wrong with it
        written = [settings.get("global", "base_compiledir", fallback="")]
    if written[-1]:
        return Path(written[-1]).expanduser()
    if sys.platform == "win32":
        return Path(os.environ["LOCALAPPDATA"], library.capitalize())
    return Path.home() / f".{library}"


def take_over(source: Path, folder: Path) -> None:
    """Put what was compiled in one folder into another one that no process uses yet, unless that has it already.

    Libraries find modules by a hash of their source, the compiler and its flags, which stands beside each of them, and
    not by the folder's name. What a compiler made gets a second name, so that it takes no room; the rest is copied,
    since libraries write to it.
    """
    incoming = folder / INCOMING
    for one in _compiled(source):
        goal = folder / one.relative_to(source)
        if goal.exists():
            continue
        try:
            _remove(incoming)  # of a process that was killed
            goal.parent.mkdir(parents=True, exist_ok=True)
            if one.is_dir():
                shutil.copytree(one, incoming, copy_function=_put)
            else:
                _put(one, incoming)
            incoming.replace(goal)
        except (OSError, shutil.Error):  # it is being removed, or cannot be read: then it is compiled again
            _remove(incoming)


def _compiled(source: Path) -> Iterator[Path]:
    """Yield what is complete of what was compiled: Theano's folders of modules, numba's files."""
    latest = time.time() - SETTLED
    groups = [group for group in source.glob("*") if group.name not in (WORKERS, INCOMING) and group.is_dir()]
    for one in (one for group in groups for one in group.glob("*")):
        try:
            parts = list(one.iterdir()) if one.is_dir() else [one]
            made = any(part.suffix in (*NEVER_CHANGED, ".nbi") for part in parts)
            complete = made and all(part.stat().st_mtime < latest for part in parts)
        except OSError:  # it is being removed
            continue
        if complete:
            yield one


def _remove(path: Path) -> None:
    """Remove a file or a folder as far as that is possible."""
    shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):  # also if it is a folder of which something is left
        path.unlink()


def _put(source: str | Path, goal: str | Path) -> None:
    if Path(source).suffix in NEVER_CHANGED:
        try:
            os.link(source, goal)
            return
        except OSError:  # another disk, or one that has no second names
            pass
    shutil.copy2(source, goal)


def _neighbours(folder: Path) -> list[Path]:
    """The folders of other workers of this machine, living or not."""
    machine = folder.name.rpartition("-")[0]
    return sorted(one for one in folder.parent.glob(f"{machine}-*") if one.is_dir() and one != folder)


def _taken(library: str, folder: Path) -> Path:
    """Return the first of a machine's numbered folders that no living process has, and have it."""
    folder.mkdir(parents=True, exist_ok=True)
    machine = re.sub(r"[^\w.-]", "_", socket.gethostname())
    for number in count():
        own = folder / f"{machine}-{number}"
        lock = FileLock(f"{own}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        _own[library] = lock
        own.mkdir(exist_ok=True)
        return own
    raise AssertionError("count does not end")


def _is_base(flag: str) -> bool:
    return flag.partition("=")[0].strip() == "base_compiledir"
