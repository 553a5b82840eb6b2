"""A member of a set: a regularizer, its name there, and which outputs it looks at."""

from __future__ import annotations

from ._constructor import constructor_arguments
from ._regularizer import changes_graph, changes_params, implemented
from ._selection import begins_with_not, globs_or_none, matches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Memory:
    """What a set remembers of a member; slices and sums of sets share it.

    Attributes
    ----------
    seen : dict
        The outputs that its `modify_graph` was given.
    stepped : bool
        Whether its `after_step` has run, or its host has seen to it.
    losses : int
        How many losses of arrays there were before that.
    still : int
        How many losses there were before a weight that is a schedule moved.
    is_late : bool
        Whether it was said that it is a proximal step after a projection.
    """

    __slots__ = ("is_late", "losses", "seen", "stepped", "still")

    def __init__(self) -> None:
        self.seen: dict[Any, Any] = {}
        self.stepped = False
        self.losses = 0
        self.still: float = 0
        self.is_late = False


class Member:
    """A regularizer of a set.

    Attributes
    ----------
    name : str
        The name in the set: ``hidden_l1``, or ``noise[1]`` for the second under that label.
    regularizer : object
    selects : {"outputs", "params"} or None
        What the pattern selects, as the class says; None for a class of marked hooks that does not say it.
    globs : tuple of str, or None
        Those of the pattern; None without a pattern.
    changes_graph : bool
        Whether it changes outputs.
    changes_params : bool
        Whether it changes parameters after a step.
    is_proximal : bool
        Whether it does by a proximal step.
    in_predictions : bool
        Whether its change of outputs holds in predictions too.
    penalizes : bool
        Whether it has a `loss` hook.
    named : list of tuple of str
        The globs of other options, which name further outputs.
    needs_pattern : bool
        Whether it selects outputs, and leaves it to the network's layers which: it has no pattern, or one that takes
        out of the default.
    """

    def __init__(self, name: str, regularizer: Any, memory: Memory | None = None) -> None:
        cls = type(regularizer)
        self.name = name
        self.memory = memory or Memory()
        self.regularizer = regularizer
        self.hooks = implemented(cls)
        self.selects: str | None = getattr(cls, "selects", None)
        self.globs = globs_or_none(getattr(regularizer, "pattern", None)) if self.selects else None
        self.changes_graph = changes_graph(regularizer)
        self.changes_params = changes_params(regularizer)
        self.is_proximal = self.changes_params and getattr(regularizer, "by", None) == "proximal"
        self.in_predictions = self.changes_graph and bool(getattr(regularizer, "in_predictions", False))
        self.penalizes = "loss" in self.hooks
        without = self.globs is None or begins_with_not(self.globs)
        self.needs_pattern = self.selects == "outputs" and without and "pattern" in constructor_arguments(cls)[0]
        self.named = _strings(regularizer)

    def __repr__(self) -> str:
        return f"Member({self.name!r}, {self.regularizer!r})"

    def looks_at(self, name: str) -> bool:
        """Return whether its hooks are given an output of a name.

        They are given the outputs that the pattern selects, and those that another option, a string or several, names;
        without a pattern, or where the class does not say what it selects, all.
        """
        if self.selects == "outputs" and self.globs is not None:
            return matches(name, self.globs) or self._names(name)
        return self._names(name) if self.selects == "params" else True

    def wants(self, name: str, floats: bool = True) -> bool:
        """Return whether a host that sees outputs one by one has to show it an output of a name.

        Beside those of `looks_at`, these are outputs that come before one of the same name: ``act`` for the pattern
        ``act@1``. An output that is not of floats is wanted only if an option names it, and is an error then.

        Parameters
        ----------
        name : str
            Without the number of an output that comes again.
        floats : bool, default True
            Whether the output is an array of floats.
        """
        named = list(self.named)
        if self.selects == "outputs" and self.globs is not None and not begins_with_not(self.globs):
            named.append(self.globs)
        if not floats:
            return any(matches(name, globs) for globs in named)
        firsts = [glob.rpartition("@")[0] for globs in named for glob in globs if not begins_with_not([glob])]
        return self.looks_at(name) or any(first and matches(name, [first]) for first in firsts)

    def changes(self, name: str) -> bool:
        """Return whether it may change an output of a name."""
        return self.changes_graph and (self.selects != "outputs" or self.globs is None or matches(name, self.globs))

    def _names(self, name: str) -> bool:
        return any(matches(name, globs) for globs in self.named)


def _strings(regularizer: object) -> list[tuple[str, ...]]:
    """Return the options but the pattern that are a string, or several, and so may name outputs."""
    options = getattr(regularizer, "__dict__", {})
    every = (globs_or_none(value) for name, value in options.items() if name != "pattern")
    return [globs for globs in every if globs is not None]
