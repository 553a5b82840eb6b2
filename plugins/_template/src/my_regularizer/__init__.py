"""The mean square of hidden activations, as a regkit regularizer: alias ``my_regularizer``."""

from __future__ import annotations

from typing import Any

import regkit

__all__ = ["MyRegularizer"]
__version__ = "0.1.0"


class MyRegularizer(regkit.Regularizer):
    r"""Penalize the mean square of hidden activations.

    The penalty is

    .. math:: \frac{1}{|\Omega|} \sum_{i \in \Omega} \frac{1}{n_i} \sum_{z \in Z_i} z^2

    where :math:`\Omega` is the set of matching outputs and :math:`n_i` the number of elements of :math:`Z_i`. It is a
    mean per element: of equal parts of a batch, the penalties are to be averaged.

    Parameters
    ----------
    pattern : str or sequence of str, optional
        Case-sensitive glob, or several, for names of outputs. By default the outputs of all hidden layers.
    weight : real number or scalar of a graph library, default 0
        Strength, in units of the loss per squared unit of activation.

    References
    ----------
    .. [1] Where the regularizer was first described.

    Examples
    --------
    >>> import numpy
    >>> outputs = {"hid1:out": numpy.array([[1.0, -2.0], [0.0, 3.0]])}
    >>> print(MyRegularizer("hid*").loss([], outputs))  # (1 + 4 + 0 + 9) / 4
    3.5
    """

    default_selection = "all hidden layers"

    def loss(self, layers: Any, outputs: Any) -> Any:
        """Return the penalty, a scalar, of all outputs of a graph."""
        selected = regkit.select_outputs(outputs, self.pattern, layers)
        wide = [regkit.graph.widened(z) for _, z in selected]  # float16 has no room for squares
        return regkit.graph.mean([regkit.graph.reduced_sum(z * z, "mean") for z in wide])
