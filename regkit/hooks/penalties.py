"""What becomes of the penalties that the hooks return: checked, weighted, summed up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..constructors import weight_of
from ..errors import GraphError
from ..graph.arithmetic import as_float, cast, total
from ..graph.libraries import common_library, current_value, float_x, is_symbolic, library
from ..validation import checked_weight


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
    for name in outputs:
        if not isinstance(name, str):
            raise GraphError(f"outputs has the name {name!r}; expected names to be strings")
    return common_library(outputs.items())


def check_layers(layers: Any) -> None:
    """Raise if the layers are not what hooks expect."""
    if not isinstance(layers, Sequence) or isinstance(layers, str):
        raise GraphError(f"layers is {layers!r}; expected a sequence of layers, such as regkit.Layer")
    for layer in layers:
        if not isinstance(getattr(layer, "output_name", None), str) or not hasattr(layer, "params"):
            raise GraphError(
                f"layers has {layer!r}; expected objects with output_name and params, such as regkit.Layer"
            )


def weigh(penalties: list[tuple[str, Any, Any]], made_by: str | None) -> list[Term]:
    """Return the terms of penalties, given as (name, regularizer, penalty), for outputs made by one library.

    A constant that a plugin worked out itself takes the dtype of the other penalties.
    """
    checked = [
        (name, regularizer, _checked(name, regularizer, penalty, made_by)) for name, regularizer, penalty in penalties
    ]
    dtypes = {str(penalty.dtype) for _, _, penalty in checked if not isinstance(penalty, float)}
    dtype = str(np.result_type(*dtypes)) if dtypes else float_x(made_by or "numpy")
    return [
        _term(name, regularizer, cast(penalty, dtype)[()] if isinstance(penalty, float) else penalty, made_by)
        for name, regularizer, penalty in checked
    ]


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
    if made_by is not None and own != made_by:
        if own != "numpy":
            raise GraphError(f"{name}: {kind} returned an expression of {own} for outputs of {made_by}")
        return float(penalty)
    return as_float(penalty)


def _term(name: str, regularizer: Any, penalty: Any, made_by: str | None) -> Term:
    weight = checked_weight(type(regularizer).__name__, weight_of(regularizer))
    if made_by is None or made_by == "numpy":
        factor = current_value(weight)  # there is no graph for a live weight to live in
    else:
        factor = weight
        if is_symbolic(weight) and library(weight) != made_by:
            raise GraphError(f"{name}: the weight is an expression of {library(weight)}, the outputs are of {made_by}")
    return Term(name, weight, penalty, cast(factor, str(penalty.dtype)) * penalty)


def weighted_total(terms: list[Term]) -> Any:
    """Return the sum of the weighted penalties; 0 if there are none."""
    symbolic = [term.weighted for term in terms if is_symbolic(term.weighted)]
    constant = [term.weighted for term in terms if not is_symbolic(term.weighted)]
    if not symbolic:
        return total(constant) if constant else 0
    result = total(symbolic)
    return result + cast(total(constant), str(result.dtype)) if constant else result
