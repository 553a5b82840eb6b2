"""The parameters that count, the mean of a penalty over them, and the ways in which a regularizer of them acts."""

from __future__ import annotations

import regkit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, MutableMapping, Sequence
    from typing import Any


class OfParameters(regkit.Regularizer):
    """A regularizer of parameters of two or more dimensions."""

    selects = "params"

    #: Whether a vector counts where the pattern is its name, and not a glob that happens to match it.
    vectors_by_name = False

    default_selection = "all parameters of two or more axes"

    def metrics(self, layers: Sequence[Any]) -> Mapping[str, Any]:
        """Return ``zeros``: the share of elements that are exactly 0, the mean over the parameters that count."""
        return {"zeros": regkit.graph.sparsity([w for _, w in self._counting(layers)])["zeros"]}

    def _counting(self, layers: Iterable[Any]) -> list[tuple[str, Any]]:
        """Return the parameters that count, by their names.

        Raises
        ------
        regkit.NoMatchError
            If no parameter of two or more dimensions matches.
        """
        selected = regkit.select_params(layers, self.pattern)
        named = (self.pattern,) if isinstance(self.pattern, str) else self.pattern or ()
        counting = [
            (name, w) for name, w in selected if w.ndim > 1 or (self.vectors_by_name and w.ndim == 1 and name in named)
        ]
        if not counting:
            there = ", ".join(name for name, _ in selected)
            raise regkit.NoMatchError(
                f"pattern {self.pattern!r} matches only parameters without two dimensions: {there}"
            )
        return counting

    def _change(self, params: MutableMapping[str, Any], amount: Any, divisors: Mapping[str, Any] | None = None) -> None:
        """Put what `_stepped` makes of the parameters that count in their place.

        The amount is divided by how many there are, as a penalty is the mean over them.
        """
        counting = self._counting([regkit.Layer("", params)])
        for name, w in counting:
            wide = regkit.graph.widened(w)
            count = regkit.graph.cast(len(counting), str(wide.dtype))
            share = regkit.graph.cast(amount, str(wide.dtype)) / count
            if divisors and name in divisors:
                stepped = self._divided(name, wide, share, regkit.graph.cast(divisors[name], str(wide.dtype)))
            else:
                stepped = self._stepped(name, wide, share)
            params[name] = regkit.graph.cast(stepped, str(w.dtype))

    def _stepped(self, name: str, w: Any, amount: Any) -> Any:
        """Return a parameter, of float32 or wider, after the step of an amount of the same dtype."""
        raise NotImplementedError

    def _divided(self, name: str, w: Any, amount: Any, divisor: Any) -> Any:
        """Return a parameter after the step of an amount, where the optimizer divides each element's gradient.

        It is the step of an amount for each element, where the penalty is a sum over elements.
        """
        return self._stepped(name, w, amount / divisor)


class WeightPenalty(OfParameters):
    """The mean of a penalty over parameters of two or more dimensions."""

    def loss(self, layers: Sequence[Any]) -> Any:
        r"""Return the penalty :math:`\frac{1}{|\Omega|} \sum_{i \in \Omega} p(W_i)`, a scalar.

        Raises
        ------
        regkit.NoMatchError
            If no parameter of two or more dimensions matches.
        """
        counting = self._counting(layers)
        return regkit.graph.mean([self._penalty(name, regkit.graph.widened(w)) for name, w in counting])

    def _penalty(self, name: str, w: Any) -> Any:
        """Return the penalty of one parameter, which is of float32 or wider."""
        raise NotImplementedError


class ProximalPenalty(WeightPenalty):
    """A penalty with a reduction, which acts by its gradient or by its proximal operator after the step."""

    def __init__(
        self,
        pattern: str | Sequence[str] | None = None,
        weight: Any = 0.0,
        reduction: str = "sum",
        by: str = "gradient",
    ) -> None:
        super().__init__(pattern, weight)
        self.reduction = self.checked_choice("reduction", reduction, self.REDUCTIONS)
        self.by = self.checked_choice("by", by, ("gradient", "proximal"))
        self.changes_params = by == "proximal"

    def loss(self, layers: Sequence[Any]) -> Any:
        """Return the penalty; by ``"proximal"`` one without a gradient, since the step after the optimizer's has it."""
        penalty = super().loss(layers)
        return regkit.graph.held(penalty) if self.by == "proximal" else penalty

    def after_step(self, params: MutableMapping[str, Any], amount: Any, divisors: Mapping[str, Any]) -> None:
        """Apply the proximal operator of the amount times the penalty."""
        self._change(params, amount, divisors)

    def _reduced(self, name: str, elements: Any) -> Any:
        return regkit.graph.reduced_sum(elements, self.reduction, f"parameter {name!r}")

    def _share(self, amount: Any, elements: Any) -> Any:
        """Return an amount divided as the reduction divides a sum of elements."""
        if self.reduction == "sum":
            return amount
        count = elements.size if self.reduction == "mean" else elements.shape[0]
        return amount / regkit.graph.cast(count + (count < 1), str(elements.dtype))


def soft_threshold(w: Any, amount: Any) -> Any:
    r"""Return :math:`\operatorname{sign}(w) \max(0, |w| - t)`, exactly 0 where :math:`|w| \le t`."""
    functions = regkit.graph.functions(w)
    return w - functions.minimum(functions.maximum(w, -amount), amount)


def while_on(regularizer: regkit.Regularizer, w: Any, projected: Any) -> Any:
    """Return a projected parameter, or the parameter where a live weight is 0."""
    if isinstance(regularizer.weight, (int, float)):
        return projected
    import numpy as np

    on = regkit.graph.weight(regularizer, w) > 0
    if isinstance(on, np.bool_):
        return projected if on else w
    return regkit.graph.functions(w).where(on, projected, w)


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
