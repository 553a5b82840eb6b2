"""What is done in a lane: its environment, its tests, what is installed from `dist/`, the demonstration, benchmarks."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import nox

import blocks
from distributions import lowest_core

from . import HERE, PLUGINS, ROWS, STANDARD, Lane, reports

WHEELS = HERE / "dist"
RESULTS = HERE / "benchmarks" / "output"
THIRD_PARTY = HERE / "examples" / "third_party"
STRANGERS = ("acme-sparsity", "acme-tv", "my-regularizer")  # distributions that come to a lane after our own tests
#: The README's first program, as the index shows it.
FIRST_PROGRAM = r"""
import importlib.metadata, re
page = importlib.metadata.metadata("regkit-core").get_payload()
programs = re.findall(r"^```python\n((?!>>>).*?)^```$", page, re.MULTILINE | re.DOTALL)
exec(compile(programs[0], "README.md", "exec"), {"__name__": "__main__"})
print("the first program of the README runs")
"""


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
    environment = {**lane.variables(flags or lane.test_flags), "REGKIT_RAN": str(reports.blocks_file(lane))}
    session.run("pytest", *arguments, f"--junitxml={reports.next_file(lane)}", env=environment)


def test(session: nox.Session, lane: Lane) -> None:
    """Test a lane: the core and the standard plugins, or what has a lane of its own."""
    reports.forget(lane)
    _install(session, lane, *(["pytest>=8"] if lane.own_tests else []), tests=not lane.own_tests)
    if lane.core:
        _test_on_lowest_core(session, lane)
    elif lane.own_tests:
        _test_own(session, lane)
    else:
        _test_all(session, lane)
    for one in lane.follows:
        _follow(session, lane, **one)
    if not session.posargs:
        reports.keep(lane, session.run("pip", "list", "--format=json", silent=True, stderr=subprocess.DEVNULL))


def _test_all(session: nox.Session, lane: Lane) -> None:
    """Test the core and the standard plugins, with their pages, and what strangers make."""
    session.run("pip", "uninstall", "-q", "-y", *STRANGERS, silent=True)
    plugins = [path.relative_to(HERE) for path in STANDARD]
    needed = ("-m", "graph") if lane.library else ()
    _pytest(session, lane, "tests", *(str(path / "tests") for path in plugins), *needed, *session.posargs)
    modules = ["regkit", *(path.name.replace("-", "_") for path in plugins)]
    _pytest(session, lane, "-q", "--doctest-modules", "--ignore-glob=*/_template/*", "--pyargs", *modules)
    documents = [Path("README.md"), *(path / "README.md" for path in plugins), Path("docs"), *map(Path, lane.pages)]
    # some use what they make, and tests/ follow them step by step; others are pages of other lanes
    others = {page for row in ROWS for page in row.get("pages", ())}.difference(lane.pages)
    followed = ("docs/plugin-authors.md", "docs/engines.md")
    # the site, where it was built, has copies of programs that pages link to, tests among them
    ignored = [f"--ignore={path}" for path in ("docs/_build", *followed, *sorted(others))]
    _pytest(session, lane, "-q", "--doctest-glob=*.md", *ignored, *map(str, documents))
    _test_strangers(session, lane)


def _test_on_lowest_core(session: nox.Session, lane: Lane) -> None:
    """Test each standard plugin on the lowest core that it names, built from its tag; until there is one, on this."""
    session.install("hatchling>=1.26", "packaging")
    needing: dict[str, list[Path]] = {}
    for path in STANDARD:
        needing.setdefault(lowest_core(path), []).append(path.relative_to(HERE))
    for version, plugins in needing.items():
        into = session.create_tmp()
        built = session.run("python", "distributions.py", "--core", version, into, silent=True).strip()
        if built:
            session.install("--no-deps", "--force-reinstall", built)
        else:
            session.log(f"note: no tag of regkit-core {version} yet, so on the present core")
        _pytest(session, lane, *(str(path / "tests") for path in plugins), *session.posargs)


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


def _follow(session: nox.Session, lane: Lane, page: str, section: str = "", folder: str = "") -> None:
    """Run a page's shell commands as they stand, in a copy of the checkout; what they install is there already."""
    commands = [block for block in blocks.blocks(page, "sh") if section in ("", block.section)]
    if not commands:
        session.error(f"lane {lane.name} follows {page} {section}, where there are no shell commands")
    session.install("hatchling>=1.26", "pytest>=8")
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": f"{WHEELS} {WHEELS / 'hosts'}", "PIP_NO_BUILD_ISOLATION": "0"}
    environment = {**lane.variables(lane.test_flags), **offline, "REGKIT_LANE": "", "PIP_YES": "1"}
    with tempfile.TemporaryDirectory() as elsewhere:
        copy = Path(elsewhere, "checkout")
        shutil.copytree(HERE, copy, ignore=shutil.ignore_patterns(".*", "dist", "_build", "output", "__pycache__"))
        with session.chdir(copy / folder):
            for block in commands:
                session.run("bash", "-e", "-c", block.text, external=True, env=environment)
    blocks.ran(commands, reports.blocks_file(lane))


def _test_strangers(session: nox.Session, lane: Lane) -> None:
    """Prove a third party's wheel, and a distribution made by `regkit new` a moment ago, as their authors would."""
    environment = lane.variables(lane.test_flags)
    new = Path(session.create_tmp(), "acme-tv")
    shutil.rmtree(new, ignore_errors=True)
    session.run("regkit", "new", new.name, "--into", str(new.parent))
    session.install("--no-deps", "--no-build-isolation", str(new), *map(str, (WHEELS / "third_party").glob("*.whl")))
    _pytest(session, lane, "-q", "--doctest-glob=*.md", str(THIRD_PARTY))
    _pytest(session, lane, "-q", "--doctest-glob=*.md", str(new))
    blocks.ran_sessions("plugins/_template/README.md", reports.blocks_file(lane))  # of which the new one is a copy
    session.run("regkit", "check", "acme_tv", env=environment)
    session.run("regkit", "check", "acme_kl", "--activation", "sigmoid", env=environment)
    session.run("regkit", "list", "--check", env=environment)
    session.run("pip", "uninstall", "-q", "-y", *STRANGERS, silent=True)


def installed(session: nox.Session, lane: Lane) -> None:
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


def sdists(session: nox.Session, lane: Lane) -> None:
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


def demo(session: nox.Session, lane: Lane) -> None:
    """Ng's sparse autoencoder on natural images."""
    _install(session, lane, "scikit-learn", "pillow", "matplotlib")
    session.run("python", "examples/sparse_autoencoder.py", *session.posargs, env=lane.variables())


def search(session: nox.Session, lane: Lane) -> None:
    """The sparse autoencoder at thirty weights with one compilation, and three by hand."""
    _install(session, replace(lane, engines=("regkit-search",)), "scikit-learn", "pillow", "matplotlib")
    session.run("python", "examples/sparse_search.py", "--compare", *session.posargs, env=lane.variables())


def bench(session: nox.Session, lane: Lane) -> None:
    """The benchmarks of a lane."""
    _install(session, lane, *(() if lane.library else ("stevedore", "catalogue")))
    options = [option for option in session.posargs if option != "--sizes"]
    for name in lane.benchmarks:
        into = ("--into", str(RESULTS))
        session.run("python", f"benchmarks/{name}.py", *into, *options, env=lane.variables())
    if "--sizes" in session.posargs and lane.library and not lane.own_tests:
        session.run("python", "benchmarks/graph_size.py", env=lane.variables())
