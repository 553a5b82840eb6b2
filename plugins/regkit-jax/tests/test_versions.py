"""Parts of JAX that are not public: where one has changed, the error says which, and what works."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import jax
import pytest
import regkit_jax
from regkit_jax import _internals

import regkit


def said(what):
    return re.escape(
        f"regkit_jax does not work with JAX {jax.__version__}: {what}. It was tested with JAX {_internals.TESTED}. "
        "Install one of them, or a later regkit-jax"
    )


@pytest.mark.parametrize("path", ["jax.extend.core.find_top_trace", "jax.interpreters.partial_eval.dce_jaxpr"])
def test_a_part_that_is_not_there_is_named(path, monkeypatch):
    monkeypatch.delattr(path)
    with pytest.raises(regkit.PluginLoadError, match=said(f"{path} is not there")):
        importlib.reload(_internals)  # which ends before anything that others use is made anew


@pytest.fixture
def unchecked():
    """The traces are looked at anew, here and in whatever comes after."""
    _internals._check.cache_clear()
    yield
    _internals._check.cache_clear()


def test_traces_of_another_kind_are_named(unchecked, monkeypatch):
    monkeypatch.setattr(_internals, "STAGED", "WrittenTrace")
    kinds = "the traces of a compiled function are DynamicJaxprTrace, EvalTrace; known are those that begin with"
    with pytest.raises(regkit.PluginLoadError, match=said(f"{kinds} WrittenTrace and end with EvalTrace")):
        regkit_jax.Run(regkit.build()).loss()


def test_tracers_without_a_trace_are_named(unchecked, monkeypatch):
    usual = _internals._running
    monkeypatch.setattr(_internals, "_running", lambda: [*map(_Copy, usual())])
    monkeypatch.setattr(_internals, "_kind", lambda trace: trace.kind)
    with pytest.raises(regkit.PluginLoadError, match=said("a tracer does not have its trace in _trace")):
        _internals.running()


def test_a_loop_in_other_words_is_named(unchecked, monkeypatch):
    monkeypatch.setattr(_internals, "LOOPS", ("repeat",))
    with pytest.raises(
        regkit.PluginLoadError, match=said("the body of a scan is recorded for 'scan'; known are repeat")
    ):
        _internals.running()


class _Copy:
    def __init__(self, trace):
        self.kind = type(trace).__name__


def test_the_pages_say_what_it_was_tested_with():
    page = Path(__file__).parents[1] / "README.md"
    assert f"tested with JAX {_internals.TESTED}" in " ".join(page.read_text(encoding="utf-8").split())
