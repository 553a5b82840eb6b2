"""A Dask cluster of two worker processes, and a search whose results are known from a formula."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import cloudpickle
import numpy as np
import optuna
import pytest
from distributed import Client, LocalCluster
from optuna.distributions import FloatDistribution

optuna.logging.set_verbosity(optuna.logging.WARNING)
cloudpickle.register_pickle_by_value(sys.modules[__name__])

#: The weight of an L1 penalty of one activation, 2: the penalty is twice the weight.
SPACE = {"hidden_l1": {"weight": FloatDistribution(0.01, 1, log=True), "pattern": "hid1"}}
OUTPUTS = {"hid1": np.array([2.0])}


def prepare(regs):
    def evaluate(trial):
        penalty = float(regs.loss([], dict(OUTPUTS)))
        for step in range(4):
            trial.report(abs(penalty - 1) + 1 / (step + 1), step)
        return {"distance": abs(penalty - 1), "penalty": penalty, "seed": trial.seed}

    return evaluate


@pytest.fixture(name="prepare")
def _prepare():
    return prepare


@pytest.fixture
def space():
    return SPACE


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """No warning of a cluster without workers: one that died may take long to start again on a busy machine."""
    monkeypatch.setattr("regkit_search._dask.LONG", 600.0)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Two workers of one thread each, in processes of their own."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=50) as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="session")
def program() -> Callable[[Path], ModuleType]:
    """Import a program that stands beside the tests, and that they run in processes of its own too."""

    def imported(path: Path) -> ModuleType:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return imported
