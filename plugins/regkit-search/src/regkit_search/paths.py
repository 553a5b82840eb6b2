"""A regularization path: one alias' weights in order, each training warm from the last."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

import regkit

from .structures import Prepare
from .trials import Task, Trial, evaluated


class Path:
    """What was measured along a regularization path; `path` makes it.

    Attributes
    ----------
    alias : str
    """

    def __init__(self, alias: str, rows: list[dict[str, Any]]) -> None:
        self.alias = alias
        self._rows = rows

    def frame(self) -> pd.DataFrame:
        """Return a row for each weight, in order: number, state, weight, measures, failure."""
        names = ["number", "state", f"{self.alias}.weight", *(name for row in self._rows for name in row), "failure"]
        columns = [name for name in dict.fromkeys(names) if name != "failure"]
        return pd.DataFrame(self._rows, columns=[*columns, "failure"])

    def plot(self) -> Any:
        """Return a figure of each measure against the weight on a log axis.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from .plotting import figure_of

        return figure_of(self.frame(), [f"{self.alias}.weight"], {}, [], joined=True)

    def __repr__(self) -> str:
        weights = [row[f"{self.alias}.weight"] for row in self._rows]
        return f"<path of {self.alias}: {len(weights)} weights from {weights[0]:g} to {weights[-1]:g}>"

    def _repr_html_(self) -> str:
        """The rows, for notebooks."""
        return str(self.frame().to_html(index=False, na_rep=""))


def path(
    prepare: Prepare,
    alias: str,
    weights: Iterable[float],
    options: Mapping[str, Any] | None = None,
    *,
    seed: int = 0,
) -> Path:
    """Walk one alias' weights in order, each trial from where the last one ended, with one compilation.

    Parameters
    ----------
    prepare : callable
        As `run` takes it. ``evaluate`` reads ``trial.start``, which is None at first, and sets ``trial.keep``, such as
        to the parameters of the network; the next trial has that as its ``start``. What a trial that raises has kept is
        not handed on.
    alias : str
        Whose weights they are.
    weights : iterable of real numbers
        In the order in which they are walked, such as from large to small.
    options : mapping of str to value, optional
        What `regkit.build` takes: further arguments of the alias, and other aliases.
    seed : int, default 0
        Of each trial's ``seed``, with its number.

    Returns
    -------
    Path

    Raises
    ------
    regkit.RegkitError
        If a weight or an option is not accepted, or there are no weights; and what `prepare` raises.

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
    if not walked:
        raise regkit.OptionError("path got no weights; accepted: one or more")
    live = regkit.Live(walked[0])
    built = dict(options or {})
    own = built.get(alias, {})
    if not isinstance(own, Mapping) or "weight" in own:
        raise regkit.OptionError(
            f"path got {own!r} for {alias!r} in its options; accepted: further arguments, without the weight"
        )
    built[alias] = {**own, "weight": live}
    regs = regkit.build(built)
    for weight in reversed(walked):  # all of them are looked at before anything is compiled
        live.set(weight)
    evaluate = prepare(regs)
    if not callable(evaluate):
        raise regkit.OptionError(f"prepare returned {evaluate!r}; accepted: a function of a trial")
    rows, start = [], None
    for number, weight in enumerate(walked):
        live.set(weight)
        name = f"{alias}.weight"
        trial = Trial(Task(number, seed, {name: float(weight)}, ""), lambda value, step: False, start)
        outcome = evaluated(evaluate, trial, [name])
        state = "pruned" if outcome.pruned else "failed" if outcome.error else "complete"
        start = trial.keep if state == "complete" else start
        rows.append(
            {
                "number": number,
                "state": state,
                name: float(weight),
                **outcome.measures,
                "failure": outcome.error or None,
            }
        )
    return Path(alias, rows)
