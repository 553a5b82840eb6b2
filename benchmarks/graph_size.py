"""What a penalty over L outputs costs: ours against the same penalty summed by hand with Python's ``sum``.

    python benchmarks/graph_size.py              # with the graph library that is installed

Each of the two is built, differentiated, compiled and run in a fresh process of its own, with nothing in the compile
cache, and the steps of the two are timed in turns. Figures are ratios, ours to by hand: below 1, ours is cheaper.
"fails" is said of the sum by hand where it ends in an error, and ours is then given in seconds.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from _ratios import installed_library

import regkit

SIZES = (2, 20, 200, 1000)
#: pytensor's own default, numba, takes minutes at 1,000 outputs in any form.
MODES = {"theano": {"": 1000}, "aesara": {"": 1000}, "pytensor": {"linker=cvm": 1000, "": 200}}
STEPS = 30


def measure(form: str, size: int) -> None:
    """Measure one form, then run a timed batch of steps for each line read; a process of its own."""
    name = installed_library()
    library, tt = importlib.import_module(name), importlib.import_module(f"{name}.tensor")
    rng = np.random.default_rng(0)
    x = tt.matrix("x", dtype="float64")
    params = [library.shared(rng.normal(size=(8, 4))) for _ in range(size)]
    outputs = {f"hid{i}:out": tt.tanh(x.dot(param)) for i, param in enumerate(params)}
    figures = {}
    try:
        began = time.perf_counter()
        if form == "ours":
            loss = regkit.build(hidden_l1=dict(weight=0.1, pattern="hid*")).loss([], outputs)
        else:
            loss = 0.1 * (sum(abs(output).sum() for output in outputs.values()) / size)
        figures["nodes"] = count_nodes(name, loss)
        figures["build"] = time.perf_counter() - began
        began = time.perf_counter()
        gradients = tt.grad(loss, params)
        figures["gradient"] = time.perf_counter() - began
        began = time.perf_counter()
        step = library.function([x], [loss, *gradients])
        figures["compile"] = time.perf_counter() - began
        data = rng.normal(size=(16, 8))
        figures["value"] = float(step(data)[0])
    except Exception as error:  # RecursionError, or whatever the library makes of it
        figures = {"error": type(error).__name__}
    print(json.dumps(figures), flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        for _ in range(STEPS):
            step(data)
        print((time.perf_counter() - began) / STEPS, flush=True)


def count_nodes(name: str, expression: object) -> int:
    """Return how many operations an expression is made of."""
    traversal = importlib.import_module(f"{name}.graph.{'traversal' if name == 'pytensor' else 'basic'}")
    return len(list(traversal.io_toposort([], [expression])))


class Worker:
    """A process that measures one form."""

    def __init__(self, name: str, flags: str, form: str, size: int, folder: str, seconds: float) -> None:
        variable = f"{name.upper()}_FLAGS"
        kept = [flag for flag in os.environ.get(variable, "").split(",") if flag and "base_compiledir" not in flag]
        environment = {**os.environ, variable: ",".join([*kept, *filter(None, [flags]), f"base_compiledir={folder}"])}
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--worker", form, str(size)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self.figures = self._first_line(seconds)

    def _first_line(self, seconds: float) -> dict[str, float]:
        timer = threading.Timer(seconds, self.process.kill)
        timer.start()
        line = self.process.stdout.readline()
        timer.cancel()
        return json.loads(line) if line else {"error": f"over {seconds:.0f} s"}

    def batch(self) -> float:
        """Return the seconds of one step, over a batch of them."""
        print(file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())

    def stop(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait()


def compare(name: str, flags: str, size: int, seconds: float) -> str:
    """Return one row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        ours, by_hand = (
            Worker(name, flags, form, size, str(Path(folder, form)), seconds) for form in ("ours", "by hand")
        )
        if "error" in ours.figures:
            row = [f"ours: {ours.figures['error']}"]
        elif "error" in by_hand.figures:
            figures = ours.figures
            row = [str(figures["nodes"]), *(f"{figures[key]:.2f} s" for key in ("gradient", "compile"))]
            row += [f"{1000 * statistics.median(ours.batch() for _ in range(5)):.2f} ms"]
            row += [f"by hand fails: {by_hand.figures['error']}"]
        else:
            np.testing.assert_allclose(ours.figures["value"], by_hand.figures["value"], rtol=1e-9)
            ratios = sorted(ours.batch() / by_hand.batch() for _ in range(7))
            row = [f"{ours.figures[key] / by_hand.figures[key]:.2f}" for key in ("nodes", "gradient", "compile")]
            row += [f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"]
        for worker in (ours, by_hand):
            worker.stop()
    return f"{size:>8}  " + "".join(f"{cell:<12}" for cell in row).rstrip()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of outputs")
    parser.add_argument("--seconds", type=float, default=400, help="bound on building and compiling one form")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        measure(options.worker[0], int(options.worker[1]))
        return
    name = installed_library()
    version = importlib.import_module(name).__version__
    for flags, most in MODES[name].items():
        print(f"\n{name} {version}, {flags or 'default mode'}: regkit / by hand")
        print(f"{'outputs':>8}  {'nodes':<12}{'gradient':<12}{'compile':<12}step (spread)")
        for size in (size for size in options.sizes if size <= most):
            print(compare(name, flags, size, options.seconds), flush=True)


if __name__ == "__main__":
    main()
