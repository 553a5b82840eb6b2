"""``regkit search``: a search that a file describes, run and resumed from the command line.

Exit status: 0 if a trial is complete, 1 if none is or the search cannot go on, 2 if the file or an option is not
accepted, 130 if the user interrupted it.
"""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import click
import optuna

import regkit

from .errors import SearchError
from .files import SearchFile, read
from .local import client_of
from .preparing import loaded
from .progress import LOGGER
from .reporting import interrupted, no_result, print_json, print_tables
from .results import Result
from .searching import run
from .terminal import Failure, printing_to_standard_error
from .trials import in_words

#: The exit status of a search that was interrupted: 128 and the number of the signal.
INTERRUPTED = 130


class NoResult(Failure):
    """A search that cannot go on, or in which no trial is complete."""

    exit_code = 1


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--trials", type=click.IntRange(1), help="How many there are to be in the end, in place of the file's.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw measures against weights, such as in search.png.")
@click.option("--csv", type=click.Path(path_type=Path), help="Write a row for each trial.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object in place of the tables.")
def search(file: Path, trials: int | None, plot: Path | None, csv: Path | None, as_json: bool) -> None:
    """Search for weights as a file says, or go on with it.

    FILE is in TOML: prepare = "my_network:prepare", minimize = "error", trials = 40, and a table space with aliases as
    regkit.build takes them, { low = 1e-3, high = 1, log = true } standing for a number. Trials are stored, and the same
    command goes on from there. Exits with 1 if no trial is complete, with 2 if the file is not accepted.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        found = read(file)
        _check_outputs(plot, csv)
    except regkit.RegkitError as error:
        raise Failure(error) from error
    described = found if trials is None else replace(found, trials=trials)
    if described.trials is None:
        raise Failure(f"{file}: trials is missing; accepted: an integer of at least 1, here or as --trials")
    try:
        with printing_to_standard_error(), _progress_in_lines():
            result = _searched(described)
    except SearchError as error:
        raise NoResult(f"{file}: {error}") from error
    except regkit.RegkitError as error:
        raise Failure(f"{file}: {error}") from error
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # this ends in a moment
        click.echo(interrupted(described, trials), err=True)
        sys.exit(INTERRUPTED)
    except Exception as error:  # of Optuna, its storage or Dask, in the middle of it
        said = f"the search cannot go on: {in_words(error)}. What is finished is stored in {described.storage}"
        raise NoResult(f"{file}: {said}") from error
    _write(result, plot, csv)
    (print_json if as_json else print_tables)(described, result)
    if why := no_result(described, result):
        raise NoResult(f"{file}: {why}")


def _searched(described: SearchFile) -> Result:
    prepare = loaded(described.prepare, described.path.parent)
    with client_of(described) as client:
        return run(
            prepare,
            described.space,
            **described.aims,
            trials=described.trials or 0,
            seed=described.seed,
            sampler=described.sampler,
            pruner=described.pruner,
            storage=described.storage,
            name=described.name,
            client=client,
        )


@contextmanager
def _progress_in_lines() -> Iterator[None]:
    """Write how far a search is to standard error where that is not a terminal, which has a bar."""
    handler = logging.StreamHandler()
    LOGGER.addHandler(handler)
    before = LOGGER.level
    LOGGER.setLevel(logging.INFO)
    try:
        yield
    finally:
        LOGGER.setLevel(before)
        LOGGER.removeHandler(handler)


def _check_outputs(plot: Path | None, csv: Path | None) -> None:
    """Raise before the search if what it is to leave could not be written."""
    for option, path in (("--plot", plot), ("--csv", csv)):
        if path is not None and not path.parent.is_dir():
            raise regkit.OptionError(f"{option} is {path}, but there is no folder {path.parent}")
    if plot is not None:
        from matplotlib.backend_bases import FigureCanvasBase

        kinds = FigureCanvasBase.get_supported_filetypes()
        if plot.suffix[1:].lower() not in kinds:
            raise regkit.OptionError(f"--plot is {plot}; accepted: a file that ends in one of {', '.join(kinds)}")


def _write(result: Result, plot: Path | None, csv: Path | None) -> None:
    try:
        if csv is not None:
            result.frame().to_csv(csv, index=False)
        if plot is not None and result.is_complete:
            result.plot().savefig(plot)
    except OSError as error:
        raise Failure(f"{error.filename} cannot be written: {error.strerror}") from error
