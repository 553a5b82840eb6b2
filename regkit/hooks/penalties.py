"""What becomes of the penalties that the hooks return: checked, weighted, summed up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..constructors import weight_of
from ..errors import GraphError, RegkitError, prefixed
from ..graph.arithmetic import as_float, cast, total
from ..graph.libraries import common_library, float_x, is_symbolic, library, module
from ..graph.weights import weight_in
from ..live import is_zero


class Term(NamedTuple):
    """One regularizer's share of the loss.

    Attributes
    ----------
    name : str
        The alias; ``alias[1]`` and so on when it is repeated.
    weight : number, Live or expression
        Its strength.
    penalty : scalar expression
        What its `loss` hook returned, as a float.
    weighted : scalar expression
        ``weight * penalty``, in the penalty's dtype; a constant weight of 0 makes it 0 whatever the penalty is.
    """

    name: str
    weight: Any
    penalty: Any
    weighted: Any


def check_outputs(outputs: Any) -> str | None:
    """Return the one library whose expressions the outputs are; GraphError if they are not."""
    if not isinstance(outputs, Mapping):
        raise GraphError(f"outputs is {outputs!r}; expected a mapping of names to expressions")
    for name in outputs:
        if not isinstance(name, str):
            raise GraphError(f"outputs has the name {name!r}; expected names to be strings")
    return common_library(outputs.items())


def weigh(penalties: list[tuple[str, Any, Any]], made_by: str | None, outputs: Mapping[str, Any]) -> list[Term]:
    """Return the terms of penalties, given as (name, regularizer, penalty), for outputs made by one library.

    A constant that a plugin worked out itself takes the dtype of the other penalties. Where all outputs are of float16,
    penalties may be wider, and are narrowed when they have their weights.
    """
    checked = [
        (name, regularizer, _checked(name, regularizer, penalty, made_by)) for name, regularizer, penalty in penalties
    ]
    dtypes = {str(penalty.dtype) for _, _, penalty in checked if not isinstance(penalty, float)}
    dtype = str(np.result_type(*dtypes)) if dtypes else float_x(made_by or "numpy")
    narrow = bool(outputs) and all(str(output.dtype) == "float16" for output in outputs.values())
    terms = []
    for name, regularizer, penalty in checked:
        scalar = cast(penalty, dtype)[()] if isinstance(penalty, float) else penalty
        term = _term(name, regularizer, scalar, made_by or library(scalar))
        terms.append(term._replace(weighted=cast(term.weighted, "float16")) if narrow else term)
    return terms


def _checked(name: str, regularizer: Any, penalty: Any, made_by: str | None) -> Any:
    """The penalty as a float expression, or as a Python float if it is a constant."""
    if isinstance(penalty, (int, float)) and not isinstance(penalty, (bool, np.generic)):
        return float(penalty)
    kind = type(regularizer).__name__
    try:
        own = library(penalty)
    except GraphError as error:
        raise GraphError(f"{name}: {kind} returned as its penalty: {error}") from None
    if getattr(penalty, "ndim", None) != 0:
        form = f"shape {penalty.shape}" if own == "numpy" else f"type {penalty.type}"
        raise GraphError(f"{name}: {kind} returned a penalty of {form}; a penalty is a scalar")
    if str(penalty.dtype).startswith("complex"):
        raise GraphError(f"{name}: {kind} returned a penalty of {penalty.dtype}; a penalty is a real number")
    if made_by is not None and own != made_by:
        if own != "numpy":
            raise GraphError(f"{name}: {kind} returned an expression of {own} for outputs of {made_by}")
        return float(penalty)
    return as_float(penalty)


def _term(name: str, regularizer: Any, penalty: Any, made_by: str) -> Term:
    try:
        factor = weight_in(made_by, regularizer)
    except RegkitError as error:
        raise prefixed(error, name) from None
    dtype = str(penalty.dtype)
    if is_zero(factor):  # adds nothing, also where the penalty is infinite
        weighted = np.zeros((), dtype)[()]
        if is_symbolic(penalty):
            weighted = module(library(penalty), "tensor").as_tensor_variable(weighted)
    else:
        weighted = cast(factor, dtype) * penalty
    return Term(name, weight_of(regularizer), penalty, weighted)


def weighted_total(terms: list[Term]) -> Any:
    """Return the sum of the weighted penalties; 0 if there are none."""
    symbolic = [term.weighted for term in terms if is_symbolic(term.weighted)]
    constant = [term.weighted for term in terms if not is_symbolic(term.weighted)]
    if not symbolic:
        return total(constant) if constant else 0
    result = total(symbolic)
    return result + cast(total(constant), str(result.dtype)) if constant else result
