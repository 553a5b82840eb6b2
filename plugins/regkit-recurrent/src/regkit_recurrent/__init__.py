"""Penalties of what changes from one time step to the next, as regkit regularizers."""

from __future__ import annotations

import regkit

TYPE_CHECKING = False  # a type checker takes it for true; importing typing would cost more than the rest of a build
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

__all__ = ["RecurrentNorm", "RecurrentState"]
__version__ = "0.3.0"


class RecurrentPenalty(regkit.Regularizer):
    """What both have in common: outputs with time on axis 1, a mean over time and over outputs."""

    default_selection = "all hidden layers with a time axis"

    def __init__(self, pattern: str | Sequence[str] | None = None, weight: Any = 0.0, reduction: str = "sum") -> None:
        super().__init__(pattern, weight)
        self.reduction = self.checked_choice("reduction", reduction, self.REDUCTIONS)

    def loss(self, layers: Sequence[Any], outputs: Mapping[str, Any]) -> Any:
        """Return the penalty, a scalar, of all outputs of a graph.

        Raises
        ------
        regkit.NoMatchError
            If no output matches.
        regkit.GraphError
            If an output that the pattern names, or every hidden output, has no time axis.
        """
        selected = regkit.select_outputs(outputs, self.pattern, layers)
        recurrent = [(name, z) for name, z in selected if z.ndim >= 3]
        without = [f"{name!r} ({z.ndim} axes)" for name, z in selected if z.ndim < 3]
        if without and (self.pattern is not None or not recurrent):
            raise regkit.GraphError(
                f"{', '.join(without)} has no time axis; {type(self).__name__} expects (examples, time, units)"
            )
        return regkit.graph.mean([self._reduced(name, regkit.graph.widened(z)) for name, z in recurrent])

    def _reduced(self, name: str, z: Any) -> Any:
        squares = self._squares(z)
        result = regkit.graph.reduced_sum(squares, self.reduction, f"output {name!r}")
        if self.reduction == "mean":
            return result
        steps = squares.shape[1]
        return result / regkit.graph.cast(steps + (steps < 1), str(result.dtype))  # one step has no change: 0 / 1

    def _squares(self, z: Any) -> Any:
        raise NotImplementedError


class RecurrentNorm(RecurrentPenalty):
    r"""Penalize changes of the norm of activations over time.

    The penalty is

    .. math:: \frac{1}{|\Omega|} \sum_{i \in \Omega} \frac{1}{T n} \sum_{e} \sum_{t=1}^{T}
        \left( \|Z_i^{e,t}\|_2^2 - \|Z_i^{e,t-1}\|_2^2 \right)^2

    where :math:`\Omega` is the set of matching outputs, :math:`Z_i^{e,t}` the activations of example e at time t, T the
    number of transitions, one less than the length of axis 1, and n is 1 for ``reduction="sum"`` and the number of
    examples for ``"mean"`` and ``"batch"``, which are the same here. A single time step counts 0.

    theanets' code forgets the outer square: its value can be negative and telescopes to a difference of ends. This is
    the formula.

    Parameters
    ----------
    pattern : str or sequence of str, optional
        Case-sensitive glob, or several, for names of outputs, of axes (examples, time, units). By default the outputs
        of all hidden layers that have a time axis.
    weight : real number or scalar of a graph library, default 0
        Strength, in units of the loss per fourth power of activation.
    reduction : {"sum", "mean", "batch"}, default "sum"
        Over examples. With ``"sum"`` the penalties of the parts of a batch add up to that of the whole, otherwise those
        of equal parts are to be averaged.

    Raises
    ------
    regkit.OptionError
        If the reduction is none of the three, or the weight or the pattern is not accepted.

    Notes
    -----
    The gradient by :math:`Z_i^{e,t}` is :math:`4 Z_i^{e,t} (d_t - d_{t+1}) / (|\Omega| \, T n)`, :math:`d_t` being the
    difference that is squared; at the ends there is one of the two.

    References
    ----------
    .. [1] D. Krueger & R. Memisevic (2016). "Regularizing RNNs by Stabilizing Activations." ICLR. arXiv:1511.08400.
    .. [2] L. Johnson. theanets 0.7.3, ``theanets.regularizers.RecurrentNorm``.

    Examples
    --------
    >>> import numpy
    >>> outputs = {"hid1:out": numpy.array([[[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]])}  # squared norms 1, 2, 0
    >>> print(RecurrentNorm("hid*").loss([], outputs))  # ((2 - 1)^2 + (0 - 2)^2) / 2
    2.5
    """

    def _squares(self, z: Any) -> Any:
        norms = (z * z).sum(axis=tuple(range(2, z.ndim)))
        change = norms[:, 1:] - norms[:, :-1]
        return change * change


class RecurrentState(RecurrentPenalty):
    r"""Penalize changes of activations over time.

    The penalty is

    .. math:: \frac{1}{|\Omega|} \sum_{i \in \Omega} \frac{1}{T n} \sum_{e} \sum_{t=1}^{T}
        \| Z_i^{e,t} - Z_i^{e,t-1} \|_2^2

    where :math:`\Omega` is the set of matching outputs, :math:`Z_i^{e,t}` the activations of example e at time t, T the
    number of transitions, one less than the length of axis 1, and n is 1 for ``reduction="sum"``, the number of
    examples for ``"batch"``, and that times the number of units for ``"mean"``. A single time step counts 0.

    theanets' code averages over units as well, as ``"mean"`` does.

    Parameters
    ----------
    pattern : str or sequence of str, optional
        Case-sensitive glob, or several, for names of outputs, of axes (examples, time, units). By default the outputs
        of all hidden layers that have a time axis.
    weight : real number or scalar of a graph library, default 0
        Strength, in units of the loss per squared unit of activation.
    reduction : {"sum", "mean", "batch"}, default "sum"
        Over examples. With ``"sum"`` the penalties of the parts of a batch add up to that of the whole, otherwise those
        of equal parts are to be averaged.

    Raises
    ------
    regkit.OptionError
        If the reduction is none of the three, or the weight or the pattern is not accepted.

    Notes
    -----
    The gradient by :math:`Z_i^{e,t}` is :math:`2 (d_t - d_{t+1}) / (|\Omega| \, T n)`, :math:`d_t` being the difference
    whose norm is taken; at the ends there is one of the two.

    References
    ----------
    .. [1] L. Johnson. theanets 0.7.3, ``theanets.regularizers.RecurrentState``.

    Examples
    --------
    >>> import numpy
    >>> outputs = {"hid1:out": numpy.array([[[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]])}
    >>> print(RecurrentState("hid*").loss([], outputs))  # (1 + 2) / 2
    1.5
    """

    def _squares(self, z: Any) -> Any:
        change = z[:, 1:] - z[:, :-1]
        return change * change
