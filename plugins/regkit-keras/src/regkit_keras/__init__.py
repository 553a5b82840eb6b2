"""Keras 3 with regkit's regularizers: a model around a model, which has the penalties and changes while it trains."""

from __future__ import annotations

from ._model import Model

__all__ = ["Model"]
__version__ = "0.3.0"
