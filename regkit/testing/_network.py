"""The network that a regularizer is tried on."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np

from .._layers import Layer
from ..errors import OptionError

ACTIVATIONS = ("tanh", "sigmoid", "relu", "linear")

EXAMPLES = 5
TIMES = 4
UNITS = {"in": 4, "hid1": 3, "hid2": 3, "out": 2}


class Network:
    r"""A feed-forward network of four layers, ``in``, ``hid1``, ``hid2`` and ``out``, with given random values.

    Each layer but the input computes :math:`a(X W + b)` of the one before. Its output is called ``hid1:out``, its
    parameters ``hid1.w`` and ``hid1.b``; inputs and parameters are all inputs of the graph, so that a penalty can be
    differentiated by each of them.

    Parameters
    ----------
    activation : {"tanh", "sigmoid", "relu", "linear"}, default "tanh"
        The function :math:`a`. Take ``"sigmoid"`` for a penalty of activations between 0 and 1.
    axes : {2, 3}, default 2
        Number of dimensions of the outputs: (examples, units), or (examples, time, units).
    seed : int, default 0
        Of the random values.

    Raises
    ------
    OptionError
        If an argument is none of those.

    Examples
    --------
    >>> import numpy, regkit.testing
    >>> network = regkit.testing.Network("sigmoid")
    >>> layers, outputs = network.connect(network.values(), numpy)
    >>> layers[1].output_name, outputs["hid1:out"].shape
    ('hid1:out', (5, 3))
    """

    def __init__(self, activation: str = "tanh", axes: int = 2, seed: int = 0) -> None:
        if activation not in ACTIVATIONS:
            raise OptionError(f"Network got activation={activation!r}; accepted: {', '.join(map(repr, ACTIVATIONS))}")
        if axes not in (2, 3):
            raise OptionError(f"Network got axes={axes!r}; accepted: 2 or 3")
        self.activation = activation
        self.axes = axes
        self.seed = seed

    def __repr__(self) -> str:
        return f"Network(activation={self.activation!r}, axes={self.axes!r}, seed={self.seed!r})"

    def values(self, dtype: str = "float64") -> dict[str, np.ndarray]:
        """Return values of the input, ``in:out``, and of all parameters."""
        rng = np.random.default_rng(self.seed)
        shape = (EXAMPLES, UNITS["in"]) if self.axes == 2 else (EXAMPLES, TIMES, UNITS["in"])
        drawn = {"in:out": rng.normal(size=shape)}
        before = UNITS["in"]
        for layer, units in list(UNITS.items())[1:]:
            drawn[f"{layer}.w"] = rng.normal(size=(before, units))
            drawn[f"{layer}.b"] = rng.normal(size=(units,))
            before = units
        return {name: value.astype(dtype) for name, value in drawn.items()}

    def connect(
        self, inputs: dict[str, Any], tensor: Any, regularizers: Any = None
    ) -> tuple[list[Layer], dict[str, Any]]:
        """Return the layers of the network and its outputs by name.

        Parameters
        ----------
        inputs : dict of str to expression
            An expression for each of `values`.
        tensor : module
            Where ``tanh``, ``exp`` and ``dot`` are: NumPy, or the ``tensor`` module of a graph library.
        regularizers : RegularizerSet, optional
            Asked to change each layer's outputs as soon as they exist.

        Returns
        -------
        layers : list of Layer
        outputs : dict of str to expression
        """
        layers = []
        for unit in UNITS:
            names = [name for name in (f"{unit}.w", f"{unit}.b") if name in inputs]
            layers.append(Layer(f"{unit}:out", {name: named(name, inputs[name]) for name in names}))
        outputs: dict[str, Any] = {}
        current = inputs["in:out"]
        for layer in layers:
            if layer.params:
                weights, bias = layer.params
                current = self._activate(tensor.dot(current, weights) + bias, tensor)
            of_layer = {layer.output_name: current}
            if regularizers is not None:
                regularizers.modify_graph(of_layer, layers)
            current = of_layer[layer.output_name]
            outputs.update(of_layer)
        return layers, outputs

    def _activate(self, z: Any, tensor: Any) -> Any:
        if self.activation == "tanh":
            return tensor.tanh(z)
        if self.activation == "sigmoid":
            return 1 / (1 + tensor.exp(-z))
        return z * (z > 0) if self.activation == "relu" else z


class _Parameter(np.ndarray):
    """An array with a name, as the parameters of a network have one."""

    name: str


def named(name: str, value: Any) -> Any:
    """Return a parameter with its name, where it can have one: an expression may have lost it."""
    if type(value) is np.ndarray:
        value = value.view(_Parameter)
    with suppress(AttributeError):
        value.name = name
    return value
