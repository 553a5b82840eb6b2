"""The hooks as specifications: their names, and the arguments of each in the order in which they are given.

What each is for is told where an author overrides it, in `regkit.Regularizer`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence
    from typing import Any


class Hooks:
    """What pluggy validates implementations against."""

    def modify_graph(self, outputs: MutableMapping[str, Any], layers: Sequence[Any]) -> None:
        """Change one layer's outputs."""

    def loss(self, layers: Sequence[Any], outputs: MutableMapping[str, Any]) -> Any:
        """Return the penalty."""

    def log(self) -> None:
        """Log one line."""


HOOKS: dict[str, tuple[str, ...]] = {
    name: function.__code__.co_varnames[1 : function.__code__.co_argcount]
    for name, function in vars(Hooks).items()
    if not name.startswith("_")
}

#: Where ``@regkit.hookimpl`` leaves the options of the hook that it marks.
MARK = "regkit_impl"
