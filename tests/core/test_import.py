"""What importing regkit and finding a regularizer costs: modules that must not be loaded on the way."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.subprocess,
    pytest.mark.graph,  # with a graph library that could be imported, and must not be
]

HEAVY = {"numpy", "pluggy", "click", "rich", "theano", "aesara", "pytensor"}
#: Each of these takes as long to import as the rest of a build, or longer.
SLOW = {
    "importlib.metadata",
    "typing",
    "dataclasses",
    "inspect",
    "logging",
    "re",
    "difflib",
    "functools",
    "collections",
}


def modules_after(code: str) -> set[str]:
    """Names of the modules that a fresh interpreter has loaded for some code. It always has os."""
    report = "loaded = sorted(set(sys.modules) - before); import json; print(json.dumps(loaded))"
    script = f"import os, sys; before = set(sys.modules); {code}; {report}"
    output = subprocess.run(
        [sys.executable, "-S", "-c", _with_site(script)], check=True, capture_output=True, text=True
    )
    return set(json.loads(output.stdout.splitlines()[-1]))


def _with_site(script: str) -> str:
    """The same path, but none of the modules that .pth files of the environment may load."""
    return f"import sys; sys.path[:] = {[path for path in sys.path if path]!r}; {script}"


def test_reading_what_is_installed_imports_no_plugin_and_nothing_heavy():
    loaded = modules_after("import regkit; assert 'hidden_l1' in regkit.available()")
    assert not loaded & (HEAVY | {"regkit_hidden_l1"})


def test_building_imports_the_plugin_asked_for_and_nothing_heavy():
    loaded = modules_after("import regkit; regkit.build(hidden_sparsity=0.1)")
    assert "regkit_hidden_l1" in loaded
    assert not loaded & (HEAVY | SLOW)


def test_a_keyword_that_is_no_alias_does_not_import_difflib():
    loaded = modules_after("import regkit; regkit.split(dict(hidden_l1=0.1, rate=0.1, batch_size=64, callbacks=()))")
    assert not loaded & (HEAVY | SLOW - {"collections"})


@pytest.mark.parametrize(
    "written",
    [
        "build({'hidden_sparsity': 0.1})",
        "build(hidden_sparsity=dict(weight=0.1, pattern='hid1', reduction='mean'))",
        "build(hidden_sparsity=dict(weight=0.1, pattern=['hid1', 'hid2']))",
        "build(hidden_sparsity=[0.1, dict(weight=0.2)])",
        "build(hidden_sparsity=None)",
        "build(hidden_sparsity=[])",
        "build(hidden_sparsity=regkit.Live(0.1))",
        "build(label=regkit.load('hidden_l1')(weight=0.1))",
        "split(dict(hidden_sparsity=0.1, rate=1))",
        "build(hidden_sparsity=0.1).__repr__()",
        "build(hidden_sparsity=dict(weight=0.1)).config()",
    ],
)
def test_no_documented_form_of_a_value_imports_what_only_graphs_and_hooks_need(written):
    loaded = modules_after(f"import regkit; regkit.{written}")
    assert not loaded & HEAVY


def test_every_public_name_is_there_and_an_unknown_one_is_an_attribute_error():
    code = "import regkit; names = regkit.__all__; [getattr(regkit, name) for name in names]"
    assert "regkit._hooks" in modules_after(code)
    assert "no attribute 'biuld'" in modules_error("import regkit; regkit.biuld")


def modules_error(code: str) -> str:
    """What a fresh interpreter prints as it fails."""
    return subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True).stderr
