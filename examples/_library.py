"""The graph library that the examples run on: the first that is installed."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any


def graph_library() -> tuple[Any, Any]:
    """Import the first graph library that is installed, and its module of tensor operations."""
    # Theano-PyMC asks NumPy which BLAS to link, and fails where NumPy no longer says. Without one it uses NumPy's own.
    os.environ.setdefault("THEANO_FLAGS", "blas__ldflags=")
    for name in ("theano", "aesara", "pytensor"):
        try:
            return importlib.import_module(name), importlib.import_module(f"{name}.tensor")
        except ModuleNotFoundError as missing:
            if missing.name != name:
                raise
    sys.exit(
        'No graph library is installed. Install one, in the checkout: pip install ".[theano]", or aesara, or pytensor'
    )
