"""Keras 3 with regkit's regularizers: a model around a model with penalties and changes, regularizers of layers."""

from __future__ import annotations

from ._model import Model
from ._regularizer import regularizer

__all__ = ["Model", "regularizer"]
__version__ = "0.3.0"
