"""What `make test` and `make demo` run. `nox --list` shows the parts; a lane is one Python with one graph library.

The graph libraries cannot share an environment: each lane has its own, with the built wheels of the core and the
plugins installed in it, so that what is tested is what a user gets and not the source tree.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import nox

HERE = Path(__file__).parent
WHEELS = HERE / "dist"
CACHE = HERE / ".cache"
RESULTS = HERE / "benchmarks" / "output"
THIRD_PARTY = HERE / "examples" / "third_party"
#: What distributions that tests make are built with. Aesara needs a setuptools before 74, theano-pymc one before 82.
BACK_ENDS = ("hatchling>=1.26", "editables", "setuptools>=70.1,<74", "flit-core", "poetry-core", "pdm-backend")
STRANGERS = ("acme-sparsity", "acme-tv")  # distributions that come to a lane after our own tests
PLUGINS = sorted(path.parent for path in HERE.glob("plugins/[!_]*/pyproject.toml"))
FRAMEWORKS = ("regkit-theanets",)  # plugins that need a framework, and are tested in its lane
HOSTS = {"theanets": ("theanets==0.7.3", "downhill==0.4.0")}  # frameworks, whose own pins are too old to install


@dataclass(frozen=True)
class Lane:
    """A combination of Python and graph library that works, with the pins that keep it working."""

    name: str
    python: str
    pins: tuple[str, ...]
    library: str = ""
    flags: str = ""
    test_flags: str = ""  # more flags, for the tests alone
    demo_pins: tuple[str, ...] = ()
    host: str = ""  # a framework whose tests run in place of the others
    stand_in: bool = False  # runs only where no other lane with a graph library can
    benchmarks: tuple[str, ...] = ()

    @property
    def session(self) -> str:
        """The name of the lane's nox session."""
        return self.name if self.library else f"{self.name}-py{self.python.replace('.', '')}"

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables for the lane. What is compiled is kept between runs."""
        return self.environment_with()

    def environment_with(self, more_flags: str = "") -> dict[str, str]:
        """Environment variables for the lane, with more flags for its library."""
        environment = {"REGKIT_LANE": self.name, "MPLCONFIGDIR": str(CACHE / "matplotlib")}
        if self.library:
            flags = (self.flags, more_flags, f"base_compiledir={CACHE / 'compiled' / self.name}")
            environment[f"{self.library.upper()}_FLAGS"] = ",".join(filter(None, flags))
        return environment

    @property
    def missing(self) -> str:
        """What keeps the lane from running here, with the remedy; empty if nothing does."""
        # A version manager's shim may be on the path and answer "not found": only a Python that runs counts.
        if not _runs(self.python, ""):
            return f"no Python {self.python} that runs"
        if not _runs(self.python, "import venv, ensurepip"):
            return f"Python {self.python} has no venv (Debian: apt-get install python{self.python}-venv)"
        header = "import os, sysconfig; os.stat(os.path.join(sysconfig.get_path('include'), 'Python.h'))"
        if self.library and not _runs(self.python, header):
            return f"Python {self.python} has no headers (Debian: apt-get install python{self.python}-dev)"
        return ""


# theano-pymc fails with NumPy 1.24 and later, and on Python 3.11 asks NumPy for BLAS settings that it no longer has.
# Tests that use a library's default mode compile for minutes. One lane of each library compiles as that does of itself
# (PyTensor's default is numba), one of PyTensor's to C; in the others the default is rewritten graphs run in Python.
# The oldest supported pluggy and the one after it are pinned in some lanes; the others take the newest.
THEANO_NEWER = {
    "pins": ("theano-pymc==1.1.2", "numpy==1.23.5", "scipy==1.12.0"),
    "library": "theano",
    "flags": "blas__ldflags=",
    "demo_pins": ("scikit-learn==1.4.2", "matplotlib==3.8.4"),
}
OF_THE_CORE = ("discovery", "building", "hooks")
LANES = (
    Lane("bare", "3.9", ("numpy==1.21.6", "pluggy==1.5.0"), benchmarks=OF_THE_CORE),
    Lane("bare", "3.10", ("numpy", "pluggy==1.6.0")),
    Lane("bare", "3.11", ("numpy",), benchmarks=OF_THE_CORE),
    Lane("bare", "3.12", ("numpy",)),
    Lane("bare", "3.13", ("numpy",), benchmarks=OF_THE_CORE),
    Lane(
        "theano-py39",
        "3.9",
        ("theano-pymc==1.1.2", "numpy==1.21.6", "scipy==1.7.3", "pluggy==1.5.0"),
        library="theano",
        demo_pins=("scikit-learn==1.3.2", "matplotlib==3.7.5"),
    ),
    Lane("theano-py310", "3.10", **THEANO_NEWER, stand_in=True),
    Lane("theano-py311", "3.11", **THEANO_NEWER, test_flags="linker=py", benchmarks=("training",)),
    Lane(
        "aesara-py311",
        "3.11",
        ("aesara==2.9.4", "numpy==1.26.4", "scipy==1.12.0"),
        library="aesara",
        benchmarks=("training",),
    ),
    Lane("pytensor-py311", "3.11", ("pytensor==3.0.7",), library="pytensor", test_flags="linker=cvm"),
    Lane(
        "pytensor-py312",
        "3.12",
        ("pytensor>=3.3",),
        library="pytensor",
        test_flags="linker=py",
        benchmarks=("training",),
    ),
    Lane("pytensor-py313", "3.13", ("pytensor>=3.3",), library="pytensor"),
    Lane(
        "theanets",
        "3.9",
        ("theano-pymc==1.1.2", "numpy==1.21.6", "scipy==1.7.3", "six", "click"),
        library="theano",
        host="theanets",
        benchmarks=("training",),
    ),
)


def _runs(version: str, code: str) -> bool:
    program = shutil.which(f"python{version}")
    return (
        program is not None and subprocess.run([program, "-c", code], capture_output=True, check=False).returncode == 0
    )


def _let_shims_answer() -> None:
    """Have pyenv's shims answer for every version it has, not only for the one that is active."""
    if "PYENV_VERSION" not in os.environ and shutil.which("pyenv"):
        active, every = (
            subprocess.run(["pyenv", *command], capture_output=True, text=True, check=False).stdout
            for command in (["version-name"], ["versions", "--bare"])
        )
        os.environ["PYENV_VERSION"] = ":".join(dict.fromkeys([*active.strip().split(":"), *every.split()]))


_let_shims_answer()
missing = {lane.session: lane.missing for lane in LANES}
if any(lane.library and not lane.stand_in and not missing[lane.session] for lane in LANES):
    missing.update({lane.session: "not needed beside the others" for lane in LANES if lane.stand_in})
here = [lane for lane in LANES if not missing[lane.session]]

nox.options.default_venv_backend = "venv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "wheels", "lanes"]


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff, for lint and for format."""
    session.install("ruff==0.17.6")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Mypy, strict, on the core."""
    session.install("mypy>=1.19", "numpy", "pluggy", "pytest>=8", "click", "rich")
    session.run("mypy")


@nox.session
def wheels(session: nox.Session) -> None:
    """Build the wheels that every lane installs."""
    session.install("build", "hatchling>=1.26")
    shutil.rmtree(WHEELS, ignore_errors=True)
    for folder in (HERE, *PLUGINS):
        _build(session, folder, WHEELS)
    _build(session, THIRD_PARTY, WHEELS / "third_party")


def _build(session: nox.Session, folder: Path, into: Path) -> None:
    session.run("python", "-m", "build", "--wheel", "--no-isolation", "-o", str(into), str(folder), silent=True)


def _install(session: nox.Session, lane: Lane, *packages: str) -> None:
    """Install a lane's pins, our wheels and more, the pins being constraints for all of it."""
    built = [str(path) for path in sorted(WHEELS.glob("*.whl"))]
    if len(built) != len(PLUGINS) + 1:
        session.error(f"expected one wheel of each distribution in {WHEELS}, found {len(built)}. Run: nox -s wheels")
    constraints = Path(session.create_tmp(), "constraints.txt")
    constraints.write_text("\n".join((*lane.pins, *lane.demo_pins, "")))
    session.install("-c", str(constraints), *lane.pins, "pluggy>=1.5", *packages)
    session.install("--no-deps", "--force-reinstall", *built)


def _test(session: nox.Session, lane: Lane) -> None:
    environment = lane.environment_with(lane.test_flags)
    _install(session, lane, "pytest>=8", "click", "rich", *BACK_ENDS)
    session.run("pip", "uninstall", "-q", "-y", *STRANGERS, silent=True)
    plugins = [path.relative_to(HERE) for path in PLUGINS if path.name not in FRAMEWORKS]
    session.run(
        "pytest",
        "tests",
        *(str(path / "tests") for path in plugins),
        *session.posargs,
        env=environment,
    )
    modules = ["regkit", *(path.name.replace("-", "_") for path in plugins)]
    doctest = ("pytest", "-q", "--doctest-modules", "--ignore-glob=*/_template/*")
    session.run(*doctest, "--pyargs", *modules, env=environment)
    documents = [Path("README.md"), *(path / "README.md" for path in plugins), Path("docs")]
    # one uses the plugin that it makes, which tests/ follow step by step; the other has a lane of its own
    others = ("--ignore=docs/plugin-authors.md", "--ignore=docs/theanets.md")
    session.run("pytest", "-q", "--doctest-glob=*.md", *others, *map(str, documents), env=environment)
    _test_strangers(session, environment)


def _test_strangers(session: nox.Session, environment: dict[str, str]) -> None:
    """Prove a third party's wheel, and a distribution made by `regkit new` a moment ago, as their authors would."""
    new = Path(session.create_tmp(), "acme-tv")
    shutil.rmtree(new, ignore_errors=True)
    session.run("regkit", "new", new.name, "--into", str(new.parent))
    session.install("--no-deps", "--no-build-isolation", str(new), *map(str, (WHEELS / "third_party").glob("*.whl")))
    session.run("pytest", "-q", "--doctest-glob=*.md", str(THIRD_PARTY), env=environment)
    session.run("pytest", "-q", "--doctest-glob=*.md", str(new), env=environment)
    session.run("regkit", "check", "acme_tv", env=environment)
    session.run("regkit", "check", "hidden_kl", "--activation", "sigmoid", env=environment)
    session.run("regkit", "list", "--check", env=environment)
    session.run("pip", "uninstall", "-q", "-y", *STRANGERS, silent=True)


def _test_theanets(session: nox.Session, lane: Lane) -> None:
    """Real theanets, in both of Theano's float types; what is compiled to C takes minutes, so only some tests do it."""
    _install(session, lane, "pytest>=8", "click", "rich")
    session.install("--no-deps", *HOSTS[lane.host])
    tests = ("pytest", "plugins/regkit-theanets/tests", *session.posargs)
    for float_type in ("float64", "float32"):
        session.run(*tests, env=lane.environment_with(f"floatX={float_type},mode=FAST_COMPILE"))
    compiled = "200_steps or leaves_predictions or change_predictions"
    session.run(*tests, "-k", compiled, env=lane.environment_with("floatX=float32"))
    pages = ("docs/theanets.md", "plugins/regkit-theanets/README.md")
    quick = lane.environment_with("floatX=float64,mode=FAST_COMPILE")
    session.run("pytest", "-q", "--doctest-glob=*.md", "--doctest-modules", *pages, env=quick)
    session.run("python", "examples/theanets_sparse.py", env=quick)


for lane in LANES:

    @nox.session(name=lane.session, python=lane.python)
    def _lane(session: nox.Session, lane: Lane = lane) -> None:
        (_test_theanets if lane.host else _test)(session, lane)


@nox.session(python=False)
def lanes(session: nox.Session) -> None:
    """Every lane that can run here, two at a time, and a table of them. No lane with a graph library is a failure."""
    results = {lane.session: "not here" for lane in LANES}

    def run(lane: Lane) -> None:
        command = [sys.executable, "-m", "nox", "-s", lane.session, "--", *session.posargs]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        results[lane.session] = "failed" if done.returncode else "passed"
        print(done.stdout, flush=True)  # in one piece, so that two lanes do not mix

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, sorted(here, key=lambda lane: not lane.library)))  # the long ones first
    lines = [f"{lane.name:<16}{lane.python:<8}{results[lane.session]:<10}{missing[lane.session]}" for lane in LANES]
    atexit.register(print, "\n".join(["", f"{'lane':<16}{'Python':<8}result", *map(str.rstrip, lines)]))
    failed = [name for name, result in results.items() if result == "failed"]
    if failed:
        session.error(f"failed: {', '.join(failed)}")
    if not any(results[lane.session] == "passed" for lane in LANES if lane.library):
        session.error("no lane with a graph library passed")


demo_lane = next((lane for lane in here if lane.library and not lane.host), None)


@nox.session(python=demo_lane.python if demo_lane else False)
def demo(session: nox.Session) -> None:
    """Ng's sparse autoencoder on natural images."""
    if demo_lane is None:
        wanted = "; ".join(f"{lane.name}: {missing[lane.session]}" for lane in LANES if lane.library)
        session.error(f"no lane with a graph library can run here: {wanted}")
    _install(session, demo_lane, "scikit-learn", "pillow", "matplotlib", "rich")
    session.run("python", "examples/sparse_autoencoder.py", *session.posargs, env=demo_lane.environment)


@nox.session(python=False)
def bench(session: nox.Session) -> None:
    """Benchmarks, then one picture of them all. With --sizes, large graphs too, which takes an hour."""
    shutil.rmtree(RESULTS, ignore_errors=True)
    for lane in here:
        if lane.benchmarks:
            session.notify(f"bench-{lane.session}")
    session.notify("picture")


@nox.session
def picture(session: nox.Session) -> None:
    """The picture of what the benchmarks left."""
    session.install("matplotlib")
    session.run("python", "benchmarks/picture.py", str(RESULTS))


for lane in LANES:
    if lane.benchmarks:

        @nox.session(name=f"bench-{lane.session}", python=lane.python)
        def _bench(session: nox.Session, lane: Lane = lane) -> None:
            _install(session, lane, "rich", *(() if lane.library else ("stevedore", "catalogue")))
            if lane.host:
                session.install("--no-deps", *HOSTS[lane.host])
            options = [option for option in session.posargs if option != "--sizes"]
            for name in lane.benchmarks:
                into = ("--into", str(RESULTS))
                session.run("python", f"benchmarks/{name}.py", *into, *options, env=lane.environment)
            if "--sizes" in session.posargs and lane.library and not lane.host:
                session.run("python", "benchmarks/graph_size.py", env=lane.environment)
