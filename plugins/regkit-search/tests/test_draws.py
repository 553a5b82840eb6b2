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


def test_what_is_not_a_compiled_function_is_refused():
    with pytest.raises(regkit.OptionError, match="accepted: compiled functions of theano-pymc, Aesara or PyTensor"):
        search.Draws(len)
