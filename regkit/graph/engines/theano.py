"""The engine of theano-pymc."""

from __future__ import annotations

from typing import Any

import numpy as np

from .symbolic import Symbolic


class Theano(Symbolic):
    """Expressions of theano-pymc, which knows NumPy's older generators alone."""

    name = "theano"

    def generator_type(self) -> Any:
        return self.module("tensor.random.type").RandomStateType

    def shared_generator(self, seed: Any) -> Any:
        self.module("tensor.random.var")  # teaches `shared` about them
        return self.module("compile").shared(np.random.RandomState(np.random.MT19937(seed)))

    def size_of(self, like: Any) -> Any:
        return like.shape


ENGINE = Theano()
