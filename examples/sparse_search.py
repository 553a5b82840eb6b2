"""How sparse is the sparse autoencoder to be? Thirty weights of ``hidden_sparsity``, with one compilation.

The network of sparse_autoencoder.py is trained at 30 weights from 0.01 to 2 by a search of regkit-search, on a Dask
cluster of two processes on this machine. What comes out is a curve: how much of the photographs is lost for how few
activations, and where on the way filters become edges.

    python examples/sparse_search.py            # a table, and a picture in examples/output
    python examples/sparse_search.py --compare  # also timed, against three runs of sparse_autoencoder.py by hand

What a user writes for a search is `prepare`, and the call of `search.run` in `searched`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

try:
    import dask
    import numpy as np
    import optuna
    import regkit_search as search
    from distributed import Client, LocalCluster
    from optuna.distributions import FloatDistribution
    from rich.console import Console
    from rich.table import Table
    from sparse_autoencoder import SIDE, build_network, compiled, parse, photographs, sample_patches, train

    import regkit
    from _figures import WELL_EXPLAINED, measure
    from _library import graph_library
except ImportError as missing:
    sys.exit(f'{missing}. In the checkout: pip install ".[demo]" ./plugins/regkit-{{hidden-l1,search}}')

HERE = Path(__file__).parent
OUTPUT = HERE / "output"
WEIGHTS = [float(weight) for weight in np.geomspace(0.01, 2, 30)]
BY_HAND = (0.1, 0.3, 0.8)
#: What both sides train: fewer patches, units and iterations than `make demo` has, so that a training is a second.
SIZES = ("--patches", "1000", "--units", "64", "--iterations", "100")
#: One thread of NumPy's matrix products for each process, as Dask has it of itself: more threads than there are
#: processors wait for each other.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
#: Dask has its workers give memory back at once, so that every step of a training asks the system for it again, which
#: takes half as long as the step. This is what glibc comes to by itself in a process that needs such arrays often.
MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(2**26), "MALLOC_MMAP_THRESHOLD_": str(2**25)}


# The search


def prepare(regs: regkit.RegularizerSet) -> Any:
    """Build and compile the network on a worker, once; return what trains and measures it for each weight."""
    options = parse(list(SIZES))
    library, tt = graph_library()
    rng = np.random.default_rng(options.seed)
    patches = sample_patches(photographs(False, rng), options.patches, rng)
    network = build_network(library, tt, patches, options.units, regs, rng)
    parameters = list(network.parameters.values())
    start = [parameter.get_value() for parameter in parameters]
    loss_and_gradients, activate = compiled(library, tt, network)

    def evaluate(trial: search.Trial) -> dict[str, float]:
        train(parameters, loss_and_gradients, start, options.iterations, lambda loss: None)
        activations, reconstructions = activate()
        filters = network.parameters["out.w"].get_value().reshape(-1, SIDE, SIDE)
        weight = trial.params["hidden_sparsity.weight"]
        found = measure(weight, filters, activations, patches, reconstructions)
        return {
            "unexplained": found.unexplained,
            "active": 1 - found.near_zero,
            "edges": found.share_gabor,
            "cells": found.cells,
        }

    return evaluate


def searched() -> search.Result:
    """Run the search on two processes."""
    space = {"hidden_sparsity": {"weight": FloatDistribution(WEIGHTS[0], WEIGHTS[-1], log=True), "reduction": "batch"}}
    sampler = optuna.samplers.GridSampler({"hidden_sparsity.weight": WEIGHTS})
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    dask.config.set({"distributed.nanny.pre-spawn-environ": {**ONE_THREAD, **MEMORY}})
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        return search.run(
            prepare,
            space,
            minimize=["unexplained", "active"],
            trials=len(WEIGHTS),
            sampler=sampler,
            client=client,
        )


def table(result: search.Result) -> Table:
    """Return the measures, one row for each weight in order."""
    drawn = Table(
        title=f"Sparse autoencoder at {len(WEIGHTS)} weights",
        caption=(
            "Unexplained: share of the patches' variance. Active: share of activations that are not near zero. "
            f"Edges: share of filters that a Gabor function explains by more than {WELL_EXPLAINED:g}. Cells: how many "
            "of 16 cells of the patch hold a filter's centre."
        ),
        caption_justify="left",
    )
    columns = {"hidden_sparsity.weight": "{:.3g}", "unexplained": "{:.3f}", "active": "{:.1%}", "edges": "{:.0%}"}
    columns["cells"] = "{:.0f}"
    for name in columns:
        drawn.add_column(name, justify="right")
    for _, row in result.frame().sort_values("hidden_sparsity.weight").iterrows():
        drawn.add_row(*(shown.format(row[name]) for name, shown in columns.items()))
    return drawn


# What it takes, against what it takes by hand


def timed(program: str, compile_folder: Path, *arguments: str) -> tuple[float, str]:
    """Run a program of examples/ in a process of its own; return its seconds from start to end, and what it printed."""
    environment = {**os.environ, **ONE_THREAD}
    for variable, needed in (("THEANO_FLAGS", "blas__ldflags="), ("AESARA_FLAGS", ""), ("PYTENSOR_FLAGS", "")):
        given = os.environ.get(variable, needed)  # as _library.py has it
        environment[variable] = ",".join(filter(None, (given, f"base_compiledir={compile_folder}")))
    command = [sys.executable, str(HERE / program), *arguments]
    began = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    took = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"{program} failed:\n{done.stderr}")
    return took, done.stdout


def compare(console: Console) -> None:
    """Time three trainings by hand, one process after the other, and then the search."""
    with tempfile.TemporaryDirectory() as folder:

        def by_hand(weight: float, compile_folder: str) -> float:
            arguments = (*SIZES, "--weights", str(weight), "--output", folder)
            with console.status(f"sparse_autoencoder.py, weight {weight:g}"):
                return timed("sparse_autoencoder.py", Path(folder, compile_folder), *arguments)[0]

        cold = [by_hand(weight, f"of {weight:g}") for weight in BY_HAND]
        warm = [by_hand(weight, f"of {BY_HAND[0]:g}") for weight in BY_HAND[1:]]
        with console.status(f"the search, {len(WEIGHTS)} weights"):
            took, printed = timed("sparse_search.py", Path(folder, "of the search"))
    console.print(printed)
    rows = (
        (f"{len(BY_HAND)} weights by hand, each compiled from nothing", cold),
        (f"{len(BY_HAND)} weights by hand, two of them after the first has compiled", [cold[0], *warm]),
        (f"{len(WEIGHTS)} weights by a search, two processes, compiled from nothing", [took]),
    )
    drawn = Table(
        title="Whole processes, from start to end, on this machine",
        caption=(
            f"By hand: sparse_autoencoder.py {' '.join(SIZES)}, one process after the other. The search trains the "
            "same network on the same patches. Each process has one thread for matrix products."
        ),
        caption_justify="left",
    )
    drawn.add_column("")
    drawn.add_column("seconds", justify="right")
    for what, times in rows:
        parts = f"{' + '.join(f'{one:.0f}' for one in times)} = " if len(times) > 1 else ""
        drawn.add_row(what, f"{parts}{sum(times):.0f}")
    console.print(drawn)
    less = "less" if took < sum(cold) else "more"
    console.print(
        f"{len(WEIGHTS)} weights took {less} time than {len(BY_HAND)} separate compilations and trainings: "
        f"{took / sum(cold):.2f} of it."
    )


def main() -> None:
    """Search, print the table, draw the picture; or time that."""
    parser = argparse.ArgumentParser(description="Train the sparse autoencoder at 30 weights with one compilation.")
    parser.add_argument("--compare", action="store_true", help="time it against three trainings by hand")
    console = Console()
    if parser.parse_args().compare:
        compare(console)
        return
    try:
        result = searched()
    except regkit.UnknownAliasError as missing:
        sys.exit(f"{missing}")
    console.print(table(result))
    OUTPUT.mkdir(exist_ok=True)
    picture = OUTPUT / "sparse_search.png"
    result.plot().savefig(picture, dpi=110)
    console.print(f"picture: {picture}")


if __name__ == "__main__":
    main()
