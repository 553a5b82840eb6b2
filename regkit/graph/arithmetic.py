"""Arithmetic that keeps dtypes as they are and does not mind how many terms there are."""

from __future__ import annotations

from ..errors import GraphError
from .libraries import common_library, float_x, is_symbolic, library, module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

#: Up to this many terms are added plainly; more go through `_chunked`.
PLAIN = 16
CHUNK = 32


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
        return cast(expression, float_x(library(expression)))
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
    for i, term in enumerate(terms):
        if getattr(term, "ndim", None) != 0:
            raise GraphError(f"term {i} of a total is no scalar: {getattr(term, 'type', getattr(term, 'shape', term))}")
    if made_by != "numpy":
        while len(terms) > PLAIN:
            terms = [_chunked(made_by, terms[i : i + CHUNK]) for i in range(0, len(terms), CHUNK)]
    result = terms[0]
    for term in terms[1:]:
        result = result + term
    return result


def _chunked(made_by: str, terms: list[Any]) -> Any:
    import numpy as np

    stacked = module(made_by, "tensor").stack(terms)
    return stacked.dot(np.ones(len(terms), dtype=stacked.dtype))


def gradient(cost: Any, wrt: Any) -> Any:
    """Return the derivative of a scalar by an expression, or by each of several.

    Parameters
    ----------
    cost : scalar expression
    wrt : expression, or list of expressions
        What `cost` is computed from.

    Returns
    -------
    expression, or list of expressions
        Of the shapes of `wrt`.

    Raises
    ------
    GraphError
        If `cost` is an array, which has no graph, or no scalar, or does not depend on `wrt`.
    """
    made_by = library(cost)
    if made_by == "numpy":
        raise GraphError("an array has its value and no graph, so it has no gradient")
    if cost.ndim != 0:
        raise GraphError(f"a gradient is that of a scalar, not of {cost!r} of type {cost.type}")
    several = isinstance(wrt, (list, tuple))
    expressions = enumerate(wrt) if several else [(0, wrt)]
    common_library([("the cost", cost), *((f"wrt {i}", expression) for i, expression in expressions)])
    disconnected = module(made_by, "gradient").DisconnectedInputError
    try:
        return module(made_by, "tensor").grad(cost, list(wrt) if several else wrt)
    except disconnected:
        raise GraphError(f"{cost!r} does not depend on {wrt!r}, so it has no gradient there") from None
