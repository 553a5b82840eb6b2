"""Norms of the slices of parameters: the weights that leave an input, or that enter a unit."""

from __future__ import annotations

import regkit

from ._penalty import OfParameters, ProximalPenalty, WeightPenalty, as_matrix, checked_matrix_axis, while_on

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping, Sequence
    from typing import Any


#: Of `GroupLasso`: with divisors from 1e-8 to 1, six are as exact as float64 is.
NEWTON_STEPS = 8


class GroupLasso(ProximalPenalty):
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
        biases, are never counted. One without a name goes by its place, as ``hid1:out.param0``.
    weight : real number or scalar of a graph library, default 0
        Strength, in units of the loss per unit of weight.
    axis : {0, 1}, default 0
        The axis along which the groups are slices.
    reduction : {"sum", "mean"}, default "sum"
    by : {"gradient", "proximal"}, default "gradient"
        How it acts. By ``"proximal"`` the penalty is in the loss without a gradient, and the step after the
        optimizer's, `RegularizerSet.after_step`, applies its proximal operator: groups become exactly 0.

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
    >>> layers = [regkit.Layer("hid1:out", {"hid1.w": numpy.array([[3.0, 4.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])})]
    >>> print(f"{GroupLasso().loss(layers):.6g}")  # sqrt(4) * 5 + sqrt(4) * 0
    10
    """

    def __init__(
        self,
        pattern: str | Sequence[str] | None = None,
        weight: Any = 0.0,
        axis: int = 0,
        reduction: str = "sum",
        by: str = "gradient",
    ) -> None:
        super().__init__(pattern, weight, self.checked_choice("reduction", reduction, ("sum", "mean")), by)
        self.axis = checked_axis(type(self).__name__, axis)

    def _penalty(self, name: str, w: Any) -> Any:
        return self._reduced(name, self._root_of_size(w) * norms_of_slices(w, self.axis))

    def _stepped(self, name: str, w: Any, amount: Any) -> Any:
        norms = norms_of_slices(w, self.axis, keepdims=True)
        zero = regkit.graph.cast(0, str(w.dtype))
        return w * (regkit.graph.functions(w).maximum(norms - self._bound(w, amount), zero) / not_zero(norms))

    def _divided(self, name: str, w: Any, amount: Any, divisor: Any) -> Any:
        r"""Return the minimum of bound · ‖w‖ + ½ Σ d (w - v)² for each slice v.

        A slice with ‖d v‖ of at most the bound becomes 0. Of others, w is d v s / (d s + bound), where s is its norm:
        the root of 1 / ‖d v / (d s + bound)‖ - 1, which rises and is concave, so that Newton's method from the left
        comes to it from the left.
        """
        functions, bound = regkit.graph.functions(w), self._bound(w, amount)
        pulls = divisor * w
        over = norms_of_slices(pulls, self.axis, keepdims=True) - bound
        zero = regkit.graph.cast(0, str(w.dtype))
        others = tuple(other for other in range(w.ndim) if other != self.axis)
        norm = functions.maximum(over, zero) / divisor.max(axis=others, keepdims=True)
        for _ in range(NEWTON_STEPS):
            scaled = not_zero(divisor * norm + bound)
            ratios = pulls / scaled
            length = not_zero(norms_of_slices(ratios, self.axis, keepdims=True))
            slope = (ratios * ratios * divisor / scaled).sum(axis=others, keepdims=True)
            norm = functions.maximum(norm + (length - 1) * length * length / not_zero(slope), zero)
        return functions.where(over > 0, pulls * norm / not_zero(divisor * norm + bound), zero)

    def _bound(self, w: Any, amount: Any) -> Any:
        """Return by how much the norms of groups are lowered."""
        return self._root_of_size(w) * self._share(amount, norms_of_slices(w, self.axis))

    def metrics(self, layers: Sequence[Any]) -> Mapping[str, Any]:
        """Return ``zeros``, and ``groups``: the share of groups that are exactly 0, the mean over the parameters."""
        norms = [norms_of_slices(regkit.graph.widened(w), self.axis) for _, w in self._counting(layers)]
        return {**super().metrics(layers), "groups": regkit.graph.sparsity(norms)["zeros"]}

    def _root_of_size(self, w: Any) -> Any:
        groups = w.shape[self.axis]
        size = regkit.graph.cast(w.size, str(w.dtype)) / regkit.graph.cast(groups + (groups < 1), str(w.dtype))
        return regkit.graph.functions(w).sqrt(size)


class WeightMaxNorm(WeightPenalty):
    r"""Penalize the weights of units whose L2 norm is larger than a bound.

    The penalty is

    .. math:: \frac{1}{|\Omega|} \sum_{i \in \Omega} \sum_j \max \left( 0, \|w_{ij}\|_2 - c \right)^2

    where :math:`\Omega` is the set of matching parameters of two or more dimensions and :math:`w_{ij}` the slices of
    :math:`W_i` along ``axis``: by default all weights that enter unit j, where weights multiply inputs from the right,
    as in :math:`XW`. A library whose layers keep (out, in), such as torch, has them along axis 0.

    It is the soft form of the constraint that is used beside dropout: units whose norm is below c are free, and large
    learning rates cannot blow the others up. The penalty does not depend on the data: where a batch is split over
    workers, each computes the same, to be averaged.

    Parameters
    ----------
    pattern : str or sequence of str, optional
        Case-sensitive glob, or several, for names of parameters. By default all; those of one dimension, such as
        biases, are never counted. One without a name goes by its place, as ``hid1:out.param0``.
    weight : real number or scalar of a graph library, default 0
        Strength, in units of the loss per squared unit of weight.
    c : float, default 1
        The norm up to which weights are free, of at least 0, in units of weight.
    axis : {0, 1}, default 1
        The axis along which the slices are taken, of matrices.
    matrix_axis : {0, -1}, optional
        The axis of parameters of more than two dimensions that stays one of the matrix; all others become its other
        axis. 0 makes (out, ...) of filters of (out, in, ...), whose units are along ``axis=0``; -1 makes (..., out) of
        (..., in, out), whose units are along ``axis=1``.
    by : {"gradient", "projection"}, default "gradient"
        How it acts. By ``"projection"`` the step after the optimizer's, `RegularizerSet.after_step`, scales slices
        whose norm is above c to c, at any weight above 0, and the term of the loss is 0.

    Raises
    ------
    regkit.OptionError
        If c, an axis or another argument is not accepted.

    Notes
    -----
    The gradient is :math:`2 \max(0, \|w_{ij}\|_2 - c) \, w_{ij} / \|w_{ij}\|_2` over :math:`|\Omega|`, and zero for
    weights of zero. Keras' ``MaxNorm`` and PyTorch's ``renorm`` are the constraint itself, as by ``"projection"``: they
    scale weights after each step.

    References
    ----------
    .. [1] N. Srebro & A. Shraibman (2005). "Rank, Trace-Norm and Max-Norm." COLT, 545-560.
    .. [2] N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever & R. Salakhutdinov (2014). "Dropout: A Simple Way to
       Prevent Neural Networks from Overfitting." JMLR 15, 1929-1958. There as a constraint.

    Examples
    --------
    >>> import numpy, regkit
    >>> layers = [regkit.Layer("hid1:out", {"hid1.w": numpy.array([[3.0, 0.5], [4.0, 0.0]])})]
    >>> print(f"{WeightMaxNorm(c=2).loss(layers):.6g}")  # norms 5 and 0.5: (5 - 2)^2 + 0
    9
    """

    def __init__(
        self,
        pattern: str | Sequence[str] | None = None,
        weight: Any = 0.0,
        c: float = 1.0,
        axis: int = 1,
        matrix_axis: int | None = None,
        by: str = "gradient",
    ) -> None:
        super().__init__(pattern, weight)
        self.c = self.checked_number("c", c)
        self.axis = checked_axis(type(self).__name__, axis)
        self.matrix_axis = checked_matrix_axis(self, matrix_axis)
        self.by = self.checked_choice("by", by, ("gradient", "projection"))
        self.changes_params = by == "projection"

    def loss(self, layers: Sequence[Any]) -> Any:
        """Return the penalty; 0 by ``"projection"``."""
        return 0.0 if self.by == "projection" and self._counting(layers) else super().loss(layers)

    def after_step(self, params: MutableMapping[str, Any], amount: Any) -> None:
        """Scale slices whose norm is above c to c."""
        self._change(params, amount)

    def _stepped(self, name: str, w: Any, amount: Any) -> Any:
        matrix = as_matrix(self, name, w)
        norms = norms_of_slices(matrix, self.axis, keepdims=True)
        bound = regkit.graph.cast(self.c, str(w.dtype))
        scale = regkit.graph.functions(w).minimum(norms, bound) / not_zero(norms)
        return while_on(self, w, (matrix * scale).reshape(w.shape))

    def _penalty(self, name: str, w: Any) -> Any:
        norms = norms_of_slices(as_matrix(self, name, w), self.axis)
        zero, bound = (regkit.graph.cast(number, str(w.dtype)) for number in (0.0, self.c))
        excess = regkit.graph.functions(w).maximum(norms - bound, zero)
        return (excess * excess).sum()


class WeightUnitNorm(OfParameters):
    r"""Scale the weights of units to an L2 norm of 1 after each step of an optimizer.

    It is the projection

    .. math:: w_{ij} \leftarrow \frac{w_{ij}}{\|w_{ij}\|_2}

    of the slices :math:`w_{ij}` of each matching parameter :math:`W_i` of two or more dimensions along ``axis``: by
    default all weights that enter unit j, where weights multiply inputs from the right, as in :math:`XW`. Slices of
    zeros stay. It has no term in the loss, and acts by `RegularizerSet.after_step`. The rows of a decoder are held so
    in dictionaries of sparse features, whose activations would shrink otherwise while the decoder grows.

    Parameters
    ----------
    pattern : str or sequence of str, optional
        Case-sensitive glob, or several, for names of parameters. By default all of two or more dimensions.
    weight : real number, `regkit.Live`, or scalar of a graph library, default 0
        On at any weight above 0.
    axis : {0, 1}, default 1
        The axis along which the slices are taken, of matrices.
    matrix_axis : {0, -1}, optional
        The axis of parameters of more than two dimensions that stays one of the matrix, as in `WeightMaxNorm`.

    Raises
    ------
    regkit.OptionError
        If an argument is not accepted.

    References
    ----------
    .. [1] H. Lee, A. Battle, R. Raina & A. Y. Ng (2006). "Efficient Sparse Coding Algorithms." NIPS 19. There the norms
       are at most 1.

    Examples
    --------
    >>> import numpy, regkit
    >>> regs = regkit.build(weight_unit_norm=dict(weight=1, axis=0))
    >>> print(regs.after_step({"w": numpy.array([[3.0, 4.0], [0.0, 0.0]])}, rate=0.1)["w"])
    [[0.6 0.8]
     [0.  0. ]]
    """

    by = "projection"

    def __init__(
        self,
        pattern: str | Sequence[str] | None = None,
        weight: Any = 0.0,
        axis: int = 1,
        matrix_axis: int | None = None,
    ) -> None:
        super().__init__(pattern, weight)
        self.axis = checked_axis(type(self).__name__, axis)
        self.matrix_axis = checked_matrix_axis(self, matrix_axis)

    def after_step(self, params: MutableMapping[str, Any], amount: Any) -> None:
        """Scale slices to a norm of 1."""
        self._change(params, amount)

    def _stepped(self, name: str, w: Any, amount: Any) -> Any:
        matrix = as_matrix(self, name, w)
        norms = norms_of_slices(matrix, self.axis, keepdims=True)
        return while_on(self, w, (matrix / not_zero(norms)).reshape(w.shape))


def checked_axis(owner: str, axis: Any) -> int:
    """Return an axis as a Python int; OptionError if it is none of the first two."""
    if isinstance(axis, bool) or not hasattr(axis, "__index__") or axis not in (0, 1):
        raise regkit.OptionError(f"{owner} got axis={axis!r}; accepted: 0, 1")
    return int(axis)


def norms_of_slices(w: Any, axis: int, keepdims: bool = False) -> Any:
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
    return norms if keepdims else norms.sum(axis=others)


def not_zero(norms: Any) -> Any:
    """Return norms with 1 in the place of 0, to divide by."""
    return norms + regkit.graph.cast(norms <= 0, str(norms.dtype))
