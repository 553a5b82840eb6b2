"""Commands that distributions bring. None is imported before it is asked for; what it does is read in its source."""

from __future__ import annotations

from typing import Any

import click

from .._discovery.reader import Reading, imported
from ._sources import problem_without_import, sentence_without_import
from ._terminal import Failure, plugins_print_elsewhere

#: The group of entry points in which distributions declare commands: the name of one, and where click's object is.
GROUP = "regkit.commands"

#: Which distribution brings a command, to be named where it is missing.
PROVIDED_BY = {"search": "regkit-search"}


class Brought(click.Command):
    """A command of a distribution, which is not imported yet.

    Parameters
    ----------
    name : str
    reading : Reading
        What is installed of the group.
    """

    def __init__(self, name: str, reading: Reading) -> None:
        super().__init__(name)
        self._claims = reading.installed().claims(name)

    @property
    def targets(self) -> list[str]:
        """Where it is; one, unless distributions are in conflict about it."""
        return sorted({claim.target for claim in self._claims})

    @property
    def where(self) -> str:
        """Distributions, versions and targets."""
        return ", ".join(map(str, self._claims))

    def get_short_help_str(self, limit: int = 45) -> str:
        """What the command does, as its source has it."""
        sentence = sentence_without_import(self.targets[0]) if len(self.targets) == 1 else "In conflict."
        return f"{sentence.rstrip('.')}." if sentence else f"Of {self._claims[0].distribution}."

    def problem_without_import(self) -> str:
        """Return what is wrong with the command as far as metadata and source tell; an empty string if nothing is."""
        if len(self.targets) > 1:
            return f"{len(self.targets)} commands are called {self.name!r}: {self.where}. Uninstall one"
        problem = problem_without_import(self.targets[0], "command")
        return problem and f"the command {self.name!r} of {self.where} is broken: {problem}"

    def load(self) -> click.Command:
        """Return the command itself, imported.

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
        except BaseException as error:  # whatever a distribution does while it is imported
            raise Failure(
                f"the command {self.name!r} of {self.where} could not be loaded: {type(error).__name__}: {error}. "
                "Fix or uninstall it; other commands are unaffected"
            ) from error
        if not isinstance(found, click.Command):
            raise Failure(f"the command {self.name!r} of {self.where} is of type {type(found).__name__}, not click's")
        return found


class Commands(click.Group):
    """The commands of regkit, which come first, and those that distributions bring."""

    def list_commands(self, context: click.Context) -> list[str]:
        """Return the names of all of them, in order."""
        return sorted({*super().list_commands(context), *filter(str.isprintable, brought())})

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Return a command; one that a distribution brings is not imported for that."""
        return super().get_command(context, name) or brought().get(name)

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is to run, imported.

        Raises
        ------
        Failure
            If it cannot be, or its distribution is not installed.
        """
        if arguments and self.get_command(context, arguments[0]) is None and arguments[0] in PROVIDED_BY:
            missing = PROVIDED_BY[arguments[0]]
            raise Failure(f"the command {arguments[0]!r} comes with the distribution {missing}: pip install {missing}")
        name, command, rest = super().resolve_command(context, arguments)
        return name, command.load() if isinstance(command, Brought) else command, rest


def brought() -> dict[str, Any]:
    """Return the commands that distributions bring, by name."""
    reading = Reading(GROUP)
    return {name: Brought(name, reading) for name in reading.all_targets()}
