"""``regkit check``."""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

import click
from rich.progress import Progress

from .._discovery import is_alias
from ..errors import RegkitError
from ..testing._network import ACTIVATIONS
from ._listing import completed
from ._terminal import Failure, console

ON_THESE = "Run on these libraries only, such as pytensor, and on NumPy. Repeatable."


@click.command()
@click.argument("regularizer", metavar="ALIAS|MODULE:CLASS", shell_complete=completed)
@click.option("--options", default="{}", metavar="JSON", help="Constructor arguments to try it with.")
@click.option("--activation", type=click.Choice(ACTIVATIONS), default="tanh", help="Of the network in the checks.")
@click.option("--axes", type=click.Choice(["2", "3"]), default="2", help="Dimensions of that network's outputs.")
@click.option(
    "--expect", multiple=True, metavar="CHECK=REASON", help="A check that is expected to fail, and why. Repeatable."
)
@click.option("--library", "libraries", multiple=True, metavar="NAME", help=ON_THESE)
@click.option(
    "--traceback", is_flag=True, help="Print the traceback of every failure, and the checks that were not reached."
)
def check(
    regularizer: str,
    options: str,
    activation: str,
    axes: str,
    expect: tuple[str, ...],
    libraries: tuple[str, ...],
    traceback: bool,
) -> None:
    """Check that a regularizer keeps every promise.

    It is tried on NumPy and on every installed library that has an engine. Exits with 1 if it breaks a promise, with 2
    if there is no such regularizer.
    """
    from ..testing import Network, installed_libraries
    from ..testing._run import Conformance
    from ..testing._subject import Subject

    of_module = ":" in regularizer and not is_alias(regularizer)
    try:
        subject = Subject(
            _class(regularizer) if of_module else regularizer,
            aliases=() if of_module else None,
            options=_mapping(options),
            network=Network(activation, int(axes)),
        )
        expected = dict(_pair(pair) for pair in expect)
        conformance = Conformance(subject, expected, list(libraries) or None)
    except RegkitError as error:
        raise Failure(error) from error
    out = console()
    ids = conformance.ids()
    with Progress(console=out, transient=True, disable=not out.is_terminal) as progress:
        task = progress.add_task("", total=len(ids))
        for where, name in ids:
            progress.update(task, description=f"{where}: {name}")
            conformance.outcome(where, name)
            progress.advance(task)
    report = conformance.report()
    out.print(report.text(traceback=traceback), soft_wrap=True)
    if not installed_libraries():
        out.print("No graph library is installed here: only NumPy's arrays were tried.")
    sys.exit(not report.passed)


def _class(target: str) -> Any:
    """Import MODULE:CLASS, also from the current folder."""
    module, _, attribute = target.partition(":")
    sys.path.insert(0, "")
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (Exception, SystemExit) as error:  # a module may raise anything while it is imported
        raise Failure(f"{target} cannot be imported: {type(error).__name__}: {error}") from error
    return found


def _mapping(text: str) -> dict[str, Any]:
    try:
        options = json.loads(text)
    except ValueError as error:
        raise Failure(f"--options {text!r} is not JSON: {error}") from error
    if not isinstance(options, dict):
        raise Failure(f'--options {text!r} is not a JSON object, such as \'{{"reduction": "mean"}}\'')
    return options


def _pair(text: str) -> tuple[str, str]:
    name, equals, reason = text.partition("=")
    if not equals or not reason.strip():
        raise Failure(f"--expect {text!r} is not a CHECK=REASON")
    return name, reason
