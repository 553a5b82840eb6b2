"""A change of hidden activations, as a regkit regularizer: alias ``my_regularizer``."""

from __future__ import annotations

from typing import Any

import regkit

__all__ = ["MyRegularizer"]
__version__ = "0.1.0"


class MyRegularizer(regkit.Regularizer):
    r"""Shrink hidden activations while training.

    A matching output becomes

    .. math:: \frac{Z}{1 + \lambda}

    where :math:`\lambda` is the weight. The original stays in the graph as ``<name>-original``. There is no penalty.

    Parameters
    ----------
    pattern : str or sequence of str, optional
        Case-sensitive glob, or several, for names of outputs. By default the outputs of all hidden layers.
    weight : real number or scalar of a graph library, default 0
        Strength, without a unit.

    References
    ----------
    .. [1] Where the regularizer was first described.

    Examples
    --------
    >>> import numpy
    >>> outputs = {"hid1:out": numpy.array([1.0, -2.0])}
    >>> MyRegularizer("hid*", weight=1).modify_graph(outputs, [])
    >>> print(outputs["hid1:out"], outputs["hid1:out-original"])
    [ 0.5 -1. ] [ 1. -2.]
    """

    default_selection = "all hidden layers"

    def modify_graph(self, outputs: Any, layers: Any) -> None:
        """Change the matching outputs of one layer; the original of each stays beside it."""
        hidden = [layer.output_name for layer in regkit.select_layers(layers, "hidden")]
        for name, z in regkit.select_outputs(outputs, self.pattern, default=hidden):
            one = regkit.graph.cast(1, str(z.dtype))  # a Python number would make float64 of a float32 expression
            outputs[name + "-original"] = z
            outputs[name] = z / (one + regkit.graph.weight(self, z))
