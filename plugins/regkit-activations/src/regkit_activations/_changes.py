"""Changes that make activations sparse, in training and in predictions."""

from __future__ import annotations

import regkit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping, Sequence
    from typing import Any


class SparseChange(regkit.Regularizer):
    """A change of hidden outputs that keeps some elements and sets others to 0."""

    in_predictions = True
    default_selection = "all hidden layers"

    #: Put behind the name of an output, the name of the original.
    suffix = ""

    def modify_graph(self, outputs: MutableMapping[str, Any], layers: Sequence[Any]) -> None:
        """Change the matching outputs of one layer; the original of each stays beside it.

        Raises
        ------
        regkit.NoMatchError
            If none of the layer's outputs matches.
        regkit.GraphError
            If an output has no units, or there is neither a pattern nor layers.
        """
        for name, z in self._selected(outputs, layers):
            if isinstance(self.weight, (int, float)) and self.weight == 0 and not self.acts_at_any_weight:
                continue
            functions, wide = regkit.graph.functions(z), regkit.graph.held(regkit.graph.widened(z))
            largest = regkit.graph.cast(float("inf"), str(wide.dtype))
            kept = self._kept(name, functions.where(functions.isnan(wide), largest, wide))  # NaN stays, to be seen
            outputs[name + self.suffix] = z
            outputs[name] = functions.where(kept, z, regkit.graph.cast(0, str(z.dtype)))

    def metrics(self, layers: Sequence[Any], outputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return ``zeros``, ``l0`` and ``dead`` of the matching outputs, as `regkit.graph.sparsity` defines them."""
        return regkit.graph.sparsity([z for _, z in regkit.select_outputs(outputs, self.pattern, layers)])

    def _selected(self, outputs: MutableMapping[str, Any], layers: Sequence[Any]) -> list[tuple[str, Any]]:
        first = self.pattern if self.pattern is None or isinstance(self.pattern, str) else self.pattern[0]
        if not layers and (first is None or first.startswith("!")):
            raise regkit.GraphError(
                f"{type(self).__name__} has no pattern that selects, and no layers were given, whose outputs are the "
                "default"
            )
        hidden = [layer.output_name for layer in regkit.select_layers(layers, "hidden")]
        if not hidden and (first is None or first.startswith("!")):
            raise regkit.NoMatchError("the network has no hidden layers")
        return regkit.select_outputs(outputs, self.pattern, default=hidden)

    def _kept(self, name: str, z: Any) -> Any:
        """Return which elements stay, of an output of float32 or wider that gradients do not pass through."""
        raise NotImplementedError


class HiddenTopk(SparseChange):
    r"""Keep the largest activations of each example, and set the others to zero.

    An element of a matching output Z becomes

    .. math:: z_j \, [\operatorname{rank}_j \le k]

    where :math:`\operatorname{rank}_j` counts from the largest of the units, which are the last axis, and equal ones
    in their order: of each example exactly k stay. Values are compared and not their sizes, so large negative ones go
    first. It is so in predictions too. The original stays in the graph as ``<name>-pretopk``. There is no penalty.

    The number of active units is what is given, and not what a weight leads to.

    Parameters
    ----------
    pattern : str or sequence of str, optional
        Case-sensitive glob, or several, for names of outputs of axes (..., units). By default the outputs of all hidden
        layers.
    weight : real number, `regkit.Live`, or scalar of a graph library, default 0
        Without `k`, the share of units that stay, below 1: k is the nearest number of units, and at least 1. At 0
        nothing is changed.
    k : int of at least 1, optional
        How many units stay, at any weight; of fewer units, all.

    Raises
    ------
    regkit.OptionError
        If k is not an integer of at least 1, or another argument is not accepted.

    Notes
    -----
    The gradient of what stays is 1, of the rest 0. Which units these are has no gradient.

    References
    ----------
    .. [1] A. Makhzani & B. Frey (2014). "k-Sparse Autoencoders." ICLR. arXiv:1312.5663.
    .. [2] L. Gao et al. (2024). "Scaling and Evaluating Sparse Autoencoders." arXiv:2406.04093.

    Examples
    --------
    >>> import numpy, regkit
    >>> outputs = {"hid1:out": numpy.array([[1.0, -5.0, 3.0, 2.0], [4.0, 4.0, 4.0, 0.0]])}
    >>> regkit.build(hidden_topk=dict(k=2, pattern="hid*")).modify_graph(outputs)
    >>> print(outputs["hid1:out"])
    [[0. 0. 3. 2.]
     [4. 4. 0. 0.]]
    """

    suffix = "-pretopk"
    weight_below = 1

    def __init__(self, pattern: str | Sequence[str] | None = None, weight: Any = 0.0, k: int | None = None) -> None:
        super().__init__(pattern, weight)
        if k is not None and (isinstance(k, bool) or not hasattr(k, "__index__") or k < 1):
            raise regkit.OptionError(
                f"{type(self).__name__} got k={k!r}; accepted: None, or an integer of at least 1. The share of units "
                "that stay is the weight"
            )
        self.k = None if k is None else k.__index__()
        self.acts_at_any_weight = k is not None

    def _kept(self, name: str, z: Any) -> Any:
        if z.ndim < 1:
            raise regkit.GraphError(f"{name!r} has no axes; {type(self).__name__} expects (..., units)")
        functions, dtype = regkit.graph.functions(z), str(z.dtype)
        units, one = regkit.graph.cast(z.shape[z.ndim - 1], dtype), regkit.graph.cast(1, dtype)
        if self.k is None:
            half = regkit.graph.cast(0.5, dtype)
            k = functions.maximum(functions.floor(regkit.graph.weight(self, z) * units + half), one)
        else:
            k = functions.minimum(regkit.graph.cast(self.k, dtype), units)
        # The value of the last that stays, which any sort finds; of those equal to it, as many as there is room for.
        places = functions.arange(z.shape[z.ndim - 1], dtype=dtype)
        last = functions.where(places >= units - k, functions.sort(z, axis=-1), regkit.graph.cast(float("inf"), dtype))
        last = last.min(axis=-1, keepdims=True)
        larger = regkit.graph.cast(z > last, dtype)
        equal = regkit.graph.cast(z >= last, dtype) - larger
        room = k - larger.sum(axis=-1, keepdims=True)
        return larger + equal * regkit.graph.cast(equal.cumsum(axis=z.ndim - 1) <= room, dtype) > 0


class HiddenThreshold(SparseChange):
    r"""Set activations to zero that are not above a threshold.

    An element of a matching output Z becomes

    .. math:: z \, [z > \theta]

    where :math:`\theta` is the threshold. It is so in predictions too. The original stays in the graph as
    ``<name>-prethreshold``. There is no penalty. It is the activation function JumpReLU, with a threshold that is not
    learned.

    Weak activations become exactly zero, and those that stay are not shrunk.

    Parameters
    ----------
    pattern : str or sequence of str, optional
        Case-sensitive glob, or several, for names of outputs. By default the outputs of all hidden layers.
    weight : real number, `regkit.Live`, or scalar of a graph library, default 0
        Without `threshold`, the threshold, in units of the output. At 0 nothing is changed.
    threshold : real number, optional
        The threshold at any weight: 0 and negative numbers too.

    Raises
    ------
    regkit.OptionError
        If an argument is not accepted.

    Notes
    -----
    The gradient of what stays is 1, of the rest 0, and the threshold has none.

    References
    ----------
    .. [1] S. Rajamanoharan et al. (2024). "Jumping Ahead: Improving Reconstruction Fidelity with JumpReLU Sparse
       Autoencoders." arXiv:2407.14435.

    Examples
    --------
    >>> import numpy, regkit
    >>> outputs = {"hid1:out": numpy.array([[0.2, -3.0, 0.5, 0.7]])}
    >>> regkit.build(hidden_threshold=dict(threshold=0.5, pattern="hid*")).modify_graph(outputs)
    >>> print(outputs["hid1:out"])
    [[0.  0.  0.  0.7]]
    """

    suffix = "-prethreshold"

    def __init__(
        self, pattern: str | Sequence[str] | None = None, weight: Any = 0.0, threshold: float | None = None
    ) -> None:
        super().__init__(pattern, weight)
        self.threshold = None if threshold is None else self.checked_number("threshold", threshold, low=float("-inf"))
        self.acts_at_any_weight = threshold is not None

    def _kept(self, name: str, z: Any) -> Any:
        if self.threshold is None:
            return z > regkit.graph.weight(self, z)
        return z > regkit.graph.cast(self.threshold, str(z.dtype))
