"""The programs of docs/search.md, run on the library of the lane, and the results that the page states."""

from __future__ import annotations

import ast
import json
import re
import sys
from functools import partial
from pathlib import Path

import dask
import pytest
from click.testing import CliRunner

import blocks
from regkit.cli import regkit as command

#: A line of a program, and the value that a comment states for it.
STATED = re.compile(r"^(?P<expression>\S.*?)  # (?P<value>[-\d{\[].*)$", re.MULTILINE)


def assert_as_stated(found, stated):
    """Numbers agree to the digits that are stated."""
    if isinstance(stated, dict):
        assert found.keys() == stated.keys()
        for name, value in stated.items():
            assert_as_stated(found[name], value)
    elif isinstance(stated, float):
        assert f"{found:.2g}" == f"{stated:.2g}"
    else:
        assert found == stated


@pytest.fixture
def program(lib, tmp_path, monkeypatch):
    """The page's first program for the library of the lane, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(lib.module, "function", partial(lib.module.function, mode="FAST_COMPILE"))
    with lib.float_type("float64"):
        yield re.sub(r"\bpytensor\b", lib.name, blocks.programs("docs/search.md")[0].text)
    sys.modules.pop("my_network", None)


def test_the_first_program_of_the_page_gives_the_results_that_the_page_states(program):
    scope: dict = {"__name__": "page"}
    exec(program, scope)
    stated = [(match["expression"], ast.literal_eval(match["value"])) for match in STATED.finditer(program)]
    assert len(stated) == 4
    for expression, value in stated:
        assert_as_stated(eval(expression, scope), value)
    assert set(scope["frame"]["state"]) == {"complete"}
    assert len(scope["result"].plot().axes) == 2
    assert Path("study.db").exists()
    blocks.ran(blocks.programs("docs/search.md")[:1])


def test_the_file_of_the_page_trains_the_same_network(program, tmp_path):
    (tmp_path / "my_network.py").write_text(program.partition("result = ")[0])
    (block,) = blocks.blocks("docs/search.md", "toml")
    lines = [line for line in block.text.splitlines() if not line.startswith("workers = ")]  # which take their time
    (tmp_path / "search.toml").write_text("\n".join(lines))
    done = CliRunner().invoke(command, ["search", "search.toml", "--trials", "3", "--json"])
    assert done.exit_code == 0, done.output
    trials = json.loads(done.stdout)["trials"]
    assert [trial["state"] for trial in trials] == ["complete"] * 3
    assert all(trial["training_error"] < trial["error"] < 0.7 for trial in trials)
    blocks.ran([block])


def test_the_settings_of_workers_on_the_page_are_those_of_dask():
    _, *others = blocks.programs("docs/search.md")
    with dask.config.set({"distributed.nanny.pre-spawn-environ": {}}):
        for block in others:
            exec(block.text, {})
        assert dask.config.get("distributed.nanny.pre-spawn-environ")["OMP_NUM_THREADS"] == 1
    blocks.ran(others)
