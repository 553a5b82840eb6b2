"""``regkit list`` and ``regkit show``."""

from __future__ import annotations

import inspect
import json
import sys

import click

from .._build import available, load
from .._constructor import REQUIRED, constructor_arguments
from .._discovery import installed
from ..errors import RegkitError
from ._equations import readable
from ._states import WRONG, states
from ._terminal import Failure, plugins_print_elsewhere, print_table, say


def completed(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the aliases that begin with what is typed; no plugin is imported for that."""
    return [alias for alias in available() if alias.startswith(incomplete) and alias.isprintable()]


@click.command("list")
@click.option("--check", "importing", is_flag=True, help="Import every plugin to tell its state.")
@click.option("--long", "in_full", is_flag=True, help="Also tell class, distribution and place.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def list_aliases(importing: bool, in_full: bool, as_json: bool) -> None:
    """List the aliases, and whether they work.

    One line for each, with the first sentence of its class, cut where the terminal ends. Without --check no plugin is
    imported: the state is what metadata and source tell. Exits with 1 if any alias is in conflict or broken.
    """
    found = states(importing)
    if as_json:
        rows = [
            {
                "alias": state.alias,
                "class": state.claim.target if state.claim else None,
                "distribution": state.claim.distribution if state.claim else None,
                "version": state.claim.version if state.claim else None,
                "from": state.places,
                "state": state.state,
                "why": state.why,
                "does": state.sentence,
            }
            for state in found
        ]
        click.echo(json.dumps(rows, indent=2))
    elif found:
        table = [[state.alias or "?", state.state, state.sentence] for state in found]
        if in_full:
            places = [
                [state.claim.target if state.claim else "", state.whose, ", ".join(state.places)] for state in found
            ]
            print_table(
                ["alias", "state", "does", "class", "distribution", "from"],
                [[*row, *place] for row, place in zip(table, places)],
            )
        else:
            print_table(["alias", "state", "does"], table, cut="does")
        for line in dict.fromkeys(
            f"{state.state}: {state.alias or 'metadata'}: {state.why}" for state in found if state.why
        ):
            say(line)
    else:
        say("No regularizer is installed. regkit-hidden-l1 brings the first; `regkit new` makes one.")
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
    say(f"{cls.__name__}({', '.join(written)})", style="bold")
    claims = available()[alias]
    same = [other for other, its in available().items() if {c.target for c in its} == {c.target for c in claims}]
    for claim in claims:
        say(f"from         {claim}")
        for place in installed().places(claim, alias):
            say(f"in           {place}")
    say(f"aliases      {', '.join(same)}")
    say(f"\n{readable(inspect.cleandoc(cls.__doc__ or 'It has no docstring.'))}")
