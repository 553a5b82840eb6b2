"""Searches in one process and on a cluster: what is compiled, what is suggested, what fails."""

from __future__ import annotations

import math

import numpy as np
import optuna
import pandas as pd
import pytest
import regkit_search as search
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from regkit_search._space import Space
from regkit_search._trial import KEPT, Networks, Task

import regkit


def test_a_search_finds_the_weight_that_a_formula_gives(prepare, space):
    result = search.run(prepare, space, minimize="distance", trials=30)
    frame = result.frame()
    np.testing.assert_allclose(frame["distance"], abs(2 * frame["hidden_l1.weight"] - 1))
    assert list(frame["number"]) == list(range(30))
    best = frame["hidden_l1.weight"][frame["distance"].idxmin()]
    assert result.best == {"hidden_l1": {"weight": best, "pattern": "hid1"}}
    assert abs(2 * best - 1) < 0.1
    assert regkit.build(result.best)[0].weight == best


def test_trials_that_differ_in_weights_alone_share_what_was_prepared():
    prepared = []

    def prepare(regs):
        prepared.append(regs.config()["hidden_l1"]["reduction"])
        return lambda trial: {"weight": regs["hidden_l1"].weight.value, "other": regs["weight_l2"].weight.value}

    space = {
        "hidden_l1": {
            "weight": FloatDistribution(0.1, 1),
            "reduction": CategoricalDistribution(["sum", "mean"]),
        },
        "weight_l2": CategoricalDistribution([0.1, 0.2]),
    }
    frame = search.run(prepare, space, minimize=["weight", "other"], trials=12).frame()
    assert sorted(prepared) == ["mean", "sum"]
    assert list(frame["weight"]) == list(frame["hidden_l1.weight"])
    assert list(frame["other"]) == list(frame["weight_l2.weight"])


def test_the_latest_structures_are_kept_and_no_more():
    prepared = []

    def prepare(regs):
        prepared.append(regs[0].pattern)
        return lambda trial: {"weight": 1.0}

    patterns = [f"hid{number}" for number in range(KEPT + 1)]
    space = {"hidden_l1": {"weight": 0.1, "pattern": CategoricalDistribution(patterns)}}
    grid = optuna.samplers.GridSampler({"hidden_l1.pattern": patterns})
    search.run(prepare, space, minimize="weight", trials=len(patterns), sampler=grid)
    assert sorted(prepared) == sorted(patterns)
    networks, known = Networks(prepare, Space(space)), Space(space)
    prepared.clear()
    for pattern in [*patterns, patterns[-1], patterns[0]]:
        params = {"hidden_l1.pattern": pattern}
        networks.run([Task(0, 0, params, known.structure(params))], lambda number, reports: False)
    assert prepared == [*patterns, patterns[0]]


def test_an_alias_that_may_be_used_or_not_is_built_or_not():
    seen = []

    def prepare(regs):
        seen.append(regs.keys())
        return lambda trial: {"members": len(regs)}

    space = {
        "hidden_l1": {"used": CategoricalDistribution([True, False]), "weight": FloatDistribution(0.1, 1)},
        "weight_l2": 0.1,
    }
    result = search.run(prepare, space, maximize="members", trials=8)
    assert sorted(seen) == [["hidden_l1", "weight_l2"], ["weight_l2"]]
    frame = result.frame()
    used = frame["hidden_l1.used"].astype(bool)
    assert list(frame["members"]) == list(1.0 + used)
    assert list(frame["hidden_l1.weight"].isna()) == list(~used)
    assert result.best["hidden_l1"].keys() == {"weight"}


def test_a_grid_that_is_done_ends_a_search(prepare, space):
    weights = [0.1, 0.2, 0.5]
    sampler = optuna.samplers.GridSampler({"hidden_l1.weight": weights})
    frame = search.run(prepare, space, minimize="distance", trials=10, sampler=sampler).frame()
    assert sorted(frame["hidden_l1.weight"]) == weights


def failing(value):
    def prepare(regs):
        def evaluate(trial):
            if trial.number == 1:
                if isinstance(value, Exception):
                    raise value
                return value
            return {"weight": regs[0].weight.value}

        return evaluate

    return prepare


FAILURES = [
    (ValueError("too warm"), "ValueError: too warm (test_search.py:"),
    ({"weight": math.nan}, "evaluate returned NaN for 'weight', which is an aim"),
    ({"loss": 1.0}, "evaluate returned no 'weight', which is an aim. It returned: loss"),
    ({"weight": "low"}, "OptionError: evaluate returned 'low' for 'weight'; accepted: a real number"),
    ({"weight": 1.0, "state": 2.0}, "OptionError: evaluate returned 'state', which is the name of something else"),
    ({"weight": 1.0, "hidden_l1.weight": 2.0}, "OptionError: evaluate returned 'hidden_l1.weight', which is the name"),
    (0.5, "OptionError: evaluate returned 0.5; accepted: a mapping of names to real numbers, the aims among them"),
]


@pytest.mark.parametrize(
    ("value", "told"), FAILURES, ids=["raises", "NaN", "missing", "word", "column", "parameter", "no mapping"]
)
def test_a_trial_that_fails_says_why_and_the_others_go_on(space, value, told):
    result = search.run(failing(value), space, minimize="weight", trials=3)
    frame = result.frame()
    assert list(frame["state"]) == ["complete", "failed", "complete"]
    assert frame["failure"][1].startswith(told)
    assert frame["failure"][[0, 2]].isna().all()


def test_a_measure_with_the_name_of_a_parameter_fails_also_where_the_trial_has_not_the_parameter():
    def prepare(regs):
        return lambda trial: {"count": len(regs), "hidden_l1.weight": 777.0}

    l1 = {"used": CategoricalDistribution([True, False]), "weight": FloatDistribution(0.1, 1), "pattern": "hid1"}
    space = {"weight_l2": FloatDistribution(0.1, 1), "hidden_l1": l1}
    frame = search.run(prepare, space, minimize="count", trials=6, max_failures=None).frame()
    assert set(frame["hidden_l1.used"]) == {True, False}
    assert set(frame["state"]) == {"failed"}
    assert (frame["hidden_l1.weight"].isna() == ~frame["hidden_l1.used"].astype(bool)).all()
    assert frame["failure"].str.contains("evaluate returned 'hidden_l1.weight', which is the name of some").all()


def test_a_prepare_that_raises_fails_its_trials_and_no_other(space):
    def prepare(regs):
        if regs[0].reduction == "mean":
            raise MemoryError("this graph is too large")
        return lambda trial: {"weight": regs[0].weight}

    space = {"hidden_l1": {"weight": 0.1, "reduction": CategoricalDistribution(["sum", "mean"])}}
    frame = search.run(prepare, space, minimize="weight", trials=6).frame()
    states = dict(zip(frame["hidden_l1.reduction"], frame["state"]))
    assert states == {"sum": "complete", "mean": "failed"}
    assert frame["failure"].dropna().str.startswith("MemoryError: this graph is too large").all()


def test_several_aims_give_the_front_and_no_best():
    # of weight w: a = w, b = 1 - w in one structure; in the other both are 1 more, so that all of it is dominated
    def prepare(regs):
        more = {"sum": 0, "mean": 1}[regs[0].reduction]

        def evaluate(trial):
            weight = regs[0].weight.value
            trial.report(weight, 0)
            return {"a": weight + more, "b": 1 - weight + more}

        return evaluate

    space = {"hidden_l1": {"weight": FloatDistribution(0, 1), "reduction": CategoricalDistribution(["sum", "mean"])}}
    result = search.run(prepare, space, minimize=["a", "b"], trials=12)
    frame = result.frame()
    wanted = frame[frame["hidden_l1.reduction"] == "sum"].sort_values("a")["number"]
    assert [found.number for found in result.front] == list(wanted)
    assert result.front[0].aims["a"] == frame["a"].min()
    with pytest.raises(search.SearchError, match="with several aims, a, b, there is no best trial"):
        result.best  # noqa: B018 - it raises
    assert all(trial.intermediate_values for trial in result.study.trials)


PRUNER = optuna.pruners.ThresholdPruner(upper=1.7)  # of abs(2 w - 1) + 1 / (step + 1), at step 0: w < 0.15 or > 0.85


def test_reports_prune_where_the_study_prunes(prepare, space):
    frame = search.run(prepare, space, minimize="distance", trials=12, pruner=PRUNER).frame()
    pruned = abs(2 * frame["hidden_l1.weight"] - 1) + 1 > 1.7
    assert pruned.any()
    assert list(frame["state"] == "pruned") == list(pruned)


@pytest.mark.parametrize("pruner", [None, PRUNER], ids=["no pruner", "pruner"])
def test_a_cluster_gives_what_one_process_gives(prepare, space, client, pruner):
    arguments = dict(minimize="distance", trials=8, sampler=optuna.samplers.RandomSampler(), pruner=pruner)
    here = search.run(prepare, space, **arguments)
    there = search.run(prepare, space, **arguments, client=client)
    pd.testing.assert_frame_equal(there.frame(), here.frame())
    assert [one.intermediate_values for one in there.study.trials] == [
        one.intermediate_values for one in here.study.trials
    ]


def test_an_address_of_a_scheduler_does_as_a_client(prepare, space, client):
    result = search.run(prepare, space, minimize="distance", trials=2, client=client.scheduler.address)
    assert list(result.frame()["state"]) == ["complete"] * 2


def refused(told, space, prepare=lambda regs: None, **arguments):
    with pytest.raises(regkit.RegkitError) as caught:
        search.run(prepare, space, **{"minimize": "weight", "trials": 1, **arguments})
    assert told in str(caught.value)


WEIGHT = FloatDistribution(0.1, 1)


@pytest.mark.parametrize(
    ("space", "told"),
    [
        ({"hiden_l1": WEIGHT}, "Did you mean 'hidden_l1'?"),
        ({"hidden_l1": {"wieght": WEIGHT}}, "Did you mean 'weight'?"),
        ({"hidden_l1": {"weight": WEIGHT, "pattern": IntDistribution(1, 3)}}, "HiddenL1 got pattern=1"),
        (
            {"hidden_l1": {"weight": WEIGHT, "reduction": CategoricalDistribution(["sum", "median"])}},
            "hidden_l1.reduction may become 'median' by its distribution",
        ),
        ({"hidden_l1": FloatDistribution(-1, 1)}, "HiddenL1 got weight=-1.0"),
        ({"hidden_dropout": FloatDistribution(0, 1)}, "hidden_dropout.weight may become 1.0 by its distribution"),
        ({"hidden_l1": {"weight": WEIGHT, "used": WEIGHT}}, "accepted: CategoricalDistribution([True, False])"),
        ({"hidden_l1": 0.1}, "the space has no distribution"),
        ({"hidden_l1": regkit.Live(0.1)}, "accepted: distributions of Optuna, and values that JSON can hold"),
        ({}, "accepted: a mapping of aliases to values"),
        ({"hidden_l1": []}, "the space has an empty list for 'hidden_l1'"),
    ],
)
def test_a_space_that_could_not_be_built_is_refused_before_the_first_trial(space, told):
    refused(told, space)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (dict(minimize=()), "there is no aim"),
        (dict(maximize="weight"), "'weight' is an aim twice"),
        (dict(minimize="state"), "accepted: names in the mapping that evaluate returns"),
        (dict(trials=0), "trials is 0; accepted: an integer of at least 1"),
        (dict(seed=-1), "seed is -1; accepted: an integer of at least 0"),
        (dict(sampler="TPE"), "sampler is 'TPE'; accepted: an object of Optuna, such as TPESampler(), or None"),
        (dict(pruner=optuna.samplers.TPESampler()), "accepted: an object of Optuna, such as MedianPruner(), or None"),
        (dict(storage="nowhere/study.db"), "storage 'nowhere/study.db' cannot be opened"),
        (dict(storage="what://study"), "storage 'what://study' cannot be opened"),
        (dict(storage=3), "storage is 3; accepted: a file, a URL, a storage or a study of Optuna, or None"),
        (
            dict(client=3),
            "client is 3; accepted: a distributed.Client, an address, a function that returns a client, or None",
        ),
        (dict(client="tcp://127.0.0.1:9"), "where no Dask scheduler answers"),
        (dict(prepare=3), "prepare is 3; accepted: a function of a set of regularizers"),
    ],
)
def test_an_argument_that_is_not_accepted_is_refused_before_the_first_trial(space, arguments, told, monkeypatch):
    monkeypatch.setattr("regkit_search._dask.PATIENCE", "1s")
    refused(told, space, **arguments)


def test_a_prepare_that_cannot_be_sent_is_refused_before_the_first_trial(space, client, tmp_path):
    with (tmp_path / "data").open("w") as file:
        refused("prepare cannot be sent to a worker", space, lambda regs: file.name, client=client)


def test_a_prepare_from_a_module_that_a_worker_does_not_have_is_refused(space, client, tmp_path, monkeypatch):
    (tmp_path / "only_here.py").write_text("def prepare(regs):\n    return None\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import only_here

    refused("No module named 'only_here'", space, only_here.prepare, client=client)
