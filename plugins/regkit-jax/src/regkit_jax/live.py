"""Live weights as arguments of compiled functions."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

import regkit

from . import traces


def with_live(regs: regkit.RegularizerSet, values: Any) -> regkit.RegularizerSet:
    """Return a copy of a set with given values in the place of live weights.

    Raises
    ------
    OptionError
        If the values are not a mapping, a name is not that of a member with a live weight, or its class does not
        accept the value.
    GraphError
        If a value would be a constant of a compiled function.
    """
    if not isinstance(values, Mapping):
        raise regkit.OptionError(f"Run got live={values!r}; accepted: a mapping, such as regs.live() gives")
    there = regs.live()
    result = copy.deepcopy(regs)
    for name, value in values.items():
        if name not in there:
            raise regkit.OptionError(
                f"Run got a live weight for {name!r}; members with a live weight: {', '.join(there) or 'none'}"
            )
        _check(name, value, type(result[name]))
        result[name].weight = jnp.asarray(value)
    return result


def _check(name: str, value: Any, cls: type) -> None:
    if isinstance(value, jax.core.Tracer):
        if value.ndim or not jnp.issubdtype(value.dtype, jnp.number):
            raise regkit.OptionError(
                f"live[{name!r}] is an array of shape {value.shape} and dtype {value.dtype}; accepted: a scalar"
            )
        return
    if traces.staged():
        raise regkit.GraphError(
            f"live[{name!r}] is {value!r}, a constant of a function that JAX compiles. Call regs.live() outside of the "
            "function, and pass what it gives as an argument"
        )
    number = value.item() if isinstance(value, jax.Array) and not value.ndim else value
    try:
        regkit.Live(number).limit(cls)
    except regkit.OptionError as error:
        raise regkit.OptionError(f"live[{name!r}]: {error}") from None
