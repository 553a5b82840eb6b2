"""Norms of a network's parameters, as regkit regularizers: L1, L2, elastic net and group lasso."""

from __future__ import annotations

import regkit

TYPE_CHECKING = False  # a type checker takes it for true; importing typing would cost more than the rest of a build
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

__all__ = ["ElasticNet", "GroupLasso", "WeightL1", "WeightL2"]
__version__ = "0.1.0"


class WeightPenalty(regkit.Regularizer):
    """What the penalties of parameters have in common: which are chosen, and the mean over them."""

    def __init__(self, pattern: str | Sequence[str] | None = None, weight: Any = 0.0, reduction: str = "sum") -> None:
        super().__init__(pattern, weight)
        self.reduction = self.checked_choice("reduction", reduction, self.REDUCTIONS)

    def loss(self, layers: Sequence[Any]) -> Any:
        r"""Return the penalty :math:`\frac{1}{|\Omega|} \sum_{i \in \Omega} p(W_i)`, a scalar.

        Raises
        ------
        regkit.NoMatchError
            If no parameter of two or more dimensions matches.
        """
        selected = regkit.select_params(layers, "*" if self.pattern is None else self.pattern)
        matrices = [(name, regkit.graph.as_float(w)) for name, w in selected if w.ndim > 1]
        if not matrices:
            there = ", ".join(name for name, _ in selected)
            raise regkit.NoMatchError(
                f"pattern {self.pattern!r} matches only parameters without two dimensions: {there}"
            )
        return regkit.graph.mean([self._penalty(name, regkit.graph.widened(w)) for name, w in matrices])

    def _penalty(self, name: str, w: Any) -> Any:
        """Return the penalty of one parameter, which is of float32 or wider."""
        raise NotImplementedError

    def _reduced(self, name: str, elements: Any) -> Any:
        return regkit.graph.reduced_sum(elements, self.reduction, f"parameter {name!r}")


def checked_axis(owner: str, axis: Any) -> int:
    """Return an axis as a Python int; OptionError if it is none of the first two."""
    if isinstance(axis, bool) or not hasattr(axis, "__index__") or axis not in (0, 1):
        raise regkit.OptionError(f"{owner} got axis={axis!r}; accepted: 0, 1")
    return int(axis)


def norms_of_slices(w: Any, axis: int) -> Any:
    """Return the L2 norm of each slice along an axis, with a gradient of zero for slices of zeros.

    Each is scaled by the sum of its absolute values, so that no square underflows or overflows. That sum is at most the
    norm times the root of the slice's size and, unlike the largest element, there for empty slices too.
    """
    others = tuple(other for other in range(w.ndim) if other != axis)
    scale = abs(w).sum(axis=others, keepdims=True)
    zero = regkit.graph.cast(scale <= 0, str(w.dtype))  # 1 there, for neither 0 / 0 nor the gradient of a root of 0
    scale = regkit.graph.held(scale + zero)  # one expression below, which rewriters cancel before they multiply by it
    scaled = w / scale
    norms = scale * (regkit.graph.functions(w).sqrt((scaled * scaled).sum(axis=others, keepdims=True) + zero) - zero)
    return norms.sum(axis=others)


class WeightL1(WeightPenalty):
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
        Case-sensitive glob, or several, for names of parameters. By default all; those of one dimension, such as
        biases, are never counted.
    weight : real number or scalar of a graph library, default 0
        Strength, in units of the loss per unit of weight.
    reduction : {"sum", "mean", "batch"}, default "sum"
        ``"sum"`` is the formula of theanets' manual, ``"mean"`` what its code computes.

    Raises
    ------
    regkit.OptionError
        If the reduction is none of the three, or the weight or the pattern is not accepted.

    References
    ----------
    .. [1] R. Tibshirani (1996). "Regression Shrinkage and Selection via the Lasso." J. R. Statist. Soc. B 58, 267-288.
    .. [2] L. Johnson. theanets 0.7.3, ``theanets.regularizers.WeightL1``.

    Examples
    --------
    >>> import numpy, regkit, types
    >>> class Param(numpy.ndarray): name = "hid1.w"
    >>> layers = [regkit.Layer("hid1:out", [numpy.array([[1.0, -2.0], [0.0, 3.0]]).view(Param)])]
    >>> print(WeightL1().loss(layers))
    6.0
    """

    def _penalty(self, name: str, w: Any) -> Any:
        return self._reduced(name, abs(w))


class WeightL2(WeightPenalty):
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
        Case-sensitive glob, or several, for names of parameters. By default all; those of one dimension, such as
        biases, are never counted.
    weight : real number or scalar of a graph library, default 0
        Strength, in units of the loss per squared unit of weight.
    reduction : {"sum", "mean", "batch"}, default "sum"
        ``"sum"`` is the formula of theanets' manual, ``"mean"`` what its code computes.

    Raises
    ------
    regkit.OptionError
        If the reduction is none of the three, or the weight or the pattern is not accepted.

    References
    ----------
    .. [1] J. Moody, S. Hanson, A. Krogh & J. Hertz (1995). "A Simple Weight Decay Can Improve Generalization."
       NIPS 4, 950-957.
    .. [2] L. Johnson. theanets 0.7.3, ``theanets.regularizers.WeightL2``.

    Examples
    --------
    >>> import numpy, regkit
    >>> class Param(numpy.ndarray): name = "hid1.w"
    >>> layers = [regkit.Layer("hid1:out", [numpy.array([[1.0, -2.0], [0.0, 3.0]]).view(Param)])]
    >>> print(WeightL2().loss(layers))
    14.0
    """

    def _penalty(self, name: str, w: Any) -> Any:
        return self._reduced(name, w * w)


class ElasticNet(WeightPenalty):
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
        Case-sensitive glob, or several, for names of parameters. By default all; those of one dimension, such as
        biases, are never counted.
    weight : real number or scalar of a graph library, default 0
        Strength, in units of the loss.
    l1_ratio : float, default 0.5
        Share of the L1 norm, from 0 to 1, dimensionless.
    reduction : {"sum", "mean", "batch"}, default "sum"

    Raises
    ------
    regkit.OptionError
        If l1_ratio is not from 0 to 1, or another argument is not accepted.

    References
    ----------
    .. [1] H. Zou & T. Hastie (2005). "Regularization and Variable Selection via the Elastic Net." J. R. Statist.
       Soc. B 67, 301-320.

    Examples
    --------
    >>> import numpy, regkit
    >>> class Param(numpy.ndarray): name = "hid1.w"
    >>> layers = [regkit.Layer("hid1:out", [numpy.array([[1.0, -2.0], [0.0, 3.0]]).view(Param)])]
    >>> print(ElasticNet(l1_ratio=0.5).loss(layers))  # 0.5 * 6 + 0.25 * 14
    6.5
    """

    def __init__(
        self,
        pattern: str | Sequence[str] | None = None,
        weight: Any = 0.0,
        l1_ratio: float = 0.5,
        reduction: str = "sum",
    ) -> None:
        super().__init__(pattern, weight, reduction)
        self.l1_ratio = self.checked_number("l1_ratio", l1_ratio, high=1)

    def _penalty(self, name: str, w: Any) -> Any:
        share, rest = (regkit.graph.cast(ratio, str(w.dtype)) for ratio in (self.l1_ratio, (1 - self.l1_ratio) / 2))
        return self._reduced(name, share * abs(w) + rest * (w * w))


class GroupLasso(WeightPenalty):
    r"""Penalize the L2 norms, not squared, of groups of weights, so that whole groups become zero.

    The penalty is

    .. math:: \frac{1}{|\Omega|} \sum_{i \in \Omega} \frac{1}{n_i} \sum_g \sqrt{p_g} \, \|W_{i,g}\|_2

    where the groups are the slices of :math:`W_i` along ``axis``, :math:`p_g` is the number of elements of a slice,
    :math:`\Omega` the set of matching parameters of two or more dimensions, and :math:`n_i` is 1 for
    ``reduction="sum"``, and the number of groups for ``"mean"``.

    Where weights multiply inputs from the right, as in :math:`XW`, a slice along axis 0 is all that leaves one input,
    and along axis 1 all that enters one unit. The gradient of a group is :math:`\sqrt{p_g} \, W_{i,g} / \|W_{i,g}\|_2`
    over :math:`|\Omega| \, n_i`, and that of a group of zeros is taken to be zero. Groups of any size are right whose
    norm the dtype can represent: none is lost because its squares underflow or overflow. The penalty does not depend
    on the data: where a batch is split over workers, each computes the same, to be averaged.

    Parameters
    ----------
    pattern : str or sequence of str, optional
        Case-sensitive glob, or several, for names of parameters. By default all; those of one dimension, such as
        biases, are never counted.
    weight : real number or scalar of a graph library, default 0
        Strength, in units of the loss per unit of weight.
    axis : {0, 1}, default 0
        The axis along which the groups are slices.
    reduction : {"sum", "mean"}, default "sum"

    Raises
    ------
    regkit.OptionError
        If the axis or the reduction is none of those, or another argument is not accepted.

    References
    ----------
    .. [1] M. Yuan & Y. Lin (2006). "Model Selection and Estimation in Regression with Grouped Variables." J. R.
       Statist. Soc. B 68, 49-67.
    .. [2] S. Scardapane, D. Comminiello, A. Hussain & A. Uncini (2017). "Group Sparse Regularization for Deep Neural
       Networks." Neurocomputing 241, 81-89.

    Examples
    --------
    >>> import numpy, regkit
    >>> class Param(numpy.ndarray): name = "hid1.w"
    >>> layers = [regkit.Layer("hid1:out", [numpy.array([[3.0, 4.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]).view(Param)])]
    >>> print(f"{GroupLasso().loss(layers):.6g}")  # sqrt(4) * 5 + sqrt(4) * 0
    10
    """

    def __init__(
        self, pattern: str | Sequence[str] | None = None, weight: Any = 0.0, axis: int = 0, reduction: str = "sum"
    ) -> None:
        super().__init__(pattern, weight, self.checked_choice("reduction", reduction, ("sum", "mean")))
        self.axis = checked_axis(type(self).__name__, axis)

    def _penalty(self, name: str, w: Any) -> Any:
        sqrt = regkit.graph.functions(w).sqrt
        groups = w.shape[self.axis]
        size = regkit.graph.cast(w.size, str(w.dtype)) / regkit.graph.cast(groups + (groups < 1), str(w.dtype))
        return self._reduced(name, sqrt(size) * norms_of_slices(w, self.axis))
