"""Modules of Flax Linen, watched while they are applied. Needs flax, as ``regkit_jax.nnx`` does."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import regkit
from regkit import hosts

try:
    from flax import linen
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"regkit_jax.linen needs Flax ({error}): pip install flax", name=error.name) from error

from ._params import layers_of
from ._run import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["watch"]


@contextmanager
def watch(
    params: Any,
    regs: regkit.RegularizerSet,
    key: Any = None,
    live: Mapping[str, Any] | None = None,
    again: Callable[[Run], Any] | None = None,
    stacked: Mapping[str, int] | None = None,
    axis_name: str | tuple[str, ...] | None = None,
) -> Iterator[Run]:
    """Tap the outputs of modules of Linen while a model is applied, by their paths.

    Open it inside of the function that is differentiated or compiled, with the parameters that the function gets. The
    output of ``self.block.mlp`` is ``block.mlp``, the parameter ``block.mlp.kernel``; of a module that is called again,
    ``block.mlp@1``. Arrays in tuples and dicts are ``lstm:0`` and ``head:logits``. The model itself has no path.

    Parameters
    ----------
    params : pytree
        The parameters: ``variables["params"]``.
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
        If a regularizer has no pattern.
    regkit.GraphError
        If one looks at parameters, and a module is applied with others that JAX transforms here. At the end of the
        block, if a regularizer is for outputs and no module was called and nothing tapped; by `loss`,
        if a module that a pattern matches was called within ``nn.scan``, ``nn.remat``, ``nn.jit`` or another
        transformation, which has ended.
    regkit.NoMatchError
        At the end of the block, if there is a key and a regularizer that changes outputs found none to change.

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
    members = hosts.members(regs, "watch")
    hosts.check_patterns(members, (), "A model of Linen does not define which of its modules are hidden. Name some")
    run = Run(regs, layers_of(params), key, live, again, stacked, axis_name)
    called = False

    def show(call: Callable[..., Any], args: Any, kwargs: Any, context: linen.module.InterceptorContext) -> Any:
        nonlocal called
        output = call(*args, **kwargs)
        if context.method_name != "__call__" or not context.module.path:
            return output
        called = True
        if run.mistakes(context.module.variables.get("params")):
            raise regkit.GraphError(
                f"module {'.'.join(context.module.path)!r} was applied with parameters that JAX transforms here, and "
                "those of the watch are others, whose penalties would have a gradient of 0. Watch the parameters that "
                "the function gets"
            )
        return run.tap_all(".".join(context.module.path), output)

    with linen.intercept_methods(show):
        yield run
    if not called and not run.outputs and any(member.selects == "outputs" for member in members):
        raise regkit.GraphError("no module of Linen was called within the watch. Apply the model inside of the block")
    run.check_changes()
