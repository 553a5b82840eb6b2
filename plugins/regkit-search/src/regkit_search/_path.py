"""Regularization paths: the weights of one alias in order, each training warm from the last, with folds or without."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.storages import BaseStorage

import regkit
from regkit import hosts

from ._folders import take_own_folders
from ._result import figure_of
from ._space import RESERVED
from ._storage import SEARCH, Storage, difference_of
from ._trial import (
    Evaluate,
    Prepare,
    SearchError,
    Task,
    Trial,
    check_integer,
    evaluated,
    fault_of,
    in_words,
    prepared,
)

#: Of a path that finds its weights: how many in a factor of 10, and the smallest, or a smaller one if that matters, as
#: a share of the largest.
COUNT, SHARE = 10, 1e-3

#: By which share a measure differs at a weight that matters, and how precisely that weight is found.
MATTERS, PRECISION = 1e-3, 1.02

#: The largest and the smallest weight that are tried.
LARGEST, SMALLEST = 1e6, 1e-9

#: Attributes of a study: the weights that were found, the rows of a fold that is complete.
WEIGHTS, FOLD = f"{RESERVED}weights", RESERVED + "fold {}"

#: Of a path without a result.
FAILS = "evaluate fails at all weights"


class Path:
    """The measures along a regularization path. `path` returns one.

    Attributes
    ----------
    alias : str
    """

    def __init__(self, alias: str, rows: list[dict[str, Any]]) -> None:
        self.alias, self._frame = alias, pd.DataFrame(rows)
        self._frame["failure"] = self._frame.pop("failure")  # is the last column

    def frame(self) -> pd.DataFrame:
        """Return a row for each trial: number, state, weight, measures, failure."""
        return self._frame.copy()

    def plot(self) -> Any:
        """Return a figure of each measure against the weight on a log axis.

        Returns
        -------
        matplotlib.figure.Figure
        """
        return figure_of(self.frame(), [f"{self.alias}.weight"], {}, joined=True)

    def __repr__(self) -> str:
        weights = self.frame()[f"{self.alias}.weight"]
        return f"<path of {self.alias}: {weights.nunique()} weights from {weights.max():g} to {weights.min():g}>"

    def _repr_html_(self) -> str:
        """The rows, for notebooks."""
        return str(self.frame().to_html(index=False, na_rep=""))


class CVPath(Path):
    """The measures along a path with cross-validation. `cv_path` returns one.

    Attributes
    ----------
    alias : str
    aim : str
        The measure that is minimized.
    """

    def __init__(self, alias: str, rows: list[dict[str, Any]], aim: str) -> None:
        super().__init__(alias, rows)
        self.aim = aim

    def means(self) -> pd.DataFrame:
        """Return the mean of the aim over the folds, and its standard error, for each weight.

        Returns
        -------
        pandas.DataFrame
            Columns weight, mean, standard_error: the standard deviation over the folds, with n − 1, divided by √n.
            Weights at which a fold failed are missing.
        """
        frame = self.frame()
        by_weight = frame.assign(weight=frame[f"{self.alias}.weight"]).groupby("weight")
        complete = by_weight["state"].agg(lambda states: (states == "complete").all())
        if not complete.any():
            failure = next(iter(frame["failure"].dropna()), "")  # there is none if all were pruned
            raise SearchError(f"no weight is complete in all folds. {failure}".rstrip())
        aims = by_weight[self.aim].agg(["mean", "std", "count"])[complete].sort_index(ascending=False)
        error = aims["std"] / np.sqrt(aims["count"])
        return pd.DataFrame({"weight": aims.index, "mean": aims["mean"].array, "standard_error": error.array})

    @property
    def best_weight(self) -> float:
        """The weight with the smallest mean."""
        means = self.means()
        return float(means["weight"][means["mean"].idxmin()])

    @property
    def one_se_weight(self) -> float:
        """The largest weight whose mean is within one standard error of the smallest mean."""
        means = self.means()
        best = means.loc[means["mean"].idxmin()]
        return float(means["weight"][means["mean"] <= best["mean"] + best["standard_error"]].max())

    def plot(self) -> Any:
        """Return a figure of the means with error bars against the weight, with both weights marked.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from matplotlib.figure import Figure

        means = self.means()
        figure = Figure(figsize=(6, 4), layout="constrained")
        axes = figure.subplots()
        axes.errorbar(means["weight"], means["mean"], means["standard_error"], fmt="o-", markersize=3, capsize=2)
        axes.axvline(self.best_weight, color="crimson", linewidth=1, label=f"best, {self.best_weight:.3g}")
        label = f"one standard error, {self.one_se_weight:.3g}"
        axes.axvline(self.one_se_weight, color="grey", linewidth=1, linestyle="--", label=label)
        axes.set(xscale="log", xlabel=f"{self.alias}.weight", ylabel=f"{self.aim} (mean of the folds)")
        axes.legend(frameon=False)
        axes.grid(alpha=0.2)
        return figure


class Walker:
    """A network that walks the weights of one alias, which is made of the same arguments in every process."""

    def __init__(
        self, caller: str, prepare: Prepare, alias: str, options: Mapping[str, Any], seed: int, weights: Sequence[float]
    ) -> None:
        if not weights:
            raise regkit.OptionError(f"{caller} got no weights; accepted: one or more")
        further = options.get(alias, {})
        if not isinstance(further, Mapping) or "weight" in further:
            raise regkit.OptionError(
                f"the options have {further!r} for {alias!r}; accepted: further arguments, without the weight"
            )
        self.arguments = caller, prepare, alias, options, seed, weights
        self.name, self._caller, self._seed = f"{alias}.weight", caller, seed
        self._live = regkit.Live(weights[0])
        self._regs = regkit.build({**options, alias: {**further, "weight": self._live}})
        for weight in weights:  # those that are not accepted are told now
            self._live.set(weight)
        self._prepare = prepare
        self._evaluate: Evaluate | None = None
        #: Names of regularizers that change parameters after a step, which never came.
        self.waiting: set[str] = set()

    def warn(self) -> None:
        """Warn of regularizers that change parameters after a step, which never came."""
        hosts.warn_without_step([one for one in hosts.members(self._regs, self._caller) if one.name in self.waiting])

    def each(self, workers: Any, method: str, calls: list[tuple[Any, ...]]) -> Iterator[Any]:
        """Yield what a method of this walker returns for each of several arguments, or of one on workers of Dask."""
        if workers is None:
            yield from (getattr(self, method)(*call) for call in calls)
            return
        from ._dask import pickled

        sent = pickled(self.arguments)
        futures = [workers.submit(_on_worker, sent, method, call, pure=False) for call in calls]
        for future in futures:
            returned, waiting = future.result()
            self.waiting |= waiting
            yield returned

    def walk(
        self, weights: Iterable[float], fold: int = 0, aim: str | None = None, max_failures: int | None = None
    ) -> list[dict[str, Any]]:
        """Return a row for each weight. A trial starts from the value that the last complete one kept.

        The walk ends where its first `max_failures` trials have all failed.
        """
        rows: list[dict[str, Any]] = []
        start = None
        for number, weight in enumerate(weights):
            self._live.set(weight)
            self._evaluate = self._evaluate or prepared(self._prepare, self._regs)
            trial = Trial(Task(number, self._seed, {self.name: float(weight)}), lambda number, reports: False)
            trial.start, trial.fold = start, fold
            (outcome,) = evaluated(self._evaluate, trial, [self.name])
            error = outcome.error
            if aim is not None and not error and not outcome.pruned:
                error = fault_of(outcome.measures, [aim], finite=True)
                if aim not in outcome.measures:  # no other weight would change that
                    raise SearchError(error)
            state = "pruned" if outcome.pruned else "failed" if error else "complete"
            start = trial.keep if state == "complete" else start
            row = {"number": number, "state": state, self.name: float(weight), **outcome.measures}
            rows.append({**row, "failure": error or None})
            if len(rows) == max_failures and all(row["state"] == "failed" for row in rows):
                break
        self.waiting.update(member.name for member in hosts.waiting(self._regs))
        return rows

    def ends(self, fold: int, aim: str) -> tuple[float, float]:
        """Return the smallest and the largest weight that matter.

        At a larger one the aim stays as it is, or nothing can be trained.
        """
        failure = ""

        def measured(weight: float) -> float | None:
            nonlocal failure
            try:
                (row,) = self.walk([weight], fold, aim)
            except regkit.OptionError as error:  # such as dropout of 1
                failure = in_words(error)
                return None
            failure = row["failure"] or failure
            return float(row[aim]) if row["state"] == "complete" else None

        def same(one: float | None, other: float | None) -> bool:
            if one is None or other is None:
                return one is other
            return abs(one - other) <= MATTERS * max(abs(one), abs(other))

        low, high = LARGEST / 10, LARGEST
        at_low, limit = measured(low), measured(high)
        if limit is not None and not same(at_low, limit):
            raise SearchError(f"{aim} still changes at a weight of {high:g}. Give weights")
        while same(at_low, limit) and low > SMALLEST:
            high, low = low, low / 10
            at_low = measured(low)
        if at_low is None:
            raise SearchError(f"{FAILS}. The last failure: {failure}")
        if same(at_low, limit):
            raise SearchError(f"{aim} is the same at all weights from {SMALLEST:g} on. Give weights")
        while high / low > PRECISION:
            middle = math.sqrt(low * high)
            low, high = (low, middle) if same(measured(middle), limit) else (middle, high)
        smallest = SHARE * low
        while smallest > SMALLEST and not same(measured(smallest), measured(smallest / 10)):
            smallest /= 10
        return smallest, low


def _on_worker(sent: bytes, method: str, call: tuple[Any, ...]) -> tuple[Any, set[str]]:
    """Return what a method returns of a walker that is made here, and what its regularizers wait for."""
    take_own_folders()
    walker = Walker(*pickle.loads(sent))
    return getattr(walker, method)(*call), walker.waiting


def path(
    prepare: Prepare,
    alias: str,
    weights: Iterable[float],
    options: Mapping[str, Any] | None = None,
    *,
    seed: int = 0,
) -> Path:
    """Walk the weights of one alias in order, each trial from where the last one ended, with one compilation.

    Parameters
    ----------
    prepare : callable
        As of `run`. ``evaluate`` reads ``trial.start``, which is None at first, and sets ``trial.keep``, such as to the
        parameters of the network; the next trial gets that as its ``start``. A trial that fails hands nothing on.
    alias : str
        The alias whose weights they are.
    weights : iterable of real numbers
        In the order in which they are walked, such as from large to small.
    options : mapping of str to value, optional
        Options of `regkit.build`: further arguments of the alias, and other aliases.
    seed : int, default 0
        For the ``seed`` of each trial, with its number.

    Returns
    -------
    Path

    Raises
    ------
    regkit.RegkitError
        If a weight or an option is not accepted, or there are no weights; and every error of `prepare`.

    Examples
    --------
    >>> import regkit_search as search
    >>> def prepare(regs):
    ...     def evaluate(trial):
    ...         trial.keep = (trial.start or 0) + regs["hidden_l1"].weight.value
    ...         return {"sum": trial.keep}
    ...     return evaluate
    >>> print(list(search.path(prepare, "hidden_l1", [4, 2, 1]).frame()["sum"]))
    [4.0, 6.0, 7.0]
    """
    walked = list(weights)
    walker = Walker("path", prepare, alias, options or {}, seed, walked)
    rows = walker.walk(walked)
    walker.warn()
    return Path(alias, rows)


def cv_path(
    prepare: Prepare,
    alias: str,
    options: Mapping[str, Any] | None = None,
    *,
    weights: Iterable[float] | None = None,
    folds: int = 5,
    minimize: str,
    seed: int = 0,
    storage: str | BaseStorage | None = None,
    client: Any = None,
    max_failures: int | None = 3,
) -> CVPath:
    """Walk the weights of one alias from large to small in each of several folds.

    Parameters
    ----------
    prepare : callable
        As of `path`. ``evaluate`` trains without the examples of fold ``trial.fold``, a number from 0 on, and measures
        with these.
    alias : str
        The alias whose weights they are.
    options : mapping of str to value, optional
        Options of `regkit.build`: further arguments of the alias, and other aliases.
    weights : iterable of real numbers, optional
        By default ten in each factor of 10, from the largest that matters in a fold to a thousandth of that, or to a
        smaller one if that matters. A weight matters if others beyond it change the measure by a thousandth of it or
        more; the largest also if training fails beyond it.
    folds : int, default 5
        At least 2.
    minimize : str
        The measure whose mean over the folds decides. A trial in which it is NaN or infinite has failed.
    seed : int, default 0
        For the ``seed`` of each trial, with its number.
    storage : str or optuna.storages.BaseStorage, optional
        As of `run`. A fold that is complete is not walked again.
    client : distributed.Client, str or callable, optional
        As of `run`. Folds are walked by the workers. None: in this process, one after the other.
    max_failures : int or None, default 3
        With `weights`, the walk ends if its first so many trials fail in a fold. None: if all of them do.

    Returns
    -------
    CVPath

    Raises
    ------
    regkit.RegkitError
        If a weight or an option is not accepted, no largest weight is found, or the storage has another path; and every
        error of `prepare`.
    SearchError
        If `evaluate` returns no measure of that name, or fails at all weights. After a repair the same call goes on.

    References
    ----------
    J. Friedman, T. Hastie, R. Tibshirani, "Regularization Paths for Generalized Linear Models via Coordinate Descent",
    Journal of Statistical Software 33(1), 2010: the grid, and the rule of one standard error.

    Examples
    --------
    >>> import numpy as np, regkit_search as search
    >>> x = np.random.default_rng(0).normal(size=(50, 1))
    >>> y = x + 0.1 * np.random.default_rng(1).normal(size=(50, 1))
    >>> def prepare(regs):
    ...     def evaluate(trial):
    ...         left_out = np.arange(50) % 5 == trial.fold
    ...         xs, ys, decay = x[~left_out], y[~left_out], regs["weight_l2"].weight.value
    ...         w = (xs * ys).sum() / ((xs**2).sum() + decay * len(xs))
    ...         return {"error": ((x[left_out] * w - y[left_out]) ** 2).mean()}
    ...     return evaluate
    >>> found = search.cv_path(prepare, "weight_l2", minimize="error")
    >>> found.best_weight < 0.1
    True
    """
    check_integer("folds", folds, 2)
    check_integer("max_failures", max_failures, 1, or_none=True)
    given = None if weights is None else sorted(weights, reverse=True)
    search = {"alias": alias, "options": options or {}, "folds": folds, "aim": minimize, "seed": seed, "weights": given}
    walker = Walker("cv_path", prepare, alias, options or {}, seed, [1.0] if given is None else given)
    with ExitStack() as stack:
        workers = None
        if client is not None:
            from ._dask import connected

            workers = stack.enter_context(connected(client))
        stored = stack.enter_context(closing(Storage(storage, f"cv_path of {alias}")))
        study = _study_of(stored, search)
        found = given or study.user_attrs.get(WEIGHTS)
        if found is None:
            ends = list(walker.each(workers, "ends", [(fold, minimize) for fold in range(folds)]))
            bottom, top = min(low for low, _ in ends), max(high for _, high in ends)
            found = list(map(float, np.geomspace(top, bottom, round(COUNT * math.log10(top / bottom)))))
            study.set_user_attr(WEIGHTS, found)
        left = [fold for fold in range(folds) if FOLD.format(fold) not in study.user_attrs]
        most = max_failures if given else None  # beyond a weight that is found, training may fail
        calls = [(found, fold, minimize, most) for fold in left]
        for fold, rows in zip(left, walker.each(workers, "walk", calls)):
            if all(row["state"] == "failed" for row in rows):
                which = FAILS if len(rows) == len(found) else f"evaluate fails at the first {len(rows)} weights"
                raise SearchError(f"{which} in fold {fold}. The last failure: {rows[-1]['failure']}")
            study.set_user_attr(FOLD.format(fold), rows)
        every = study.user_attrs
    walker.warn()
    rows = [{**row, "fold": fold} for fold in range(folds) for row in every[FOLD.format(fold)]]
    return CVPath(alias, rows, minimize)


def _study_of(storage: Storage, search: Mapping[str, Any]) -> optuna.Study:
    """Return the study that has the folds of a path as attributes. It has no trials of Optuna."""
    study = optuna.create_study(storage=storage, study_name=storage.name, load_if_exists=True)
    written = json.loads(json.dumps(search, default=repr))
    if (difference := difference_of(study.user_attrs.get(SEARCH), written)) is not None:
        raise regkit.OptionError(
            f"storage {storage.where} holds another path of {search['alias']!r}: {difference}. Give this one another "
            "storage"
        )
    study.set_user_attr(SEARCH, written)
    return study
