"""The programs of docs/search.md, run on the library of the lane, and the results that the page states."""

from __future__ import annotations

import ast
import json
import re
import sys
from functools import partial
from pathlib import Path

import dask
import optuna
import pytest
from click.testing import CliRunner
from regkit_search import Trial
from regkit_search._trial import Task

import blocks
import regkit
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
        yield re.sub(r"\bpytensor\b", lib.name, blocks.programs("docs/search.md")[1].text)
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
    blocks.ran(blocks.programs("docs/search.md")[1:2])


def test_the_search_of_the_page_runs_from_the_command_line(program, tmp_path):
    (block,) = [one for one in blocks.programs("docs/search.md") if "Search(" in one.text]
    imports = "import os\nimport regkit_search\nfrom distributed import Client, LocalCluster\n"
    module = imports + program.partition("result = ")[0] + block.text
    (tmp_path / "my_network.py").write_text(re.sub(r"    client=.*\n", "", module))  # workers take their time
    done = CliRunner().invoke(command, ["search", "my_network:search", "--trials", "3", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["storage"] == "study.db"
    assert all(trial["training_error"] < trial["error"] < 0.7 for trial in found["trials"])
    assert len(found["trials"]) == 3
    blocks.ran([block])


def test_plain_optuna_with_a_live_weight_and_the_path_train_the_same_network(program):
    scope: dict = {"__name__": "page", "optuna": optuna}
    exec(program.partition("result = ")[0], scope)
    plain, _, _, path, *_ = blocks.programs("docs/search.md")
    scope["weight"] = weight = regkit.Live(0.0)
    evaluate = scope["prepare"](regkit.build(weight_l2={"weight": weight, "pattern": "*.w"}))
    trial = Trial(Task(0, 0, {}), lambda number, reports: False)
    scope.update(reset=lambda: trial.reports.clear(), train_and_validate=lambda: evaluate(trial)["error"])
    exec(plain.text.replace("n_trials=30", "n_trials=8"), scope)
    assert scope["study"].best_value < 0.4
    assert len(scope["study"].trials) == 8
    exec(path.text.replace('"error")', '"error", weights=[0.3, 0.07], folds=2)'), scope)
    assert scope["found"].best_weight == 0.07
    blocks.ran([plain, path])


def test_the_settings_of_workers_on_the_page_are_those_of_dask():
    others = [one for one in blocks.programs("docs/search.md") if "dask.config" in one.text]
    assert others
    with dask.config.set({"distributed.nanny.pre-spawn-environ": {}}):
        for block in others:
            exec(block.text, {})
        assert dask.config.get("distributed.nanny.pre-spawn-environ")["OMP_NUM_THREADS"] == 1
    blocks.ran(others)
