"""Which outputs or parameters a pattern selects."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from fnmatch import fnmatchcase

from .errors import GraphError, NoMatchError, OptionError
from .graph.libraries import check_selectable
from .layers import named_params, select_layers
from .messages import listed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any, Union

    Globs = Union[str, Sequence[str]]


#: The selections made in this context, while somebody watches.
_watching: ContextVar[set[tuple[str, tuple[str, ...]]] | None] = ContextVar("watching", default=None)


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
        The layers of the network; `select_layers` tells which are hidden.

    Returns
    -------
    list of (str, expression)
        Each matching output once, in the order of `outputs`.

    Raises
    ------
    NoMatchError
        If nothing matches, or there are no hidden layers, or one of them has no output. One glob of several that
        matches nothing is for the set to find, which sees the whole graph.
    GraphError
        If a selected output is not a real array: complex, sparse, a list.

    Examples
    --------
    >>> import numpy, regkit
    >>> outputs = {name: numpy.ones(2) for name in ("in:out", "hid1:out", "hid2:out", "out:out")}
    >>> [name for name, _ in regkit.select_outputs(outputs, ["hid2:*", "hid[12]:out"])]
    ['hid1:out', 'hid2:out']
    >>> layers = [regkit.Layer(name) for name in outputs]
    >>> [name for name, _ in regkit.select_outputs(outputs, None, layers)]
    ['hid1:out', 'hid2:out']
    """
    if pattern is None and layers is not None:
        selected = _hidden_outputs(layers, outputs)
    else:
        globs = globs_of(pattern)
        _selecting("outputs", globs)
        selected = [(name, outputs[name]) for name in outputs if matches(name, globs)]
        if not selected:
            raise NoMatchError(nothing_matches(globs, "outputs", outputs))
    for name, output in selected:
        check_selectable(f"output {name!r}", output)
    return selected


def select_params(layers: Iterable[Any], pattern: Globs | None = None) -> list[tuple[str, Any]]:
    """Return the parameters of the layers whose full names match a glob, or any of several; or all of them.

    Parameters
    ----------
    layers : sequence of Layer
        Layers of a network; each has its parameters in ``params``. A parameter's full name is that of a mapping, or
        its attribute ``name``, or ``<output name>.param<i>`` where it has none, i being its position.
    pattern : str or sequence of str, optional
        Case-sensitive globs (`fnmatch.fnmatchcase`) on the full names. None selects all.

    Returns
    -------
    list of (str, variable)
        Each matching parameter once, also where layers share it, in the order of the layers.

    Raises
    ------
    NoMatchError
        If nothing matches.
    GraphError
        If two different parameters share a name that matches, or a selected one is not a real array.

    Examples
    --------
    >>> import numpy, regkit
    >>> layer = regkit.Layer("hid1:out", {"hid1.w": numpy.eye(2), "hid1.b": numpy.zeros(2)})
    >>> [name for name, _ in regkit.select_params([layer], "*.w")]
    ['hid1.w']
    >>> [name for name, _ in regkit.select_params([regkit.Layer("hid1:out", [numpy.eye(2)])])]
    ['hid1:out.param0']
    """
    globs = globs_of("*" if pattern is None else pattern)
    _selecting("parameters", globs)
    params: dict[str, Any] = {}
    named_once: set[int] = set()  # a parameter without a name that layers share goes by the first of them
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


def nothing_matches(globs: Sequence[str], what: str, names: Iterable[str]) -> str:
    """Return what is said of globs that match nothing of what there is."""
    return f"pattern {', '.join(map(repr, globs))} matches none of the {what}: {listed(names)}"


def _hidden_outputs(layers: Sequence[Any], outputs: Mapping[str, Any]) -> list[tuple[str, Any]]:
    names = list(dict.fromkeys(layer.output_name for layer in select_layers(layers, "hidden")))
    if not names:
        there = ", ".join(layer.output_name for layer in layers) or "none"
        raise NoMatchError(
            f"the network has no hidden layers; its layers: {there}. Pass a pattern to select among the outputs: "
            f"{', '.join(outputs) or 'none'}"
        )
    missing = [name for name in names if name not in outputs]
    if missing:
        raise NoMatchError(f"hidden output {missing[0]!r} is not among the outputs: {', '.join(outputs) or 'none'}")
    again: dict[str, list[str]] = {}
    for name in outputs:
        if first_name(name) != name:
            again.setdefault(first_name(name), []).append(name)
    selected = dict.fromkeys(name for main in names for name in (main, *again.get(main, ())))
    return [(name, outputs[name]) for name in selected]


def globs_of(pattern: Globs | None) -> tuple[str, ...]:
    """Return the globs of a pattern; OptionError if it is not one."""
    if isinstance(pattern, str):
        return (pattern,)
    if isinstance(pattern, (list, tuple)) and pattern and all(isinstance(glob, str) for glob in pattern):
        return tuple(pattern)
    raise OptionError(f"select got pattern={pattern!r}; accepted: a glob, or a list of one or more globs")


def matches(name: str, globs: Iterable[str]) -> bool:
    """Tell whether a name matches any of several globs.

    An output that comes again is numbered, as ``act@1``, and is matched by what matches ``act`` as well.
    """
    names = {name, first_name(name)}
    return any(fnmatchcase(one, glob) for glob in globs for one in names)


def first_name(name: str) -> str:
    """Return what an output was called the first time: ``act`` for ``act@1``, which a layer gave when it ran again."""
    first, _, times = name.rpartition("@")
    return first if first and times.isdigit() else name


@contextmanager
def watched_selections() -> Iterator[set[tuple[str, tuple[str, ...]]]]:
    """Yield a set that gets of each selection made meanwhile whether it is of outputs or parameters, and its globs."""
    seen: set[tuple[str, tuple[str, ...]]] = set()
    token = _watching.set(seen)
    try:
        yield seen
    finally:
        _watching.reset(token)


def _selecting(what: str, globs: tuple[str, ...]) -> None:
    seen = _watching.get()
    if seen is not None:
        seen.add((what, globs))


def unmatched_globs(globs: Sequence[str], there: Mapping[str, Sequence[str]]) -> str:
    """Return what is said of the globs of one pattern that match nothing in a graph; an empty string if all match.

    `there` are the names in the graph, of outputs, of parameters or of both. Where both may be meant, it is that of
    which more globs match something.
    """
    missing = {
        what: [glob for glob in globs if not any(matches(name, (glob,)) for name in names)]
        for what, names in there.items()
    }
    fewest = min(map(len, missing.values()))
    return (
        "; ".join(
            nothing_matches(unmatched, what, there[what])
            for what, unmatched in missing.items()
            if unmatched and len(unmatched) == fewest and (what == "outputs" or there[what])
        )
        if fewest
        else ""
    )
