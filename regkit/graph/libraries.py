"""Which library made an expression, and where that library keeps things. None is imported that was not there before."""

from __future__ import annotations

import sys

from ..errors import GraphError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

#: The graph libraries, by the name of their package.
LIBRARIES = ("theano", "aesara", "pytensor")

#: NumPy's codes of bool, integers, floats and complex numbers.
NUMERIC_KINDS = tuple("biufc")


def library(expression: Any) -> str:
    """Return which library made an expression.

    Parameters
    ----------
    expression : symbolic variable, or NumPy array or scalar

    Returns
    -------
    str
        ``"theano"``, ``"aesara"``, ``"pytensor"`` or ``"numpy"``, whose arrays are expressions that have their value.

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
    made_by = _maker(expression)
    if made_by is None:
        kind = type(expression)
        raise GraphError(
            f"{expression!r} of type {kind.__module__}.{kind.__qualname__} is not an expression of a supported "
            f"library: {', '.join(LIBRARIES)}, numpy"
        )
    return made_by


def _maker(value: Any) -> str | None:
    """The library that made a value, if it is an expression."""
    for base in type(value).__mro__:
        package = base.__module__.partition(".")[0]
        if package in LIBRARIES and hasattr(value, "owner") and hasattr(value, "type"):
            return package
        if package == "numpy" and getattr(getattr(value, "dtype", None), "kind", "") in NUMERIC_KINDS:
            return package
    return None


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
    made_by = library(expression)
    return sys.modules["numpy"] if made_by == "numpy" else module(made_by, "tensor")


def is_symbolic(value: Any) -> bool:
    """Tell whether a value is an expression of a graph library, NumPy's arrays not counted."""
    return _maker(value) in LIBRARIES


def current_value(scalar: Any) -> Any:
    """Return the value that a weight has now: a shared variable's, one computed from those, or the number itself.

    Raises
    ------
    GraphError
        If it is symbolic and has no value of its own.
    """
    if not is_symbolic(scalar):
        return scalar
    if hasattr(scalar, "get_value"):
        value = scalar.get_value()
    elif hasattr(scalar, "data"):
        value = scalar.data
    else:
        try:
            value = scalar.eval()
        except Exception as error:  # each library has its own for an input that is missing
            raise GraphError(f"{scalar!r} is symbolic: it has no value until a function is given one") from error
    return value if value.ndim else value.item()


def common_library(expressions: Iterable[tuple[str, Any]]) -> str | None:
    """Return the one library that made all of the named expressions; None if there are none."""
    first: tuple[str, str] | None = None
    for name, expression in expressions:
        try:
            made_by = library(expression)
        except GraphError as error:
            raise GraphError(f"{name!r}: {error}") from None
        if first is None:
            first = (name, made_by)
        elif made_by != first[1]:
            raise GraphError(
                f"{first[0]!r} is an expression of {first[1]} and {name!r} one of {made_by}. "
                "Expressions of different libraries cannot be in one graph"
            )
    return first and first[1]


def module(made_by: str, name: str) -> Any:
    """Return a module of a library, such as ``tensor``."""
    full_name = f"{made_by}.{name}"
    __import__(full_name)
    return sys.modules[full_name]


def float_x(made_by: str) -> str:
    """Return the dtype that a library uses where it is to choose: its setting floatX; float64 in NumPy."""
    return "float64" if made_by == "numpy" else str(sys.modules[made_by].config.floatX)


def check_selectable(what: str, expression: Any) -> None:
    """Raise if a selected output or parameter is not an array of real numbers, which is all that hooks are written for.

    Sparse matrices, lists, scalars that are not tensors and generic variables of a graph library have other operations
    than arrays, and a penalty of complex numbers would be complex.
    """
    try:
        made_by = library(expression)
    except GraphError as error:
        raise GraphError(f"{what}: {error}") from None
    dtype = str(getattr(expression, "dtype", ""))
    if made_by == "numpy":
        wrong = "complex numbers" if dtype.startswith("complex") else ""
    else:
        kind = expression.type
        dense = isinstance(kind, module(made_by, "tensor").TensorType) and not hasattr(kind, "format")
        wrong = "complex numbers" if dense and dtype.startswith("complex") else "" if dense else f"type {kind}"
    if wrong:
        raise GraphError(f"{what} is of {wrong}; regularizers are of arrays of real numbers")


def shared_scalar(made_by: str, value: float) -> Any:
    """Return a new shared scalar of float64 of a graph library."""
    import numpy as np

    return module(made_by, "compile").shared(np.asarray(value, dtype="float64"), name="live")
