"""Modules of Flax Linen, watched while they are applied. Needs flax, as ``regkit_jax.nnx`` does."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import jax

import regkit

try:
    from flax import linen
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"regkit_jax.linen needs Flax ({error}): pip install flax", name=error.name) from error

from . import _internals
from ._params import layers_of
from ._watching import Library, Watched, watching

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from typing_extensions import Unpack

    from ._run import Options, Run

__all__ = ["watch"]

#: The watches that are open here.
_open: ContextVar[tuple[_Applied, ...]] = ContextVar("regkit_jax_linen_watches", default=())

_LINEN = Library("Flax Linen", "Within nn.jit Linen does not call again what was compiled", ("jit",))


@contextmanager
def watch(params: Any, regs: regkit.RegularizerSet, **options: Unpack[Options]) -> Iterator[Run]:
    """Tap the outputs of modules while a model is applied: `regkit_jax.nnx.watch` for Flax Linen.

    Open it with the parameters that the differentiated function gets. The output of ``self.block.mlp`` is
    ``block.mlp``, the parameter ``block.mlp.kernel``.

    Parameters
    ----------
    params : pytree
        The parameters that the model is applied with: ``variables["params"]``.
    regs : regkit.RegularizerSet
    **options
        As for `regkit_jax.nnx.watch`, and so what is raised. Modules that have no parameters are known when they are
        called, and so is whether a pattern matches one. Within ``nn.scan``, ``nn.remat`` and ``nn.jit`` Linen calls
        modules in a transformation, which has ended when `loss` is called.

    Yields
    ------
    regkit_jax.Run

    Raises
    ------
    regkit.OptionError
        Also if it gets ``variables``, of which the parameters are a part.
    regkit.GraphError
        Also if models with other parameters are applied beside the watched one, and a pattern matches their modules.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, regkit, regkit_jax
    >>> from flax import linen as nn
    >>> model, x = nn.Sequential([nn.Dense(4), nn.Dense(2)]), jnp.ones((5, 3))
    >>> params = model.init(jax.random.key(0), x)["params"]
    >>> regs = regkit.build(hidden_l1=dict(weight=0.1, pattern="layers_0"), weight_l2=0.1)
    >>> def loss(params):
    ...     with regkit_jax.linen.watch(params, regs) as run:
    ...         return (model.apply({"params": params}, x) ** 2).mean() + run.loss()
    >>> jax.jit(jax.grad(loss))(params)["layers_0"]["kernel"].shape
    (3, 4)
    """
    if isinstance(params, Mapping) and "params" in params:
        raise regkit.OptionError(
            f"watch got variables of Flax Linen, which have {', '.join(params)}; accepted: the parameters, "
            "variables['params']"
        )
    layers = layers_of(params)
    watched = _Applied(params, layers)

    def show(call: Callable[..., Any], args: Any, kwargs: Any, context: linen.module.InterceptorContext) -> Any:
        output = call(*args, **kwargs)
        if context.method_name != "__call__" or not context.module.path:
            return output
        return watched.show_module(context.module, output)

    with watching(watched, regs, layers, **options) as run:
        token = _open.set((*_open.get(), watched))
        try:
            with linen.intercept_methods(show):
                yield run
        finally:
            _open.reset(token)


class _Applied(Watched):
    """The modules that have parameters, which are known before a model is applied."""

    def __init__(self, params: Any, layers: Sequence[regkit.Layer]) -> None:
        parts = [layer.output_name.split(".") for layer in layers if layer.output_name]
        super().__init__(_LINEN, dict.fromkeys(path for each in parts for path in accumulate(each, "{}.{}".format)))
        self.params = jax.tree.leaves(params)
        self.opened = _internals.here()
        self.with_these: bool | None = None  # whether the model is applied with them, or with others made of them

    def show_module(self, module: linen.Module, output: Any) -> Any:
        """Show what a module returned, unless it is of another model."""
        params = jax.tree.leaves(module.scope.root.variables().get("params", {}))  # type: ignore[union-attr]
        with_these = self.has(params)
        if not with_these and any(other.has(params) for other in _open.get()):
            return output
        if self.run.mistakes(params):
            self.is_mistaken = True
            return output
        path, before = ".".join(module.path), len(self.run.outputs)
        shown = self.show(path, output)
        if _internals.here() == self.opened and len(self.run.outputs) > before:  # within others, all are tracers
            if self.with_these not in (None, with_these):
                raise regkit.GraphError(
                    f"module {path!r}, which a pattern matches, was applied with the watched parameters, and with "
                    "others. Apply a model with others outside of the block, or in a watch of its own"
                )
            self.with_these = with_these
        return shown

    def has(self, params: Sequence[Any]) -> bool:
        """Return whether some parameters are of the watched ones."""
        return not {id(param) for param in self.params}.isdisjoint(map(id, params))
