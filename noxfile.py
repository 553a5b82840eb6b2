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
from xml.etree import ElementTree as ET

import nox
from nox.command import CommandFailed

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from lanes import CACHE, LANES, PLUGINS, ROWS, STANDARD, Lane, let_shims_answer  # noqa: E402 - its folder comes first

WHEELS = HERE / "dist"
REPORTS = CACHE / "reports"  # what pytest says of each test, by lane
RESULTS = HERE / "benchmarks" / "output"
THIRD_PARTY = HERE / "examples" / "third_party"
WITHOUT_A_LANE = ("lint", "types", "pyright")
STRANGERS = ("acme-sparsity", "acme-tv")  # distributions that come to a lane after our own tests
README_LIBRARY = "pytensor"  # what the README's first program is written for
#: That program, as the index shows it.
FIRST_PROGRAM = r"""
import importlib.metadata, re
page = importlib.metadata.metadata("regkit-core").get_payload()
programs = re.findall(r"^```python\n((?!>>>).*?)^```$", page, re.MULTILINE | re.DOTALL)
exec(compile(programs[0], "README.md", "exec"), {"__name__": "__main__"})
print("the first program of the README runs")
"""
AT_ONCE = min(os.cpu_count() or 1, 4)  # lanes; what they compile needs a processor and memory each

let_shims_answer()
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


def _wheels() -> list[Path]:
    return [*WHEELS.glob("*.whl"), *WHEELS.glob("hosts/*.whl")]


def _install(session: nox.Session, lane: Lane, *packages: str, tests: bool = False) -> None:
    """Install the core with its extras, the plugins and more, the lane's pins being constraints for all of it."""
    built = {path.name.partition("-")[0].replace("_", "-"): str(path) for path in _wheels()}
    if len(built) != len(PLUGINS) + 1:
        session.error(f"expected a wheel of each distribution in {WHEELS}, found {len(built)}. Run: nox -s wheels")
    core = built["regkit-core"]
    ours = [
        core,
        *(built[path.name] for path in STANDARD),
        *(built[name] for name in (lane.plugin, *lane.engines) if name),
    ]
    extras = ",".join(filter(None, (lane.library, "cli", "plugins", "test" if tests else "")))
    constraints = Path(session.create_tmp(), "constraints.txt")
    constraints.write_text("\n".join((*lane.pins, *lane.demo_pins, "")))
    held = ("-c", str(constraints))
    session.install(*held, f"{core}[{extras}]", *ours[1:], *lane.pins, *lane.needs, *packages)
    session.install("--no-deps", "--force-reinstall", *ours, *lane.alone)  # wheels of one version are not all the same


def _pytest(session: nox.Session, lane: Lane, *arguments: str, flags: str = "") -> None:
    """Run pytest in a lane, with what it reports of each test in a file."""
    folder = REPORTS / lane.name
    folder.mkdir(parents=True, exist_ok=True)
    report = folder / f"{len(list(folder.iterdir()))}.xml"
    session.run("pytest", *arguments, f"--junitxml={report}", env=lane.variables(flags or lane.test_flags))


def _test(session: nox.Session, lane: Lane) -> None:
    """Test a lane: the core and the standard plugins, or what has a lane of its own."""
    shutil.rmtree(REPORTS / lane.name, ignore_errors=True)
    if lane.own_tests:
        _install(session, lane, "pytest>=8")
        _test_own(session, lane)
        return
    _install(session, lane, tests=True)
    session.run("pip", "uninstall", "-q", "-y", *STRANGERS, silent=True)
    plugins = [path.relative_to(HERE) for path in STANDARD]
    needed = ("-m", "graph") if lane.library else ()
    _pytest(session, lane, "tests", *(str(path / "tests") for path in plugins), *needed, *session.posargs)
    modules = ["regkit", *(path.name.replace("-", "_") for path in plugins)]
    _pytest(session, lane, "-q", "--doctest-modules", "--ignore-glob=*/_template/*", "--pyargs", *modules)
    documents = [Path("README.md"), *(path / "README.md" for path in plugins), Path("docs")]
    # one uses the plugin that it makes, which tests/ follow step by step; others are pages of lanes
    others = ["docs/plugin-authors.md", *(page for row in ROWS for page in row.get("pages", ()))]
    ignored = [f"--ignore={page}" for page in others]
    _pytest(session, lane, "-q", "--doctest-glob=*.md", *ignored, *map(str, documents))
    _test_strangers(session, lane)


def _test_own(session: nox.Session, lane: Lane) -> None:
    """Test a plugin, or pages, beside the framework or the engine that it is for."""
    for one in lane.passes:
        select = ("-k", one["select"]) if "select" in one else ()
        _pytest(session, lane, *lane.own_tests, *select, *session.posargs, flags=one.get("flags", ""))
    flags = lane.passes[0].get("flags", "")
    pages = (*([f"plugins/{lane.plugin}/README.md"] if lane.plugin else []), *lane.pages)
    if pages:
        _pytest(session, lane, "-q", "--doctest-glob=*.md", *pages, flags=flags)
    for program in lane.programs:
        session.run("python", program, env=lane.variables(flags))


def _test_strangers(session: nox.Session, lane: Lane) -> None:
    """Prove a third party's wheel, and a distribution made by `regkit new` a moment ago, as their authors would."""
    environment = lane.variables(lane.test_flags)
    new = Path(session.create_tmp(), "acme-tv")
    shutil.rmtree(new, ignore_errors=True)
    session.run("regkit", "new", new.name, "--into", str(new.parent))
    session.install("--no-deps", "--no-build-isolation", str(new), *map(str, (WHEELS / "third_party").glob("*.whl")))
    _pytest(session, lane, "-q", "--doctest-glob=*.md", str(THIRD_PARTY))
    _pytest(session, lane, "-q", "--doctest-glob=*.md", str(new))
    session.run("regkit", "check", "acme_tv", env=environment)
    session.run("regkit", "check", "acme_kl", "--activation", "sigmoid", env=environment)
    session.run("regkit", "list", "--check", env=environment)
    session.run("pip", "uninstall", "-q", "-y", *STRANGERS, silent=True)


def _installed(session: nox.Session, lane: Lane) -> None:
    """What a user gets: installed from dist/ and used elsewhere; the README's first program, the command, a plugin."""
    folder = ("--find-links", str(WHEELS))
    ours = ["regkit-core", *(path.name for path in STANDARD)]
    session.install("--no-index", "--no-deps", "--force-reinstall", *folder, *ours)
    session.install(*folder, f"regkit-core[{lane.library},cli,plugins]", "pytest>=8", *lane.pins)
    session.run("pip", "check")
    environment = lane.variables(lane.test_flags)
    with tempfile.TemporaryDirectory() as elsewhere, session.chdir(elsewhere):
        session.run("python", "-c", FIRST_PROGRAM, env=environment)
        session.run("regkit", "list", "--check", env=environment)
        session.run("regkit", "show", "hidden_sparsity", env=environment)
        session.run("regkit", "doctor", env=environment)
        session.run("regkit", "new", "acme-tv")
        session.install("./acme-tv")
        session.run("pytest", "-q", "acme-tv", env=environment)
        session.run("regkit", "check", "acme_tv", env=environment)
        session.run("pip", "uninstall", "-q", "-y", "acme-tv")


def _sdists(session: nox.Session, lane: Lane) -> None:
    """Install the sdists, unpack them, and run the tests that are in each."""
    sdists = sorted(WHEELS.glob("*.tar.gz"), key=lambda path: not path.name.startswith("regkit_core"))
    session.install("hatchling>=1.26")
    session.install("--no-build-isolation", "--no-deps", "--force-reinstall", *map(str, sdists))
    session.install(*lane.pins, "--find-links", str(WHEELS), "regkit-core[cli,plugins,test]")
    for sdist in sdists:
        with tempfile.TemporaryDirectory() as elsewhere:
            shutil.unpack_archive(sdist, elsewhere)
            with session.chdir(Path(elsewhere, sdist.name[: -len(".tar.gz")])):
                session.run("pytest", "-q", "tests")


def _demo(session: nox.Session, lane: Lane) -> None:
    """Ng's sparse autoencoder on natural images."""
    _install(session, lane, "scikit-learn", "pillow", "matplotlib")
    session.run("python", "examples/sparse_autoencoder.py", *session.posargs, env=lane.variables())


def _bench(session: nox.Session, lane: Lane) -> None:
    """The benchmarks of a lane."""
    _install(session, lane, *(() if lane.library else ("stevedore", "catalogue")))
    options = [option for option in session.posargs if option != "--sizes"]
    for name in lane.benchmarks:
        into = ("--into", str(RESULTS))
        session.run("python", f"benchmarks/{name}.py", *into, *options, env=lane.variables())
    if "--sizes" in session.posargs and lane.library and not lane.own_tests:
        session.run("python", "benchmarks/graph_size.py", env=lane.variables())


def _define(job: Callable[[nox.Session, Lane], None], lane: Lane, name: str) -> None:
    @nox.session(name=name, python=lane.python)
    def _session(session: nox.Session) -> None:
        job(session, lane)


for lane in LANES:
    _define(_test, lane, lane.name)
    if lane.library and not lane.own_tests:
        _define(_demo, lane, f"demo-{lane.name}")
    if lane.benchmarks:
        _define(_bench, lane, f"bench-{lane.name}")
    if lane.library == README_LIBRARY and not lane.own_tests:
        _define(_installed, lane, f"installed-{lane.name}")
    if not lane.library and not lane.plugin:
        _define(_sdists, lane, f"sdists-{lane.name}")


@nox.session(python=False)
def lanes(session: nox.Session) -> None:
    """Lint, types and every lane that can run here, and a table of them. No lane with a graph library is a failure."""
    done = {lane.name: ("not here", "", lane.missing) for lane in LANES if lane.missing}

    def run(name: str) -> None:
        start = time.monotonic()
        command = [sys.executable, "-m", "nox", "-s", name, "--", *session.posargs]
        ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        minutes = (time.monotonic() - start) / 60
        skipped = re.search(rf"^nox > Session {name} skipped: (.+?)(?: \(took .+)?$", ended.stdout, re.MULTILINE)
        if skipped:
            done[name] = ("not here", "", skipped[1])
        else:
            note = "; ".join(filter(None, (_slowest(name), *_not_here(name))))
            done[name] = ("failed" if ended.returncode else "passed", f"{minutes:.1f}", note)
        print(ended.stdout, flush=True)  # in one piece, so that lanes do not mix

    longest_first = sorted((lane for lane in LANES if not lane.missing), key=lambda lane: -lane.minutes)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(run, [*(lane.name for lane in longest_first), *WITHOUT_A_LANE]))
    table = [("lane", "Python", "result", "minutes", "slowest tests, in seconds")]
    table += [(lane.name, lane.python, *done[lane.name]) for lane in LANES]
    table += [(name, "", *done[name]) for name in WITHOUT_A_LANE]
    lines = ["{:<16}{:<8}{:<10}{:<9}{}".format(*row).rstrip() for row in table]
    atexit.register(print, "\n".join(["", *lines]))
    failed = [name for name, (result, *_) in done.items() if result == "failed"]
    if failed:
        session.error(f"failed: {', '.join(failed)}")
    if not any(done[lane.name][0] == "passed" for lane in LANES if lane.library):
        session.error("no lane with a graph library passed")


def _slowest(lane: str) -> str:
    """The three tests of a lane that took longest, with their seconds."""
    reports = (ET.parse(path) for path in (REPORTS / lane).glob("*.xml"))
    seconds = [(float(case.get("time", 0)), case.get("name")) for report in reports for case in report.iter("testcase")]
    return ", ".join(f"{name} {time:.0f}" for time, name in sorted(seconds, reverse=True)[:3])


def _not_here(lane: str) -> list[str]:
    """What tests of a lane did without on this machine, with the remedy."""
    reports = (ET.parse(path) for path in (REPORTS / lane).glob("*.xml"))
    skipped = {case.get("message", "") for report in reports for case in report.iter("skipped")}
    return sorted(message for message in skipped if message.startswith("not here"))


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
def bench(session: nox.Session) -> None:
    """Benchmarks, then one picture of them all. With --sizes, large graphs too, which takes an hour."""
    shutil.rmtree(RESULTS, ignore_errors=True)
    for lane in LANES:
        if lane.benchmarks and not lane.missing:
            session.notify(f"bench-{lane.name}")
    session.notify("picture")


@nox.session
def picture(session: nox.Session) -> None:
    """The picture of what the benchmarks left."""
    session.install("matplotlib")
    session.run("python", "benchmarks/picture.py", str(RESULTS))
