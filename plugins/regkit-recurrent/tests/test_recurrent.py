"""Penalties over time: the formulas, what has no time axis, and every promise of a regularizer."""

from __future__ import annotations

import numpy as np
import pytest
from regkit_recurrent import RecurrentNorm, RecurrentState

import regkit
import regkit.testing

NETWORK = regkit.testing.Network(axes=3)


def twin(regularizer, layers, outputs):
    """The penalty from the formula, in loops."""
    penalties = []
    for z in regkit.testing.selected(regularizer, layers, outputs).values():
        examples, times, units = z.shape
        total = 0.0
        for example in z:
            for before, after in zip(example[:-1], example[1:]):
                if isinstance(regularizer, RecurrentNorm):
                    total += (np.sum(after**2) - np.sum(before**2)) ** 2
                else:
                    total += np.sum((after - before) ** 2)
        per = {"sum": 1, "batch": examples, "mean": examples * (units if type(regularizer) is RecurrentState else 1)}
        penalties.append(total / (times - 1) / per[regularizer.reduction])
    return np.mean(penalties)


FOURTH_POWERS = {"penalty_and_gradient_are_finite_for_large_numbers": "fourth powers of 1e18 are beyond float32"}

test_promises_of_norm = regkit.testing.pytest_checks(
    "recurrent_norm", twin=twin, network=NETWORK, expected_failures=FOURTH_POWERS
)
test_promises_of_state = regkit.testing.pytest_checks(
    "recurrent_state", twin=twin, network=NETWORK, options={"reduction": "mean"}
)


@pytest.mark.parametrize("cls", [RecurrentNorm, RecurrentState])
@pytest.mark.parametrize("reduction", ["sum", "mean", "batch"])
def test_every_reduction_is_that_of_the_twin(cls, reduction):
    layers, outputs = NETWORK.connect(NETWORK.values(), np)
    regularizer = cls(reduction=reduction)
    assert regularizer.loss(layers, outputs) == pytest.approx(twin(regularizer, layers, outputs), rel=1e-12)


@pytest.mark.parametrize("cls", [RecurrentNorm, RecurrentState])
def test_what_does_not_change_costs_nothing_and_one_step_has_no_change(lib, cls):
    z = lib.tensor("z", ndim=3)
    penalty = cls("z").loss([], {"z": z})
    assert lib.evaluate(penalty, z=np.ones((2, 5, 3))) == 0
    assert lib.evaluate(penalty, z=np.full((2, 1, 3), 7.0)) == 0


def test_the_norm_penalty_is_not_a_difference_of_ends():
    rising_and_falling = np.array([[[0.0], [1.0], [0.0]]])
    assert RecurrentNorm("z").loss([], {"z": rising_and_falling}) == 1  # ((1 - 0)^2 + (0 - 1)^2) / 2


@pytest.mark.parametrize("cls", [RecurrentNorm, RecurrentState])
def test_an_output_without_time_is_an_error_that_names_it(cls):
    outputs = {"in:out": np.ones((2, 3)), "hid1:out": np.ones((2, 3)), "out:out": np.ones((2, 3))}
    for pattern in (None, "hid1:out"):
        with pytest.raises(regkit.GraphError) as error:
            cls(pattern).loss([regkit.Layer(name) for name in outputs], outputs)
        expected = f"'hid1:out' (2 axes) has no time axis; {cls.__name__} expects (examples, time, units)"
        assert str(error.value) == expected


def test_without_a_pattern_the_hidden_outputs_that_have_time_count():
    outputs = {"in": np.ones((2, 3)), "hid1": np.array([[[0.0], [2.0]]]), "hid2": np.ones((2, 3)), "out": np.ones(2)}
    assert RecurrentState().loss([regkit.Layer(name) for name in outputs], outputs) == 4


@pytest.mark.parametrize("reduction", ["sum", "mean", "batch"])
@pytest.mark.parametrize("cls", [RecurrentNorm, RecurrentState])
def test_float16_gives_what_float64_gives(lib, cls, reduction):
    rng = np.random.default_rng(5)
    array = rng.normal(size=(4, 6, 20)).astype("float16")  # squared norms near 20, whose fourth powers sum to 30,000
    regularizer = cls("hid*", reduction=reduction)
    expected = regularizer.loss([], {"hid1": array.astype("float64"), "hid2": 2 * array[:2, :3].astype("float64")})
    halves = {"hid1": array, "hid2": 2 * array[:2, :3]}
    eager = regularizer.loss([], halves)
    inputs = [lib.tensor(name, "float16", 3) for name in halves]
    compiled = lib.function(inputs, regularizer.loss([], dict(zip(halves, inputs))))(*halves.values())
    for found in (eager, compiled):
        assert found.dtype == "float32"  # until it has its weight
        assert found == pytest.approx(expected, rel=2e-3)


def test_float16_norms_beyond_its_largest_number_have_their_difference():
    z = np.full((1, 2, 500), 16.0, "float16")
    z[0, 1, 0] = 17.0  # squared norms of 128,000, and then 33 more
    assert RecurrentNorm("z").loss([], {"z": z}) == 33**2


def test_more_steps_and_examples_than_float16_can_count_have_a_mean():
    z = np.zeros((2, 70_000, 1), "float16")
    z[:, ::2] = 1
    assert RecurrentState("z", reduction="batch").loss([], {"z": z}) == 1
    assert RecurrentState("z", reduction="mean").loss([], {"z": z}) == 1
