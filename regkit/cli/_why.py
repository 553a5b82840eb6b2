"""``regkit why``: who claims an alias, what hides a claim, and which file is imported."""

from __future__ import annotations

import sys

import click

from .._discovery import claims_of, installed, registered
from .._discovery.wording import hidden_in_words, not_one_target, shadowing
from ._listing import aliases_like, completed
from ._sources import file_without_import, problem_without_import
from ._terminal import Failure, print_text


@click.command()
@click.argument("alias", shell_complete=completed)
def why(alias: str) -> None:
    """Print who claims an alias, what hides it, and which file it is.

    Imports no plugin. Exits with 1 if the alias does not work: it is in conflict, hidden, blocked, or its source shows
    that it is broken; with 2 if nobody claims it.
    """
    here, claims = installed(), claims_of(alias)
    hidden, blocked = here.hidden_claims(alias), here.blocked_claims(alias)
    if not (claims or hidden or blocked):
        raise Failure(not_one_target(alias, here, registered))
    problems = []
    for claim in claims:
        print_text(f"claimed by   {claim}")
        for folder in here.folders(claim, alias):
            print_text(f"in           {folder}")
        print_text(f"file         {file_without_import(claim.target) or 'none that is found'}")
        module = claim.target.partition(":")[0]
        problems += [problem for problem in (problem_without_import(claim.target), shadowing(module)) if problem]
    for one in hidden:
        print_text(f"hidden       {hidden_in_words(one)}")
    for claim, folder in blocked:
        print_text(f"blocked      {claim} in {folder}: REGKIT_BLOCK leaves it out")
    if len({claim.target for claim in claims}) == 1:
        print_text(f"aliases      {', '.join(aliases_like(alias))}")
    else:
        problems.append(str(not_one_target(alias, here, registered)))
    for problem in dict.fromkeys(problems):
        print_text(f"problem      {problem}")
    sys.exit(bool(problems))
