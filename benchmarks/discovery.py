"""Finding and building one regularizer among everything installed, in a fresh process, beside other ways to do it.

N distributions are installed in one folder, K of which advertise regularizers; among them are regkit and
regkit-hidden-l1, whose alias ``hidden_sparsity`` is asked for. The raw pass is what finding takes at least, as one
would write it: it lists each entry of the path, opens and reads each ``entry_points.txt``, parses one only where the
bytes of the group occur, and imports a plugin that is as large as regkit-hidden-l1 and does not import regkit. All
others but regkit find that plugin too.

What counts is CPU time from the first statement of a process to the last. Python's own start is not in it, nor its end;
of both, the note "whole process" gives what the system counted more than for a bare interpreter.
"""

from __future__ import annotations

import importlib.util
import os
import resource
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

RAW = f"""
target = None
for entry in sys.path:
    try:
        children = os.listdir(entry or ".")
    except OSError:
        continue
    for child in children:
        if child.endswith((".dist-info", ".egg-info")):
            try:
                with open((entry or ".") + "/" + child + "/entry_points.txt", "rb", buffering=0) as file:
                    data = file.read()
            except OSError:
                continue
            if b"{GROUP}" in data:
                inside = False
                for line in data.decode().splitlines():
                    if line.startswith("["):
                        inside = line == "[{GROUP}]"
                    elif inside and line.partition("=")[0].strip() == "{ALIAS}":
                        target = line.partition("=")[2].strip().partition(":")
__import__(target[0])
getattr(sys.modules[target[0]], target[2])(weight=0.1)
"""
OURS = "regkit.build"
PROGRAMS = {
    "bare interpreter": "",
    "raw pass": RAW,
    OURS: f"import regkit\nregkit.build({ALIAS}=0.1)",
    "importlib.metadata": (
        "from importlib.metadata import distributions\n"
        "found = [e for d in distributions() for e in d.entry_points"
        f" if e.group == '{GROUP}' and e.name == '{ALIAS}']\n"
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

#: What makes of regkit-hidden-l1 a plugin of the same size that does not need regkit.
WITHOUT_REGKIT = {
    "\nimport regkit\n": "\n",
    "class HiddenL1(regkit.Regularizer):": "class HiddenL1:",
    "super().__init__(pattern, weight)": "self.pattern, self.weight = pattern, weight",
    'self.checked_choice("reduction", reduction, self.REDUCTIONS)': "reduction",
}


def make_tree(folder: Path, size: int, advertisers: int, *, ours: bool) -> None:
    """Install regkit and its plugin, or a plugin that does not need it, among others up to a number of them."""
    for source in SOURCES:
        shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    if not ours:
        module = folder / PLUGIN / "__init__.py"
        text = module.read_text()
        for old, new in WITHOUT_REGKIT.items():
            if old not in text:
                raise SystemExit(f"{PLUGIN} has changed; bring WITHOUT_REGKIT of {__file__} up to date")
            text = text.replace(old, new)
        module.write_text(text)
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
        self.whole: list[float] = []  # CPU seconds of the process, as the system counted them
        self._program = (
            f"import os, sys, time\nbegan = time.process_time_ns()\nsys.path[:0] = {path!r}\n{program}\n"
            "print(time.process_time_ns() - began)"
        )
        self._environment = {"XDG_CACHE_HOME": cache, "PATH": os.environ["PATH"], "HOME": cache}
        self()  # so that compiled files and caches are there
        self.whole.clear()

    def __call__(self) -> float:
        """Return the CPU seconds of the program."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-s", "-S", "-c", self._program]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            raise SystemExit(f"a contestant failed:\n{self._program}\n{done.stderr}")
        self.whole.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
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
    for kind in ("ours", "others"):
        (scratch / kind).mkdir()
        make_tree(scratch / kind, size, advertisers, ours=kind == "ours")
    contestants = {}
    for name, program in PROGRAMS.items():
        needed = NEEDED.get(name, [])
        library = peers(scratch / f"{needed[0]} alone", needed) if needed else []
        if needed and not library:
            continue
        tree = str(scratch / ("ours" if name == OURS else "others"))
        contestants[name] = Contestant(program, [tree, *library], str(scratch / "cache"))
    times = in_turns(contestants, rounds if size > 100 else 2 * rounds)  # the shortest vary most
    bare = statistics.median(contestants["bare interpreter"].whole)
    notes = {}
    for name in contestants:
        own = 1000 * statistics.median(times[name])
        whole = 1000 * (statistics.median(contestants[name].whole) - bare)
        notes[name] = f"{own:.1f} ms (whole process {whole:.1f} ms)"
    raw = 1000 * statistics.median(times["raw pass"])
    notes[OURS] += f"; limit {1.3 + 1 / raw:.2f} = (1.3 x {raw:.2f} ms + 1 ms) / {raw:.2f} ms"
    del times["bare interpreter"]
    return ratios("discovery", f"N={size}, K={advertisers}", times, "raw pass", notes)


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__, rounds=40)
    rows = []
    for size, advertisers in SIZES:
        with tempfile.TemporaryDirectory() as scratch:
            rows += measure(Path(scratch), size, advertisers, options.rounds)
    show("Finding and building one regularizer in a fresh process, CPU time, to a raw pass", rows, options.into)


if __name__ == "__main__":
    main()
