"""The engine of PyTensor."""

from __future__ import annotations

from typing import Any

from .symbolic import Symbolic


class PyTensor(Symbolic):
    """Expressions of PyTensor, where updates that come beside results are on their way out."""

    name = "pytensor"

    def scanned(self, step: Any, **arguments: Any) -> Any:
        return self.module("scan").scan(step, return_updates=False, **arguments)

    def drawn(self, distribution: str, size: Any, generator: Any) -> Any:
        draw = getattr(self.module("tensor.random.basic"), distribution)
        # newer releases want to be told that the generator's next state is known to be there
        return draw(0.0, 1.0, size=size, rng=generator, return_next_rng=True)[1]

    def move_on(self, generator: Any, next_state: Any) -> None:
        # the setter warns: it would rather have every host pass updates, but then hosts must know of us. Silencing
        # warnings for a moment is not safe where several threads draw
        setattr(generator, "_default_update" if hasattr(generator, "_default_update") else "default_update", next_state)


ENGINE = PyTensor()
