"""Finding and building one regularizer among everything installed, in a fresh process, beside other ways to do it.

N distributions are installed in one folder, K of which advertise regularizers. Among them are regkit and
regkit-hidden-l1, whose alias ``hidden_sparsity`` is asked for. Every other way finds and loads the same class.

Two ratios to ``regkit.build`` have a limit: `importlib.metadata` takes at least 5 times as long, and ``regkit.split``
and ``regkit.build`` together take at most twice as long.

Times are CPU times from the first statement of a process to the last. The start of Python is not in them, nor the end.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from _ratios import Row, arguments, in_turns, ratios, show

SIZES = ((20, 2), (200, 20), (1000, 1000))
GROUP = "regkit.regularizers"
ALIAS = "hidden_sparsity"
PLUGIN = "regkit_hidden_l1"

OURS = "regkit.build"
SPLIT = "regkit.split, then regkit.build"
HOST = f"{{'{ALIAS}': 0.1, 'learning_rate': 0.01, 'batch_size': 64, 'epochs': 10, 'callbacks': (), 'momentum': 0.9}}"
GROUP_OF_LIBRARY = f"entry_points()['{GROUP}']" if sys.version_info < (3, 10) else f"entry_points(group='{GROUP}')"
PROGRAMS = {
    OURS: f"import regkit\nregkit.build({ALIAS}=0.1)",
    SPLIT: f"import regkit\noptions, rest = regkit.split({HOST})\nregkit.build(options)",
    "importlib.metadata": (
        "from importlib.metadata import entry_points\n"
        f"found = [e for e in {GROUP_OF_LIBRARY} if e.name == '{ALIAS}']\n"
        "found[0].load()(weight=0.1)"
    ),
    "pluggy, which loads all": (
        "import pluggy\nmanager = pluggy.PluginManager('regkit')\n"
        f"manager.load_setuptools_entrypoints('{GROUP}')\n"
        f"manager.get_plugin('{ALIAS}')(weight=0.1)"
    ),
    "stevedore, its cache cold": (
        "import shutil\nshutil.rmtree(os.environ['XDG_CACHE_HOME'], ignore_errors=True)\n"
        f"from stevedore import driver\ndriver.DriverManager('{GROUP}', '{ALIAS}').driver(weight=0.1)"
    ),
    "stevedore, its cache warm": (
        f"from stevedore import driver\ndriver.DriverManager('{GROUP}', '{ALIAS}').driver(weight=0.1)"
    ),
    "catalogue": f"import catalogue\ncatalogue.Registry(('{GROUP}',), entry_points=True).get('{ALIAS}')(weight=0.1)",
}
NEEDED = {
    "pluggy, which loads all": ["pluggy"],
    "stevedore, its cache cold": ["stevedore"],
    "stevedore, its cache warm": ["stevedore"],
    "catalogue": ["catalogue"],
}

#: Where the packages that every tree has are, before a tree is on the path.
SOURCES = [Path(importlib.util.find_spec(package).origin).parent for package in ("regkit", PLUGIN)]

#: The limits of ratios to regkit.build.
LIMITS = {"importlib.metadata": "at least 5", SPLIT: "at most 2"}


def make_tree(folder: Path, size: int, advertisers: int) -> None:
    """Install regkit and regkit-hidden-l1 among other distributions; `size` of them in all."""
    for source in SOURCES:
        shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    add_distribution(folder, "regkit_core", "[console_scripts]\nregkit = regkit.cli:main\n")
    add_distribution(folder, PLUGIN, f"[{GROUP}]\n{ALIAS} = {PLUGIN}:HiddenL1\n")  # pluggy refuses a second alias
    for number in range(size - 2):
        name, entry_points = f"acme_{number}", None
        if number < advertisers - 1:
            entry_points = f"[{GROUP}]\nalias_{number} = {name}:Penalty\n"
            (folder / f"{name}.py").write_text("class Penalty:\n    def loss(self, outputs):\n        return None\n")
        elif number % 2:
            entry_points = "[console_scripts]\nacme = acme:main\n"
        add_distribution(folder, name, entry_points)


def add_distribution(folder: Path, name: str, entry_points: str | None) -> None:
    """Write the metadata of one installed distribution."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\n")
    (info / "RECORD").write_text("")
    if entry_points:
        (info / "entry_points.txt").write_text(entry_points)


class Contestant:
    """A program that is run again and again, in a fresh process with a path of its own and no site-packages."""

    def __init__(self, program: str, path: list[str], cache: str) -> None:
        self._program = (
            f"import os, sys, time\nbegan = time.process_time_ns()\nsys.path[:0] = {path!r}\n{program}\n"
            "print(time.process_time_ns() - began)"
        )
        self._environment = {"XDG_CACHE_HOME": cache, "PATH": os.environ["PATH"], "HOME": cache}
        self()  # so that compiled files and caches are there

    def __call__(self) -> float:
        """Return the CPU seconds of the program."""
        command = [sys.executable, "-s", "-S", "-c", self._program]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"a contestant failed:\n{self._program}\n{done.stderr}")
        return int(done.stdout.splitlines()[-1]) / 1e9


def peers(into: Path, names: list[str]) -> list[str]:
    """Link packages into a folder where nothing else is, which is a path for them; none if one is not installed."""
    specs = [importlib.util.find_spec(name) for name in names]
    if not specs or None in specs:
        return []
    into.mkdir(exist_ok=True)
    for spec in specs:
        found = Path(spec.origin)
        found = found.parent if found.name == "__init__.py" else found
        if not (into / found.name).exists():
            (into / found.name).symlink_to(found)
    return [str(into)]


def measure(scratch: Path, size: int, advertisers: int, rounds: int) -> list[Row]:
    """Return the rows of one number of installed distributions."""
    tree = scratch / "tree"
    tree.mkdir()
    make_tree(tree, size, advertisers)
    contestants = {}
    for name, program in PROGRAMS.items():
        needed = NEEDED.get(name, [])
        library = peers(scratch / f"{needed[0]} alone", needed) if needed else []
        if not needed or library:
            contestants[name] = Contestant(program, [str(tree), *library], str(scratch / "cache"))
    times = in_turns(contestants, rounds if size > 100 else 2 * rounds)  # the shortest vary most
    notes = {name: f"{1000 * statistics.median(measured):.1f} ms" for name, measured in times.items()}
    ours = notes[OURS]
    notes = {
        name: f"{note} / {ours}" + (f"; limit: {LIMITS[name]}" if name in LIMITS else "")
        for name, note in notes.items()
    }
    return ratios("discovery", f"N={size}, K={advertisers}", times, OURS, notes)


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__, rounds=40)
    rows = []
    for size, advertisers in SIZES:
        with tempfile.TemporaryDirectory() as scratch:
            rows += measure(Path(scratch), size, advertisers, options.rounds)
    show("Finding and building one regularizer in a fresh process, CPU time, to regkit.build", rows, options.into)


if __name__ == "__main__":
    main()
