"""What a search costs: one compilation beside one for each trial, one worker beside several, the client's own time.

The network is the autoencoder of training.py; the graph library, in its default mode, is the one that is installed.
What it has compiled once is kept: each measure begins with a full cache, which is the best case of compiling again. On
workers, trials compute in NumPy alone.
The client's own time is that of trials that do nothing, beside Optuna's own loop with the same sampler and storage.
"""

from __future__ import annotations

import importlib
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import regkit_search as search
import training
from _ratios import Row, arguments, in_turns, installed_library, ratios, show
from distributed import Client, LocalCluster
from optuna.distributions import FloatDistribution
from optuna.samplers import RandomSampler

import regkit

ONE, EACH = "one compilation", "a compilation each"
OPTUNA, HERE, DASK = "Optuna's study.optimize", "regkit-search, this process", "regkit-search, two workers"
ALIAS, LOW, HIGH = "hidden_l1", 1e-3, 1.0
SPACE = {ALIAS: {"weight": FloatDistribution(LOW, HIGH, log=True), "reduction": "mean"}}
#: Trials of a search, and steps of each.
TRIALS, STEPS = 24, 20
#: Seconds of a trial that waits.
WAITING = 0.3


def prepare(regs: regkit.RegularizerSet) -> Callable[[Any], dict[str, float]]:
    """Compile the training step of the autoencoder, and return what trains it from its first parameters."""
    name = installed_library()
    library, tt = importlib.import_module(name), importlib.import_module(f"{name}.tensor")
    net = training.Network(library, tt)
    loss = net.loss + regs.loss(net.layers, net.outputs)
    step = library.function([net.x], loss, updates=training.descent(tt, loss, net.params))
    starts = [param.get_value() for param in net.params]
    data = np.random.default_rng(1).normal(size=(training.BATCH, training.SIZES[0])).astype("float32")

    def evaluate(trial: Any) -> dict[str, float]:
        for param, start in zip(net.params, starts):
            param.set_value(start)
        return {"loss": [float(step(data)) for _ in range(STEPS)][-1]}

    return evaluate


def found(function: Any, trials: int, **more: Any) -> search.Result:
    """Search for the weight."""
    return search.run(function, SPACE, minimize="loss", trials=trials, sampler=RandomSampler(), **more)


# One compilation, or one for each trial


def compilations(rounds: int) -> list[Row]:
    """Compare a search with a loop that builds and compiles for each weight; both have the same losses."""
    numbers, draws = iter(range(1, 1000)), np.random.default_rng(0)

    def each(weights: Iterable[float]) -> list[float]:
        built = (regkit.build({ALIAS: {"weight": weight, "reduction": "mean"}}) for weight in weights)
        return [prepare(regs)(None)["loss"] for regs in built]

    def one() -> float:
        return seconds(lambda: found(prepare, TRIALS, seed=next(numbers)))

    def another() -> float:
        weights = np.exp(draws.uniform(np.log(LOW), np.log(HIGH), TRIALS))
        return seconds(lambda: each(map(float, weights)))

    first = found(prepare, 2).frame()  # which fills the cache
    np.testing.assert_allclose(first["loss"], each(first[f"{ALIAS}.weight"]), rtol=1e-4)
    times = in_turns({ONE: one, EACH: another}, rounds)
    return ratios("search", f"{TRIALS} trials of {STEPS} steps", times, ONE, rates(times))


# Workers


def work(regs: regkit.RegularizerSet) -> Callable[[Any], dict[str, float]]:
    """Return what computes for some tenths of a second, in NumPy, with nothing to compile."""
    matrix = np.random.default_rng(0).normal(size=(100, 100))

    def evaluate(trial: Any) -> dict[str, float]:
        return {"loss": sum(float(np.linalg.svd(matrix + number, compute_uv=False)[0]) for number in range(100))}

    return evaluate


def wait(regs: regkit.RegularizerSet) -> Callable[[Any], dict[str, float]]:
    """Return what waits as long, which needs no processor: more workers than cores can do it at once."""

    def evaluate(trial: Any) -> dict[str, float]:
        time.sleep(WAITING)
        return {"loss": 0.0}

    return evaluate


def workers(rounds: int, what: str, function: Any) -> list[Row]:
    """Compare searches on one, two and four workers, who have been in a search before."""

    def on(count: int) -> float:
        with cluster(count) as client:
            found(function, count, client=client)
            return seconds(lambda: found(function, TRIALS, client=client))

    names = {"1 worker": 1, "2 workers": 2, "4 workers": 4}
    times = in_turns({name: partial(on, count) for name, count in names.items()}, rounds)
    return ratios("search", f"{TRIALS} trials that {what}", times, "1 worker", rates(times))


@contextmanager
def cluster(count: int) -> Iterator[Client]:
    """A Dask cluster on this machine."""
    alone = dict(threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=logging.CRITICAL)
    with LocalCluster(n_workers=count, **alone) as own, Client(own, set_as_default=False) as client:
        yield client


# The client's own time


def nothing(regs: regkit.RegularizerSet) -> Callable[[Any], dict[str, float]]:
    """Return what does nothing for a trial."""
    return lambda trial: {"loss": 0.0}


def own_time(rounds: int, trials: int) -> list[Row]:
    """Compare trials that do nothing with Optuna's own loop; random ones, as TPE becomes slow with thousands."""
    rows = []
    with tempfile.TemporaryDirectory() as folder, cluster(2) as client:
        files = (str(Path(folder, f"{number}.db")) for number in range(1000))
        for case, count in (("in memory", trials), ("SQLite", max(trials // 10, 10))):
            storages = files if case == "SQLite" else repeat(None)
            contestants = {
                OPTUNA: partial(by_optuna, count, storages),
                HERE: partial(by_regkit, count, storages, None),
                DASK: partial(by_regkit, count, storages, client),
            }
            times = in_turns(contestants, rounds)
            notes = {name: f"{1000 * statistics.median(some) / count:.2f} ms a trial" for name, some in times.items()}
            notes[HERE] += f"; Optuna's {notes[OPTUNA]}"
            rows += ratios("search", f"{count} trials that do nothing, {case}", times, OPTUNA, notes)
    return rows


def by_optuna(count: int, storages: Iterator[str | None]) -> float:
    """Return the seconds of trials that do nothing in Optuna's own loop."""
    file = next(storages)
    study = optuna.create_study(storage=file and f"sqlite:///{file}", sampler=RandomSampler(seed=0))

    def objective(trial: optuna.Trial) -> float:
        trial.suggest_float(f"{ALIAS}.weight", LOW, HIGH, log=True)
        return 0.0

    return seconds(lambda: study.optimize(objective, n_trials=count))


def by_regkit(count: int, storages: Iterator[str | None], client: Client | None) -> float:
    """Return the seconds of as many in a search."""
    storage = next(storages)
    return seconds(lambda: found(nothing, count, storage=storage, client=client))


def seconds(function: Callable[[], Any]) -> float:
    """Return how long a call takes."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def rates(times: dict[str, list[float]]) -> dict[str, str]:
    """Return how many trials an hour each contestant makes, beside the first."""
    hourly = {name: f"{3600 * TRIALS / statistics.median(some):.0f} trials an hour" for name, some in times.items()}
    first = next(iter(hourly))
    return {name: f"{rate}; {first} {hourly[first]}" for name, rate in hourly.items()}


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__, rounds=3, trials=(500, "how many trials that do nothing; a tenth of them on SQLite"))
    name = installed_library()
    flags = f"{name.upper()}_FLAGS"
    os.environ[flags] = ",".join([*filter(None, [os.environ.get(flags)]), "floatX=float32"])
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rows = compilations(options.rounds)
    rows += workers(options.rounds, f"compute, {os.cpu_count()} cores", work)
    rows += workers(options.rounds, f"wait {WAITING} s", wait)
    rows += own_time(options.rounds, options.trials)
    show(f"A search with {name}, optuna {optuna.__version__}", rows, options.into)


if __name__ == "__main__":
    main()
