"""Layers as hooks see them, and which of them are input, hidden and output."""

from __future__ import annotations

from ._values import is_mapping
from .errors import GraphError, OptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

ROLES = ("input", "hidden", "output")


class Layer:
    """A layer as hooks see it, for hosts that have no layers of their own.

    Parameters
    ----------
    output_name : str
        Full name of the layer's main output.
    params : sequence of variables, or mapping of str to variable, default ()
        The layer's parameters. In a mapping the keys are their full names; otherwise a parameter's full name is its
        attribute ``name``, or ``<output_name>.param<i>`` where it has none, i being its position.
    outputs : mapping of str to expression, optional
        The layer's outputs by their full names, for `RegularizerSet.regularize`.
    role : {"input", "hidden", "output"}, optional
        What the layer is in its network. All layers of a call have a role, or none: without roles the first is the
        input, the last the output, and those between are hidden.

    Attributes
    ----------
    params : tuple of variables
    param_names : tuple of str
        The full names of the parameters.

    Raises
    ------
    GraphError
        If the role is not one of those, or names are not strings.

    Examples
    --------
    >>> import numpy, regkit
    >>> layers = [regkit.Layer("in:out"), regkit.Layer("hid1:out"), regkit.Layer("out:out")]
    >>> layers[1]
    Layer('hid1:out')
    >>> regkit.Layer("hid1:out", {"hid1.W": numpy.eye(2)}, role="hidden").param_names
    ('hid1.W',)
    """

    __slots__ = ("output_name", "outputs", "param_names", "params", "role")

    def __init__(
        self,
        output_name: str,
        params: Sequence[Any] | Mapping[str, Any] = (),
        outputs: Mapping[str, Any] | None = None,
        role: str | None = None,
    ) -> None:
        if not isinstance(output_name, str):
            raise GraphError(f"Layer got output_name={output_name!r}; accepted: a string")
        if role is not None and role not in ROLES:
            raise GraphError(
                f"Layer {output_name!r} got role={role!r}; accepted: {', '.join(map(repr, ROLES))}, or None"
            )
        for what, mapping in (("params", params), ("outputs", outputs)):
            wrong = [name for name in mapping if not isinstance(name, str)] if is_mapping(mapping) else []
            if wrong:
                raise GraphError(f"Layer {output_name!r} got {what} with the name {wrong[0]!r}; accepted: strings")
        if outputs is not None and not is_mapping(outputs):
            raise GraphError(
                f"Layer {output_name!r} got outputs={outputs!r}; accepted: a mapping of names to expressions"
            )
        if not is_mapping(params) and (isinstance(params, str) or not hasattr(params, "__iter__")):
            raise GraphError(
                f"Layer {output_name!r} got params={params!r}; accepted: a sequence or a mapping of variables"
            )
        self.output_name = output_name
        self.params = tuple(params.values() if is_mapping(params) else params)
        self.param_names = tuple(params) if is_mapping(params) else _names_of(output_name, self.params)
        self.outputs = dict(outputs or {})
        self.role = role

    def __repr__(self) -> str:
        params = f", params={dict(zip(self.param_names, self.params))!r}" if self.params else ""
        role = f", role={self.role!r}" if self.role else ""
        return f"Layer({self.output_name!r}{params}{role})"


def _names_of(output_name: str, params: Sequence[Any]) -> tuple[str, ...]:
    own = [getattr(param, "name", None) for param in params]
    return tuple(name if isinstance(name, str) and name else f"{output_name}.param{i}" for i, name in enumerate(own))


def named_params(layer: Any) -> list[tuple[str, Any]]:
    """Return the parameters of a layer, a host's own layer included, by their full names.

    Raises
    ------
    GraphError
        If a layer has more names than parameters, or fewer, as after parameters were assigned to a `Layer`.
    """
    params = layer.params
    if is_mapping(params):
        return list(params.items())
    names = getattr(layer, "param_names", None)
    if names is None:
        names = _names_of(layer.output_name, params)
    if len(names) != len(params):
        raise GraphError(
            f"layer {layer.output_name!r} has {len(params)} in params and {len(names)} in param_names. Make a "
            "layer with its parameters: Layer(name, params)"
        )
    return list(zip(names, params))


def select_layers(layers: Sequence[Any], role: str) -> list[Any]:
    """Return the layers that have a role in the network: by their attribute, or by position if none has one.

    Parameters
    ----------
    layers : sequence of Layer
    role : {"input", "hidden", "output"}

    Returns
    -------
    list of Layer
        Without roles the first layer is the input, the last the output, those between are hidden; a single layer is
        both input and output.

    Raises
    ------
    GraphError
        If some layers have a role and others none.

    Examples
    --------
    >>> import regkit
    >>> layers = [regkit.Layer("a", role="hidden"), regkit.Layer("b", role="hidden"), regkit.Layer("c", role="output")]
    >>> [layer.output_name for layer in regkit.select_layers(layers, "hidden")]
    ['a', 'b']
    """
    if role not in ROLES:
        raise OptionError(f"select_layers got role={role!r}; accepted: {', '.join(map(repr, ROLES))}")
    roles = _roles(layers)
    if any(roles):
        return [layer for layer, its in zip(layers, roles) if its == role]
    return list({"input": layers[:1], "hidden": layers[1:-1], "output": layers[-1:]}[role])


def _roles(layers: Sequence[Any]) -> list[str | None]:
    roles = [getattr(layer, "role", None) for layer in layers]
    if any(roles) and not all(roles):
        without = next(layer for layer, role in zip(layers, roles) if not role)
        having = next(layer for layer, role in zip(layers, roles) if role)
        raise GraphError(
            f"layer {having.output_name!r} has a role and layer {without.output_name!r} has none. "
            "Give every layer a role, or none"
        )
    return roles


def check_layers(layers: Any) -> None:
    """Raise if the layers are not what hooks expect."""
    from collections.abc import Sequence

    if not isinstance(layers, Sequence) or isinstance(layers, str):
        raise GraphError(f"layers is {layers!r}; expected a sequence of layers, such as regkit.Layer")
    for layer in layers:
        if not isinstance(getattr(layer, "output_name", None), str) or not hasattr(layer, "params"):
            raise GraphError(
                f"layers has {layer!r}; expected objects with output_name and params, such as regkit.Layer"
            )
    for role in _roles(layers):
        if role is not None and role not in ROLES:
            raise GraphError(f"layers has the role {role!r}; accepted: {', '.join(map(repr, ROLES))}")


def outputs_of(layers: Sequence[Any], given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the outputs of layers by their full names; those in `outputs` replace them.

    Raises
    ------
    GraphError
        If two layers have one output name, or a layer's main output is missing.
    """
    if given is not None and not is_mapping(given):
        raise GraphError(f"outputs is {given!r}; expected a mapping of names to expressions")
    outputs: dict[str, Any] = {}
    seen: set[str] = set()
    for layer in layers:
        if layer.output_name in seen:
            raise GraphError(f"two layers have the output name {layer.output_name!r}. Give each a name of its own")
        seen.add(layer.output_name)
        own = getattr(layer, "outputs", None) or {}
        shared = [name for name in own if outputs.get(name, own[name]) is not own[name]]
        if shared:
            raise GraphError(f"two layers have different outputs named {shared[0]!r}. Give each a name of its own")
        outputs.update(own)
    outputs.update(given or {})
    missing = [layer.output_name for layer in layers if layer.output_name not in outputs]
    if missing:
        raise GraphError(
            f"layer {missing[0]!r} has no output of that name; the outputs: {', '.join(outputs) or 'none'}. "
            "Pass outputs, or give the layer its own"
        )
    return outputs
