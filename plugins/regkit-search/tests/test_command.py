"""``regkit search``: as a process where the exit status and what is printed matter, and in this one for the rest."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

import cloudpickle
import pytest
from click.testing import CliRunner
from regkit_search import command as commands

import regkit
from regkit.cli import regkit as command

pytestmark = pytest.mark.subprocess

#: The penalty is twice the weight; trial 3 waits, the first time, to be interrupted.
NETWORK = """
import os, time
from pathlib import Path
import numpy as np
import regkit_search
from distributed import Client, LocalCluster
from helping import distance
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.samplers import GridSampler, RandomSampler

def prepare(regs):
    print("preparing")
    def evaluate(trial):
        marker = os.environ.get("MARKER")
        if marker and trial.number == 3 and not Path(marker).exists():
            Path(marker).touch()
            time.sleep(60)
        penalty = float(regs.loss([], {"hid1": np.array([2.0])}))
        return {"error": distance(penalty), "penalty": penalty}
    return evaluate

def failing(regs):
    raise ValueError("no data")

def cluster():
    return Client(LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0"))

space = {"hidden_l1": {"weight": FloatDistribution(1e-2, 1, log=True), "pattern": "hid1"}}
search = regkit_search.Search(prepare, space, minimize="error", trials=6, sampler=RandomSampler())
"""
FURTHER = {
    "failing": 'Search(failing, space, minimize="error", trials=6)',
    "several": 'Search(prepare, space, minimize=["error", "penalty"], trials=6)',
    "workers": 'Search(**{**vars(search), "storage": "a_network.search.db", "client": cluster})',
    "wrong": 'Search(prepare, space, minimize="error", trials=6, sampler=GridSampler({"hidden_l2.weight": [0.1]}))',
    "other": 'Search(prepare, space, minimize="error", trials=6, seed=1, storage="a_network.search.db")',
    "remote": 'Search(prepare, space, minimize="error", trials=6, client="tcp://127.0.0.1:9")',
    "nowhere": 'Search(prepare, space, minimize="error", trials=6, storage="nowhere/a.db")',
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the module of a search, which is forgotten when the test ends."""
    further = "".join(f"{name} = regkit_search.{call}\n" for name, call in FURTHER.items())
    (tmp_path / "a_network.py").write_text(NETWORK + further)
    (tmp_path / "helping.py").write_text("def distance(penalty):\n    return abs(penalty - 1)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for name in ("a_network", "helping", "raises", "exits", "refused"):
        module = sys.modules.pop(name, None)
        if name in cloudpickle.list_registry_pickle_by_value():
            cloudpickle.unregister_pickle_by_value(module)


def started(*arguments, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "regkit", "search", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
        preexec_fn=None if sys.platform == "win32" else hearing,
        env={**os.environ, **environment},
    )


def hearing():
    """Let a process hear Ctrl-C also where these tests run in the background, which does not, and is inherited."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def run(*arguments, **environment):
    """Exit status, standard output and standard error of the command in a process of its own."""
    process = started(*arguments, **environment)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def here(*arguments):
    """The same in this process."""
    done = CliRunner().invoke(command, ["search", *arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    return done.exit_code, done.stdout, done.stderr


def test_a_search_prints_the_best_and_what_to_build_and_the_same_command_adds_nothing(folder):
    status, out, err = run("a_network:search")
    assert status == 0, err
    lines = out.splitlines()
    assert lines[0] == "6 trials: 6 complete"
    assert "preparing" not in out
    states = re.split(r"[\r\n]+", err)
    assert any(one.startswith("0 of 6 trials |") for one in states)
    assert any(one.startswith("6 of 6 trials, best error") for one in states)
    (call,) = [line for line in lines if line.startswith("regkit.build(")]
    best = json.loads(here("a_network:search", "--json")[1])["front"][0]["config"]
    assert eval(call, {"regkit": regkit}).config() == regkit.build(best).config()
    assert lines[-1] == (
        "All trials are stored in a_network.search.db. `regkit search a_network:search` goes on from there, with more "
        "--trials."
    )
    assert here("a_network:search")[:2] == (0, out)
    assert "6 of 6 trials, best error" in here("a_network:search", "--trials", "5")[2]


def test_more_trials_go_beyond_and_json_has_all_of_them(folder):
    status, out, _ = here("a_network:search", "--json")
    first = json.loads(out)
    assert status == 0
    assert first["storage"] == "a_network.search.db"
    found = json.loads(here("a_network:search", "--trials", "9", "--json")[1])
    assert found["trials"][:6] == first["trials"]
    assert [row["number"] for row in found["trials"]] == list(range(9))
    best = min(found["trials"], key=lambda row: row["error"])
    (front,) = found["front"]
    assert front["aims"] == {"error": best["error"]}
    assert front["config"] == {"hidden_l1": {"weight": best["hidden_l1.weight"], "pattern": "hid1"}}


def test_json_has_null_for_what_is_not_finite(folder):
    (folder / "a_network.py").write_text(
        NETWORK.partition("def prepare")[0] + "def prepare(regs):\n"
        "    return lambda trial: dict(error=trial.number, size=float('inf') if trial.number == 0 else 1.0)\n"
        "space = {'hidden_l1': FloatDistribution(0.1, 1)}\n"
        "search = regkit_search.Search(prepare, space, minimize=['error', 'size'], trials=6)\n"
    )

    def refused(word):
        raise AssertionError(f"{word} is not JSON")

    status, out, _ = here("a_network:search", "--json")
    found = json.loads(out, parse_constant=refused)
    assert status == 0
    assert [row["size"] for row in found["trials"]] == [None, 1, 1, 1, 1, 1]
    assert [one["aims"] for one in found["front"]] == [{"error": 0, "size": None}, {"error": 1, "size": 1}]


def interrupted(folder, target="a_network:search"):
    """Run a search that a terminal's Ctrl-C reaches while it runs its trial 3."""
    marker = folder / "marker"
    process = started(target, MARKER=str(marker))
    while not marker.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert out == ""
    (told,) = [line for line in err.splitlines() if line.startswith("Interrupted")]
    return process.returncode, told


@pytest.mark.skipif(sys.platform == "win32", reason="there are no groups of processes that a signal reaches")
@pytest.mark.parametrize("target", ["a_network:search", "a_network:workers"])
def test_after_ctrl_c_the_same_command_goes_on_to_the_result_of_an_undisturbed_search(folder, target):
    status, last = interrupted(folder, target)
    assert status == 130
    assert last == (
        "Interrupted. Finished trials are stored, and those that ran will run again. Go on with: regkit search "
        + target
    )
    status, out, err = run(target, "--json")
    assert status == 0, err
    (folder / "a_network.search.db").unlink()
    assert json.loads(out)["trials"] == json.loads(here("a_network:search", "--json")[1])["trials"]


def test_a_search_in_which_all_fails_exits_with_1_and_the_same_command_goes_on(folder):
    status, out, err = run("a_network:failing")
    assert (status, out) == (1, "")
    assert (
        "Error: a_network:failing: the first 3 trials have all failed. The last one: ValueError: no data (a_netw" in err
    )
    assert "Traceback" not in err
    assert here("a_network:failing")[0] == 1
    status, out, err = here("a_network:failing", "--trials", "6")
    assert (status, out) == (1, "6 trials: 6 failed\n")
    assert "a_network:failing: none of 6 trials is complete. The first that failed: ValueError: no data" in err
    assert "To begin anew, delete that or give another storage; with more --trials, it goes on\n" in err


def test_several_aims_give_the_front(folder):
    status, out, _ = here("a_network:several")
    assert status == 0
    front = json.loads(here("a_network:several", "--json")[1])["front"]
    assert [line.split()[0] for line in out.partition("trial ")[2].splitlines()[1 : len(front) + 1]] == [
        str(one["number"]) for one in front
    ]
    assert out.count("regkit.build(") == len(front) > 1


def test_the_users_modules_of_the_folder_are_sent_whole_and_those_of_an_environment_are_not(folder, monkeypatch):
    commands._loaded("a_network:search")
    assert {"a_network", "helping"} <= cloudpickle.list_registry_pickle_by_value()
    monkeypatch.setattr(commands, "get_path", lambda name: str(folder / "python/lib"))
    assert commands._is_of(sys.modules["a_network"], folder)
    for file in ("python/lib/os.py", "venv/lib/site-packages/numpy.py", "../elsewhere.py"):
        assert not commands._is_of(type(sys)("one"), folder)
        module = type(sys)("one")
        module.__file__ = str(folder / file) if not file.startswith("..") else "/elsewhere.py"
        assert not commands._is_of(module, folder)


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("a_network", "accepted: module:name, such as my_network:search"),
        ("a_netwrk:search", "there is no module 'a_netwrk' in "),
        ("a_netwrk:search", "or installed. Did you mean 'a_network'?"),
        ("a_network:serch", "has no 'serch'. Did you mean 'search'? Its searches: failing, search, "),
        ("a_network:prepare", "accepted: a regkit_search.Search"),
        ("platform:search", "platform.py, has no 'search'. Its searches: none"),
        ("raises:search", "the module cannot be imported: KeyError: 'x' (raises.py:1 in <module>)"),
        ("exits:search", "the module cannot be imported: SystemExit: 3 (exits.py:2 in <module>)"),
        ("refused:search", "the module cannot be imported: OptionError: there is no aim"),
        ("a_network:nowhere", "storage 'nowhere/a.db' cannot be opened"),
        ("a_network:remote", "where no Dask scheduler answers"),
        ("a_network:wrong", "the sampler GridSampler refuses the search: ValueError: "),
    ],
)
def test_a_search_that_is_not_accepted_exits_with_2(folder, monkeypatch, target, told):
    monkeypatch.setattr("regkit_search._dask.PATIENCE", "1s")
    (folder / "raises.py").write_text("{}['x']\n")
    (folder / "exits.py").write_text("import sys\nsys.exit(3)\n")
    (folder / "refused.py").write_text(NETWORK.replace('minimize="error", ', ""))
    status, out, err = here(target)
    assert (status, out) == (2, ""), err
    assert f"Error: {target}: " in err
    assert told in err


def test_a_number_of_trials_that_is_not_accepted_is_told_before_the_search(folder):
    status, out, err = here("a_network:search", "--trials", "0")
    assert (status, out) == (2, "")
    assert "'--trials': 0 is not in the range x>=1" in err
    assert not (folder / "a_network.search.db").exists()


def test_a_storage_of_another_search_is_refused(folder):
    assert here("a_network:search")[0] == 0
    status, _, err = here("a_network:other")
    assert status == 2
    assert "Error: a_network:other: storage 'a_network.search.db' holds another search under the name 'regkit-se" in err
