"""Fixtures shared by the tests of the core and of the plugins.

The test command runs these tests once in each lane, with built wheels installed; ``REGKIT_LANE`` names the lane.
"""

from __future__ import annotations

import importlib
import os
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import regkit

HERE = Path(__file__).parent
LANE = os.environ.get("REGKIT_LANE", "")
LIBRARY_OF_LANE = {"theano": "theano", "aesara": "aesara", "pytensor": "pytensor"}
INSTALLED = HERE / "tests" / "installed"


def pytest_report_header() -> str:
    return f"lane: {LANE or 'none (whatever is installed)'}; regkit from {Path(regkit.__file__).parent}"


def pytest_configure() -> None:
    if LANE and HERE in Path(regkit.__file__).parents and ".nox" not in Path(regkit.__file__).parts:
        raise pytest.UsageError(f"lane {LANE} tests installed wheels, but regkit comes from {regkit.__file__}")


def _library() -> str | None:
    """The lane's graph library. In a lane named after one, its absence is an error and not a skip."""
    if LANE:
        name = LIBRARY_OF_LANE.get(LANE.partition("-")[0])
        if name is not None:
            importlib.import_module(name)
        return name
    return next((name for name in LIBRARY_OF_LANE.values() if find_spec(name)), None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, as deselected and not as skipped, what needs a graph library where there is none."""
    if _library() is None:
        symbolic = [item for item in items if "lib" in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=symbolic)
        items[:] = [item for item in items if item not in symbolic]


class GraphLibrary:
    """The few things that tests do with a graph library, whichever it is."""

    def __init__(self, name: str) -> None:
        self.name = name
        if name == "theano":  # its compiled scan does not build on Python 3.11; without it, scan runs in Python
            sys.modules.setdefault("theano.scan.scan_perform_ext", None)
        self.module = importlib.import_module(name)
        self.tensor_module = importlib.import_module(f"{name}.tensor")

    def tensor(self, name: str, dtype: str = "float64", ndim: int = 2):
        """Return a symbolic input."""
        unknown = (False,) * ndim if self.name == "theano" else (None,) * ndim
        return self.tensor_module.TensorType(dtype, unknown)(name)

    def shared(self, value, name: str | None = None):
        """Return a shared variable."""
        return self.module.shared(value, name=name)

    def function(self, inputs, outputs, updates=(), *, default_mode: bool = False, rewrites: bool = True):
        """Compile, in pure Python and without costly rewrites unless the library's default mode is asked for."""
        optimizer = "fast_compile" if rewrites else None
        mode = None if default_mode else self.module.compile.mode.Mode(linker="py", optimizer=optimizer)
        return self.module.function(inputs, outputs, updates=list(updates), mode=mode, on_unused_input="ignore")

    def scan(self, step, **arguments):
        """Return the states that a step function goes through."""
        if self.name == "pytensor":  # where updates beside the states are on their way out
            return self.module.scan(step, return_updates=False, **arguments)
        return self.module.scan(step, **arguments)[0]

    def grad(self, cost, wrt):
        """Return the gradient of a scalar."""
        return self.tensor_module.grad(cost, wrt)

    def evaluate(self, expression, **inputs):
        """Evaluate an expression for values of its named inputs."""
        variables = [variable for variable in self._inputs_of(expression) if variable.name in inputs]
        return self.function(variables, expression)(*(inputs[variable.name] for variable in variables))

    def _inputs_of(self, expression):
        found, open_, seen = [], [expression], set()
        while open_:
            variable = open_.pop()
            if id(variable) in seen:
                continue
            seen.add(id(variable))
            if variable.owner is None:
                found.append(variable)
            else:
                open_ += variable.owner.inputs
        return found


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


@pytest.fixture(autouse=True)
def _own_aliases():
    """What a test, or an example in the docs, registers is gone after it."""
    from regkit import registry

    before = dict(registry._registered)
    yield
    registry._registered.clear()
    registry._registered.update(before)


@pytest.fixture
def network():
    """Layers in, hid1, hid2, out with random outputs, as NumPy arrays."""
    rng = np.random.default_rng(7)
    outputs = {name: rng.normal(size=(4, 3)) for name in ("in:out", "hid1:out", "hid2:out", "out:out")}
    return [regkit.Layer(name) for name in outputs], outputs
