"""Commands that distributions bring. One is imported when it runs; its summary is read from its source."""

from __future__ import annotations

from typing import Any

import click

from .._discovery.claims import Claim, Installed
from .._discovery.reader import Reading, imported
from .._messages import installing
from ._sources import problem_without_import, sentence_without_import
from ._terminal import Failure, plugins_print_elsewhere

#: The group of entry points in which distributions declare commands: the name, and the object of click.
GROUP = "regkit.commands"

#: The distributions to install for commands that may be missing.
PROVIDED_BY = {"search": "regkit-search"}


class Brought(click.Command):
    """A command of a distribution, not imported yet."""

    def __init__(self, name: str, claims: tuple[Claim, ...]) -> None:
        super().__init__(name)
        self._claims = claims

    @property
    def targets(self) -> list[str]:
        """``module:object``; several if distributions conflict."""
        return sorted({claim.target for claim in self._claims})

    @property
    def where(self) -> str:
        """Distributions, versions and targets."""
        return ", ".join(map(str, self._claims))

    def get_short_help_str(self, limit: int = 45) -> str:
        """Return the summary in the source of the command."""
        sentence = sentence_without_import(self.targets[0]) if len(self.targets) == 1 else "In conflict."
        return f"{sentence.rstrip('.')}." if sentence else f"Of {self._claims[0].distribution}."

    def problem_without_import(self) -> str:
        """Return the problem that metadata and source show; an empty string if there is none."""
        if len(self.targets) > 1:
            return f"{len(self.targets)} commands have the name {self.name!r}: {self.where}. Uninstall one"
        problem = problem_without_import(self.targets[0], "command")
        return problem and f"the command {self.name!r} of {self.where} is broken: {problem}"

    def load(self) -> click.Command:
        """Return the object of click, imported.

        Raises
        ------
        Failure
            If several distributions have a command of that name, or it cannot be imported.
        """
        if len(self.targets) > 1 or not all(self.targets[0].partition(":")):
            raise Failure(self.problem_without_import())
        try:
            with plugins_print_elsewhere():
                found = imported(self.targets[0])
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a distribution may raise anything while it is imported
            raise Failure(
                f"the command {self.name!r} of {self.where} could not be loaded: {type(error).__name__}: {error}. "
                "Fix or uninstall it; other commands are unaffected"
            ) from error
        if not isinstance(found, click.Command):
            raise Failure(f"the command {self.name!r} of {self.where} is of type {type(found).__name__}, not click's")
        return found


class Commands(click.Group):
    """The commands of regkit, and those of distributions, which cannot replace them."""

    def list_commands(self, context: click.Context) -> list[str]:
        """Return the names of all commands, sorted."""
        return sorted({*super().list_commands(context), *filter(str.isprintable, brought())})

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Return a command; that of a distribution is not imported."""
        return super().get_command(context, name) or brought().get(name)

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is to run, imported.

        Raises
        ------
        Failure
            If it cannot be imported, or its distribution is not installed.
        """
        if arguments and self.get_command(context, arguments[0]) is None and arguments[0] in PROVIDED_BY:
            missing = PROVIDED_BY[arguments[0]]
            folder = installing(f"./plugins/{missing}")
            raise Failure(f"the command {arguments[0]!r} comes with the distribution {missing}; {folder}")
        name, command, rest = super().resolve_command(context, arguments)
        return name, command.load() if isinstance(command, Brought) else command, rest


def brought() -> dict[str, Any]:
    """Return the commands that distributions bring, by name."""
    installed = Installed(Reading(GROUP))
    return {name: Brought(name, installed.claims(name)) for name in installed.aliases}
