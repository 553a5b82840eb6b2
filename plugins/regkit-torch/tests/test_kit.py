"""Every installed regularizer keeps every promise on torch; the default mode is the plan that a model would have."""

from __future__ import annotations

import pytest

import regkit
import regkit.testing
from regkit.testing import Network, check_regularizer

LARGE = "penalty_and_gradient_are_finite_for_large_numbers"
#: What takes another network than the usual, or an option in its shapes; what plugins declare to fail everywhere.
NETWORKS = {
    "hidden_kl": Network("sigmoid"),
    "recurrent_norm": Network(axes=3),
    "recurrent_state": Network(axes=3),
}
OPTIONS = {"weight_distance": {"reference": {name: value / 2 for name, value in Network().values().items()}}}
EXPECTED = {
    "hidden_decorrelation": {LARGE: "the fourth power of 1e18 is beyond float32"},
    "recurrent_norm": {LARGE: "the fourth power of 1e18 is beyond float32"},
    "weight_l0": {"proximal_step_does_not_expand": "a hard threshold jumps: its penalty is not convex"},
    "weight_orthogonal": {LARGE: "the fourth power of 1e18 is beyond float32"},
}


@pytest.mark.parametrize("alias", sorted(regkit.available()))
def test_every_alias_keeps_every_promise(alias):
    report = check_regularizer(
        alias,
        libraries=["torch"],
        network=NETWORKS.get(alias),
        options=OPTIONS.get(alias),
        expected_failures=EXPECTED.get(alias),
    )
    assert report.counts()["torch"]["passed"]
