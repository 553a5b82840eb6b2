"""``regkit doctor``: what is installed here, what does not work, and what to do about it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Collection, Iterator

import click

from .. import __version__
from .._discovery import installed, reading
from .._discovery.distributions import known
from .._engines import LIBRARIES, declared, load
from .._messages import escaped
from ..errors import RegkitError
from ._commands import brought
from ._sources import is_there
from ._states import WRONG, states
from ._terminal import print_table, say

BLAS = "set THEANO_FLAGS=blas__ldflags= in the environment"

#: The first and the last Python that a graph library runs on. The versions that it needs stand in regkit-core's extras.
RUNS_ON = {"theano": ((3, 9), (3, 11)), "aesara": ((3, 9), (3, 11)), "pytensor": ((3, 11), (3, 13))}
DISTRIBUTION_OF = {"theano": "theano-pymc"}
SECONDS = 300

#: The entry point of the command line, by which a distribution is ours.
OUR_COMMAND = "regkit.__main__:main"


@click.command()
@click.pass_context
def doctor(context: click.Context) -> None:
    """Say what does not work here, and what to do about it.

    Imports every plugin and, in processes of their own, every graph library. Exits with 1 if anything is wrong.
    """
    versions = ", ".join(f"{name} {_version(name)}" for name in ("pluggy", "numpy"))
    say(f"regkit {__version__}, Python {platform.python_version()} ({sys.executable}), {versions}\n")
    libraries = [_library(name) for name in LIBRARIES]
    print_table(["graph library", "version", "state"], [row for row, _ in libraries])
    remedies = [remedy for _, remedy in libraries if remedy]
    if all(row[2] == "not installed" for row, _ in libraries):
        say(f"No graph library: regularizers work on NumPy arrays alone. {_remedy(_newest())}")
    engines, problems = _engines()
    if engines:
        say()
        print_table(["engine for", "where", "state"], engines)
        remedies += problems
    commands, problems = _commands(getattr(context.find_root().command, "commands", ()))
    if commands:
        say()
        print_table(["command", "where", "state"], commands)
        remedies += problems
    say()
    found = states(importing=True)
    print_table(["alias", "distribution", "state"], [[s.alias or "?", s.whose, s.state] for s in found])
    remedies += dict.fromkeys(s.why for s in found if s.state in WRONG)
    remedies += [*_path_problems(), *_twice_installed(), *_namesakes()]
    say()
    say("\n".join(f"- {remedy}" for remedy in remedies) or "Nothing is wrong.")
    sys.exit(bool(remedies))


def _version(distribution: str) -> str:
    """The version in a distribution's metadata. `importlib.metadata` would wait for a pipe on the path."""
    return next((one.version for one in installed().called(distribution)), "")


def _library(name: str) -> tuple[list[str], str]:
    """The row of one graph library, and what to do if it does not import, or is not what its metadata says."""
    distribution = DISTRIBUTION_OF.get(name, name)
    if not is_there(name):
        return [distribution, "", "not installed"], ""
    version = _version(distribution)
    actual, file, problem = _imported(name)
    if problem:
        version = version or "unknown"
        problem = f"{distribution} {version} cannot be imported: {problem}. {_remedy(name)}"
        return [distribution, version, "broken"], problem
    problem, concerned = _another(name, distribution, version, actual)
    if problem:
        module = f"the module {name} is {actual or 'of an unknown version'} ({file})"
        problem = f"{problem}; {module}. pip uninstall {' '.join(concerned)}. {_remedy(name)}"
    return [distribution, actual or version or "unknown", "conflict" if problem else "ok"], problem


def _engines() -> tuple[list[list[str]], list[str]]:
    """The row of each package for whose arrays engines are installed, and what is wrong with those."""
    rows, problems = [], []
    for package, targets in declared().items():
        state = "ok"
        try:
            load(package)
        except RegkitError as error:
            state = "conflict" if len(targets) > 1 else "broken"
            problems.append(str(error))
        rows.append([escaped(package), escaped(", ".join(targets)), state])
    return rows, problems


def _commands(own: Collection[str]) -> tuple[list[list[str]], list[str]]:
    """The row of each command that a distribution brings, and what is wrong with those as far as their source tells.

    One that is called as one of regkit's own is hidden by it. Importing one may take seconds, or not end where a pipe
    is on the path, which what it imports may read.
    """
    rows, problems = [], []
    for name, command in brought().items():
        if name in own:
            taken = "regkit has one of that name. It needs another name"
            why, state = f"the command {name!r} of {command.where} never runs, as {taken}", "hidden"
        else:
            why = command.problem_without_import()
            state = "conflict" if len(command.targets) > 1 else "broken" if why else "ok"
        problems += [why] if why else []
        rows.append([name, ", ".join(command.targets), state])
    return rows, problems


def _imported(name: str) -> tuple[str, str, str]:
    """The version that a library gives itself, its file, and why it does not import: in a process of its own."""
    path = [entry for entry in sys.path if not _holds_nothing(entry)]
    program = (
        f"import sys; sys.path[:] = {path!r}; import {name}.tensor\n"
        f"print(); print(getattr({name}, '__version__', '')); print({name}.__file__)"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return "", "", f"its import did not end within {SECONDS} seconds"
    if done.returncode:
        return "", "", (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
    *_, version, file = done.stdout.splitlines()
    return version, file, ""


def _another(name: str, distribution: str, version: str, actual: str) -> tuple[str, list[str]]:
    """What is wrong if the module of a library is not, or not only, that of its distribution; whose it is."""
    others = [one for one in installed().called(name) if name != distribution and one.has_file(f"{name}/__init__.py")]
    if others:
        named = ", ".join(f"{one.name} {one.version} ({one.folder})" for one in others)
        if not version:
            return f"{named} is not {distribution}, which regkit runs on", [others[0].name]
        return f"{named} and {distribution} {version} both have the package {name}", [others[0].name, distribution]
    if version and actual and _release(version) != _release(actual):
        return f"{distribution} is {version} by its metadata", [distribution]
    return "", []


def _release(version: str) -> str:
    """A version without what a build adds to it."""
    return version.partition("+")[0]


def _remedy(library: str) -> str:
    here = sys.version_info[:2]
    first, last = RUNS_ON[library]
    if first <= here <= last:
        blas = f", and {BLAS}" if library == "theano" and here > (3, 9) else ""
        return f"What works with Python {here[0]}.{here[1]}: pip install 'regkit-core[{library}]'{blas}"
    return (
        f"It does not run on Python {here[0]}.{here[1]}. {_remedy(_newest()) if library != _newest() else ''}".rstrip()
    )


def _newest() -> str:
    """The library to take on this Python."""
    return "pytensor" if sys.version_info[:2] >= (3, 11) else "theano"


def _path_problems() -> Iterator[str]:
    """Entries of the path of which a reading would not end."""
    for entry in dict.fromkeys(filter(_holds_nothing, sys.path)):
        yield f"{entry} on the path is neither a folder nor a file; remove it from there (PYTHONPATH, a .pth file)"


def _holds_nothing(entry: object) -> bool:
    """Tell whether an entry is neither a folder nor a file, but something else, such as a pipe or a link to itself."""
    if not isinstance(entry, str):
        return False
    return os.path.lexists(entry) and not os.path.isdir(entry) and not os.path.isfile(entry)  # noqa: PTH112, PTH113


def _twice_installed() -> Iterator[str]:
    """Distributions with our entry points that are there twice."""
    folders: dict[str, dict[str, None]] = {}
    for files, _ in reading().places:
        for place, _ in files:
            folder = place if isinstance(place, str) else place.folder
            folders.setdefault(known(place), {})[folder] = None
    for name, (first, *others) in sorted(folders.items()):
        if name and others:
            yield (
                f"{name} is installed {len(others) + 1} times. {first} counts, as the first on the path; "
                f"remove {', '.join(others)}"
            )


def _namesakes() -> Iterator[str]:
    """Distributions that are called regkit, as ours is imported: somebody else's, or ours of old beside the new one."""
    for other in installed().called("regkit"):
        ours = OUR_COMMAND in (other.read("entry_points.txt") or "")
        if ours and not installed().called("regkit-core"):
            continue
        what = "regkit-core under its old name" if ours else "somebody else's library, imported as regkit too"
        yield (
            f"regkit {other.version} ({other.folder}) is {what}; both write into one package. "
            "pip uninstall regkit, then pip install --force-reinstall --no-deps regkit-core"
        )
