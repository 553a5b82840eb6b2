"""Driving a set's hooks over one graph. Imported when the first hook is called: it needs pluggy and NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import NoMatchError
from ..graph.rebuilding import rebuild
from .adapters import Adapter, HookManager, pattern_matches
from .penalties import check_layers, check_outputs, weigh

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, MutableMapping, Sequence

    from .penalties import Term


class Driver:
    """Drives the hooks of a set's regularizers in order, and remembers what matched.

    What is remembered is of one graph: it ends with `terms`, and the next `modify_graph` begins another.
    """

    def __init__(self, named: list[tuple[str, Any]]) -> None:
        self._named = named
        self._manager: HookManager | None = None
        self._forget_the_graph()

    def _forget_the_graph(self) -> None:
        self._seen: dict[str, None] = {}  # the outputs that modify_graph was given
        self._matched: set[str] = set()
        self._no_match: dict[str, str] = {}  # what those said that found nothing in a layer
        self._graph_is_done = False

    def copy(self) -> Driver:
        """Return a driver of the same regularizers that remembers the same and shares no memory."""
        twin = Driver(self._named)
        twin._seen, twin._matched, twin._no_match = dict(self._seen), set(self._matched), dict(self._no_match)
        twin._graph_is_done = self._graph_is_done
        return twin

    @property
    def _hooks(self) -> Any:
        """The hooks as pluggy calls them, registered at the first call."""
        if self._manager is None:
            self._manager = HookManager(Adapter(*named) for named in self._named)
        return self._manager.hook

    def modify_graph(self, outputs: MutableMapping[str, Any], layers: Sequence[Any]) -> None:
        """Run the hook on one layer."""
        if self._graph_is_done:
            self._forget_the_graph()
        self._run_modify_graph(outputs, layers)

    def terms(self, layers: Sequence[Any], outputs: MutableMapping[str, Any]) -> list[Term]:
        """Run the hook `loss`, and return what each regularizer adds."""
        made_by = check_outputs(outputs)
        check_layers(layers)
        self._graph_is_done = True
        penalties = [
            (adapter.name, adapter.regularizer, penalty)
            for adapter, penalty in self._hooks.loss(layers=layers, outputs=outputs)
            if penalty is not None
        ]
        if self._seen:  # otherwise there was no layer in which a pattern could match
            self._check_matched(but={name for name, _, _ in penalties})
        return weigh(penalties, made_by)

    def apply(self, outputs: Mapping[str, Any], layers: Sequence[Any]) -> dict[str, Any]:
        """Run the hook `modify_graph` on a finished graph."""
        check_outputs(outputs)
        check_layers(layers)
        self._forget_the_graph()
        rebuilt = rebuild(outputs, lambda current: self._run_modify_graph(current, layers))
        self._graph_is_done = True
        self._check_matched()
        return rebuilt

    def log(self) -> None:
        """Run the hook."""
        self._hooks.log()

    def unmatched(self) -> list[str]:
        """Return the names of those that change graphs and have matched nothing so far."""
        changing = [hook.plugin.name for hook in reversed(self._hooks.modify_graph.get_hookimpls())]
        return [name for name in changing if name not in self._matched]

    def _run_modify_graph(self, outputs: MutableMapping[str, Any], layers: Sequence[Any]) -> None:
        check_outputs(outputs)
        self._seen.update(dict.fromkeys(outputs))
        kept: dict[str, Any] = {}
        for adapter, modified in self._hooks.modify_graph(outputs=outputs, layers=layers):
            if modified.matched:
                self._matched.add(adapter.name)
            elif modified.no_match:
                self._no_match[adapter.name] = str(modified.no_match)
            for name, original in modified.kept.items():
                kept.setdefault(name, original)  # of several originals by one name, the first is the clean one
        outputs.update(kept)
        check_outputs(outputs)

    def _check_matched(self, but: Collection[str] = ()) -> None:
        """Raise for a regularizer that was given the layers of a graph, found nothing to change, and adds nothing."""
        patterns = {name: getattr(regularizer, "pattern", None) for name, regularizer in self._named}
        for name in self.unmatched():
            if name not in but:
                if name in self._no_match and pattern_matches(patterns[name], self._seen):
                    raise NoMatchError(self._no_match[name])  # it looks for something else than its pattern
                raise NoMatchError(
                    f"{name}: pattern {patterns[name]!r} matches none of the outputs: {', '.join(self._seen) or 'none'}"
                )
