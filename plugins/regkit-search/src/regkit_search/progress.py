"""How far a search is, on a terminal or in a notebook."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

from optuna.trial import TrialState
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from .studies import StoredStudy

#: What a line is written to now and then where there is no bar, at level INFO, for whoever listens.
LOGGER = logging.getLogger("regkit.search")

#: Seconds between two states that are shown: of the bar, and in lines.
BAR, LINE = 0.1, 10.0


class Progress:
    """A bar with the trials that are done and the best so far; where output is not read by somebody, lines of a log.

    Parameters
    ----------
    stored : StoredStudy
    """

    def __init__(self, stored: StoredStudy) -> None:
        self._stored = stored
        console = Console(file=sys.stderr)
        columns = (
            TextColumn("trials"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[best]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        seen = console.is_terminal or console.is_jupyter
        self._bar = RichProgress(*columns, console=console, disable=not seen, transient=True)
        self._task: Any = None
        self._shown = -LINE

    def __enter__(self) -> Progress:
        self._bar.start()
        self._task = self._bar.add_task("", total=self._stored.wanted, best="")
        self.update()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def update(self) -> None:
        """Show the present state, if the last one was not shown a moment ago: it takes looking at all trials."""
        in_lines = self._bar.disable
        if in_lines and not LOGGER.isEnabledFor(logging.INFO):
            return
        now = time.monotonic()
        if now - self._shown < (LINE if in_lines else BAR) and not self._stored.is_done:
            return
        self._shown = now
        if in_lines:
            best = self._best()
            LOGGER.info("%d of %d trials%s", self._stored.finished, self._stored.wanted, f", {best}" if best else "")
        else:
            self._bar.update(self._task, completed=self._stored.finished, best=self._best())

    def _best(self) -> str:
        study, aims = self._stored.study, self._stored.aims
        if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            return ""
        if len(aims) > 1:
            return f"{len(study.best_trials)} on the front"
        best = study.best_trial
        params = ", ".join(f"{name} {short(value)}" for name, value in best.params.items())
        return f"best {next(iter(aims))} {best.value:.4g} at {params}"


def short(value: Any) -> str:
    """Return a number with four digits, and anything else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
