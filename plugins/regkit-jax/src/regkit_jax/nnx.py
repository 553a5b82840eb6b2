"""Modules of Flax NNX, watched while they run. Needs flax, which nothing else here does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import regkit

try:
    from flax import nnx
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"regkit_jax.nnx needs Flax ({error}): pip install flax", name=error.name) from error

from ._objects import check_model, watching_objects
from ._values import as_array, by_name, is_floats
from ._watching import Library

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from typing_extensions import Unpack

    from ._run import Options, Run

__all__ = ["watch"]

_NNX = Library("Flax NNX", "Within nnx.jit, nnx.grad, nnx.remat and their kind Flax calls copies of modules", ("",))


def watch(model: nnx.Module, regs: regkit.RegularizerSet, **options: Unpack[Options]) -> AbstractContextManager[Run]:
    """Tap the outputs of a model's modules while they are called, by their paths.

    Open it inside of the function that is differentiated or compiled, with the model that the function gets. The output
    of ``model.blocks[0].mlp`` is ``blocks.0.mlp``, its parameter ``blocks.0.mlp.kernel``; of a module that is called
    again, ``blocks.0.mlp@1``. Arrays in tuples and dicts are ``lstm:0`` and ``head:logits``, and deeper ones
    ``lstm:0.1``. The model itself has no path, so its own output is tapped as none. Parameters are each ``nnx.Param``;
    of a model that has none, the arrays of floats that it holds without a variable.

    Parameters
    ----------
    model : flax.nnx.Module
    regs : regkit.RegularizerSet
        What `regkit.build` returns. Those that select outputs need a pattern: NNX does not know the order of modules in
        the network, and so not which are hidden.
    **options
        ``key``, ``live``, ``again``, ``stacked`` and ``axis_name``, as for `regkit_jax.Run`.

    Returns
    -------
    context manager of regkit_jax.Run
        The run's `loss` may also be called after the block; `tap` shows it values that are no module's output.

    Raises
    ------
    regkit.OptionError
        If the model is not a module of NNX, or a regularizer has no pattern.
    regkit.GraphError
        If the model, or a module of it, is watched already; at the end of the block, if a regularizer is for outputs,
        no module was called and nothing tapped; there, and by `loss`, if a module that a pattern matches was not
        called, or only another model, whose parameters JAX transforms; by `loss`, if a module was called within a
        transformation, such as ``jax.vmap``, which has ended.
    regkit.NoMatchError
        By `loss`, if a pattern matches nothing; at the end of the block, if there is a key and a regularizer that
        changes outputs found none to change.

    Examples
    --------
    >>> import jax.numpy as jnp, regkit, regkit_jax
    >>> from flax import nnx
    >>> class Net(nnx.Module):
    ...     def __init__(self, rngs):
    ...         self.hid1, self.out = nnx.Linear(3, 4, rngs=rngs), nnx.Linear(4, 2, rngs=rngs)
    ...     def __call__(self, x):
    ...         return self.out(self.hid1(x))
    >>> model, regs = Net(nnx.Rngs(0)), regkit.build(hidden_l1=dict(weight=0.1, pattern="hid1"))
    >>> with regkit_jax.nnx.watch(model, regs) as run:
    ...     y = model(jnp.ones((5, 3)))
    ...     loss = (y**2).mean() + run.loss()
    >>> list(run.outputs)
    ['hid1']
    """
    check_model(model, nnx.Module, _NNX)
    modules = by_name("modules", ((".".join(map(str, path)), module) for path, module in nnx.iter_modules(model)))
    return watching_objects(_NNX, modules, regs, _layers(model), **options)


def _layers(model: nnx.Module) -> list[regkit.Layer]:
    """Return the modules that have parameters, each with those that are not of a module within."""
    found = list(nnx.to_flat_state(nnx.state(model, nnx.Param)))
    if not found:  # some models hold their parameters as they are
        found = [(path, leaf) for path, leaf in nnx.to_flat_state(nnx.state(model)) if is_floats(leaf)]
    params: dict[str, dict[str, Any]] = {}
    for name, param in by_name("parameters", ((".".join(map(str, path)), param) for path, param in found)).items():
        owner = name.rpartition(".")[0] or type(model).__name__
        params.setdefault(owner, {})[name] = as_array(param)
    # whichever is first or last in the alphabet is not the input or the output
    return [regkit.Layer(owner, of_owner, role="hidden") for owner, of_owner in params.items()]
