"""``regkit list``, ``show`` and ``schema``, and the state of every alias, which ``regkit doctor`` prints too."""

from __future__ import annotations

import inspect
import json
import sys
from typing import Any, NamedTuple

import click

from .._build import available, load
from .._constructor import REQUIRED, constructor_arguments
from .._discovery import claims_of, installed, registered
from .._discovery.claims import Claim
from .._messages import STANDARD_PLUGINS, first_sentence, installing
from .._regularizer import implemented
from ..errors import RegkitError
from ._equations import readable
from ._schema import DIALECT, schema_of
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


def aliases_like(alias: str) -> list[str]:
    """Return the aliases that have the same targets as one of them."""
    targets = {claim.target for claim in claims_of(alias)}
    return [other for other, of in available().items() if {claim.target for claim in of} == targets] or [alias]


@click.command("list")
@click.argument("words", nargs=-1, metavar="[WORD]...", shell_complete=completed)
@click.option("--check", "importing", is_flag=True, help="Import every plugin to see whether it works.")
@click.option("--long", "in_full", is_flag=True, help="Print class, distribution and folder too.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, with options and capabilities.")
def list_aliases(words: tuple[str, ...], importing: bool, in_full: bool, as_json: bool) -> None:
    """List the aliases, and whether they work.

    All, or those that have a WORD in their name. One line for each, with the first sentence of its class, cut where the
    terminal ends. Without --check and --json no plugin is imported: the state follows from metadata and source. Exits
    with 1 if any alias is in conflict or broken.
    """
    found = states(importing or as_json)
    if words:
        found = [state for state in found if state.alias and any(word.lower() in state.alias for word in words)]
        if not found:
            raise Failure(
                f"no alias has {' or '.join(map(repr, words))} in its name. Aliases: {', '.join(available())}"
            )
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
                **_for_programs(state),
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


def _for_programs(state: State) -> dict[str, Any]:
    """Return the options of an alias as JSON Schema, and the capabilities of its class; None where it does not work."""
    if state.alias is None or state.state not in ("ok", "registered here"):
        return {"options": None, "capabilities": None}
    cls = load(state.alias)
    hooks = list(implemented(cls))
    capabilities = {
        "selects": getattr(cls, "selects", None),
        "changes_graph": bool(getattr(cls, "changes_graph", "modify_graph" in hooks)),
        "changes_params": bool(getattr(cls, "changes_params", "after_step" in hooks)),
        "in_predictions": bool(getattr(cls, "in_predictions", False)),
        "hooks": hooks,
    }
    return {"options": schema_of(cls), "capabilities": capabilities}


@click.command()
@click.argument("aliases", nargs=-1, required=True, metavar="ALIAS...", shell_complete=completed)
def show(aliases: tuple[str, ...]) -> None:
    """Show aliases: constructor, what each computes, origin."""
    for position, alias in enumerate(aliases):
        if position:
            print_text()
        _show(alias)


def _show(alias: str) -> None:
    cls = _loaded(alias)
    arguments, _ = constructor_arguments(cls)
    written = (name if default is REQUIRED else f"{name}={default!r}" for name, default in arguments.items())
    print_text(f"{cls.__name__}({', '.join(written)})", style="bold")
    claims = claims_of(alias)
    for claim in claims:
        print_text(f"from         {claim}")
        for folder in installed().folders(claim, alias):
            print_text(f"in           {folder}")
    print_text(f"aliases      {', '.join(aliases_like(alias))}")
    print_text(f"\n{readable(inspect.cleandoc(cls.__doc__ or 'It has no docstring.'))}")


@click.command()
@click.argument("alias", shell_complete=completed)
def schema(alias: str) -> None:
    """Print the JSON Schema of a regularizer's options.

    It follows from the constructor and the section Parameters of the docstring. What it accepts may still be refused,
    such as a number out of range.
    """
    click.echo(json.dumps({"$schema": DIALECT, "title": alias, **schema_of(_loaded(alias))}, indent=2))


def _loaded(alias: str) -> type:
    """Return the class of an alias, or exit with 2."""
    try:
        with plugins_print_elsewhere():
            return load(alias)
    except RegkitError as error:
        raise Failure(error) from error
