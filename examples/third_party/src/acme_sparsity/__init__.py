"""KL sparsity of hidden units, as a regkit regularizer: alias ``acme_kl``."""

import regkit

__all__ = ["HiddenKL"]

#: How near to 0 and 1 a mean activation can come: a unit that is always off would have an infinite divergence.
LEAST = 1e-6


class HiddenKL(regkit.Regularizer):
    r"""Penalize hidden units whose mean activation is not a given small one.

    The penalty is

    .. math:: \frac{1}{|\Omega|} \sum_{i \in \Omega} \sum_j \mathrm{KL}(\rho \,\|\, \hat\rho_{ij}), \qquad
        \mathrm{KL}(\rho \,\|\, \hat\rho)
        = \rho \log \frac{\rho}{\hat\rho} + (1 - \rho) \log \frac{1 - \rho}{1 - \hat\rho}

    where :math:`\Omega` is the set of matching outputs and :math:`\hat\rho_{ij}` the mean activation of unit j of
    output i, over all axes but the last. With one hidden layer it is that of [1]_. The penalty is a sum over units and
    of a mean over examples: of parts of a batch it cannot be put together, since KL is not linear in the mean.

    Parameters
    ----------
    pattern : str or sequence of str, optional
        Case-sensitive glob, or several, for names of outputs. By default the outputs of all hidden layers.
    weight : real number or scalar of a graph library, default 0
        Strength, in units of the loss per nat; :math:`\beta` in [1]_.
    rho : float, default 0.05
        Target of the mean activation, between 0 and 1, dimensionless.

    Raises
    ------
    regkit.OptionError
        If rho is not between 0 and 1.

    Notes
    -----
    Activations are between 0 and 1, as those of logistic units are. A mean within a millionth of 0 or 1, where the
    divergence becomes infinite, counts as a millionth from it; so do the means of a batch without examples.

    References
    ----------
    .. [1] A. Ng (2011). "Sparse Autoencoder." CS294A Lecture Notes, Stanford University, section 3.

    Examples
    --------
    >>> import numpy
    >>> outputs = {"hid1:out": numpy.array([[0.1, 0.5], [0.3, 0.5]])}
    >>> print(f"{HiddenKL('hid*', rho=0.2).loss([], outputs):.4f}")  # 0.2 * log(0.2 / 0.5) + 0.8 * log(0.8 / 0.5)
    0.1927
    """

    default_selection = "all hidden layers"  # what the log says where there is no pattern

    def __init__(self, pattern=None, weight=0.0, rho=0.05):
        super().__init__(pattern, weight)
        if isinstance(rho, bool) or not isinstance(rho, float) or not 0 < rho < 1:
            raise regkit.OptionError(f"HiddenKL got rho={rho!r}; accepted: a float between 0 and 1")
        self.rho = rho

    def loss(self, layers, outputs):
        """Return the penalty, a scalar, of all outputs of a graph."""
        selected = regkit.select_outputs(outputs, self.pattern, layers)
        total = regkit.graph.total([self._divergence(name, z) for name, z in selected])
        return total / regkit.graph.cast(len(selected), str(total.dtype))

    def _divergence(self, name, z):
        if z.ndim == 0:
            raise regkit.GraphError(f"output {name!r} has no axes, so it has no units")
        z = regkit.graph.widened(z)
        log = regkit.graph.functions(z).log
        target, rest = (regkit.graph.cast(share, str(z.dtype)) for share in (self.rho, 1 - self.rho))
        count = z.size / z.shape[-1]
        mean = z.sum(axis=tuple(range(z.ndim - 1))) / regkit.graph.cast(count + (count < 1), str(z.dtype))
        least, most = (regkit.graph.cast(share, str(z.dtype)) for share in (LEAST, 1 - LEAST))
        mean = regkit.graph.functions(z).clip(mean, least, most)
        return (target * log(target / mean) + rest * log(rest / (1 - mean))).sum()
