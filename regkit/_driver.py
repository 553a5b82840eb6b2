"""Drives the hooks of a set over graphs. Imported at the first hook call: it needs pluggy and NumPy."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ._engines import common_engine, engine_of
from ._hooks import HookManager
from ._layers import Layer, check_layers, named_params, outputs_of
from ._members import Member
from ._messages import listed, warn
from ._regularizer import is_off
from ._selection import NOT, begins_with_not, matches, no_layers, nothing_matches, unmatched_globs
from ._steps import count_loss, stepped, warn_of_order
from ._terms import Term, check_outputs, weigh, weighted_total
from .errors import GraphError, NoMatchError
from .graph._rebuild import rebuild

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, MutableMapping, Sequence

    from ._engines import Engine
    from ._members import Memory

#: Expressions that cannot be referred to weakly, such as NumPy's scalars: how many of the last are kept.
KEPT = 1000


@dataclass(frozen=True)
class Regularized:
    """A network with regularizers, as `RegularizerSet.regularize` returns it.

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
    predictions : dict of str to expression
        The outputs for predicting: with the changes of those regularizers alone that hold in predictions too.
    """

    outputs: dict[str, Any]
    also: tuple[Any, ...]
    terms: list[Term]
    loss: Any
    predictions: dict[str, Any]


class Driver:
    """Drives the hooks of a set's members in order.

    Parameters
    ----------
    members : iterable of Member
    """

    def __init__(self, members: Iterable[Member]) -> None:
        self.members = list(members)
        self._hooks: Any = HookManager(self.members).hook
        self._changing = [member for member in self.members if member.changes_graph]
        self._stepping = [member for member in self.members if member.changes_params]

    # One call for each method of the set, from the top down

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
        for member, seen in seen_by:
            _remember(member.memory, outputs, seen)

    def loss(self, layers: Sequence[Any], outputs: Mapping[str, Any]) -> Any:
        """Run the hook, and return the weighted sum of the penalties."""
        engine = check_outputs(outputs)
        check_layers(layers)
        self._check_globs(self.members, outputs, layers)
        terms, expressions = self._terms(layers, outputs, engine)
        self._count_loss(_engine_of_all(engine, layers))
        loss = weighted_total(terms)
        return loss if expressions is None else expressions.array(loss)

    def terms(self, layers: Sequence[Any], outputs: Mapping[str, Any], check: bool = True) -> list[Term]:
        """Run the hook `loss`, and return the term of each penalty; `check` whether each glob matches something."""
        engine = check_outputs(outputs)
        check_layers(layers)
        if check:
            self._check_globs(self.members, outputs, layers)
        terms, expressions = self._terms(layers, outputs, engine)
        return terms if expressions is None else expressions.terms(terms)

    def apply(self, outputs: Mapping[str, Any], layers: Sequence[Any]) -> dict[str, Any]:
        """Run the hook `modify_graph` on a finished graph."""
        check_outputs(outputs)
        check_layers(layers)
        self._check_globs(self._changing, outputs, layers)
        rebuilt, _ = self._rebuilt(outputs, layers, ())
        self._check_changes({name: rebuilt[name] for name in outputs}, layers)
        return rebuilt

    def regularize(
        self, layers: Sequence[Any], outputs: Mapping[str, Any] | None, also: Sequence[Any], allow_changes: bool
    ) -> Regularized:
        """Change the graph where the set does, compute the terms, log."""
        check_layers(layers)
        every = outputs_of(layers, outputs)
        engine = check_outputs(every)
        if not isinstance(also, (list, tuple)):
            raise GraphError(f"also is {also!r}; expected a list or tuple of expressions")
        if self._changing and not allow_changes:
            names = [member.name for member in self._changing]
            raise GraphError(
                f"{', '.join(names)} {'change' if len(names) > 1 else 'changes'} the graph of a network, for which "
                "there is no place here: there is one graph, for training and for predictions"
            )
        self._check_globs(self.members, every, layers)
        along = tuple(also)
        predictions = every
        if self._changing:
            if any(member.in_predictions for member in self._changing):
                predictions = self._predicting().apply(every, layers)
            every, along = self._rebuilt(every, layers, along)
        terms, expressions = self._terms(layers, every, engine)
        loss = weighted_total(terms)
        self.log()
        if expressions is not None:
            terms, loss = expressions.terms(terms), expressions.array(loss)
        return Regularized(every, along, terms, loss, predictions)

    def after_step(self, params: Any, rate: Any, layers: Sequence[Any], divisors: Mapping[str, Any] | None) -> Any:
        """Run the hook on parameters or updates, and return them in their form."""
        if not self._stepping:
            return stepped(params, rate, layers, divisors, lambda values, *_: values)
        warn_of_order(self._stepping)
        for member in self._stepping:
            member.memory.stepped = True
        return stepped(params, rate, layers, divisors, partial(self._changed, layers))

    def metrics(self, layers: Sequence[Any], outputs: Mapping[str, Any], check: bool = True) -> dict[str, Any]:
        """Run the hook, and return the scalars of all members by the names of member and scalar; `check` as `terms`."""
        engine = check_outputs(outputs)
        check_layers(layers)
        if check:
            self._check_globs(self.members, outputs, layers)
        expressions = Expressions.needed(engine, layers)
        shown = (outputs, layers) if expressions is None else (expressions.of_each(outputs), expressions.layers(layers))
        found: dict[str, Any] = {}
        for member, scalars in self._hooks.metrics(outputs=shown[0], layers=shown[1]):
            if not isinstance(scalars, Mapping):
                raise GraphError(f"{member.name}: metrics returned {scalars!r}; expected a mapping of names to scalars")
            for name, scalar in scalars.items():
                if getattr(scalar, "ndim", 0) != 0:
                    raise GraphError(f"{member.name}: the metric {name!r} has {scalar.ndim} axes; a metric is a scalar")
                found[f"{member.name}.{name}"] = scalar if expressions is None else expressions.array(scalar)
        return found

    def log(self) -> None:
        """Run the hook."""
        self._hooks.log()

    def unmatched(self, outputs: Mapping[str, Any]) -> list[Member]:
        """Return the members that change graphs and matched none of these outputs."""
        check_outputs(outputs)
        return [
            member for member in self._changing if not any(seen.matched for _, seen in _recall(member.memory, outputs))
        ]

    # Steps of those

    def _predicting(self) -> Driver:
        """Return the driver of the members whose changes hold in predictions too."""
        return Driver(Member(one.name, one.regularizer) for one in self._changing if one.in_predictions)

    def _count_loss(self, engine: Engine | None) -> None:
        """Warn at the second loss of arrays of members whose step never came: nothing else could notice it there."""
        if self._stepping and engine is not None and engine.plain:
            count_loss([member for member in self._stepping if not member.memory.stepped])

    def _changed(
        self, layers: Sequence[Any], params: dict[str, Any], rate: Any, divisors: dict[str, Any]
    ) -> dict[str, Any]:
        """Return values of parameters after the members' steps."""
        expressions = Expressions.needed(common_engine(params.items()), layers)
        if expressions is None:
            changed = dict(params)
            self._hooks.after_step(params=changed, amount=rate, layers=layers, divisors=divisors)
            return changed
        wrapped = expressions.of_each(params)
        self._hooks.after_step(
            params=wrapped, amount=rate, layers=expressions.layers(layers), divisors=expressions.of_each(divisors)
        )
        return {name: expressions.array(expression) for name, expression in wrapped.items()}

    def _terms(
        self, layers: Sequence[Any], outputs: Mapping[str, Any], engine: Engine | None
    ) -> tuple[list[Term], Expressions | None]:
        """Return the terms as hooks see them, and how the host gets them."""
        expressions = Expressions.needed(engine, layers)
        shown: Mapping[str, Any] = outputs
        layers_shown = layers
        if expressions is not None:
            shown, layers_shown = expressions.of_each(outputs), expressions.layers(layers)
        results = self._hooks.loss(layers=layers_shown, outputs=shown)
        penalties = [(member.name, member.regularizer, penalty) for member, penalty in results if penalty is not None]
        self._check_changes(outputs, layers, but={name for name, _, _ in penalties})
        return weigh(penalties, _engine_of_all(engine, layers)), expressions

    def _modified(self, outputs: MutableMapping[str, Any], layers: Sequence[Any]) -> list[tuple[Member, Seen]]:
        """Run the hook on one layer; return each member with what it saw."""
        seen: list[tuple[Member, Seen]] = []
        kept: dict[str, Any] = {}
        for member, modified in self._hooks.modify_graph(outputs=outputs, layers=layers):
            seen.append((member, Seen(modified.matched, str(modified.no_match or ""))))
            for name, original in modified.kept.items():
                kept.setdefault(name, original)  # of several originals by one name, the first is the clean one
        outputs.update(kept)
        check_outputs(outputs)
        return seen

    def _rebuilt(
        self, outputs: Mapping[str, Any], layers: Sequence[Any], also: Sequence[Any]
    ) -> tuple[dict[str, Any], tuple[Any, ...]]:
        """Return outputs and further expressions of a graph that is rebuilt with the changes of the members."""
        if not outputs and self._changing:
            raise _matches_none(self._changing[0], outputs)
        seen_of: list[tuple[list[str], list[tuple[Member, Seen]]]] = []

        def modify(current: dict[str, Any]) -> None:
            names = list(current)
            seen_of.append((names, self._modified(current, layers)))

        rebuilt, along = rebuild(outputs, modify, also)
        for names, seen_by in seen_of:
            for member, seen in seen_by:
                _remember(member.memory, {output: rebuilt[output] for output in names}, seen)
        return rebuilt, along

    def _check_globs(self, members: Sequence[Member], outputs: Mapping[str, Any], layers: Sequence[Any]) -> None:
        """Raise for a glob, one of several in a pattern, that matches nothing, or takes nothing out, in the graph."""
        for member in members:
            globs = member.globs or ()
            if len(globs) > 1 or (globs and begins_with_not(globs)):
                if member.selects == "outputs":
                    what, names = "outputs", list(outputs)
                elif not layers:
                    raise NoMatchError(f"{member.name}: {no_layers(globs)}")
                else:
                    what, names = "parameters", [name for layer in layers for name, _ in named_params(layer)]
                unmatched = unmatched_globs(globs, names)
                if unmatched:
                    first = globs.index(unmatched[0])
                    if first and unmatched[0].startswith(NOT):  # which has only those before it to take out of
                        unmatched, what = unmatched[:1], f"{what} that are selected before it"
                        names = [name for name in names if matches(name, globs[:first])]
                    raise NoMatchError(f"{member.name}: {nothing_matches(unmatched, what, names)}")

    def _check_changes(self, outputs: Mapping[str, Any], layers: Sequence[Any], but: Collection[str] = ()) -> None:
        """Raise for a member that was given outputs of this graph and found nothing to change in them.

        Warn for one that changes graphs and was given none of these outputs, or not those that it would change.
        """
        for member in self._changing:
            name = member.name
            seen = _recall(member.memory, outputs)
            if name in but or any(its.matched for _, its in seen):
                continue
            names = [output for output, _ in seen]
            meant = outputs if member.globs is not None else [layer.output_name for layer in layers]
            unseen = [output for output in meant if output in outputs and output not in names]
            if not seen or any(map(member.changes, unseen)):
                if outputs and not is_off(member.regularizer):
                    warn(
                        f"{name}: {type(member.regularizer).__name__} changes graphs, and modify_graph was called with "
                        "none of the outputs here that it could change, so it has no effect, unless they are computed "
                        "from what it was called with. Call modify_graph for each layer while the graph is built, or "
                        "apply or regularize on a finished one"
                    )
                continue
            words = next((its.words for _, its in seen if its.words), "")
            if words and any(map(member.changes, names)):
                raise NoMatchError(words)  # it looks for something else than its pattern
            raise _matches_none(member, names)


def _matches_none(member: Member, names: Iterable[str]) -> NoMatchError:
    pattern = getattr(member.regularizer, "pattern", None)
    return NoMatchError(f"{member.name}: pattern {pattern!r} matches none of the outputs: {listed(names)}")


# The outputs that a member has seen, by name and expression, as long as the expression lives. So any number of graphs
# can be built in any order, in any number of threads.


class Seen(NamedTuple):
    """What one regularizer found in the outputs of a layer."""

    matched: bool
    words: str = ""  # of its error, where nothing matched


def _remember(memory: Memory, outputs: Mapping[str, Any], seen: Seen) -> None:
    found_of = memory.seen
    for name, expression in outputs.items():
        key = (name, id(expression))
        try:
            reference: Any = weakref.ref(expression, lambda _, key=key: found_of.pop(key, None))  # type: ignore[misc]
        except TypeError:
            found_of.pop(key, None)
            reference = _Strong(expression)
            strong = [other for other, (ref, _) in list(found_of.items()) if isinstance(ref, _Strong)]
            for other in strong[: max(0, len(strong) - KEPT + 1)]:
                found_of.pop(other, None)
        found_of[key] = reference, seen


def _recall(memory: Memory, outputs: Mapping[str, Any]) -> list[tuple[str, Seen]]:
    """Return the names of those outputs that a member has seen, each with what it found."""
    found = []
    for name, expression in outputs.items():
        reference, seen = memory.seen.get((name, id(expression)), (None, None))
        if reference is not None and reference() is expression:
            found.append((name, seen))
    return found


class _Strong:
    """A reference to what cannot be referred to weakly."""

    def __init__(self, expression: Any) -> None:
        self._expression = expression

    def __call__(self) -> Any:
        return self._expression


def _engine_of_all(engine: Engine | None, layers: Sequence[Any]) -> Engine | None:
    """Return the engine of outputs; without outputs, that of the layers' parameters."""
    if engine is not None:
        return engine
    params = (param for layer in layers for _, param in named_params(layer))
    return next((own for own in map(engine_of, params) if own is not None), None)


class Expressions:
    """Wrappers of a host's arrays that behave as NumPy's do: one for each array, reused within a call.

    An array that is an expression already stays what it is, and so does what is made of it.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._made: dict[int, tuple[Any, Any]] = {}  # by an array's id: the array, so that it lives
        self._given = False  # whether the host's arrays are expressions already

    @classmethod
    def needed(cls, engine: Engine | None, layers: Sequence[Any]) -> Expressions | None:
        """Return wrappers for a call of a host; None where its arrays need none.

        `engine` is that of the outputs; without outputs, that of the parameters counts.
        """
        engine = _engine_of_all(engine, layers)
        return cls(engine) if engine is not None and engine.wraps else None

    def of(self, array: Any) -> Any:
        """Return the expression of an array."""
        made = self._made.get(id(array))
        if made is None:
            made = self._made[id(array)] = array, self._engine.wrap(array)
            self._given = self._given or made[1] is array
        return made[1]

    def of_each(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """Return the expressions of named arrays."""
        return {name: self.of(array) for name, array in arrays.items()}

    def layers(self, layers: Sequence[Any]) -> list[Layer]:
        """Return the layers with expressions for parameters; a layer of the host's class has its name and role."""
        return [
            Layer(layer.output_name, self.of_each(dict(named_params(layer))), role=getattr(layer, "role", None))
            for layer in layers
        ]

    def array(self, expression: Any) -> Any:
        """Return the host's array of an expression."""
        own = None if self._given else engine_of(expression)
        return expression if own is None else own.unwrap(expression)

    def back(self, expressions: Mapping[str, Any], outputs: MutableMapping[str, Any]) -> None:
        """Put the arrays of changed expressions into the host's outputs."""
        for name, expression in expressions.items():
            array = self.array(expression)
            if outputs.get(name) is not array:
                outputs[name] = array

    def terms(self, terms: Iterable[Term]) -> list[Term]:
        """Return terms with the host's arrays."""
        return [term._replace(penalty=self.array(term.penalty), weighted=self.array(term.weighted)) for term in terms]
