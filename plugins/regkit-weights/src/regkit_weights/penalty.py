"""What the penalties of parameters have in common: which are chosen, and the mean over them."""

from __future__ import annotations

import regkit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


class WeightPenalty(regkit.Regularizer):
    """The mean of a penalty over parameters of two or more dimensions."""

    selects = "params"

    #: Whether a vector counts where the pattern is its name, and not a glob that happens to match it.
    vectors_by_name = False

    default_selection = "all parameters of two or more axes"

    def loss(self, layers: Sequence[Any]) -> Any:
        r"""Return the penalty :math:`\frac{1}{|\Omega|} \sum_{i \in \Omega} p(W_i)`, a scalar.

        Raises
        ------
        regkit.NoMatchError
            If no parameter of two or more dimensions matches.
        """
        selected = regkit.select_params(layers, self.pattern)
        named = (self.pattern,) if isinstance(self.pattern, str) else self.pattern or ()
        matrices = [
            (name, w) for name, w in selected if w.ndim > 1 or (self.vectors_by_name and w.ndim == 1 and name in named)
        ]
        if not matrices:
            there = ", ".join(name for name, _ in selected)
            raise regkit.NoMatchError(
                f"pattern {self.pattern!r} matches only parameters without two dimensions: {there}"
            )
        return regkit.graph.mean([self._penalty(name, regkit.graph.widened(w)) for name, w in matrices])

    def _penalty(self, name: str, w: Any) -> Any:
        """Return the penalty of one parameter, which is of float32 or wider."""
        raise NotImplementedError


class ReducedPenalty(WeightPenalty):
    """A penalty that takes a reduction."""

    def __init__(self, pattern: str | Sequence[str] | None = None, weight: Any = 0.0, reduction: str = "sum") -> None:
        super().__init__(pattern, weight)
        self.reduction = self.checked_choice("reduction", reduction, self.REDUCTIONS)

    def _reduced(self, name: str, elements: Any) -> Any:
        return regkit.graph.reduced_sum(elements, self.reduction, f"parameter {name!r}")


def checked_matrix_axis(regularizer: regkit.Regularizer, axis: Any) -> int | None:
    """Return which axis stays one where a parameter has more than two; OptionError if it is none that can."""
    if axis is None or (hasattr(axis, "__index__") and not isinstance(axis, bool) and axis in (0, -1)):
        return axis if axis is None else int(axis)
    raise regkit.OptionError(f"{type(regularizer).__name__} got matrix_axis={axis!r}; accepted: None, 0, -1")


def as_matrix(regularizer: Any, name: str, w: Any) -> Any:
    """Return a parameter as a matrix; GraphError if it has more axes and nobody said how."""
    if w.ndim == 2:
        return w
    if regularizer.matrix_axis is None:
        raise regkit.GraphError(
            f"parameter {name!r} has {w.ndim} axes, and {type(regularizer).__name__} is about matrices. Give "
            "matrix_axis=0 to keep the first axis, as for filters of (out, in, ...), or matrix_axis=-1 to keep the "
            "last, as for (..., in, out); or a pattern that selects matrices"
        )
    kept, other = (0, range(1, w.ndim)) if regularizer.matrix_axis == 0 else (w.ndim - 1, range(w.ndim - 1))
    length = 1
    for axis in other:
        length = length * w.shape[axis]
    return w.reshape((w.shape[0], length) if kept == 0 else (length, w.shape[kept]))
