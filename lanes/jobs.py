"""What is done in a lane: its environment, its tests, what is installed from `dist/`, the demonstration, benchmarks."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import nox

import blocks

from . import AT_HAND, CACHE, HERE, PLUGINS, ROWS, STANDARD, Lane, reports, tag, tomllib

WHEELS = CACHE / "wheels"
DIST = HERE / "dist"
RESULTS = HERE / "benchmarks" / "output"
BUILD = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
KINDS = ("penalty", "weights", "graph", "step")  # of which `regkit new` makes a distribution
STRANGERS = (
    "acme-sparsity",
    *(f"acme-{kind}" for kind in KINDS),
    "my-regularizer",
)  # distributions that come to a lane after our own tests
#: The README's first program for a graph library, as the index shows it.
FIRST_PROGRAM = r"""
import importlib.metadata, re
page = importlib.metadata.metadata("regkit-core").get_payload()
programs = re.findall(r"^```python\n((?!>>>).*?)^```$", page, re.MULTILINE | re.DOTALL)
program = next(program for program in programs if "import pytensor\n" in program)
exec(compile(re.sub(r"\bpytensor\b", "LIBRARY", program), "README.md", "exec"), {"__name__": "__main__"})
print("the first program of the README runs")
"""


def build(session: nox.Session) -> None:
    """Build the wheels that lanes install: of the core, of each plugin and of a third party's example."""
    session.install(*BUILD)
    shutil.rmtree(WHEELS, ignore_errors=True)
    folders = (HERE, *PLUGINS, HERE / "examples" / "third_party")
    how = ("--quiet", "--no-deps", "--no-build-isolation", "--ignore-requires-python", "--wheel-dir", str(WHEELS))
    session.run("pip", "wheel", *how, *map(str, folders))


def _install(session: nox.Session, lane: Lane, *packages: str, tests: bool = False) -> None:
    """Install the core with its extras, the plugins and more, the lane's pins being constraints for all of it."""
    wheels = {path.name.partition("-")[0].replace("_", "-"): str(path) for path in WHEELS.glob("*.whl")}
    ours = [
        wheels[name] for name in ("regkit-core", *(path.name for path in STANDARD), lane.plugin, *lane.engines) if name
    ]
    extras = ",".join(filter(None, (lane.library, "cli", "plugins", "test" if tests else "")))
    constraints = Path(session.create_tmp(), "constraints.txt")
    constraints.write_text("\n".join((*lane.pins, "")))
    session.install("-c", str(constraints), f"{ours[0]}[{extras}]", *ours[1:], *lane.pins, *lane.needs, *packages)
    session.install("--no-deps", "--force-reinstall", *ours, *lane.alone)  # wheels of one version are not all the same


def mutate(session: nox.Session, *files: str) -> None:
    """Change files of the core in small ways, and ask whether a test fails on NumPy."""
    _install(session, replace(AT_HAND, library=""), "cosmic-ray>=8.7", tests=True)
    session.run("python", "lanes/mutation.py", *files, *session.posargs)


def _pytest(session: nox.Session, lane: Lane, *arguments: str, flags: str = "") -> None:
    """Run pytest in a lane, with what it reports of each test in a file."""
    environment = {**lane.variables(flags or lane.test_flags), "REGKIT_RAN": str(reports.blocks_file(lane))}
    options = ("--durations=3", "--durations-min=1", f"--junitxml={reports.next_file(lane)}")
    codes = [0, 5] if session.posargs else [0]  # 5: a selection has none of these tests
    session.run("pytest", *arguments, *options, *session.posargs, env=environment, success_codes=codes)


def test(session: nox.Session, lane: Lane) -> None:
    """Test a lane: the core and the standard plugins, or what has a lane of its own."""
    _skip_without_headers(session, lane)
    reports.forget(lane)
    more = ["pytest>=8"] if lane.own_tests else ["pytest-xdist"] if lane is AT_HAND else []
    _install(session, lane, *more, tests=not lane.own_tests)
    if lane.core:
        _test_on_lowest_core(session, lane, STANDARD)
    elif lane.own_tests:
        _test_own(session, lane)
    else:
        _test_all(session, lane)
    if not session.posargs:  # such as -k pattern, for a test that is looked for
        for one in lane.follows:
            _follow(session, lane, **one)
        if lane.plugin:
            _test_on_lowest_core(session, lane, [HERE / "plugins" / lane.plugin])
        reports.keep(lane, session.run("pip", "list", "--format=json", silent=True, stderr=subprocess.DEVNULL))


def _skip_without_headers(session: nox.Session, lane: Lane) -> None:
    """Skip a lane of a graph library, which compiles, where its Python has no headers."""
    where = ("python", "-c", "import sysconfig; print(sysconfig.get_path('include'))")
    if lane.library and not Path(session.run(*where, silent=True).strip(), "Python.h").exists():
        session.skip(f"no headers: apt-get install python{lane.python}-dev, on Debian")


def _test_all(session: nox.Session, lane: Lane) -> None:
    """Test the core and the standard plugins, with their pages, and what strangers make."""
    session.run("pip", "uninstall", "-q", "-y", *STRANGERS, silent=True)
    plugins = [path.relative_to(HERE) for path in STANDARD]
    # bare lanes run what needs no graph library, and the lane of the Python at hand runs both on all its processors
    chosen = ("-q", "-n", "auto") if lane is AT_HAND else ("-m", "graph") if lane.library else ()
    _pytest(session, lane, "tests", *(str(path / "tests") for path in plugins), *chosen)
    if session.posargs:
        return
    modules = ["regkit", *(path.name.replace("-", "_") for path in plugins)]
    _pytest(
        session,
        lane,
        "-q",
        "--doctest-modules",
        "--ignore-glob=*/_template/*",
        "--ignore-glob=*/hook-*.py",
        "--pyargs",
        *modules,
    )
    documents = [Path("README.md"), *(path / "README.md" for path in plugins), Path("docs"), *map(Path, lane.pages)]
    # some use what they make, and tests/ follow them step by step; others are pages of other lanes
    others = {page for row in ROWS for page in row.get("pages", ())}.difference(lane.pages)
    followed = ("docs/plugin-authors.md", "docs/engines.md")
    # the site, where it was built, has copies of programs that pages link to, tests among them
    ignored = [f"--ignore={path}" for path in ("docs/_build", *followed, *sorted(others))]
    _pytest(session, lane, "-q", "--doctest-glob=*.md", *ignored, *map(str, documents))
    _test_strangers(session, lane)


def _test_on_lowest_core(session: nox.Session, lane: Lane, plugins: list[Path]) -> None:
    """Test plugins on the lowest core that each names, built from its tag; where there is no tag yet, say so."""
    needing: dict[str, list[Path]] = {}
    for path in plugins:
        needed = tomllib.loads((path / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"][0]
        needing.setdefault(re.fullmatch(r"regkit-core>=([\d.]+)", needed)[1], []).append(path)
    for version, those in needing.items():
        found = tag(version)
        if found:
            session.install("--no-deps", "--force-reinstall", f"git+file://{HERE}@{found}")
        else:
            session.log(f"regkit-core {version} has no tag yet: the present core is the lowest")
        if found or lane.core:
            _pass(session, lane, *(str(path.relative_to(HERE) / "tests") for path in those))


def _pass(session: nox.Session, lane: Lane, *tests: str) -> None:
    """Run tests of what has a lane of its own, once for each of its passes."""
    for one in lane.passes:
        select = ("-k", one["select"]) if "select" in one else ()
        _pytest(session, lane, *tests, *select, flags=one.get("flags", ""))


def _test_own(session: nox.Session, lane: Lane) -> None:
    """Test a plugin, or pages, beside the framework or the engine that it is for."""
    _pass(session, lane, *lane.own_tests)
    if session.posargs:
        return
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
    session.install(*BUILD, "pytest>=8")
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(WHEELS), "PIP_NO_BUILD_ISOLATION": "0"}
    environment = {**lane.variables(lane.test_flags), **offline, "REGKIT_LANE": "", "PIP_YES": "1"}
    with tempfile.TemporaryDirectory() as elsewhere:
        copy = Path(elsewhere, "checkout")
        made = (".git", ".nox", ".tools", ".cache", ".*_cache", ".venv", "dist", "_build", "output", "__pycache__")
        shutil.copytree(HERE, copy, ignore=shutil.ignore_patterns(*made))
        with session.chdir(copy / folder):
            for block in commands:
                session.run("bash", "-e", "-c", block.text, external=True, env=environment)
    blocks.ran(commands, reports.blocks_file(lane))


def _test_strangers(session: nox.Session, lane: Lane) -> None:
    """Prove a third party's wheel, and distributions made by `regkit new` a moment ago, as their authors would.

    Kinds but penalties are proved on NumPy, and on the graph library of the Python at hand: others compile for minutes.
    """
    environment = lane.variables(lane.test_flags)
    kinds = KINDS if not lane.library or lane is AT_HAND else KINDS[:1]
    new = [Path(session.create_tmp(), f"acme-{kind}") for kind in kinds]
    for kind, folder in zip(kinds, new):
        shutil.rmtree(folder, ignore_errors=True)
        session.run("regkit", "new", folder.name, "--kind", kind, "--into", str(folder.parent))
    wheels = WHEELS.glob("acme_sparsity-*.whl")
    session.install("--no-deps", "--no-build-isolation", *map(str, (*new, *wheels)))
    _pytest(session, lane, "-q", "--doctest-glob=*.md", "examples/third_party", *map(str, new))
    blocks.ran_sessions("plugins/_template/README.md", reports.blocks_file(lane))  # of which the new one is a copy
    for kind in kinds:
        session.run("regkit", "check", f"acme_{kind}", env=environment)
    session.run("regkit", "check", "acme_kl", "--activation", "sigmoid", env=environment)
    session.run("regkit", "list", "--check", env=environment)
    session.run("pip", "uninstall", "-q", "-y", *STRANGERS, silent=True)


def installed(session: nox.Session) -> None:
    """What a user gets: installed from dist/ and used elsewhere; the README's first program, the command, a plugin."""
    folder = ("--find-links", str(DIST))
    ours = ["regkit-core", *(path.name for path in STANDARD)]
    session.install("--no-index", "--no-deps", "--force-reinstall", *folder, *ours)
    session.install(*folder, f"regkit-core[{AT_HAND.library},cli,plugins]", "pytest>=8")
    session.run("pip", "check")
    environment = AT_HAND.variables(AT_HAND.test_flags)
    with tempfile.TemporaryDirectory() as elsewhere, session.chdir(elsewhere):
        session.run("python", "-c", FIRST_PROGRAM.replace("LIBRARY", AT_HAND.library), env=environment)
        session.run("regkit", "list", "--check", env=environment)
        session.run("regkit", "show", "hidden_sparsity", env=environment)
        session.run("regkit", "doctor", env=environment)
        session.run("regkit", "new", "acme-tv")
        session.install("./acme-tv[test]")
        session.run("pytest", "-q", "acme-tv", env=environment)
        session.run("regkit", "check", "acme_tv", env=environment)
        session.run("pip", "uninstall", "-q", "-y", "acme-tv")


def sdists(session: nox.Session) -> None:
    """Install the sdists of what needs no framework, unpack them, and run the tests that are in each."""
    found = [
        next(DIST.glob(f"{name.replace('-', '_')}-*.tar.gz")) for name in ("regkit-core", *(p.name for p in STANDARD))
    ]
    session.install(*BUILD)
    session.install("--no-build-isolation", "--no-deps", "--force-reinstall", *map(str, found))
    session.install("--find-links", str(DIST), "regkit-core[cli,plugins,test]")
    for sdist in found:
        with tempfile.TemporaryDirectory() as elsewhere:
            shutil.unpack_archive(sdist, elsewhere)
            with session.chdir(Path(elsewhere, sdist.name[: -len(".tar.gz")])):
                session.run("pytest", "-q", "tests")


def first_minute(session: nox.Session) -> None:
    """What the README's first screen has for PyTorch, as it stands: clone, install, run the program, draw the picture.

    The address of the project, which leads nowhere yet, stands for this checkout.
    """
    lines = [line for block in blocks.blocks("README.md", "sh") for line in block.text.splitlines()]
    (clone,) = (line for line in lines if line.startswith("git clone "))
    (install,) = (line for line in lines if line.startswith("pip install ") and line.endswith("# PyTorch"))
    (demo,) = (line for line in lines if line.startswith("make demo"))
    program = next(block for block in blocks.programs("README.md") if "regkit_torch" in block.text)
    beside = " ".join(re.findall(r"# (pip install .+)$", program.text, re.MULTILINE)) or "true"
    run = f"import blocks; blocks.programs('README.md')[{blocks.programs('README.md').index(program)}].run({{}})"
    address = clone.split()[2]
    here = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.{HERE}.insteadOf", "GIT_CONFIG_VALUE_0": address}
    steps = {
        "clone": clone,
        "install": f"{install}\n{beside}",
        "program": f'python -c "{run}"',
        "picture": f"{demo}\ntest -s examples/output/sparse_autoencoder.png",
    }
    with tempfile.TemporaryDirectory() as elsewhere:
        took = {}
        for name, commands in steps.items():
            folder = Path(elsewhere) if name == "clone" else Path(elsewhere, "regkit")
            began = time.monotonic()
            with session.chdir(folder):
                environment = {**here, "PYTHONPATH": "tests" if name == "program" else None, "PYTHON": "python"}
                session.run("bash", "-e", "-c", commands, external=True, env=environment)
            took[name] = time.monotonic() - began
    session.log("; ".join(f"{name} {seconds:.0f} s" for name, seconds in took.items()))


def example(session: nox.Session, program: str, *plugins: str, arguments: tuple[str, ...] = ()) -> None:
    """Run one of the examples from the checkout, with a graph library that the Python at hand can run."""
    folders = [str(HERE / "plugins" / name) for name in plugins]
    session.install(f"{HERE}[{AT_HAND.library},demo]", *folders, silent=False)
    session.run("python", f"examples/{program}", *arguments, *session.posargs, env=AT_HAND.variables())


def bench(session: nox.Session, lane: Lane) -> None:
    """The benchmarks of a lane."""
    _install(session, lane, *(() if lane.library else ("stevedore", "catalogue")))
    options = [option for option in session.posargs if option != "--sizes"]
    for name in lane.benchmarks:
        into = ("--into", str(RESULTS))
        session.run("python", f"benchmarks/{name}.py", *into, *options, env=lane.variables())
    if "--sizes" in session.posargs and lane.library and not lane.own_tests:
        session.run("python", "benchmarks/graph_size.py", env=lane.variables())
