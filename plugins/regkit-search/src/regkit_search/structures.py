"""Structures, each prepared once: regularizers with live weights, and the function that evaluates trials with them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any

import regkit

from .spaces import Space
from .trials import Outcome, Reported, Task, Trial, evaluated, in_words

#: How many prepared structures are kept, the latest: each holds compiled functions, and the data of a network.
KEPT = 8

Evaluate = Callable[[Trial], Mapping[str, float]]
Prepare = Callable[[regkit.RegularizerSet], Evaluate]


class Prepared:
    """A structure that is prepared, or will be: trials run in it one at a time."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.users = 0
        self.lives: dict[str, regkit.Live] = {}
        self.evaluate: Evaluate | None = None

    def make(self, prepare: Prepare, space: Space, task: Task) -> Evaluate:
        """Build the regularizers of a trial, with live weights, and let the user prepare what evaluates it."""
        self.lives = {name: regkit.Live(weight) for name, weight in space.weights(task.params).items()}
        evaluate = prepare(regkit.build(space.options(task.params, self.lives)))
        if not callable(evaluate):
            raise regkit.OptionError(f"prepare returned {evaluate!r}; accepted: a function of a trial")
        return evaluate

    def run(self, prepare: Prepare, space: Space, task: Task, trial: Trial) -> Outcome:
        """Run a trial, after preparing if that was not done."""
        with self.lock:
            try:
                if self.evaluate is None:
                    self.evaluate = self.make(prepare, space, task)
                for name, weight in space.weights(task.params).items():
                    self.lives[name].set(weight)
            except (Exception, SystemExit) as error:  # whatever a user's code says no with
                return Outcome(error=in_words(error))
            return evaluated(self.evaluate, trial, space.parameters)


class Structures:
    """The structures that one search has prepared in this process, the latest of them.

    Parameters
    ----------
    prepare : callable
        Of a set of regularizers: builds and compiles, and returns what evaluates a trial.
    space : Space
    """

    def __init__(self, prepare: Prepare, space: Space) -> None:
        self._prepare, self._space = prepare, space
        self._kept: OrderedDict[str, Prepared] = OrderedDict()
        self._lock = Lock()

    def run(self, task: Task, reported: Reported, start: Any = None) -> Outcome:
        """Run a trial in its structure, waiting for the one that runs there."""
        prepared = self._taken(task.structure)
        try:
            return prepared.run(self._prepare, self._space, task, Trial(task, reported, start))
        finally:
            with self._lock:
                prepared.users -= 1

    def _taken(self, structure: str) -> Prepared:
        with self._lock:
            prepared = self._kept.setdefault(structure, Prepared())
            prepared.users += 1
            self._kept.move_to_end(structure)
            unused = [name for name, one in self._kept.items() if not one.users]
            for name in unused[: max(len(self._kept) - KEPT, 0)]:
                del self._kept[name]
            return prepared
