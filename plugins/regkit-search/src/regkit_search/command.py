"""``regkit search``: run or resume a `regkit_search.Search` from the command line.

Exit status: 0 if a trial is complete, 1 if none is or the search cannot go on, 2 if the search or an option is not
accepted, 130 if the user interrupted it.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path
from sysconfig import get_path
from typing import Any

import click
import cloudpickle
import optuna

import regkit

from ._result import SHOWN, Result
from ._run import Search, short
from ._space import did_you_mean
from ._storage import shown
from ._trial import SearchError, in_words

#: The exit status of an interrupted search: 128 and the number of the signal.
INTERRUPTED = 130


class Failure(click.ClickException):
    """The search or an option is not accepted."""

    exit_code = 2


class NoResult(click.ClickException):
    """The search cannot go on, or no trial is complete."""

    exit_code = 1


@click.command()
@click.argument("target", metavar="MODULE:NAME")
@click.option("--trials", type=click.IntRange(1), help="How many there are to be in the end.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object in place of the tables.")
def search(target: str, trials: int | None, as_json: bool) -> None:
    """Run a search of your own, or go on with it.

    MODULE:NAME is a regkit_search.Search in a module of this folder, or an installed one, such as my_network:search.
    Its trials are stored, by default in MODULE.NAME.db, and the same command goes on from there. Exits with 1 if no
    trial is complete, with 2 if the search is not accepted.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    command = f"regkit search {target}" + (f" --trials {trials}" if trials else "")
    try:
        with _printing_to_standard_error():
            found = _loaded(target)
            storage = found.storage or f"{target.replace(':', '.')}.db"
            result = replace(found, storage=storage).run(trials)
    except SearchError as error:
        raise NoResult(f"{target}: {error}") from error
    except regkit.RegkitError as error:
        raise Failure(f"{target}: {error}") from error
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # this ends in a moment
        click.echo(
            f"Interrupted. Finished trials are stored, and those that ran will run again. Go on with: {command}",
            err=True,
        )
        sys.exit(INTERRUPTED)
    except Exception as error:  # of Optuna, its storage or Dask
        raise NoResult(f"{target}: the search cannot go on: {in_words(error)}. Finished trials are stored") from error
    where = shown(storage).strip("'")
    (_print_json if as_json else _print_tables)(result, where)
    if not result.is_complete:
        raise NoResult(
            f"{target}: {result.no_trial_is_complete()}.\nAll trials are stored in {where}. To begin anew, delete "
            "that or give another storage; with more --trials, it goes on"
        )
    if not as_json:
        click.echo(
            f"\nAll trials are stored in {where}. `regkit search {target}` goes on from there, with more --trials."
        )


# Finding the search


def _loaded(target: str) -> Search:
    """Import a search; a module of the folder comes before one that is installed.

    Modules of the folder are sent to workers whole, so that workers need not have them.
    """
    module_name, colon, name = target.partition(":")
    if not colon or not name.isidentifier() or not all(part.isidentifier() for part in module_name.split(".")):
        raise regkit.OptionError("accepted: module:name, such as my_network:search")
    before, folder = set(sys.modules), Path.cwd()
    sys.path.insert(0, str(folder))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise regkit.OptionError(f"the module cannot be imported: {in_words(error)}") from error
        meant = did_you_mean(module_name, [one.stem for one in folder.glob("*.py")])
        raise regkit.OptionError(f"there is no module {module_name!r} in {folder}, or installed.{meant}") from error
    except (Exception, SystemExit) as error:  # of the user's module
        raise regkit.OptionError(f"the module cannot be imported: {in_words(error)}") from error
    if not hasattr(module, name):
        names = [one for one, value in vars(module).items() if isinstance(value, Search)]
        raise regkit.OptionError(
            f"{module.__name__}, {getattr(module, '__file__', 'a part of Python')}, has no {name!r}."
            f"{did_you_mean(name, names)} Its searches: {', '.join(names) or 'none'}"
        )
    found = getattr(module, name)
    if not isinstance(found, Search):
        raise regkit.OptionError(f"it is {found!r}; accepted: a regkit_search.Search")
    for one in [sys.modules[new] for new in set(sys.modules) - before]:
        if _is_of(one, folder):
            cloudpickle.register_pickle_by_value(one)
    return found


def _is_of(module: Any, folder: Path) -> bool:
    """Return whether a module is the user's: in the folder, and not of an environment below it."""
    file = Path(getattr(module, "__file__", None) or "/").absolute()
    is_installed = {"site-packages", "dist-packages"} & {*file.parts} or file.is_relative_to(get_path("stdlib"))
    return file.is_relative_to(folder) and not is_installed


# Printing


def _print_tables(result: Result, where: str) -> None:
    """Print the best trials, or the front, and the calls that build them."""
    click.echo(f"{len(result.frame())} trials: {result.counts}")
    if not result.is_complete:
        return
    several = len(result.aims) > 1
    listed = result.front if several else result.ranking
    rest = f", and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    click.echo(f"\n{'The Pareto front' if several else 'The best'}{rest}:")
    frame = result.frame().rename(columns={"number": "trial"}).drop(columns=["state", "failure"])
    shown = frame.set_index("trial", drop=False).loc[[one.number for one in listed[:SHOWN]]]
    columns = list(dict.fromkeys(["trial", *result.aims, *frame]))
    click.echo(shown[columns].to_string(index=False, na_rep="", float_format=short))
    for one in result.front[:SHOWN]:
        click.echo(f"\nTrial {one.number} is\n\nregkit.{regkit.build(one.config)!r}")


def _print_json(result: Result, where: str) -> None:
    """Print all trials and the front, for programs."""
    front = [one._asdict() for one in result.front] if result.is_complete else []
    found = {"storage": where, "aims": result.aims, "trials": result.frame().to_dict("records"), "front": front}
    click.echo(json.dumps(_for_json(found), indent=2, allow_nan=False))


def _for_json(value: Any) -> Any:
    """Return a value with null for numbers that JSON does not have."""
    if isinstance(value, dict):
        return {name: _for_json(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_for_json(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# Around the search


@contextmanager
def _printing_to_standard_error() -> Iterator[None]:
    """Send to standard error what is printed within, by processes that are started within too."""
    sys.stdout.flush()
    ours = os.dup(1)
    try:
        os.dup2(2, 1)
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(ours, 1)
        os.close(ours)
