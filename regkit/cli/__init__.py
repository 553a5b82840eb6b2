"""The command line: what is installed, what it is, whether it keeps its promises, a new plugin, and what is wrong here.

Exit status: 0 if all is well, 1 if a command found something wrong, 2 if it was asked for something that is not there.
"""

from __future__ import annotations

import click

from .. import __version__
from ._checking import check
from ._commands import Commands
from ._doctor import doctor
from ._listing import list_aliases, show
from ._scaffold import new


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="regkit")
def regkit() -> None:
    """Regularizers that are plugins: what is installed, and whether it works."""


for command in (list_aliases, show, check, new, doctor):
    regkit.add_command(command)
