"""RegularizerSet: what `build` returns; what a host calls."""

from __future__ import annotations

from .arguments import all_options, plain, value_as_written
from .errors import GraphError, NoMatchError, OptionError, RegkitError, UnknownAliasError
from .registry import resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, MutableMapping, Sequence
    from typing import Any

    from .penalties import Term

    Member = tuple[str, Any, bool]  # label, regularizer, whether it was built from the label


class RegularizerSet:
    """An ordered set of regularizers; `build` makes it.

    ``regs[0]`` and ``regs["hidden_l1"]`` are members; where an alias has several, ``regs["noise[1]"]`` is the second.
    Sets do not compare by value: compare `config`.
    """

    def __init__(self, members: Iterable[Member]) -> None:
        self._members = tuple(members)
        self._manager: Any = None
        # Of the graph that is being built: the outputs that modify_graph has seen, who matched, what the others said
        self._seen: dict[str, None] = {}
        self._matched: set[str] = set()
        self._no_match: dict[str, str] = {}
        self._graph_is_done = False

    # What a host calls

    def modify_graph(self, outputs: MutableMapping[str, Any], layers: Sequence[Any] = ()) -> None:
        """Let every regularizer change one layer's outputs, in place and in order.

        Parameters
        ----------
        outputs : dict of str to expression
            Outputs of one layer by their full names.
        layers : sequence of Layer, default ()
            The layers of the network.

        Raises
        ------
        GraphError
            If an output is no expression, or they are of different libraries.
        """
        if self._graph_is_done:
            self._forget_the_graph()
        self._run_modify_graph(outputs, layers)

    def loss(self, layers: Sequence[Any], outputs: MutableMapping[str, Any]) -> Any:
        r"""Return what the regularizers add to the loss: :math:`\sum_r w_r \, p_r`, weight times penalty.

        Parameters
        ----------
        layers : sequence of Layer
            The layers of the network, first the input and last the output.
        outputs : dict of str to expression
            All outputs of the graph by their full names.

        Returns
        -------
        scalar expression
            In the penalties' dtype; the number 0 if there are no penalties.

        Raises
        ------
        NoMatchError
            If a regularizer's pattern matches nothing.
        GraphError
            If an output is no expression, a penalty no scalar, or libraries are mixed.
        """
        from .penalties import weighted_total

        return weighted_total(self.terms(layers, outputs))

    def terms(self, layers: Sequence[Any], outputs: MutableMapping[str, Any]) -> list[Term]:
        """Return each regularizer's part of the loss by itself.

        Parameters and errors are those of `loss`.

        Returns
        -------
        list of Term
            ``(name, weight, penalty, weighted)``, in order, without regularizers that have no penalty.
        """
        from .penalties import check_layers, check_outputs, weigh

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

    def apply(self, outputs: Mapping[str, Any], layers: Sequence[Any] = ()) -> dict[str, Any]:
        """Return the expressions of a finished graph as if `modify_graph` had run while it was built.

        Parameters
        ----------
        outputs : mapping of str to expression
            Expressions of one graph by their full names; it is untouched.
        layers : sequence of Layer, default ()
            The layers of the network.

        Returns
        -------
        dict of str to expression
            The same names, rebuilt in topological order, then the clean originals that the hooks kept.

        Raises
        ------
        NoMatchError
            If the pattern of a regularizer that changes graphs matches nothing.
        GraphError
            If the expressions are not of one graph, or a change cannot be made: see `regkit.graph.rebuild`.
        """
        from .graph.rebuilding import rebuild
        from .penalties import check_layers, check_outputs

        check_outputs(outputs)
        check_layers(layers)
        self._forget_the_graph()
        rebuilt = rebuild(outputs, lambda current: self._run_modify_graph(current, layers))
        self._graph_is_done = True
        self._check_matched()
        return rebuilt

    def log(self) -> None:
        """Let every regularizer log its line, in order."""
        self._hooks.log()

    def unmatched(self) -> list[str]:
        """Return the names of regularizers that change graphs and whose pattern has matched nothing so far.

        For hosts that only predict: `modify_graph` sees one layer at a time and cannot know that no layer will match.
        """
        changing = [hook.plugin.name for hook in reversed(self._hooks.modify_graph.get_hookimpls())]
        return [name for name in changing if name not in self._matched]

    def config(self) -> dict[str, Any]:
        """Return the set as a plain mapping that `build` takes back, and that JSON can hold.

        Returns
        -------
        dict of str to dict, or list of dict
            All constructor arguments by alias. A live weight has its present value.

        Raises
        ------
        OptionError
            If a member's label is no alias of its class, or an argument cannot be written down.

        Examples
        --------
        >>> import regkit
        >>> regkit.build(hidden_l1=0.1).config()
        {'hidden_l1': {'weight': 0.1, 'pattern': None, 'reduction': 'sum'}}
        """
        from .graph.libraries import current_value

        written: dict[str, list[Any]] = {}
        for label, regularizer, _ in self._members:
            if _class_or_none(label) is not type(regularizer):
                raise OptionError(
                    f"{label!r} is no alias of {type(regularizer).__name__}, so build could not make it from a config. "
                    "Give it under its alias, or register the class under this one"
                )
            options = {}
            for argument, value in all_options(regularizer).items():
                try:
                    options[argument] = plain(current_value(value))
                except (TypeError, GraphError) as error:
                    raise OptionError(f"{label}: {argument}={value!r} cannot be written down: {error}") from None
            written.setdefault(label, []).append(options)
        return {label: options[0] if len(options) == 1 else options for label, options in written.items()}

    # As a sequence

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Any]:
        return (regularizer for _, regularizer, _ in self._members)

    def __getitem__(self, key: int | slice | str) -> Any:
        if isinstance(key, slice):
            return RegularizerSet(self._members[key])
        if isinstance(key, str):
            for name, regularizer in zip(self._names(), self):
                if name == key:
                    return regularizer
            raise UnknownAliasError(f"no regularizer {key!r} in this set. It has: {', '.join(self._names()) or 'none'}")
        return self._members[key][1]

    def __contains__(self, key: object) -> bool:
        return key in self._names() if isinstance(key, str) else any(key is regularizer for regularizer in self)

    def __repr__(self) -> str:
        values: dict[str, list[str]] = {}
        for label, regularizer, built in self._members:
            values.setdefault(label, []).append(value_as_written(regularizer) if built else repr(regularizer))
        lines = {label: row[0] if len(row) == 1 else f"[{', '.join(row)}]" for label, row in values.items()}
        if all(label.isidentifier() for label in lines):
            return f"build({', '.join(f'{label}={value}' for label, value in lines.items())})"
        return f"build({{{', '.join(f'{label!r}: {value}' for label, value in lines.items())}}})"

    def __getstate__(self) -> dict[str, Any]:
        """Everything but pluggy's manager, which is made anew when it is needed; containers are copied."""
        state = {**self.__dict__, "_manager": None}
        return {name: value.copy() if isinstance(value, (dict, set)) else value for name, value in state.items()}

    # Inside

    def _names(self) -> list[str]:
        """The label of each member, numbered from its second appearance on."""
        count: dict[str, int] = {}
        names = []
        for label, _, _ in self._members:
            count[label] = count.get(label, -1) + 1
            names.append(f"{label}[{count[label]}]" if count[label] else label)
        return names

    @property
    def _hooks(self) -> Any:
        """The hooks as pluggy calls them, made at the first call: registering costs more than building."""
        if self._manager is None:
            from .manager import Adapter, HookManager

            self._manager = HookManager(Adapter(*named) for named in zip(self._names(), self))
        return self._manager.hook

    def _run_modify_graph(self, outputs: MutableMapping[str, Any], layers: Sequence[Any]) -> None:
        """Run the hook on one layer, and remember what matched."""
        from .penalties import check_outputs

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

    def _forget_the_graph(self) -> None:
        self._seen, self._matched, self._no_match, self._graph_is_done = {}, set(), {}, False

    def _check_matched(self, but: Collection[str] = ()) -> None:
        """Raise for a regularizer that was given the layers of a graph, found nothing to change, and adds nothing."""
        from .manager import pattern_matches

        for name in self.unmatched():
            if name not in but:
                pattern = getattr(self[name], "pattern", None)
                if name in self._no_match and pattern_matches(pattern, self._seen):
                    raise NoMatchError(self._no_match[name])  # it looks for something else than its pattern
                raise NoMatchError(
                    f"{name}: pattern {pattern!r} matches none of the outputs: {', '.join(self._seen) or 'none'}"
                )


def _class_or_none(label: str) -> type | None:
    try:
        return resolve(label)
    except RegkitError:
        return None
