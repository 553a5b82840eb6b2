"""A search that SIGKILLs its own process at one of its writes to the storage. Run by test_going_on.py.

python interrupted.py DATABASE WRITE: before the write of that number, from 1 on; at none for 0
"""

from __future__ import annotations

import os
import signal
import sys

import optuna
import regkit_search as search
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.storages import RDBStorage

SPACE = {
    "hidden_l1": {
        "weight": FloatDistribution(0.01, 1, log=True),
        "pattern": "hid1",
        "reduction": CategoricalDistribution(["sum", "mean"]),
    }
}
WRITES = (
    "_create_new_trial",  # as Optuna's cache calls these two
    "_set_trial_param",
    "set_trial_intermediate_value",
    "set_trial_user_attr",
    "set_trial_state_values",
)


def prepare(regs):
    def evaluate(trial):
        weight, factor = regs[0].weight.value, {"sum": 2.0, "mean": 1.5}[regs[0].reduction]
        for step in range(4):
            trial.report(abs(factor * weight - 1) + 1 / (step + 1), step)
        return {"distance": abs(factor * weight - 1), "drawn": trial.seed % 1000}

    return evaluate


def run(storage, trials=16):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2)
    return search.run(prepare, SPACE, minimize="distance", trials=trials, seed=3, pruner=pruner, storage=storage)


class Killing(RDBStorage):
    """A storage that kills the process before one of the writes of its trials."""

    def __init__(self, url: str, at: int) -> None:
        super().__init__(url)
        self.left = at

    def __getattribute__(self, name):
        if name in WRITES:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().__getattribute__(name)


if __name__ == "__main__":
    run(Killing(f"sqlite:///{sys.argv[1]}", int(sys.argv[2])))
