"""``regkit list`` and ``regkit show``, and the state of every alias, which ``regkit doctor`` prints too."""

from __future__ import annotations

import inspect
import json
import sys
from typing import NamedTuple

import click

from .._build import available, load
from .._constructor import REQUIRED, constructor_arguments
from .._discovery import installed, registered
from .._discovery.claims import Claim
from .._discovery.reader import normal_form
from .._messages import STANDARD_PLUGINS, first_sentence, installing
from ..errors import RegkitError
from ._equations import readable
from ._sources import problem_without_import, sentence_without_import
from ._terminal import Failure, plugins_print_elsewhere, print_table, print_text

#: The states in which something is wrong.
WRONG = ("conflict", "broken")


class State(NamedTuple):
    """A claim of an alias, and whether the alias works."""

    alias: str | None  # None if the metadata cannot be read
    claim: Claim | None
    folders: list[str]  # of metadata that have the claim
    state: str  # ok, registered here, hidden (by a registered class), conflict, broken
    problem: str
    sentence: str  # the first of the class's docstring

    @property
    def distribution(self) -> str:
        """Name and version of the distribution."""
        return "" if self.claim is None or self.claim.distribution is None else " ".join(map(str, self.claim[:2]))


def states(importing: bool) -> list[State]:
    """Return the state of each claim of each alias, then one for each problem of metadata."""
    problems = {alias: _problem(alias) for alias in available()} if importing else {}
    found = []
    for alias, claims in available().items():  # once more: plugins may register classes when they are imported
        conflict = len({claim.target for claim in claims}) > 1
        for claim in claims:
            problem = ""
            if alias in registered:
                state = "registered here" if claim.distribution is None else "hidden"
            elif conflict:
                state, problem = "conflict", _problem(alias)  # which imports none of them
            else:
                problem = problems.get(alias, "") if importing else problem_without_import(claim.target)
                state = "broken" if problem else "ok"
            folders = installed().folders(claim, alias)
            found.append(State(alias, claim, folders, state, problem, _sentence(alias, claim)))
    return found + [State(None, None, [], "broken", problem, "") for problem in installed().problems]


def _problem(alias: str) -> str:
    """Return the message of the error of an alias; an empty string if it can be loaded."""
    try:
        with plugins_print_elsewhere():
            load(alias)
    except RegkitError as error:
        return str(error)
    return ""


def _sentence(alias: str, claim: Claim) -> str:
    """Return the first sentence of the docstring of a class."""
    if claim.distribution is None:
        return first_sentence(registered[alias].__doc__)
    return sentence_without_import(claim.target)


def completed(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the aliases that begin with the letters typed; no plugin is imported."""
    return [alias for alias in available() if alias.startswith(incomplete) and alias.isprintable()]


@click.command("list")
@click.option("--check", "importing", is_flag=True, help="Import every plugin to see whether it works.")
@click.option("--long", "in_full", is_flag=True, help="Print class, distribution and folder too.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def list_aliases(importing: bool, in_full: bool, as_json: bool) -> None:
    """List the aliases, and whether they work.

    One line for each, with the first sentence of its class, cut where the terminal ends. Without --check no plugin is
    imported: the state follows from metadata and source. Exits with 1 if any alias is in conflict or broken.
    """
    found = states(importing)
    if as_json:
        rows = [
            {
                "alias": state.alias,
                "class": state.claim.target if state.claim else None,
                "distribution": state.claim.distribution if state.claim else None,
                "version": state.claim.version if state.claim else None,
                "from": state.folders,
                "state": state.state,
                "why": state.problem,
                "does": state.sentence,
            }
            for state in found
        ]
        click.echo(json.dumps(rows, indent=2))
    elif found:
        table = [[state.alias or "?", state.state, state.sentence] for state in found]
        if in_full:
            origins = [
                [state.claim.target if state.claim else "", state.distribution, ", ".join(state.folders)]
                for state in found
            ]
            print_table(
                ["alias", "state", "does", "class", "distribution", "from"],
                [[*row, *origin] for row, origin in zip(table, origins)],
            )
        else:
            print_table(["alias", "state", "does"], table, cut="does")
        for line in dict.fromkeys(
            f"{state.state}: {state.alias or 'metadata'}: {state.problem}" for state in found if state.problem
        ):
            print_text(line)
    else:
        print_text(f"No regularizer is installed. The standard plugins, {installing(STANDARD_PLUGINS)}")
        print_text("A plugin of yours: regkit new acme-tv")
    sys.exit(any(state.state in WRONG for state in found))


@click.command()
@click.argument("alias", shell_complete=completed)
def show(alias: str) -> None:
    """Show an alias: its constructor, what it computes, its origin."""
    try:
        with plugins_print_elsewhere():
            cls = load(alias)
    except RegkitError as error:
        raise Failure(error) from error
    arguments, _ = constructor_arguments(cls)
    written = (name if default is REQUIRED else f"{name}={default!r}" for name, default in arguments.items())
    print_text(f"{cls.__name__}({', '.join(written)})", style="bold")
    every = available()
    claims = every[normal_form(alias)]
    targets = {claim.target for claim in claims}
    same = [other for other, of_other in every.items() if {claim.target for claim in of_other} == targets]
    for claim in claims:
        print_text(f"from         {claim}")
        for folder in installed().folders(claim, alias):
            print_text(f"in           {folder}")
    print_text(f"aliases      {', '.join(same)}")
    print_text(f"\n{readable(inspect.cleandoc(cls.__doc__ or 'It has no docstring.'))}")
