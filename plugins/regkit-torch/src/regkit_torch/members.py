"""The regularizers of a set, as a run of a model needs them: what each looks at, and which change outputs."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

import regkit
from regkit.constructors import constructor_arguments
from regkit.hooks.adapters import globs_or_none
from regkit.hooks.signatures import implemented
from regkit.matching import matches
from regkit.messages import listed
from regkit.regularizers import Member, changes_graph

from .options import has_only_dict, kept, options_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Route(NamedTuple):
    """What becomes of an output: whether any member looks at it, and which members change it."""

    reads: bool
    changers: tuple[str, ...]


class Members:
    """The members of a set by their names, as they are while `are_as_they_were`.

    Attributes
    ----------
    regularizers : dict of str to regularizer
    changing : RegularizerSet
        Those that change outputs.
    penalizing : RegularizerSet
        Those that have a penalty.
    changers : dict of str to regularizer
        The members of `changing`.
    penalizes : bool
        Whether there are penalties.
    routes : dict of str to Route
        By names of outputs, those of `route` so far.
    """

    def __init__(self, regs: regkit.RegularizerSet) -> None:
        self.regularizers = dict(zip(regs.keys(), regs))
        self._every = list(self.regularizers.values())
        self._options = vars if all(map(has_only_dict, self._every)) else options_of
        self._states = [kept(dict(self._options(one))) for one in self._every]
        #: What tells these from other members, or from what these were; it does not hold them.
        self.signature = list(self.regularizers), list(map(type, self._every)), self._states
        self.changing = self._those(changes_graph)
        self.penalizing = self._those(lambda regularizer: "loss" in implemented(type(regularizer)))
        self.changers = dict(zip(self.changing.keys(), self.changing))
        self.penalizes = len(self.penalizing) > 0
        #: Whether clean originals are kept that no pattern matches: for members that have both hooks.
        self.read_originals = any(name in self.penalizing for name in self.changers)
        self._globs: set[str] | None = None
        self.routes: dict[str, Route] = {}

    def _those(self, wanted: Any) -> regkit.RegularizerSet:
        """A set of those members for which a function is true, which keep their names."""
        chosen = {name: regularizer for name, regularizer in self.regularizers.items() if wanted(regularizer)}
        return regkit.RegularizerSet(Member(name, regularizer) for name, regularizer in chosen.items())

    def are_as_they_were(self) -> bool:
        """Tell whether no option of a member was set since."""
        try:  # what `equal` does, without another call: each loss asks twice
            return self._states == list(map(self._options, self._every))
        except (ValueError, RuntimeError):
            return False

    @property
    def looks(self) -> list[Any]:
        """What the members look at: the options that `check_patterns`, `may_read` and `unmatched` depend on."""
        return [
            (name, getattr(one, "pattern", None), _globs(one), name in self.changers)
            for name, one in self.regularizers.items()
        ]

    def route(self, name: str) -> Route:
        """Return what becomes of an output."""
        if name not in self.routes:
            self.routes[name] = Route(
                any(_may_look_at(one, name) for one in self._every),
                tuple(member for member, one in self.changers.items() if _may_look_at(one, name, ("pattern",))),
            )
        return self.routes[name]

    def may_read(self, path: str) -> bool:
        """Tell whether any member may look at an output of a module: at its own or, of several, at one of them."""
        if self._globs is None:
            self._globs = {glob for one in self._every for glob in _globs(one) or ("*",)}
        return any(may_match(path, glob) for glob in self._globs)

    def check_patterns(self, there: Sequence[str], remedy: str) -> None:
        """Raise for a member that looks at outputs and does not say at which.

        Raises
        ------
        regkit.GraphError
            If it has no pattern, and could have one.
        """
        for name, regularizer in self.regularizers.items():
            if _needs_pattern(regularizer):
                raise regkit.GraphError(
                    f"{name}: {type(regularizer).__name__} has no pattern, and a model of torch does not say which of "
                    f"its modules are input, hidden and output. {remedy}: {name.partition('[')[0]}=dict(weight=..., "
                    f"pattern='hid*'). There is: {listed(there)}"
                )

    def unmatched(self, paths: Sequence[str], params: Sequence[str]) -> list[tuple[str, str]]:
        """Return the globs that can match neither an output of a module nor a parameter, with their members' names.

        Raises
        ------
        regkit.NoMatchError
            If one of them is of a member that looks at parameters alone, which nothing else can match.
        """
        found = []
        for name, regularizer in self.regularizers.items():
            for glob in globs_or_none(getattr(regularizer, "pattern", None)) or ():
                of_modules = any(may_match(path, glob) for path in paths)
                if not of_modules and not any(fnmatchcase(param, glob) for param in params):
                    if _is_of_parameters(regularizer):
                        raise regkit.NoMatchError(nothing_there(name, glob, paths, params))
                    found.append((name, glob))
        return found


def nothing_there(member: str, glob: str, paths: Sequence[str], params: Sequence[str]) -> str:
    """Return the words for a glob that matches nothing of a model."""
    return (
        f"{member}: pattern {glob!r} matches none of the modules: {listed(paths)}; and none of the parameters: "
        f"{listed(params)}"
    )


def members_of(regs: regkit.RegularizerSet) -> Members:
    """Return the members of a set: those of the last time as long as no option of them was set since."""
    members = _of.get(regs)
    if members is None or not members.are_as_they_were():
        members = _of[regs] = Members(regs)
    return members


#: Sets hold their regularizers and nothing of these holds the set, so that they go with it.
_of: WeakKeyDictionary[regkit.RegularizerSet, Members] = WeakKeyDictionary()


def _globs(regularizer: Any) -> list[str] | None:
    """What of a regularizer's options may be globs for outputs, such as ``pattern``; None where it has no pattern."""
    if globs_or_none(getattr(regularizer, "pattern", None)) is None:
        return [] if _is_of_parameters(regularizer) else None
    return [glob for option in options_of(regularizer).values() for glob in _strings(option)]


def _strings(option: Any) -> Iterable[str]:
    if isinstance(option, str):
        return (option,)
    return [one for one in option if isinstance(one, str)] if isinstance(option, (list, tuple)) else ()


def _may_look_at(regularizer: Any, name: str, options: Sequence[str] = ()) -> bool:
    globs = _globs(regularizer)
    if globs is not None and options:
        globs = [glob for option in options for glob in _strings(getattr(regularizer, option, None))]
    return globs is None or matches(name, globs)


@lru_cache(maxsize=1 << 15)  # a watch for each step asks the same of each module and glob
def may_match(path: str, glob: str) -> bool:
    """Tell whether a glob may match an output of a module, such as ``lstm:0``, or what a change keeps beside it."""
    heads = (glob[: end.start()] for end in re.finditer("[:-]", glob))
    return any(fnmatchcase(path, head) for head in (glob, *heads)) or fnmatchcase(f"{path}:0", glob)


def _is_of_parameters(regularizer: Any) -> bool:
    """Tell whether a regularizer looks at layers alone, for their parameters."""
    hooks = implemented(type(regularizer))
    taken = {argument for hook in ("loss", "modify_graph") if _counts(regularizer, hook) for argument in hooks[hook]}
    return "layers" in taken and "outputs" not in taken


def _counts(regularizer: Any, hook: str) -> bool:
    if hook not in implemented(type(regularizer)):
        return False
    return hook == "loss" or changes_graph(regularizer)


def _needs_pattern(regularizer: Any) -> bool:
    if getattr(regularizer, "pattern", None) is not None or _is_of_parameters(regularizer):
        return False
    return "pattern" in constructor_arguments(type(regularizer))[0]
