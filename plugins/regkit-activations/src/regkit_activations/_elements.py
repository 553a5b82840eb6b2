"""Sums over the elements of activations, divided by what a reduction says."""

from __future__ import annotations

import regkit

from ._penalty import ActivationPenalty, count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


class ReducedPenalty(ActivationPenalty):
    """A penalty that takes a reduction."""

    def __init__(self, pattern: str | Sequence[str] | None = None, weight: Any = 0.0, reduction: str = "sum") -> None:
        super().__init__(pattern, weight)
        self.reduction = self.checked_choice("reduction", reduction, self.REDUCTIONS)


class HiddenL2(ReducedPenalty):
    r"""Penalize the squared L2 norm of activations.

    The penalty is

    .. math:: \frac{1}{|\Omega|} \sum_{i \in \Omega} \frac{\sum Z_i^2}{n_i}

    where :math:`\Omega` is the set of matching outputs, :math:`\sum Z_i^2` the sum of the squares of all elements, not
    halved, and :math:`n_i` is 1 for ``reduction="sum"``, the number of elements for ``"mean"`` and the length of axis 0
    for ``"batch"``. An empty array counts 0.

    Activations shrink in proportion to their size, so that large ones shrink most and none becomes exactly zero.

    Parameters
    ----------
    pattern : str or sequence of str, optional
        Case-sensitive glob, or several, for names of outputs. By default the outputs of all hidden layers.
    weight : real number or scalar of a graph library, default 0
        Strength, in units of the loss per squared unit of activation.
    reduction : {"sum", "mean", "batch"}, default "sum"
        With ``"sum"`` the penalties of the parts of a batch add up to that of the whole; otherwise those of equal parts
        are to be averaged.

    Raises
    ------
    regkit.OptionError
        If the reduction is none of the three, or the weight or the pattern is not accepted.

    Notes
    -----
    The gradient is :math:`2 Z_i / (|\Omega| \, n_i)`, zero at zero. Keras' ``activity_regularizer=L2(0.01)`` is this
    with ``weight=0.01`` and ``reduction="batch"`` from Keras 3.14 on, and ``"sum"`` before.

    References
    ----------
    .. [1] Keras, "Layer weight regularizers", ``activity_regularizer``. https://keras.io/api/layers/regularizers

    Examples
    --------
    >>> import numpy
    >>> outputs = {"hid1:out": numpy.array([[1.0, -2.0], [0.0, 3.0]]), "hid2:out": numpy.array([[-4.0]])}
    >>> print(HiddenL2("hid*").loss([], outputs))  # (14 + 16) / 2
    15.0
    >>> print(HiddenL2("hid*", reduction="batch").loss([], outputs))  # (7 + 16) / 2
    11.5
    """

    def _penalty(self, name: str, z: Any) -> Any:
        return regkit.graph.reduced_sum(z * z, self.reduction, f"output {name!r}")


class HiddenHoyer(ReducedPenalty):
    r"""Penalize how many units are active in each example, whatever their size: the Hoyer-square measure.

    The penalty is

    .. math:: \frac{1}{|\Omega|} \sum_{i \in \Omega} \frac{1}{n_i} \sum_e
        \frac{\left( \sum_j |Z_i^{e,j}| \right)^2}{\sum_j (Z_i^{e,j})^2}

    where :math:`\Omega` is the set of matching outputs, e counts the examples along axis 0, j all elements of an
    example, and :math:`n_i` is 1 for ``reduction="sum"`` and the number of examples for ``"mean"`` and ``"batch"``,
    which are the same here. An example in which all are zero counts 0.

    The measure of an example goes from 1, where one unit is active, to the number of units, where all are equally
    active. It does not change when all activations are multiplied by a number: unlike an L1 norm it does not shrink
    what remains, and a network cannot reduce it by scaling a layer down and the next one up.

    Parameters
    ----------
    pattern : str or sequence of str, optional
        Case-sensitive glob, or several, for names of outputs, of axes (examples, units), or more. By default the
        outputs of all hidden layers.
    weight : real number or scalar of a graph library, default 0
        Strength, in units of the loss per active unit.
    reduction : {"sum", "mean", "batch"}, default "sum"
        Over examples. With ``"sum"`` the penalties of the parts of a batch add up to that of the whole; otherwise those
        of equal parts are to be averaged.

    Raises
    ------
    regkit.OptionError
        If the reduction is none of the three, or the weight or the pattern is not accepted.

    Notes
    -----
    The gradient of an example's measure is :math:`2 \frac{S}{Q} \left( \operatorname{sign}(z_j) - \frac{S}{Q} z_j
    \right)`, S being :math:`\sum |z|` and Q :math:`\sum z^2`. It grows as activations shrink, and is taken to be zero
    where all are zero. Each example is scaled first, so that no square underflows or overflows.

    References
    ----------
    .. [1] P. Hoyer (2004). "Non-negative Matrix Factorization with Sparseness Constraints." JMLR 5, 1457-1469.
    .. [2] H. Yang, W. Wen & H. Li (2020). "DeepHoyer: Learning Sparser Neural Network with Differentiable
       Scale-Invariant Sparsity Measures." ICLR. arXiv:1908.09979.

    Examples
    --------
    >>> import numpy
    >>> outputs = {"hid1:out": numpy.array([[2.0, -2.0], [0.0, 3.0], [0.0, 0.0]])}  # 4^2 / 8, 3^2 / 9, 0
    >>> print(HiddenHoyer("hid1:out").loss([], outputs))
    3.0
    >>> print(HiddenHoyer("hid1:out", reduction="batch").loss([], outputs))
    1.0
    """

    def _penalty(self, name: str, z: Any) -> Any:
        if z.ndim < 2:
            raise regkit.GraphError(
                f"{name!r} has too few axes ({z.ndim}); {type(self).__name__} expects (examples, units)"
            )
        others = tuple(range(1, z.ndim))
        scale = abs(z).sum(axis=others, keepdims=True)
        zero = regkit.graph.cast(scale <= 0, str(z.dtype))  # 1 there, for no 0 / 0
        scaled = z / regkit.graph.held(scale + zero)
        norms = regkit.graph.absolute(scaled).sum(axis=others, keepdims=True)
        measures = norms * norms / ((scaled * scaled).sum(axis=others, keepdims=True) + zero)
        return regkit.graph.reduced_sum(measures, self.reduction, f"output {name!r}")


class HiddenVariation(ReducedPenalty):
    r"""Penalize the total variation of activations along an axis.

    The penalty is

    .. math:: \frac{1}{|\Omega|} \sum_{i \in \Omega} \frac{1}{n_i} \sum_k \| Z_i^{k+1} - Z_i^k \|_1

    where :math:`\Omega` is the set of matching outputs, :math:`Z_i^k` the slices of an output along ``axis``, and
    :math:`n_i` is 1 for ``reduction="sum"``, the number of differences, in all places, for ``"mean"``, and the length
    of axis 0 for ``"batch"``. An axis of one element has no differences and counts 0.

    Activations become constant in pieces along the axis, and jumps between the pieces stay sharp: a large jump costs as
    much as several small ones. Along time, features become slow; for images of (examples, channels, rows, columns) take
    one for axis 2 and one for axis 3, which is the anisotropic total variation.

    Parameters
    ----------
    pattern : str or sequence of str, optional
        Case-sensitive glob, or several, for names of outputs. By default the outputs of all hidden layers.
    weight : real number or scalar of a graph library, default 0
        Strength, in units of the loss per unit of activation.
    axis : int, default -1
        The axis along which neighbours are compared; negative ones count from the last.
    reduction : {"sum", "mean", "batch"}, default "sum"
        With ``"sum"`` the penalties of the parts of a batch add up to that of the whole; otherwise those of equal parts
        are to be averaged. For axis 0 neither holds, since parts do not see the differences between them.

    Raises
    ------
    regkit.OptionError
        If the axis is not an integer, the reduction none of the three, or the weight or the pattern not accepted.

    Notes
    -----
    The gradient by :math:`Z_i^k` is :math:`\operatorname{sign}(Z_i^k - Z_i^{k-1}) - \operatorname{sign}(Z_i^{k+1} -
    Z_i^k)` over :math:`|\Omega| \, n_i`, where the sign of 0 is 0.

    References
    ----------
    .. [1] L. Rudin, S. Osher & E. Fatemi (1992). "Nonlinear Total Variation Based Noise Removal Algorithms." Physica D
       60, 259-268.

    Examples
    --------
    >>> import numpy
    >>> outputs = {"hid1:out": numpy.array([[1.0, 3.0, 2.0], [0.0, 0.0, 5.0]])}
    >>> print(HiddenVariation("hid1:out").loss([], outputs))  # 2 + 1 + 0 + 5
    8.0
    >>> print(HiddenVariation("hid1:out", axis=0).loss([], outputs))  # 1 + 3 + 3
    7.0
    """

    def __init__(
        self, pattern: str | Sequence[str] | None = None, weight: Any = 0.0, axis: int = -1, reduction: str = "sum"
    ) -> None:
        super().__init__(pattern, weight, reduction)
        if isinstance(axis, bool) or not hasattr(axis, "__index__"):
            raise regkit.OptionError(f"{type(self).__name__} got axis={axis!r}; accepted: an integer")
        self.axis = int(axis)

    def _penalty(self, name: str, z: Any) -> Any:
        if not -z.ndim <= self.axis < z.ndim:
            raise regkit.GraphError(f"{name!r} has {z.ndim} axes, so {type(self).__name__} finds no axis {self.axis}")
        before = (slice(None),) * (self.axis % z.ndim)
        later, earlier = (*before, slice(1, None)), (*before, slice(None, -1))
        steps = regkit.graph.absolute(z[later] - z[earlier])
        if self.reduction != "batch":
            return regkit.graph.reduced_sum(steps, self.reduction)
        return regkit.graph.reduced_sum(steps) / count(z.shape[0], steps)  # steps along axis 0 are fewer than examples
