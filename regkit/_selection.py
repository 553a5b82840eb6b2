"""Which outputs or parameters a pattern selects."""

from __future__ import annotations

from ._engines import check_selectable
from ._layers import named_params, select_layers
from ._messages import listed
from .errors import GraphError, NoMatchError, OptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from typing import Any, Union

    Globs = Union[str, Sequence[str]]

#: The beginning of a glob that takes names out.
NOT = "!"


def select_outputs(
    outputs: Mapping[str, Any],
    pattern: Globs | None,
    layers: Sequence[Any] | None = None,
    default: Collection[str] | None = None,
) -> list[tuple[str, Any]]:
    """Return the outputs whose names match a glob, or any of several; or those of all hidden layers.

    Parameters
    ----------
    outputs : mapping of str to expression
        Outputs of a graph by their full names.
    pattern : str or sequence of str, or None
        Case-sensitive globs (`fnmatch.fnmatchcase`) on the full names. A glob that begins with ``!`` takes names out of
        those before it; if it is the first, out of those that None selects. None selects the main output of each hidden
        layer, which needs `layers`.
    layers : sequence of Layer, optional
        The layers of the network; `select_layers` returns the hidden ones.
    default : collection of str, optional
        The names that None selects, instead of those of hidden layers.

    Returns
    -------
    list of (str, expression)
        Each matching output once, in the order of `outputs`.

    Raises
    ------
    OptionError
        If there is no pattern and there are no layers.
    NoMatchError
        If nothing matches, no layer is hidden, a hidden layer has no output, or the first glob takes nothing out of the
        outputs of hidden layers. The set, which has the whole graph, raises for other globs that match nothing.
    GraphError
        If a selected output is not a real array: complex, sparse, a list.

    Examples
    --------
    >>> import numpy, regkit
    >>> outputs = {name: numpy.ones(2) for name in ("in:out", "hid1:out", "hid2:out", "out:out")}
    >>> [name for name, _ in regkit.select_outputs(outputs, ["hid2:*", "hid[12]:out"])]
    ['hid1:out', 'hid2:out']
    >>> [name for name, _ in regkit.select_outputs(outputs, ["*", "!hid*"])]
    ['in:out', 'out:out']
    >>> layers = [regkit.Layer(name) for name in outputs]
    >>> [name for name, _ in regkit.select_outputs(outputs, None, layers)]
    ['hid1:out', 'hid2:out']
    """
    globs = () if pattern is None and (layers is not None or default is not None) else globs_of(pattern)
    if globs and not begins_with_not(globs):
        selected = [(name, outputs[name]) for name in outputs if matches(name, globs)]
    elif default is not None:
        among = [name for name in outputs if name in default]
        selected = [(name, outputs[name]) for name in among if not globs or matches(name, globs)]
    elif layers is not None:
        hidden = _hidden_outputs(layers, outputs)
        if globs and (useless := unmatched_globs(globs[:1], [name for name, _ in hidden])):
            raise NoMatchError(nothing_matches(useless, "outputs of hidden layers", [name for name, _ in hidden]))
        selected = [(name, output) for name, output in hidden if not globs or matches(name, globs)]
        chosen = {name for name, _ in selected}
        selected += [
            (name, outputs[name]) for name in outputs if globs and name not in chosen and _is_added(name, globs)
        ]
    else:
        raise OptionError(
            f"select_outputs got pattern={pattern!r}, which takes out of the default, and no layers, whose outputs are "
            "the default. Pass layers, or begin the pattern with a glob that selects: ['*', '!...']"
        )
    if not selected and not globs:
        raise NoMatchError(f"{', '.join(default or ())} is not among the outputs: {listed(every_name(outputs))}")
    if not selected:
        raise NoMatchError(nothing_matches(globs, "outputs", every_name(outputs)))
    for name, output in selected:
        check_selectable(f"output {name!r}", output)
    return selected


def select_params(layers: Iterable[Any], pattern: Globs | None = None) -> list[tuple[str, Any]]:
    """Return the parameters of the layers whose full names match a glob, or any of several; or all of them.

    Parameters
    ----------
    layers : sequence of Layer
        Layers of a network; each has its parameters in ``params``. A parameter's full name is its key in a mapping, or
        its attribute ``name``, or ``<output name>.param<i>`` if it has none, i being its position.
    pattern : str or sequence of str, optional
        Case-sensitive globs (`fnmatch.fnmatchcase`) on the full names. A glob that begins with ``!`` takes names out of
        those before it; if it is the first, out of all. None selects all.

    Returns
    -------
    list of (str, variable)
        Each matching parameter once, also where layers share it, in the order of the layers.

    Raises
    ------
    NoMatchError
        If nothing matches, or there are no layers.
    GraphError
        If two different parameters share a name that matches, or a selected one is not a real array.

    Examples
    --------
    >>> import numpy, regkit
    >>> layer = regkit.Layer("hid1:out", {"hid1.w": numpy.eye(2), "hid1.b": numpy.zeros(2)})
    >>> [name for name, _ in regkit.select_params([layer], "*.w")]
    ['hid1.w']
    >>> [name for name, _ in regkit.select_params([layer], "!*.b")]
    ['hid1.w']
    >>> [name for name, _ in regkit.select_params([regkit.Layer("hid1:out", [numpy.eye(2)])])]
    ['hid1:out.param0']
    """
    globs = globs_of("*" if pattern is None else pattern)
    layers = list(layers)
    if not layers:
        raise NoMatchError(no_layers(globs))
    params: dict[str, Any] = {}
    named_once: set[int] = set()  # a parameter without a name that layers share is named after the first
    for name, param in (pair for layer in layers for pair in named_params(layer)):
        if id(param) in named_once and name not in params:
            continue
        named_once.add(id(param))
        if params.setdefault(name, param) is not param and matches(name, globs):
            raise GraphError(f"two different parameters are named {name!r}. Give each a name of its own")
    selected = [(name, param) for name, param in params.items() if matches(name, globs)]
    if not selected:
        raise NoMatchError(nothing_matches(globs, "parameters", params))
    for name, param in selected:
        check_selectable(f"parameter {name!r}", param)
    return selected


def _hidden_outputs(layers: Sequence[Any], outputs: Mapping[str, Any]) -> list[tuple[str, Any]]:
    among = f"Pass a pattern to select among the outputs: {listed(every_name(outputs))}"
    if not layers:
        raise OptionError(
            f"it needs a pattern, since no layers are given, of which it would take the hidden ones. {among}"
        )
    names = list(dict.fromkeys(layer.output_name for layer in select_layers(layers, "hidden")))
    if not names:
        there = ", ".join(layer.output_name for layer in layers)
        raise NoMatchError(f"the network has no hidden layers; its layers: {there}. {among}")
    missing = [name for name in names if name not in outputs]
    if missing:
        raise NoMatchError(f"hidden output {missing[0]!r} is not among the outputs: {', '.join(outputs) or 'none'}")
    again: dict[str, list[str]] = {}
    of_layers = {layer.output_name for layer in layers}
    for name in outputs:
        if first_name(name) != name and name not in of_layers:  # a layer of that name has its own role
            again.setdefault(first_name(name), []).append(name)
    selected = dict.fromkeys(name for main in names for name in (main, *again.get(main, ())))
    return [(name, outputs[name]) for name in selected]


# Globs


def globs_of(pattern: Globs | None) -> tuple[str, ...]:
    """Return the globs of a pattern; OptionError if it is no pattern."""
    if isinstance(pattern, str):
        return (pattern,)
    if isinstance(pattern, (list, tuple)) and pattern and all(isinstance(glob, str) for glob in pattern):
        return tuple(pattern)
    raise OptionError(f"select got pattern={pattern!r}; accepted: a glob, or a list of one or more globs")


def globs_or_none(pattern: Any) -> tuple[str, ...] | None:
    """Return the globs of a pattern, or None if it is not a glob pattern."""
    try:
        return globs_of(pattern)
    except OptionError:
        return None


def begins_with_not(globs: Sequence[str]) -> bool:
    """Return whether the first glob of a pattern takes names out, so that the pattern selects from the default."""
    return globs[0].startswith(NOT)


def matches(name: str, globs: Sequence[str]) -> bool:
    """Return whether globs select a name; if the first glob takes names out, whether they leave it in.

    The number of a repeated output, as in ``act@1``, may be left out of a glob.
    """
    selected = begins_with_not(globs)
    for glob in globs:
        if glob.startswith(NOT):
            selected = selected and not _matches_one(name, glob[len(NOT) :])
        else:
            selected = selected or _matches_one(name, glob)
    return selected


def _is_added(name: str, globs: Sequence[str]) -> bool:
    """Return whether globs of which the first takes names out select a name that is not in the default."""
    adding = [i for i, glob in enumerate(globs) if not glob.startswith(NOT)]
    return bool(adding) and matches(name, globs[adding[0] :])


def _matches_one(name: str, glob: str) -> bool:
    from fnmatch import fnmatchcase

    return fnmatchcase(name, glob) or (("@" in name) and fnmatchcase(first_name(name), glob))


def first_name(name: str) -> str:
    """Return the name of a repeated output without the number: ``act`` for ``act@1``."""
    first, _, times = name.rpartition("@")
    return first if first and times.isdigit() else name


def unmatched_globs(globs: Sequence[str], names: Iterable[str]) -> list[str]:
    """Return the globs of a pattern that select, or take out, none of these names."""
    names = list(names)
    selected = set(names) if begins_with_not(globs) else set()
    unmatched = []
    for glob in globs:
        takes_out = glob.startswith(NOT)
        found = {name for name in names if _matches_one(name, glob[len(NOT) :] if takes_out else glob)}
        if not (found & selected if takes_out else found):
            unmatched.append(glob)
        selected = selected - found if takes_out else selected | found
    return unmatched


def nothing_matches(globs: Sequence[str], what: str, names: Iterable[str]) -> str:
    """Return the words for globs that match none of the names, or take none of them out."""
    verb = "takes out" if globs and all(glob.startswith(NOT) for glob in globs) else "matches"
    return f"pattern {', '.join(map(repr, globs))} {verb} none of the {what}: {listed(names)}"


def no_layers(globs: Sequence[str]) -> str:
    """Return the words for globs of parameters where no layers are given."""
    return (
        f"pattern {', '.join(map(repr, globs))} is for parameters, which layers have, and no layers are given. "
        "Pass layers=[regkit.Layer('hid1', {'hid1.w': w})]"
    )


class Shown(dict[str, "Any"]):
    """The outputs that a hook gets: those that its regularizer looks at, by name.

    Whether other outputs exist depends on the engine: NumPy has all outputs of a graph, a watched model keeps those
    that patterns match. So other names raise a `GraphError` everywhere. Main outputs of layers, which an option that is
    None may mean, can be read if they exist.

    Parameters
    ----------
    outputs : mapping of str to expression
        All outputs of the graph.
    looks_at : callable
        Whether the regularizer looks at an output of a name.
    main : collection of str
        The names of main outputs of layers.
    """

    def __init__(self, outputs: Mapping[str, Any], looks_at: Any, main: Collection[str] = ()) -> None:
        super().__init__({name: output for name, output in outputs.items() if looks_at(name)})
        self.every = outputs
        self._main = main

    def __missing__(self, name: str) -> Any:
        if name in self._main and name in self.every:
            return self.every[name]
        there = f"It has: {listed(self)}"
        raise GraphError(
            f"the hook asked for the output {name!r}, which its regularizer does not look at: outputs are those that "
            f"its pattern selects, or that another option names. {there}"
        )

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (name in self._main and name in self.every)

    def get(self, name: str, default: Any = None) -> Any:
        """Return an output, or the default; a name that the regularizer does not look at is an error here too."""
        return self[name]


def every_name(outputs: Mapping[str, Any]) -> Iterable[str]:
    """Return the names of all outputs of a graph, also those that a hook does not get."""
    return outputs.every if isinstance(outputs, Shown) else outputs
