"""The parts of JAX that are not public and used here. Each is checked, and an error names one that has changed.

Which of JAX's transformations run here, whether a value belongs to one that has ended, and whether it differs between
devices: JAX has no public way to ask.
"""

from __future__ import annotations

import itertools
from functools import cache
from importlib import import_module
from typing import Any

import jax
from jax.core import Tracer

import regkit

#: The versions of JAX that all of this was tested with.
TESTED = "0.10.0, 0.10.2 and 0.12.0.1"


def part(path: str) -> Any:
    """Return a part of JAX, such as ``jax.extend.core.find_top_trace``.

    Raises
    ------
    regkit.PluginLoadError
        If JAX does not have it.
    """
    module, _, name = path.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError):
        raise changed(f"{path} is not there") from None


def changed(problem: str) -> regkit.PluginLoadError:
    """Return the error for a JAX that differs from the tested ones."""
    return regkit.PluginLoadError(
        f"regkit_jax does not work with JAX {jax.__version__}: {problem}. It was tested with JAX {TESTED}. Install one "
        "of them, or a later regkit-jax"
    )


get_opaque_trace_state = part("jax.extend.core.get_opaque_trace_state")
find_top_trace = part("jax.extend.core.find_top_trace")
dce_jaxpr = part("jax.interpreters.partial_eval.dce_jaxpr")

OUTSIDE = "EvalTrace"
STAGED = "DynamicJaxprTrace"
BATCHED = "BatchTrace"

#: What records the body of a loop, in the words of JAX.
LOOPS = ("scan", "fori_loop", "while_body")


def running() -> list[Any]:
    """Return the traces that are open here, from the innermost on; the last stands for no transformation.

    Raises
    ------
    regkit.PluginLoadError
        If the traces of JAX differ from the tested ones.
    """
    _check()
    return _running()


def _running() -> list[Any]:
    traces = [find_top_trace(())]
    while getattr(traces[-1], "parent_trace", None) is not None:
        traces.append(traces[-1].parent_trace)
    return traces


def here() -> Any:
    """Return what stands for the transformations that run here, to compare."""
    return get_opaque_trace_state(convention="flax")


def batched() -> bool:
    """Return whether ``vmap`` runs here."""
    return any(_kind(trace) == BATCHED for trace in running())


def tracing() -> bool:
    """Return whether any transformation runs here."""
    return _kind(running()[0]) != OUTSIDE


def staged() -> bool:
    """Return whether operations are only recorded here, to run later and often, as within ``jit``."""
    return any(_kind(trace) == STAGED for trace in running())


def beyond(arrays: Any, others: Any) -> bool:
    """Return whether some arrays are of a transformation that none of others is of: one that differentiates these."""
    known = [other._trace for other in others if isinstance(other, Tracer)]
    return any(isinstance(one, Tracer) and not any(one._trace is trace for trace in known) for one in arrays)


def repeats(value: Any) -> bool:
    """Return whether this is within the body of a loop of JAX, such as ``scan``, that closes over a tracer.

    It then has the same value at each step.
    """
    for trace in running():
        if trace is value._trace:
            return False
        if _kind(trace) == STAGED and _transformation(trace) in LOOPS:
            return True
    return False


def recording(since: Any) -> list[str]:
    """Return what records operations here, in the words of JAX, and began after a trace did, from the innermost on."""
    traces = list(itertools.takewhile(lambda trace: trace is not since, running()))
    return [_transformation(trace) for trace in traces if _kind(trace) == STAGED]


def _transformation(trace: Any) -> str:
    """Return what records operations, in the words of JAX."""
    try:
        return str(trace.frame.debug_info.traced_for)
    except AttributeError:
        raise changed("the trace of a compiled function has no frame.debug_info.traced_for") from None


def ended(value: Any) -> bool:
    """Return whether a value belongs to a transformation that is over, so that nothing can be computed from it."""
    trace = getattr(value, "_trace", None)
    if not isinstance(value, Tracer) or trace is None:
        return False
    traces = running()
    return _kind(traces[-1]) == OUTSIDE and not any(trace is one for one in traces)


def varying(array: Any) -> Any:
    """Return the axes of devices along which an array may differ; none within a shard_map that does not check it.

    Raises
    ------
    regkit.PluginLoadError
        If the types of JAX's arrays differ from those of the tested versions.
    """
    try:
        return jax.typeof(array).manual_axis_type.varying
    except AttributeError:
        raise changed("the type of an array has no manual_axis_type.varying") from None


def _kind(trace: Any) -> str:
    return type(trace).__name__


@cache
def _check() -> None:
    """Raise unless a function that JAX only records is recognized, and so are the values of it."""
    seen: list[tuple[list[str], bool]] = []

    def look(x: Any) -> Any:
        traces = _running()
        seen.append(([_kind(trace) for trace in traces], getattr(x, "_trace", None) is traces[0]))
        return x

    jax.eval_shape(look, jax.ShapeDtypeStruct((), "float32"))  # type: ignore[no-untyped-call]  # of JAX
    ((kinds, has_trace),) = seen
    if (kinds[0], kinds[-1]) != (STAGED, OUTSIDE):
        raise changed(
            f"the traces of a compiled function are {', '.join(kinds)}; known are those that begin with {STAGED} and "
            f"end with {OUTSIDE}"
        )
    if not has_trace:
        raise changed("a tracer does not have its trace in _trace")
    recorded: list[str] = []

    def body(x: Any, _: Any) -> tuple[Any, None]:
        recorded.append(_transformation(_running()[0]))
        return x, None

    jax.eval_shape(lambda x: jax.lax.scan(body, x, None, 1), jax.ShapeDtypeStruct((), "float32"))
    if recorded[0] not in LOOPS:
        raise changed(f"the body of a scan is recorded for {recorded[0]!r}; known are {', '.join(LOOPS)}")
