"""Statistics of units over a batch: how active each is on average, and how they vary together."""

from __future__ import annotations

import regkit

from ._penalty import ActivationPenalty, count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

#: How near to 0 and to 1 a mean activation counts: a power of 2, so that float32 has 1 minus it to the last digit.
EPSILON = 2.0**-20


class HiddenKL(ActivationPenalty):
    r"""Penalize mean activations that are far from a small target: the sparsity of sparse autoencoders.

    The penalty is

    .. math:: \frac{1}{|\Omega|} \sum_{i \in \Omega} \sum_j
        \rho \log \frac{\rho}{\hat\rho_{ij}} + (1 - \rho) \log \frac{1 - \rho}{1 - \hat\rho_{ij}}

    where :math:`\Omega` is the set of matching outputs, :math:`\hat\rho_{ij}` the mean activation of unit j over the
    batch, which is over all axes but the last, and :math:`\rho` is the target. It is the Kullback-Leibler divergence,
    in nats, of two coins. The logarithms are taken of means that are clipped to :math:`2^{-20}`, about :math:`10^{-6}`,
    from 0 and 1. Without examples it is 0.

    It is made for activations between 0 and 1, as of sigmoid units. Each unit becomes active in about a share
    :math:`\rho` of the examples, which none can escape by being always off.

    Parameters
    ----------
    pattern : str or sequence of str, optional
        Case-sensitive glob, or several, for names of outputs, of axes (examples, units), or (examples, time, units). By
        default the outputs of all hidden layers.
    weight : real number or scalar of a graph library, default 0
        Strength, in units of the loss per nat.
    rho : float, default 0.05
        The mean activation that every unit is to have, from 0.000001 to 0.999999, dimensionless.

    Raises
    ------
    regkit.OptionError
        If rho is not between the two, or another argument is not accepted.

    Notes
    -----
    The gradient by an activation of unit j is :math:`\frac{1}{N} \left( \frac{1 - \rho}{1 - \hat\rho_j} -
    \frac{\rho}{\hat\rho_j} \right)`, N being the number of examples, over :math:`|\Omega|`. It is that of the clipped
    mean: a unit that is always 0 is still pulled, by :math:`-2^{20} \rho / N`, and one below 0 or above 1 too.

    The mean is over the whole batch, so the penalties of parts do not combine: their average is at least that of the
    whole, since the divergence is convex. Average the means of the parts first where that matters.

    References
    ----------
    .. [1] A. Ng (2011). "Sparse Autoencoder." CS294A Lecture Notes, Stanford University.

    Examples
    --------
    >>> import numpy
    >>> outputs = {"hid1:out": numpy.array([[0.1, 0.25], [0.0, 0.75]])}  # means 0.05 and 0.5
    >>> print(f"{HiddenKL('hid1:out').loss([], outputs):.4f}")  # 0 + 0.05 log 0.1 + 0.95 log 1.9
    0.4946
    """

    def __init__(self, pattern: str | Sequence[str] | None = None, weight: Any = 0.0, rho: float = 0.05) -> None:
        super().__init__(pattern, weight)
        self.rho = self.checked_number("rho", rho, low=1e-6, high=1 - 1e-6)

    def _penalty(self, name: str, z: Any) -> Any:
        flat = by_unit(self, name, z)
        functions = regkit.graph.functions(z)
        rho, rest, low, high = (
            regkit.graph.cast(number, str(z.dtype)) for number in (self.rho, 1 - self.rho, EPSILON, 1 - EPSILON)
        )
        examples = flat.shape[0]
        means = flat.sum(axis=0) / count(examples, flat)
        clipped = regkit.graph.held(functions.minimum(functions.maximum(means, low), high))
        means = clipped + (means - regkit.graph.held(means))  # the value of the one, the gradient of the other
        divergences = rho * functions.log(rho / means) + rest * functions.log(rest / (1 - means))
        return divergences.sum() * regkit.graph.cast(examples > 0, str(z.dtype))


class HiddenDecorrelation(ActivationPenalty):
    r"""Penalize the covariances between units, so that each says something that the others do not.

    The penalty is

    .. math:: \frac{1}{|\Omega|} \sum_{i \in \Omega} \frac{1}{2}
        \left( \|C_i\|_F^2 - \|\operatorname{diag} C_i\|_2^2 \right), \qquad
        C_i = \frac{1}{N} \sum_e (z_e - \bar z) (z_e - \bar z)^\top

    where :math:`\Omega` is the set of matching outputs, :math:`z_e` the activations of the units, which are the last
    axis, in one of the N examples, which are all other axes, and :math:`\bar z` is their mean. Fewer than two examples
    count 0.

    Parameters
    ----------
    pattern : str or sequence of str, optional
        Case-sensitive glob, or several, for names of outputs, of axes (examples, units), or (examples, time, units). By
        default the outputs of all hidden layers.
    weight : real number or scalar of a graph library, default 0
        Strength, in units of the loss per fourth power of activation.

    Raises
    ------
    regkit.OptionError
        If the weight or the pattern is not accepted.

    Notes
    -----
    The gradient by unit j of example e is :math:`\frac{2}{N} \sum_{k \neq j} C_{jk} (z_{ek} - \bar z_k)`, over
    :math:`|\Omega|`; it is zero for a unit that never changes. The penalty takes the square of the number of units, in
    memory as in time.

    The covariance is that of the batch, so the penalties of parts do not combine, and a batch with few examples for its
    units has large covariances by chance.

    References
    ----------
    .. [1] M. Cogswell, F. Ahmed, R. Girshick, L. Zitnick & D. Batra (2016). "Reducing Overfitting in Deep Networks by
       Decorrelating Representations." ICLR. arXiv:1511.06068.

    Examples
    --------
    >>> import numpy
    >>> outputs = {"hid1:out": numpy.array([[1.0, 2.0], [-1.0, -2.0]])}  # covariances [[1, 2], [2, 4]]
    >>> print(HiddenDecorrelation("hid1:out").loss([], outputs))  # (2^2 + 2^2) / 2
    4.0
    """

    def _penalty(self, name: str, z: Any) -> Any:
        flat = by_unit(self, name, z)
        examples = count(flat.shape[0], flat)
        centred = flat - flat.sum(axis=0, keepdims=True) / examples
        covariances = centred.T.dot(centred) / examples
        # leaving the diagonal out, and not subtracting it, keeps small covariances beside large variances
        between = covariances * (1 - regkit.graph.functions(z).eye(flat.shape[1], dtype=str(z.dtype)))
        return (between * between).sum() * regkit.graph.cast(0.5, str(z.dtype))


def by_unit(regularizer: Any, name: str, z: Any) -> Any:
    """Return activations as (examples, units): the last axis is that of units, all before it are of examples."""
    if z.ndim < 2:
        raise regkit.GraphError(
            f"{name!r} has too few axes ({z.ndim}); {type(regularizer).__name__} expects (examples, units)"
        )
    examples = 1
    for axis in range(z.ndim - 1):
        examples = examples * z.shape[axis]
    return z.reshape((examples, z.shape[z.ndim - 1]))
