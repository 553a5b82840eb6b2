"""What becomes of the penalties that the hooks return: checked, weighted, summed up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from .errors import GraphError
from .graph.arithmetic import as_float, cast, total
from .graph.libraries import common_library, current_value, is_symbolic, library
from .regularizer import checked_weight


class Term(NamedTuple):
    """One regularizer's share of the loss.

    Attributes
    ----------
    name : str
        The alias; ``alias[1]`` and so on when it is repeated.
    weight : number or expression
        Its strength.
    penalty : scalar expression
        What its `loss` hook returned, as a float.
    weighted : scalar expression
        ``weight * penalty``, in the penalty's dtype.
    """

    name: str
    weight: Any
    penalty: Any
    weighted: Any


def check_outputs(outputs: Any) -> str | None:
    """Return the one library whose expressions the outputs are; GraphError if they are not."""
    if not isinstance(outputs, Mapping):
        raise GraphError(f"outputs is {outputs!r}; expected a mapping of names to expressions")
    return common_library(outputs.items())


def term(name: str, regularizer: Any, penalty: Any, made_by: str | None) -> Term:
    """Return the term of a penalty, for outputs made by one library."""
    if isinstance(penalty, (int, float)) and not isinstance(penalty, bool):
        penalty = cast(penalty, "float64")[()]  # a constant that the plugin worked out itself
    kind = type(regularizer).__name__
    try:
        own = library(penalty)
    except GraphError as error:
        raise GraphError(f"{name}: {kind} returned as its penalty: {error}") from None
    if getattr(penalty, "ndim", None) != 0:
        form = f"shape {penalty.shape}" if own == "numpy" else f"type {penalty.type}"
        raise GraphError(f"{name}: {kind} returned a penalty of {form}; a penalty is a scalar")
    if made_by is not None and own != made_by and own != "numpy":
        raise GraphError(f"{name}: {kind} returned an expression of {own} for outputs of {made_by}")
    penalty = as_float(penalty)
    weight = checked_weight(kind, getattr(regularizer, "weight", 1))
    return Term(name, weight, penalty, penalty * _factor(name, weight, penalty))


def _factor(name: str, weight: Any, penalty: Any) -> Any:
    """The weight in the penalty's dtype; its value now, where the penalty has its value already."""
    if library(penalty) == "numpy":
        weight = current_value(weight)
    else:
        common_library([("penalty of " + name, penalty), ("weight of " + name, weight)] if is_symbolic(weight) else [])
    return cast(weight, str(penalty.dtype))


def weighted_total(terms: list[Term]) -> Any:
    """Return the sum of the weighted penalties; 0 if there are none."""
    symbolic = [term.weighted for term in terms if is_symbolic(term.weighted)]
    constant = [term.weighted for term in terms if not is_symbolic(term.weighted)]
    if not symbolic:
        return total(constant) if constant else 0
    result = total(symbolic)
    if constant:
        result = result + cast(total(constant), str(result.dtype))
    return result
