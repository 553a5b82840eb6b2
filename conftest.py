"""Fixtures shared by the tests of the core and of the plugins.

`make test-all` runs these tests in each lane, with built wheels installed; ``REGKIT_LANE`` names the lane and
``REGKIT_LIBRARY`` its graph library. Lanes with one run only what is marked ``graph``; bare lanes run the rest.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Optional

import numpy as np
import pytest

import regkit
from regkit.testing import installed_libraries
from regkit.testing._laboratory import GraphLibrary

HERE = Path(__file__).parent
LANE = os.environ.get("REGKIT_LANE", "")
INSTALLED = HERE / "tests" / "installed"


def pytest_report_header() -> str:
    return f"lane: {LANE or 'none (whatever is installed)'}; regkit from {Path(regkit.__file__).parent}"


def pytest_configure() -> None:
    if LANE and HERE in Path(regkit.__file__).parents and ".nox" not in Path(regkit.__file__).parts:
        raise pytest.UsageError(f"lane {LANE} tests installed wheels, but regkit comes from {regkit.__file__}")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    """Say which pages doctest has run: tests/blocks.py has what that is for."""
    outcome = yield
    report = outcome.get_result()
    if report.when == "call" and report.passed and isinstance(item, pytest.DoctestItem) and item.path.suffix == ".md":
        with suppress(ImportError):  # as in the sdist of a plugin
            from blocks import ran_sessions

            ran_sessions(item.path.relative_to(HERE).as_posix())


#: Where the conformance kit's own tests keep what caught each wrong regularizer first, and what was to.
CAUGHT = pytest.StashKey[dict[str, tuple[Optional[str], str]]]()


@pytest.fixture
def caught(pytestconfig: pytest.Config) -> dict[str, tuple[str | None, str]]:
    """Wrong regularizer -> the check that caught it first, and the one that was to; counted at the end."""
    return pytestconfig.stash.setdefault(CAUGHT, {})


#: Lines for the end of a run.
NOTES = pytest.StashKey[list[str]]()


@pytest.fixture
def notes(pytestconfig: pytest.Config) -> list[str]:
    """Lines to be shown at the end of the run."""
    return pytestconfig.stash.setdefault(NOTES, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show the notes, and say how many wrong regularizers the conformance kit caught, where its own tests ran."""
    for note in config.stash.get(NOTES, []):
        terminalreporter.write_line(note)
    caught = config.stash.get(CAUGHT, {})
    if caught:
        first = sum(found == expected for found, expected in caught.values())
        terminalreporter.write_line(
            f"conformance kit: {sum(found is not None for found, _ in caught.values())} of {len(caught)} wrong "
            f"regularizers caught, {first} of them first by the check meant for them"
        )


def _library() -> str | None:
    """The lane's graph library, whose absence is an error there and not a skip; outside lanes the first there is."""
    if LANE:
        name = os.environ.get("REGKIT_LIBRARY")
        if name:
            importlib.import_module(name)
        return name
    return next(iter(installed_libraries()), None)


@pytest.hookimpl(tryfirst=True)  # before pytest's -m
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what uses a graph library, and leave it out, as deselected and not as skipped, where there is none.

    So are tests of a framework that is not installed.
    """
    old = [item for item in items if any(find_spec(mark.args[0]) is None for mark in item.iter_markers("framework"))]
    config.hook.pytest_deselected(items=old)
    items[:] = [item for item in items if item not in old]
    for item in items:
        # tests that regkit.testing makes of a regularizer's promises are of each installed library, and take a check
        if {"lib", "check"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("graph")
        if "in_the_default_mode" in item.name:  # in which libraries compile, to C or with numba
            item.add_marker("slow")
    if _library() is None:
        symbolic = [item for item in items if "lib" in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=symbolic)
        items[:] = [item for item in items if item not in symbolic]


@pytest.fixture(scope="session")
def lib() -> GraphLibrary:
    """The graph library of the lane."""
    name = _library()
    assert name is not None
    return GraphLibrary(name)


@pytest.fixture(params=["float32", "float64"])
def floatX(lib: GraphLibrary, request: pytest.FixtureRequest):  # noqa: N802 - the libraries' own name for it
    """Both settings of the library's default dtype."""
    before = lib.module.config.floatX
    lib.module.config.floatX = request.param
    yield request.param
    lib.module.config.floatX = before


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch):
    """Put folders of tests/installed on the path; afterwards the path and what was imported from them are as before."""
    before = set(sys.modules)

    def put(*cases: str) -> None:
        for case in cases:
            assert (INSTALLED / case).is_dir(), case
        monkeypatch.setattr(sys, "path", [*(str(INSTALLED / case) for case in cases), *sys.path])
        regkit.refresh()

    yield put
    monkeypatch.undo()
    for name in set(sys.modules) - before:
        if name.startswith("acme_"):
            del sys.modules[name]
    regkit.refresh()


@pytest.fixture(scope="session")
def site() -> Path:
    """The folder of the documentation site, built anew; a warning is an error."""
    built = HERE / "docs" / "_build" / "html"
    shutil.rmtree(built, ignore_errors=True)
    sphinx = (sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going", "--fresh-env")
    folders = ("--conf-dir", str(HERE / "docs"), str(HERE), str(built))
    done = subprocess.run([*sphinx, *folders], cwd=HERE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return built


@pytest.fixture(autouse=True)
def _own_aliases():
    """What a test, or an example in the docs, registers is gone after it."""
    from regkit import _discovery as discovery

    before = dict(discovery.registered)
    yield
    discovery.registered.clear()
    discovery.registered.update(before)


@pytest.fixture
def network():
    """Layers in, hid1, hid2, out with random outputs, as NumPy arrays."""
    rng = np.random.default_rng(7)
    outputs = {name: rng.normal(size=(4, 3)) for name in ("in:out", "hid1:out", "hid2:out", "out:out")}
    return [regkit.Layer(name) for name in outputs], outputs
