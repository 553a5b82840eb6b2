"""Derivatives of a scalar and of a vector; `held`, which they do not pass through."""

from __future__ import annotations

from .._engines import common_engine, engine
from ..errors import GraphError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def jacobian(expression: Any, wrt: Any) -> Any:
    """Return the derivatives of every element of a vector by an expression.

    Parameters
    ----------
    expression : expression of one axis
    wrt : expression
        What it is computed from.

    Returns
    -------
    expression
        With one more axis than `wrt`: the first, over the elements of the vector. Each element takes one backward pass
        through the graph; in a graph library in a loop (a Scan).

    Raises
    ------
    GraphError
        As `gradient`, and if `expression` is not a vector.
    """
    own = engine(expression)
    if own.plain:
        own.jacobian(expression, wrt)  # raises with the reason
    if expression.ndim != 1:
        raise GraphError(f"a jacobian is that of a vector, not of {expression!r} of {own.described(expression)}")
    common_engine([("the vector", expression), ("wrt", wrt)])
    return own.jacobian(expression, wrt)


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
    own = engine(cost)
    if own.plain:
        own.gradient(cost, [wrt])  # raises with the reason
    if cost.ndim != 0:
        raise GraphError(f"a gradient is that of a scalar, not of {cost!r} of {own.described(cost)}")
    several = isinstance(wrt, (list, tuple))
    expressions = list(wrt) if several else [wrt]
    common_engine([("the cost", cost), *((f"wrt {i}", expression) for i, expression in enumerate(expressions))])
    found = own.gradient(cost, expressions)
    return list(found) if several else found[0]


def held(expression: Any) -> Any:
    """Return an expression with the same value that is a constant for gradients.

    Parameters
    ----------
    expression : expression
        An array, which has no gradient, is returned as it is.

    Returns
    -------
    expression

    Raises
    ------
    GraphError
        If it is an expression of no supported library.

    Examples
    --------
    A norm whose squares would overflow, scaled by its largest element. The derivative is that for a fixed scale:

    >>> import numpy, regkit
    >>> w = numpy.array([3e200, 4e200])
    >>> largest = regkit.graph.held(abs(w).max())
    >>> print(f"{largest * numpy.sqrt(((w / largest) ** 2).sum()):.3g}")
    5e+200
    """
    return engine(expression).held(expression)
