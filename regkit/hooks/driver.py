"""Driving a set's hooks over graphs. Imported when the first hook is called: it needs pluggy and NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import GraphError, NoMatchError
from ..graph.rebuilding import rebuild
from ..layers import check_layers, named_params, outputs_of
from ..live import is_zero
from ..matching import unmatched_globs
from ..messages import listed, warn
from ..regularizers import changes_graph
from .adapters import Adapter, HookManager, globs_or_none, pattern_matches
from .expressions import Expressions
from .memory import Seen, recall, remember
from .penalties import check_outputs, weigh, weighted_total

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, MutableMapping, Sequence

    from ..regularizers import Member
    from .penalties import Term


@dataclass(frozen=True)
class Regularized:
    """What `RegularizerSet.regularize` makes of a network.

    Attributes
    ----------
    outputs : dict of str to expression
        The outputs with the changes in place, then the clean originals that the regularizers kept.
    also : tuple of expressions
        The further expressions, rebuilt along, in their order.
    terms : list of Term
        Each regularizer's part of the loss.
    loss : scalar expression
        Their weighted sum; the number 0 if there are none.
    """

    outputs: dict[str, Any]
    also: tuple[Any, ...]
    terms: list[Term]
    loss: Any


class Driver:
    """Drives the hooks of a set's regularizers in order. What was seen of graphs is kept with the members."""

    def __init__(self, named: Iterable[tuple[str, Member]]) -> None:
        self._members = dict(named)
        self._manager = HookManager(Adapter(name, member.regularizer) for name, member in self._members.items())
        self._hooks: Any = self._manager.hook

    def modify_graph(self, outputs: MutableMapping[str, Any], layers: Sequence[Any]) -> None:
        """Run the hook on one layer."""
        engine = check_outputs(outputs)
        check_layers(layers)
        expressions = Expressions.needed(engine, layers)
        if expressions is None:
            seen_by = self._modified(outputs, layers)
        else:
            wrapped = expressions.of_each(outputs)
            seen_by = self._modified(wrapped, expressions.layers(layers))
            expressions.back(wrapped, outputs)
        for name, seen in seen_by.items():
            remember(self._members[name].seen, outputs, seen)

    def loss(self, layers: Sequence[Any], outputs: MutableMapping[str, Any]) -> Any:
        """Run the hook, and return the weighted sum of what each regularizer adds."""
        terms, expressions = self._terms(layers, outputs)
        loss = weighted_total(terms)
        return loss if expressions is None else expressions.array(loss)

    def terms(self, layers: Sequence[Any], outputs: MutableMapping[str, Any]) -> list[Term]:
        """Run the hook `loss`, and return what each regularizer adds."""
        terms, expressions = self._terms(layers, outputs)
        return terms if expressions is None else expressions.terms(terms)

    def _terms(self, layers: Sequence[Any], outputs: MutableMapping[str, Any]) -> tuple[list[Term], Expressions | None]:
        """Return the terms as hooks see them, and how the host is to get them."""
        engine = check_outputs(outputs)
        check_layers(layers)
        expressions = Expressions.needed(engine, layers)
        given = outputs, layers
        if expressions is not None:
            outputs, layers = expressions.of_each(outputs), expressions.layers(layers)
        results = self._hooks.loss(layers=layers, outputs=outputs)
        penalties = [
            (adapter.name, adapter.regularizer, penalty) for adapter, penalty, _ in results if penalty is not None
        ]
        self._check_globs(self._members, outputs, layers, {adapter.name: kinds for adapter, _, kinds in results})
        self._check_changes(*given, but={name for name, _, _ in penalties})
        return weigh(penalties, engine, outputs), expressions

    def apply(
        self, outputs: Mapping[str, Any], layers: Sequence[Any], also: Sequence[Any] = ()
    ) -> tuple[dict[str, Any], tuple[Any, ...]]:
        """Run the hook `modify_graph` on a finished graph, and rebuild further expressions along."""
        check_outputs(outputs)
        check_layers(layers)
        seen_of: list[tuple[list[str], dict[str, Seen]]] = []

        def modify(current: dict[str, Any]) -> None:
            names = list(current)
            seen_of.append((names, self._modified(current, layers)))

        rebuilt, along = rebuild(outputs, modify, also)
        for names, seen in seen_of:
            for member, its in seen.items():
                remember(self._members[member].seen, {name: rebuilt[name] for name in names}, its)
        self._check_globs(self._changing(), outputs, layers)
        self._check_changes({name: rebuilt[name] for name in outputs}, layers)
        return rebuilt, along

    def regularize(
        self, layers: Sequence[Any], outputs: Mapping[str, Any] | None, also: Sequence[Any], allow_changes: bool
    ) -> Regularized:
        """Apply where the set changes graphs, add up the penalties, log."""
        check_layers(layers)
        if outputs is not None:
            check_outputs(outputs)
        if not isinstance(also, (list, tuple)):
            raise GraphError(f"also is {also!r}; expected a list or tuple of expressions")
        every = outputs_of(layers, outputs)
        along = tuple(also)
        changing = self._changing()
        if changing and not allow_changes:
            raise GraphError(
                f"{', '.join(changing)} {'change' if len(changing) > 1 else 'changes'} the graph of a network, for "
                "which there is no place here: there is one graph, for training and for predictions"
            )
        if changing:
            every, along = self.apply(every, layers, along)
        terms, expressions = self._terms(layers, every)
        loss = weighted_total(terms)
        self.log()
        if expressions is not None:
            terms, loss = expressions.terms(terms), expressions.array(loss)
        return Regularized(every, along, terms, loss)

    def log(self) -> None:
        """Run the hook."""
        self._hooks.log()

    def unmatched(self, outputs: Mapping[str, Any]) -> list[str]:
        """Return the names of those that change graphs and matched none of these outputs."""
        check_outputs(outputs)
        changing = self._changing()
        return [name for name in changing if not any(seen.matched for _, seen in recall(changing[name].seen, outputs))]

    def _changing(self) -> dict[str, Member]:
        return {name: member for name, member in self._members.items() if changes_graph(member.regularizer)}

    def _modified(self, outputs: MutableMapping[str, Any], layers: Sequence[Any]) -> dict[str, Seen]:
        """Run the hook on one layer; return by name of each regularizer what it saw."""
        seen: dict[str, Seen] = {}
        kept: dict[str, Any] = {}
        for adapter, modified in self._hooks.modify_graph(outputs=outputs, layers=layers):
            seen[adapter.name] = Seen(modified.matched, str(modified.no_match or ""))
            for name, original in modified.kept.items():
                kept.setdefault(name, original)  # of several originals by one name, the first is the clean one
        outputs.update(kept)
        check_outputs(outputs)
        return seen

    def _check_globs(
        self,
        members: Mapping[str, Member],
        outputs: Mapping[str, Any],
        layers: Sequence[Any],
        kinds: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        """Raise for a glob, one of several in a pattern, that matches nothing in the whole graph.

        `kinds` tells of members whether their patterns were seen to be of outputs, of parameters or of both.
        """
        for name, member in members.items():
            globs = globs_or_none(getattr(member.regularizer, "pattern", None)) or ()
            if len(globs) > 1:
                params = [param for layer in layers for param, _ in named_params(layer)]
                there = {"outputs": list(outputs), "parameters": params}
                seen = (kinds or {}).get(name)
                said = unmatched_globs(globs, {kind: there[kind] for kind in seen} if seen else there)
                if said:
                    raise NoMatchError(f"{name}: {said}")

    def _check_changes(self, outputs: Mapping[str, Any], layers: Sequence[Any], but: Collection[str] = ()) -> None:
        """Raise for a regularizer that was given outputs of this graph and found nothing to change in them.

        Warn for one that changes graphs and was given none of these outputs, or not those that it would change.
        """
        for name, member in self._changing().items():
            regularizer = member.regularizer
            pattern = getattr(regularizer, "pattern", None)
            seen = recall(member.seen, outputs)
            if name in but or any(its.matched for _, its in seen):
                continue
            names = [output for output, _ in seen]
            meant = outputs if pattern is not None else [layer.output_name for layer in layers]
            unseen = [output for output in meant if output in outputs and output not in names]
            if not seen or (unseen and pattern_matches(pattern, unseen)):
                if outputs and not is_zero(getattr(regularizer, "weight", 1)):
                    warn(
                        f"{name}: {type(regularizer).__name__} changes graphs, and modify_graph was called with none "
                        "of the outputs here that it could change, so it has no effect, unless they are computed from "
                        "what it was called with. Call modify_graph for each layer while the graph is built, or apply "
                        "or regularize on a finished one"
                    )
                continue
            said = next((its.said for _, its in seen if its.said), "")
            if said and pattern_matches(pattern, names):
                raise NoMatchError(said)  # it looks for something else than its pattern
            raise NoMatchError(f"{name}: pattern {pattern!r} matches none of the outputs: {listed(names)}")
