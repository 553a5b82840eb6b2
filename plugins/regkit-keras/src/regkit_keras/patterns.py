"""Which outputs the regularizers of a set may look at, and patterns that cannot match anything of a model."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import regkit
from regkit.constructors import constructor_arguments
from regkit.hooks.adapters import globs_or_none
from regkit.hooks.signatures import implemented
from regkit.messages import listed
from regkit.regularizers import changes_graph

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def with_penalties(regs: regkit.RegularizerSet) -> list[str]:
    """Return the names of the members that have a penalty."""
    return [name for name, regularizer in zip(regs.keys(), regs) if "loss" in implemented(type(regularizer))]


def reads(regs: regkit.RegularizerSet, name: str, main: Iterable[str]) -> bool:
    """Tell whether a regularizer may look at an output; `main` are those of layers, which need no pattern."""
    return any(_reads(regularizer, name, main) for regularizer in regs)


def _reads(regularizer: Any, name: str, main: Iterable[str]) -> bool:
    if _is_of_parameters(regularizer):
        return False
    if name in main or not hasattr(regularizer, "pattern"):
        return True
    return any(_may_match(name, glob) for option in vars(regularizer).values() for glob in globs_or_none(option) or ())


def check_patterns(regs: regkit.RegularizerSet, ordered: bool, outputs: Sequence[str], params: Sequence[str]) -> None:
    """Raise for a regularizer that can match nothing of a model.

    Parameters
    ----------
    regs : regkit.RegularizerSet
    ordered : bool
        Whether the model says which of its layers are hidden.
    outputs, params : sequence of str
        The paths of layers and inputs, and the full names of weights.

    Raises
    ------
    regkit.NoMatchError
        With what there is.
    """
    for name, regularizer in zip(regs.keys(), regs):
        if getattr(regularizer, "pattern", None) is None and not ordered and _wants_pattern(regularizer):
            raise regkit.NoMatchError(
                f"{name}: {type(regularizer).__name__} has no pattern, and a subclassed model does not say which of "
                "its layers are input, hidden and output. Give a pattern, a glob for paths of layers: "
                f"{name.partition('[')[0]}=dict(weight=..., pattern={outputs[-1]!r}). The layers: {listed(outputs)}"
            )
        for glob in globs_or_none(getattr(regularizer, "pattern", None)) or ():
            if not any(_may_match(path, glob) for path in outputs) and not any(
                fnmatchcase(one, glob) for one in params
            ):
                raise regkit.NoMatchError(
                    f"{name}: pattern {glob!r} matches none of the layers: {listed(outputs)}; and none of the weights: "
                    f"{listed(params)}"
                )


def _may_match(path: str, glob: str) -> bool:
    """Tell whether a glob may match the output of a layer, or one of several, or of several calls: lstm:0, act@1."""
    ends = [i for i, sign in enumerate(glob) if sign in ":@"]
    return any(fnmatchcase(path, glob[:end]) for end in (*ends, len(glob))) or fnmatchcase(f"{path}:0", glob)


def _is_of_parameters(regularizer: Any) -> bool:
    hooks = implemented(type(regularizer))
    taken = {argument for hook in _that_count(regularizer, hooks) for argument in hooks[hook]}
    return "layers" in taken and "outputs" not in taken


def _that_count(regularizer: Any, hooks: Mapping[str, Any]) -> list[str]:
    counting = ("loss", "modify_graph") if changes_graph(regularizer) else ("loss",)
    return [hook for hook in counting if hook in hooks]


def _wants_pattern(regularizer: Any) -> bool:
    return not _is_of_parameters(regularizer) and "pattern" in constructor_arguments(type(regularizer))[0]
