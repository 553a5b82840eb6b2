"""Lets applications that PyInstaller freezes find their plugins.

PyInstaller finds `hook_dirs` by its entry point ``pyinstaller40``, and hook-regkit.py in that folder. Plugins are named
only in metadata, so it sees no import of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .._discovery import GROUP
from .._discovery.reader import Reading, distribution_of
from .._engines import GROUP as ENGINES

#: Parts of regkit that an application does not need.
LEFT_OUT = ("regkit.__main__", "regkit._pyinstaller", "regkit._template", "regkit.cli", "regkit.testing")


def hook_dirs() -> list[str]:
    """Return the folders of hooks."""
    return [str(Path(__file__).parent)]


def collected() -> tuple[list[Any], list[str]]:
    """Return the metadata of every distribution with regularizers or engines, and the modules that these need.

    `REGKIT_BLOCK` leaves distributions out of a frozen application too.
    """
    from PyInstaller.utils.hooks import collect_submodules, copy_metadata

    readings = [Reading(group) for group in (GROUP, ENGINES)]
    names = {distribution_of(source).name for found in readings for source, _ in found.files}
    targets = (target for found in readings for several in found.all_targets().values() for target in several)
    modules = collect_submodules("regkit", filter=lambda name: not name.startswith(LEFT_OUT))
    metadata = [pair for name in sorted({"regkit-core", *names}) for pair in copy_metadata(name)]
    return metadata, [*modules, *sorted({target.partition(":")[0] for target in targets})]
