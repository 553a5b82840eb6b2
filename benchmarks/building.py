"""Building again what was built before, beside a dictionary of classes and the constructor, which checks what it gets.

Nothing is read or imported any more, so that the number of installed distributions makes no difference.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from _ratios import Row, arguments, in_turns, ratios, show
from discovery import make_tree

import regkit

CALLS = 2000
CASES = {"a number": {"weight": 0.1}, "a dict of two": {"weight": 0.1, "pattern": "hid*"}}


def seconds_of(call: Callable[[], object]) -> Callable[[], float]:
    """Return what measures the seconds of one call, over many of them."""

    def measured() -> float:
        began = time.perf_counter()
        for _ in range(CALLS):
            call()
        return (time.perf_counter() - began) / CALLS

    return measured


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
        times = in_turns(contestants, rounds)
        microseconds = 1e6 * sorted(times["regkit.build"])[rounds // 2]
        notes = {"regkit.build": f"{microseconds:.2f} us; limit 3"}
        rows += ratios("building", f"{case}, {size} aliases", times, "look-up and constructor", notes)
    return rows


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__, rounds=60)
    rows = []
    for size in (20, 1000):
        with tempfile.TemporaryDirectory() as folder:
            make_tree(Path(folder), size + 1, size, ours=True)
            sys.path.insert(0, folder)
            rows += measure(size, options.rounds)
            sys.path.remove(folder)
    show("Building again, to a dictionary look-up and the constructor", rows, options.into)


if __name__ == "__main__":
    main()
