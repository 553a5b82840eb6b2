"""What is printed, and how: colours and tables on a terminal, plain lines of any length elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout

import click
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .._messages import escaped

#: Where output is piped nothing is cut off or wrapped.
PIPED_WIDTH = 10_000

STYLES = {
    "ok": "green",
    "registered here": "green",
    "conflict": "yellow",
    "hidden": "yellow",
    "broken": "red",
    "not installed": "dim",
}


def console() -> Console:
    """Return where to print. rich sees to terminals without colour (``NO_COLOR``, ``TERM=dumb``)."""
    return Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, highlight=False, emoji=False, markup=False)


def say(text: str = "", style: str = "") -> None:
    """Print lines in which others may have had a say."""
    console().print(escaped(text, keep="\n"), style=style)


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]], cut: str | None = None) -> None:
    """Print rows under headers; a state in its colour. The column `cut` ends where the terminal does, others wrap."""
    out = console()
    cells = [[escaped(cell) for cell in row] for row in rows]
    table = Table(box=None, pad_edge=False, header_style="bold")
    widths = [max(map(cell_len, column)) for column in zip(headers, *cells)]
    for header, width in zip(headers, widths):
        if header == cut:
            left = out.width - (sum(widths) - width) - 2 * (len(widths) - 1)  # two spaces between columns
            table.add_column(header, overflow="ellipsis", no_wrap=True, max_width=max(left, len(header)))
        else:
            table.add_column(header, overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
    with out.capture() as capture:
        out.print(table)
    click.echo("\n".join(line.rstrip() for line in capture.get().splitlines()))


@contextmanager
def plugins_print_elsewhere() -> Iterator[None]:
    """Send to standard error what plugins print meanwhile, or write to descriptor 1: it is not our output."""
    try:
        ours = os.dup(1)
    except OSError:  # closed: there is nothing to keep clean
        ours = None
    try:
        if ours is not None:
            _flush()
            os.dup2(2, 1)
        with redirect_stdout(sys.stderr):
            yield
    finally:
        if ours is not None:
            _flush()  # what was printed to the stream itself
            os.dup2(ours, 1)
            os.close(ours)


def _flush() -> None:
    for stream in (sys.stdout, sys.__stdout__):
        if stream is not None and not stream.closed:
            stream.flush()


class Failure(click.ClickException):
    """Something that was asked for is not there, or cannot be done."""

    exit_code = 2

    def __init__(self, error: object) -> None:
        super().__init__(escaped(str(error), keep="\n"))
