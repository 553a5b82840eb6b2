"""Which library made an expression, and what regkit asks of any expression. No library is imported here."""

from __future__ import annotations

from ..errors import GraphError
from .engines import LIBRARIES, PROVIDED_BY, engine_of, packages_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from .engine import Engine

__all__ = [
    "LIBRARIES",
    "check_selectable",
    "common_engine",
    "current_value",
    "engine",
    "functions",
    "is_symbolic",
    "library",
]


def engine(expression: Any) -> Engine:
    """Return the engine of an expression.

    Raises
    ------
    GraphError
        If it is an expression of no library that has one here.
    """
    found = engine_of(expression)
    if found is None:
        kind = type(expression)
        missing = next((PROVIDED_BY[package] for package in packages_of(kind) if package in PROVIDED_BY), None)
        remedy = f". Arrays of this kind come with the distribution {missing}: pip install {missing}" if missing else ""
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
        The name of its engine: ``"theano"``, ``"aesara"``, ``"pytensor"`` or ``"numpy"``, whose arrays are expressions
        that have their value; or of one that a distribution brings, such as ``"jax"`` or ``"torch"``.

    Raises
    ------
    GraphError
        If it is an expression of none of them.

    Examples
    --------
    >>> import numpy, regkit
    >>> regkit.graph.library(numpy.zeros(3))
    'numpy'
    """
    return engine(expression).name


def functions(expression: Any) -> Any:
    """Return the module that has the functions of the library that made an expression, named as NumPy names them.

    Operators and methods say most things on every library. ``exp``, ``log``, ``sqrt``, ``maximum`` and their kind are
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
    """Tell whether a value is an expression of a library other than NumPy, whose scalars are plain numbers."""
    found = engine_of(value)
    return found is not None and not found.plain


def current_value(scalar: Any) -> Any:
    """Return the value that a weight has now: a shared variable's, one computed from those, or the number itself.

    Raises
    ------
    GraphError
        If it is symbolic and has no value of its own.
    """
    return engine(scalar).value_of(scalar) if is_symbolic(scalar) else scalar


def common_engine(expressions: Iterable[tuple[str, Any]]) -> Engine | None:
    """Return the one engine that all of the named expressions are of; None if there are none."""
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
    """Raise if a selected output or parameter is not an array of real numbers, which is all that hooks are written for.

    Sparse matrices, lists, scalars that are not tensors and generic variables of a graph library have other operations
    than arrays, and a penalty of complex numbers would be complex.
    """
    try:
        wrong = engine(expression).unfit(expression)
    except GraphError as error:
        raise GraphError(f"{what}: {error}") from None
    if wrong:
        raise GraphError(f"{what} is of {wrong}; regularizers are of arrays of real numbers")
