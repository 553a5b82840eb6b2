"""Arguments of a search beside the space, and the errors and warnings that a wrong one gives."""

from __future__ import annotations

import itertools
import time
import warnings
from functools import partial

import numpy as np
import optuna
import pandas as pd
import pytest
import regkit_search as search
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

import regkit

WEIGHT = FloatDistribution(0.1, 1)


def weight(regs):
    return lambda trial: {"weight": regs[0].weight.value}


def test_any_order_of_keys_is_the_same_search():
    arguments = {
        "weight": FloatDistribution(0.1, 1),
        "used": CategoricalDistribution([True, False]),
        "reduction": CategoricalDistribution(["sum", "mean"]),
    }

    def prepare(regs):
        return lambda trial: {"penalty": regs[-1].weight.value if len(regs) > 1 else 0.5}

    frames = [
        search.run(prepare, {"weight_l2": 0.1, "hidden_l1": dict(order)}, minimize="penalty", trials=16).frame()
        for order in itertools.permutations(arguments.items())
    ]
    assert set(frames[0]["state"]) == {"complete"}
    assert set(frames[0]["hidden_l1.used"]) == {True, False}
    for frame in frames[1:]:
        pd.testing.assert_frame_equal(frame[frames[0].columns], frames[0])


def test_a_warning_names_a_choice_with_which_all_trials_fail():
    def prepare(regs):
        if regs[0].reduction == "mean":
            raise ValueError("too small")
        return weight(regs)

    space = {"hidden_l1": {"weight": WEIGHT, "reduction": CategoricalDistribution(["sum", "mean"])}}
    with pytest.warns(UserWarning, match=r"trials with hidden_l1.reduction = 'mean' failed. The first: ValueError: to"):
        search.run(prepare, space, minimize="weight", trials=12, sampler=optuna.samplers.RandomSampler())


def test_parameters_beside_the_weights_share_a_compilation():
    prepared = []

    def prepare(regs):
        prepared.append(regs)
        return lambda trial: {"error": trial.params["rate"] + trial.params["hidden_l1.weight"], "units": 0}

    parameters = {"rate": FloatDistribution(1e-3, 1, log=True), "batch": IntDistribution(1, 8)}
    result = search.run(prepare, {"hidden_l1": WEIGHT}, parameters=parameters, minimize="error", trials=8)
    frame = result.frame()
    assert len(prepared) == 1
    assert list(frame["error"]) == list(frame["rate"] + frame["hidden_l1.weight"])
    assert frame["batch"].between(1, 8).all()
    best = frame.loc[frame["error"].idxmin()]
    assert result.best == {"hidden_l1": {"weight": best["hidden_l1.weight"]}}
    assert result.best_params["rate"] == best["rate"]
    assert search.run(prepare, {}, parameters=parameters, minimize="units", trials=1, max_failures=None).study.trials


class PruningCallback:
    """The calls that Optuna's callbacks for Keras and Lightning make on a trial."""

    def __init__(self, trial):
        self._trial = trial

    def on_epoch_end(self, epoch, value):
        self._trial.report(value, step=epoch)
        if self._trial.should_prune():
            raise optuna.TrialPruned(f"Trial was pruned at epoch {epoch}.")


def test_callbacks_for_trials_of_optuna_take_a_trial():
    def prepare(regs):
        def evaluate(trial):
            callback = PruningCallback(trial)
            trial.set_user_attr("epochs", [1, 2])
            for epoch in range(3):
                callback.on_epoch_end(epoch, trial.params["hidden_l1.weight"])
            return {"error": trial.params["hidden_l1.weight"]}

        return evaluate

    pruner = optuna.pruners.ThresholdPruner(upper=0.5)
    frame = search.run(prepare, {"hidden_l1": WEIGHT}, minimize="error", trials=10, pruner=pruner).frame()
    pruned = frame["hidden_l1.weight"] > 0.5
    assert list(frame["state"] == "pruned") == list(pruned)
    assert 0 < pruned.sum() < 10
    assert all(one == [1, 2] for one in frame["epochs"][~pruned])


def test_a_second_report_of_a_step_is_ignored_with_a_warning_as_by_optuna():
    def prepare(regs):
        def evaluate(trial):
            trial.report(1.0, 0)
            trial.report(2.0, 0)
            return {"weight": regs[0].weight.value}

        return evaluate

    with pytest.warns(UserWarning, match="report got step=0 for the second time, and ignores 2.0"):
        result = search.run(prepare, {"hidden_l1": WEIGHT}, minimize="weight", trials=1)
    assert result.study.trials[0].intermediate_values == {0: 1.0}


def test_enqueued_parameters_are_tried_first_and_once(tmp_path):
    arguments = dict(minimize="weight", trials=4, storage=tmp_path / "study.db")
    enqueue = [{"hidden_l1.weight": 0.25}, {"hidden_l1.weight": 0.75}]
    first = search.run(weight, {"hidden_l1": WEIGHT}, **arguments, enqueue=enqueue).frame()
    assert list(first["weight"][:2]) == [0.25, 0.75]
    again = search.run(weight, {"hidden_l1": WEIGHT}, **{**arguments, "trials": 6}, enqueue=enqueue).frame()
    assert list(again["weight"][:4]) == list(first["weight"])
    assert not {0.25, 0.75} & set(again["weight"][2:])


def test_enqueued_numbers_may_be_of_numpy_and_of_a_generator(tmp_path):
    rates = {"rate": IntDistribution(1, 9)}
    enqueue = ({"rate": one, "hidden_l1.weight": np.float32(0.5)} for one in np.arange(7, 9))
    arguments = dict(parameters=rates, minimize="weight", trials=3, storage=tmp_path / "study.db")
    frame = search.run(weight, {"hidden_l1": WEIGHT}, **arguments, enqueue=enqueue).frame()
    assert list(frame["rate"][:2]) == [7, 8]
    assert list(frame["weight"][:2]) == [0.5, 0.5]


def test_no_trial_begins_after_the_timeout_and_the_same_call_goes_on(tmp_path):
    def slow(regs):
        def evaluate(trial):
            time.sleep(0.1)
            return {"weight": regs[0].weight.value}

        return evaluate

    arguments = dict(minimize="weight", trials=12, storage=tmp_path / "study.db")
    first = search.run(slow, {"hidden_l1": WEIGHT}, **arguments, timeout=0.3).frame()
    assert 0 < len(first) < 12
    assert set(first["state"]) == {"complete"}
    rest = search.run(weight, {"hidden_l1": WEIGHT}, **arguments).frame()
    pd.testing.assert_frame_equal(rest, search.run(weight, {"hidden_l1": WEIGHT}, minimize="weight", trials=12).frame())


def test_a_study_of_your_own_keeps_its_sampler_its_pruner_and_its_trials():
    sampler, pruner = optuna.samplers.RandomSampler(), optuna.pruners.ThresholdPruner(upper=2)
    study = optuna.create_study(sampler=sampler, pruner=pruner, study_name="mine")
    study.enqueue_trial({"hidden_l1.weight": 0.5})
    study.add_trial(
        optuna.create_trial(params={"hidden_l1.weight": 0.2}, distributions={"hidden_l1.weight": WEIGHT}, value=0.2)
    )
    result = search.run(weight, {"hidden_l1": WEIGHT}, minimize="weight", trials=3, storage=study)
    assert {0.5, 0.2} <= set(result.frame()["hidden_l1.weight"])
    assert len(study.trials) == 3
    assert result.study.sampler.sampler is sampler
    assert result.study.pruner is pruner


def test_trials_of_a_study_of_your_own_that_failed_are_no_hindrance():
    study = optuna.create_study()
    study.add_trial(optuna.create_trial(state=optuna.trial.TrialState.FAIL))
    result = search.run(weight, {"hidden_l1": WEIGHT}, minimize="weight", trials=3, storage=study)
    assert list(result.frame()["state"]) == ["failed", "complete", "complete"]


@pytest.mark.parametrize(
    ("directions", "told"),
    [
        (["maximize"], "is to maximize, and the aims are to minimize. Give aims in the directions of the study"),
        (["minimize", "maximize"], "is to minimize and maximize, and the aims are to minimize"),
    ],
)
def test_a_study_of_your_own_with_other_directions_is_refused(directions, told):
    study = optuna.create_study(directions=directions)
    with pytest.raises(regkit.OptionError, match=told):
        search.run(weight, {"hidden_l1": WEIGHT}, minimize="weight", trials=1, storage=study)
    assert not study.trials


def test_a_misspelt_aim_ends_a_search_and_its_correction_uses_what_was_measured(tmp_path):
    trained = []

    def prepare(regs):
        def evaluate(trial):
            trained.append(trial.params["hidden_l1.weight"])
            return {"error": trial.params["hidden_l1.weight"], "size": 1.0}

        return evaluate

    arguments = dict(trials=6, storage=tmp_path / "study.db")
    told = (
        "the first 3 trials have all failed. The last one: evaluate returned no 'eror', which is an aim. It returned: e"
    )
    with pytest.raises(search.SearchError, match=told):
        search.run(prepare, {"hidden_l1": WEIGHT}, minimize="eror", **arguments)
    assert len(trained) == 3
    result = search.run(prepare, {"hidden_l1": WEIGHT}, minimize="error", **arguments)
    frame = result.frame()
    assert len(trained) == len(frame) == 6
    assert set(frame["state"]) == {"complete"}
    assert sorted(frame["error"]) == sorted(trained)
    assert result.best["hidden_l1"]["weight"] == min(trained)
    assert list(frame["size"]) == [1.0] * 6
    assert len(search.run(prepare, {"hidden_l1": WEIGHT}, minimize="error", **arguments).frame()) == len(trained) == 6


@pytest.mark.parametrize("where", ["prepare", "evaluate"])
def test_a_search_that_always_fails_ends_and_goes_on_after_a_repair(tmp_path, where):
    broken, calls = [True], []

    def prepare(regs):
        def evaluate(trial):
            calls.append(trial.number)
            if broken and where == "evaluate":
                raise ValueError("no data")
            return {"weight": regs[0].weight.value}

        if broken and where == "prepare":
            raise ValueError("no data")
        return evaluate

    arguments = dict(minimize="weight", trials=8, storage=tmp_path / "study.db", max_failures=2)
    for _ in range(2):
        with pytest.raises(
            search.SearchError, match="the first 2 trials have all failed. The last one: ValueError: no"
        ):
            search.run(prepare, {"hidden_l1": WEIGHT}, **arguments)
    broken.clear()
    frame = search.run(prepare, {"hidden_l1": WEIGHT}, **arguments).frame()
    assert list(frame["state"]) == ["failed"] * 4 + ["complete"] * 4


def test_nan_now_and_then_does_not_end_a_search():
    def prepare(regs):
        return lambda trial: {"error": 1.0 if trial.number == 2 else float("nan")}

    frame = search.run(prepare, {"hidden_l1": WEIGHT}, minimize="error", trials=9).frame()
    assert list(frame["state"]) == ["failed"] * 2 + ["complete"] + ["failed"] * 6


def test_a_pruner_with_several_aims_is_warned_of():
    def prepare(regs):
        return lambda trial: {"a": 1.0, "b": 1.0}

    with pytest.warns(UserWarning, match="with several aims nothing is pruned"):
        search.run(prepare, {"hidden_l1": WEIGHT}, minimize=["a", "b"], trials=1, pruner=optuna.pruners.MedianPruner())


def stepping(regs):
    """Training by one step from 1, whose gradient is 0."""
    rate = 1.0

    def evaluate(trial):
        params = regs.after_step({"w": np.ones((1, 1))}, rate)
        return {"error": float(params["w"][0, 0])}

    return evaluate


def forgetting(regs):
    return lambda trial: {"error": float(regs.loss([regkit.Layer("hid", {"w": np.ones((1, 1))})], {}))}


PROXIMAL = {"weight_l1": {"weight": WEIGHT, "by": "proximal", "pattern": "w"}}


def test_a_search_whose_regularizer_never_gets_its_step_warns_at_the_end():
    arguments = dict(minimize="error", trials=1)
    with pytest.warns(UserWarning, match="weight_l1 changes parameters after an optimizer's step, and after_step was"):
        search.run(forgetting, PROXIMAL, **arguments)
    frame = search.run(stepping, PROXIMAL, **arguments).frame()  # a warning is an error in these tests
    np.testing.assert_allclose(frame["error"], 1 - frame["weight_l1.weight"])


@pytest.mark.parametrize("walk", [search.path, partial(search.cv_path, weights=[0.5], folds=2, minimize="error")])
def test_a_path_whose_regularizer_never_gets_its_step_warns_at_the_end(walk):
    options = {"weight_l1": {"by": "proximal", "pattern": "w"}}
    arguments = (options,) if isinstance(walk, partial) else ([0.5], options)
    with pytest.warns(UserWarning, match="weight_l1 changes parameters after an optimizer's step, and after_step was"):
        walk(forgetting, "weight_l1", *arguments)
    walk(stepping, "weight_l1", *arguments)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning", "ignore:.constraints_func:FutureWarning")
def test_the_best_and_the_ranking_keep_constraints():
    def constraints(trial):  # at most 0 where a trial is feasible
        return (0.5 - trial.params["hidden_l1.weight"],)

    sampler = optuna.samplers.TPESampler(constraints_func=constraints)
    result = search.run(weight, {"hidden_l1": WEIGHT}, minimize="weight", trials=12, sampler=sampler)
    weights = result.frame()["weight"]
    assert (weights < 0.5).any()
    assert result.best["hidden_l1"]["weight"] == weights[weights >= 0.5].min()
    assert [one.aims["weight"] for one in result.ranking] == sorted(weights[weights >= 0.5])

    def never(trial):
        return (1.0,)

    sampler = optuna.samplers.TPESampler(constraints_func=never)
    result = search.run(weight, {"hidden_l1": WEIGHT}, minimize="weight", trials=2, sampler=sampler)
    with pytest.raises(search.SearchError, match="none of 2 trials keeps the constraints"):
        result.best  # noqa: B018 - it raises


class UnprintableError(Exception):
    def __str__(self):
        raise ZeroDivisionError


def test_an_exception_whose_text_cannot_be_had_is_a_failure_as_others():
    def prepare(regs):
        def evaluate(trial):
            if trial.number:
                raise UnprintableError
            return {"weight": 1.0}

        return evaluate

    frame = search.run(prepare, {"hidden_l1": WEIGHT}, minimize="weight", trials=2).frame()
    assert frame["failure"][1].startswith(
        "UnprintableError: its message cannot be had: ZeroDivisionError (test_options.py"
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (dict(enqueue=[{"hidden_l1.wieght": 0.1}]), "no parameter. Did you mean 'hidden_l1.weight'? Parameters: hid"),
        (dict(enqueue=[{"hidden_l1.weight": 7}]), "enqueue has hidden_l1.weight=7; accepted: a value of FloatDistrib"),
        (dict(enqueue=[3]), "enqueue has 3; accepted: mappings"),
        (dict(parameters={"rate": 0.1}), "parameters has 'rate': 0.1; accepted: distributions of Optuna"),
        (dict(parameters={"hidden_l1.weight": WEIGHT}), "under names that the space does not have"),
        (dict(parameters={"state": WEIGHT}), "and not number, state or failure"),
        (dict(timeout="1h"), "timeout is '1h'; accepted: seconds, or None"),
        (dict(timeout=0), "timeout is 0; accepted: seconds, or None"),
        (dict(resources={"GPU": 1}), "resources is {'GPU': 1}, which workers have. Give a client too"),
        (dict(max_failures=0), "max_failures is 0; accepted: an integer of at least 1"),
        (dict(client="tls://127.0.0.1:9"), "that has what the address needs: Client(address, security=...)"),
    ],
)
def test_an_argument_that_is_not_accepted_is_refused_before_the_first_trial(arguments, told, monkeypatch):
    monkeypatch.setattr("regkit_search._dask.PATIENCE", "1s")
    with pytest.raises(regkit.OptionError) as caught:
        search.run(weight, {"hidden_l1": WEIGHT}, **{"minimize": "weight", "trials": 1, **arguments})
    assert told in str(caught.value)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_sampler_that_refuses_several_aims_is_named():
    pytest.importorskip("cmaes")

    def prepare(regs):
        return lambda trial: {"a": 1.0, "b": 1.0}

    sampler = optuna.samplers.CmaEsSampler()
    with pytest.raises(regkit.OptionError, match="the sampler CmaEsSampler refuses the search: ValueError: "):
        search.run(prepare, {"hidden_l1": WEIGHT}, minimize=["a", "b"], trials=4, sampler=sampler)


TWO = {"hidden_l1": WEIGHT, "weight_l2": FloatDistribution(0.1, 1)}
SAMPLERS = {
    "TPE": optuna.samplers.TPESampler,
    "TPE, multivariate": lambda: optuna.samplers.TPESampler(multivariate=True, n_startup_trials=3),
    "random": optuna.samplers.RandomSampler,
    "grid": lambda: optuna.samplers.GridSampler(
        {"hidden_l1.weight": [0.1, 0.2, 0.3], "weight_l2.weight": [1, 0.5, 0.7]}
    ),
    "NSGA-II": lambda: optuna.samplers.NSGAIISampler(population_size=3),
    "NSGA-III": lambda: optuna.samplers.NSGAIIISampler(population_size=3),
    "CMA-ES": lambda: optuna.samplers.CmaEsSampler(n_startup_trials=2),
    "GP": lambda: optuna.samplers.GPSampler(n_startup_trials=2),
    "QMC": lambda: optuna.samplers.QMCSampler(scramble=True),
    "brute force": optuna.samplers.BruteForceSampler,
    "partial": lambda: optuna.samplers.PartialFixedSampler({"weight_l2.weight": 0.5}, optuna.samplers.TPESampler()),
}
NEEDS = {"CMA-ES": "cmaes", "GP": "torch"}


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sampler_keeps_the_promise_of_exact_resuming_or_is_named_at_the_start(tmp_path, sampler):
    if sampler in NEEDS:
        pytest.importorskip(NEEDS[sampler])
    step = dict(step=0.1) if sampler == "brute force" else {}
    space = {alias: FloatDistribution(0.1, 1, **step) for alias in TWO}

    def prepare(regs):
        return lambda trial: {"error": (regs[0].weight.value - 0.3) ** 2 + regs[1].weight.value}

    def found(trials, storage=None):
        arguments = dict(minimize="error", trials=trials, storage=storage, sampler=SAMPLERS[sampler]())
        return search.run(prepare, space, **arguments).frame()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for trials in (1, 4, 5, 9):
            resumed = found(trials, tmp_path / "study.db")
    named = any("may suggest other values after an interruption" in str(one.message) for one in caught)
    assert named or resumed.equals(found(9))
    assert named == (sampler in ("CMA-ES", "GP", "QMC", "brute force", "partial"))
