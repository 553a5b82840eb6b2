"""A change of weights after an optimizer's step, as a regkit regularizer: alias ``my_regularizer``."""

from __future__ import annotations

from typing import Any

import regkit

__all__ = ["MyRegularizer"]
__version__ = "0.1.0"


class MyRegularizer(regkit.Regularizer):
    r"""Shrink weights after each step of an optimizer.

    A matching parameter becomes

    .. math:: \frac{W}{1 + \eta \lambda}

    where :math:`\eta` is the step size and :math:`\lambda` the weight. There is no penalty.

    Parameters
    ----------
    pattern : str or sequence of str, optional
        Case-sensitive glob, or several, for names of parameters. By default all.
    weight : real number or scalar of a graph library, default 0
        Strength, per unit of step size.

    References
    ----------
    .. [1] Where the regularizer was first described.

    Examples
    --------
    >>> import numpy
    >>> params = {"hid1.w": numpy.array([[1.0, -2.0]])}
    >>> MyRegularizer("*.w").after_step(params, amount=1)
    >>> print(params["hid1.w"])
    [[ 0.5 -1. ]]
    """

    selects = "params"
    default_selection = "all parameters"

    def after_step(self, params: Any, amount: Any) -> None:
        """Change the matching parameters; `amount` is step size times weight."""
        for name, w in regkit.select_params([regkit.Layer("", params)], self.pattern):
            one, by = (regkit.graph.cast(number, str(w.dtype)) for number in (1, amount))
            params[name] = w / (one + by)
