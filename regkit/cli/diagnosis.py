"""``regkit doctor``: what is installed here, what does not work, and what to do about it."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distributions, version
from importlib.util import find_spec

import click

from .. import __version__
from ..discovery import GROUP
from ..discovery.names import normalized
from ..graph.libraries import LIBRARIES
from .states import states
from .terminal import console, print_table

BLAS = "set THEANO_FLAGS=blas__ldflags= in the environment"

#: The pins that work, by library, for the Pythons from one version to another.
PINS = {
    "theano": [
        ((3, 9), (3, 9), "pip install theano-pymc==1.1.2 'numpy<1.22' 'scipy<1.8' 'setuptools<81'"),
        ((3, 10), (3, 11), "pip install theano-pymc==1.1.2 'numpy<1.24' 'scipy<1.13' 'setuptools<81', and " + BLAS),
    ],
    "aesara": [((3, 9), (3, 11), "pip install aesara==2.9.4 'numpy<2' 'scipy<1.13' 'setuptools<74'")],
    "pytensor": [((3, 11), (3, 13), "pip install 'pytensor>=3.0.7'")],
}
DISTRIBUTION_OF = {"theano": "theano-pymc"}
SECONDS = 300


@click.command()
def doctor() -> None:
    """Say what is installed here, what does not work, and what to do about it.

    Imports every plugin and, in processes of their own, every graph library. Exits with 1 if anything is wrong.
    """
    out = console()
    versions = ", ".join(f"{name} {version(name)}" for name in ("pluggy", "numpy"))
    out.print(f"regkit {__version__}, Python {platform.python_version()} ({sys.executable}), {versions}\n")
    libraries = [_library(name) for name in LIBRARIES]
    print_table(["graph library", "version", "state"], [row for row, _ in libraries])
    remedies = [remedy for _, remedy in libraries if remedy]
    if all(row[2] == "not installed" for row, _ in libraries):
        out.print(f"No graph library: regularizers work on NumPy arrays alone. {_remedy(_newest())}")
    out.print()
    found = states(importing=True)
    rows = [[s.alias or "?", f"{s.claim.distribution} {s.claim.version}" if s.claim else "", s.state] for s in found]
    print_table(["alias", "distribution", "state"], rows)
    remedies += dict.fromkeys(s.why for s in found if s.why)
    remedies += _metadata_problems()
    out.print()
    out.print("\n".join(f"- {remedy}" for remedy in remedies) or "Nothing is wrong.")
    sys.exit(bool(remedies))


def _library(name: str) -> tuple[list[str], str]:
    """The row of one graph library, and what to do if it does not import."""
    distribution = DISTRIBUTION_OF.get(name, name)
    if find_spec(name) is None:
        return [distribution, "", "not installed"], ""
    try:
        installed = version(distribution)
    except PackageNotFoundError:
        installed = "unknown"
    program = f"import sys; sys.path[:] = {sys.path!r}; import {name}.tensor"
    try:
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=SECONDS, check=False
        )
        problem = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1] if done.returncode else ""
    except subprocess.TimeoutExpired:
        problem = f"its import did not end within {SECONDS} seconds"
    if not problem:
        return [distribution, installed, "ok"], ""
    return [
        distribution,
        installed,
        "broken",
    ], f"{distribution} {installed} cannot be imported: {problem}. {_remedy(name)}"


def _remedy(library: str) -> str:
    here = sys.version_info[:2]
    for first, last, command in PINS[library]:
        if first <= here <= last:
            return f"What works with Python {here[0]}.{here[1]}: {command}"
    return (
        f"It does not run on Python {here[0]}.{here[1]}. {_remedy(_newest()) if library != _newest() else ''}".rstrip()
    )


def _newest() -> str:
    """The library to take on this Python."""
    return "pytensor" if sys.version_info[:2] >= (3, 11) else "theano"


def _metadata_problems() -> Iterator[str]:
    """Distributions with our entry points that are there twice, or whose files are gone."""
    places: dict[str, list[str]] = {}
    for distribution in distributions():
        try:
            entry_points = distribution.read_text("entry_points.txt") or ""
            name = distribution.metadata["Name"] or ""
        except (OSError, UnicodeDecodeError, KeyError):
            continue  # told among the aliases
        if GROUP not in entry_points or not name:
            continue
        place = str(getattr(distribution, "_path", "unknown"))
        places.setdefault(normalized(name), [])
        if place not in places[normalized(name)]:
            places[normalized(name)].append(place)
    for name, found in sorted(places.items()):
        if len(found) > 1:
            first, *others = found
            yield (
                f"{name} is installed {len(found)} times. {first} counts, as the first on the path; "
                f"remove {', '.join(others)}"
            )
