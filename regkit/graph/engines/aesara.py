"""The engine of Aesara."""

from __future__ import annotations

from .symbolic import Symbolic


class Aesara(Symbolic):
    """Expressions of Aesara."""

    name = "aesara"


ENGINE = Aesara()
