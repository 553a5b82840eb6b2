"""regkit's regularizers for JAX: in any function by `Run`, in modules of Flax and Equinox by the `watch` of each."""

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
    from . import equinox as equinox
    from . import linen as linen
    from . import nnx as nnx

__all__ = ["Run", "after_step", "equinox", "layers_of", "linen", "nnx", "optax"]
__version__ = "0.3.0"


def __getattr__(name: str) -> Any:
    if name in ("equinox", "linen", "nnx"):  # on first use, since Flax and Equinox need not be there
        from importlib import import_module

        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
