"""Finding the layers of a finished graph of pytensor-ml, which keeps none of them, by the parameters in it."""

from __future__ import annotations

from typing import Any

from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Constant
from pytensor.graph.traversal import graph_inputs, toposort
from pytensor.scan.op import Scan
from pytensor.tensor.elemwise import DimShuffle
from pytensor.tensor.pad import Pad
from pytensor.tensor.shape import Shape, Shape_i
from pytensor.tensor.subtensor import Subtensor
from pytensor_ml.layers.conv import ConvLayer
from pytensor_ml.params import TrainableParameter

import regkit


def find_layers(prediction: Any) -> list[regkit.Layer]:
    """Return the layers of the graph of a prediction, by depth and then by name.

    A layer begins where a parameter of two or more dimensions meets data, has the name that this parameter has for its
    layer, and reaches to the next. Parameters tell, and not names of expressions, since pytensor-ml rewrites the
    graphs that it trains in place.

    Parameters
    ----------
    prediction : TensorVariable
        The output of a network.

    Returns
    -------
    list of regkit.Layer
        With roles. Main outputs are ``name:out``: the last expression through which all goes that others get of the
        layer. ``name:pre``, its first, is there if it is another. The data are layers too.

    Raises
    ------
    regkit.GraphError
        If a layer, or an input, has no name; if two have the same, or one is applied twice; if a layer has no single
        output; if there are no layers.
    """
    walk = _Walk(prediction)
    last = walk.layer_of.get(prediction)
    if last not in walk.begins:
        raise regkit.GraphError(
            f"{prediction} depends on no layer: no parameter of two or more dimensions, made by a layer of pytensor-ml "
            "or by pytensor_ml.params.trainable, meets data"
        )
    out = walk.outputs(prediction)
    layers = []
    for name in sorted(walk.depth, key=walk.rank):
        role = "output" if name == last else "hidden" if name in walk.begins else "input"
        outputs = {f"{name}:out": out[name]}
        if name in walk.pre and walk.pre[name] is not out[name]:
            outputs = {f"{name}:pre": walk.pre[name], **outputs}
        layers.append(regkit.Layer(f"{name}:out", list(walk.params.get(name, ())), outputs, role))
    return layers


class _Walk:
    """What is known of a graph after going through it once, from the data to the prediction."""

    def __init__(self, prediction: Any) -> None:
        #: Layer -> how many come before it; data have 0.
        self.depth: dict[str, int] = {}
        #: Expression -> the layer that it belongs to, if it depends on data.
        self.layer_of: dict[Any, str] = {}
        #: Layer -> expressions in which its parameters of two or more dimensions meet data.
        self.begins: dict[str, list[Any]] = {}
        self.pre: dict[str, Any] = {}
        self.params: dict[str, dict[Any, None]] = {}
        self._data: dict[str, Any] = {}
        self._parameters_in: dict[Any, dict[Any, None]] = {}  # of expressions that depend on no data
        self._before: dict[Any, frozenset[str]] = {}  # expression -> layers that it depends on
        self._named: dict[str, Any] = {}
        for variable in graph_inputs([prediction]):
            if isinstance(variable, TrainableParameter):
                self._parameters_in[variable] = {variable: None}
            elif not isinstance(variable, (Constant, SharedVariable)):
                self._add_data(variable)
        self.nodes = [node for node in toposort([prediction]) if not isinstance(node.op, (Shape, Shape_i))]
        for node in self.nodes:
            self._visit(node)
        self._lead_ins = {expression for node in self.nodes for expression in _lead_ins(node)}

    def rank(self, name: str) -> tuple[int, str]:
        """Say which of two layers an expression of both belongs to: the deeper one, then the later name."""
        return self.depth[name], name

    def outputs(self, prediction: Any) -> dict[str, Any]:
        """Return for each layer the last of its expressions through which all goes that others get of it.

        Where one goes through the graph in order, that is an expression which, when it is made, is the only one of its
        layer that is still needed.
        """
        inside: dict[Any, int] = {}  # expression -> how many nodes of its own layer still need it
        outside = {prediction}
        steps = [(node, self._layer(node), self._of_data(node)) for node in self.nodes if self._of_data(node)]
        for node, layer, data in steps:
            own = not self._lead_ins.intersection(node.outputs)
            for expression in data:
                if own and self.layer_of[expression] == layer:
                    inside[expression] = inside.get(expression, 0) + 1
                else:
                    outside.add(expression)
        out = dict(self._data)
        needed: dict[str, set[Any]] = {name: set() for name in self.begins}
        to_begin = {name: len(nodes) for name, nodes in self.begins.items()}
        for node, layer, data in steps:
            if layer not in self.begins or self._lead_ins.intersection(node.outputs):
                continue
            to_begin[layer] -= node in self.begins[layer]
            for expression in data:
                if self.layer_of[expression] == layer:
                    inside[expression] -= 1
                    if not inside[expression] and expression not in outside:
                        needed[layer].discard(expression)
            made = [one for one in node.outputs if one in outside or inside.get(one)]
            needed[layer].update(made)
            if len(made) == 1 and needed[layer] == set(made) and not to_begin[layer]:
                out[layer] = made[0]
        without = [name for name in self.begins if name not in out]
        if without:
            raise regkit.GraphError(
                f"layer {without[0]!r} has several outputs that others use, and no expression through which all goes. "
                "Give the parameters of each part a layer_name of their own"
            )
        return out

    def _add_data(self, variable: Any) -> None:
        name = variable.name
        if not name:
            raise regkit.GraphError(
                f"an input of the network has no name: {variable.type}. Give it one, as in Input('X', shape=...)"
            )
        if name in self._data:
            raise _two_layers(name)
        self._data[name], self.layer_of[variable] = variable, name
        self._before[variable] = frozenset([name])
        self.depth[name] = 0

    def _visit(self, node: Any) -> None:
        params = {param: None for one in node.inputs for param in self._parameters_in.get(one, ())}
        data = self._of_data(node)
        if not data:
            self._parameters_in.update((one, params) for one in node.outputs)
            return
        before = frozenset().union(*(self._before[one] for one in data))
        layer = max((self.layer_of[one] for one in data), key=self.rank)
        matrices = [param for param in params if param.ndim > 1]
        if matrices:
            layer = self._begin(node, matrices, before)
        for param in params:
            if param.name and self._named.setdefault(param.name, param) is not param:
                raise _two_layers(param.layer_name or param.name)
            self.params.setdefault(layer, {})[param] = None
        own = any(param.layer_name == layer for param in params)
        if own and len(self.begins.get(layer, ())) == 1 and len(node.outputs) == 1 and not isinstance(node.op, Scan):
            self.pre[layer] = node.outputs[0]
        for one in node.outputs:
            self.layer_of[one] = layer
            self._before[one] = before | {layer}

    def _begin(self, node: Any, matrices: list[Any], before: frozenset[str]) -> str:
        unnamed = [param for param in matrices if not param.layer_name]
        if unnamed:
            raise regkit.GraphError(
                f"parameter {unnamed[0]} belongs to no named layer. Give the layer's name where it is made: "
                "pytensor_ml.params.trainable(..., layer_name='fc1')"
            )
        names = sorted({param.layer_name for param in matrices})
        if len(names) > 1:
            raise regkit.GraphError(
                f"parameters of layers {', '.join(map(repr, names))} meet data in one expression, {node.op}, so what "
                "belongs to which cannot be told. Give them one layer_name"
            )
        (name,) = names
        met = any(param in self.params.get(name, ()) for param in matrices)
        if name in before or name in self._data or met:
            raise _two_layers(name)
        self.begins.setdefault(name, []).append(node)
        if len(self.begins[name]) > 1:
            self.pre.pop(name, None)
        self.depth[name] = max(self.depth.get(name, 0), 1 + max(self.depth[one] for one in before))
        return name

    def _of_data(self, node: Any) -> list[Any]:
        return [one for one in dict.fromkeys(node.inputs) if one in self.layer_of]

    def _layer(self, node: Any) -> str:
        return self.layer_of[node.outputs[0]]


def _lead_ins(node: Any) -> list[Any]:
    """What a layer makes of its input before it begins: a convolution pads, a recurrence turns and cuts it by time."""
    if isinstance(node.op, ConvLayer):
        return [one for one in node.inputs if one.owner is not None and isinstance(one.owner.op, Pad)]
    found = []
    for sequence in node.op.outer_seqs(node.inputs) if isinstance(node.op, Scan) else ():
        turned = False
        while not turned and sequence.owner is not None and isinstance(sequence.owner.op, (Subtensor, DimShuffle)):
            found.append(sequence)
            turned = isinstance(sequence.owner.op, DimShuffle)
            sequence = sequence.owner.inputs[0]
    return found


def _two_layers(name: str) -> regkit.GraphError:
    return regkit.GraphError(
        f"two layers are named {name!r}, or one is applied twice. Give each layer a name of its own, as in "
        "Linear('fc1', ...), and apply it once"
    )
