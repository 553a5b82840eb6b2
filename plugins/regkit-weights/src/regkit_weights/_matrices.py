"""Penalties of parameters as matrices: how far from orthogonal, and how large a step they can make."""

from __future__ import annotations

import regkit

from ._penalty import WeightPenalty, as_matrix, checked_matrix_axis

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


class WeightOrthogonal(WeightPenalty):
    r"""Penalize weights whose columns, or rows where these are fewer, are not orthonormal.

    The penalty is

    .. math:: \frac{1}{|\Omega|} \sum_{i \in \Omega} \| W_i^\top W_i - I \|_F^2

    where :math:`\Omega` is the set of matching parameters of two or more dimensions, and :math:`W_i` stands for its
    transpose where it has more columns than rows: only the shorter side can be orthonormal.

    Orthonormal weights keep the length of what goes through them, forward and backward, so that signals neither fade
    nor explode in deep networks. The penalty does not depend on the data: where a batch is split over workers, each
    computes the same, to be averaged.

    Parameters
    ----------
    pattern : str or sequence of str, optional
        Case-sensitive glob, or several, for names of parameters. By default all; those of one dimension, such as
        biases, are never counted. One without a name goes by its place, as ``hid1:out.param0``.
    weight : real number or scalar of a graph library, default 0
        Strength, in units of the loss; for weights far from orthonormal per fourth power of weight.
    matrix_axis : {0, -1}, optional
        The axis of parameters of more than two dimensions that stays one of the matrix; all others become its other
        axis. 0 is for filters of (out, in, ...), -1 for (..., in, out).

    Raises
    ------
    regkit.OptionError
        If an argument is not accepted.

    Notes
    -----
    The gradient is :math:`4 W_i (W_i^\top W_i - I)` over :math:`|\Omega|`. At W = 0 the penalty is the length of the
    shorter side, and the gradient zero: start from weights that are not all zero. It takes the square of the shorter
    side in memory. Keras' ``OrthogonalRegularizer`` is another penalty: it normalizes the rows or columns first, takes
    the side that it is told, and the mean of the absolute values off the diagonal.

    References
    ----------
    .. [1] N. Bansal, X. Chen & Z. Wang (2018). "Can We Gain More from Orthogonality Regularizations in Training Deep
       CNNs?" NeurIPS. arXiv:1810.09102.

    Examples
    --------
    >>> import numpy, regkit
    >>> layers = [regkit.Layer("hid1:out", {"hid1.w": numpy.array([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])})]
    >>> print(WeightOrthogonal().loss(layers))  # rows are fewer: (1 - 1)^2 + (4 - 1)^2
    9.0
    """

    def __init__(
        self, pattern: str | Sequence[str] | None = None, weight: Any = 0.0, matrix_axis: int | None = None
    ) -> None:
        super().__init__(pattern, weight)
        self.matrix_axis = checked_matrix_axis(self, matrix_axis)

    def _penalty(self, name: str, w: Any) -> Any:
        w = with_shorter_side_last(as_matrix(self, name, w))
        difference = w.T.dot(w) - regkit.graph.functions(w).eye(w.shape[1], dtype=str(w.dtype))
        return (difference * difference).sum()


class WeightSpectral(WeightPenalty):
    r"""Penalize the largest singular value of weights, the most that a layer can stretch its input.

    The penalty is

    .. math:: \frac{1}{|\Omega|} \sum_{i \in \Omega} \frac{1}{2} \sigma_1(W_i)^2

    where :math:`\Omega` is the set of matching parameters of two or more dimensions and :math:`\sigma_1` the largest
    singular value, found by power iteration from the largest row.

    Networks become less sensitive to small changes of their input, and unlike with a Frobenius norm the smaller
    singular values are free. The penalty does not depend on the data: where a batch is split over workers, each
    computes the same, to be averaged.

    Parameters
    ----------
    pattern : str or sequence of str, optional
        Case-sensitive glob, or several, for names of parameters. By default all; those of one dimension, such as
        biases, are never counted. One without a name goes by its place, as ``hid1:out.param0``.
    weight : real number or scalar of a graph library, default 0
        Strength, in units of the loss per squared unit of weight.
    iterations : int, default 20
        How often the matrix and its transpose are multiplied to a vector, at least 1.
    matrix_axis : {0, -1}, optional
        The axis of parameters of more than two dimensions that stays one of the matrix; all others become its other
        axis. 0 is for filters of (out, in, ...), -1 for (..., in, out).

    Raises
    ------
    regkit.OptionError
        If an argument is not accepted.

    Notes
    -----
    The gradient of :math:`\frac{1}{2} \sigma_1^2` is :math:`\sigma_1 u v^\top`, that of :math:`\sigma_1` being
    :math:`u v^\top`: the vectors are not differentiated through. W = 0 gives 0, with a gradient of zero.

    What is found is never above the true value, and never below half the square of the largest row's norm. The error is
    largest where singular values are close, as in random matrices, and small where one stands out, as after training.
    Relative errors of the penalty after 20 iterations, for matrices of normal random numbers, the median and what
    95 % are below:

    ============ ======= ======
    shape        median  95 %
    ============ ======= ======
    10 x 10      1e-7    4e-3
    100 x 20     2e-3    6e-2
    64 x 64      3e-3    6e-2
    256 x 256    2e-2    7e-2
    1000 x 1000  3e-2    5e-2
    ============ ======= ======

    References
    ----------
    .. [1] Y. Yoshida & T. Miyato (2017). "Spectral Norm Regularization for Improving the Generalizability of Deep
       Learning." arXiv:1705.10941.

    Examples
    --------
    >>> import numpy, regkit
    >>> layers = [regkit.Layer("hid1:out", {"hid1.w": numpy.array([[3.0, 0.0], [0.0, 1.0]])})]
    >>> print(f"{WeightSpectral().loss(layers):.6g}")  # 3^2 / 2
    4.5
    """

    def __init__(
        self,
        pattern: str | Sequence[str] | None = None,
        weight: Any = 0.0,
        iterations: int = 20,
        matrix_axis: int | None = None,
    ) -> None:
        super().__init__(pattern, weight)
        if isinstance(iterations, bool) or not hasattr(iterations, "__index__") or iterations < 1:
            raise regkit.OptionError(
                f"{type(self).__name__} got iterations={iterations!r}; accepted: an integer of at least 1"
            )
        self.iterations = int(iterations)
        self.matrix_axis = checked_matrix_axis(self, matrix_axis)

    def _penalty(self, name: str, w: Any) -> Any:
        w = as_matrix(self, name, w)
        functions = regkit.graph.functions(w)
        sqrt = functions.sqrt
        scale = abs(w).sum()  # so that no product underflows or overflows
        zero = regkit.graph.cast(scale <= 0, str(w.dtype))  # 1 there, for no 0 / 0
        scale = regkit.graph.held(scale + zero)
        scaled = w / scale
        nothing = regkit.graph.cast(0, str(w.dtype))
        rows = functions.concatenate([scaled, scaled.sum(axis=0, keepdims=True) * nothing])  # a parameter may have none
        right = rows[(rows * rows).sum(axis=1).argmax()]  # which is never orthogonal to all rows
        for _ in range(self.iterations):
            right = scaled.T.dot(scaled.dot(right))
            right = right / (abs(right).sum() + zero)
        right = right / (sqrt((right * right).sum()) + zero)
        left = scaled.dot(right)
        left = left / (sqrt((left * left).sum()) + zero)
        largest = scale * (regkit.graph.held(left) * scaled.dot(regkit.graph.held(right))).sum()
        return largest * largest * regkit.graph.cast(0.5, str(w.dtype))


def with_shorter_side_last(w: Any) -> Any:
    """Return a matrix, or its transpose if it has fewer rows than columns, which may be known only when it runs."""
    functions = regkit.graph.functions(w)
    rows, columns = w.shape[0], w.shape[1]
    wide = regkit.graph.cast(rows < columns, "int64")
    longer, shorter = rows + wide * (columns - rows), columns + wide * (rows - columns)
    # element (i, j) is at i * columns + j, and that of the transpose at i + j * columns
    down, across = columns + wide * (1 - columns), 1 + wide * (columns - 1)
    places = functions.arange(longer) * down
    places = places.reshape((longer, 1)) + (functions.arange(shorter) * across).reshape((1, shorter))
    return w.reshape((rows * columns,))[places]
