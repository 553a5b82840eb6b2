"""Parts of JAX that are not public: there is no other way, so what may change is named where it has changed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import jax

import regkit

#: What all of this was tested with.
TESTED = "0.10.0, 0.10.2 and 0.12.0.1"


def part(path: str) -> Any:
    """Return a part of JAX, such as ``jax.extend.core.find_top_trace``.

    Raises
    ------
    regkit.PluginLoadError
        If it is not there.
    """
    module, _, name = path.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError):
        raise changed(f"{path} is not there") from None


def changed(what: str) -> regkit.PluginLoadError:
    """Return the error for a JAX that is not as it was."""
    return regkit.PluginLoadError(
        f"regkit_jax does not work with JAX {jax.__version__}: {what}. It was tested with JAX {TESTED}. Install one of "
        "them, or a later regkit-jax"
    )
