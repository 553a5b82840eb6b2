"""What is printed, and how: colours and tables on a terminal, plain lines of any length elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

#: Where output is piped nothing is cut off or wrapped.
PIPED_WIDTH = 10_000

STYLES = {"ok": "green", "conflict": "yellow", "broken": "red", "hidden": "yellow", "not installed": "dim"}


def console() -> Console:
    """Return where to print. rich sees to terminals without colour (``NO_COLOR``, ``TERM=dumb``)."""
    return Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, highlight=False, emoji=False, markup=False)


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under headers; a state in its colour."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in headers:
        table.add_column(header, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
    out = console()
    with out.capture() as capture:
        out.print(table)
    click.echo("\n".join(line.rstrip() for line in capture.get().splitlines()))


class Failure(click.ClickException):
    """Something that was asked for is not there, or cannot be done."""

    exit_code = 2

    def __init__(self, error: object) -> None:
        super().__init__(str(error))
