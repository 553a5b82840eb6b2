"""A regularizer's weight, in any form, as a factor for an expression."""

from __future__ import annotations

from .. import _engines
from .._constructor import weight_of
from .._weights import Live, checked_weight
from ..errors import GraphError
from ._arithmetic import cast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._engines import Engine


def weight(regularizer: Any, like: Any) -> Any:
    """Return a regularizer's weight for an expression, whether it is a number, a `regkit.Live` or a scalar.

    Parameters
    ----------
    regularizer : object
        Its ``weight`` is used; 1 if its class has none.
    like : expression
        The expression that will be multiplied by the weight.

    Returns
    -------
    NumPy array of no dimensions, or scalar expression
        In the dtype of `like`. For arrays, the present value of a live weight; for expressions of a graph library, an
        expression that follows it.

    Raises
    ------
    OptionError
        If the regularizer does not accept its weight.
    GraphError
        If the weight is an expression of another library than `like`.

    Examples
    --------
    >>> import numpy, regkit
    >>> regularizer = regkit.Regularizer(weight=regkit.Live(0.5))
    >>> print(regkit.graph.weight(regularizer, numpy.ones(2, "float32")), regularizer.weight)
    0.5 Live(0.5)
    """
    return cast(weight_for(regularizer, like), str(like.dtype))


def weight_for(regularizer: Any, like: Any, engine: Engine | None = None) -> Any:
    """Return a regularizer's weight for an expression, or for a constant in graphs of an engine, in its own dtype."""
    engine = engine or _engines.engine(like)
    value = checked_weight(type(regularizer), weight_of(regularizer))
    if isinstance(value, Live):
        return engine.live(value, like)
    own = _engines.engine_of(value)
    if own is None or own.plain:
        return value
    if own is engine:
        return engine.wrap(value)
    if engine.eager(like):  # there is no graph for the weight to live in
        return own.value_of(value)
    raise GraphError(f"the weight is an expression of {own.name}, and what it is multiplied by is of {engine.name}")
