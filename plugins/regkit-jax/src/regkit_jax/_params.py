"""Parameters in any pytree: their names, slices of stacked ones, and what is left of them after an optimizer's step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

import regkit
from regkit import hosts

from . import _internals
from ._values import (
    as_array,
    by_name,
    check_names,
    checked_live,
    checked_stacked,
    holds_array,
    is_floats,
    is_parameter,
    slices,
    with_arrays,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["after_step", "layers_of", "optax"]


def layers_of(params: Any) -> list[regkit.Layer]:
    """Return layers of the arrays of floats in a pytree: for `Run`, and to see the names that patterns are for.

    A name is the path: ``params["blocks"][0].kernel`` is ``blocks.0.kernel``, of the layer ``blocks.0``. Other leaves
    are left out, and so are variables of NNX that are no ``nnx.Param``, such as statistics.

    Parameters
    ----------
    params : pytree
        Parameters of Linen, of Equinox, a state of Flax NNX, or nested dicts.

    Returns
    -------
    list of regkit.Layer
        Each is hidden: a pytree does not define which layer is the first or the last.

    Raises
    ------
    regkit.GraphError
        If two leaves have one name, as those of ``{"a.b": w, "a": {"b": v}}``.

    Examples
    --------
    >>> import jax.numpy as jnp, regkit_jax
    >>> layers = regkit_jax.layers_of({"hid": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}})
    >>> layers[0].output_name, sorted(layers[0].param_names)
    ('hid', ['hid.bias', 'hid.kernel'])
    """
    layers: dict[str, dict[str, Any]] = {}
    for name, leaf in _named_leaves(params)[0]:
        if is_parameter(leaf):
            layers.setdefault(name.rpartition(".")[0], {})[name] = as_array(leaf)
    return [regkit.Layer(name, arrays, role="hidden") for name, arrays in layers.items()]


def after_step(
    regs: regkit.RegularizerSet,
    params: Any,
    rate: Any,
    layers: Sequence[Any] | None = None,
    *,
    divisors: Any = None,
    live: Mapping[str, Any] | None = None,
    stacked: Mapping[str, int] | None = None,
) -> Any:
    r"""Return parameters after an optimizer's step with the changes of the regularizers, in order.

    The step of a regularizer is ``rate`` times its weight. A pure function, also within ``jit``. Call it once a step,
    with all parameters.

    Parameters
    ----------
    regs : regkit.RegularizerSet
    params : pytree
        The parameters after the step. Names are those of `layers_of`.
    rate : number, scalar array, or mapping of str to those
        The step size of the optimizer, or those of parameters by their names: one that is not in it, such as a frozen
        one, counts in the means of penalties and stays. The closed form of a penalty holds where a step is ``rate``
        times the gradient: for SGD with momentum that is ``rate / (1 - momentum)``.
    layers : sequence of regkit.Layer, optional
        The layers of the network, ``layers_of(params)`` if not given.
    divisors : pytree, optional
        By what the optimizer divides the gradient of each element, in the form of `params`: for Adam
        :math:`\sqrt{\hat v} + \epsilon`, with which a proximal step has the zeros of the closed form there too. Of the
        state of `optax.adam` it is
        ``jax.tree.map(lambda v: jnp.sqrt(v / (1 - b2**state[0].count)) + eps, state[0].nu)``.
    live : mapping of str to number or scalar array, optional
        As for `Run`.
    stacked : mapping of str to int, optional
        As for `Run`.

    Returns
    -------
    pytree
        As `params`, which is left as it is.

    Raises
    ------
    regkit.NoMatchError
        If a pattern matches no parameter.
    regkit.OptionError
        If an argument is not accepted, or `divisors` has an array that is none of `params`.
    regkit.GraphError
        If there is no array of floats, two leaves have one name, a hook changes a dtype or a number of axes, or a live
        weight is read while JAX traces.

    Examples
    --------
    >>> import jax.numpy as jnp, regkit, regkit_jax
    >>> regs = regkit.build(weight_l1=dict(weight=0.5, by="proximal"))
    >>> print(regkit_jax.after_step(regs, {"hid": {"w": jnp.array([[0.75, -0.25]])}}, rate=1.0)["hid"]["w"])
    [[0.25 0.  ]]
    """
    hosts.members(regs, "after_step")
    if live is not None:
        regs = hosts.with_weights(regs, checked_live(regs, live, "after_step"))
    stacked = checked_stacked(stacked, "after_step")
    leaves, structure = _named_leaves(params)
    check_names(stacked, [name for name, _ in leaves])
    values, parts = _floats([(name, leaf) for name, leaf in leaves if is_parameter(leaf)], stacked)
    if not values:
        raise regkit.GraphError(
            f"after_step got no array of floats among the {len(leaves)} leaves of params; accepted: a pytree of arrays"
        )
    layers = layers_of(params) if layers is None else list(layers)
    if isinstance(rate, Mapping):
        rate = {each: one for name, one in rate.items() for each in (parts[name][0] if name in parts else [name])}
    if divisors is not None:
        divisors, _ = _floats(_named_leaves(divisors)[0], stacked)
    changed = regs.after_step(values, rate, [with_arrays(layer, stacked) for layer in layers], divisors=divisors)
    left = []
    for name, leaf in leaves:
        if name in parts:
            names, axis = parts[name]
            one = changed[name] if names == [name] else jnp.stack([changed[each] for each in names], axis)
            leaf = jax.tree.map(lambda _, one=one: one, leaf)  # an array, or an object of Flax that holds it
        left.append(leaf)
    return jax.tree.unflatten(structure, left)


def _floats(
    leaves: Iterable[tuple[str, Any]], stacked: Mapping[str, int]
) -> tuple[dict[str, Any], dict[str, tuple[list[str], int]]]:
    """Return arrays of floats by their names, those that are stacked taken apart.

    And by the name of each leaf, the names of its parts and their axis.
    """
    values: dict[str, Any] = {}
    parts: dict[str, tuple[list[str], int]] = {}
    for name, leaf in leaves:
        array = as_array(leaf)
        if is_floats(array):
            sliced, axis = slices(name, array, stacked)
            values.update(sliced)
            parts[name] = (list(sliced), axis)
    return values, parts


class _Count(NamedTuple):
    count: Any


def optax(regs: regkit.RegularizerSet, rate: Any) -> Any:
    """Return `after_step` as the last transformation of an ``optax.chain``.

    Parameters
    ----------
    regs : regkit.RegularizerSet
    rate : number or callable
        The step size of the chain, or its schedule. It holds for chains whose step is the rate times the gradient:
        optax does not show the state of one transformation to another, so of `optax.sgd` with momentum pass the rate
        divided by ``1 - momentum``. For `optax.adam` there is no right number: leave this out, and call `after_step`
        with ``divisors`` after ``optax.apply_updates``. Decays and projections are right under any optimizer.

    Returns
    -------
    optax.GradientTransformation
        Its ``update`` needs the parameters. It counts steps, which weights that are schedules follow.

    Raises
    ------
    regkit.OptionError
        If no regularizer acts after a step; by ``update``, if it gets no parameters.
    regkit.GraphError
        By ``update``, as `after_step`, and if a weight would be a constant of a compiled step: a `regkit.Live`, or a
        `regkit.schedules.Target`. Optax has no argument for it, `after_step` has.

    Examples
    --------
    >>> import jax.numpy as jnp, optax, regkit, regkit_jax
    >>> regs = regkit.build(weight_l1=dict(weight=0.5, by="proximal"))
    >>> chain = optax.chain(optax.sgd(1.0), regkit_jax.optax(regs, 1.0))
    >>> params = {"w": jnp.array([[1.0, 0.5]])}
    >>> updates, state = chain.update({"w": jnp.array([[0.25, 0.25]])}, chain.init(params), params)
    >>> print(optax.apply_updates(params, updates)["w"])
    [[0.25 0.  ]]
    """
    from optax import GradientTransformation

    members = [member for member in hosts.members(regs, "optax") if member.changes_params]
    if not members:
        raise regkit.OptionError(
            f"optax got {regs!r}, of which nothing acts after a step. A penalty belongs to the loss: "
            "regkit_jax.Run. One that has by= acts after the step with by='proximal' or by='projection'"
        )
    for member in members:
        member.memory.stepped = True  # losses may come before the first step
    regs = hosts.subset(regs, [member.name for member in members])

    def init(params: Any) -> _Count:
        return _Count(jnp.zeros((), jnp.int32))

    def update(updates: Any, state: _Count, params: Any = None) -> tuple[Any, _Count]:
        if params is None:
            raise regkit.OptionError("regkit_jax.optax needs the parameters: chain.update(gradients, state, params)")
        stepped = jax.tree.map(jnp.add, params, updates)
        now = rate(state.count) if callable(rate) else rate
        live = regs.live(state.count)
        for name, weight in live.items():
            if _internals.staged() and not isinstance(weight, jax.core.Tracer):
                raise regkit.GraphError(
                    f"optax: the weight of {name!r} would be a constant of the compiled step, for which optax has no "
                    "argument. Leave regkit_jax.optax out, and change the parameters after optax.apply_updates: "
                    "regkit_jax.after_step(regs, params, rate, live=live), with regs.live() as an argument of the step"
                )
        changed = after_step(regs, stepped, now, live=live or None)
        return jax.tree.map(jnp.subtract, changed, params), _Count(state.count + 1)

    return GradientTransformation(init, update)


def _named_leaves(params: Any) -> tuple[list[tuple[str, Any]], Any]:
    """Return the leaves of a pytree by their paths, those objects of Flax that hold an array among them."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(params, is_leaf=holds_array)
    named = [(jax.tree_util.keystr(path, simple=True, separator="."), leaf) for path, leaf in leaves]
    return list(by_name("leaves", named).items()), structure
