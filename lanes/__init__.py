"""The lanes of lanes.toml, and which plugins have one of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # which nox brings

HERE = Path(__file__).parent.parent
CACHE = HERE / ".cache"


@dataclass(frozen=True)
class Lane:
    """One row of lanes.toml, where its fields are described."""

    name: str
    python: str
    minutes: float = 0
    pins: tuple[str, ...] = ()
    library: str = ""
    flags: str = ""
    test_flags: str = ""
    benchmarks: tuple[str, ...] = ()
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


ROWS = tomllib.loads((HERE / "lanes.toml").read_text(encoding="utf-8"))["lane"]
WITH_LANES = {row["plugin"] for row in ROWS if "plugin" in row}  # plugins that are tested in a lane of their own
PLUGINS = sorted(path.parent for path in HERE.glob("plugins/[!_]*/pyproject.toml"))
STANDARD = [path for path in PLUGINS if path.name not in WITH_LANES]
LANES = [
    Lane(**{key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}) for row in ROWS
]

#: The lane of `make test` and `make demo`: the Python at hand, and a graph library that it can run.
AT_HAND = Lane(
    name="here",
    python=".".join(map(str, sys.version_info[:2])),
    library="theano" if sys.version_info < (3, 12) else "pytensor",
    flags="blas__ldflags=",  # without it, theano-pymc asks newer NumPys for settings that they do not have
    test_flags="linker=py",
)


def tag(version: str, repository: Path = HERE) -> str:
    """The tag of a released core, which is regkit-core-0.3.0 also for 0.3; empty if there is none."""
    names = (f"regkit-core-{version}", f"regkit-core-{version}.0")
    listed = subprocess.run(
        ("git", "tag", "--list", *names), cwd=repository, capture_output=True, text=True, check=False
    )
    return listed.stdout.strip()
