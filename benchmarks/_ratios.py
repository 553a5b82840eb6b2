"""What the benchmarks share: the library, contestants timed in turns, their ratios with the spread, the table."""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Row:
    """One contestant beside another: how many times as long it takes, and the quartiles of that."""

    benchmark: str
    case: str
    contestant: str
    ratio: float
    low: float
    high: float
    note: str = ""


def installed_library() -> str:
    """Return the name of the graph library that is installed."""
    for name in ("theano", "aesara", "pytensor"):
        if find_spec(name):
            return name
    sys.exit("no graph library is installed")


def in_turns(contestants: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Return what each contestant measures in each round. In a round each has one turn, in an order drawn anew."""
    order = random.Random(0)
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name in order.sample(list(contestants), len(contestants)):
            times[name].append(contestants[name]())
    return times


def ratios(
    benchmark: str, case: str, times: dict[str, list[float]], against: str, notes: dict[str, str] | None = None
) -> list[Row]:
    """Return a row for each contestant: its times over those that another had in the same rounds."""
    rows = []
    for name, measured in times.items():
        if name != against:
            low, middle, high = statistics.quantiles([a / b for a, b in zip(measured, times[against])], n=4)
            rows.append(Row(benchmark, case, name, middle, low, high, (notes or {}).get(name, "")))
    return rows


def arguments(description: str | None, rounds: int, **numbers: tuple[int, str]) -> argparse.Namespace:
    """Read the command line, which is the same for all of them, but for numbers with a default and what they say."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument(
        "--rounds", type=int, default=rounds, help="turns that each contestant has (default: %(default)s)"
    )
    parser.add_argument("--into", type=Path, help="folder to leave the rows in, for picture.py")
    for name, (default, meaning) in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{meaning} (default: %(default)s)")
    options = parser.parse_args()
    if options.rounds < 2:
        parser.error("--rounds takes 2 or more: there are quartiles to be had")
    return options


def show(title: str, rows: Iterable[Row], into: Path | None) -> None:
    """Print rows as a table, and leave them in a folder if there is one."""
    rows = list(rows)
    title = f"{title}. Python {platform.python_version()}"
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("case", "contestant"):
        table.add_column(heading, no_wrap=True)
    for heading in ("ratio", "quartiles"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in rows:
        table.add_row(row.case, row.contestant, f"{row.ratio:.2f}", f"{row.low:.2f} to {row.high:.2f}", row.note)
    Console(width=160, highlight=False).print(title, table, "", sep="\n")
    if into:
        into.mkdir(parents=True, exist_ok=True)
        python = platform.python_version()
        found = [{**asdict(row), "python": python.rpartition(".")[0]} for row in rows]
        name = f"{rows[0].benchmark}-{os.environ.get('REGKIT_LANE', 'here')}-{python}.json"
        (into / name).write_text(json.dumps({"title": title, "rows": found}, indent=1))
