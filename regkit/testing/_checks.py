"""The checks by their names: each is a promise, the places where it holds, and the checks that it depends on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

#: Where a check runs: once, as it needs no graph; on every library, NumPy included; on those that have graphs.
CLASS = "class"
EVERYWHERE = "everywhere"
GRAPHS = "graphs"

#: The hook that the checks of a module try.
HOOKS = {
    "_penalty_checks": "loss",
    "_number_checks": "loss",
    "_graph_checks": "modify_graph",
    "_step_checks": "after_step",
}


@dataclass(frozen=True)
class Check:
    """One promise that a regularizer keeps.

    Attributes
    ----------
    name : str
        Its id.
    run : callable
        Called with the subject, and with the library unless it is of the class; it raises if the promise is broken.
    on : {"class", "everywhere", "graphs"}
        Where it runs: once, on every library, or on those whose expressions are more than their values.
    after : tuple of str
        The checks that have to pass before it makes sense.
    hook : str
        The hook that it tries; empty if it is about the class.
    costly : bool
        Whether one set of options is enough where a class is tried with several.
    """

    name: str
    run: Callable[..., None]
    on: str
    after: tuple[str, ...]
    hook: str = ""
    costly: bool = False


#: Every check by its name, in the order in which they run.
CHECKS: dict[str, Check] = {}


def check(*after: str, on: str, costly: bool = False) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function a check, to run after those that it depends on."""

    def add(function: Callable[..., None]) -> Callable[..., None]:
        assert set(after) <= CHECKS.keys(), f"{function.__name__} depends on a check that comes later or never"
        hook = HOOKS.get(function.__module__.rpartition(".")[2], "")
        CHECKS[function.__name__] = Check(function.__name__, function, on, after, hook, costly)
        return function

    return add
