"""Every promise of the regularizers that act after a step, and of the distance from a reference."""

from __future__ import annotations

import numpy as np

import regkit.testing

HALVES = {name: value / 2 for name, value in regkit.testing.Network().values().items()}


def of_matrices(penalty):
    """Return a NumPy twin: the mean of a penalty over the parameters of two axes."""

    def twin(regularizer, layers, outputs):
        params = regkit.testing.selected(regularizer, layers)
        return np.mean([penalty(name, w) for name, w in params.items() if w.ndim > 1])

    return twin


distance = of_matrices(lambda name, w: np.sum((w - HALVES[name]) ** 2))
l1 = of_matrices(lambda name, w: np.sum(np.abs(w)))
l0 = of_matrices(lambda name, w: np.count_nonzero(w))

test_promises_of_distance = regkit.testing.pytest_checks(
    "weight_distance", twin=distance, options={"reference": HALVES}
)
test_promises_of_l1 = regkit.testing.pytest_checks("weight_l1", twin=l1, options={"by": "proximal"})
test_promises_of_l0 = regkit.testing.pytest_checks(
    "weight_l0",
    twin=l0,
    expected_failures={"proximal_step_does_not_expand": "a hard threshold jumps: its penalty is not convex"},
)
test_promises_of_decay = regkit.testing.pytest_checks("decoupled_decay")
test_promises_of_nonnegative = regkit.testing.pytest_checks("weight_nonnegative")
test_promises_of_unit_norm = regkit.testing.pytest_checks("weight_unit_norm")
