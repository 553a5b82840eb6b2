"""What a compiled graph draws in a trial is a matter of that trial alone."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import regkit_search as search

import regkit

pytestmark = pytest.mark.subprocess

SCRIPT = Path(__file__).with_name("dropping.py")


@pytest.fixture(scope="module")
def script(program):
    return program(SCRIPT)


def test_a_search_with_dropout_that_is_killed_goes_on_to_the_result_of_an_undisturbed_one(lib, tmp_path, script):
    command = [sys.executable, str(SCRIPT), str(tmp_path / "study.db"), lib.name, "3"]
    assert subprocess.run(command, check=False, timeout=120).returncode == -signal.SIGKILL
    interrupted = script.searched(lib.name, tmp_path / "study.db")
    undisturbed = script.searched(lib.name, None)
    pd.testing.assert_frame_equal(interrupted, undisturbed)
    sums = undisturbed[["first", "second", "last"]].to_numpy()
    assert len(np.unique(sums)) == sums.size  # at every step and in every trial it draws others


@pytest.mark.parametrize("begins", [True, False])
def test_a_search_in_two_parts_ends_as_in_one_if_its_draws_are_begun_and_only_then(lib, tmp_path, script, begins):
    script.searched(lib.name, tmp_path / "study.db", begins=begins, trials=3)
    in_two = script.searched(lib.name, tmp_path / "study.db", begins=begins)["last"]
    in_one = script.searched(lib.name, None, begins=begins)["last"]
    assert in_two[:3].equals(in_one[:3])
    assert in_two[3:].equals(in_one[3:]) == begins


def test_one_seed_gives_one_sequence_of_draws_whatever_was_drawn_before(lib):
    x = lib.tensor("x")
    noisy = regkit.build(noise=dict(weight=1, pattern=["x", "y"])).apply({"x": x, "y": 2 * x})
    function = lib.function([x], [noisy["x"], noisy["y"] - 2 * noisy["x"]])
    draws = search.Draws(function, function)
    assert repr(draws) == "<draws of 2 generators>"
    zeros = np.zeros((50, 40))

    def drawn(seed):
        draws.begin(seed)
        return np.array([function(zeros), function(zeros)]).reshape(4, -1)

    first, other = drawn(1), drawn(2)
    function(zeros)
    np.testing.assert_array_equal(drawn(1), first)
    # two calls of two generators with two seeds: eight samples of 2000, of which no two have to do with each other
    correlations = np.corrcoef(np.concatenate([first, other])) - np.eye(8)
    assert abs(correlations).max() < 5 / np.sqrt(2000)
    np.testing.assert_allclose(np.concatenate([first, other]).std(axis=1), 1, atol=5 / np.sqrt(2 * 2000))


def streams(lib, module, name):
    """The class of a library's streams of random variables; skips where the library has none of that name."""
    return getattr(pytest.importorskip(f"{lib.name}.{module}"), name)


@pytest.mark.filterwarnings("ignore:RandomStream is deprecated:FutureWarning")  # by PyTensor, which still has it
@pytest.mark.parametrize(
    ("module", "name"), [("tensor.random.utils", "RandomStream"), ("sandbox.rng_mrg", "MRG_RandomStream")]
)
def test_streams_of_your_own_are_begun_and_those_of_one_seed_draw_different_numbers(lib, module, name):
    made = streams(lib, module, name)
    function = lib.function([], [made(3).uniform(size=(1000,)), made(3).uniform(size=(1000,))])
    draws = search.Draws(function)
    assert repr(draws) == "<draws of 2 generators>"

    def drawn(seed):
        draws.begin(seed)
        return np.array([function(), function()]).reshape(4, -1)

    first, other = drawn(1), drawn(2)
    function()
    np.testing.assert_array_equal(drawn(1), first)
    both = np.concatenate([first, other])
    assert abs(np.corrcoef(both) - np.eye(8)).max() < 5 / np.sqrt(1000)
    np.testing.assert_allclose(both.mean(axis=1), 0.5, atol=5 / np.sqrt(12 * 1000))
    np.testing.assert_allclose(both.std(axis=1), 1 / np.sqrt(12), atol=5 / np.sqrt(12 * 1000))


@pytest.mark.filterwarnings("ignore:RandomStream is deprecated:FutureWarning")  # by PyTensor, which still has it
def test_what_generators_of_one_seed_draw_does_not_depend_on_the_order_of_the_functions(lib):
    made = streams(lib, "tensor.random.utils", "RandomStream")
    one, other = (lib.function([], made(3).uniform(size=(4,))) for _ in range(2))

    values = []
    for draws in (search.Draws(one, other), search.Draws(other, one)):
        draws.begin(1)
        values.append([one(), other()])
    np.testing.assert_array_equal(*values)
    assert len(np.unique(values)) == 8


def test_what_is_not_a_compiled_function_is_refused():
    with pytest.raises(regkit.OptionError, match="accepted: compiled functions of theano-pymc, Aesara or PyTensor"):
        search.Draws(len)
