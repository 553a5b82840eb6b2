"""Derivatives: of a scalar, of a vector, and what they do not pass through."""

from __future__ import annotations

from ..errors import GraphError
from .libraries import common_library, library, module

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
        Of one more axis than `wrt`, the first, over the elements of the vector. Computing it takes one pass backwards
        through the graph for each element, in a loop (a Scan).

    Raises
    ------
    GraphError
        As `gradient`, and if `expression` is not a vector.
    """
    made_by = library(expression)
    if made_by == "numpy":
        raise GraphError("an array has its value and no graph, so it has no jacobian")
    if expression.ndim != 1:
        raise GraphError(f"a jacobian is that of a vector, not of {expression!r} of type {expression.type}")
    gradient(expression.sum(), wrt)  # says what is wrong with wrt
    # A loop takes the graph between what is passed to it inside, and there random draws would be others, or refused.
    # Passed as well, they are those of the graph.
    tensor = module(made_by, "tensor")
    rows = module(made_by, "scan").scan(
        lambda i, vector, x, *draws: tensor.grad(vector[i], x),
        sequences=tensor.arange(expression.shape[0]),
        non_sequences=[expression, wrt, *_random_draws(made_by, expression, wrt)],
        # updates beside the states are on their way out in pytensor
        **({"return_updates": False} if made_by == "pytensor" else {}),
    )
    return rows if made_by == "pytensor" else rows[0]


def _random_draws(made_by: str, expression: Any, wrt: Any) -> list[Any]:
    """What is drawn at random between two expressions: what operations make that take a generator, or move one on."""
    types = module(made_by, "tensor.random.type")
    generator = getattr(types, "RandomType", None) or types.RandomStateType  # theano has the second alone
    draws, seen, waiting = [], {wrt}, [expression]
    while waiting:
        variable = waiting.pop()
        owner = variable.owner
        if owner is None or variable in seen:
            continue
        seen.add(variable)
        moved_on = [v.default_update for v in owner.inputs if getattr(v, "default_update", None) is not None]
        if (moved_on or any(isinstance(v.type, generator) for v in owner.inputs)) and not hasattr(owner.op, "fgraph"):
            draws += [] if variable in moved_on else [variable]
        else:
            waiting += owner.inputs
    return draws


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


def held(expression: Any) -> Any:
    """Return an expression with the same value that gradients do not pass through: they take it for a constant.

    Parameters
    ----------
    expression : expression
        An array, which has no gradient, comes back as it is.

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
    made_by = library(expression)
    return expression if made_by == "numpy" else module(made_by, "gradient").disconnected_grad(expression)
