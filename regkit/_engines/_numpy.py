"""The engine of NumPy: an array is an expression with a value, and without a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import GraphError
from ._engine import Engine

if TYPE_CHECKING:
    from collections.abc import Sequence

#: NumPy's codes of bool, integers, floats and complex numbers.
NUMERIC_KINDS = tuple("biufc")

#: NumPy's code of opaque dtypes, such as those that other packages add.
ADDED = "bfloat16"


class NumPy(Engine):
    """Arrays and scalars of NumPy."""

    name = "numpy"
    plain = True

    def owns(self, value: Any) -> bool:
        dtype = getattr(value, "dtype", None)
        return getattr(dtype, "kind", "") in NUMERIC_KINDS or str(dtype) == ADDED

    def eager(self, expression: Any) -> bool:
        return True

    def float_type(self) -> str:
        return "float64"

    def functions(self) -> Any:
        return np

    def constant(self, value: float, dtype: str) -> Any:
        return np.asarray(value, dtype)[()]

    def cast(self, expression: Any, dtype: str) -> Any:
        return np.asarray(expression, dtype=known_dtype(dtype))

    def held(self, expression: Any) -> Any:
        return expression

    def gradient(self, cost: Any, wrt: Sequence[Any]) -> Sequence[Any]:
        raise GraphError("an array has its value and no graph, so it has no gradient")

    def jacobian(self, vector: Any, wrt: Any) -> Any:
        raise GraphError("an array has its value and no graph, so it has no jacobian")

    def draw(self, distribution: str, like: Any, seed: Any) -> tuple[Any, list[tuple[Any, Any]]]:
        return np.asarray(getattr(np.random.default_rng(seed), distribution)(0.0, 1.0, like.shape)), []

    def value_of(self, scalar: Any) -> float:
        value: float = scalar.item()
        return value


def known_dtype(dtype: str) -> str:
    """Return the name of a dtype where NumPy knows it, and otherwise float32, which holds all numbers of bfloat16."""
    try:
        np.dtype(dtype)
    except TypeError:
        return "float32"
    return dtype


ENGINE = NumPy()
