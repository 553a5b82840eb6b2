"""The little that differs between graph libraries.

A regularizer says most of what it needs with operators (``abs(z).sum()``). What cannot be said so is here: each
function looks at the expression it is given and uses the library that made it. NumPy arrays are expressions that have
their value already.
"""

from __future__ import annotations

import sys

from .errors import GraphError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

#: The graph libraries, by the name of their package.
LIBRARIES = ("theano", "aesara", "pytensor")

#: Up to this many terms are added plainly; more go through `_chunked`.
PLAIN = 16
CHUNK = 32

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
        ``"theano"``, ``"aesara"``, ``"pytensor"`` or ``"numpy"``.

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
    kind = type(expression)
    for base in kind.__mro__:
        package = base.__module__.partition(".")[0]
        if package in LIBRARIES and hasattr(expression, "owner") and hasattr(expression, "type"):
            return package
        if package == "numpy" and getattr(getattr(expression, "dtype", None), "kind", "") in NUMERIC_KINDS:
            return package
    raise GraphError(
        f"{expression!r} of type {kind.__module__}.{kind.__qualname__} is no expression of a supported library: "
        f"{', '.join(LIBRARIES)}, numpy"
    )


def is_symbolic(value: Any) -> bool:
    """Tell whether a value is an expression of a graph library, NumPy's arrays not counted."""
    try:
        return library(value) != "numpy"
    except GraphError:
        return False


def current_value(scalar: Any) -> Any:
    """Return the number that a weight has now: a shared variable's value, or the number itself.

    Raises
    ------
    GraphError
        If it is symbolic and has no value of its own.
    """
    if not is_symbolic(scalar):
        return scalar
    if not hasattr(scalar, "get_value"):
        raise GraphError(f"{scalar!r} is symbolic: it has no value until a compiled function is given one")
    return scalar.get_value().item()


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


def cast(value: Any, dtype: str) -> Any:
    """Return a number or an expression as one of the given dtype.

    Weights and counts go through this before they meet an expression: with floatX=float64, ``0.1 * x`` of a float32
    expression is float64, and dividing by ``x.shape[0]`` always is.

    Parameters
    ----------
    value : number or expression
    dtype : str

    Returns
    -------
    NumPy array of no dimensions, or expression
    """
    if is_symbolic(value):
        return value if value.dtype == dtype else value.astype(dtype)
    import numpy as np

    return np.asarray(value, dtype=dtype)


def as_float(expression: Any) -> Any:
    """Return an expression whose dtype is a float: integers and bools become floatX (float64 in NumPy).

    Parameters
    ----------
    expression : expression

    Returns
    -------
    expression

    Examples
    --------
    >>> import numpy, regkit
    >>> regkit.graph.as_float(numpy.array([1, 2])).dtype
    dtype('float64')
    """
    if str(expression.dtype).startswith(("int", "uint", "bool")):
        return cast(expression, _floatX(library(expression)))
    return expression


def total(terms: Sequence[Any]) -> Any:
    r"""Return the sum of any number of scalar terms: :math:`\sum_i t_i`.

    Adding hundreds of terms one by one ends in a RecursionError, or in C sources of megabytes. Up to 16 terms are added
    in their order. More are stacked, 32 at a time, each stack times a vector of ones, and the products summed likewise:
    the library's rewriters do not flatten that into one sum again.

    Parameters
    ----------
    terms : sequence of scalar expressions
        At least one, all of one library.

    Returns
    -------
    scalar expression
        Its dtype is that of the terms, the widest where they differ.

    Raises
    ------
    GraphError
        If there are no terms, or they are of different libraries.

    Examples
    --------
    >>> import numpy, regkit
    >>> print(regkit.graph.total([numpy.float32(1.5), numpy.float32(2)]))
    3.5
    """
    terms = list(terms)
    made_by = common_library((f"term {i}", term) for i, term in enumerate(terms))
    if made_by is None:
        raise GraphError("the total of no terms has no library and no dtype")
    if made_by != "numpy":
        while len(terms) > PLAIN:
            terms = [_chunked(made_by, terms[i : i + CHUNK]) for i in range(0, len(terms), CHUNK)]
    result = terms[0]
    for term in terms[1:]:
        result = result + term
    return result


def _chunked(made_by: str, terms: list[Any]) -> Any:
    import numpy as np

    stacked = _tensor_module(made_by).stack(terms)
    return stacked.dot(np.ones(len(terms), dtype=stacked.dtype))


def _tensor_module(made_by: str) -> Any:
    name = f"{made_by}.tensor"
    __import__(name)
    return sys.modules[name]


def _floatX(made_by: str) -> str:  # noqa: N802 - the libraries' own name for it
    return "float64" if made_by == "numpy" else str(sys.modules[made_by].config.floatX)
