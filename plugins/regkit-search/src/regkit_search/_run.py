"""`run` and `Search`: a search from its space to its result."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import KW_ONLY, dataclass, replace
from functools import partial
from numbers import Real
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from tqdm import tqdm

import regkit

from ._result import Result
from ._space import COLUMNS, Space
from ._storage import Storage
from ._study import StoredStudy
from ._trial import Networks, Prepare, check_integer

#: Seconds between two states of the bar, and between two lines in a file.
BAR, LINE = 0.1, 10.0


@dataclass(frozen=True, repr=False, eq=False)
class Search:
    """A search that can be run, and resumed, such as by ``regkit search my_module:search``.

    Parameters
    ----------
    prepare, space, parameters, minimize, maximize, trials, seed, sampler, pruner, storage, name, client, resources, \
enqueue, timeout, max_failures, batch
        As of `run`.

    Raises
    ------
    regkit.RegkitError
        As `run` before the first trial, but for errors of the storage and of the cluster.

    Examples
    --------
    >>> import regkit_search as search
    >>> from optuna.distributions import FloatDistribution
    >>> def prepare(regs):
    ...     return lambda trial: {"error": abs(regs["hidden_l1"].weight.value - 0.5)}
    >>> found = search.Search(prepare, {"hidden_l1": FloatDistribution(0.1, 1)}, minimize="error", trials=5)
    >>> len(found.run().frame())
    5
    """

    prepare: Prepare
    space: Mapping[str, Any]
    _: KW_ONLY
    parameters: Mapping[str, BaseDistribution] | None = None
    minimize: str | Sequence[str] = ()
    maximize: str | Sequence[str] = ()
    trials: int
    seed: int = 0
    sampler: BaseSampler | None = None
    pruner: BasePruner | None = None
    storage: str | BaseStorage | optuna.Study | None = None
    name: str | None = None
    client: Any = None
    resources: Mapping[str, float] | None = None
    enqueue: Sequence[Mapping[str, Any]] = ()
    timeout: float | None = None
    max_failures: int | None = 3
    batch: int | None = None

    def __post_init__(self) -> None:
        if not callable(self.prepare):
            raise regkit.OptionError(f"prepare is {self.prepare!r}; accepted: a function of a set of regularizers")
        check_integer("trials", self.trials, 1)
        check_integer("seed", self.seed, 0)
        check_integer("max_failures", self.max_failures, 1, or_none=True)
        check_integer("batch", self.batch, 1, or_none=True)
        if self.timeout is not None and not (isinstance(self.timeout, Real) and self.timeout > 0):
            raise regkit.OptionError(f"timeout is {self.timeout!r}; accepted: seconds, or None")
        if self.resources is not None and self.client is None:
            raise regkit.OptionError(f"resources is {self.resources!r}, which workers have. Give a client too")
        for argument, kind, example in (("sampler", BaseSampler, "TPESampler"), ("pruner", BasePruner, "MedianPruner")):
            given = getattr(self, argument)
            if given is not None and not isinstance(given, kind):
                raise regkit.OptionError(
                    f"{argument} is {given!r}; accepted: an object of Optuna, such as {example}(), or None"
                )
        space = Space(self.space, self.parameters)
        object.__setattr__(self, "enqueue", [space.enqueued(params) for params in self.enqueue])
        aims_of(self.minimize, self.maximize)

    def run(self, trials: int | None = None) -> Result:
        """Run the search, or go on with it.

        Parameters
        ----------
        trials : int, optional
            In place of the search's own.

        Returns
        -------
        Result

        Raises
        ------
        regkit.RegkitError
            As `run`.
        """
        if trials is not None:
            return replace(self, trials=trials).run()
        space, aims = Space(self.space, self.parameters), aims_of(self.minimize, self.maximize)
        if self.pruner is not None and len(aims) > 1:
            warnings.warn("with several aims nothing is pruned: Optuna prunes for one aim", stacklevel=3)
        if self.pruner is not None and self.batch:
            warnings.warn("in batches nothing is pruned: the trials of a batch end together", stacklevel=3)
        networks = self.prepare, space, self.batch is not None
        with ExitStack() as stack:
            run_all: Callable[..., None] = partial(_run_here, Networks(*networks))
            if self.client is not None:
                from ._dask import cluster

                run_all = stack.enter_context(cluster(self.client, networks, self.resources)).run
            storage = stack.enter_context(closing(Storage(self.storage, self.name)))
            stored = StoredStudy(self, space, aims, storage)
            run_all(stored, stack.enter_context(progress(stored)))
        stored.warn()
        result = Result(stored)
        result.warn_of_choices()
        return result


def _run_here(networks: Networks, stored: StoredStudy, update: Callable[[], None]) -> None:
    """Run the trials of a study in this process, one after the other."""
    while (tasks := stored.next()) is not None:
        for task, outcome in zip(tasks, networks.run(tasks, stored.report)):
            stored.finish(task.number, outcome)
        update()


def run(
    prepare: Prepare,
    space: Mapping[str, Any],
    *,
    parameters: Mapping[str, BaseDistribution] | None = None,
    minimize: str | Sequence[str] = (),
    maximize: str | Sequence[str] = (),
    trials: int,
    seed: int = 0,
    sampler: BaseSampler | None = None,
    pruner: BasePruner | None = None,
    storage: str | BaseStorage | optuna.Study | None = None,
    name: str | None = None,
    client: Any = None,
    resources: Mapping[str, float] | None = None,
    enqueue: Sequence[Mapping[str, Any]] = (),
    timeout: float | None = None,
    max_failures: int | None = 3,
    batch: int | None = None,
) -> Result:
    """Search for options that make aims small or large, compiling once for all weights.

    Parameters
    ----------
    prepare : callable
        Of a `regkit.RegularizerSet`: builds and compiles a network with it, and returns ``evaluate``, which is called
        with each `Trial` and returns a mapping of names to numbers, the aims among them. ``evaluate`` begins from the
        same parameters each time; weights are set already. Called once for each structure in each thread of a worker.
    space : mapping of str to value
        Options of `regkit.build`, with distributions of Optuna in the place of values. A ``weight`` with numbers is
        live: trials that differ only in live weights share a compilation. The other arguments are structure, and so is
        ``used`` (``CategoricalDistribution([True, False])``), which leaves an alias out.
    parameters : mapping of str to distribution, optional
        Further parameters, such as a learning rate, for ``evaluate`` to read from ``trial.params``. They are no
        structure.
    minimize, maximize : str or sequence of str
        The aims. Several give a Pareto front, and nothing is pruned.
    trials : int
        The number of finished trials at the end, with those in the storage.
    seed : int, default 0
        For the sampler and, with the number of a trial, for the trial.
    sampler : optuna.samplers.BaseSampler, optional
        By default that of Optuna: TPE for one aim, NSGA-II for several.
    pruner : optuna.pruners.BasePruner, optional
        By default nothing is pruned.
    storage : str, optuna.storages.BaseStorage or optuna.Study, optional
        A file, which becomes an SQLite database, or a URL of Optuna. The same call goes on from it. A study of your own
        has its sampler and its pruner. None: in memory.
    name : str, optional
        Of the study, where a storage has several.
    client : distributed.Client, str or callable, optional
        Of Dask, the address of its scheduler, or a function that returns a client, which is closed at the end. None:
        trials run in this process, one after the other.
    resources : mapping of str to number, optional
        What a trial takes of a worker's resources in Dask, such as ``{"GPU": 1}``.
    enqueue : sequence of mappings, optional
        Parameters by their names, which are tried first; those that are missing are suggested.
    timeout : float, optional
        Seconds after which no trial begins.
    max_failures : int or None, default 3
        The search ends if so many trials fail before any other has finished. None: it never does.
    batch : int, optional
        So many trials are trained at once, such as by ``jax.vmap``: ``evaluate`` is called with `Trials` of one
        structure, up to so many, and returns a mapping of names to a number for each of them. It hands ``trials.live``
        to the training, because live weights are not set. The sampler suggests a batch before any of it has ended, and
        nothing is pruned.

    Returns
    -------
    Result

    Raises
    ------
    regkit.RegkitError
        Before the first trial: if the space has an alias that is unknown or a value that it does not accept, the
        storage has another search or is in use, no scheduler answers, or `prepare` cannot be sent to a worker.
    SearchError
        If the first trials all fail, or the storage or the scheduler is gone. The same call goes on.

    Examples
    --------
    >>> import numpy, regkit
    >>> import regkit_search as search
    >>> from optuna.distributions import FloatDistribution
    >>> def prepare(regs):
    ...     def evaluate(trial):
    ...         penalty = regs.loss([], {"hid1": numpy.array([2.0])})
    ...         return {"distance": abs(float(penalty) - 1)}
    ...     return evaluate
    >>> space = {"hidden_l1": {"weight": FloatDistribution(0.01, 1, log=True), "pattern": "hid1"}}
    >>> result = search.run(prepare, space, minimize="distance", trials=30)
    >>> 0.4 < result.best["hidden_l1"]["weight"] < 0.6
    True
    """
    return Search(**locals()).run()


def aims_of(minimize: str | Sequence[str], maximize: str | Sequence[str]) -> dict[str, str]:
    """Return the aims with their directions."""
    aims: dict[str, str] = {}
    for direction, names in (("minimize", minimize), ("maximize", maximize)):
        for aim in (names,) if isinstance(names, str) else names:
            if not isinstance(aim, str) or not aim or aim in COLUMNS:
                raise regkit.OptionError(
                    f"{direction} got {aim!r}; accepted: names in the mapping that evaluate returns, but not number, "
                    "state and failure"
                )
            if aim in aims:
                raise regkit.OptionError(f"{aim!r} is an aim twice. Give it once, in minimize or in maximize")
            aims[aim] = direction
    if not aims:
        raise regkit.OptionError("there is no aim. Give minimize or maximize a name in the mapping of evaluate")
    return aims


@contextmanager
def progress(stored: StoredStudy) -> Iterator[Callable[[], None]]:
    """Show how far a search is, and the best so far, on standard error; yield a function that shows the present state.

    It is a bar on a terminal. A file gets a line now and then.
    """
    result, every, shown = Result(stored), BAR if sys.stderr.isatty() else LINE, 0.0
    total = max(stored.wanted, stored.finished)  # an earlier call may have asked for more
    form = "{n_fmt} of {total_fmt} trials{postfix} |{bar}| {elapsed}<{remaining}"
    with tqdm(total=total, initial=stored.finished, bar_format=form, mininterval=0) as bar:

        def show(refresh: bool = True) -> None:
            nonlocal shown
            shown, bar.n = time.monotonic(), stored.finished
            bar.set_postfix_str(_best(result), refresh)

        yield lambda: show() if time.monotonic() - shown >= every else None
        show(refresh=False)  # the bar shows it when it ends


def _best(result: Result) -> str:
    if not result.is_complete:
        return ""
    front = result.front
    if len(result.aims) > 1:
        return f"{len(front)} on the front"
    params = ", ".join(f"{name} {short(value)}" for name, value in result.best_params.items())
    ((aim, value),) = front[0].aims.items()
    return f"best {aim} {short(value)} at {params}"


def short(value: Any) -> str:
    """Return a number with four digits, and other values as they are."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
