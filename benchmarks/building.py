"""Building again in one process: beside a dictionary of classes and the constructor, and with ``regkit.split`` before.

The path is read and the plugin imported before. ``regkit.split`` looks whether a folder of the path has changed, and
compares each of the host's keywords with every alias.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from _ratios import Row, arguments, in_turns, ratios, show
from discovery import make_tree

import regkit

CALLS = 500
HOST = {
    "hidden_sparsity": 0.1,
    "learning_rate": 0.01,
    "batch_size": 64,
    "epochs": 10,
    "callbacks": (),
    "momentum": 0.9,
}
CASES = {"a number": {"weight": 0.1}, "a dict of two": {"weight": 0.1, "pattern": "hid*"}}


def seconds_of(call: Callable[[], object]) -> Callable[[], float]:
    """Return a function that measures the CPU seconds of one call, over many calls."""

    def measured() -> float:
        began = time.process_time()
        for _ in range(CALLS):
            call()
        return (time.process_time() - began) / CALLS

    return measured


def split_and_build() -> None:
    """Take a regularizer out of a host's keywords, and build it."""
    options, _ = regkit.split(HOST)
    regkit.build(options)


def measure(size: int, rounds: int) -> list[Row]:
    """Return the rows of one number of installed distributions."""
    regkit.refresh()
    assert len(regkit.available()) >= size
    classes = {"hidden_sparsity": type(regkit.build(hidden_sparsity=0.1)[0])}
    rows = []
    for case, options in CASES.items():
        value = options if len(options) > 1 else options["weight"]
        contestants = {
            "look-up and constructor": seconds_of(lambda options=options: classes["hidden_sparsity"](**options)),
            "regkit.build": seconds_of(lambda value=value: regkit.build(hidden_sparsity=value)),
        }
        rows += rows_of(f"{case}, {size} aliases", in_turns(contestants, rounds), "look-up and constructor")
    contestants = {
        "regkit.build": seconds_of(lambda: regkit.build(hidden_sparsity=0.1)),
        "regkit.split, then regkit.build": seconds_of(split_and_build),
    }
    return rows + rows_of(
        f"a host's {len(HOST)} keywords, {size} aliases", in_turns(contestants, rounds), "regkit.build"
    )


def rows_of(case: str, times: dict[str, list[float]], against: str) -> list[Row]:
    """Return the rows of a case, with microseconds."""
    notes = {name: f"{1e6 * statistics.median(measured):.1f} us" for name, measured in times.items()}
    notes = {name: f"{note} / {notes[against]}" for name, note in notes.items()}
    return ratios("building", case, times, against, notes)


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__, rounds=60)
    rows = []
    for size in (20, 1000):
        with tempfile.TemporaryDirectory() as folder:
            make_tree(Path(folder), size + 1, size)
            sys.path.insert(0, folder)
            rows += measure(size, options.rounds)
            sys.path.remove(folder)
    show("Building again, to a look-up and the constructor; with regkit.split, to regkit.build", rows, options.into)


if __name__ == "__main__":
    main()
