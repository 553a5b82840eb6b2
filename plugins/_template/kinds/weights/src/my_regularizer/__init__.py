"""The mean square of weights, as a regkit regularizer: alias ``my_regularizer``."""

from __future__ import annotations

from typing import Any

import regkit

__all__ = ["MyRegularizer"]
__version__ = "0.1.0"


class MyRegularizer(regkit.Regularizer):
    r"""Penalize the mean square of weights.

    The penalty is

    .. math:: \frac{1}{|\Omega|} \sum_{i \in \Omega} \frac{1}{n_i} \sum_{w \in W_i} w^2

    where :math:`\Omega` is the set of matching parameters and :math:`n_i` the number of elements of :math:`W_i`.

    Parameters
    ----------
    pattern : str or sequence of str, optional
        Case-sensitive glob, or several, for names of parameters. By default all.
    weight : real number or scalar of a graph library, default 0
        Strength, in units of the loss per squared unit of weight.

    References
    ----------
    .. [1] Where the regularizer was first described.

    Examples
    --------
    >>> import numpy, regkit
    >>> layer = regkit.Layer("hid1:out", {"hid1.w": numpy.array([[1.0, -2.0], [0.0, 3.0]])})
    >>> print(MyRegularizer("*.w").loss([layer]))  # (1 + 4 + 0 + 9) / 4
    3.5
    """

    selects = "params"
    default_selection = "all parameters"

    def loss(self, layers: Any) -> Any:
        """Return the penalty, a scalar, of the parameters of all layers."""
        wide = [regkit.graph.widened(w) for _, w in regkit.select_params(layers, self.pattern)]
        return regkit.graph.mean([regkit.graph.reduced_sum(w * w, "mean") for w in wide])
