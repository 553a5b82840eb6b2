"""``regkit list`` and ``regkit show``."""

from __future__ import annotations

import inspect
import json
import re
import sys

import click

from ..constructors import REQUIRED, constructor_arguments
from ..discovery import class_of
from ..errors import RegkitError
from ..registry import available
from .states import states
from .terminal import Failure, console, print_table


@click.command("list")
@click.option("--check", "importing", is_flag=True, help="Import every plugin to tell its state.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def list_aliases(importing: bool, as_json: bool) -> None:
    """List the aliases, their classes and distributions, and whether they work.

    Without --check no plugin is imported: the state is what metadata and source tell. Exits with 1 if any alias is in
    conflict or broken.
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
            }
            for state in found
        ]
        click.echo(json.dumps(rows, indent=2))
    elif found:
        print_table(
            ["alias", "class", "distribution", "state", "from"],
            [
                [
                    state.alias or "?",
                    state.claim.target if state.claim else "",
                    f"{state.claim.distribution} {state.claim.version}" if state.claim else "",
                    state.state,
                    ", ".join(state.places),
                ]
                for state in found
            ],
        )
        for line in dict.fromkeys(
            f"{state.state}: {state.alias or 'metadata'}: {state.why}" for state in found if state.why
        ):
            console().print(line)
    else:
        console().print("No regularizer is installed. regkit-hidden-l1 brings the first; `regkit new` makes one.")
    sys.exit(any(state.state != "ok" for state in found))


@click.command()
@click.argument("alias")
def show(alias: str) -> None:
    """Show what an alias stands for: its constructor, what it computes, where it comes from."""
    try:
        cls = class_of(alias)
    except RegkitError as error:
        raise Failure(error) from error
    out = console()
    arguments, _ = constructor_arguments(cls)
    written = (name if default is REQUIRED else f"{name}={default!r}" for name, default in arguments.items())
    out.print(f"{cls.__name__}({', '.join(written)})", style="bold")
    claims = available()[alias]
    same = [other for other, its in available().items() if {c.target for c in its} == {c.target for c in claims}]
    for claim in claims:
        out.print(f"from         {claim}")
    out.print(f"aliases      {', '.join(same)}")
    text = inspect.cleandoc(cls.__doc__ or "")
    for equation in equations(text):
        out.print(f"equation     {equation}")
    out.print(f"\n{text or 'It has no docstring.'}")


def equations(docstring: str) -> list[str]:
    """Return the displayed equations of a docstring, each in one line; the first one in a sentence if there is none."""
    displayed = re.findall(r"^\.\. math::(.*(?:\n(?: .*)?$)*)", docstring, re.MULTILINE)
    found = displayed or re.findall(r":math:`([^`]*)`", docstring)[:1]
    return [" ".join(equation.split()) for equation in found]
