"""The hooks as pluggy runs them. Imported when the first hook of a set is called, because pluggy is not free."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pluggy

from ..errors import GraphError, HookSignatureError, NoMatchError, OptionError, RegkitError, prefixed
from ..graph.random import Drawing
from ..graph.rebuilding import OneExpression
from ..matching import globs_of, matches, watched_selections
from ..regularizer import Regularizer
from ..regularizers import changes_graph
from .signatures import implemented
from .specs import HOOKS

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping, Sequence

#: Marks the hooks of a class that is not a subclass of `Regularizer`; the options pluggy has for it are not used.
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
        self._drawing = Drawing(name)

    def modify_graph(self, outputs: MutableMapping[str, Any], layers: Sequence[Any]) -> tuple[Adapter, Modified]:
        """Run the hook on one layer.

        What it adds is taken out again and comes with the result: the originals that one regularizer keeps are not for
        the next one to change.
        """
        before = dict(outputs)
        names = list(before)
        problem = None
        try:
            returned = self._call("modify_graph", outputs=outputs, layers=layers)
            matched = pattern_matches(getattr(self.regularizer, "pattern", None), names)
        except NoMatchError as error:  # nothing for it in this layer; whether in any, the set finds out
            return self, Modified(False, {}, error)
        if returned is not None:
            problem = f"returned {returned!r}, and has to change the outputs in place"
        missing = [name for name in names if name not in outputs]
        if (
            not missing
            and not changes_graph(self.regularizer)
            and any(outputs[name] is not before[name] for name in names)
        ):
            problem = "changed an output, and its class says changes_graph = False"
        if missing:
            problem = f"took {missing[0]!r} away. A changed output keeps its name"
        if problem:
            raise GraphError(f"{self.name}: modify_graph of {type(self.regularizer).__name__} {problem}")
        if isinstance(outputs, OneExpression):
            outputs.agree()
        return self, Modified(matched, {name: outputs.pop(name) for name in list(outputs) if name not in names}, None)

    def loss(self, layers: Sequence[Any], outputs: MutableMapping[str, Any]) -> tuple[Adapter, Any, set[str]]:
        """Run the hook; the result is the penalty, and whether its pattern was one of outputs or of parameters."""
        with watched_selections() as selections:
            penalty = self._call("loss", layers=layers, outputs=outputs)
        own = globs_or_none(getattr(self.regularizer, "pattern", None))
        return self, penalty, {what for what, globs in selections if globs == own}

    def log(self) -> None:
        """Run the hook."""
        self._call("log")

    def _call(self, hook: str, **arguments: Any) -> Any:
        """Call a hook with the arguments it takes, and put the regularizer's name before what regkit says of it."""
        try:
            taken = [arguments[name] for name in self.hooks[hook]]
            return self._drawing.run(getattr(self.regularizer, hook), *taken)
        except RegkitError as error:
            raise prefixed(error, self.name) from error.__cause__


class Modified(NamedTuple):
    """What became of one layer in the hands of one regularizer."""

    matched: bool
    kept: dict[str, Any]  # what it added: the originals
    no_match: NoMatchError | None  # what it said where nothing matched


def globs_or_none(pattern: Any) -> tuple[str, ...] | None:
    """Return the globs of a pattern; None if there is none, or a class of marked hooks means something else by it."""
    try:
        return globs_of(pattern)
    except OptionError:
        return None


def pattern_matches(pattern: Any, names: Iterable[str]) -> bool:
    """Tell whether a regularizer's pattern matches any of several names; none, or what is not globs, matches all."""
    globs = globs_or_none(pattern)
    return globs is None or any(matches(name, globs) for name in names)


class HookManager(pluggy.PluginManager):
    """pluggy's manager for a row of regularizers, whose hooks are those that their classes override."""

    def __init__(self, adapters: Iterable[Adapter]) -> None:
        lacking = [name for name in HOOKS if not callable(getattr(Adapter, name, None))]
        if lacking:
            raise HookSignatureError(f"the adapter has no method for the hook {lacking[0]!r}, so it would never run")
        super().__init__("regkit")
        self.add_hookspecs(Regularizer)
        for adapter in reversed(list(adapters)):  # pluggy calls the last registered first
            self.register(adapter)

    def parse_hookspec_opts(self, module_or_class: Any, name: str) -> Any:
        """Take the hooks of `Regularizer` for specifications."""
        if name not in HOOKS:
            return None
        return {"firstresult": False, "historic": False, "warn_on_impl": None, "warn_on_impl_args": None}

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
        """Take for a hook what the regularizer behind the adapter implements, without asking for a decorator."""
        return {} if name in HOOKS and name in plugin.hooks else None
