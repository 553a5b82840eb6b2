"""The regularizers of a set, as a run of a model needs them: what each looks at, and which change outputs."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import regkit
from regkit.constructors import constructor_arguments
from regkit.hooks.adapters import globs_or_none
from regkit.hooks.signatures import implemented
from regkit.matching import matches
from regkit.messages import listed
from regkit.regularizers import Member, changes_graph

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Members:
    """The members of a set by their names.

    Attributes
    ----------
    regularizers : dict of str to regularizer
    changing : RegularizerSet
        Those that change outputs.
    penalizing : RegularizerSet
        Those that have a penalty.
    """

    def __init__(self, regs: regkit.RegularizerSet) -> None:
        self.regularizers = dict(zip(regs.keys(), regs))
        self.changing = self._those(changes_graph)
        self.penalizing = self._those(lambda regularizer: "loss" in implemented(type(regularizer)))
        #: Whether clean originals are kept that no pattern matches: for members that have both hooks.
        self.read_originals = any(name in self.penalizing for name in [*self.changing.keys()])
        self._globs: set[str] | None = None
        self._kept: dict[str, bool] = {}
        self._changed: dict[str, tuple[str, ...]] = {}

    def _those(self, wanted: Any) -> regkit.RegularizerSet:
        """A set of those members for which a function is true, which keep their names."""
        chosen = {name: regularizer for name, regularizer in self.regularizers.items() if wanted(regularizer)}
        return regkit.RegularizerSet(Member(name, regularizer) for name, regularizer in chosen.items())

    def states(self) -> list[Any]:
        """Return what the members are, to be compared with what they were."""
        return [(name, type(one), _state(one)) for name, one in self.regularizers.items()]

    def are(self, states: Sequence[Any]) -> bool:
        """Tell whether the members are still what they were when `states` gave this."""
        if len(states) != len(self.regularizers):
            return False
        for (name, regularizer), (its_name, its_type, its_state) in zip(self.regularizers.items(), states):
            if type(regularizer) is not its_type or name != its_name or not _equal(vars(regularizer), its_state):
                return False
        return True

    def reads(self, name: str) -> bool:
        """Tell whether any member may look at an output."""
        if name not in self._kept:
            self._kept[name] = any(_may_look_at(one, name) for one in self.regularizers.values())
        return self._kept[name]

    def changers(self, name: str) -> tuple[str, ...]:
        """Return the names of the members that change an output."""
        if name not in self._changed:
            members = zip(self.changing.keys(), self.changing)
            self._changed[name] = tuple(member for member, one in members if _may_look_at(one, name, ("pattern",)))
        return self._changed[name]

    def may_read(self, path: str) -> bool:
        """Tell whether any member may look at an output of a module: at its own or, of several, at one of them."""
        if self._globs is None:
            self._globs = {glob for one in self.regularizers.values() for glob in _globs(one) or ("*",)}
        return any(_may_match(path, glob) for glob in self._globs)

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

    def check_matches(self, paths: Sequence[str], params: Sequence[str]) -> None:
        """Raise for a pattern that can match neither an output of a module nor a parameter.

        Raises
        ------
        regkit.NoMatchError
            If there is one, with the paths that there are.
        """
        for name, regularizer in self.regularizers.items():
            for glob in globs_or_none(getattr(regularizer, "pattern", None)) or ():
                of_modules = any(_may_match(path, glob) for path in paths)
                if not of_modules and not any(fnmatchcase(param, glob) for param in params):
                    raise regkit.NoMatchError(
                        f"{name}: pattern {glob!r} matches none of the modules: {listed(paths)}; and none of the "
                        f"parameters: {listed(params)}"
                    )


def _state(regularizer: Any) -> dict[str, Any]:
    """What a regularizer is; of containers a copy, which does not change with them."""
    return {
        key: value.copy() if isinstance(value, (list, dict, set)) else value for key, value in vars(regularizer).items()
    }


def _equal(now: Any, before: Any) -> bool:
    try:
        return bool(now == before)
    except (ValueError, RuntimeError):  # arrays and tensors of several elements, of which one is another than before
        return False


def _globs(regularizer: Any) -> list[str] | None:
    """What of a regularizer's options may be globs for outputs, such as ``pattern``; None where it has no pattern."""
    if globs_or_none(getattr(regularizer, "pattern", None)) is None:
        return [] if _is_of_parameters(regularizer) else None
    options = vars(regularizer).values() if hasattr(regularizer, "__dict__") else (regularizer.pattern,)
    return [glob for option in options for glob in _strings(option)]


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
def _may_match(path: str, glob: str) -> bool:
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
