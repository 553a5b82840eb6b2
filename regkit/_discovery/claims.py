"""Claims of aliases by distributions, with versions and folders, and the metadata that cannot be read."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from .._messages import escaped
from .reader import Distribution, distribution_of, entries, key_of, normal_form, normalized, targets_in

if TYPE_CHECKING:
    from .reader import Reading


class Claim(NamedTuple):
    """A claim of an alias: ``(distribution, version, target)``.

    `distribution` and `version` are None where the alias was registered in this process.
    """

    distribution: str | None
    version: str | None
    target: str

    def __str__(self) -> str:
        if self.distribution is None:
            return escaped(f"{self.target} (registered in this process)")
        return escaped(f"{self.distribution} {self.version} ({self.target})")


class HiddenClaim(NamedTuple):
    """A claim that does not count, and the metadata folders of its distribution and of the one that hides it."""

    claim: Claim
    folder: str
    hidden_by: str


class Installed:
    """Every alias of a reading, with the claims on it."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._syntax: list[str] = []
        self._sources: dict[str, list[tuple[Distribution, str]]] = {}  # of each alias, with the targets
        for source, data in reading.files:
            distribution = distribution_of(source)
            try:
                for line, alias, target in entries(data, reading.group):
                    if alias is None:
                        self._syntax.append(_problem(distribution.folder, f", line {line} is not alias = target"))
                    else:
                        self._sources.setdefault(alias, []).append((distribution, target))
            except UnicodeDecodeError as error:
                self._syntax.append(_problem(distribution.folder, f" is not UTF-8 ({error.reason})"))

    @property
    def aliases(self) -> list[str]:
        """Every alias that a distribution claims."""
        return list(self._sources)

    @property
    def problems(self) -> list[str]:
        """The files of entry points that cannot be read, also those of distributions without our group."""
        unreadable = [(folder, _why_unreadable(folder)) for folder in self._folders()]
        return [*self._syntax, *(_problem(folder, why) for folder, why in unreadable if why)]

    def claims(self, alias: str) -> tuple[Claim, ...]:
        """Return the claims of an alias, without repetition, sorted by distribution."""
        return tuple(sorted({_claim(*source) for source in self._of(alias)}))

    def folders(self, claim: Claim, alias: str) -> list[str]:
        """Return the metadata folders that have a claim of an alias."""
        sources = self._of(alias)
        return [distribution.folder for distribution, target in sources if _claim(distribution, target) == claim]

    def _of(self, alias: str) -> list[tuple[Distribution, str]]:
        """Return who claims an alias; ``acme-l1:hidden_l1`` is the alias of one distribution."""
        alias = normal_form(alias)
        name, colon, of_it = alias.partition(":")
        if alias in self._sources or not colon:
            return self._sources.get(alias, [])
        return [source for source in self._sources.get(of_it, []) if source[0].key == normalized(name)]

    def hidden_claims(self, alias: str) -> list[HiddenClaim]:
        """Return the claims of an alias whose distribution is hidden by another copy, earlier on the path."""
        found = []
        for (source, data), other in self._reading.hidden:
            distribution, first = distribution_of(source), distribution_of(other)
            for target in sorted(targets_in(data, self._reading.group).get(normal_form(alias), ())):
                found.append(HiddenClaim(_claim(distribution, target), distribution.folder, first.folder))
        return found

    def blocked_claims(self, alias: str) -> list[tuple[Claim, str]]:
        """Return the claims of an alias whose distribution `REGKIT_BLOCK` leaves out, and their metadata folders."""
        found = []
        for source, data in self._reading.blocked:
            distribution = distribution_of(source)
            for target in sorted(targets_in(data, self._reading.group).get(normal_form(alias), ())):
                found.append((_claim(distribution, target), distribution.folder))
        return found

    def named(self, name: str) -> list[Distribution]:
        """Return the distributions of a name, with or without plugins, in the order of the path."""
        sources = dict.fromkeys(self._reading.distributions)
        return [distribution_of(source) for source in sources if key_of(source) == normalized(name)]

    def _folders(self) -> list[str]:
        return list(dict.fromkeys(source for source in self._reading.distributions if isinstance(source, str)))


def _claim(distribution: Distribution, target: str) -> Claim:
    return Claim(distribution.name, distribution.version, target)


def _why_unreadable(folder: str) -> str | None:
    """Return the reason why an entry_points.txt cannot be read; None if it can, or does not exist."""
    path = os.path.join(folder, "entry_points.txt")
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):  # older metadata is one file
        return None
    except OSError as error:
        return f" cannot be read: {error.strerror}"
    try:
        os.stat(path)
        if not os.path.isfile(path):
            return " cannot be read: it is not a file"
        with open(path, "rb"):
            return None
    except OSError as error:
        return f" cannot be read: {error.strerror}"


def _problem(folder: str, problem: str) -> str:
    return f"{escaped(folder)}: entry_points.txt{problem}"
