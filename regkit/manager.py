"""The hooks as pluggy runs them. Imported when the first hook of a set is called, because pluggy is not free."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

from .errors import NoMatchError, RegkitError
from .hookspecs import HOOKS, Hooks, implemented
from .matching import matches

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping, Sequence

#: Marks the hooks of a class that is no subclass of `Regularizer`; the options pluggy has for it are not used.
hookimpl = pluggy.HookimplMarker("regkit")


class Adapter:
    """One regularizer as pluggy sees it.

    pluggy drops results that are None, does not say which plugin gave which, and compares plugins by value. Adapters
    are compared by identity, and each result comes with the adapter it is from.
    """

    def __init__(self, name: str, regularizer: Any) -> None:
        self.name = name
        self.regularizer = regularizer
        self.hooks = implemented(type(regularizer))

    def modify_graph(self, outputs: MutableMapping[str, Any], layers: Sequence[Any]) -> tuple[Adapter, bool]:
        """Run the hook on one layer; the result tells whether the regularizer's pattern matched anything there."""
        pattern = getattr(self.regularizer, "pattern", None)
        matched = pattern is None or any(matches(name, pattern) for name in outputs)
        try:
            self._call("modify_graph", outputs=outputs, layers=layers)
        except NoMatchError:  # nothing for it in this layer; whether in any, the set finds out
            matched = False
        return self, matched

    def loss(self, layers: Sequence[Any], outputs: MutableMapping[str, Any]) -> tuple[Adapter, Any]:
        """Run the hook; the result is the penalty."""
        return self, self._call("loss", layers=layers, outputs=outputs)

    def log(self) -> None:
        """Run the hook."""
        self._call("log")

    def _call(self, hook: str, **arguments: Any) -> Any:
        try:
            return getattr(self.regularizer, hook)(*(arguments[name] for name in self.hooks[hook]))
        except RegkitError as error:
            if type(error).__module__ == RegkitError.__module__:  # ours: made from one message, and so made again
                raise type(error)(f"{self.name}: {error}") from error.__cause__
            raise


class HookManager(pluggy.PluginManager):
    """pluggy's manager for a row of regularizers, whose hooks are those that their classes override."""

    def __init__(self, adapters: Iterable[Adapter]) -> None:
        super().__init__("regkit")
        self.add_hookspecs(Hooks)
        for adapter in reversed(list(adapters)):  # pluggy calls the last registered first
            self.register(adapter)

    def parse_hookspec_opts(self, module_or_class: Any, name: str) -> Any:
        """Take every method of `Hooks` for a specification."""
        if name not in HOOKS:
            return None
        return {"firstresult": False, "historic": False, "warn_on_impl": None, "warn_on_impl_args": None}

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
        """Take for a hook what the regularizer behind the adapter implements, without asking for a decorator."""
        return {} if name in HOOKS and name in plugin.hooks else None
