"""The engine of an array or expression, and functions of regkit that work on any expression.

No engine, and no library, is imported before one of its arrays is met.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

from .._discovery import reading
from .._discovery.reader import Reading, imported
from .._messages import escaped, installing
from ..errors import AliasConflictError, GraphError, PluginLoadError
from ._engine import Engine as Engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

#: The graph libraries that regkit brings engines for, by the name of their package.
LIBRARIES = ("theano", "aesara", "pytensor")

BUILT_IN = ("numpy", *LIBRARIES)

#: The group of entry points in which distributions declare engines; a key is the package that makes the arrays.
GROUP = "regkit.engines"

#: The distribution with the engine for a package's arrays, for the error where it is missing.
PROVIDED_BY = {"jax": "regkit-jax", "jaxlib": "regkit-jax", "flax": "regkit-jax", "torch": "regkit-torch"}
PROVIDED_BY["tensorflow"] = "regkit-tensorflow"

#: Frequent types that are never expressions.
_COMMON = (int, float, bool, str, dict, list, tuple, type(None))

_by_type: WeakKeyDictionary[type, Engine] = WeakKeyDictionary()
_read: tuple[Any, dict[str, list[str]]] | None = None  # the reading, and the engines that it declares


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
    """Return the packages in which a class and its bases are defined, except Python's and regkit's."""
    packages = dict.fromkeys(base.__module__.partition(".")[0] for base in kind.__mro__)
    return [package for package in packages if package not in ("builtins", "regkit")]


def built_in(package: str) -> Engine:
    """Return an engine of regkit's own."""
    if package == "numpy":
        from ._numpy import ENGINE

        return ENGINE
    from ._symbolic import ENGINES

    return ENGINES[package]


def import_library_module(name: str) -> Any:
    """Import a module of a graph library, such as ``pytensor.tensor``."""
    from importlib import import_module

    return import_module(name)


def declared() -> Mapping[str, list[str]]:
    """Return the targets of the installed engines, ``module:NAME``, by the packages of their arrays."""
    global _read
    present = reading()  # another after `refresh`
    if _read is None or _read[0] is not present:
        _read = present, Reading(GROUP).all_targets()
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
        found = imported(targets[0])
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
    """Return every engine that distributions declare, by its name, imported; only those whose package is installed.

    Raises
    ------
    AliasConflictError, PluginLoadError
        As `engine_of`.
    """
    from importlib.util import find_spec

    engines = (load(package) for package in declared() if find_spec(package) is not None)
    return {engine.name: engine for engine in engines}


def engine(expression: Any) -> Engine:
    """Return the engine of an expression.

    Raises
    ------
    GraphError
        If it is not an expression of a library with an engine here.
    """
    found = engine_of(expression)
    if found is None:
        kind = type(expression)
        missing = next((PROVIDED_BY[package] for package in packages_of(kind) if package in PROVIDED_BY), None)
        installed_by = missing and installing(f"./plugins/{missing}")
        remedy = f". Arrays of this kind come with the distribution {missing}; {installed_by}" if missing else ""
        raise GraphError(
            f"{expression!r} of type {kind.__module__}.{kind.__qualname__} is not an expression of a supported "
            f"library: {', '.join((*LIBRARIES, 'numpy'))}{remedy}"
        )
    return found


def library(expression: Any) -> str:
    """Return which library made an expression.

    Parameters
    ----------
    expression : symbolic variable, or array or scalar

    Returns
    -------
    str
        The name of its engine: ``"theano"``, ``"aesara"``, ``"pytensor"``, ``"numpy"``, or that of an engine of a
        distribution, such as ``"jax"`` or ``"torch"``.

    Raises
    ------
    GraphError
        If it is not an expression of one of them.

    Examples
    --------
    >>> import numpy, regkit
    >>> regkit.graph.library(numpy.zeros(3))
    'numpy'
    """
    return engine(expression).name


def functions(expression: Any) -> Any:
    """Return the module that has the functions of the library that made an expression, named as NumPy names them.

    Operators and methods are the same on every library. ``exp``, ``log``, ``sqrt``, ``maximum`` and others are
    functions of a module: NumPy for arrays, ``theano.tensor`` and its successors for symbolic expressions.

    Parameters
    ----------
    expression : expression

    Returns
    -------
    module

    Raises
    ------
    GraphError
        If it is an expression of no supported library.

    Examples
    --------
    >>> import numpy, regkit
    >>> z = numpy.array([1.0, 4.0])
    >>> print(regkit.graph.functions(z).sqrt(z))
    [1. 2.]
    """
    return engine(expression).functions()


def is_symbolic(value: Any) -> bool:
    """Return whether a value is an expression of a library other than NumPy, whose scalars are plain numbers."""
    found = engine_of(value)
    return found is not None and not found.plain


def current_value(scalar: Any) -> Any:
    """Return the present value of a weight: of a shared variable, of an expression of these, or the number itself.

    Raises
    ------
    GraphError
        If it is symbolic and has no value of its own.
    """
    return engine(scalar).value_of(scalar) if is_symbolic(scalar) else scalar


def common_engine(expressions: Iterable[tuple[str, Any]]) -> Engine | None:
    """Return the engine of all the named expressions; None if there are none."""
    first: tuple[str, Engine] | None = None
    for name, expression in expressions:
        try:
            own = engine(expression)
        except GraphError as error:
            raise GraphError(f"{name!r}: {error}") from None
        if first is None:
            first = (name, own)
        elif own is not first[1]:
            raise GraphError(
                f"{first[0]!r} is an expression of {first[1].name} and {name!r} one of {own.name}. "
                "Expressions of different libraries cannot be in one graph"
            )
    return first and first[1]


def check_selectable(what: str, expression: Any) -> None:
    """Raise if a selected output or parameter is not an array of real numbers: hooks are written only for these.

    Sparse matrices, lists, scalars that are not tensors and generic variables of a graph library have other operations
    than arrays, and a penalty of complex numbers would be complex.
    """
    try:
        wrong = engine(expression).unfit(expression)
    except GraphError as error:
        raise GraphError(f"{what}: {error}") from None
    if wrong:
        raise GraphError(f"{what} is of {wrong}; regularizers are of arrays of real numbers")
