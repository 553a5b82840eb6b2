"""Searches that are cut short, and go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import optuna
import pandas as pd
import pytest
import regkit_search as search
from optuna.distributions import FloatDistribution
from optuna.storages import RDBStorage

import regkit

pytestmark = pytest.mark.subprocess

SCRIPT = Path(__file__).with_name("interrupted.py")


@pytest.fixture(scope="module")
def script(program):
    return program(SCRIPT)


def run_and_be_killed(database, write):
    return subprocess.run([sys.executable, str(SCRIPT), str(database), str(write)], check=False, timeout=120).returncode


def test_a_process_that_is_killed_at_any_write_goes_on_to_the_result_of_an_undisturbed_one(tmp_path, script):
    # of a trial's writes: a new row, two parameters, four reports, a measure, the end
    for write in (3, 9, 2, 6, 14, 1):
        assert run_and_be_killed(tmp_path / "study.db", write) == -signal.SIGKILL
    interrupted = script.run(tmp_path / "study.db")
    undisturbed = script.run(None)
    assert {"pruned", "complete"} == set(undisturbed.frame()["state"])
    pd.testing.assert_frame_equal(interrupted.frame(), undisturbed.frame())
    assert interrupted.best == undisturbed.best


@pytest.mark.parametrize("sampler", [optuna.samplers.TPESampler, optuna.samplers.RandomSampler])
def test_trials_of_earlier_runs_count(tmp_path, prepare, space, sampler):
    def run(trials, storage):
        arguments = dict(minimize="distance", trials=trials, seed=5, sampler=sampler(), storage=storage)
        return search.run(prepare, space, **arguments).frame()

    assert len(run(3, tmp_path / "study.db")) == 3
    assert len(run(2, tmp_path / "study.db")) == 3
    in_two = run(14, tmp_path / "study.db")
    pd.testing.assert_frame_equal(in_two, run(14, None))


def test_a_grid_that_is_at_its_end_gets_no_further_trial(tmp_path, prepare, space):
    def run():
        grid = optuna.samplers.GridSampler({"hidden_l1.weight": [0.1, 0.5, 1.0]})
        return search.run(prepare, space, minimize="distance", trials=9, sampler=grid, storage=tmp_path / "study.db")

    assert sorted(run().frame()["hidden_l1.weight"]) == [0.1, 0.5, 1.0]
    assert len(run().frame()) == 3


class InterruptedAtParents(RDBStorage):
    """A storage in which the process is interrupted when the parents of a generation have just been stored."""

    interrupted = 0

    def set_study_system_attr(self, study_id, key, value):
        super().set_study_system_attr(study_id, key, value)
        if ":parent:" in key:
            self.interrupted += 1
            raise KeyboardInterrupt


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("sampler", [optuna.samplers.NSGAIISampler, optuna.samplers.NSGAIIISampler])
def test_a_generation_that_is_interrupted_has_the_children_of_an_undisturbed_one(tmp_path, prepare, sampler):
    space = {"hidden_l1": {"weight": FloatDistribution(0.01, 1), "pattern": "hid1"}}
    rates = {name: FloatDistribution(0, 1) for name in "abc"}

    def run(storage):
        arguments = dict(parameters=rates, minimize=["distance", "penalty"], trials=20, storage=storage)
        return search.run(prepare, space, **arguments, sampler=sampler(population_size=4)).frame()

    storage = InterruptedAtParents(f"sqlite:///{tmp_path / 'study.db'}")
    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            run(storage)
    pd.testing.assert_frame_equal(run(storage), run(None))
    assert storage.interrupted == 4


def test_the_seed_decides_what_is_drawn(prepare, space):
    def weights(seed):
        return list(search.run(prepare, space, minimize="distance", trials=3, seed=seed).frame()["hidden_l1.weight"])

    assert weights(1) == weights(1)
    assert not set(weights(1)) & set(weights(2))


def test_a_trial_is_seeded_from_the_seed_and_its_number(prepare, space):
    frame = search.run(prepare, space, minimize="distance", trials=3, seed=7).frame()
    assert frame["seed"].nunique() == 3
    again = search.run(prepare, space, minimize="distance", trials=3, seed=7).frame()
    assert list(frame["seed"]) == list(again["seed"])


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (dict(space={"hidden_l1": FloatDistribution(0.1, 2)}), "its space is"),
        (dict(minimize=(), maximize="distance"), "its aims is"),
        (dict(seed=1), "its seed is 0, and here it is 1"),
    ],
)
def test_a_storage_of_another_search_is_refused(tmp_path, prepare, space, changed, told):
    arguments = dict(space=space, minimize="distance", trials=1, storage=tmp_path / "study.db")
    search.run(prepare, **arguments)
    with pytest.raises(regkit.OptionError, match="holds another search under the name 'regkit-search'") as caught:
        search.run(prepare, **{**arguments, **changed})
    assert told in str(caught.value)
    assert len(search.run(prepare, **{**arguments, **changed}, name="other").frame()) == 1


def killing_once(marker):
    def prepare(regs):
        def evaluate(trial):
            if trial.number == 4 and not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return {"weight": regs[0].weight.value, "seed": trial.seed}

        return evaluate

    return prepare


def test_a_worker_that_is_killed_has_its_trials_run_again_elsewhere(tmp_path, space, client):
    prepare = killing_once(tmp_path / "killed")
    arguments = dict(minimize="weight", trials=10, sampler=optuna.samplers.RandomSampler())
    disturbed = search.run(prepare, space, **arguments, client=client, storage=tmp_path / "study.db")
    assert (tmp_path / "killed").exists()
    undisturbed = search.run(prepare, space, **arguments)
    pd.testing.assert_frame_equal(disturbed.frame(), undisturbed.frame())


def test_a_trial_that_kills_its_workers_has_failed(space, client):
    def prepare(regs):
        def evaluate(trial):
            if trial.number == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return {"weight": regs[0].weight.value}

        return evaluate

    frame = search.run(prepare, space, minimize="weight", trials=4, client=client).frame()
    assert list(frame["state"]) == ["complete", "failed", "complete", "complete"]
    assert frame["failure"][1].startswith("killed its workers: ")
