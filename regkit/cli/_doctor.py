"""``regkit doctor``: what is installed, what does not work, and how to fix it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator

import click
from packaging.version import InvalidVersion, Version

from .. import __version__
from .._discovery import installed
from .._discovery.reader import BLOCK, Distribution, blocked_names, distribution_of, key_of, left_by_pip, scan
from .._engines import LIBRARIES, declared, load
from .._messages import STANDARD_PLUGINS, escaped, installing
from ..errors import RegkitError
from ._commands import brought
from ._listing import WRONG, states
from ._sources import is_there
from ._terminal import print_table, print_text

BLAS = "set THEANO_FLAGS=blas__ldflags= in the environment"

#: The first and the last Python on which a graph library runs. The extras of regkit-core have the versions it needs.
RUNS_ON = {"theano": ((3, 9), (3, 11)), "aesara": ((3, 9), (3, 11)), "pytensor": ((3, 11), (3, 13))}
DISTRIBUTION_OF = {"theano": "theano-pymc"}
SECONDS = 300

#: The entry point of the command line, by which regkit-core is recognized under another name.
OUR_COMMAND = "regkit.__main__:main"

#: The beginning of all groups of regkit's entry points, and of the command of regkit-core.
OURS = "regkit."


@click.command()
@click.pass_context
def doctor(context: click.Context) -> None:
    """List the problems of this installation, and how to fix them.

    Imports every plugin, and every graph library in a separate process. Exits with 1 if anything is wrong.
    """
    versions = ", ".join(f"{name} {_version(name)}" for name in ("pluggy", "numpy"))
    print_text(f"regkit {__version__}, Python {platform.python_version()} ({sys.executable}), {versions}\n")
    libraries = [_library(name) for name in LIBRARIES]
    print_table(["graph library", "version", "state"], [row for row, _ in libraries])
    remedies = [remedy for _, remedy in libraries if remedy]
    if all(row[2] == "not installed" for row, _ in libraries):
        print_text(f"No graph library: regularizers work on NumPy arrays alone. {_remedy(_newest())}")
    engines, problems = _engines()
    if engines:
        print_text()
        print_table(["engine for", "where", "state"], engines)
        remedies += problems
    commands, problems = _commands(getattr(context.find_root().command, "commands", ()))
    if commands:
        print_text()
        print_table(["command", "where", "state"], commands)
        remedies += problems
    print_text()
    found = states(importing=True)
    if found:
        print_table(["alias", "distribution", "state"], [[s.alias or "?", s.distribution, s.state] for s in found])
    else:
        print_text(f"No regularizer is installed. The standard plugins, {installing(STANDARD_PLUGINS)}")
    remedies += dict.fromkeys(s.problem for s in found if s.state in WRONG)
    remedies += [*_blocked(), *_path_problems(), *_copies(), *_leftovers(), *_namesakes()]
    print_text()
    print_text("\n".join(f"- {remedy}" for remedy in remedies) or "Nothing is wrong.")
    sys.exit(bool(remedies))


def _version(distribution: str) -> str:
    """Return the version in a distribution's metadata. `importlib.metadata` would block at a pipe on the path."""
    return next((found.version for found in installed().named(distribution)), "")


def _library(name: str) -> tuple[list[str], str]:
    """Return the row of a graph library, and the remedy if it cannot be imported or is not that of its metadata."""
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
    """Return a row for each package that has an engine, and the problems of the engines."""
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


def _commands(of_regkit: Collection[str]) -> tuple[list[list[str]], list[str]]:
    """Return a row for each command of a distribution, and the problems that metadata and source show.

    A command of regkit hides one of the same name. No command is imported: that may take seconds, and block at a pipe.
    """
    rows, problems = [], []
    for name, command in brought().items():
        if name in of_regkit:
            taken = "regkit has one of that name. It needs another name"
            problem, state = f"the command {name!r} of {command.where} never runs, as {taken}", "hidden"
        else:
            problem = command.problem_without_import()
            state = "conflict" if len(command.targets) > 1 else "broken" if problem else "ok"
        problems += [problem] if problem else []
        rows.append([name, ", ".join(command.targets), state])
    return rows, problems


def _imported(name: str) -> tuple[str, str, str]:
    """Return a library's ``__version__`` and file, and why it cannot be imported, from a separate process."""
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
        return "", "", (done.stderr.strip().splitlines() or ["it failed without a message"])[-1]
    *_, version, file = done.stdout.splitlines()
    return version, file, ""


def _another(name: str, distribution: str, version: str, actual: str) -> tuple[str, list[str]]:
    """Return why a library's module is not that of its distribution, and the distributions to uninstall."""
    others = [found for found in installed().named(name) if name != distribution and _has_file(found, name)]
    if others:
        named = ", ".join(f"{other.name} {other.version} ({other.folder})" for other in others)
        if not version:
            return f"{named} is not {distribution}, which regkit runs on", [others[0].name]
        return f"{named} and {distribution} {version} both have the package {name}", [others[0].name, distribution]
    if version and actual and _release(version) != _release(actual):
        return f"{distribution} is {version} by its metadata", [distribution]
    return "", []


def _has_file(distribution: Distribution, package: str) -> bool:
    """Return whether a distribution has installed a package; true if it keeps no list of its files."""
    record = distribution.read("RECORD") or distribution.read("installed-files.txt")
    return record is None or f"{package}/__init__.py" in record


def _release(version: str) -> str:
    """Return a version without its local part."""
    return version.partition("+")[0]


def _remedy(library: str) -> str:
    here = sys.version_info[:2]
    first, last = RUNS_ON[library]
    if first <= here <= last:
        extra = f"'.[{library}]'"
        blas = f", and {BLAS}" if library == "theano" and here > (3, 9) else ""
        return f"What works with Python {here[0]}.{here[1]}, {installing(extra)}{blas}"
    return (
        f"It does not run on Python {here[0]}.{here[1]}. {_remedy(_newest()) if library != _newest() else ''}".rstrip()
    )


def _newest() -> str:
    """Return the library to install for this Python."""
    return "pytensor" if sys.version_info[:2] >= (3, 11) else "theano"


def _blocked() -> Iterator[str]:
    """Yield the remedies for names in REGKIT_BLOCK that are not installed; print the distributions left out."""
    found = {name: installed().named(name) for name in blocked_names()}
    if any(found.values()):
        blocked = (f"{first.name} {first.version}" for first, *_ in filter(None, found.values()))
        print_text(f"\n{BLOCK} leaves out: {', '.join(blocked)}")
    for name, there in found.items():
        if not there:
            yield f"{BLOCK} names {name!r}, which is not installed"


def _path_problems() -> Iterator[str]:
    """Yield the remedies for entries of the path that would block whoever reads them."""
    for entry in dict.fromkeys(filter(_holds_nothing, sys.path)):
        yield f"{entry} on the path is neither a folder nor a file; remove it from there (PYTHONPATH, a .pth file)"


def _holds_nothing(entry: object) -> bool:
    """Return whether an entry exists and is neither a folder nor a file: a pipe, or a link to itself."""
    if not isinstance(entry, str):
        return False
    return os.path.lexists(entry) and not os.path.isdir(entry) and not os.path.isfile(entry)  # noqa: PTH112, PTH113


def _copies() -> Iterator[str]:
    """Yield the remedies for distributions of regkit that are installed more than once.

    The rules are those of discovery: of several places of the path the first counts, and within a place all count.
    Equal copies, such as an editable installation has beside its sources, do no harm.
    """
    places = list(scan(OURS))
    ours = {key_of(source) for files, _ in places for source, _ in files} - {""}
    for key in sorted(ours):
        different: set[tuple[str, str | None]] = set()
        copies: list[list[Distribution]] = []
        for _, sources in places:
            here = {
                (found.version, found.read("entry_points.txt")): found
                for found in (distribution_of(source) for source in sources if key_of(source) == key)
            }
            copies += [new] if (new := [here[content] for content in here if content not in different]) else []
            different |= here.keys()
        first, *later = copies
        if len(first) > 1:
            yield (
                f"{key} is installed {len(first)} times in one place. All of these count, and conflict where their "
                f"targets differ. {_all_but_newest(first)}"
            )
        if later:
            yield (
                f"{key} is installed in {len(copies)} places. {_folders(first)} counts, as the first on the path; "
                f"remove {_folders(found for here in later for found in here)}"
            )


def _all_but_newest(copies: list[Distribution]) -> str:
    """Return which of several copies to remove."""
    try:
        versions = [Version(found.version) for found in copies]
    except InvalidVersion:
        versions = []
    older = [found for found, version in zip(copies, versions) if version < max(versions)]
    if len(older) == len(copies) - 1:
        newest = next(found for found in copies if found not in older)
        return f"{newest.folder} is the newest; remove {_folders(older)}"
    return f"Remove all but one of {_folders(copies)}"


def _folders(copies: Iterable[Distribution]) -> str:
    return ", ".join(found.folder for found in copies)


def _leftovers() -> Iterator[str]:
    """Yield the remedies for metadata that pip left behind."""
    for folder in left_by_pip(OURS):
        yield f"{folder} is left over from an upgrade by pip, and is ignored; remove it"


def _namesakes() -> Iterator[str]:
    """Yield the remedies for distributions named regkit: another library, or regkit-core under its old name."""
    for other in installed().named("regkit"):
        old_name = OUR_COMMAND in (other.read("entry_points.txt") or "")
        if old_name and not installed().named("regkit-core"):
            continue
        kind = "regkit-core under its old name" if old_name else "somebody else's library, imported as regkit too"
        yield (
            f"regkit {other.version} ({other.folder}) is {kind}; both write into one package. "
            f"pip uninstall regkit, then {installing('--force-reinstall --no-deps .')}"
        )
