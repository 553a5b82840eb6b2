"""Regularizers that act after an optimizer's step: decay, a bound, a hard threshold; and a distance."""

from __future__ import annotations

import regkit

from ._penalty import OfParameters, WeightPenalty, while_on

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping, Sequence
    from typing import Any


class DecoupledDecay(OfParameters):
    r"""Shrink weights after each step of an optimizer, whatever the optimizer does with gradients.

    It is the step

    .. math:: W_i \leftarrow (1 - \eta \lambda) \, W_i

    of each matching parameter of two or more dimensions, where :math:`\eta` is the step size and :math:`\lambda` the
    weight. It is not divided by the number of parameters. It has no term in the loss, and acts by
    `RegularizerSet.after_step`. AdamW shrinks weights before its step instead, which differs by
    :math:`\eta^2 \lambda` times the direction of the step.

    Under an optimizer that scales gradients, such as Adam, a penalty of squared weights in the loss is scaled with
    them: weights with large gradients are shrunk less. This is not.

    Parameters
    ----------
    pattern : str or sequence of str, optional
        Case-sensitive glob, or several, for names of parameters. By default all of two or more dimensions; a vector,
        such as a bias, counts only where a pattern is its name, not a glob.
    weight : real number, `regkit.Live`, or scalar of a graph library, default 0
        Strength, per unit of step size.

    Raises
    ------
    regkit.OptionError
        If an argument is not accepted.

    References
    ----------
    .. [1] I. Loshchilov & F. Hutter (2019). "Decoupled Weight Decay Regularization." ICLR. arXiv:1711.05101.

    Examples
    --------
    >>> import numpy, regkit
    >>> regs = regkit.build(decoupled_decay=0.5)
    >>> print(regs.after_step({"w": numpy.array([[1.0, -2.0]])}, rate=0.1)["w"])
    [[ 0.95 -1.9 ]]
    """

    vectors_by_name = True

    def after_step(self, params: MutableMapping[str, Any], amount: Any) -> None:
        """Shrink the parameters that count."""
        for name, w in self._counting([regkit.Layer("", params)]):
            wide = regkit.graph.widened(w)
            one, share = (regkit.graph.cast(number, str(wide.dtype)) for number in (1, amount))
            params[name] = regkit.graph.cast(wide * (one - share), str(w.dtype))


class WeightNonnegative(OfParameters):
    r"""Set negative weights to zero after each step of an optimizer.

    It is the projection

    .. math:: W_i \leftarrow \max(0, W_i)

    of each matching parameter of two or more dimensions. It has no term in the loss, and acts by
    `RegularizerSet.after_step`. Features of parts, and not of wholes, are what nonnegative weights tend to.

    Parameters
    ----------
    pattern : str or sequence of str, optional
        Case-sensitive glob, or several, for names of parameters. By default all of two or more dimensions; a vector,
        such as a bias, counts only where a pattern is its name, not a glob.
    weight : real number, `regkit.Live`, or scalar of a graph library, default 0
        On at any weight above 0.

    Raises
    ------
    regkit.OptionError
        If an argument is not accepted.

    References
    ----------
    .. [1] D. D. Lee & H. S. Seung (1999). "Learning the Parts of Objects by Non-Negative Matrix Factorization." Nature
       401, 788-791.

    Examples
    --------
    >>> import numpy, regkit
    >>> regs = regkit.build(weight_nonnegative=1)
    >>> print(regs.after_step({"w": numpy.array([[1.0, -2.0]])}, rate=0.1)["w"])
    [[1. 0.]]
    """

    by = "projection"
    vectors_by_name = True

    def after_step(self, params: MutableMapping[str, Any], amount: Any) -> None:
        """Set negative elements to zero."""
        self._change(params, amount)

    def _stepped(self, name: str, w: Any, amount: Any) -> Any:
        return while_on(self, w, regkit.graph.functions(w).maximum(w, regkit.graph.cast(0, str(w.dtype))))


class WeightL0(WeightPenalty):
    r"""Penalize the number of weights that are not zero, by a hard threshold after each step of an optimizer.

    The penalty is

    .. math:: \frac{1}{|\Omega|} \sum_{i \in \Omega} \|W_i\|_0

    where :math:`\Omega` is the set of matching parameters of two or more dimensions and :math:`\|W_i\|_0` the number of
    elements that are not 0. It has no gradient. `RegularizerSet.after_step` applies its proximal operator: of an amount
    t, elements of at most :math:`\sqrt{2 t / |\Omega|}` in absolute value become 0, and others stay.

    Parameters
    ----------
    pattern : str or sequence of str, optional
        Case-sensitive glob, or several, for names of parameters. By default all of two or more dimensions; a vector,
        such as a bias, counts only where a pattern is its name, not a glob.
    weight : real number, `regkit.Live`, or scalar of a graph library, default 0
        Strength, in units of the loss per weight that is not zero.

    Raises
    ------
    regkit.OptionError
        If an argument is not accepted.

    References
    ----------
    .. [1] T. Blumensath & M. E. Davies (2008). "Iterative Thresholding for Sparse Approximations." J. Fourier Anal.
       Appl. 14, 629-654.

    Examples
    --------
    >>> import numpy, regkit
    >>> layers = [regkit.Layer("hid1:out", {"hid1.w": numpy.array([[1.0, -2.0], [0.0, 3.0]])})]
    >>> regs = regkit.build(weight_l0=10)
    >>> print(regs.loss(layers, {}))
    30.0
    >>> print(regs.after_step({"w": numpy.array([[1.0, -2.0], [0.0, 3.0]])}, rate=0.1)["w"])  # 2 * 0.1 * 10 is 2
    [[ 0. -2.]
     [ 0.  3.]]
    """

    by = "proximal"
    vectors_by_name = True

    def _penalty(self, name: str, w: Any) -> Any:
        one, zeros = (regkit.graph.cast(flag, str(w.dtype)) for flag in (1, abs(w) <= 0))
        return regkit.graph.held((one - zeros).sum())  # NaN counts

    def after_step(self, params: MutableMapping[str, Any], amount: Any, divisors: Mapping[str, Any]) -> None:
        """Set small elements to zero."""
        self._change(params, amount, divisors)

    def _stepped(self, name: str, w: Any, amount: Any) -> Any:
        bound = regkit.graph.functions(w).sqrt(amount + amount)
        return w * regkit.graph.cast(abs(w) > bound, str(w.dtype))


class WeightDistance(WeightPenalty):
    r"""Penalize the distance of weights from a reference, such as those of an earlier task.

    The penalty is

    .. math:: \frac{1}{|\Omega|} \sum_{i \in \Omega} \sum_j f_{ij} \, (w_{ij} - w^*_{ij})^2

    where :math:`\Omega` is the set of matching parameters of two or more dimensions, :math:`W^*_i` the reference of a
    parameter and :math:`F_i` the importance of its elements, 1 without ``importance``. Without importance it is L2-SP;
    with the diagonal of the Fisher information, elastic weight consolidation, whose factor of one half is left to the
    weight.

    Parameters
    ----------
    pattern : str or sequence of str, optional
        Case-sensitive glob, or several, for names of parameters. By default all of two or more dimensions; a vector,
        such as a bias, counts only where a pattern is its name, not a glob.
    weight : real number, `regkit.Live`, or scalar of a graph library, default 0
        Strength, in units of the loss per squared unit of weight.
    reference : mapping of str to array
        The reference of each parameter that counts, by its full name and in its shape.
    importance : mapping of str to array, optional
        How much each element counts, likewise, of at least 0.

    Raises
    ------
    regkit.OptionError
        If an argument is not accepted.

    References
    ----------
    .. [1] X. Li, Y. Grandvalet & F. Davoine (2018). "Explicit Inductive Bias for Transfer Learning with Convolutional
       Networks." ICML.
    .. [2] J. Kirkpatrick et al. (2017). "Overcoming Catastrophic Forgetting in Neural Networks." PNAS 114, 3521-3526.

    Examples
    --------
    >>> import numpy, regkit
    >>> layers = [regkit.Layer("hid1:out", {"hid1.w": numpy.array([[1.0, -2.0], [0.0, 3.0]])})]
    >>> print(WeightDistance(reference={"hid1.w": numpy.ones((2, 2))}).loss(layers))  # 0 + 9 + 1 + 4
    14.0
    """

    vectors_by_name = True

    def __init__(
        self,
        pattern: str | Sequence[str] | None = None,
        weight: Any = 0.0,
        *,
        reference: Mapping[str, Any],
        importance: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(pattern, weight)
        self.reference = self._checked_arrays("reference", reference)
        self.importance = None if importance is None else self._checked_arrays("importance", importance)

    def _checked_arrays(self, argument: str, value: Any) -> dict[str, Any]:
        """Return a mapping of names to arrays of numbers; nested lists, as in a config, become arrays."""
        import numpy as np

        if not hasattr(value, "items") or not all(isinstance(name, str) for name in value):
            raise regkit.OptionError(
                f"{type(self).__name__} got {argument}={value!r}; accepted: a mapping of parameters' names to arrays"
            )
        arrays = {name: np.array(array, dtype=float) for name, array in value.items()}
        for name, array in arrays.items():
            if not np.isfinite(array).all() or (argument == "importance" and (array < 0).any()):
                least = " of at least 0" if argument == "importance" else ""
                raise regkit.OptionError(
                    f"{type(self).__name__} got {argument} of {name!r} that is no finite number{least}"
                )
            array.flags.writeable = False
        return arrays

    def _penalty(self, name: str, w: Any) -> Any:
        difference = w - self._of(self.reference, "reference", name, w)
        squares = difference * difference
        if self.importance is not None:
            squares = squares * self._of(self.importance, "importance", name, w)
        return squares.sum()

    def _of(self, arrays: Mapping[str, Any], argument: str, name: str, w: Any) -> Any:
        if name not in arrays:
            raise regkit.NoMatchError(
                f"{argument} has no array for parameter {name!r}; it has: {', '.join(arrays) or 'none'}. Give one, or "
                "a pattern that leaves the parameter out"
            )
        array = arrays[name]
        if array.ndim != w.ndim:
            raise regkit.GraphError(
                f"{argument} of {name!r} has {array.ndim} axes, and the parameter {w.ndim}. Of a stacked parameter "
                f"each slice has an array, by its name: {name!r}, '{name}@1' and so on"
            )
        shape = _lengths(w)
        if shape not in (None, array.shape):
            raise regkit.GraphError(f"{argument} of {name!r} is of shape {array.shape}, and the parameter of {shape}")
        return array.astype(str(w.dtype))


def _lengths(w: Any) -> tuple[int, ...] | None:
    """Return the shape of a parameter; None where only a compiled function has it."""
    shape = w.get_value(borrow=True).shape if hasattr(w, "get_value") else w.shape  # of a graph library, or an array
    return shape if isinstance(shape, tuple) and all(isinstance(length, int) for length in shape) else None
