"""Finding and building one regularizer among everything installed, in a fresh process, beside other ways to do it.

Each contestant runs in processes of its own, interleaved with the others; what counts is the CPU time of a process
above that of a bare interpreter. The raw pass is the least that finding can cost: it lists each entry of the path,
reads each ``entry_points.txt``, parses only where the bytes of the group occur, and imports a plugin as small as the
others'.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

SIZES = ((20, 2), (200, 20), (1000, 1000))
GROUP = "regkit.regularizers"

RAW = """
import os, sys
target = None
for entry in sys.path:
    try:
        children = os.listdir(entry)
    except OSError:
        continue
    for child in children:
        if child.endswith((".dist-info", ".egg-info")):
            try:
                with open(entry + "/" + child + "/entry_points.txt", "rb", buffering=0) as file:
                    data = file.read()
            except OSError:
                continue
            if b"regkit.regularizers" in data:
                inside = False
                for line in data.decode().splitlines():
                    if line.startswith("["):
                        inside = line == "[regkit.regularizers]"
                    elif inside and line.partition("=")[0].strip() == "alias_0":
                        target = line.partition("=")[2].strip().partition(":")
__import__(target[0])
getattr(sys.modules[target[0]], target[2])(weight=0.1)
"""

CONTESTANTS = {
    "bare interpreter": "",
    "raw pass": RAW,
    "regkit.build": "import regkit\nregkit.build(alias_0=0.1)",
    "importlib.metadata": (
        "from importlib.metadata import distributions\n"
        "found = [e for d in distributions() for e in d.entry_points"
        " if e.group == 'regkit.regularizers' and e.name == 'alias_0']\n"
        "found[0].load()(weight=0.1)"
    ),
    "pluggy, loading all": (
        "import pluggy\nmanager = pluggy.PluginManager('regkit')\n"
        "manager.load_setuptools_entrypoints('regkit.regularizers')\n"
        "manager.get_plugin('alias_0')(weight=0.1)"
    ),
    "stevedore, cache cold": (
        "import shutil, os\nshutil.rmtree(os.environ['XDG_CACHE_HOME'], ignore_errors=True)\n"
        "from stevedore import driver\n"
        "driver.DriverManager('regkit.regularizers', 'alias_0').driver(weight=0.1)"
    ),
    "stevedore, cache warm": (
        "from stevedore import driver\ndriver.DriverManager('regkit.regularizers', 'alias_0').driver(weight=0.1)"
    ),
    "catalogue": (
        "import catalogue\n"
        "registry = catalogue.create('regkit', 'regularizers', entry_points=True)\n"
        "catalogue.Registry(('regkit.regularizers',), entry_points=True).get('alias_0')(weight=0.1)"
    ),
}

#: Contestants whose plugin is the one that is a subclass of regkit's; the others' is as small and imports nothing.
OURS = ("regkit.build",)


def make_tree(folder: Path, size: int, advertisers: int, *, ours: bool) -> None:
    """Write the metadata of distributions, some of which advertise a regularizer, and the modules of those."""
    for number in range(size):
        info = folder / f"acme_{number}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: acme-{number}\nVersion: 1.0\n")
        (info / "RECORD").write_text("")
        if number < advertisers:
            (info / "entry_points.txt").write_text(f"[{GROUP}]\nalias_{number} = acme_{number}:Penalty\n")
            base = "import regkit\n\nBase = regkit.Regularizer\n" if ours else "Base = object\n"
            init = "" if ours else "    def __init__(self, pattern=None, weight=0.0):\n        self.weight = weight\n\n"
            body = f"\n\nclass Penalty(Base):\n{init}    def loss(self, outputs):\n        return outputs['z'].sum()\n"
            (folder / f"acme_{number}.py").write_text(base + body)
        elif number % 2:
            (info / "entry_points.txt").write_text("[console_scripts]\nacme = acme:main\n")


def cpu_seconds(program: str, path: list[str], cache: str) -> float:
    """Return the CPU time of a process that runs a program with a path of its own, no site-packages."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    program = f"import sys; sys.path[:0] = {path!r}\n{program}"
    environment = {"XDG_CACHE_HOME": cache, "PATH": os.environ["PATH"], "HOME": cache}
    done = subprocess.run(
        [sys.executable, "-s", "-S", "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"a contestant failed:\n{program}\n{done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def packages(names: list[str], into: Path) -> None:
    """Link packages, with what they need, into a folder where nothing else is."""
    into.mkdir()
    for name in names:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            continue
        found = Path(spec.origin)
        found = found.parent if found.name == "__init__.py" else found
        (into / found.name).symlink_to(found)


NEEDED = {
    "regkit.build": ["regkit"],
    "pluggy, loading all": ["pluggy"],
    "stevedore, cache cold": ["stevedore", "pbr"],
    "stevedore, cache warm": ["stevedore", "pbr"],
    "catalogue": ["catalogue", "zipp", "typing_extensions"],
}


def measure(size: int, advertisers: int, runs: int) -> dict[str, list[float]]:
    """Return the CPU milliseconds of every contestant above the bare interpreter's, run by run."""
    scratch = Path(tempfile.mkdtemp())
    try:
        for kind in ("ours", "others"):
            make_tree(scratch / kind, size, advertisers, ours=kind == "ours")
        paths = {}
        for name in CONTESTANTS:
            needed = NEEDED.get(name, [])
            if needed and importlib.util.find_spec(needed[0]) is None:
                continue
            packages(needed, scratch / f"lib {name}")
            tree = scratch / ("ours" if name in OURS else "others")
            paths[name] = [str(scratch / f"lib {name}"), str(tree)]
        cache = str(scratch / "cache")
        for name, path in paths.items():  # so that compiled files and caches are there
            cpu_seconds(CONTESTANTS[name], path, cache)
        times: dict[str, list[float]] = {name: [] for name in paths}
        for _ in range(runs):
            bare = cpu_seconds("", paths["bare interpreter"], cache)
            for name, path in paths.items():
                times[name].append(1000 * (cpu_seconds(CONTESTANTS[name], path, cache) - bare))
            times["bare interpreter"][-1] = 1000 * bare
        return times
    finally:
        shutil.rmtree(scratch)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    arguments = parser.parse_args()
    print(f"CPU milliseconds above a bare interpreter, Python {platform.python_version()}, {arguments.runs} runs")
    print(f"{'':<24}{'N':>6}{'K':>6}{'median':>9}{'quartiles':>16}{'to raw':>9}{'limit':>8}")
    figures = []
    for size, advertisers in SIZES:
        times = measure(size, advertisers, arguments.runs)
        raw = statistics.median(times["raw pass"])
        for name, values in times.items():
            middle = statistics.median(values)
            low, _, high = statistics.quantiles(values, n=4)
            limit = f"{1.3 * raw + 1:.1f}" if name in OURS else ""
            ratio = "" if name == "bare interpreter" else f"{middle / raw:.2f}"
            spread = f"{low:.1f}-{high:.1f}"
            print(f"{name:<24}{size:>6}{advertisers:>6}{middle:>9.1f}{spread:>16}{ratio:>9}{limit:>8}", flush=True)
            figures.append(dict(size=size, advertisers=advertisers, name=name, median=middle, low=low, high=high))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
