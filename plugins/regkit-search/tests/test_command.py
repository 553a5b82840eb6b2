"""``regkit search``: as a process where the exit status and what is printed matter, and in this one for the rest."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import cloudpickle
import pytest
import tomllib
from click.testing import CliRunner
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler
from regkit_search import local
from regkit_search.files import read
from regkit_search.preparing import loaded
from regkit_search.written import as_toml

import regkit
from blocks import blocks, ran
from regkit.cli import regkit as command

#: The penalty is twice the weight; trial 3 waits, the first time, to be interrupted.
NETWORK = """
import os, time
from pathlib import Path
import numpy as np
from helping import distance

pytestmark = pytest.mark.subprocess

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
"""
FILE = """
prepare = "a_network:prepare"
minimize = "error"
trials = 6
sampler = "RandomSampler"

[space.hidden_l1]
weight = { low = 1e-2, high = 1, log = true }
pattern = "hid1"
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a network beside the file of a search, which is forgotten when the test ends."""
    (tmp_path / "a_network.py").write_text(NETWORK)
    (tmp_path / "helping.py").write_text("def distance(penalty):\n    return abs(penalty - 1)\n")
    (tmp_path / "search.toml").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for name in ("a_network", "helping", "raises", "exits"):
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
    status, out, err = run("search.toml", "--plot", "found.png", "--csv", "found.csv")
    assert status == 0, err
    assert (folder / "found.png").read_bytes().startswith(b"\x89PNG")
    assert len((folder / "found.csv").read_text().splitlines()) == 7
    lines = out.splitlines()
    assert lines[0] == "6 trials: 6 complete"
    assert "preparing" not in out
    assert "0 of 6 trials\n" in err
    assert "6 of 6 trials, best error" in err
    (call,) = [line for line in lines if line.startswith("regkit.build(")]
    (toml,) = [line for line in lines if line.startswith("hidden_l1 = {")]
    assert eval(call, {"regkit": regkit}).config() == regkit.build(tomllib.loads(toml)).config()
    assert lines[-1] == (
        "All trials are stored in search.db. `regkit search search.toml` goes on from there, with --trials beyond 6."
    )
    assert here("search.toml") == (0, out, "6 of 6 trials" + err.partition("6 of 6 trials")[2])


def test_more_trials_go_beyond_and_json_has_all_of_them(folder):
    status, out, _ = here("search.toml", "--json")
    first = json.loads(out)
    assert status == 0
    assert first["storage"] == "search.db"
    found = json.loads(here("search.toml", "--trials", "9", "--json")[1])
    assert found["trials"][:6] == first["trials"]
    assert [row["number"] for row in found["trials"]] == list(range(9))
    best = min(found["trials"], key=lambda row: row["error"])
    (front,) = found["front"]
    assert front["aims"] == {"error": best["error"]}
    assert front["config"] == {"hidden_l1": {"weight": best["hidden_l1.weight"], "pattern": "hid1"}}


def test_json_has_null_for_what_is_not_finite(folder):
    (folder / "a_network.py").write_text(
        "def prepare(regs):\n"
        "    return lambda trial: dict(error=trial.number, size=float('inf') if trial.number == 0 else 1.0)\n"
    )
    (folder / "search.toml").write_text(FILE.replace('"error"', '["error", "size"]'))

    def refused(word):
        raise AssertionError(f"{word} is not JSON")

    status, out, _ = here("search.toml", "--json")
    found = json.loads(out, parse_constant=refused)
    assert status == 0
    assert [row["size"] for row in found["trials"]] == [None, 1, 1, 1, 1, 1]
    assert [one["aims"] for one in found["front"]] == [{"error": 0, "size": None}, {"error": 1, "size": 1}]


def interrupted(folder, times=1):
    """Run a search that a terminal's Ctrl-C reaches while it runs its trial 3."""
    marker = folder / "marker"
    process = started("search.toml", MARKER=str(marker))
    while not marker.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    for _ in range(times):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.1)
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    assert out == ""
    return process.returncode, err.splitlines()[-1]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no groups of processes that a signal reaches")
@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_says_what_is_stored_and_the_same_command_goes_on(folder, times):
    assert interrupted(folder, times) == (
        130,
        "Interrupted. 3 of 6 trials are stored in search.db; 1 that ran will run again. Go on with: "
        "regkit search search.toml",
    )
    on = json.loads(here("search.toml", "--json")[1])
    (folder / "search.db").unlink()
    assert on == json.loads(here("search.toml", "--json")[1])


@pytest.mark.skipif(sys.platform == "win32", reason="there are no groups of processes that a signal reaches")
def test_ctrl_c_ends_a_search_with_workers_of_its_own_that_have_not_the_folder(folder):
    (folder / "search.toml").write_text(f"workers = 1\n{FILE}")
    status, said = interrupted(folder)
    assert status == 130
    assert said.startswith("Interrupted. 3 of 6 trials are stored in search.db; 1 that ran will run again. ")
    status, on, err = run("search.toml", "--json")
    assert status == 0, err
    (folder / "search.toml").write_text(FILE)
    (folder / "search.db").unlink()
    assert json.loads(on) == json.loads(here("search.toml", "--json")[1])


def test_ctrl_c_that_was_heard_does_not_interrupt_what_is_cleaned_up(monkeypatch):
    cleaned = []

    def interrupted_once():
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            time.sleep(0.3)
            cleaned.append(True)

    monkeypatch.setattr(local, "AGAIN", 0.1)
    with pytest.raises(KeyboardInterrupt), local._insisting():
        interrupted_once()
    assert cleaned


def test_ctrl_c_that_python_drops_is_said_again(monkeypatch):
    class Deaf:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(local, "AGAIN", 0.1)
    passed = []

    def dropping():
        Deaf()
        passed.append(True)
        time.sleep(60)

    with pytest.raises(KeyboardInterrupt), local._insisting():
        dropping()
    assert passed


def test_a_search_in_which_all_fails_exits_with_1_and_says_how_to_begin_anew(folder):
    (folder / "search.toml").write_text(FILE.replace("a_network:prepare", "a_network:failing"))
    status, out, err = run("search.toml")
    assert (status, out) == (1, "6 trials: 6 failed\n")
    assert "Error: search.toml: none of 6 trials is complete. The first that failed: ValueError: no data (a_netw" in err
    assert "To begin anew, delete that or give another storage; with --trials beyond 6, it goes on\n" in err
    assert "Traceback" not in err


def test_a_wrong_file_exits_with_2(folder):
    (folder / "search.toml").write_text(FILE.replace("minimize", "minimise"))
    status, out, err = run("search.toml")
    assert (status, out) == (2, "")
    assert err.startswith("Error: search.toml: minimise is not a key. Did you mean 'minimize'? Accepted: prepare, ")
    assert "Traceback" not in err


def test_several_aims_give_the_front(folder):
    (folder / "search.toml").write_text(FILE.replace('"error"', '["error", "penalty"]'))
    status, out, _ = here("search.toml")
    assert status == 0
    front = json.loads(here("search.toml", "--json")[1])["front"]
    assert [line.split()[0] for line in out.partition("trial ")[2].splitlines()[1 : len(front) + 1]] == [
        str(one["number"]) for one in front
    ]
    assert out.count("regkit.build(") == len(front) > 1


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_what_a_file_says_is_what_run_takes(folder):
    (folder / "search.toml").write_text(
        """
prepare = "a_network:prepare"
maximize = ["error"]
seed = 3
storage = "elsewhere.db"
sampler = { name = "PartialFixedSampler", fixed_params = { "a.b" = 1 }, base_sampler = { name = "RandomSampler" } }
pruner = { name = "PatientPruner", patience = 2, wrapped_pruner = { name = "MedianPruner", n_startup_trials = 3 } }

[space]
weight_l1 = { low = 0, high = 1 }
weight_l2 = [0.1, { weight = { choices = [0.1, 1] }, pattern = ["a.*", "b.*"] }]
contractive = 0.5

[space.hidden_l1]
used = { choices = [true, false] }
weight = { low = 1, high = 5, step = 2, integer = true }
reduction = "mean"
"""
    )
    found = read(folder / "search.toml")
    assert found.space == {
        "weight_l1": FloatDistribution(0, 1),
        "weight_l2": [0.1, {"weight": CategoricalDistribution([0.1, 1]), "pattern": ["a.*", "b.*"]}],
        "contractive": 0.5,
        "hidden_l1": {
            "used": CategoricalDistribution([True, False]),
            "weight": IntDistribution(1, 5, step=2),
            "reduction": "mean",
        },
    }
    assert (found.aims, found.seed, found.trials) == ({"minimize": [], "maximize": ["error"]}, 3, None)
    assert found.storage == str(folder / "elsewhere.db")
    assert isinstance(found.sampler._base_sampler, RandomSampler)
    assert found.pruner._wrapped_pruner._n_startup_trials == 3


@pytest.mark.parametrize("page", ["docs/search.md", "plugins/regkit-search/README.md"])
def test_the_files_of_the_pages_run(folder, page):
    shown = blocks(page, "toml")
    assert shown
    for block in shown:
        text = block.text.replace("my_network:", "a_network:").replace("hid1:out", "hid1")
        (folder / "search.toml").write_text(text)
        read(folder / "search.toml")
        lines = [line for line in text.splitlines() if not line.startswith("workers = ")]  # which take their time
        (folder / "search.toml").write_text("\n".join(lines))
        status, out, err = here("search.toml", "--trials", "3")
        assert (status, out.splitlines()[0]) == (0, "3 trials: 3 complete"), err
    ran(shown)


def test_a_config_reads_back_from_toml():
    config = {"hidden_l1": [{"weight": 1e-05, "pattern": 'a"\x7f\\\n*'}, {"weight": 2}], "a b": {"x": [True, 1.5]}}
    assert tomllib.loads(as_toml(config)) == config


def test_modules_of_a_python_below_the_file_are_not_sent_whole(folder, monkeypatch):
    above = Path(sys.base_prefix).parent
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    assert loaded("colorsys:rgb_to_hsv", above) is sys.modules["colorsys"].rgb_to_hsv
    loaded("a_network:prepare", folder)
    assert {"colorsys", "a_network", "helping"} & cloudpickle.list_registry_pickle_by_value() == {
        "a_network",
        "helping",
    }


def test_modules_beside_the_file_are_sent_whole_from_an_environment_that_was_made_there_too(folder, monkeypatch):
    monkeypatch.setattr(sys, "prefix", str(folder))
    loaded("a_network:prepare", folder)
    assert "a_network" in cloudpickle.list_registry_pickle_by_value()


@pytest.mark.parametrize(
    ("name", "where"), [("platform", platform.__file__), ("time", "a part of Python")], ids=["of a file", "built in"]
)
def test_a_module_whose_name_another_has_already_is_refused(folder, name, where):
    (folder / f"{name}.py").write_text("def prepare(regs): pass\n")
    (folder / "search.toml").write_text(FILE.replace("a_network", name))
    status, out, err = here("search.toml")
    assert (status, out) == (2, "")
    assert f"search.toml: prepare is '{name}:prepare': the module '{name}' is " in err
    assert where in err
    assert f"already, so that {folder / name}.py cannot be. Give that another name" in err


WEIGHT = "weight = { low = 1e-2, high = 1, log = true }"


@pytest.mark.parametrize(
    ("replaced", "told"),
    [
        ({"minimize =": "x ="}, "x is not a key. Accepted: prepare, minimize, maximize, trials"),
        ({"trials = 6": "trial = 6"}, "trial is not a key. Did you mean 'trials'?"),
        ({"trials = 6": ""}, "trials is missing; accepted: an integer of at least 1, here or as --trials"),
        ({"trials = 6": "trials = 0"}, "trials is 0; accepted: an integer of at least 1"),
        ({"trials = 6": "trials = true"}, "trials is True; accepted: an integer of at least 1"),
        ({"trials = 6": "trials = 6\nseed = -1"}, "seed is -1; accepted: an integer of at least 0"),
        ({"trials = 6": "trials = 6\nstorage = 3"}, "storage is 3; accepted: a file, or a URL"),
        ({"trials = 6": "trials = 6\nstorage = 'nowhere/a.db'"}, "storage 'nowhere/a.db' cannot be opened"),
        ({"trials = 6": "trials = 6\nworkers = '2'"}, "workers is '2'; accepted: an integer of at least 1"),
        ({"trials = 6": "trials = 6\nworkers = 2\nclient = 'x'"}, "client and workers are both there"),
        ({"trials = 6": "trials = 6\nclient = 'tcp://127.0.0.1:9'"}, "where no Dask scheduler answers"),
        ({'"error"': "3"}, "minimize is 3; accepted: a name of what evaluate returns, or a list of them"),
        ({'"error"': "[]"}, "there is no aim"),
        ({'"RandomSampler"': '"RandomSample"'}, "names no sampler. Did you mean 'RandomSampler'? Accepted: "),
        ({'"RandomSampler"': '{ name = "RandomSampler", sed = 1 }'}, "unexpected keyword argument 'sed'"),
        ({'"RandomSampler"': '"MedianPruner"'}, "sampler is 'MedianPruner', which names no sampler"),
        ({'"a_network:prepare"': '"a_network"'}, "prepare is 'a_network'; accepted: module:function, such as"),
        ({"a_network:": "a_netwrk:"}, "there is no module 'a_netwrk', neither in "),
        ({"a_network:": "a_netwrk:"}, "nor installed. Did you mean 'a_network'?"),
        ({":prepare": ":prepar"}, "a_network has no 'prepar'. Did you mean 'prepare'? It has: "),
        ({"a_network:": "raises:"}, "the module 'raises' cannot be imported: KeyError: 'x' (raises.py:1 in <module>)"),
        ({"a_network:": "exits:"}, "the module 'exits' cannot be imported: SystemExit: 3 (exits.py:2 in <module>)"),
        ({"a_network:": "a_word:"}, "the module 'a_word' cannot be imported: SyntaxError: "),
        ({"hidden_l1": "hiden_l1"}, "space: no installed plugin provides 'hiden_l1'. Did you mean 'hidden_l1'?"),
        ({"weight =": "wieght ="}, "Did you mean 'weight'?"),
        ({"log =": "lgo ="}, "space.hidden_l1.weight.lgo is not a key. Did you mean 'low'? Accepted: low, high, log"),
        ({"log = true": "log = 1"}, "log takes true or false"),
        ({"high = 1": "high = '1'"}, "high takes a number; accepted: { low = 1e-3, high = 1, log = true } or"),
        ({"high = 1": "high = inf"}, "high takes a number that is not infinite"),
        ({"high = 1, ": ""}, "high is missing"),
        ({"log = true": "integer = true"}, "low takes an integer"),
        ({"low = 1e-2": "low = 2"}, "space.hidden_l1.weight is {'low': 2, 'high': 1, 'log': True}: "),
        ({'"hid1"': "1979-05-27"}, "space.hidden_l1.pattern is of type date; accepted: numbers, words, true, false"),
        ({'"hid1"': '{ choice = ["hid1"] }'}, "space.hidden_l1.pattern.choice is not a key. Did you mean 'choices'?"),
        ({'"hid1"': "{ choices = [] }"}, "choices takes a list of numbers, words, true and false, and stands alone"),
        ({'"hid1"': "{ choices = [['a']] }"}, "choices takes a list of numbers, words, true and false"),
        ({WEIGHT: "weight = 0.1"}, "space: the space has no distribution, so there is nothing to search"),
        ({"[space.hidden_l1]": "[spaces.hidden_l1]"}, "spaces is not a key. Did you mean 'space'?"),
        ({"trials = 6": "trials = "}, "search.toml is not TOML: "),
    ],
)
def test_a_file_that_is_not_accepted_is_told_with_its_key(folder, monkeypatch, replaced, told):
    monkeypatch.setattr("regkit_search.cluster.PATIENCE", "1s")
    (folder / "raises.py").write_text("{}['x']\n")
    (folder / "exits.py").write_text("import sys\nsys.exit(3)\n")
    (folder / "a_word.py").write_text("def\n")
    text = FILE
    for old, new in replaced.items():
        assert old in text
        text = text.replace(old, new)
    (folder / "search.toml").write_text(text)
    status, out, err = here("search.toml")
    assert (status, out) == (2, ""), err
    assert err.startswith("Error: search.toml")
    assert told in err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere.toml"], "nowhere.toml cannot be read: No such file or directory"),
        (["search.toml", "--plot", "found.what"], "--plot is found.what; accepted: a file that ends in one of "),
        (["search.toml", "--csv", "no/found.csv"], "--csv is no/found.csv, but there is no folder no"),
        (["search.toml", "--trials", "0"], "'--trials': 0 is not in the range x>=1"),
    ],
)
def test_an_option_that_is_not_accepted_is_told_before_the_search(folder, arguments, told):
    status, out, err = here(*arguments)
    assert (status, out) == (2, "")
    assert told in err
    assert not (folder / "search.db").exists()


def test_a_storage_of_another_search_is_refused(folder):
    assert here("search.toml")[0] == 0
    (folder / "search.toml").write_text(FILE.replace("high = 1", "high = 2"))
    status, _, err = here("search.toml")
    assert status == 2
    assert "Error: search.toml: storage 'search.db' holds another search under the name 'regkit-search': its spa" in err


def test_what_optuna_raises_in_the_middle_exits_with_1_and_says_where_trials_are(folder):
    grid = '{ name = "GridSampler", search_space = { "hidden_l2.weight" = [0.1] } }'
    (folder / "search.toml").write_text(FILE.replace('"RandomSampler"', grid))
    status, _, err = here("search.toml")
    assert status == 1
    assert "Error: search.toml: the search cannot go on: ValueError: " in err
    assert err.endswith("What is finished is stored in search.db\n")
