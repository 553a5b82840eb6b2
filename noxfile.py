"""What the Makefile runs. `nox --list` shows the sessions; lanes.toml has the lanes, each of which is one.

The graph libraries cannot share an environment: each lane has its own, with the built wheels of the core and the
plugins installed in it, so that what is tested is what a user gets and not the source tree.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import nox
from nox.command import CommandFailed

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "tests")]  # the second has blocks.py
from lanes import AT_HAND, LANES, PLUGINS, Lane, jobs, reports  # noqa: E402 - their folders come first

#: What `make mutation` changes.
MUTATED = (
    "regkit/_selection.py",
    "regkit/_constructor.py",
    "regkit/_driver.py",
    "regkit/_terms.py",
    "regkit/_discovery/*.py",
)

#: Versions of metadata that the package index takes.
ACCEPTED_METADATA = ("2.1", "2.2", "2.3", "2.4")

nox.needs_version = ">=2026.10"  # which runs sessions at once
nox.options.reuse_venv = "yes"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False
nox.options.allow_parallel = True
nox.options.sessions = ["lint", "types", "here"]
os.environ.setdefault("PIP_NO_COMPILE", "1")  # modules are compiled when they are imported, which few of them are
if shutil.which("pyenv") and "PYENV_VERSION" not in os.environ:  # pyenv's shims answer for the versions named there
    names = (
        subprocess.run(["pyenv", *which], capture_output=True, text=True).stdout.split()
        for which in (["version-name"], ["versions", "--bare"])
    )
    os.environ["PYENV_VERSION"] = ":".join(name for some in names for name in some)


@nox.session(tags=["all"])
def lint(session: nox.Session) -> None:
    """Ruff, for lint and for format; the workflow of CI against its schema, and for what makes it unsafe."""
    session.install("ruff==0.17.6", "check-jsonschema==0.39.0", "zizmor==1.32.0")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", ".github/workflows/ci.yml")
    session.run("zizmor", "--offline", "--quiet", ".github")


@nox.session(tags=["all"])
def types(session: nox.Session) -> None:
    """Mypy, strict, on the core, the programs in tests/typing, and the plugins."""
    session.install("mypy>=1.19", "numpy", "pluggy", "pytest>=8", "click", "rich")
    session.run("mypy")
    # what is not installed here is of any type: frameworks and engines, their classes and what these return
    loose = ("--ignore-missing-imports", "--allow-subclassing-any", "--no-warn-return-any", "--no-warn-unused-ignores")
    session.run("mypy", *loose, *(str(path.relative_to(HERE)) for path in sorted(HERE.glob("plugins/*/src"))))
    for path in sorted(HERE.glob("plugins/_template/kinds/*/src")):  # which all make one module
        session.run("mypy", *loose, str(path.relative_to(HERE)))


@nox.session(tags=["all"], requires=["wheels"])
def pyright(session: nox.Session) -> None:
    """Pyright on the programs in tests/typing, with what a user has installed: whether it agrees with mypy."""
    try:
        session.install("pyright[nodejs]==1.1.414")  # its wheel has all of it, and Node.js comes as a wheel too
        session.run("pyright", "--version", silent=True)
    except CommandFailed:
        session.skip("no pyright that runs (it needs a Node.js for this platform: pip install 'pyright[nodejs]')")
    session.install("numpy", "pluggy", "pytest>=8")
    packages = map(str, jobs.WHEELS.glob("regkit_*.whl"))  # also those of a newer Python: only their types are read
    session.install("--no-deps", "--force-reinstall", "--ignore-requires-python", *packages)
    with tempfile.TemporaryDirectory() as elsewhere:  # where nothing of the checkout is found
        shutil.copytree(HERE / "tests" / "typing", elsewhere, dirs_exist_ok=True)
        with session.chdir(elsewhere):
            session.run("pyright", "--warnings", ".")


@nox.session
def wheels(session: nox.Session) -> None:
    """Build the wheels that every lane installs."""
    jobs.build(session)


@nox.session(requires=["wheels"])
def here(session: nox.Session) -> None:
    """The core and the standard plugins with the Python at hand, on NumPy and on one graph library."""
    jobs.test(session, AT_HAND)


def _define(job: Callable[[nox.Session, Lane], None], lane: Lane, name: str, tag: str) -> None:
    @nox.session(name=name, python=lane.python, tags=[tag], requires=["wheels"])
    def _session(session: nox.Session) -> None:
        job(session, lane)


for lane in sorted(LANES, key=lambda lane: -lane.minutes):  # those that take long start first
    _define(jobs.test, lane, lane.name, "all")
    if lane.benchmarks:
        _define(jobs.bench, lane, f"bench-{lane.name}", "bench")


@nox.session(venv_backend="none")
def plan(session: nox.Session) -> None:
    """Print what all lanes together take."""
    minutes = sum(lane.minutes for lane in LANES) / 2
    session.log(f"{len(LANES)} lanes, lint and types: about {minutes:.0f} minutes on two processors, and 10 GB in .nox")


@nox.session(venv_backend="none")
def pages(session: nox.Session) -> None:
    """Ask whether the lanes, when they last ran, ran all code that is on our pages."""
    left = "; ".join(reports.blocks_that_no_lane_ran())
    missing = ", ".join(reports.lanes_that_did_not_pass())
    if left and missing:
        session.warn(f"no lane ran this code of our pages: {left}. Lanes that did not run here may: {missing}")
    elif left:
        session.error(f"no lane ran this code of our pages: {left}")


@nox.session(venv_backend="none")
def table(session: nox.Session) -> None:
    """Write the table of docs/lanes.md, from what each lane left when it last ran."""
    missing = reports.lanes_that_did_not_pass()
    if missing:
        session.error(f"the table is of lanes that passed when they last ran; these did not: {', '.join(missing)}")
    reports.write_table()


@nox.session
def dist(session: nox.Session) -> None:
    """Build what is released into dist/, twice, the wheels from the sdists; stop where a byte differs."""
    session.install("build", *jobs.BUILD, "twine>=6")
    shutil.rmtree(jobs.DIST, ignore_errors=True)
    again = Path(session.create_tmp(), "again")
    for folder in (HERE, *PLUGINS):
        for into in (jobs.DIST, again):
            session.run("python", "-m", "build", "--no-isolation", "--outdir", str(into), str(folder), silent=True)
    built = sorted(path.name for path in jobs.DIST.iterdir())
    same, *others = filecmp.cmpfiles(jobs.DIST, again, built, shallow=False)
    if same != built:
        session.error(f"another when it is built again: {others}. Compare those in dist/ and {again} with diffoscope")
    session.run("twine", "check", "--strict", *(str(jobs.DIST / name) for name in built), silent=True)
    for wheel in sorted(jobs.DIST.glob("*.whl")):
        version = reports.metadata_version(wheel)
        if version not in ACCEPTED_METADATA:
            session.error(f"{wheel.name} has metadata {version}; the index takes {', '.join(ACCEPTED_METADATA)}")


@nox.session(requires=["dist"])
def sdists(session: nox.Session) -> None:
    """Prove the sdists in dist/ by the tests that are in them."""
    jobs.sdists(session)


@nox.session(requires=["dist"])
def installed(session: nox.Session) -> None:
    """Prove what is in dist/, installed as from an index."""
    jobs.installed(session)


@nox.session(python=["3.11", "3.12"], reuse_venv=False)
def first_minute(session: nox.Session) -> None:
    """The first screen of the README on a fresh Python: clone, install, program, picture, and what each takes."""
    jobs.first_minute(session)


@nox.session
def demo(session: nox.Session) -> None:
    """Ng's sparse autoencoder on natural images."""
    jobs.example(session, "sparse_autoencoder.py", "regkit-hidden-l1")


@nox.session
def sparse_search(session: nox.Session) -> None:
    """The sparse autoencoder at thirty weights with one compilation, and three by hand."""
    jobs.example(session, "sparse_search.py", "regkit-hidden-l1", "regkit-search", arguments=("--compare",))


@nox.session(requires=["wheels"])
def mutation(session: nox.Session) -> None:
    """Change the core in small ways, and ask whether a test fails. Takes a quarter of an hour."""
    jobs.mutate(session, *(str(path.relative_to(HERE)) for one in MUTATED for path in sorted(HERE.glob(one))))


@nox.session
def picture(session: nox.Session) -> None:
    """The picture of what the benchmarks left."""
    session.install("matplotlib")
    session.run("python", "benchmarks/picture.py", str(jobs.RESULTS))
