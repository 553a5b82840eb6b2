"""Searches whose trials are trained at once."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import cloudpickle
import numpy as np
import optuna
import pandas as pd
import pytest
import regkit_search as search
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from regkit_search._storage import Storage

import regkit

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import it
SCRIPT = Path(__file__).with_name("batched.py")
SPACE = {"weight_l2": FloatDistribution(0.1, 1)}


def measured(regs):
    return lambda trials: {"error": (trials.live["weight_l2"] - 0.5) ** 2, "seed": trials.seeds}


def one_by_one(regs):
    return lambda trial: {"error": (regs["weight_l2"].weight.value - 0.5) ** 2, "seed": trial.seed}


def run(prepare=measured, space=SPACE, *, trials=8, batch=4, sampler=None, **more):
    sampler = sampler or optuna.samplers.RandomSampler()
    return search.run(prepare, space, minimize="error", trials=trials, batch=batch, sampler=sampler, **more)


def test_batches_give_what_trials_give_one_by_one():
    sizes = []

    def prepare(regs):
        def evaluate(trials):
            sizes.append(len(trials))
            assert trials.params["rate"].tolist() == [trial.params["rate"] for trial in trials]
            return measured(regs)(trials)

        return evaluate

    more = dict(trials=10, parameters={"rate": FloatDistribution(0.1, 1)})
    found = run(prepare, **more)
    assert sizes == [4, 4, 2]
    pd.testing.assert_frame_equal(found.frame(), run(one_by_one, batch=None, **more).frame())
    assert found.best["weight_l2"]["weight"] == found.frame()["weight_l2.weight"][found.frame()["error"].idxmin()]


def test_the_trials_of_a_batch_share_a_structure():
    structures = []

    def prepare(regs):
        structures.append(regs["hidden_l1"].reduction)
        return measured(regs)

    space = {**SPACE, "hidden_l1": {"weight": 0.1, "reduction": CategoricalDistribution(["sum", "mean"])}}
    frame = run(prepare, space).frame()
    assert sorted(structures) == ["mean", "sum"]
    assert set(frame["state"]) == {"complete"}
    np.testing.assert_allclose(frame["error"], (frame["weight_l2.weight"] - 0.5) ** 2)


@pytest.mark.subprocess
def test_a_process_that_is_killed_at_any_write_goes_on_to_the_result_of_an_undisturbed_one(tmp_path, program):
    # of a batch's writes: a row and two parameters for each trial, then a measure and the end for each
    script = program(SCRIPT)
    for write in (5, 17, 3, 21, 30, 9):
        command = [sys.executable, str(SCRIPT), str(tmp_path / "study.db"), str(write)]
        assert subprocess.run(command, check=False, timeout=120).returncode == -signal.SIGKILL
    interrupted = script.run(tmp_path / "study.db").frame()
    undisturbed = script.run(None).frame()
    assert set(undisturbed["hidden_l1.reduction"][:6]) == {"sum", "mean"}
    assert undisturbed["distance"][12:].mean() < undisturbed["distance"][:6].mean()
    pd.testing.assert_frame_equal(interrupted, undisturbed)


def test_trials_of_earlier_runs_count_and_more_of_them_fill_their_batch(tmp_path):
    def found(trials, storage=None):
        return run(trials=trials, sampler=optuna.samplers.TPESampler(n_startup_trials=2), storage=storage).frame()

    for trials in (3, 6, 14):
        resumed = found(trials, tmp_path / "study.db")
    pd.testing.assert_frame_equal(resumed, found(14))


class Away(RDBStorage):
    """A storage that is away before some of its writes, or before the answer, as a server that restarts."""

    def __init__(self, path, before, answers):
        super().__init__(f"sqlite:///{path}")
        self.before, self.answers, self.writes = before, answers, 0

    def __getattribute__(self, name):
        method = super().__getattribute__(name)
        if name not in ("_create_new_trial", "_set_trial_param", "set_trial_user_attr", "set_trial_state_values"):
            return method

        def written(*args, **named):
            self.writes += 1
            number = self.writes
            if number in self.before:
                raise StorageInternalError("away")
            answer = method(*args, **named)
            if number in self.answers:
                raise StorageInternalError("away")
            return answer

        return written


@pytest.mark.parametrize(("before", "answers"), [((4, 11, 14, 20), ()), ((), (3, 6, 11, 12, 21))])
def test_a_server_may_be_away_while_a_batch_is_asked_for_or_stored(tmp_path, monkeypatch, before, answers):
    monkeypatch.setattr(Storage, "is_remote", True)
    # writes of a batch of 4: 4 rows, each followed by its parameter, then 4 seeds, each followed by the end
    sampler, other = (optuna.samplers.TPESampler(n_startup_trials=2) for _ in range(2))
    found = run(storage=Away(tmp_path / "study.db", before, answers), sampler=sampler, trials=12).frame()
    pd.testing.assert_frame_equal(found, run(sampler=other, trials=12).frame())


def test_a_cluster_runs_batches(client):
    pd.testing.assert_frame_equal(run(client=client).frame(), run().frame())


def returning(value):
    return lambda regs: lambda trials: value


@pytest.mark.parametrize(
    ("prepare", "told"),
    [
        (returning({"error": [1.0, 2.0]}), "evaluate returned [1.0, 2.0] for 'error'; accepted: a mapping of names to"),
        (returning({"error": 1.0}), "evaluate returned 1.0 for 'error'; accepted: a mapping of names to a number for"),
        (returning([1.0] * 4), "evaluate returned [1.0, 1.0, 1.0, 1.0]; accepted: a mapping of names to a number for"),
        (returning({"error": ["a"] * 4}), "evaluate returned 'a' for 'error'; accepted: a real number"),
        (
            lambda regs: lambda trials: {"error": [regs.loss({"hid": np.ones(2)})] * 4},
            "a live weight has a value for each trial of a batch. Hand those of trials.live to the training",
        ),
        (lambda regs: lambda trials: regs.live(), "a live weight has a value for each trial of a batch"),
    ],
)
def test_a_batch_that_fails_is_trials_that_failed(prepare, told):
    space = {"hidden_l1": {"weight": FloatDistribution(0.1, 1), "pattern": "hid"}}
    frame = run(prepare, space, trials=4, max_failures=None).frame()
    assert list(frame["state"]) == ["failed"] * 4
    assert all(told in failure for failure in frame["failure"])


def test_a_trial_that_is_nan_fails_and_the_rest_of_its_batch_does_not():
    frame = run(returning({"error": [1.0, float("nan"), 2.0, 3.0]})).frame()
    assert list(frame["state"]) == ["complete", "failed", "complete", "complete"] * 2


def test_reports_in_batches_are_stored_and_a_pruner_is_warned_of():
    def prepare(regs):
        def evaluate(trials):
            for trial in trials:
                trial.report(trial.number, 0)
            return measured(regs)(trials)

        return evaluate

    with pytest.warns(UserWarning, match="in batches nothing is pruned: the trials of a batch end together"):
        found = run(prepare, pruner=optuna.pruners.ThresholdPruner(upper=0))
    assert [trial.intermediate_values for trial in found.study.trials] == [{0: number} for number in range(8)]


def test_a_storage_of_a_search_with_other_batches_is_refused(tmp_path):
    run(storage=tmp_path / "study.db")
    with pytest.raises(regkit.OptionError, match="its batch is 4, and here it is 2"):
        run(storage=tmp_path / "study.db", batch=2)
    with pytest.raises(regkit.OptionError, match="batch is 0; accepted: an integer of at least 1"):
        run(batch=0)
