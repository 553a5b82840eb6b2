"""Which of JAX's transformations are running here, and whether a value belongs to one that has ended.

JAX has no public way to ask. What is used of it stands here alone, and is missed without harm where it is not there.
"""

from __future__ import annotations

from typing import Any

from jax.core import Tracer
from jax.extend.core import find_top_trace

OUTSIDE = "EvalTrace"
STAGED = "DynamicJaxprTrace"


def running() -> list[Any]:
    """Return the traces that are open here, from the innermost on; the last stands for no transformation."""
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
