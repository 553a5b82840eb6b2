"""Paths with cross-validation: the errors and the weights of scikit-learn's LassoCV, and of closed forms."""

from __future__ import annotations

import sys

import cloudpickle
import numpy as np
import pytest
import regkit_search as search

import regkit

cloudpickle.register_pickle_by_value(sys.modules[__name__])
_rng = np.random.default_rng(3)
X = _rng.normal(size=(60, 8))
Y = X @ np.array([2, -1, 0.5, 0, 0, 0, 0, 0]) + 0.7 * _rng.normal(size=60)
FOLDS = [np.arange(60) % 4 == fold for fold in range(4)]


def lasso(regs):
    """Coordinate descent on the mean squared error / 2 + weight · ‖w‖₁, the objective of scikit-learn's Lasso."""

    def evaluate(trial):
        weight, out = regs["weight_l1"].weight.value, FOLDS[trial.fold]
        x, y = X[~out] - X[~out].mean(axis=0), Y[~out] - Y[~out].mean()
        w = np.zeros(8) if trial.start is None else trial.start.copy()
        before, sweeps = w + 1, 0
        while abs(w - before).max() >= 1e-12:
            before, sweeps = w.copy(), sweeps + 1
            for i in range(8):
                slope = x[:, i] @ (y - x @ w + x[:, i] * w[i]) / len(y)
                w[i] = np.sign(slope) * max(abs(slope) - weight, 0) / (x[:, i] @ x[:, i] / len(y))
        trial.keep = w
        predicted = (X[out] - X[~out].mean(axis=0)) @ w + Y[~out].mean()
        return {"error": ((predicted - Y[out]) ** 2).mean(), "nonzero": (w != 0).sum(), "sweeps": sweeps}

    return evaluate


def proximal(regs):
    """Proximal gradient descent on the same objective."""

    def evaluate(trial):
        out = FOLDS[trial.fold]
        x, y = X[~out] - X[~out].mean(axis=0), Y[~out] - Y[~out].mean()
        rate = len(y) / np.linalg.eigvalsh(x.T @ x)[-1]
        w = np.zeros(8) if trial.start is None else trial.start
        moved = np.inf
        while moved >= 1e-12:
            stepped = {"w": w - rate * x.T @ (x @ w - y) / len(y)}
            after = regs.after_step(stepped, rate)["w"]
            w, moved = after, abs(after - w).max()
        trial.keep = w
        predicted = (X[out] - X[~out].mean(axis=0)) @ w + Y[~out].mean()
        return {"error": ((predicted - Y[out]) ** 2).mean(), "nonzero": (w != 0).sum()}

    return evaluate


@pytest.mark.parametrize(
    ("prepare", "options"), [(lasso, None), (proximal, {"weight_l1": {"by": "proximal", "pattern": "w"}})]
)
def test_the_errors_of_a_path_are_those_of_lasso_cv(prepare, options):
    sklearn = pytest.importorskip("sklearn.linear_model")
    found = search.cv_path(prepare, "weight_l1", options, folds=4, minimize="error")
    means = found.means()
    twin = sklearn.LassoCV(
        alphas=means["weight"].to_numpy(), cv=[(np.flatnonzero(~out), np.flatnonzero(out)) for out in FOLDS], tol=1e-10
    ).fit(X, Y)
    np.testing.assert_allclose(twin.alphas_, means["weight"])
    np.testing.assert_allclose(twin.mse_path_.mean(axis=1), means["mean"], rtol=1e-6)
    errors = twin.mse_path_.std(axis=1, ddof=1) / 2
    np.testing.assert_allclose(errors, means["standard_error"], rtol=1e-5)
    assert found.best_weight == pytest.approx(twin.alpha_)
    smallest = twin.mse_path_.mean(axis=1).argmin()
    within = twin.mse_path_.mean(axis=1) <= twin.mse_path_.mean(axis=1)[smallest] + errors[smallest]
    assert found.one_se_weight == pytest.approx(twin.alphas_[within].max())
    assert found.one_se_weight > found.best_weight


def test_the_path_begins_where_all_coefficients_of_a_lasso_are_zero():
    found = search.cv_path(lasso, "weight_l1", folds=4, minimize="error").frame()
    tops = []
    for out in FOLDS:  # the largest slope at w = 0
        x, y = X[~out] - X[~out].mean(axis=0), Y[~out] - Y[~out].mean()
        tops.append(abs(x.T @ y).max() / len(y))
    weights = np.unique(found["weight_l1.weight"])
    assert 0.95 * max(tops) < weights.max() <= max(tops)
    assert weights.min() <= 1e-3 * weights.max()
    np.testing.assert_allclose(np.diff(np.log(weights)), np.log(10) / 10, rtol=0.05)
    first = found[found["number"] == 0]
    assert (first["nonzero"] <= 1).all()


def test_a_path_starts_each_weight_warm_in_its_own_fold():
    warm = search.cv_path(lasso, "weight_l1", weights=[0.5, 0.4, 0.3, 0.2], folds=4, minimize="error").frame()
    cold = [search.cv_path(lasso, "weight_l1", weights=[w], folds=4, minimize="error").frame() for w in (0.4, 0.3, 0.2)]
    for number, one in enumerate(cold, start=1):
        same = warm[warm["number"] == number]
        np.testing.assert_allclose(same["error"], one["error"], rtol=1e-9)
    assert warm["sweeps"][warm["number"] > 0].sum() < sum(one["sweeps"].sum() for one in cold)


def measured(function):
    return lambda regs: lambda trial: {"error": function(regs[0].weight.value)}


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e5])
def test_the_largest_weight_that_matters_is_found_at_any_scale(scale):
    prepare = measured(lambda weight: 2 + min(weight / scale, 1))
    found = search.cv_path(prepare, "weight_l2", folds=2, minimize="error").frame()["weight_l2.weight"]
    assert 0.97 * scale < found.max() <= scale


def test_the_largest_weight_is_one_at_which_training_works():
    def diverging(weight):  # as steps of a gradient that are too long
        return 1 / (1 + weight) if weight < 3 else float("nan")

    found = search.cv_path(measured(diverging), "weight_l2", folds=2, minimize="error")
    assert 0.97 * 3 < found.best_weight < 3
    assert (found.frame()["state"] == "complete").all()


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (lambda weight: 1.0, "error is the same at all weights"),
        (lambda weight: 1 + weight, "error still changes at a w"),
    ],
)
def test_a_measure_without_a_largest_weight_asks_for_weights(function, told):
    with pytest.raises(search.SearchError, match=told):
        search.cv_path(measured(function), "weight_l2", minimize="error")


def test_a_fold_that_is_complete_is_not_walked_again(tmp_path):
    seen = []

    def prepare(regs):
        def evaluate(trial):
            seen.append((trial.fold, regs[0].weight.value))
            if len(seen) == 8:
                raise KeyboardInterrupt
            return {"error": trial.fold + regs[0].weight.value}

        return evaluate

    arguments = dict(weights=[3, 2, 1], folds=3, minimize="error", storage=tmp_path / "path.db")
    with pytest.raises(KeyboardInterrupt):
        search.cv_path(prepare, "weight_l2", **arguments)
    seen.clear()
    found = search.cv_path(prepare, "weight_l2", **arguments)
    assert seen == [(2, 3.0), (2, 2.0), (2, 1.0)]
    frame = found.frame()
    assert list(frame["error"]) == [3, 2, 1, 4, 3, 2, 5, 4, 3]
    assert list(frame["fold"]) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert found.best_weight == 1
    with pytest.raises(regkit.OptionError, match="holds another path of 'weight_l2': its folds is 3, and here it is 2"):
        search.cv_path(prepare, "weight_l2", **{**arguments, "folds": 2})


def test_a_weight_at_which_a_fold_failed_is_not_the_best():
    def prepare(regs):
        def evaluate(trial):
            weight = regs[0].weight.value
            if weight == 1 and trial.fold == 1:
                raise ValueError("diverged")
            return {"error": weight}

        return evaluate

    found = search.cv_path(prepare, "weight_l2", weights=[3, 2, 1], folds=2, minimize="error")
    assert found.best_weight == 2
    (failure,) = found.frame()["failure"].dropna()
    assert failure.startswith("ValueError: diverged")


def test_a_weight_at_which_a_fold_is_nan_is_not_the_best():
    def prepare(regs):
        def evaluate(trial):
            weight = regs[0].weight.value
            return {"error": float("nan") if weight == 1 and trial.fold < 2 else weight + (9 if trial.fold < 2 else 0)}

        return evaluate

    found = search.cv_path(prepare, "weight_l2", weights=[3, 2, 1], folds=5, minimize="error")
    assert found.best_weight == 2  # without folds 0 and 1, 1 would have the smallest mean
    assert list(found.means()["mean"]) == pytest.approx([3 + 18 / 5, 2 + 18 / 5])
    assert set(found.frame()["failure"].dropna()) == {"evaluate returned NaN for 'error', which is an aim"}


def test_a_trial_after_one_that_is_nan_does_not_start_from_it():
    starts = []

    def prepare(regs):
        def evaluate(trial):
            starts.append(trial.start)
            trial.keep = weight = regs[0].weight.value
            return {"error": float("nan") if weight == 2 else weight}

        return evaluate

    search.cv_path(prepare, "weight_l2", weights=[3, 2, 1], folds=2, minimize="error")
    assert starts == [None, 3, 3] * 2


def raising(weight):
    raise ValueError("no data")


@pytest.mark.parametrize("weights", [None, [5, 4, 3, 2, 1]])
@pytest.mark.parametrize(
    ("function", "told"),
    [
        (raising, "ValueError: no data"),
        (lambda weight: float("nan"), "evaluate returned NaN for 'error', which is an aim"),
        (lambda weight: float("inf"), "evaluate returned inf for 'error', which is an aim"),
    ],
)
def test_a_path_that_fails_everywhere_ends_early_with_the_failure(function, told, weights):
    seen = []

    def counted(weight):
        seen.append(weight)
        return function(weight)

    with pytest.raises(search.SearchError) as caught:
        search.cv_path(measured(counted), "weight_l2", weights=weights, minimize="error")
    where = "at all weights" if weights is None else "at the first 3 weights in fold 0"
    assert str(caught.value).startswith(f"evaluate fails {where}. The last failure: {told}")
    assert weights is None or seen == [5, 4, 3]


def test_an_aim_that_is_misspelt_ends_the_path_at_the_first_trial():
    seen = []
    with pytest.raises(search.SearchError) as caught:
        search.cv_path(
            measured(lambda weight: seen.append(weight) or 1.0), "weight_l2", weights=[2, 1], minimize="eror"
        )
    assert str(caught.value) == "evaluate returned no 'eror', which is an aim. It returned: error"
    assert seen == [2]


@pytest.mark.parametrize("max_failures", [5, None])
def test_the_first_weights_may_fail_if_max_failures_allows_it(max_failures):
    function = measured(lambda weight: weight if weight < 3 else float("nan"))
    arguments = dict(weights=[6, 5, 4, 3, 2, 1], folds=2, minimize="error")
    with pytest.raises(search.SearchError, match="evaluate fails at the first 3 weights in fold 0"):
        search.cv_path(function, "weight_l2", **arguments)
    assert search.cv_path(function, "weight_l2", **arguments, max_failures=max_failures).best_weight == 1


def test_a_path_of_which_each_weight_failed_in_some_fold_has_no_best():
    def prepare(regs):
        return lambda trial: {"error": float("nan") if regs[0].weight.value == 1 + trial.fold else 1.0}

    found = search.cv_path(prepare, "weight_l2", weights=[2, 1], folds=2, minimize="error")
    with pytest.raises(search.SearchError, match="no weight is complete in all folds. evaluate returned NaN"):
        found.best_weight  # noqa: B018 - a property that raises


def test_workers_walk_the_folds(client):
    arguments = dict(weights=[0.5, 0.1], folds=4, minimize="error")
    here = search.cv_path(lasso, "weight_l1", **arguments).frame()
    assert search.cv_path(lasso, "weight_l1", **arguments, client=client).frame().equals(here)


def test_the_picture_has_error_bars_and_both_weights():
    found = search.cv_path(lasso, "weight_l1", weights=[0.5, 0.2, 0.05, 0.01], folds=4, minimize="error")
    (axes,) = found.plot().axes
    assert axes.get_xscale() == "log"
    (bars,) = axes.containers
    assert bars.has_yerr
    assert [line.get_xdata()[0] for line in axes.lines[-2:]] == [found.best_weight, found.one_se_weight]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (dict(max_failures=0), "max_failures is 0; accepted: an integer of at least 1, or None"),
        (dict(folds=1), "folds is 1; accepted: an integer of at least 2"),
        (dict(weights=[]), "cv_path got no weights"),
        (dict(weights=[-1]), "got weight=-1"),
        (dict(options={"weight_l2": {"weight": 1}}), "accepted: further arguments, without the weight"),
    ],
)
def test_a_path_that_could_not_be_walked_is_refused(arguments, told):
    with pytest.raises(regkit.OptionError) as caught:
        search.cv_path(measured(float), "weight_l2", **arguments, minimize="error")
    assert told in str(caught.value)
