"""The L1 norm of hidden activations, as a regkit regularizer: aliases ``hidden_l1`` and ``hidden_sparsity``."""

from __future__ import annotations

import regkit

TYPE_CHECKING = False  # a type checker takes it for true; importing typing would cost more than the rest of a build
if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping, Sequence
    from typing import Any

__all__ = ["HiddenL1"]
__version__ = "0.3.0"


class HiddenL1(regkit.Regularizer):
    r"""Penalize the activation of hidden layers under an L1 norm.

    The penalty is

    .. math:: \frac{1}{|\Omega|} \sum_{i \in \Omega} \frac{\|Z_i\|_1}{n_i}

    where :math:`\Omega` is the set of matching outputs, :math:`\|Z_i\|_1` the sum of the absolute values of all
    elements of the array :math:`Z_i`, and :math:`n_i` is 1 for ``reduction="sum"``, the number of elements for
    ``"mean"`` and the length of axis 0 for ``"batch"``. An empty array counts 0.

    Activations go to zero unless they help the rest of the loss, and the features of a layer tile its input.

    Parameters
    ----------
    pattern : str or sequence of str, optional
        Case-sensitive glob, or several, for names of outputs. By default the outputs of all hidden layers.
    weight : real number or scalar of a graph library, default 0
        Strength, in units of the loss per unit of activation.
    reduction : {"sum", "mean", "batch"}, default "sum"
        ``"sum"`` is the formula of theanets' manual: it grows with the number of examples, and the penalties of the
        parts of a batch add up to that of the whole. ``"mean"``, per element, is what theanets' code computes, and
        ``"batch"``, per example, the convention of [1]_; of equal parts of a batch they are to be averaged.

    Raises
    ------
    regkit.OptionError
        If the reduction is none of the three, or the weight or the pattern is not accepted.

    Notes
    -----
    The gradient is :math:`\operatorname{sign}(Z_i) / (|\Omega| \, n_i)`. The penalty has the dtype of the outputs;
    integer outputs give floatX, and float16 gives float32.

    References
    ----------
    .. [1] A. Ng (2011). "Sparse Autoencoder." CS294A Lecture Notes, Stanford University.
    .. [2] L. Johnson. theanets 0.7.3, ``theanets.regularizers.HiddenL1``.

    Examples
    --------
    >>> import numpy, regkit
    >>> outputs = {"hid1:out": numpy.array([[1.0, -2.0], [0.0, 3.0]]), "hid2:out": numpy.array([[-4.0]])}
    >>> print(HiddenL1("hid*").loss([], outputs))  # (6 + 4) / 2
    5.0
    >>> print(HiddenL1("hid*", reduction="mean").loss([], outputs))  # (1.5 + 4) / 2
    2.75
    >>> print(HiddenL1("hid*", reduction="batch").loss([], outputs))  # (3 + 4) / 2
    3.5
    """

    changes_graph = False
    default_selection = "all hidden layers"

    def __init__(self, pattern: str | Sequence[str] | None = None, weight: Any = 0.0, reduction: str = "sum") -> None:
        super().__init__(pattern, weight)
        self.reduction = self.checked_choice("reduction", reduction, self.REDUCTIONS)

    def modify_graph(self, outputs: MutableMapping[str, Any]) -> None:
        """Leave the graph as it is: predictions with and without this regularizer are the same."""

    def loss(self, layers: Sequence[Any], outputs: Mapping[str, Any]) -> Any:
        r"""Return the penalty :math:`\frac{1}{|\Omega|} \sum_{i \in \Omega} \|Z_i\|_1 / n_i`.

        Parameters
        ----------
        layers : sequence of Layer
            First the input, last the output, between them hidden; only needed when `pattern` is None.
        outputs : mapping of str to expression
            All outputs of the graph by their full names, of any shape.

        Returns
        -------
        scalar expression

        Raises
        ------
        regkit.NoMatchError
            If no output matches, or there is no hidden layer.
        regkit.GraphError
            If ``reduction="batch"`` meets an output without axes.
        """
        selected = regkit.select_outputs(outputs, self.pattern, layers)
        norms = [
            # a float before abs, which has no value for the lowest integer
            regkit.graph.reduced_sum(regkit.graph.absolute(regkit.graph.widened(z)), self.reduction, f"output {name!r}")
            for name, z in selected
        ]
        return regkit.graph.mean(norms)

    def metrics(self, layers: Sequence[Any], outputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return ``zeros``, ``l0`` and ``dead`` of the matching outputs, as `regkit.graph.sparsity` defines them."""
        selected = regkit.select_outputs(outputs, self.pattern, layers)
        return regkit.graph.sparsity([z for _, z in selected])
