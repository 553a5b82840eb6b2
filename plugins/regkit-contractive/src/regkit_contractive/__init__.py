"""The Jacobian of hidden layers by the input, as a regkit regularizer: alias ``contractive``."""

from __future__ import annotations

import regkit

TYPE_CHECKING = False  # a type checker takes it for true; importing typing would cost more than the rest of a build
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

__all__ = ["Contractive"]
__version__ = "0.3.0"


class Contractive(regkit.Regularizer):
    r"""Penalize the derivatives of hidden outputs by the input.

    The penalty is

    .. math:: \frac{1}{|\Omega|} \sum_{i \in \Omega} \sum_x \frac{1}{n} \sum_e
        \left\| \frac{\partial Z_i^e}{\partial x^e} \right\|_F^2

    where :math:`\Omega` is the set of matching outputs, :math:`Z_i^e` the activations of example e, :math:`x^e` what
    the network is given of it, :math:`\|\cdot\|_F^2` the sum of the squares of all entries of the Jacobian, and n is
    1 for ``reduction="sum"``, the number of examples for ``"batch"``, and the number of entries of all Jacobians for
    ``"mean"``. Examples are taken to be independent of each other, which batch normalization, for one, is not.

    theanets' code differentiates the mean of the activations, in which derivatives of opposite signs cancel, and
    averages the squares of that. No reduction of the true Jacobian equals it; ``"mean"`` is the nearest in scale.

    Parameters
    ----------
    pattern : str or sequence of str, optional
        Case-sensitive glob, or several, for names of outputs. By default the outputs of all hidden layers.
    weight : real number or scalar of a graph library, default 0
        Strength, in units of the loss per squared unit of activation over squared unit of input.
    wrt : str or sequence of str, optional
        Case-sensitive glob, or several, for the names of the outputs to differentiate by. Each has to match. By default
        the main output of the first layer.
    reduction : {"sum", "mean", "batch"}, default "sum"
        With ``"sum"`` the penalties of the parts of a batch add up to that of the whole, otherwise those of equal parts
        are to be averaged.

    Raises
    ------
    regkit.OptionError
        If the reduction is none of the three, or another argument is not accepted.

    Notes
    -----
    One pass backwards through the network for every unit of the matching outputs, in a loop (a Scan), and as much again
    for its gradient: a layer of 1,000 units makes a training step cost a thousand and more. Match small layers.

    NumPy arrays have no graph, so there is no Jacobian of them: that is a `regkit.GraphError`.

    References
    ----------
    .. [1] S. Rifai, P. Vincent, X. Muller, X. Glorot & Y. Bengio (2011). "Contractive Auto-Encoders: Explicit
       Invariance During Feature Extraction." ICML.
    .. [2] L. Johnson. theanets 0.7.3, ``theanets.regularizers.Contractive``.

    Examples
    --------
    >>> import numpy
    >>> Contractive("hid*", weight=0.1, wrt="in:out")
    Contractive(weight=0.1, pattern='hid*', wrt='in:out')
    >>> Contractive("hid*", wrt="in").loss([], {"in": numpy.ones((1, 2)), "hid1": numpy.ones((1, 2))})
    Traceback (most recent call last):
        ...
    regkit.GraphError: an array has its value and no graph, so it has no jacobian
    """

    default_selection = "all hidden layers"

    def __init__(
        self,
        pattern: str | Sequence[str] | None = None,
        weight: Any = 0.0,
        wrt: str | Sequence[str] | None = None,
        reduction: str = "sum",
    ) -> None:
        super().__init__(pattern, weight)
        self.wrt = self.checked_pattern("wrt", wrt)
        self.reduction = self.checked_choice("reduction", reduction, self.REDUCTIONS)

    def loss(self, layers: Sequence[Any], outputs: Mapping[str, Any]) -> Any:
        """Return the penalty, a scalar, of all outputs of a graph.

        Raises
        ------
        regkit.NoMatchError
            If no output matches the pattern, or none matches a glob of `wrt`.
        regkit.GraphError
            If the outputs are arrays, have no examples on axis 0, or do not depend on what `wrt` selects.
        """
        selected = regkit.select_outputs(outputs, self.pattern, layers)
        inputs = self._inputs(layers, outputs)
        return regkit.graph.mean([regkit.graph.total(self._of_each_input(name, z, inputs)) for name, z in selected])

    def _inputs(self, layers: Sequence[Any], outputs: Mapping[str, Any]) -> list[tuple[str, Any]]:
        if self.wrt is not None:
            try:
                for glob in (self.wrt,) if isinstance(self.wrt, str) else self.wrt:
                    regkit.select_outputs(outputs, glob)
                return regkit.select_outputs(outputs, self.wrt)
            except regkit.NoMatchError as error:
                raise regkit.NoMatchError(f"wrt: {error}") from None
        inputs = [layer.output_name for layer in regkit.select_layers(layers, "input")]
        first = inputs[0] if inputs else None
        if first is None or first not in outputs:
            raise regkit.NoMatchError(
                f"the output of the first layer, {first!r}, is not among the outputs: {', '.join(outputs)}. Pass wrt"
            )
        return [(first, outputs[first])]

    def _of_each_input(self, name: str, z: Any, inputs: list[tuple[str, Any]]) -> list[Any]:
        """The terms of one output. An input that does not reach it has derivatives of zero."""
        terms = []
        for _, x in inputs:
            try:
                terms.append(self._of_one(name, z, x))
            except regkit.GraphError:
                if len(inputs) == 1 or regkit.graph.library(z) == "numpy" or z.ndim < 2:
                    raise
        if not terms:
            there = ", ".join(name for name, _ in inputs)
            raise regkit.GraphError(f"output {name!r} does not depend on any of the inputs {there}")
        return terms

    def _of_one(self, name: str, z: Any, x: Any) -> Any:
        if z.ndim < 2 or x.ndim < 1:
            raise regkit.GraphError(f"output {name!r} has {z.ndim} axes; expected (examples, units) or more")
        # Row k: the derivative of unit k, summed over examples, by x. Other examples' activations do not depend on x^e.
        rows = regkit.graph.widened(regkit.graph.jacobian(z.sum(axis=0).flatten(), x))
        result = regkit.graph.reduced_sum(rows * rows, "mean" if self.reduction == "mean" else "sum")
        if self.reduction == "batch":
            examples = z.shape[0]
            result = result / regkit.graph.cast(examples + (examples < 1), str(result.dtype))  # of none: 0 / 1
        return result
