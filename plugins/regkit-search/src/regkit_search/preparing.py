"""The function that a search's file names: imported from beside the file, and made fit to be sent to workers."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle

import regkit
from regkit.messages import listed, nearest

from .trials import in_words


def loaded(target: str, folder: Path) -> Any:
    """Import what ``module:function`` names; a module beside the file comes before one that is installed.

    What modules of that folder define is sent to workers whole, which need not have the folder.

    Raises
    ------
    regkit.OptionError
        If there is no such module, it raises while it is imported, or it does not have the function.
    """
    name, _, attribute = target.partition(":")
    before = set(sys.modules)
    sys.path.insert(0, str(folder.absolute()))
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit) as error:  # whatever a user's module does while it is imported
        raise regkit.OptionError(f"prepare is {target!r}: {_why_not(name, folder, error)}") from error
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise regkit.OptionError(f"prepare is {target!r}: {_lacks(module, attribute)}")
        found = getattr(found, part)
    for one in [sys.modules[new] for new in set(sys.modules) - before]:
        if _is_below(one, folder):
            cloudpickle.register_pickle_by_value(one)
    return found


def _why_not(name: str, folder: Path, error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and name in (error.name, (error.name or "").partition(".")[0]):
        files = [one.stem for one in folder.glob("*.py")]
        return f"there is no module {name!r}, neither in {folder.absolute()} nor installed.{_meant(name, files)}"
    said = f"SyntaxError: {error}" if isinstance(error, SyntaxError) else in_words(error)
    return f"the module {name!r} cannot be imported: {said}"


def _lacks(module: ModuleType, attribute: str) -> str:
    names = [one for one, value in vars(module).items() if callable(value) and not one.startswith("_")]
    return f"{module.__name__} has no {attribute!r}.{_meant(attribute, names)} It has: {listed(names)}"


def _meant(name: str, names: list[str]) -> str:
    near = nearest(name, names, cutoff=0.6)
    return f" Did you mean {near!r}?" if near else ""


def _is_below(module: ModuleType, folder: Path) -> bool:
    """Tell whether a module is one of the folder's own, and not of an environment that is within it."""
    file = getattr(module, "__file__", None)
    if not file:
        return False
    own = Path(file).absolute()
    return own.is_relative_to(folder.absolute()) and "site-packages" not in own.parts
