"""Sums over the elements of parameters, divided by what a reduction says."""

from __future__ import annotations

import regkit

from ._penalty import ProximalPenalty, soft_threshold

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


class WeightL1(ProximalPenalty):
    r"""Penalize the L1 norm of weights.

    The penalty is

    .. math:: \frac{1}{|\Omega|} \sum_{i \in \Omega} \frac{\|W_i\|_1}{n_i}

    where :math:`\Omega` is the set of matching parameters of two or more dimensions, :math:`\|W_i\|_1` the sum of the
    absolute values of all elements, and :math:`n_i` is 1 for ``reduction="sum"``, the number of elements for
    ``"mean"`` and the length of axis 0 for ``"batch"``.

    Weights go to zero unless they help the rest of the loss. The penalty does not depend on the data: where a batch is
    split over workers, each computes the same, to be averaged.

    Parameters
    ----------
    pattern : str or sequence of str, optional
        Case-sensitive glob, or several, for names of parameters. By default all of two or more dimensions; a vector,
        such as a bias, counts only where a pattern is its name, not a glob. One without a name goes by its place, as
        ``hid1:out.param0``.
    weight : real number or scalar of a graph library, default 0
        Strength, in units of the loss per unit of weight.
    reduction : {"sum", "mean", "batch"}, default "sum"
        ``"sum"`` is the formula of theanets' manual, ``"mean"`` what its code computes.
    by : {"gradient", "proximal"}, default "gradient"
        How it acts. By ``"proximal"`` the penalty is in the loss without a gradient, and the step after the
        optimizer's, `RegularizerSet.after_step`, applies its proximal operator: weights become exactly 0.

    Raises
    ------
    regkit.OptionError
        If the reduction is none of the three, or the weight or the pattern is not accepted.

    Notes
    -----
    The gradient is :math:`\operatorname{sign}(W_i) / (|\Omega| \, n_i)`, zero at zero. The proximal operator of an
    amount t is the soft threshold :math:`\operatorname{sign}(W_i) \max(0, |W_i| - t / (|\Omega| \, n_i))`.

    References
    ----------
    .. [1] R. Tibshirani (1996). "Regression Shrinkage and Selection via the Lasso." J. R. Statist. Soc. B 58, 267-288.
    .. [2] L. Johnson. theanets 0.7.3, ``theanets.regularizers.WeightL1``.

    Examples
    --------
    >>> import numpy, regkit
    >>> layers = [regkit.Layer("hid1:out", {"hid1.w": numpy.array([[1.0, -2.0], [0.0, 3.0]])})]
    >>> print(WeightL1().loss(layers))
    6.0
    """

    vectors_by_name = True

    def _penalty(self, name: str, w: Any) -> Any:
        return self._reduced(name, regkit.graph.absolute(w))

    def _stepped(self, name: str, w: Any, amount: Any) -> Any:
        return soft_threshold(w, self._share(amount, w))


class WeightL2(ProximalPenalty):
    r"""Penalize the squared L2 norm of weights (weight decay).

    The penalty is

    .. math:: \frac{1}{|\Omega|} \sum_{i \in \Omega} \frac{\|W_i\|_F^2}{n_i}

    where :math:`\Omega` is the set of matching parameters of two or more dimensions, :math:`\|W_i\|_F^2` the sum of the
    squares of all elements, not halved, and :math:`n_i` is 1 for ``reduction="sum"``, the number of elements for
    ``"mean"`` and the length of axis 0 for ``"batch"``.

    The penalty does not depend on the data: where a batch is split over workers, each computes the same, to be
    averaged.

    Parameters
    ----------
    pattern : str or sequence of str, optional
        Case-sensitive glob, or several, for names of parameters. By default all of two or more dimensions; a vector,
        such as a bias, counts only where a pattern is its name, not a glob. One without a name goes by its place, as
        ``hid1:out.param0``.
    weight : real number or scalar of a graph library, default 0
        Strength, in units of the loss per squared unit of weight.
    reduction : {"sum", "mean", "batch"}, default "sum"
        ``"sum"`` is the formula of theanets' manual, ``"mean"`` what its code computes.
    by : {"gradient", "proximal"}, default "gradient"
        How it acts. By ``"proximal"`` the penalty is in the loss without a gradient, and the step after the
        optimizer's, `RegularizerSet.after_step`, applies its proximal operator.

    Raises
    ------
    regkit.OptionError
        If the reduction is none of the three, or the weight or the pattern is not accepted.

    Notes
    -----
    The gradient is :math:`2 W_i / (|\Omega| \, n_i)`. The proximal operator of an amount t is
    :math:`W_i / (1 + 2 t / (|\Omega| \, n_i))`.

    References
    ----------
    .. [1] J. Moody, S. Hanson, A. Krogh & J. Hertz (1995). "A Simple Weight Decay Can Improve Generalization."
       NIPS 4, 950-957.
    .. [2] L. Johnson. theanets 0.7.3, ``theanets.regularizers.WeightL2``.

    Examples
    --------
    >>> import numpy, regkit
    >>> layers = [regkit.Layer("hid1:out", {"hid1.w": numpy.array([[1.0, -2.0], [0.0, 3.0]])})]
    >>> print(WeightL2().loss(layers))
    14.0
    """

    vectors_by_name = True

    def _penalty(self, name: str, w: Any) -> Any:
        return self._reduced(name, w * w)

    def _stepped(self, name: str, w: Any, amount: Any) -> Any:
        one, two = (regkit.graph.cast(number, str(w.dtype)) for number in (1, 2))
        return w / (one + two * self._share(amount, w))


class ElasticNet(ProximalPenalty):
    r"""Penalize a mixture of the L1 norm of weights and half their squared L2 norm.

    The penalty is

    .. math:: \frac{1}{|\Omega|} \sum_{i \in \Omega} \frac{1}{n_i}
        \left( \alpha \|W_i\|_1 + \frac{1 - \alpha}{2} \|W_i\|_F^2 \right)

    where :math:`\alpha` is ``l1_ratio``, :math:`\Omega` the set of matching parameters of two or more dimensions, and
    :math:`n_i` is 1 for ``reduction="sum"``, the number of elements for ``"mean"`` and the length of axis 0 for
    ``"batch"``. Half the square is the convention of glmnet and scikit-learn.

    The penalty does not depend on the data: where a batch is split over workers, each computes the same, to be
    averaged.

    Parameters
    ----------
    pattern : str or sequence of str, optional
        Case-sensitive glob, or several, for names of parameters. By default all of two or more dimensions; a vector,
        such as a bias, counts only where a pattern is its name, not a glob. One without a name goes by its place, as
        ``hid1:out.param0``.
    weight : real number or scalar of a graph library, default 0
        Strength, in units of the loss.
    l1_ratio : float, default 0.5
        Share of the L1 norm, from 0 to 1, dimensionless.
    reduction : {"sum", "mean", "batch"}, default "sum"
    by : {"gradient", "proximal"}, default "gradient"
        How it acts. By ``"proximal"`` the penalty is in the loss without a gradient, and the step after the
        optimizer's, `RegularizerSet.after_step`, applies its proximal operator: weights become exactly 0.

    Raises
    ------
    regkit.OptionError
        If l1_ratio is not from 0 to 1, or another argument is not accepted.

    Notes
    -----
    The gradient is :math:`(\alpha \operatorname{sign}(W_i) + (1 - \alpha) W_i) / (|\Omega| \, n_i)`, the sign of 0
    being 0.

    References
    ----------
    .. [1] H. Zou & T. Hastie (2005). "Regularization and Variable Selection via the Elastic Net." J. R. Statist.
       Soc. B 67, 301-320.

    Examples
    --------
    >>> import numpy, regkit
    >>> layers = [regkit.Layer("hid1:out", {"hid1.w": numpy.array([[1.0, -2.0], [0.0, 3.0]])})]
    >>> print(ElasticNet(l1_ratio=0.5).loss(layers))  # 0.5 * 6 + 0.25 * 14
    6.5
    """

    vectors_by_name = True

    def __init__(
        self,
        pattern: str | Sequence[str] | None = None,
        weight: Any = 0.0,
        l1_ratio: float = 0.5,
        reduction: str = "sum",
        by: str = "gradient",
    ) -> None:
        super().__init__(pattern, weight, reduction, by)
        self.l1_ratio = self.checked_number("l1_ratio", l1_ratio, high=1)

    def _penalty(self, name: str, w: Any) -> Any:
        share, rest = (regkit.graph.cast(ratio, str(w.dtype)) for ratio in (self.l1_ratio, (1 - self.l1_ratio) / 2))
        return self._reduced(name, share * regkit.graph.absolute(w) + rest * (w * w))

    def _stepped(self, name: str, w: Any, amount: Any) -> Any:
        one, share, rest = (regkit.graph.cast(number, str(w.dtype)) for number in (1, self.l1_ratio, 1 - self.l1_ratio))
        amount = self._share(amount, w)
        return soft_threshold(w, amount * share) / (one + amount * rest)
