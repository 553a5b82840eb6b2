"""`run`: a search from its space to its result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage

import regkit

from .progress import Progress
from .results import Result
from .spaces import Space
from .structures import Prepare, Structures
from .studies import StoredStudy
from .trials import COLUMNS


def run(
    prepare: Prepare,
    space: Mapping[str, Any],
    *,
    minimize: str | Sequence[str] = (),
    maximize: str | Sequence[str] = (),
    trials: int,
    seed: int = 0,
    sampler: BaseSampler | None = None,
    pruner: BasePruner | None = None,
    storage: str | BaseStorage | None = None,
    name: str | None = None,
    client: Any = None,
) -> Result:
    """Search for what makes aims small or large, compiling once for all weights.

    Parameters
    ----------
    prepare : callable
        Of a `regkit.RegularizerSet`: builds and compiles a network with it, and returns ``evaluate``, which is called
        with each `Trial` and returns a mapping of names to numbers, the aims among them. ``evaluate`` begins from the
        same parameters each time; weights are set already. Called once for each structure in each process.
    space : mapping of str to value
        Aliases and values as `regkit.build` takes them, with distributions of Optuna in the place of numbers and words.
        Those of a ``weight`` are live: trials that differ in them alone share a compilation. All others, and ``used``
        (``CategoricalDistribution([True, False])``), are structure.
    minimize, maximize : str or sequence of str
        The aims. With several, the result is a Pareto front, and nothing is pruned.
    trials : int
        How many there are to be in the end, of any state, with those that the storage has already.
    seed : int, default 0
        Of the sampler and, with a trial's number, of each trial.
    sampler : optuna.samplers.BaseSampler, optional
        By default Optuna's: TPE for one aim, NSGA-II for several.
    pruner : optuna.pruners.BasePruner, optional
        By default nothing is pruned.
    storage : str or optuna.storages.BaseStorage, optional
        A file, which becomes an SQLite database, or a URL of Optuna. The same call goes on from it. None: in memory.
    name : str, optional
        Of the study, where a storage has several.
    client : distributed.Client or str, optional
        Of Dask, or the address of its scheduler. None: trials run in this process, one after the other.

    Returns
    -------
    Result

    Raises
    ------
    regkit.RegkitError
        If the space names an alias that is unknown or a value that it does not take, the storage has another search,
        nothing answers at the address, or `prepare` cannot be sent to a worker: before the first trial.
    SearchError
        If all workers are gone, or the scheduler. The same call goes on.

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
    if not callable(prepare):
        raise regkit.OptionError(f"prepare is {prepare!r}; accepted: a function of a set of regularizers")
    for argument, value, low in (("trials", trials, 1), ("seed", seed, 0)):
        if not isinstance(value, int) or isinstance(value, bool) or value < low:
            raise regkit.OptionError(f"{argument} is {value!r}; accepted: an integer of at least {low}")
    aims = aims_of(minimize, maximize)
    _check_optuna(sampler, BaseSampler, "sampler", "TPESampler()")
    _check_optuna(pruner, BasePruner, "pruner", "MedianPruner()")
    searched = Space(space)
    if client is None:
        stored = StoredStudy(searched, aims, trials, seed, sampler, pruner, storage, name)
        return run_here(prepare, stored)
    from .cluster import Cluster

    with Cluster(client, prepare, searched) as cluster:
        stored = StoredStudy(searched, aims, trials, seed, sampler, pruner, storage, name)
        cluster.run(stored)
    return Result(stored)


def run_here(prepare: Prepare, stored: StoredStudy) -> Result:
    """Run the trials of a study in this process, one after the other."""
    structures = Structures(prepare, stored.space)
    with Progress(stored) as progress:
        while (task := stored.next()) is not None:
            outcome = structures.run(task, partial(stored.report, task.number))
            stored.finish(task.number, outcome)
            progress.update()
    return Result(stored)


def aims_of(minimize: str | Sequence[str], maximize: str | Sequence[str]) -> dict[str, str]:
    """Return the aims with their directions."""
    aims: dict[str, str] = {}
    for direction, names in (("minimize", minimize), ("maximize", maximize)):
        for aim in (names,) if isinstance(names, str) else names:
            if not isinstance(aim, str) or not aim or aim in COLUMNS:
                raise regkit.OptionError(
                    f"{direction} got {aim!r}; accepted: names of what evaluate returns, but number, state and failure"
                )
            if aim in aims:
                raise regkit.OptionError(f"{aim!r} is an aim twice. Give it once, in minimize or in maximize")
            aims[aim] = direction
    if not aims:
        raise regkit.OptionError("there is no aim. Give minimize or maximize the name of what evaluate returns")
    return aims


def _check_optuna(given: Any, wanted: type, argument: str, example: str) -> None:
    if given is not None and not isinstance(given, wanted):
        raise regkit.OptionError(f"{argument} is {given!r}; accepted: an object of Optuna, such as {example}, or None")
