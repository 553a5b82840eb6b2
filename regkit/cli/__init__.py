"""The command line.

Exit status: 0 for success, 1 if a command found a problem, 2 if it could not do what it was asked to.
"""

from __future__ import annotations

import click

from .. import __version__
from ._checking import check
from ._commands import Commands
from ._doctor import doctor
from ._listing import list_aliases, schema, show
from ._scaffold import new
from ._why import why


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="regkit")
def regkit() -> None:
    """Regularizers as plugins: list, check and make them."""


for command in (list_aliases, show, schema, why, check, new, doctor):
    regkit.add_command(command)
