"""Finding the layers of a finished graph of pytensor-ml, which keeps none of them, by the parameters in it."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

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
from regkit import hosts

if TYPE_CHECKING:
    from collections.abc import Mapping


class Layers(list[regkit.Layer]):
    """The layers of a network, which are written as a table."""

    def __repr__(self) -> str:
        rows = [("role", "outputs", "parameters")]
        for layer in self:
            params = (f"{name}[{param.ndim}]" for name, param in zip(layer.param_names, layer.params))
            rows.append((str(layer.role), ", ".join(layer.outputs), ", ".join(params)))
        widths = [max(len(row[i]) for row in rows) for i in range(2)]
        return "\n".join(f"{row[0]:{widths[0]}}  {row[1]:{widths[1]}}  {row[2]}".rstrip() for row in rows)


def find_layers(prediction: Any, roles: Mapping[str, str] | None = None) -> Layers:
    """Return the layers of the graph of a prediction, by depth and then by name; printed, they are a table.

    A layer begins where a parameter of two or more dimensions meets data, has the name that this parameter has for its
    layer, and reaches to the next. Where the same parameter meets data again, as in a tied autoencoder, another layer
    begins. Parameters tell, and not names of expressions, since pytensor-ml rewrites the graphs that it trains in
    place.

    Parameters
    ----------
    prediction : TensorVariable
        The output of a network.
    roles : mapping of str to {"input", "hidden", "output"}, optional
        Of layers, by the names of their main outputs, in the place of those that are found.

    Returns
    -------
    list of regkit.Layer
        With roles: layers that no other layer depends on are output, those with parameters before them hidden. Main
        outputs are ``name:out``, and ``name:out@1`` of a layer whose weights are used again: the last expression
        through which all goes that others get of the layer. ``name:pre``, its first, is there if it is another. The
        data are layers too.

    Raises
    ------
    regkit.GraphError
        If a layer, or an input, has no name; if two have the same; if a layer has no single output; if there are no
        layers.
    regkit.NoMatchError
        If `roles` has a name that no layer has.
    """
    walk = _Walk(prediction)
    if not walk.begins:
        raise regkit.GraphError(
            f"{prediction} depends on no layer: no parameter of two or more dimensions, made by a layer of pytensor-ml "
            "or by pytensor_ml.params.trainable, meets data"
        )
    out = walk.outputs(prediction)
    names = {name: walk.output_name(name, "out") for name in sorted(walk.depth, key=walk.rank)}
    given = dict(roles or {})
    unknown = [name for name in given if name not in names.values()]
    if unknown:
        raise regkit.NoMatchError(f"roles has {unknown[0]!r}; the layers: {hosts.listed(names.values())}")
    layers = Layers()
    for name, output_name in names.items():
        role = "output" if name in walk.last else "hidden" if name in walk.begins else "input"
        outputs = {output_name: out[name]}
        if name in walk.pre and walk.pre[name] is not out[name]:
            outputs = {walk.output_name(name, "pre"): walk.pre[name], **outputs}
        params = list(walk.params.get(name, ()))
        layers.append(regkit.Layer(output_name, params, outputs, given.get(output_name, role)))
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
        self._name_of: dict[str, tuple[str, int]] = {}  # layer -> its name, and how often its weights were used before
        inner: frozenset[str] = frozenset()  # layers that others depend on
        self._named: dict[str, Any] = {}
        for variable in graph_inputs([prediction]):
            if isinstance(variable, TrainableParameter):
                self._parameters_in[variable] = {variable: None}
            elif not isinstance(variable, (Constant, SharedVariable)):
                self._add_data(variable)
        self.nodes = [node for node in toposort([prediction]) if not isinstance(node.op, (Shape, Shape_i))]
        for node in self.nodes:
            self._visit(node)
        for nodes in self.begins.values():
            inner = inner.union(*(self._before[one] for node in nodes for one in self._of_data(node)))
        #: The layers that no other depends on.
        self.last = frozenset(self.begins) - inner
        for one in self.layer_of:
            if len(self._before[one] & self.last) > 1:
                self.layer_of[one] = ""  # what is made of several heads is of none
        self._lead_ins = {expression for node in self.nodes for expression in _lead_ins(node)}

    def output_name(self, layer: str, kind: str) -> str:
        """Return the name of an output of a layer: ``fc1:out``, and ``fc1:out@1`` where its weights are used again."""
        name, times = self._name_of.get(layer, (layer, 0))
        return f"{name}:{kind}@{times}" if times else f"{name}:{kind}"

    def rank(self, name: str) -> tuple[int, str]:
        """Return a key by which an expression of two layers belongs to the larger: depth, and then the name."""
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
        own = any(param.layer_name == self._name_of.get(layer, (layer, 0))[0] for param in params)
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
        for times in count():
            layer = f"{name}@{times}" if times else name
            if not any(param in self.params.get(layer, ()) for param in matrices):
                break
        tied = times and all(param in self.params[name] for param in matrices)
        if layer in before or name in self._data or (times and not tied):
            raise _two_layers(name)
        self._name_of[layer] = name, times
        self.begins.setdefault(layer, []).append(node)
        if len(self.begins[layer]) > 1:
            self.pre.pop(layer, None)
        self.depth[layer] = max(self.depth.get(layer, 0), 1 + max(self.depth[one] for one in before))
        return layer

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
        f"two layers are named {name!r}. Give each layer a name of its own, as in Linear('fc1', ...)"
    )
