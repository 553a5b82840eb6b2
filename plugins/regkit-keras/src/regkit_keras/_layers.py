"""The layers of a Keras model as regularizers see them, and the parts of Keras that are used here and not public."""

from __future__ import annotations

from contextlib import contextmanager
from operator import is_
from typing import TYPE_CHECKING, Any

import keras

import regkit
from regkit import hosts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

#: The name of the data of a model that does not name them.
INPUT = "input"


def sublayers(layer: Any) -> list[Any]:
    """Return the layers that a layer has itself, without those that only stand for data."""
    own = layer.layers if isinstance(layer, keras.Model) else layer._flatten_layers(include_self=False, recursive=False)
    return [each for each in own if not isinstance(each, keras.layers.InputLayer)]


def is_open(layer: Any) -> bool:
    """Return whether the layers within a layer have outputs by themselves: within a model, or a layer of the user's.

    Layers of Keras count as one. Some run the layers within them in a loop or a vectorized function of the backend,
    whose values cannot be used outside; rematerialized layers are computed a second time in the backward pass.
    """
    if getattr(layer, "_remat_mode", None) is not None or not sublayers(layer):
        return False
    return isinstance(layer, keras.Model) or type(layer).call.__module__.partition(".")[0] != "keras"


def find_paths(model: Any) -> dict[str, Any]:
    """Return the layers that have outputs by themselves, by their paths, such as ``block/dense``; each once.

    Raises
    ------
    regkit.GraphError
        If two layers have one path.
    """
    paths: dict[str, Any] = {}
    seen: set[int] = set()

    def visit(layer: Any, path: str) -> None:
        for each in sublayers(layer):
            own = _joined(path, each.name)
            if id(each) in seen:
                continue
            seen.add(id(each))
            if own in paths:
                raise regkit.GraphError(f"two layers of the model are named {own!r}. Give each a name of its own")
            paths[own] = each
            if is_open(each):
                visit(each, own)

    visit(model, "")
    return paths


def input_names(model: Any, inputs: Any) -> list[str]:
    """Return the names of the data, in the order of `keras.tree.flatten`: those of its Inputs, or of a mapping."""
    if isinstance(inputs, dict):
        return [":".join(map(str, path)) for path, _ in keras.tree.flatten_with_path(inputs)]
    count = len(keras.tree.flatten(inputs))
    declared = declared_tensors(model, "inputs")
    if len(declared) == count:
        return [tensor._keras_history.operation.name for tensor in declared]
    return [INPUT] if count == 1 else [f"{INPUT}:{i}" for i in range(count)]


def declared_tensors(model: Any, which: str) -> list[Any]:
    """The inputs or outputs that a functional or Sequential model declares; none of a subclassed one."""
    try:
        return list(getattr(model, which))
    except (AttributeError, TypeError, ValueError):  # as a Sequential that is not built
        return []


def has_order(model: Any) -> bool:
    """Return whether a model defines which of its layers comes last, as functional and Sequential ones do."""
    return bool(declared_tensors(model, "outputs"))


class Described:
    """A model's layers as regularizers see them, looked up again where its variables are others than before.

    A layer is here if it has a weight of two or more dimensions. The weights of others, as of a normalization, are with
    the layer before.
    """

    def __init__(self) -> None:
        self._names: list[str] = []
        self._variables: list[Any] = []
        self._trained: list[bool] = []
        self._found: list[tuple[str, str, dict[str, Any]]] = []
        self._wanted: dict[Any, bool] = {}

    def layers(self, model: Any, inputs: list[str]) -> list[regkit.Layer]:
        """Return the layers with roles and the present values of the weights that are trained."""
        return [
            regkit.Layer(name, {full: variable.value for full, variable in weights.items()}, role=role)
            for name, role, weights in self._entries(model, inputs)
        ]

    def trained_weights(self, model: Any) -> dict[str, Any]:
        """Return the variables that are trained, by their names."""
        found = self._entries(model, self._names or [INPUT])
        return {name: variable for _, _, weights in found for name, variable in weights.items()}

    def wants_none(self) -> bool:
        """Return whether outputs were shown, and none of them was wanted."""
        return bool(self._wanted) and not any(self._wanted.values())

    def is_wanted(self, members: Sequence[hosts.Member], name: str, value: Any) -> bool:
        """Return whether to show an output to some of the members; those of layers need no pattern."""
        if isinstance(value, keras.KerasTensor):
            return False
        dtype = value.dtype if keras.ops.is_tensor(value) else None
        key = (id(members), name, dtype)
        if key not in self._wanted:
            is_float = dtype is not None and "float" in keras.backend.standardize_dtype(dtype)
            is_main = any(name == output for output, _, _ in self._found)
            self._wanted[key] = any(
                member.wants(name, is_float)
                and (member.globs is not None or is_main or not member.needs_pattern or member.wants(name, False))
                for member in members
            )
        return self._wanted[key]

    def _entries(self, model: Any, inputs: list[str]) -> list[tuple[str, str, dict[str, Any]]]:
        variables = model.variables
        trained = [variable.trainable for variable in variables]
        is_known = inputs == self._names and trained == self._trained
        if not is_known or not all(map(is_, variables, self._variables)):
            self._names, self._variables, self._trained = inputs, variables, trained
            self._found, self._wanted = _entries(model, inputs), {}
        return self._found


def _entries(model: Any, inputs: list[str]) -> list[tuple[str, str, dict[str, Any]]]:
    """Return the names, the roles and the variables of the layers of a model."""
    entries: list[tuple[str, str, dict[str, Any]]] = [(name, "input", {}) for name in inputs]
    last = _last_layers(model)
    seen: set[int] = set()

    def visit(layer: Any, path: str, counts: bool) -> None:
        """Go through a layer and those within; `counts` is whether it may be a layer to regularizers."""
        if id(layer) in seen:
            return
        seen.add(id(layer))
        parts = is_open(layer) and has_order(layer)  # layers to regularizers are those within
        if counts and not parts and _has_kernel(layer):
            entries.append((_main_output(path, layer), "output" if id(layer) in last else "hidden", {}))
        for variable in _own_variables(layer):
            # the scales of float8 count as trainable in Keras, and are kept in the place of their gradients
            if variable.trainable and not variable.overwrite_with_gradient and id(variable) not in seen:
                seen.add(id(variable))
                entries[-1][2][_joined(path, variable.name)] = variable
        for each in sublayers(layer):
            visit(each, _joined(path, each.name), not path or (counts and parts))

    visit(model, "", False)
    return entries


def _joined(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _own_variables(layer: Any) -> list[Any]:
    within = {id(variable) for each in sublayers(layer) for variable in each.weights}
    return [variable for variable in layer.weights if id(variable) not in within]


def _has_kernel(layer: Any) -> bool:
    return any(len(variable.shape) > 1 for variable in layer.weights)


def _main_output(path: str, layer: Any) -> str:
    """The name of a layer's output, or of the first of several."""
    try:
        outputs = keras.tree.flatten(layer.output)
    except (AttributeError, ValueError):  # of a layer that was not called with symbolic tensors
        return path
    return f"{path}:0" if len(outputs) > 1 else path


def _last_layers(model: Any) -> set[int]:
    """The ids of the layers with a kernel through which nothing but layers without one goes on to the outputs."""
    found: set[int] = set()
    waiting = declared_tensors(model, "outputs")
    seen = {id(tensor) for tensor in waiting}
    while waiting:
        history = waiting.pop()._keras_history
        layer = history.operation
        if isinstance(layer, keras.layers.InputLayer):
            continue
        if isinstance(layer, keras.Layer) and is_open(layer) and has_order(layer):
            found |= _last_layers(layer)
        elif isinstance(layer, keras.Layer) and _has_kernel(layer):
            found.add(id(layer))
        else:
            before = layer._inbound_nodes[history.node_index].input_tensors
            waiting += [tensor for tensor in before if id(tensor) not in seen]
            seen |= {id(tensor) for tensor in before}
    return found


_ABSENT = object()


@contextmanager
def own_attribute(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Let a layer or an optimizer have an attribute of its own meanwhile."""
    attributes = vars(owner)  # past what Keras and torch do when an attribute is set
    before = attributes.get(name, _ABSENT)
    attributes[name] = value
    try:
        yield
    finally:
        if before is _ABSENT:
            del attributes[name]
        else:
            attributes[name] = before


# Parts of Keras that are not public

#: The versions of Keras that all of this was tested with.
TESTED = "3.14.0 and 3.15.1"

#: Of a layer: its place in models, the layers within it, its rematerialization, and how it takes its arguments.
OF_LAYERS = (
    "_inbound_nodes",
    "_flatten_layers",
    "_remat_mode",
    "rematerialized_call",
    "_get_call_context",
    "_maybe_reset_call_context",
    "_convert_input_args",
    "_allow_non_tensor_positional_args",
)
#: Of a symbolic tensor: the operation that made it.
OF_TENSORS = ("_keras_history",)


def check_parts(layer: keras.Layer, tensors: Iterable[Any]) -> None:
    """Raise if a part of Keras that is used later is not there, which could go unnoticed.

    Raises
    ------
    regkit.PluginLoadError
        If a layer, or a symbolic tensor of a model, lacks one of these.
    """
    missing = [f"keras.Layer.{name}" for name in OF_LAYERS if not hasattr(layer, name)]
    missing += [
        f"keras.KerasTensor.{name}" for name in OF_TENSORS if not all(hasattr(tensor, name) for tensor in tensors)
    ]
    if missing:
        are = "is" if len(missing) == 1 else "are"
        raise regkit.PluginLoadError(
            f"regkit_keras does not work with Keras {keras.__version__}: {', '.join(missing)} {are} not there. It was "
            f"tested with Keras {TESTED}. Install one of them, or a later regkit-keras"
        )
