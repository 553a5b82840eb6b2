"""The whole batch, where a device or a call of ``vmap`` has a part of it: axes that JAX knows by a name.

A penalty of the whole batch is computed on each device, of outputs that are gathered. The transpose of a gather sums
over devices, so each device's gradient has its part of the batch as often as there are devices, and the mean of the
devices' gradients is that of the whole batch.
"""

from __future__ import annotations

from typing import Any

import jax

import regkit

from ._internals import varying


def checked_axes(axis_name: Any, caller: str) -> tuple[str, ...]:
    """Return the names of the axes over which a batch is split, if these are some, and are here."""
    names = axis_name if isinstance(axis_name, tuple) else () if axis_name is None else (axis_name,)
    for name in names:
        if not isinstance(name, str):
            raise regkit.OptionError(
                f"{caller} got axis_name={axis_name!r}; accepted: the name of an axis of shard_map, pmap or vmap, a "
                "tuple of some, or None"
            )
        try:
            jax.lax.axis_size(name)
        except NameError:
            raise regkit.GraphError(
                f"{caller} got axis_name={axis_name!r}, and no axis {name!r} is here. It is that of shard_map, pmap or "
                "vmap: make the Run inside of the function that they call. Under jit with shardings the batch is whole "
                "without it"
            ) from None
    return names


def folded(key: Any, axes: tuple[str, ...]) -> Any:
    """Return the key of this place along the axes."""
    for axis in axes if key is not None else ():
        key = jax.random.fold_in(key, jax.lax.axis_index(axis))
    return key


def whole(name: str, output: jax.Array, axes: tuple[str, ...]) -> jax.Array:
    """Return an output of the whole batch.

    Devices have parts of the batch along its first axis; a call of ``vmap`` has one example, which has no such axis.

    Raises
    ------
    regkit.GraphError
        If the output has no axis of examples beside one of units, or is known to be the same on every device.
    """
    on_devices = [axis for axis in axes if axis in jax.sharding.get_abstract_mesh().manual_axes]
    if output.ndim + len(axes) - len(on_devices) < 2:
        raise regkit.GraphError(
            f"axis_name: output {name!r} has shape {output.shape}, which is not that of examples and their units. "
            f"Tap it with an axis for each, such as {name}[:, None], or leave it out"
        )
    for axis in reversed(axes):
        if axis in on_devices and axis in varying(jax.lax.axis_index(axis)) and axis not in varying(output):
            raise regkit.GraphError(
                f"axis_name: output {name!r} does not depend on the device along {axis!r}, so it is no part of a batch "
                "that is split over it. Split the batch, or leave axis_name out"
            )
        output = jax.lax.all_gather(output, axis, tiled=axis in on_devices)
    return output
