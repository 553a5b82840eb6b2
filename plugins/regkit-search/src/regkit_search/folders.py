"""A compile folder for each worker: graph libraries lock theirs while they compile, and others would wait for it."""

from __future__ import annotations

import os
import re
import socket
import sys
from configparser import ConfigParser, Error
from itertools import count
from pathlib import Path

from filelock import FileLock, Timeout

from regkit.graph import LIBRARIES

#: By library, the lock of this process' own folder, which it has as long as it lives.
_own: dict[str, FileLock] = {}


def take_own_folders() -> list[str]:
    """Give every graph library that is not imported yet a compile folder that no other process has.

    It is below the user's ``base_compiledir``. The lowest number that is free is taken, so that the next worker finds
    what was compiled there. Libraries read the setting when they are imported.

    Returns
    -------
    list of str
        The libraries for which it is too late.
    """
    late = []
    for name in LIBRARIES:
        if name in _own:
            continue
        if name in sys.modules:
            late.append(name)
            continue
        variable = f"{name.upper()}_FLAGS"
        flags = os.environ.get(variable, "")
        folder = _taken(name, Path(base_folder(name, flags), "workers"))
        others = [flag for flag in flags.split(",") if flag.strip() and not _is_base(flag)]
        os.environ[variable] = ",".join([*others, f"base_compiledir={folder}"])
    return late


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
