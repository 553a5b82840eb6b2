"""The state of every alias: ok, in conflict, or broken and why. Told without importing plugins, or by doing so."""

from __future__ import annotations

from typing import NamedTuple

from .._build import available, load
from .._discovery import installed, registered
from .._discovery.distributions import Claim
from .._messages import first_sentence
from ..errors import RegkitError
from ._sources import problem_without_import, sentence_without_import
from ._terminal import plugins_print_elsewhere

#: The states in which something is wrong.
WRONG = ("conflict", "broken")


class State(NamedTuple):
    """One claim of an alias and what is wrong with it."""

    alias: str | None  # None where the metadata could not be read
    claim: Claim | None
    places: list[str]
    state: str  # ok, registered here, hidden by what is registered here, conflict, broken
    why: str
    sentence: str  # the first of the class's docstring

    @property
    def whose(self) -> str:
        """Name and version of the distribution."""
        return "" if self.claim is None or self.claim.distribution is None else " ".join(map(str, self.claim[:2]))


def states(importing: bool) -> list[State]:
    """Return the state of each claim of each alias, then what could not be read at all."""
    problems = {alias: _problem(alias) for alias in available()} if importing else {}
    found = []
    for alias, claims in available().items():  # which may be others by now: plugins may register classes
        conflict = len({claim.target for claim in claims}) > 1
        for claim in claims:
            why = ""
            if alias in registered:
                state = "registered here" if claim.distribution is None else "hidden"
            elif conflict:
                state, why = "conflict", _problem(alias)  # known without importing any of them
            else:
                why = problems.get(alias, "") if importing else problem_without_import(claim.target)
                state = "broken" if why else "ok"
            found.append(State(alias, claim, installed().places(claim, alias), state, why, _sentence(alias, claim)))
    return found + [State(None, None, [], "broken", problem, "") for problem in installed().problems]


def _problem(alias: str) -> str:
    """What regkit says of an alias when it is asked for."""
    try:
        with plugins_print_elsewhere():
            load(alias)
    except RegkitError as error:
        return str(error)
    return ""


def _sentence(alias: str, claim: Claim) -> str:
    """What the class says of itself in its first sentence."""
    if claim.distribution is None:  # registered here
        return first_sentence(registered[alias].__doc__)
    return sentence_without_import(claim.target)
