"""What `make test`, `dist`, `demo` and `bench` run. `nox --list` shows the parts; lanes.toml has the lanes.

The graph libraries cannot share an environment: each lane has its own, with the built wheels of the core and the
plugins installed in it, so that what is tested is what a user gets and not the source tree.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nox
from nox.command import CommandFailed

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "tests")]  # the second has blocks.py
from lanes import LANES, Lane, jobs, let_shims_answer, reports  # noqa: E402 - their folders come first
from lanes.jobs import RESULTS, THIRD_PARTY, WHEELS  # noqa: E402 - likewise

WITHOUT_A_LANE = ("lint", "types", "pyright")
README_LIBRARY = "pytensor"  # what the README's first program is written for
AT_ONCE = min(os.cpu_count() or 1, 4)  # lanes; what they compile needs a processor and memory each

let_shims_answer()
os.environ.setdefault("PIP_NO_COMPILE", "1")  # modules are compiled when they are imported, which few of them are
nox.options.default_venv_backend = "venv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["wheels", "lanes"]


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff, for lint and for format."""
    session.install("ruff==0.17.6")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Mypy, strict, on the core, the programs in tests/typing, and the plugins."""
    session.install("mypy>=1.19", "numpy", "pluggy", "pytest>=8", "click", "rich")
    session.run("mypy")
    # what is not installed here is of any type: frameworks and engines, their classes and what these return
    loose = ("--ignore-missing-imports", "--allow-subclassing-any", "--no-warn-return-any", "--no-warn-unused-ignores")
    session.run("mypy", *loose, *(str(path.relative_to(HERE)) for path in sorted(HERE.glob("plugins/*/src"))))


@nox.session
def pyright(session: nox.Session) -> None:
    """Pyright on the programs in tests/typing, with what a user has installed: whether it agrees with mypy."""
    ours = list(WHEELS.glob("*.whl"))
    if not ours:
        session.error(f"there is no wheel in {WHEELS}. Run: nox -s wheels")
    try:
        session.install("pyright[nodejs]==1.1.414")  # its wheel has all of it, and Node.js comes as a wheel too
        session.run("pyright", "--version", silent=True)
    except CommandFailed:
        session.skip("no pyright that runs (it needs a Node.js for this platform: pip install 'pyright[nodejs]')")
    session.install("numpy", "pluggy", "pytest>=8")
    session.install("--no-deps", "--force-reinstall", *map(str, ours))
    with tempfile.TemporaryDirectory() as elsewhere:  # where nothing of the checkout is found
        shutil.copytree(HERE / "tests" / "typing", elsewhere, dirs_exist_ok=True)
        with session.chdir(elsewhere):
            session.run("pyright", "--warnings", ".")


@nox.session
def wheels(session: nox.Session) -> None:
    """Build sdist and wheel of each distribution, twice; twine reads them. Every lane installs the wheels."""
    session.install("hatchling>=1.26", "twine>=6")
    session.run("python", "distributions.py", str(WHEELS))
    released = [file for file in WHEELS.rglob("*") if file.is_file()]
    session.run("twine", "check", "--strict", *map(str, released), silent=True)
    build = ("pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir")
    session.run(*build, str(WHEELS / "third_party"), str(THIRD_PARTY))


def _define(job: Callable[[nox.Session, Lane], None], lane: Lane, name: str) -> None:
    @nox.session(name=name, python=lane.python)
    def _session(session: nox.Session) -> None:
        job(session, lane)


for lane in LANES:
    _define(jobs.test, lane, lane.name)
    if lane.library and not lane.own_tests:
        _define(jobs.demo, lane, f"demo-{lane.name}")
    if lane.benchmarks:
        _define(jobs.bench, lane, f"bench-{lane.name}")
    if lane.library == README_LIBRARY and not lane.own_tests:
        _define(jobs.installed, lane, f"installed-{lane.name}")
        _define(jobs.search, lane, f"search-{lane.name}")
    if not lane.library and not lane.own_tests and not lane.core:
        _define(jobs.sdists, lane, f"sdists-{lane.name}")


@nox.session(python=False)
def lanes(session: nox.Session) -> None:
    """Lint, types and every lane that can run here, and a table of them. No lane with a graph library is a failure."""
    done = {lane.name: reports.Done("not here", note=lane.missing) for lane in LANES if lane.missing}

    def run(name: str) -> None:
        start = time.monotonic()
        command = [sys.executable, "-m", "nox", "-s", name, "--", *session.posargs]
        ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        minutes = (time.monotonic() - start) / 60
        skipped = re.search(rf"^nox > Session {name} skipped: (.+?)(?: \(took .+)?$", ended.stdout, re.MULTILINE)
        if skipped:
            done[name] = reports.Done("not here", note=skipped[1])
        else:
            notes = [*re.findall(r"^nox > note: (.+)$", ended.stdout, re.MULTILINE), reports.note(name)]
            result = "failed" if ended.returncode else "passed"
            done[name] = reports.Done(result, f"{minutes:.1f}", "; ".join(filter(None, notes)))
        print(ended.stdout, flush=True)  # in one piece, so that lanes do not mix

    longest_first = sorted((lane for lane in LANES if not lane.missing), key=lambda lane: -lane.minutes)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(run, [*(lane.name for lane in longest_first), *WITHOUT_A_LANE]))
    atexit.register(print, f"\n{reports.table(done)}")
    failed = [name for name, one in done.items() if one.result == "failed"]
    if failed:
        session.error(f"failed: {', '.join(failed)}")
    if not any(done[lane.name].result == "passed" for lane in LANES if lane.library):
        session.error("no lane with a graph library passed")
    left = [] if session.posargs else reports.blocks_that_no_lane_ran()
    if left:
        said = f"no lane ran this code of our pages: {'; '.join(left)}"
        if any(done[lane.name].result == "not here" for lane in LANES if not lane.stand_in):
            session.warn(f"{said}. Lanes that are not here may have")
        else:
            session.error(said)


@nox.session(python=False)
def dist(session: nox.Session) -> None:
    """Prove what `wheels` built: from the folder as from an index, and each sdist by its own tests."""
    for job, library in (("sdists", ""), ("installed", README_LIBRARY)):
        possible = [lane for lane in LANES if lane.library == library and not lane.own_tests]
        here = next((lane for lane in possible if not lane.missing), None)
        if here is None:
            session.error(f"{job}: none can run here: {'; '.join(f'{lane.name}: {lane.missing}' for lane in possible)}")
        session.notify(f"{job}-{here.name}")


@nox.session(python=False)
def demo(session: nox.Session) -> None:
    """Ng's sparse autoencoder on natural images, in the first lane that can run here."""
    possible = [lane for lane in LANES if lane.library and not lane.own_tests]
    here = next((lane for lane in possible if not lane.missing), None)
    if here is None:
        wanted = "; ".join(f"{lane.name}: {lane.missing}" for lane in possible)
        session.error(f"no lane with a graph library can run here: {wanted}")
    session.notify(f"demo-{here.name}")


@nox.session(python=False)
def sparse_search(session: nox.Session) -> None:
    """The sparse autoencoder at thirty weights, with the newest PyTensor that can run here."""
    possible = [lane for lane in LANES if lane.library == README_LIBRARY and not lane.own_tests]
    here = next((lane for lane in reversed(possible) if not lane.missing), None)
    if here is None:
        session.error(f"none can run here: {'; '.join(f'{lane.name}: {lane.missing}' for lane in possible)}")
    session.notify(f"search-{here.name}")


@nox.session(python=False)
def bench(session: nox.Session) -> None:
    """Benchmarks, then one picture of them all. With --sizes, large graphs too, which takes an hour."""
    shutil.rmtree(RESULTS, ignore_errors=True)
    for lane in LANES:
        if lane.benchmarks and not lane.missing:
            session.notify(f"bench-{lane.name}")
    session.notify("picture")


@nox.session(python=False)
def table(session: nox.Session) -> None:
    """The README's table of lanes, from what each left when it last ran."""
    try:
        session.log(reports.write_readme())
    except LookupError as error:
        session.error(str(error))


@nox.session
def picture(session: nox.Session) -> None:
    """The picture of what the benchmarks left."""
    session.install("matplotlib")
    session.run("python", "benchmarks/picture.py", str(RESULTS))
