"""Optuna's samplers, made to draw what the seed of a search and the number of a trial say, and nothing else."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
from optuna.samplers import BaseSampler


class Seeded(BaseSampler):
    """A sampler that is seeded anew before each of its decisions, from (seed, number, what is decided).

    So a trial's parameters follow from those before it and its number, in whichever process it is asked for, and for a
    process that was killed between two parameters as well.

    Parameters
    ----------
    sampler : BaseSampler
        Of Optuna, or one's own.
    seed : int
    """

    def __init__(self, sampler: BaseSampler, seed: int) -> None:
        self._sampler, self._seed = sampler, seed
        self._states: list[Any] | None = None
        #: Whether the sampler has said that there is nothing left to try.
        self.exhausted = False

    def __str__(self) -> str:
        return str(self._sampler)

    def _seed_for(self, number: int, what: str) -> None:
        if self._states is None:
            self._states = list(random_states(self._sampler))
        key = np.random.SeedSequence([self._seed, number], spawn_key=tuple(what.encode()))
        for state, seed in zip(self._states, key.generate_state(len(self._states) or 1)):
            _set_seed(state, int(seed))

    def infer_relative_search_space(self, study: Any, trial: Any) -> Any:
        """As the sampler's."""
        return self._sampler.infer_relative_search_space(study, trial)

    def before_trial(self, study: Any, trial: Any) -> None:
        """As the sampler's, seeded."""
        self._seed_for(trial.number, "before")
        self._sampler.before_trial(study, trial)

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> Any:
        """As the sampler's, seeded."""
        self._seed_for(trial.number, "relative")
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
        """As the sampler's, seeded."""
        self._seed_for(trial.number, f"independent {param_name}")
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Any, trial: Any, state: Any, values: Any) -> None:
        """As the sampler's, seeded. One that would stop the study, such as a grid that is done, is exhausted."""
        self._seed_for(trial.number, "after")
        try:
            self._sampler.after_trial(study, trial, state, values)
        except RuntimeError as error:  # Optuna lets a study stop only within its own loop
            if "Study.stop" not in str(error):
                raise
            self.exhausted = True


def random_states(sampler: object) -> Iterator[Any]:
    """Yield every random generator that a sampler holds, in the order of its attributes."""
    found: list[Any] = [sampler]
    seen = set()
    while found:
        one = found.pop()
        if id(one) in seen or isinstance(one, (type, str, bytes, np.ndarray)) or callable(one):
            continue
        seen.add(id(one))
        if isinstance(one, (np.random.RandomState, np.random.Generator, random.Random)):
            yield one
            continue
        if isinstance(getattr(one, "rng", None), np.random.RandomState):  # Optuna makes one when first asked
            found.append(one.rng)
        if isinstance(one, dict):
            found += one.values()
        elif isinstance(one, (list, tuple)):
            found += one
        else:
            found += getattr(one, "__dict__", {}).values()


def _set_seed(state: Any, seed: int) -> None:
    if isinstance(state, np.random.Generator):
        state.bit_generator.state = type(state.bit_generator)(seed).state
    else:
        state.seed(seed)
