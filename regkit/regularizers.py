"""What users call: `build`, and the set of regularizers that it returns."""

from __future__ import annotations

from .errors import GraphError, NoMatchError, OptionError, RegkitError, UnknownAliasError
from .registry import construct, is_mapping, resolve, target_of
from .regularizer import all_options, changed_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
    from typing import Any

    from .manager import Adapter
    from .penalties import Term

    Member = tuple[str, Any, bool]  # label, regularizer, whether it was built from the label


def build(options: Mapping[str, Any] | None = None, /, **aliases: Any) -> RegularizerSet:
    """Build regularizers from their aliases.

    Parameters
    ----------
    options : mapping of str to value, optional
        Aliases and values as read from JSON or TOML; they come before the keywords.
    **aliases : value
        A value is the weight (a real number of at least 0, or a scalar of a graph library), a mapping of the
        constructor's arguments, a regularizer, a list of these, or None for not used.

    Returns
    -------
    RegularizerSet
        In the order written.

    Raises
    ------
    UnknownAliasError
        If no installed plugin provides an alias.
    AliasConflictError
        If several targets claim it.
    PluginLoadError
        If its plugin cannot be imported.
    HookSignatureError
        If its class has hooks that cannot be called.
    OptionError
        If a value is not accepted, a name is in `options` and in the keywords, or two aliases are one regularizer.

    Examples
    --------
    >>> import numpy, regkit
    >>> regs = regkit.build(hidden_sparsity=0.5)
    >>> layers = [regkit.Layer("in:out"), regkit.Layer("hid1:out"), regkit.Layer("out:out")]
    >>> outputs = {"in:out": numpy.eye(2), "hid1:out": numpy.array([[1.0, -2.0], [0.0, 3.0]]), "out:out": numpy.eye(2)}
    >>> print(regs.loss(layers, outputs))
    3.0
    """
    if options is not None and not is_mapping(options):
        raise OptionError(f"build got {options!r}; accepted: a mapping of aliases to values, and keywords")
    values = dict(options or {})
    for alias in values:
        if not isinstance(alias, str):
            raise OptionError(f"build got the alias {alias!r}; accepted: names")
        if alias in aliases:
            raise OptionError(f"alias {alias!r} is in the mapping and in the keywords. Give it once")
    values.update(aliases)
    members: list[Member] = []
    alias_of: dict[object, str] = {}
    for alias, value in values.items():
        built = construct(alias, value)
        members += [(alias, regularizer, from_alias) for regularizer, from_alias in built]
        if any(from_alias for _, from_alias in built):
            twin = alias_of.setdefault(target_of(alias), alias)
            if twin != alias:
                raise OptionError(f"aliases {twin!r} and {alias!r} are the same regularizer. Give one of them")
    return RegularizerSet(members)


class RegularizerSet:
    """An ordered set of regularizers; `build` makes it.

    ``regs[0]`` and ``regs["hidden_l1"]`` are members; where an alias has several, ``regs["noise[1]"]`` is the second.
    Sets do not compare by value: compare `config`.
    """

    def __init__(self, members: Iterable[Member]) -> None:
        self._members = tuple(members)
        self._adapters: list[Adapter] = []
        self._manager: Any = None
        self._modified: dict[str, None] = {}  # the names that modify_graph has seen
        self._matched: set[str] = set()

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
        from .penalties import check_outputs

        check_outputs(outputs)
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
        from .penalties import check_outputs, term

        made_by = check_outputs(outputs)
        results = [
            (adapter, penalty)
            for adapter, penalty in self._hooks.loss(layers=layers, outputs=outputs)
            if penalty is not None
        ]
        if self._modified:  # otherwise there was no layer in which a pattern could match
            self._check_matched(self._matched | {adapter.name for adapter, _ in results}, self._modified)
        return [term(adapter.name, adapter.regularizer, penalty, made_by) for adapter, penalty in results]

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
        from .penalties import check_outputs

        check_outputs(outputs)
        matched: set[str] = set()

        def modify(current: dict[str, Any]) -> None:
            matched.update(self._run_modify_graph(current, layers))

        rebuilt = rebuild(outputs, modify)
        self._check_matched(matched, outputs)
        return rebuilt

    def log(self) -> None:
        """Let every regularizer log its line, in order."""
        self._hooks.log()

    def unmatched(self) -> list[str]:
        """Return the names of regularizers that change graphs and whose pattern has matched nothing so far.

        For hosts that only predict: `modify_graph` sees one layer at a time and cannot know that no layer will match.
        """
        return [name for name in self._changing() if name not in self._matched]

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
                    options[argument] = _plain(current_value(value))
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
            values.setdefault(label, []).append(_value_as_written(regularizer) if built else repr(regularizer))
        lines = {label: row[0] if len(row) == 1 else f"[{', '.join(row)}]" for label, row in values.items()}
        if all(label.isidentifier() for label in lines):
            return f"build({', '.join(f'{label}={value}' for label, value in lines.items())})"
        return f"build({{{', '.join(f'{label!r}: {value}' for label, value in lines.items())}}})"

    def __reduce__(self) -> tuple[type[RegularizerSet], tuple[tuple[Member, ...]]]:
        return RegularizerSet, (self._members,)

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

            self._adapters = [Adapter(name, regularizer) for name, regularizer in zip(self._names(), self)]
            self._manager = HookManager(self._adapters)
        return self._manager.hook

    def _run_modify_graph(self, outputs: MutableMapping[str, Any], layers: Sequence[Any]) -> set[str]:
        """Run the hook on one layer, remember what matched, and return the names of those that did."""
        self._modified.update(dict.fromkeys(outputs))
        results = self._hooks.modify_graph(outputs=outputs, layers=layers)
        matched = {adapter.name for adapter, matched in results if matched}
        self._matched |= matched
        return matched

    def _changing(self) -> list[str]:
        """The names of the regularizers that change graphs."""
        hooks = self._hooks  # makes the adapters
        return [adapter.name for adapter in self._adapters if hooks and "modify_graph" in adapter.hooks]

    def _check_matched(self, matched: set[str], seen: Iterable[str]) -> None:
        """Raise for a regularizer that changes graphs and is not among those that matched."""
        for name in self._changing():
            if name not in matched:
                pattern = getattr(self[name], "pattern", None)
                raise NoMatchError(f"{name}: pattern {pattern!r} matches none of the outputs: {', '.join(seen)}")


def _value_as_written(regularizer: Any) -> str:
    options = changed_options(regularizer)
    if hasattr(regularizer, "weight") and not (options.keys() - {"weight"}):
        return repr(regularizer.weight)
    return f"dict({', '.join(f'{name}={value!r}' for name, value in options.items())})"


def _class_or_none(label: str) -> type | None:
    try:
        return resolve(label)
    except RegkitError:
        return None


def _plain(value: Any) -> Any:
    """The value as JSON has it."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if is_mapping(value):
        return {str(key): _plain(item) for key, item in value.items()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"JSON has no form for {type(value).__name__}")
