"""regkit's regularizers for JAX: in any function by `Run`, in modules of Flax NNX by ``regkit_jax.nnx.watch``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._run import Run

if TYPE_CHECKING:
    from . import nnx as nnx

__all__ = ["Run", "nnx"]
__version__ = "0.3.0"


def __getattr__(name: str) -> Any:
    if name == "nnx":  # on first use, since Flax need not be there
        from importlib import import_module

        return import_module(".nnx", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
