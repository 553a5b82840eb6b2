"""Names, arrays, layers, keys and live weights as a run accepts them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import regkit
from regkit import hosts

from . import _internals
from ._scope import A_KEY


def numbered(name: str, times: int) -> str:
    return f"{name}@{times}" if times else name


def by_name(what: str, named: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return values by their names.

    Raises
    ------
    regkit.GraphError
        If two have one name: a path of attributes, keys and numbers is joined by dots, and a key may have one itself.
    """
    values: dict[str, Any] = {}
    for name, value in named:
        if name in values:
            raise regkit.GraphError(
                f"two {what} are called {name!r}, since a key of a dict has a dot in it. Rename that key: patterns and "
                "values go by the name"
            )
        values[name] = value
    return values


def as_output(name: str, value: Any) -> jax.Array:
    """Return an output as a JAX array of floats.

    Raises
    ------
    GraphError
        If it is not one.
    """
    array = as_array(value)
    if array is None:
        shown = "None" if value is None else f"of type {type(value).__module__}.{type(value).__qualname__}"
        raise regkit.GraphError(f"output {name!r} is {shown}; accepted: a JAX array of floats")
    if not is_floats(array):
        raise regkit.GraphError(
            f"output {name!r} is of {array.dtype}; accepted: a JAX array of floats. Tap one that is computed from it, "
            f"or leave it out of a pattern with the glob '!{name}'"
        )
    return array


def is_floats(value: Any) -> bool:
    """Return whether a value is a JAX array of floats."""
    return isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jnp.floating)


def holds_array(value: Any) -> bool:
    """Return whether a value is an object of Flax that holds an array: a parameter of NNX, or a box of Linen."""
    held = hasattr(value, "__jax_array__") or hasattr(value, "replace_boxed")
    return held and not isinstance(value, jax.Array)


def is_parameter(leaf: Any) -> bool:
    """Return whether a leaf of a pytree is floats, and not a variable of NNX of another kind, such as a statistic."""
    nnx = sys.modules.get("flax.nnx")
    other = nnx is not None and isinstance(leaf, nnx.Variable) and not isinstance(leaf, nnx.Param)
    return not other and is_floats(as_array(leaf))


def as_array(value: Any) -> jax.Array | None:
    """Return a value, an array of NumPy, or an object that holds an array (a parameter of Flax), as a JAX array.

    None if it is nothing of these.
    """
    if hasattr(value, "replace_boxed"):
        (value,) = jax.tree.leaves(value)  # its method to take an array out may reshard it
    if isinstance(value, jax.Array):
        return value
    if hasattr(value, "__jax_array__") or isinstance(value, (np.ndarray, np.generic)):
        return jnp.asarray(value)
    return None


def with_arrays(layer: Any, stacked: Mapping[str, int]) -> Any:
    """Return a layer whose parameters are arrays, those that are stacked taken apart: itself, unless some differ."""
    params = hosts.named_params(layer)
    if not stacked and not any(holds_array(param) for _, param in params):
        return layer
    arrays: dict[str, Any] = {}
    for name, param in params:
        array = as_array(param)
        arrays.update({name: param} if array is None else slices(name, array, stacked)[0])
    return regkit.Layer(layer.output_name, arrays, role=getattr(layer, "role", None))


def checked_stacked(stacked: Any, caller: str) -> Mapping[str, int]:
    """Return the axes of stacked parameters by globs, if they are some."""
    if stacked is None:
        return {}
    if not isinstance(stacked, Mapping) or not all(
        isinstance(glob, str) and type(axis) is int for glob, axis in stacked.items()
    ):
        raise regkit.OptionError(
            f"{caller} got stacked={stacked!r}; accepted: a mapping of globs to axes, such as {{'blocks.*': 0}}"
        )
    return stacked


def check_names(stacked: Mapping[str, int], names: Sequence[str]) -> None:
    """Raise for a glob of stacked parameters that matches none: they would count as one parameter each."""
    for glob in stacked:
        if not any(hosts.matches(name, [glob]) for name in names):
            raise regkit.NoMatchError(f"stacked: {glob!r} matches none of the parameters: {hosts.listed(names)}")


def slices(name: str, array: Any, stacked: Mapping[str, int]) -> tuple[dict[str, Any], int]:
    """Return the slices of a parameter by their names, and their axis; the parameter itself if it is not stacked."""
    axis = next((axis for glob, axis in stacked.items() if hosts.matches(name, [glob])), None)
    if axis is None:
        return {name: array}, 0
    if not -array.ndim <= axis < array.ndim:
        raise regkit.GraphError(f"stacked has axis {axis} for {name!r}, which has {array.ndim} axes")
    parts = jnp.moveaxis(array, axis, 0)
    return {numbered(name, i): parts[i] for i in range(parts.shape[0])}, axis


def checked_live(regs: regkit.RegularizerSet, live: Any, caller: str) -> Mapping[str, Any]:
    """Return the values for live weights, if they are some; their members check them where they are used."""
    if not isinstance(live, Mapping):
        raise regkit.OptionError(f"{caller} got live={live!r}; accepted: a mapping, such as regs.live() returns")
    weights = {member.name: getattr(member.regularizer, "weight", None) for member in hosts.members(regs, caller)}
    names = [name for name, weight in weights.items() if isinstance(weight, regkit.Live)]
    for name, value in live.items():
        if name not in names:
            raise regkit.OptionError(
                f"{caller} got a live weight for {name!r}; members with a live weight: {', '.join(names) or 'none'}"
            )
        if _internals.staged() and not isinstance(value, jax.core.Tracer):
            raise regkit.GraphError(
                f"live[{name!r}] is {value!r}, a constant of a function that JAX compiles. Call regs.live() outside of "
                "the function, and pass its result as an argument. Beside a schedule, pass the value of this one, and "
                f"give live={{**regs.live(step), {name!r}: value}}"
            )
    return live


def checked_key(key: Any) -> Any:
    if key is None:
        return None
    array = as_array(key)
    if array is not None:
        typed = jnp.issubdtype(array.dtype, jax.dtypes.prng_key)
        if (typed and array.ndim == 0) or (not typed and array.dtype == jnp.uint32 and array.ndim == 1):
            return array
    shown = repr(key) if array is None else f"an array of {array.dtype} and shape {array.shape}"
    raise regkit.OptionError(f"Run got key={shown}; accepted: {A_KEY}, or None where nothing is to be changed")
