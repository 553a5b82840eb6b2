"""Which outputs or parameters a pattern selects."""

from __future__ import annotations

from fnmatch import fnmatchcase

from .errors import GraphError, NoMatchError, OptionError
from .validation import checked_pattern

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any, Union

    Globs = Union[str, Sequence[str]]


class Layer:
    """A layer as hooks see it, for hosts that have no layers of their own.

    Parameters
    ----------
    output_name : str
        Full name of the layer's main output.
    params : sequence of variables, default ()
        The layer's parameters. `select_params` finds them by their attribute ``name``.

    Examples
    --------
    >>> import regkit
    >>> layers = [regkit.Layer("in:out"), regkit.Layer("hid1:out"), regkit.Layer("out:out")]
    >>> layers[1]
    Layer('hid1:out')
    """

    __slots__ = ("output_name", "params")

    def __init__(self, output_name: str, params: Sequence[Any] = ()) -> None:
        self.output_name = output_name
        self.params = params

    def __repr__(self) -> str:
        return f"Layer({self.output_name!r}{f', params={self.params!r}' if self.params else ''})"


def select_outputs(
    outputs: Mapping[str, Any], pattern: Globs | None, layers: Sequence[Any] | None = None
) -> list[tuple[str, Any]]:
    """Return the outputs whose names match a glob, or any of several; or those of all hidden layers.

    Parameters
    ----------
    outputs : mapping of str to expression
        Outputs of a graph by their full names.
    pattern : str or sequence of str, or None
        Case-sensitive globs (`fnmatch.fnmatchcase`) on the full names. None selects the main output of each hidden
        layer, for which `layers` is needed.
    layers : sequence of Layer, optional
        First the input, last the output, between them hidden.

    Returns
    -------
    list of (str, expression)
        Each matching output once, in the order of `outputs`.

    Raises
    ------
    NoMatchError
        If nothing matches, or there are no hidden layers, or one of them has no output.

    Examples
    --------
    >>> import regkit
    >>> regkit.select_outputs({"in:out": 1, "hid1:out": 2, "hid2:out": 3}, ["hid2:*", "hid[12]:out"])
    [('hid1:out', 2), ('hid2:out', 3)]
    >>> layers = [regkit.Layer("in:out"), regkit.Layer("hid1:out"), regkit.Layer("out:out")]
    >>> regkit.select_outputs({"in:out": 1, "hid1:out": 2, "out:out": 3}, None, layers)
    [('hid1:out', 2)]
    """
    if pattern is None and layers is not None:
        return _hidden_outputs(layers, outputs)
    globs = globs_of(pattern)
    selected = [(name, outputs[name]) for name in outputs if matches(name, globs)]
    if not selected:
        raise NoMatchError(
            f"pattern {', '.join(map(repr, globs))} matches none of the outputs: {', '.join(outputs) or 'none'}"
        )
    return selected


def select_params(layers: Iterable[Any], pattern: Globs) -> list[tuple[str, Any]]:
    """Return the parameters of the layers whose names match a glob, or any of several.

    Parameters
    ----------
    layers : sequence of Layer
        Layers of a network; each has its parameters, with their names, in ``params``.
    pattern : str or sequence of str
        Case-sensitive globs (`fnmatch.fnmatchcase`) on the parameters' names.

    Returns
    -------
    list of (str, variable)
        Each matching parameter once, also where layers share it, in the order of the layers.

    Raises
    ------
    NoMatchError
        If nothing matches.
    GraphError
        If two different parameters share a name that matches.

    Examples
    --------
    >>> import regkit, types
    >>> w, b = types.SimpleNamespace(name="hid1.w"), types.SimpleNamespace(name="hid1.b")
    >>> [name for name, _ in regkit.select_params([regkit.Layer("hid1:out", [w, b])], "*.w")]
    ['hid1.w']
    """
    globs = globs_of(pattern)
    params: dict[str, Any] = {}
    for param in (param for layer in layers for param in layer.params):
        name = getattr(param, "name", None)
        if name is not None and params.setdefault(name, param) is not param and matches(name, globs):
            raise GraphError(f"two different parameters are named {name!r}. Give each a name of its own")
    selected = [(name, param) for name, param in params.items() if matches(name, globs)]
    if not selected:
        raise NoMatchError(
            f"pattern {', '.join(map(repr, globs))} matches none of the parameters: {', '.join(params) or 'none'}"
        )
    return selected


def _hidden_outputs(layers: Sequence[Any], outputs: Mapping[str, Any]) -> list[tuple[str, Any]]:
    names = list(dict.fromkeys(layer.output_name for layer in layers[1:-1]))
    if not names:
        there = ", ".join(layer.output_name for layer in layers) or "none"
        raise NoMatchError(
            f"the network has no hidden layers; its layers: {there}. Pass a pattern to select among the outputs: "
            f"{', '.join(outputs) or 'none'}"
        )
    missing = [name for name in names if name not in outputs]
    if missing:
        raise NoMatchError(f"hidden output {missing[0]!r} is not among the outputs: {', '.join(outputs) or 'none'}")
    return [(name, outputs[name]) for name in names]


def globs_of(pattern: Globs | None) -> tuple[str, ...]:
    """Return the globs of a pattern; OptionError if it is none."""
    checked = checked_pattern("select", pattern)
    if checked is None:
        raise OptionError("select got pattern=None; accepted: a glob, or a list of one or more globs")
    return (checked,) if isinstance(checked, str) else tuple(checked)


def matches(name: str, globs: tuple[str, ...]) -> bool:
    """Tell whether a name matches any of several globs."""
    return any(fnmatchcase(name, glob) for glob in globs)
