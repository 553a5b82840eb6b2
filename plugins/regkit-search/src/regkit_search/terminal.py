"""What ``regkit search`` prints: lines and tables, errors, and where `prepare` prints meanwhile."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text


class Failure(click.ClickException):
    """The search or an option is not accepted."""

    exit_code = 2


def say(text: str) -> None:
    """Print lines without markup; control characters are left out by rich."""
    _console().print(Text(text))


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under headers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in headers:
        table.add_column(header, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    _console().print(table)


def _console() -> Console:
    """The terminal; where output is piped, lines are of any length."""
    return Console(width=None if sys.stdout.isatty() else 10_000, highlight=False)


@contextmanager
def printing_to_standard_error() -> Iterator[None]:
    """Send to standard error what is printed within, by processes that are started there too."""
    sys.stdout.flush()
    ours = os.dup(1)
    try:
        os.dup2(2, 1)
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(ours, 1)
        os.close(ours)
