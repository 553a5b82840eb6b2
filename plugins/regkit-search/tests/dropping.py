"""A search with dropout that SIGKILLs its own process in the middle of a trial. Run by test_draws.py.

python dropping.py DATABASE LIBRARY TRIAL: in the trial of that number
"""

from __future__ import annotations

import importlib
import os
import signal
import sys

import numpy as np
import optuna
import regkit_search as search
from optuna.distributions import FloatDistribution

import regkit

SPACE = {"hidden_dropout": {"weight": FloatDistribution(0.1, 0.9)}, "input_noise": 0.1}


def searched(library, storage, kill_in=None, begins=True, trials=6):
    """A search whose measures are sums of what dropout and noise let through, in each of three steps."""
    module, tensor = importlib.import_module(library), importlib.import_module(f"{library}.tensor")

    def prepare(regs):
        x = tensor.matrix("x", dtype="float64")
        hidden = 2 * x
        layers = [
            regkit.Layer("in", outputs={"in": x}),
            regkit.Layer("hid", outputs={"hid": hidden}),
            regkit.Layer("out", outputs={"out": hidden.sum()}),
        ]
        function = module.function([x], regs.regularize(layers).outputs["out"], mode="FAST_COMPILE")
        draws = search.Draws(function)
        assert repr(draws) == "<draws of 2 generators>"

        def evaluate(trial):
            if begins:
                draws.begin(trial.seed)
            sums = [float(function(np.ones((5, 7)))) for step in range(3)]
            if trial.number == kill_in:
                os.kill(os.getpid(), signal.SIGKILL)
            return {"first": sums[0], "second": sums[1], "last": sums[2]}

        return evaluate

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return search.run(prepare, SPACE, minimize="last", trials=trials, storage=storage).frame()


if __name__ == "__main__":
    searched(sys.argv[2], sys.argv[1], int(sys.argv[3]))
