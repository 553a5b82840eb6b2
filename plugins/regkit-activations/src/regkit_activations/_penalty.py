"""What the penalties of activations have in common: which outputs count, and the mean over them."""

from __future__ import annotations

import regkit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any


class ActivationPenalty(regkit.Regularizer):
    r"""The mean of a penalty over outputs, :math:`\frac{1}{|\Omega|} \sum_{i \in \Omega} p(Z_i)`."""

    default_selection = "all hidden layers"

    def loss(self, layers: Sequence[Any], outputs: Mapping[str, Any]) -> Any:
        """Return the penalty, a scalar.

        Raises
        ------
        regkit.NoMatchError
            If no output matches, or there is no hidden layer.
        regkit.GraphError
            If an output does not have the axes that the penalty is about.
        """
        selected = regkit.select_outputs(outputs, self.pattern, layers)
        return regkit.graph.mean([self._penalty(name, regkit.graph.widened(z)) for name, z in selected])

    def metrics(self, layers: Sequence[Any], outputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return ``zeros``, ``l0`` and ``dead`` of the matching outputs, as `regkit.graph.sparsity` defines them."""
        return regkit.graph.sparsity([z for _, z in regkit.select_outputs(outputs, self.pattern, layers)])

    def _penalty(self, name: str, z: Any) -> Any:
        """Return the penalty of one output, which is of float32 or wider."""
        raise NotImplementedError


def count(number: Any, like: Any) -> Any:
    """Return how many there are, at least 1 so that it can divide, in the dtype of an expression."""
    return regkit.graph.cast(number + (number < 1), str(like.dtype))
