"""What ``regkit search`` says of a search: the best trials, what to build, where it is stored and how it goes on."""

from __future__ import annotations

import json
import math
import shlex
from typing import Any

import click
import optuna
from optuna.trial import TrialState

import regkit

from .files import SearchFile
from .progress import short
from .results import SHOWN, Result
from .storages import url_of
from .studies import NAME
from .terminal import print_table, say
from .written import as_toml


def print_tables(described: SearchFile, result: Result) -> None:
    """Print the best trials, or the front, and what they are built from."""
    say(f"{len(result.study.get_trials(deepcopy=False))} trials: {result.counts}")
    if not result.is_complete:
        return
    several = len(result.aims) > 1
    shown = result.front if several else result.ranking
    rest = f", and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
    say(f"\n{'The Pareto front' if several else 'The best'}{rest}:")
    frame = result.frame().set_index("number")
    columns = [*result.aims, *(name for name in frame if name not in (*result.aims, "state", "failure"))]
    rows = [[str(one.number), *(_cell(frame[name][one.number]) for name in columns)] for one in shown[:SHOWN]]
    print_table(["trial", *columns], rows)
    for one in result.front[:SHOWN]:
        say(f"\nTrial {one.number} is\n")
        say(f"regkit.{regkit.build(one.config)!r}\n")
        say(as_toml(one.config))
    say(f"\n{_where(described)} `{_command(described)}` goes on from there, with --trials beyond {described.trials}.")


def print_json(described: SearchFile, result: Result) -> None:
    """Print all trials and the front, for programs."""
    rows = result.frame().to_dict("records")
    front = [one._asdict() for one in result.front] if result.is_complete else []
    found = {
        "storage": described.storage,
        "aims": result.aims,
        "trials": rows,
        "front": front,
    }
    click.echo(json.dumps(_for_json(found), indent=2, allow_nan=False))


def no_result(described: SearchFile, result: Result) -> str:
    """Return why there is no result, and what to do; an empty string if there is one."""
    if result.is_complete:
        return ""
    return (
        f"{result.no_trial_is_complete()}.\n{_where(described)} To begin anew, delete that or give another storage; "
        f"with --trials beyond {described.trials}, it goes on"
    )


def interrupted(described: SearchFile, trials: int | None) -> str:
    """Return what a search that was interrupted has stored, and how it goes on."""
    options = "" if trials is None else f" --trials {trials}"
    try:
        study = optuna.load_study(study_name=described.name or NAME, storage=url_of(described.storage))
    except Exception:  # before there was one
        return f"Interrupted before the first trial. Begin again with: {_command(described)}{options}"
    found = study.get_trials(deepcopy=False)
    running = sum(trial.state == TrialState.RUNNING for trial in found)
    again = f"; {running} that ran will run again" if running else ""
    return (
        f"Interrupted. {len(found) - running} of {described.trials} trials are stored in {described.storage}"
        f"{again}. Go on with: {_command(described)}{options}"
    )


def _command(described: SearchFile) -> str:
    return f"regkit search {shlex.quote(str(described.path))}"


def _where(described: SearchFile) -> str:
    return f"All trials are stored in {described.storage}."


def _cell(value: Any) -> str:
    return "" if value is None or value != value else short(value)


def _for_json(value: Any) -> Any:
    """Return a value, whatever is in it, with null for what JSON has no number for."""
    if isinstance(value, dict):
        return {name: _for_json(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_for_json(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
