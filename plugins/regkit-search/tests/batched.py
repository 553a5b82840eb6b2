"""A search in batches that SIGKILLs its own process at one of its writes to the storage. Run by test_batches.py.

python batched.py DATABASE WRITE: before the write of that number, from 1 on; at none for 0
"""

from __future__ import annotations

import sys

import optuna
import regkit_search as search
from optuna.distributions import CategoricalDistribution, FloatDistribution

SPACE = {
    "weight_l2": {"weight": FloatDistribution(0.01, 1, log=True)},
    "hidden_l1": {"weight": 0.1, "reduction": CategoricalDistribution(["sum", "mean"])},
}


def prepare(regs):
    reduction = regs["hidden_l1"].reduction

    def evaluate(trials):
        weights = trials.live["weight_l2"]
        assert all(trial.params["hidden_l1.reduction"] == reduction for trial in trials)
        # digits that follow from what else is in the batch, as those of a matrix product may
        return {"distance": abs(weights - 0.3) + 1e-3 * weights.mean(), "size": [len(trials)] * len(trials)}

    return evaluate


def run(storage, trials=22, size=6):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(n_startup_trials=4)
    return search.run(prepare, SPACE, minimize="distance", trials=trials, sampler=sampler, storage=storage, batch=size)


if __name__ == "__main__":
    from interrupted import Killing  # which stands beside this program

    run(Killing(f"sqlite:///{sys.argv[1]}", int(sys.argv[2])))
