"""The engines: which of them an array or an expression belongs to. None is imported before one of its arrays is met."""

from __future__ import annotations

import sys
from weakref import WeakKeyDictionary

from ... import discovery
from ...errors import AliasConflictError, PluginLoadError
from ...messages import escaped
from ..engine import Engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

#: The graph libraries that regkit brings engines for, by the name of their package.
LIBRARIES = ("theano", "aesara", "pytensor")

BUILT_IN = ("numpy", *LIBRARIES)

#: The group of entry points in which distributions declare engines; a key is the package that makes the arrays.
GROUP = "regkit.engines"

#: Which distribution brings the engine for a package's arrays, to be named where it is missing.
PROVIDED_BY = {"jax": "regkit-jax", "jaxlib": "regkit-jax", "flax": "regkit-jax", "torch": "regkit-torch"}

#: What is never an expression, and comes often.
_COMMON = (int, float, bool, str, dict, list, tuple, type(None))

_by_type: WeakKeyDictionary[type, Engine] = WeakKeyDictionary()
_read: tuple[Any, dict[str, list[str]]] | None = None  # of which reading of what is installed, and what it declares


def engine_of(value: Any) -> Engine | None:
    """Return the engine of an array or expression; None for anything else.

    Raises
    ------
    AliasConflictError
        If several engines are installed for arrays of its kind.
    PluginLoadError
        If the engine cannot be imported.
    """
    kind = type(value)
    if kind in _COMMON:
        return None
    engine = _by_type.get(kind)
    if engine is None:
        engine = _engine_for(kind)
        if engine is None:
            return None
        _by_type[kind] = engine
    return engine if engine.owns(value) else None


def _engine_for(kind: type) -> Engine | None:
    """The engine that a class names, or else that of the package of the class, or of the first base that has one."""
    named = getattr(kind, "regkit_engine", None)
    if isinstance(named, Engine):
        return named
    packages = packages_of(kind)
    for package in packages:
        if package in BUILT_IN:
            return built_in(package)
    for package in packages:
        if package in declared():
            return load(package)
    return None


def packages_of(kind: type) -> list[str]:
    """Return the packages that a class and its bases are defined in, but for Python's and regkit's own."""
    packages = dict.fromkeys(base.__module__.partition(".")[0] for base in kind.__mro__)
    return [package for package in packages if package not in ("builtins", "regkit")]


def built_in(package: str) -> Engine:
    """Return one of regkit's own engines."""
    name = f"{__name__}.{package}"
    __import__(name)
    engine: Engine = sys.modules[name].ENGINE
    return engine


def declared() -> Mapping[str, list[str]]:
    """Return where the engines are that are installed for the arrays of each package: ``module:NAME``."""
    global _read
    reading = discovery.reading()  # another after `refresh`
    if _read is None or _read[0] is not reading:
        _read = reading, discovery.Reading(GROUP).all_targets()
    return _read[1]


def load(package: str) -> Engine:
    """Return the engine that is installed for the arrays of a package, imported.

    Raises
    ------
    AliasConflictError, PluginLoadError
        As `engine_of`.
    """
    targets = declared()[package]
    if len(targets) > 1:
        raise AliasConflictError(
            f"{len(targets)} engines are installed for arrays of {package}: "
            f"{', '.join(map(escaped, targets))}. Uninstall one"
        )
    try:
        found = discovery.imported(targets[0])
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever a plugin does while it is imported
        raise PluginLoadError(
            f"the engine for arrays of {package}, {escaped(targets[0])}, cannot be imported: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(found, Engine):
        raise PluginLoadError(
            f"the engine for arrays of {package}, {escaped(targets[0])}, is of type {type(found).__name__}, "
            "not a regkit.graph.Engine"
        )
    return found


def installed() -> dict[str, Engine]:
    """Return every engine that distributions declare, by its name, imported; only those whose arrays there can be.

    Raises
    ------
    AliasConflictError, PluginLoadError
        As `engine_of`.
    """
    from importlib.util import find_spec

    engines = (load(package) for package in declared() if find_spec(package) is not None)
    return {engine.name: engine for engine in engines}


def module(package: str, name: str) -> Any:
    """Return a module of a graph library, such as ``tensor``."""
    full_name = f"{package}.{name}"
    __import__(full_name)
    return sys.modules[full_name]
