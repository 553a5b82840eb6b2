"""Modules of Equinox, watched while they run. Needs equinox, which nothing else here does."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import jax

import regkit

try:
    import equinox
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"regkit_jax.equinox needs Equinox ({error}): pip install equinox", name=error.name
    ) from error

from ._params import layers_of
from ._values import by_name
from ._watching import Library, watching

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ._run import Run

__all__ = ["watch"]

_EQUINOX = Library(
    "Equinox",
    equinox.Module,
    "Within eqx.filter_jit, eqx.filter_vmap, eqx.filter_checkpoint and their kind Equinox calls copies of modules",
)


@contextmanager
def watch(
    model: equinox.Module,
    regs: regkit.RegularizerSet,
    key: Any = None,
    live: Mapping[str, Any] | None = None,
    again: Callable[[Run], Any] | None = None,
    stacked: Mapping[str, int] | None = None,
    axis_name: str | tuple[str, ...] | None = None,
) -> Iterator[Run]:
    """Tap the outputs of a model's modules while they are called, by their paths.

    Open it inside of the function that is differentiated or compiled, and of the one that ``jax.vmap`` calls for each
    example: with ``axis_name``, penalties are those of all examples. The output of ``model.blocks[0].mlp`` is
    ``blocks.0.mlp``, its parameter ``blocks.0.mlp.weight``; of a module that is called again, ``blocks.0.mlp@1``. The
    model itself has no path.

    Parameters
    ----------
    model : equinox.Module
    regs : regkit.RegularizerSet
        What `regkit.build` returns. Those that select outputs need a pattern.
    key, live, again, stacked, axis_name
        As for `regkit_jax.Run`.

    Yields
    ------
    regkit_jax.Run
        Its `loss` may also be called after the block; `tap` shows it values that are no module's output.

    Raises
    ------
    regkit.OptionError
        If the model is not a module of Equinox, or a regularizer has no pattern.
    regkit.GraphError
        If the model, or a module of it, is watched already; at the end of the block, if a regularizer is for outputs,
        no module was called and nothing tapped; there, and by `loss`, if a module that a pattern matches was not
        called; by `loss`, if one was called within ``jax.vmap`` or another transformation, which has ended.
    regkit.NoMatchError
        At the end of the block, if there is a key and a regularizer that changes outputs found none to change.

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
    _EQUINOX.check(model)
    modules = by_name("modules", _modules("", model))
    with watching(_EQUINOX, model, modules, layers_of(model), regs, key, live, again, stacked, axis_name) as run:
        yield run


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
