"""Which of JAX's transformations are running here, and whether a value belongs to one that has ended.

JAX has no public way to ask. What is used of it stands here alone, and is looked at once, before it is relied on.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import jax
from jax.core import Tracer

from .versions import changed, part

find_top_trace = part("jax.extend.core.find_top_trace")

OUTSIDE = "EvalTrace"
STAGED = "DynamicJaxprTrace"


def running() -> list[Any]:
    """Return the traces that are open here, from the innermost on; the last stands for no transformation.

    Raises
    ------
    regkit.PluginLoadError
        If JAX's traces are not such as are known here.
    """
    _check()
    return _running()


def _running() -> list[Any]:
    traces = [find_top_trace(())]
    while getattr(traces[-1], "parent_trace", None) is not None:
        traces.append(traces[-1].parent_trace)
    return traces


def tracing() -> bool:
    """Tell whether any transformation runs here."""
    return _kind(running()[0]) != OUTSIDE


def staged() -> bool:
    """Tell whether what is computed here is only written down, to be run later and often, as within ``jit``."""
    return any(_kind(trace) == STAGED for trace in running())


def ended(value: Any) -> bool:
    """Tell whether a value belongs to a transformation that is over, so that nothing can be computed from it."""
    trace = getattr(value, "_trace", None)
    if not isinstance(value, Tracer) or trace is None:
        return False
    traces = running()
    return _kind(traces[-1]) == OUTSIDE and not any(trace is one for one in traces)


def _kind(trace: Any) -> str:
    return type(trace).__name__


@cache
def _check() -> None:
    """Raise if a function that JAX only writes down is not seen to be that, or not which values are of it."""
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
        raise changed("a tracer does not tell in _trace which trace it is of")
