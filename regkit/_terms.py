"""Terms of a loss: penalties checked, weighted and summed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ._constructor import weight_of
from ._engines import built_in, common_engine, engine, is_symbolic
from ._values import is_zero
from .errors import GraphError, RegkitError, prefixed
from .graph._arithmetic import cast, total, widened
from .graph._weights import weight_for

if TYPE_CHECKING:
    from ._engines import Engine


class Term(NamedTuple):
    """One regularizer's share of the loss.

    Attributes
    ----------
    name : str
        The alias; ``alias[1]`` and so on when it is repeated.
    weight : number, Live or expression
        Its strength.
    penalty : scalar expression
        The result of its `loss` hook, as a float of 32 bits or more.
    weighted : scalar expression
        ``weight * penalty``, in the penalty's dtype; 0 for a constant weight of 0, also of an infinite penalty.
    """

    name: str
    weight: Any
    penalty: Any
    weighted: Any


def check_outputs(outputs: Any) -> Engine | None:
    """Return the engine of all outputs; GraphError if they are not expressions of one engine."""
    if not isinstance(outputs, Mapping):
        raise GraphError(f"outputs is {outputs!r}; expected a mapping of names to expressions")
    for name in outputs:
        if not isinstance(name, str):
            raise GraphError(f"outputs has the name {name!r}; expected names to be strings")
    return common_engine(outputs.items())


def weigh(penalties: list[tuple[str, Any, Any]], of: Engine | None) -> list[Term]:
    """Return the terms of penalties, given as (name, regularizer, penalty), for outputs of an engine.

    A constant that a plugin computed itself takes the dtype of the other penalties, and becomes an array of the engine,
    since hosts add it to a loss.
    """
    checked = [
        (name, regularizer, _checked(name, regularizer, penalty, of)) for name, regularizer, penalty in penalties
    ]
    dtypes = {str(penalty.dtype) for _, _, penalty in checked if not isinstance(penalty, float)}
    there = of or next((engine(penalty) for _, _, penalty in checked if not isinstance(penalty, float)), None)
    there = there or built_in("numpy")
    dtype = _widest(dtypes) if dtypes else there.float_type()
    terms = []
    for name, regularizer, penalty in checked:
        scalar = there.constant(penalty, dtype) if isinstance(penalty, float) else penalty
        terms.append(_term(name, regularizer, scalar, there))
    return terms


def _widest(dtypes: set[str]) -> str:
    return str(np.result_type(*dtypes))


def _checked(name: str, regularizer: Any, penalty: Any, of: Engine | None) -> Any:
    """Return the penalty as an expression of 32 bits or more, or as a Python float if it is a constant."""
    if isinstance(penalty, (int, float)) and not isinstance(penalty, (bool, np.generic)):
        return float(penalty)
    kind = type(regularizer).__name__
    try:
        own = engine(penalty)
    except GraphError as error:
        raise GraphError(f"{name}: {kind} returned as its penalty: {error}") from None
    if getattr(penalty, "ndim", None) != 0:
        raise GraphError(f"{name}: {kind} returned a penalty of {own.described(penalty)}; a penalty is a scalar")
    if str(penalty.dtype).startswith("complex"):
        raise GraphError(f"{name}: {kind} returned a penalty of {penalty.dtype}; a penalty is a real number")
    if of is not None and own is not of:
        if not own.plain:
            raise GraphError(f"{name}: {kind} returned an expression of {own.name} for outputs of {of.name}")
        return float(penalty)
    return widened(penalty)


def _term(name: str, regularizer: Any, penalty: Any, of: Engine) -> Term:
    try:
        factor = weight_for(regularizer, penalty, of)
    except RegkitError as error:
        raise prefixed(error, name) from None
    dtype = str(penalty.dtype)
    # a weight of 0 adds nothing, also where the penalty is infinite
    weighted = engine(penalty).constant(0.0, dtype) if is_zero(factor) else cast(factor, dtype) * penalty
    return Term(name, weight_of(regularizer), penalty, weighted)


def weighted_total(terms: list[Term]) -> Any:
    """Return the sum of the weighted penalties; 0 if there are none."""
    symbolic = [term.weighted for term in terms if is_symbolic(term.weighted)]
    constant = [term.weighted for term in terms if not is_symbolic(term.weighted)]
    if not symbolic:
        return total(constant) if constant else 0
    result = total(symbolic)
    return result + cast(total(constant), str(result.dtype)) if constant else result
