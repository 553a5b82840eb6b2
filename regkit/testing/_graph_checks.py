"""The promises of a change of the graph, on every library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._regularizer import implemented
from .._weights import Live
from ..errors import NoMatchError
from ._checks import EVERYWHERE, GRAPHS, check
from ._subject import ONE_LAYER, Changes, NotApplicable, Subject


@check("pattern_selects_what_the_class_states", on=EVERYWHERE)
def changed_output_keeps_name_and_type(subject: Subject, library: Any) -> None:
    """A changed output keeps its name, its dtype and its number of dimensions, in float32 and float64."""
    subject.needs_change()
    for dtype in ("float64", "float32"):
        with library.float_type("float64" if dtype == "float32" else "float32"):
            changes = subject.changed(library, subject.make(), dtype).needed()
        for name, (before, _, after, _) in changes.of.items():
            if (after.dtype, after.ndim) != (before.dtype, before.ndim):
                raise AssertionError(
                    f"output {name!r} of {before.dtype} and {before.ndim} axes became {after.dtype} and {after.ndim}. "
                    "regkit.graph.cast gives numbers the dtype of an expression"
                )


@check("pattern_selects_what_the_class_states", on=EVERYWHERE)
def original_stays_beside_the_changed_output(subject: Subject, library: Any) -> None:
    """The original of a changed output stays beside it, untouched, under another name."""
    subject.needs_change()
    changes = subject.changed(library, subject.make()).needed()
    for name, (original, value, _, added) in changes.of.items():
        if library.changes_in_place:
            kept = any(np.array_equal(other, value) for other in added)
        else:
            kept = any(other is original for other in added)
        if not kept:
            raise AssertionError(
                f"output {name!r} was changed, and none of the {len(added)} outputs added beside it is what it was"
            )


@check("pattern_selects_what_the_class_states", on=EVERYWHERE)
def only_matched_outputs_change(subject: Subject, library: Any) -> None:
    """A pattern that matches one layer leaves the outputs of the others as they are."""
    subject.needs_change()
    subject.needs("pattern")
    changes = subject.changed(library, subject.make(pattern=ONE_LAYER)).needed()
    others = [name for name in changes.of if not name.startswith("hid2")]
    if others:
        raise AssertionError(f"with pattern={ONE_LAYER!r} it changed {', '.join(others)} as well")


@check("changed_output_keeps_name_and_type", on=EVERYWHERE)
def change_is_deterministic(subject: Subject, library: Any) -> None:
    """Two regularizers with the same options, and the same seed if they take one, make the same changes."""
    subject.needs_change()
    first, second = (subject.changed(library, subject.make()).needed().computed() for _ in range(2))
    if not _equal(first, second):
        raise AssertionError("two regularizers with the same options made different outputs of the same network")


@check("change_is_deterministic", on=EVERYWHERE)
def random_streams_are_not_shared(subject: Subject, library: Any) -> None:
    """Regularizers with different seeds draw different numbers, and none changes what another draws."""
    subject.needs_change()
    if not subject.takes("seed"):
        raise NotApplicable("it takes no seed, and what it does to the outputs is the same every time")
    first = subject.make(seed=1)
    alone = subject.changed(library, first).needed().computed()
    other = subject.changed(library, subject.make(seed=2)).needed().computed()
    if _equal(alone, other):
        raise AssertionError("seed=1 and seed=2 made the same outputs, so the two draw from the same stream")
    between = subject.changed(library, subject.make(seed=1)).needed().computed()
    if not _equal(alone, between):
        raise AssertionError("seed=1 made other outputs after another regularizer had drawn, so the two share a stream")
    values = subject.network.values()
    inputs, layers, outputs = subject.graph(library, values)
    same = dict.fromkeys(("hid1:out", "hid2:out"), outputs["hid1:out"])
    try:
        taken = implemented(subject.cls)["modify_graph"]
        first.modify_graph(**{name: value for name, value in (("outputs", same), ("layers", layers)) if name in taken})
    except NoMatchError:
        return
    if all(same[name] is not outputs["hid1:out"] for name in ("hid1:out", "hid2:out")):
        one, other = (library.values(inputs, same[name], values) for name in ("hid1:out", "hid2:out"))
        if np.array_equal(one, other):
            raise AssertionError("two outputs that are the same became the same, so both draw from the same stream")


@check("change_is_deterministic", on=EVERYWHERE)
def change_follows_a_live_weight(subject: Subject, library: Any) -> None:
    """A function that is compiled with a Live, or a shared scalar, as weight follows its value."""
    subject.needs_change()
    subject.needs("weight")
    live, shared = Live(0.25), library.shared(np.asarray(0.25))
    kinds = {"Live": (live, live.set)}
    if shared is not None:
        kinds["shared"] = shared, lambda value: shared.set_value(np.asarray(value))
    values = subject.network.values()
    expected = library.compiled(_changed_outputs(subject, library, subject.make(weight=0.75)), values)(values)
    for kind, (weight, set_value) in kinds.items():
        function = library.compiled(_changed_outputs(subject, library, subject.make(weight=weight)), values)
        set_value(0.75)
        if not _near(function(values), expected):
            raise AssertionError(
                f"a {kind} weight went from 0.25 to 0.75, and the changed outputs are not those of the weight 0.75. "
                "regkit.graph.weight(self, like) is the weight in a hook"
            )


@check("change_is_deterministic", on=GRAPHS, costly=True)
def change_is_the_same_in_the_default_mode(subject: Subject, library: Any) -> None:
    """Changed outputs are the same in the library's default mode, and in Python without rewrites."""
    subject.needs_change()
    values = subject.network.values()
    build = _changed_outputs(subject, library)
    plain, default = (library.compiled(build, values, default_mode=mode)(values) for mode in (False, True))
    if not _near(plain, default):
        raise AssertionError(f"the outputs differ in {library.name}'s default mode")


def _changed_outputs(subject: Subject, library: Any, regularizer: Any = None) -> Callable[[dict[str, Any]], list[Any]]:
    """Return a function that builds the network, changed by a given regularizer or by a new one each time."""

    def build(inputs: dict[str, Any]) -> list[Any]:
        changes = Changes(subject.set_of(subject.make() if regularizer is None else regularizer))
        subject.network.connect(inputs, library.tensor_module, changes)
        return [after for _, _, after, _ in changes.needed().of.values()]

    return build


def _near(first: list[Any], second: list[Any]) -> bool:
    return all(np.allclose(one, other, rtol=1e-6, atol=1e-9) for one, other in zip(first, second))


def _equal(first: list[Any], second: list[Any]) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(first, second))
