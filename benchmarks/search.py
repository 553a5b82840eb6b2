"""What a search costs: one compilation beside one for each trial, one worker beside several, the client's own time.

The network is the autoencoder of training.py; the graph library, in its default mode, is the one that is installed.
What it has compiled once is kept: each measure begins with a full cache, which is the best case of compiling again. On
workers, trials compute in NumPy alone.
The client's own time is that of trials that do nothing, beside Optuna's own loop with the same sampler and storage.
Where JAX or PyTorch is installed, thirty weights one by one and at once.
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
from importlib.util import find_spec
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import regkit_search as search
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
    import training

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


# Thirty weights at once


#: Examples, units of each layer, and steps of a training.
NETWORKS = {
    "1,000 steps, 60 examples, 10-40-1": (60, (10, 40, 1), 1000),
    "100 steps, 500 examples, 64-256-10": (500, (64, 256, 10), 100),
}
MANY, RATE = 30, 0.1
BY_STEPS, SCANNED, AT_ONCE = "one by one, a call for each step", "one by one, the training compiled", "at once"


def data_of(examples: int, units: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Return inputs, targets, and the first parameters of a network with one hidden layer."""
    rng = np.random.default_rng(0)
    start = {"hid.w": rng.normal(size=units[:2]), "out.w": rng.normal(size=units[1:])}
    start = {name: (w / np.sqrt(len(w))).astype("float32") for name, w in start.items()}
    made = (rng.normal(size=(examples, count)).astype("float32") for count in (units[0], units[2]))
    return *made, start


def on_jax(network: tuple[Any, Any, int], form: str) -> Callable[[regkit.RegularizerSet], Any]:
    """Return `prepare` for a search on JAX."""
    import jax
    import jax.numpy as jnp
    import regkit_jax

    x, y, start = data_of(*network[:2])

    def prepare(regs: regkit.RegularizerSet) -> Any:
        def error(params: Any) -> Any:
            return ((jnp.tanh(x @ params["hid.w"]) @ params["out.w"] - y) ** 2).mean()

        def loss(params: Any, live: Any) -> Any:
            return error(params) + regkit_jax.Run(regs, [regkit.Layer("net", params)], live=live).loss()

        def step(params: Any, live: Any) -> Any:
            return jax.tree.map(lambda p, g: p - RATE * g, params, jax.grad(loss)(params, live))

        def train(live: Any) -> Any:
            params = jax.tree.map(jnp.asarray, start)
            return {"loss": error(jax.lax.scan(lambda now, _: (step(now, live), None), params, length=network[2])[0])}

        if form == AT_ONCE:
            many = jax.jit(jax.vmap(train))
            return lambda trials: many(trials.live)
        if form == SCANNED:
            compiled = jax.jit(train)
            return lambda trial: compiled(regs.live())
        one = jax.jit(step)

        def evaluate(trial: Any) -> Any:
            params, live = jax.tree.map(jnp.asarray, start), regs.live()
            for _ in range(network[2]):
                params = one(params, live)
            return {"loss": error(params)}

        return evaluate

    return prepare


def on_torch(network: tuple[Any, Any, int], form: str) -> Callable[[regkit.RegularizerSet], Any]:
    """Return `prepare` for a search on PyTorch."""
    import torch

    from regkit import hosts

    x, y, start = data_of(*network[:2])
    x, y, start = torch.as_tensor(x), torch.as_tensor(y), {name: torch.as_tensor(w) for name, w in start.items()}

    def prepare(regs: regkit.RegularizerSet) -> Any:
        def error(params: Any) -> Any:
            return ((torch.tanh(x @ params["hid.w"]) @ params["out.w"] - y) ** 2).mean()

        def train_at_once(live: Any) -> Any:
            def loss(params: Any) -> Any:
                return error(params) + hosts.with_weights(regs, live).loss([regkit.Layer("net", params)], {})

            params = start
            for _ in range(network[2]):
                gradients = torch.func.grad(loss)(params)
                params = {name: w - RATE * gradients[name] for name, w in params.items()}
            return {"loss": error(params)}

        if form == AT_ONCE:
            many = torch.func.vmap(train_at_once)
            return lambda trials: many({name: torch.as_tensor(w) for name, w in trials.live.items()})

        def evaluate(trial: Any) -> Any:
            params = {name: w.clone().requires_grad_() for name, w in start.items()}
            for _ in range(network[2]):
                loss = error(params) + regs.loss([regkit.Layer("net", params)], {})
                gradients = torch.autograd.grad(loss, list(params.values()))
                with torch.no_grad():
                    for w, gradient in zip(params.values(), gradients):
                        w -= RATE * gradient
            return {"loss": error(params).detach()}

        return evaluate

    return prepare


def at_once(rounds: int, on: Callable[..., Any], forms: Iterable[str]) -> list[Row]:
    """Compare the CPU time of searches that train thirty weights, with what they compile; losses agree."""
    rows = []
    for case, network in NETWORKS.items():

        def run(form: str, network: Any = network) -> search.Result:
            arguments = dict(minimize="loss", trials=MANY, sampler=RandomSampler())
            space = {"weight_l2": {"weight": FloatDistribution(1e-3, 1, log=True), "pattern": "*.w"}}
            return search.run(on(network, form), space, **arguments, batch=MANY if form == AT_ONCE else None)

        losses = [run(form).frame()["loss"] for form in forms]
        for other in losses[1:]:
            np.testing.assert_allclose(other, losses[0], rtol=1e-3)
        times = in_turns({form: partial(seconds, partial(run, form), time.process_time) for form in forms}, rounds)
        notes = {form: f"{statistics.median(some):.2f} s" for form, some in times.items()}
        notes = {form: f"{note}; {BY_STEPS} {notes[BY_STEPS]}" for form, note in notes.items()}
        rows += ratios("search", f"{MANY} weights, {case}", times, BY_STEPS, notes)
    return rows


def seconds(function: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> float:
    """Return how long a call takes."""
    began = clock()
    function()
    return clock() - began


def rates(times: dict[str, list[float]]) -> dict[str, str]:
    """Return how many trials an hour each contestant makes, beside the first."""
    hourly = {name: f"{3600 * TRIALS / statistics.median(some):.0f} trials an hour" for name, some in times.items()}
    first = next(iter(hourly))
    return {name: f"{rate}; {first} {hourly[first]}" for name, rate in hourly.items()}


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__, rounds=3, trials=(500, "how many trials that do nothing; a tenth of them on SQLite"))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if find_spec("jax"):
        show("A search on JAX", at_once(options.rounds, on_jax, [BY_STEPS, SCANNED, AT_ONCE]), options.into)
        return
    if find_spec("torch"):
        show("A search on PyTorch", at_once(options.rounds, on_torch, [BY_STEPS, AT_ONCE]), options.into)
        return
    name = installed_library()
    flags = f"{name.upper()}_FLAGS"
    os.environ[flags] = ",".join([*filter(None, [os.environ.get(flags)]), "floatX=float32"])
    rows = compilations(options.rounds)
    rows += workers(options.rounds, f"compute, {os.cpu_count()} cores", work)
    rows += workers(options.rounds, f"wait {WAITING} s", wait)
    rows += own_time(options.rounds, options.trials)
    show(f"A search with {name}, optuna {optuna.__version__}", rows, options.into)


if __name__ == "__main__":
    main()
