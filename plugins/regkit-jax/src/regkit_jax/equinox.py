"""Modules of Equinox, watched while they run. Needs equinox, which nothing else here does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax

import regkit

try:
    import equinox
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"regkit_jax.equinox needs Equinox ({error}): pip install equinox", name=error.name
    ) from error

from ._objects import check_model, watching_objects
from ._params import layers_of
from ._values import by_name
from ._watching import Library

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from typing_extensions import Unpack

    from ._run import Options, Run

__all__ = ["watch"]

_EQUINOX = Library(
    "Equinox",
    "Within eqx.filter_jit, eqx.filter_vmap, eqx.filter_checkpoint and their kind Equinox calls copies of modules",
    (),
)


def watch(
    model: equinox.Module, regs: regkit.RegularizerSet, **options: Unpack[Options]
) -> AbstractContextManager[Run]:
    """Tap the outputs of a model's modules while they are called: `regkit_jax.nnx.watch` for modules of Equinox.

    Open it inside of the function that ``jax.vmap`` calls for each example: with ``axis_name``, penalties are those of
    all examples. A parameter of ``model.blocks[0].mlp`` is ``blocks.0.mlp.weight``.

    Parameters
    ----------
    model : equinox.Module
    regs : regkit.RegularizerSet
    **options
        As for `regkit_jax.nnx.watch`, and so what is returned and raised.

    Examples
    --------
    >>> import equinox as eqx, jax, jax.numpy as jnp, regkit, regkit_jax
    >>> regs = regkit.build(hidden_kl=dict(weight=0.1, pattern="layers.1"), weight_l2=0.1)
    >>> @eqx.filter_grad
    ... def gradients(model, x):
    ...     def loss(x):
    ...         with regkit_jax.equinox.watch(model, regs, axis_name="batch") as run:
    ...             return (model(x) ** 2).mean() + run.loss()
    ...     return jax.vmap(loss, axis_name="batch")(x).mean()
    >>> keys = jax.random.split(jax.random.key(0))
    >>> layers = [eqx.nn.Linear(3, 4, key=keys[0]), eqx.nn.Lambda(jax.nn.sigmoid), eqx.nn.Linear(4, 2, key=keys[1])]
    >>> gradients(eqx.nn.Sequential(layers), jnp.ones((5, 3))).layers[0].weight.shape
    (4, 3)
    """
    check_model(model, equinox.Module, _EQUINOX)
    return watching_objects(_EQUINOX, by_name("modules", _modules("", model)), regs, layers_of(model), **options)


def _modules(path: str, module: equinox.Module) -> Iterator[tuple[str, equinox.Module]]:
    """Yield a module and those within, each with its path."""
    yield path, module
    inner = jax.tree_util.tree_flatten_with_path(
        module, is_leaf=lambda node: node is not module and isinstance(node, equinox.Module)
    )[0]
    for keys, node in inner:
        if isinstance(node, equinox.Module):
            name = jax.tree_util.keystr(keys, simple=True, separator=".")
            yield from _modules(f"{path}.{name}" if path else name, node)
