"""Variables of `pymc.dims`, whose axes have names, as tensors: regularizers are of arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytensor.compile.mode import optdb
from pytensor.compile.ops import ViewOp
from pytensor.graph.basic import Constant
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.replace import graph_replace
from pytensor.graph.rewriting.basic import MergeOptimizer
from pytensor.graph.traversal import graph_inputs
from pytensor.xtensor.basic import tensor_from_xtensor, xtensor_from_tensor
from pytensor.xtensor.type import XTensorVariable

if TYPE_CHECKING:
    from collections.abc import Mapping


def as_tensors(variables: Mapping[str, Any], model: Any) -> dict[str, Any]:
    """Return named variables of a model as tensors, computed from the tensors of its random variables and data.

    PyMC lowers operations with named axes to those of tensors in densities, and not in potentials, which have no
    gradient then. So it is done here, in all variables at once: one stays computed from another.
    """
    if not any(isinstance(variable, XTensorVariable) for variable in variables.values()):
        return dict(variables)
    values, stand_ins, replacements = [], [], {}
    for source in (*model.root.basic_RVs, *model.root.data_vars):
        value = tensor_from_xtensor(source) if isinstance(source, XTensorVariable) else source
        stand_in = value.type(name=source.name)
        values.append(value)
        stand_ins.append(stand_in)
        named = isinstance(source, XTensorVariable)
        replacements[source] = xtensor_from_tensor(stand_in, dims=source.type.dims) if named else stand_in
    outputs = graph_replace(list(variables.values()), replacements, strict=False)
    outputs = [tensor_from_xtensor(one) if isinstance(one, XTensorVariable) else one for one in outputs]
    others = [one for one in graph_inputs(outputs) if not isinstance(one, Constant) and one not in stand_ins]
    graph = FunctionGraph([*stand_ins, *others], outputs, clone=True)
    for node in graph.toposort():
        if isinstance(node.op, ViewOp):  # which stands before each deterministic, and is not lowered
            graph.replace(node.outputs[0], node.inputs[0])
    optdb.query("+lower_xtensor").rewrite(graph)
    MergeOptimizer().rewrite(graph)
    lowered = graph_replace(graph.outputs, dict(zip(graph.inputs, [*values, *others])), strict=False)
    return dict(zip(variables, lowered))
