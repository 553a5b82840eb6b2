"""regkit's regularizers for JAX: in any function by `Run`, in modules of Flax by `watch` of ``nnx`` and ``linen``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jax import tree_util

import regkit

from ._params import after_step, layers_of, optax
from ._run import Run

# so that terms come out of what JAX transforms: the name is of the structure, and a Live is its number
tree_util.register_pytree_node(
    regkit.Term,
    lambda term: ((float(term.weight) if isinstance(term.weight, regkit.Live) else term.weight, *term[2:]), term.name),
    lambda name, children: regkit.Term(name, *children),
)

if TYPE_CHECKING:
    from . import linen as linen
    from . import nnx as nnx

__all__ = ["Run", "after_step", "layers_of", "linen", "nnx", "optax"]
__version__ = "0.3.0"


def __getattr__(name: str) -> Any:
    if name in ("linen", "nnx"):  # on first use, since Flax need not be there
        from importlib import import_module

        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
