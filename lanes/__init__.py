"""The lanes of lanes.toml, and what keeps one from running on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # which nox brings

HERE = Path(__file__).parent.parent
CACHE = HERE / ".cache"

#: What a lane needs of its Python, with the Debian package that has it; the program prints what is missing.
PARTS = {"venv": "python{}-venv", "headers": "python{}-dev"}
PROBE = """
import os, sysconfig
try:
    import venv, ensurepip
except ImportError:
    print("venv")
if not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
    print("headers")
"""


@dataclass(frozen=True)
class Lane:
    """One row of lanes.toml, where its fields are described."""

    name: str
    python: str
    pins: tuple[str, ...]
    minutes: float
    library: str = ""
    demo_pins: tuple[str, ...] = ()
    flags: str = ""
    test_flags: str = ""
    benchmarks: tuple[str, ...] = ()
    stand_in: bool = False
    plugin: str = ""
    engines: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    alone: tuple[str, ...] = ()
    passes: tuple[Mapping[str, str], ...] = ({},)
    pages: tuple[str, ...] = ()
    follows: tuple[Mapping[str, str], ...] = ()
    programs: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    core: str = ""
    shows: Mapping[str, str] = field(default_factory=dict)

    def variables(self, more_flags: str = "") -> dict[str, str]:
        """Environment variables for what runs in the lane. What is compiled is kept between runs."""
        variables = {"REGKIT_LANE": self.name, "MPLCONFIGDIR": str(CACHE / "matplotlib"), **self.environment}
        if self.library:
            flags = (self.flags, more_flags, f"base_compiledir={CACHE / 'compiled' / self.name}")
            variables["REGKIT_LIBRARY"] = self.library
            variables[f"{self.library.upper()}_FLAGS"] = ",".join(filter(None, flags))
        return variables

    @property
    def own_tests(self) -> tuple[str, ...]:
        """The tests that run in the lane in place of all the others, if it has its own."""
        return (*([f"plugins/{self.plugin}/tests"] if self.plugin else []), *self.tests)

    @property
    def missing(self) -> str:
        """What keeps the lane from running here, with the remedy; empty if nothing does."""
        lacks = _lacks(self.python)
        if lacks is None:
            return f"no Python {self.python} that runs"
        wanted = [part for part in lacks if part == "venv" or self.library]
        if wanted:
            package = PARTS[wanted[0]].format(self.python)
            return f"Python {self.python} has no {wanted[0]} (Debian: apt-get install {package})"
        if self.stand_in and any(
            lane.library and not lane.stand_in and not lane.own_tests and not lane.missing for lane in LANES
        ):
            return "not needed beside the others"
        return ""


@cache
def _lacks(version: str) -> list[str] | None:
    """The parts that a Python lacks; None if it does not run, as a version manager's shim may not."""
    program = shutil.which(f"python{version}")
    done = program and subprocess.run([program, "-c", PROBE], capture_output=True, text=True, check=False)
    return done.stdout.split() if done and done.returncode == 0 else None


def let_shims_answer() -> None:
    """Have pyenv's shims answer for every version it has, and first for those that are active."""
    if "PYENV_VERSION" not in os.environ and shutil.which("pyenv"):
        listed = subprocess.run(["pyenv", "versions"], capture_output=True, text=True, check=False).stdout.splitlines()
        active_first = sorted(listed, key=lambda line: not line.startswith("*"))
        os.environ["PYENV_VERSION"] = ":".join(line.lstrip("* ").split()[0] for line in active_first)


ROWS = tomllib.loads((HERE / "lanes.toml").read_text(encoding="utf-8"))["lane"]
WITH_LANES = {row["plugin"] for row in ROWS if "plugin" in row}  # plugins that are tested in a lane of their own
PLUGINS = sorted(path.parent for path in HERE.glob("plugins/[!_]*/pyproject.toml"))
STANDARD = [path for path in PLUGINS if path.name not in WITH_LANES]
LANES = [
    Lane(**{key: tuple(value) if isinstance(value, list) else value for key, value in row.items()})
    for row in ROWS
    if (HERE / "plugins" / row.get("plugin", "") / "pyproject.toml").exists() or "plugin" not in row
]
