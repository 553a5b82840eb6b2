"""What a regularizer that changes graphs has seen: which outputs it was given, and whether any of a layer's matched.

Kept by name and expression, as long as the expression lives, so that any number of graphs can be built in any order, in
any number of threads.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any, NamedTuple

#: Expressions that cannot be referred to weakly, such as NumPy's scalars: so many of the last are kept.
KEPT = 1000


class Seen(NamedTuple):
    """What became of a layer's outputs in the hands of one regularizer."""

    matched: bool
    said: str = ""  # what it said where nothing matched


def remember(memory: dict[Any, Any], outputs: Mapping[str, Any], seen: Seen) -> None:
    """Remember of each output by name and expression what a regularizer saw of its layer."""
    for name, expression in outputs.items():
        key = (name, id(expression))
        try:
            reference: Any = weakref.ref(expression, lambda _, key=key: memory.pop(key, None))  # type: ignore[misc]
        except TypeError:
            memory.pop(key, None)
            reference = _Strong(expression)
            strong = [other for other, (ref, _) in list(memory.items()) if isinstance(ref, _Strong)]
            for other in strong[: max(0, len(strong) - KEPT + 1)]:
                memory.pop(other, None)
        memory[key] = reference, seen


def recall(memory: dict[Any, Any], outputs: Mapping[str, Any]) -> list[tuple[str, Seen]]:
    """Return the names of those outputs that a regularizer was given, each with what it saw."""
    found = []
    for name, expression in outputs.items():
        reference, seen = memory.get((name, id(expression)), (None, None))
        if reference is not None and reference() is expression:
            found.append((name, seen))
    return found


class _Strong:
    """A reference to what cannot be referred to weakly."""

    def __init__(self, expression: Any) -> None:
        self._expression = expression

    def __call__(self) -> Any:
        return self._expression
