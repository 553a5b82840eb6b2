"""The function that a search's file names: imported from beside the file, and made fit to be sent to workers."""

from __future__ import annotations

import importlib
import sys
import sysconfig
from difflib import get_close_matches
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle

import regkit

from .trials import in_words


def loaded(target: str, folder: Path) -> Any:
    """Import what ``module:function`` names; a module beside the file comes before one that is installed.

    What modules of that folder define is sent to workers whole, which need not have the folder.

    Raises
    ------
    regkit.OptionError
        If there is no such module, it raises while it is imported, it does not have the function, or another module of
        its name is imported already.
    """
    name, _, attribute = target.partition(":")
    before = set(sys.modules)
    sys.path.insert(0, str(folder.absolute()))
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit) as error:  # whatever a user's module does while it is imported
        raise regkit.OptionError(f"prepare is {target!r}: {_why_not(name, folder, error)}") from error
    if another := _another(name, folder):
        raise regkit.OptionError(f"prepare is {target!r}: {another}")
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


def _another(name: str, folder: Path) -> str:
    """Return what is wrong if a module of the folder's name was imported from elsewhere; else an empty string."""
    top = name.partition(".")[0]
    spec = PathFinder.find_spec(top, [str(folder.absolute())])
    if spec is None or not spec.has_location or spec.origin is None:
        return ""
    file = getattr(sys.modules[top], "__file__", None)
    if file and Path(file).resolve() == Path(spec.origin).resolve():
        return ""
    where = f"imported from {file}" if file else "a part of Python"
    return f"the module {top!r} is {where} already, so that {spec.origin} cannot be. Give that another name"


def _lacks(module: ModuleType, attribute: str) -> str:
    names = [one for one, value in vars(module).items() if callable(value) and not one.startswith("_")]
    return f"{module.__name__} has no {attribute!r}.{_meant(attribute, names)} It has: {', '.join(names)}"


def _meant(name: str, names: list[str]) -> str:
    near = next(iter(get_close_matches(name, names, 1, 0.6)), None)
    return f" Did you mean {near!r}?" if near else ""


def _is_below(module: ModuleType, folder: Path) -> bool:
    """Tell whether a module is one of the folder's own, and not of Python or an environment that is within it."""
    file = getattr(module, "__file__", None)
    if not file:
        return False
    own, folder = Path(file).absolute(), folder.absolute()
    if not own.is_relative_to(folder) or {"site-packages", "dist-packages"} & {*own.parts}:
        return False
    # A prefix that is the folder itself is that of an environment which was made there, beside the modules
    within = {Path(one) for one in (sys.prefix, sys.base_prefix)} - {folder}
    pythons = [one for one in within if one.is_relative_to(folder)]
    pythons += [Path(sysconfig.get_path(kind)) for kind in ("stdlib", "platstdlib")]
    return not any(own.is_relative_to(one) for one in pythons)
