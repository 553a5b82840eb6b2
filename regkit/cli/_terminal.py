"""Printing: colours and tables on a terminal, plain lines of any length elsewhere."""

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
    """Return a console for standard output. rich detects terminals without colour (``NO_COLOR``, ``TERM=dumb``)."""
    return Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, highlight=False, emoji=False, markup=False)


def print_text(text: str = "", style: str = "") -> None:
    """Print lines, with the control characters that metadata may contain escaped."""
    console().print(escaped(text, keep="\n"), style=style)


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]], cut: str | None = None) -> None:
    """Print rows under headers, states in colour. The column `cut` ends where the terminal ends; others wrap."""
    out = console()
    cells = [[escaped(cell) for cell in row] for row in rows]
    table = Table(box=None, pad_edge=False, header_style="bold")
    widths = [max(map(cell_len, column)) for column in zip(headers, *cells)]
    for header, width in zip(headers, widths):
        if header == cut:
            space = out.width - (sum(widths) - width) - 2 * (len(widths) - 1)  # two spaces between columns
            table.add_column(header, overflow="ellipsis", no_wrap=True, max_width=max(space, len(header)))
        else:
            table.add_column(header, overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
    with out.capture() as capture:
        out.print(table)
    click.echo("\n".join(line.rstrip() for line in capture.get().splitlines()))


@contextmanager
def plugins_print_elsewhere() -> Iterator[None]:
    """Redirect to standard error the output of plugins, also that written to descriptor 1, while they are imported."""
    try:
        stdout = os.dup(1)
    except OSError:  # it is closed
        stdout = None
    try:
        if stdout is not None:
            _flush()
            os.dup2(2, 1)
        with redirect_stdout(sys.stderr):
            yield
    finally:
        if stdout is not None:
            _flush()  # output that a plugin printed to the stream itself
            os.dup2(stdout, 1)
            os.close(stdout)


def _flush() -> None:
    for stream in (sys.stdout, sys.__stdout__):
        if stream is not None and not stream.closed:
            stream.flush()


class Failure(click.ClickException):
    """A command cannot do what it was asked to; the exit status is 2."""

    exit_code = 2

    def __init__(self, error: object) -> None:
        super().__init__(escaped(str(error), keep="\n"))
