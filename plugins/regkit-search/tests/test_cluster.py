"""Clusters that grow and shrink, threads of a worker, resources."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress

import cloudpickle
import dask
import optuna
import pandas as pd
import pytest
import regkit_search as search
from distributed import Client, LocalCluster
from optuna.distributions import CategoricalDistribution, FloatDistribution

SPACE = {"hidden_l1": FloatDistribution(0.1, 1)}
LOCAL = dict(dashboard_address="127.0.0.1:0", silence_logs=50)
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def test_a_cluster_of_processes_grows_from_none_and_loses_a_worker(tmp_path):
    killed = tmp_path / "killed"

    def prepare(regs):
        def evaluate(trial):
            time.sleep(0.3)
            if trial.number == 9 and not killed.exists():
                killed.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            (tmp_path / f"worker {os.getpid()}").touch()
            return {"weight": regs[0].weight.value}

        return evaluate

    arguments = dict(minimize="weight", trials=20, sampler=optuna.samplers.RandomSampler())
    with LocalCluster(n_workers=0, threads_per_worker=1, **LOCAL) as cluster, Client(cluster) as client:
        cluster.adapt(minimum=0, maximum=2, interval="100ms", target_duration="200ms")
        assert not client.nthreads()
        found = search.run(prepare, SPACE, **arguments, client=client).frame()
    assert killed.exists()
    assert len(list(tmp_path.glob("worker *"))) >= 2
    here = search.run(lambda regs: lambda trial: {"weight": regs[0].weight.value}, SPACE, **arguments).frame()
    pd.testing.assert_frame_equal(found, here)


def at_once(client, folder, **more):
    """How many trials ran at once at most; each in a network that no other trial was in."""
    (folder / "running").mkdir()

    def prepare(regs):
        inside = []

        def evaluate(trial):
            inside.append(trial.number)
            mine = folder / "running" / str(trial.number)
            mine.touch()
            time.sleep(0.2)
            running, shared = len(list((folder / "running").iterdir())), len(inside)
            mine.unlink()
            inside.remove(trial.number)
            set_weight, wanted = regs[0].weight.value, trial.params["hidden_l1.weight"]
            return {"weight": set_weight, "wrong": abs(set_weight - wanted), "running": running, "shared": shared}

        return evaluate

    frame = search.run(prepare, SPACE, minimize="weight", trials=12, client=client, **more).frame()
    assert set(frame["state"]) == {"complete"}
    assert set(frame["wrong"]) == {0}
    assert set(frame["shared"]) == {1}
    return frame["running"].max()


@pytest.fixture(scope="module")
def threads():
    """One worker of four threads, with two of what a trial may take."""
    with (
        LocalCluster(n_workers=1, threads_per_worker=4, resources={"GPU": 2}, **LOCAL) as cluster,
        Client(cluster) as client,
    ):
        yield client


def test_all_threads_of_a_worker_run_trials_each_in_a_network_of_its_own(threads, tmp_path):
    assert at_once(threads, tmp_path) == 4


def test_a_trial_takes_its_resources(threads, tmp_path):
    assert at_once(threads, tmp_path, resources={"GPU": 1}) == 2


def test_resources_that_no_worker_has_are_warned_of(threads, tmp_path, monkeypatch):
    monkeypatch.setattr("regkit_search._dask.LONG", 0.2)
    monkeypatch.setattr("regkit_search._dask.LOOK", 0.2)
    arguments = dict(minimize="weight", trials=1, client=threads, resources={"TPU": 1})

    def prepare(regs):
        return lambda trial: {"weight": 1.0}

    # a warning is an error in these tests, and ends the search
    with pytest.raises(UserWarning, match=r"has no workers with the resources \{'TPU': 1\}. Trials wait until"):
        search.run(prepare, SPACE, **arguments)


def test_a_function_may_return_the_client(tmp_path):
    clients = []

    def made():
        clients.append(Client(n_workers=1, threads_per_worker=1, processes=False, **LOCAL))
        return clients[0]

    assert at_once(made, tmp_path) == 1
    assert clients[0].status == "closed"


def test_a_search_on_workers_whose_regularizer_never_gets_its_step_warns_at_the_end(client):
    space = {"weight_l1": {"weight": FloatDistribution(0.1, 1), "by": "proximal"}}
    with pytest.warns(UserWarning, match="weight_l1 changes parameters after an optimizer's step, and after_step was"):
        search.run(lambda regs: lambda trial: {"weight": 1.0}, space, minimize="weight", trials=2, client=client)


TWO = {"hidden_l1": {"weight": FloatDistribution(0.1, 1), "reduction": CategoricalDistribution(["sum", "mean"])}}


def test_a_structure_goes_to_workers_that_have_compiled_it(client, monkeypatch):
    def prepare(regs):
        from distributed import get_worker

        return lambda trial: {"weight": regs[0].weight.value, "port": int(get_worker().address.rpartition(":")[2])}

    sent, submit = [], client.submit

    def submitted(function, name, tasks, *more, workers, allow_other_workers, **named):
        sent.append((tasks[0].params["hidden_l1.reduction"], workers))
        assert allow_other_workers == bool(workers)
        return submit(function, name, tasks, *more, workers=workers, allow_other_workers=allow_other_workers, **named)

    monkeypatch.setattr(client, "submit", submitted)
    frame = search.run(prepare, TWO, minimize="weight", trials=16, client=client).frame()
    ports = frame.groupby("hidden_l1.reduction")["port"].agg(set)
    assert sent[0][1] is None
    assert sum(bool(workers) for _, workers in sent) >= 8
    for reduction, workers in sent:
        assert {int(one.rpartition(":")[2]) for one in workers or ()} <= ports[reduction]


def test_a_search_goes_on_where_all_workers_that_have_compiled_a_structure_die(tmp_path):
    killed = tmp_path / "killed"

    def prepare(regs):
        def evaluate(trial):
            if trial.number == 8 and not killed.exists():
                killed.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return {"weight": regs[0].weight.value}

        return evaluate

    with LocalCluster(n_workers=1, threads_per_worker=1, **LOCAL) as cluster, Client(cluster) as client:
        frame = search.run(prepare, TWO, minimize="weight", trials=14, client=client).frame()
    assert killed.exists()
    assert list(frame["state"]) == ["complete"] * 14


class Killing(optuna.pruners.BasePruner):
    """Prunes nothing, and kills the worker of the first report before it gets the answer."""

    def __init__(self, folder):
        self.folder, self.killed = folder, False

    def prune(self, study, trial):
        if not self.killed:
            self.killed, worker = True, int((self.folder / str(trial.number)).read_text())
            os.kill(worker, signal.SIGKILL)
            with suppress(ProcessLookupError):
                while True:  # until it is gone
                    os.kill(worker, 0)
                    time.sleep(0.01)
        return False


def test_a_worker_that_dies_before_it_gets_the_answer_to_a_report_holds_nothing_up(tmp_path):
    def prepare(regs):
        def evaluate(trial):
            (tmp_path / str(trial.number)).write_text(str(os.getpid()))
            trial.report(1.0, 0)
            return {"weight": regs[0].weight.value}

        return evaluate

    pruner = Killing(tmp_path)
    arguments = dict(minimize="weight", trials=6, sampler=optuna.samplers.RandomSampler())
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1h"}),
        LocalCluster(n_workers=1, threads_per_worker=1, **LOCAL) as cluster,
        Client(cluster) as client,
    ):
        found = search.run(prepare, SPACE, **arguments, pruner=pruner, client=client).frame()
    assert pruner.killed
    pd.testing.assert_frame_equal(found, search.run(prepare, SPACE, **arguments).frame())
