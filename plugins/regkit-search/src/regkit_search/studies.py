"""The study of a search: Optuna's, opened in this process alone, asked and told one trial at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

import regkit

from .sampling import Seeded
from .spaces import Space
from .storages import opened
from .trials import Outcome, Task, what_is_wrong

#: Under which attribute of a study its search is written down, and under which of a trial why it failed.
SEARCH, ERROR, KILLS = "regkit:search", "regkit:error", "regkit:kills"

#: What a study is called if it is given no name.
NAME = "regkit-search"

#: How many workers a trial may kill.
ALLOWED_KILLS = 3


class StoredStudy:
    """A study whose trials are handed out and taken back; what is not finished is handed out again.

    Parameters
    ----------
    space : Space
    aims : mapping of str to {"minimize", "maximize"}
    trials : int
        How many trials there are to be in the end, of any state, those of earlier runs included.
    seed : int
    sampler, pruner, storage, name
        As `regkit_search.run`.

    Raises
    ------
    regkit.OptionError
        If the storage cannot be opened, or holds another search of that name.
    """

    def __init__(
        self,
        space: Space,
        aims: Mapping[str, str],
        trials: int,
        seed: int,
        sampler: BaseSampler | None = None,
        pruner: BasePruner | None = None,
        storage: str | BaseStorage | None = None,
        name: str | None = None,
    ) -> None:
        self.space, self.aims, self._seed, self.wanted = space, dict(aims), seed, trials
        self._storage = opened(storage)
        self.study = self._created(name or NAME, sampler, pruner, storage)
        self._sampler = Seeded(self.study.sampler, seed)
        self.study.sampler = self._sampler
        self._study_id = self._storage.get_study_id_from_name(self.study.study_name)
        self._left = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
        #: How many trials are finished.
        self.finished = len(self.study.get_trials(deepcopy=False, states=states))
        self._out: dict[int, int] = {}  # number -> Optuna's id of trials that are out
        self._reported: dict[int, set[int]] = {}  # by those: the steps that they have reported

    @property
    def prunes(self) -> bool:
        """Whether reports are decided upon. Optuna prunes for one aim only."""
        return len(self.aims) == 1 and not isinstance(self.study.pruner, NopPruner)

    @property
    def is_done(self) -> bool:
        """Whether there are enough trials, and none is out."""
        return self._has_enough and not self._out and not self._left

    @property
    def _has_enough(self) -> bool:
        return self.finished + len(self._out) >= self.wanted or self._sampler.exhausted

    def next(self) -> Task | None:
        """Return the next trial to run, first those that were left running; None if there are enough."""
        if self._left:
            return self._adopted(self._left.pop(0))
        if self._has_enough:
            return None
        trial = self.study.ask()
        return self._sent(trial.number, self.space.suggest(trial))

    def report(self, number: int, value: float, step: int) -> bool:
        """Record what a trial reports; return whether it is to be pruned."""
        trial_id = self._out[number]
        if step not in self._reported[number]:
            self._reported[number].add(step)
            self._storage.set_trial_intermediate_value(trial_id, step, value)
        return self.prunes and self.study.pruner.prune(self.study, self._storage.get_trial(trial_id))

    def finish(self, number: int, outcome: Outcome) -> None:
        """Record what came of a trial, unless that was told before."""
        if number not in self._out:
            return
        for step, value in outcome.reports:
            if step not in self._reported[number]:  # where nobody waits for an answer they come all at once
                self._storage.set_trial_intermediate_value(self._out[number], step, value)
        error = outcome.error or ("" if outcome.pruned else what_is_wrong(outcome.measures, self.aims))
        for name, value in outcome.measures.items():
            if name not in self.aims or error:
                self._note(number, name, value)
        if error:
            self._note(number, ERROR, error)
            self._tell(number, TrialState.FAIL)
        elif outcome.pruned:
            self._tell(number, TrialState.PRUNED)
        else:
            self._tell(number, TrialState.COMPLETE, [outcome.measures[aim] for aim in self.aims])

    def killed(self, number: int, where: str) -> bool:
        """Record that a worker went down with a trial; return whether it may run again."""
        kills = [*self._frozen(number).user_attrs.get(KILLS, ()), where]
        self._note(number, KILLS, kills)
        if len(kills) < ALLOWED_KILLS:
            return True
        self.finish(number, Outcome(error=f"killed its worker {len(kills)} times: {', '.join(kills)}"))
        return False

    def task(self, number: int, params: Mapping[str, Any]) -> Task:
        """Return a trial as it is sent out."""
        return Task(number, self._seed, dict(params), self.space.structure(params))

    def _created(self, name: str, sampler: Any, pruner: Any, storage: Any) -> optuna.Study:
        directions = list(self.aims.values())
        search = json.loads(json.dumps({"space": self.space.written(), "aims": self.aims, "seed": self._seed}))
        try:
            study = optuna.create_study(
                storage=self._storage,
                study_name=name,
                directions=directions,
                sampler=sampler,
                pruner=pruner or NopPruner(),
                load_if_exists=True,
            )
        except ValueError as error:
            raise regkit.OptionError(f"Optuna refuses the study: {error}") from error
        stored = study.user_attrs.get(SEARCH)
        if stored is None and not study.get_trials(deepcopy=False):  # new, or killed before this was written
            study.set_user_attr(SEARCH, search)
        elif stored != search:
            raise regkit.OptionError(
                f"storage {storage!r} holds another search under the name {name!r}: {_difference(stored, search)}. "
                "Give this one another name or another storage"
            )
        return study

    def _adopted(self, left: FrozenTrial) -> Task:
        """Take a trial over that an earlier run left running, with its number and its parameters."""
        self._storage.begin_again(left)
        if self.space.is_complete(left.params):
            return self._sent(left.number, left.params, left._trial_id)
        trial = optuna.trial.Trial(self.study, left._trial_id)  # killed before all were drawn: the rest is drawn now
        return self._sent(left.number, self.space.suggest(trial), left._trial_id)

    def _sent(self, number: int, params: Mapping[str, Any], trial_id: int | None = None) -> Task:
        if trial_id is None:
            trial_id = self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)
        self._out[number], self._reported[number] = trial_id, set()
        return self.task(number, params)

    def _frozen(self, number: int) -> FrozenTrial:
        return self._storage.get_trial(self._out[number])

    def _note(self, number: int, name: str, value: Any) -> None:
        self._storage.set_trial_user_attr(self._out[number], name, value)

    def _tell(self, number: int, state: TrialState, values: list[float] | None = None) -> None:
        self.study.tell(number, values, state, skip_if_finished=True)
        self.finished += 1
        del self._out[number], self._reported[number]


def _difference(stored: Mapping[str, Any] | None, search: Mapping[str, Any]) -> str:
    """What tells two searches apart, in words."""
    if stored is None:
        return "it was not made by regkit-search"
    name = next(name for name in search if stored.get(name) != search[name])
    return f"its {name} is {json.dumps(stored.get(name))}, and here it is {json.dumps(search[name])}"
