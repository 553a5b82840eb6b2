"""RegularizerSet, which hosts call, and build, which users call and which makes it."""

from __future__ import annotations

import regkit

from .constructors import instance
from .discovery import class_of
from .regularizer import is_plain_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
    from typing import Any

    from .hooks.driver import Driver, Regularized
    from .hooks.penalties import Term


class Member:
    """A regularizer of a set: its label, whether that is the alias that it was built from, and what it has seen."""

    __slots__ = ("from_alias", "label", "regularizer", "seen")

    def __init__(self, label: str, regularizer: Any, from_alias: bool = False) -> None:
        self.label = label
        self.regularizer = regularizer
        self.from_alias = from_alias
        #: What its `modify_graph` was given, kept by :mod:`regkit.hooks.memory`; slices and sums of sets share it.
        self.seen: dict[Any, Any] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """A pickle, and a deep copy, knows nothing of graphs."""
        return type(self), (self.label, self.regularizer, self.from_alias)


class RegularizerSet:
    """An ordered set of regularizers; `build` makes it.

    ``regs[0]`` and ``regs["hidden_l1"]`` are members; where an alias has several, ``regs["noise[1]"]`` is the second.
    Sets do not compare by value: compare `config`.
    """

    def __init__(self, members: Iterable[Member]) -> None:
        self._members = tuple(members)
        self._names = _names(self._members)

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
            If an output is not an expression, the outputs are of different libraries, or `layers` are not layers.
        """
        self._hooks.modify_graph(outputs, layers)

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
            If a regularizer's pattern, or one glob of several, matches nothing.
        GraphError
            If an output is not an expression, a penalty not a scalar, or libraries are mixed.
        """
        return self._hooks.loss(layers, outputs)

    def terms(self, layers: Sequence[Any], outputs: MutableMapping[str, Any]) -> list[Term]:
        """Return each regularizer's part of the loss by itself.

        Parameters and errors are those of `loss`.

        Returns
        -------
        list of Term
            ``(name, weight, penalty, weighted)``, in order, without regularizers that have no penalty.
        """
        return self._hooks.terms(layers, outputs)

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
        return self._hooks.apply(outputs, layers)[0]

    def log(self) -> None:
        """Let every regularizer log its line, in order."""
        self._hooks.log()

    def regularize(
        self,
        layers: Sequence[Any],
        outputs: Mapping[str, Any] | None = None,
        also: Sequence[Any] = (),
        allow_changes: bool = True,
    ) -> Regularized:
        """Do for a finished network what every host does: change its graph, add up the penalties, log.

        A set that changes no graph leaves every expression as it is, and does not mind expressions that are not
        connected.

        Parameters
        ----------
        layers : sequence of Layer
            The layers of the network.
        outputs : mapping of str to expression, optional
            Further outputs of the graph by their full names; of one name, these come before the layers' own.
        also : sequence of expressions, default ()
            Expressions that are rebuilt along, such as a prediction or a cost, and that no pattern can match.
        allow_changes : bool, default True
            False for a host that has no training graph of its own: members that change graphs are refused.

        Returns
        -------
        Regularized
            ``outputs`` with the changes in place and the clean originals, ``also`` in its order, ``terms`` and their
            weighted sum, ``loss``.

        Raises
        ------
        NoMatchError
            If a regularizer's pattern matches nothing.
        GraphError
            As `apply` and `loss`; if members change graphs that may not; if two layers have one output name, or a layer
            has none.

        Examples
        --------
        >>> import numpy, regkit
        >>> hid1 = regkit.Layer("hid1", outputs={"hid1": numpy.array([[1.0, -2.0]])}, role="hidden")
        >>> regularized = regkit.build(hidden_l1=0.5).regularize([hid1])
        >>> print(regularized.loss, regularized.terms[0].name)
        1.5 hidden_l1
        """
        return self._hooks.regularize(layers, outputs, also, allow_changes)

    @property
    def changes_graph(self) -> bool:
        """Whether any member changes graphs."""
        return any(changes_graph(regularizer) for regularizer in self)

    def unmatched(self, outputs: Mapping[str, Any]) -> list[str]:
        """Return the names of regularizers that change graphs and whose pattern matched none of these outputs.

        For hosts that only predict: `modify_graph` sees one layer at a time and cannot know that no layer will match.

        Parameters
        ----------
        outputs : mapping of str to expression
            Outputs as `modify_graph` left them.
        """
        return self._hooks.unmatched(outputs)

    def live(self) -> dict[str, float]:
        """Return the present values of the live weights, by the names of their members.

        For engines whose compiled steps take them as an argument.

        Examples
        --------
        >>> import regkit
        >>> regkit.build(hidden_l1=regkit.Live(0.1), weight_l2=0.2).live()
        {'hidden_l1': 0.1}
        """
        from .live import Live

        weights = {name: getattr(regularizer, "weight", None) for name, regularizer in zip(self._names, self)}
        return {name: weight.value for name, weight in weights.items() if isinstance(weight, Live)}

    def config(self) -> dict[str, Any]:
        """Return the set as a plain mapping that `build` takes back, and that JSON and TOML can hold.

        Returns
        -------
        dict of str to dict, or list of dict
            The constructor's arguments by alias, without those that are None by default. A live weight has its present
            value.

        Raises
        ------
        OptionError
            If a member's label is not an alias of its class, or an argument cannot be written down.

        Examples
        --------
        >>> import regkit
        >>> regkit.build(hidden_l1=0.1).config()
        {'hidden_l1': {'weight': 0.1, 'reduction': 'sum'}}
        """
        from .serialization import config_of

        return config_of(self._members)

    # As a sequence

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Any]:
        return (member.regularizer for member in self._members)

    def keys(self) -> list[str]:
        """Return the names of the members, in order: ``regs["noise[1]"]`` is the second under ``noise``."""
        return list(self._names)

    def __getitem__(self, key: int | slice | str) -> Any:
        if isinstance(key, slice):
            return RegularizerSet(self._members[key])
        if isinstance(key, str):
            if key in self._names:
                return self._members[self._names.index(key)].regularizer
            raise regkit.UnknownAliasError(
                f"no regularizer {key!r} in this set. It has: {', '.join(self._names) or 'none'}"
            )
        if not -len(self) <= key < len(self):
            raise IndexError(f"no regularizer {key} in this set of {len(self)}")
        return self._members[key].regularizer

    def __contains__(self, key: object) -> bool:
        return key in self._names if isinstance(key, str) else any(key is regularizer for regularizer in self)

    def __add__(self, other: object) -> RegularizerSet:
        if not isinstance(other, RegularizerSet):
            return NotImplemented
        return RegularizerSet((*self._members, *other._members))

    def __repr__(self) -> str:
        from .serialization import call_of

        return call_of(self._members)

    def _repr_html_(self) -> str:
        """A table of the members, for notebooks."""
        from .serialization import table_of

        return table_of(zip(self._names, self._members))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_driver"}

    @property
    def _hooks(self) -> Driver:
        """What calls the hooks, made at the first call: it needs pluggy, and registering costs more than building."""
        driver: Driver | None = self.__dict__.get("_driver")
        if driver is None:
            from .hooks.driver import Driver

            # of two threads that come first at once, both get the same
            driver = self.__dict__.setdefault("_driver", Driver(zip(self._names, self._members)))
        return driver


def _names(members: Sequence[Member]) -> list[str]:
    """Return the label of each member, numbered from its second appearance on.

    Raises
    ------
    OptionError
        If two members would go by one name, or two aliases are one regularizer.
    """
    count: dict[str, int] = {}
    alias_of: dict[type, str] = {}
    names: dict[str, Member] = {}
    for member in members:
        label = member.label
        count[label] = count.get(label, -1) + 1
        name = f"{label}[{count[label]}]" if count[label] else label
        if names.setdefault(name, member) is not member:
            raise regkit.OptionError(
                f"two regularizers go by the name {name!r}: one is labelled so, the other is a further one under its "
                "own label. Give one another label"
            )
        if member.from_alias:
            first = alias_of.setdefault(type(member.regularizer), label)
            if first != label:
                raise regkit.OptionError(f"aliases {first!r} and {label!r} are the same regularizer. Give one of them")
    return list(names)


def changes_graph(regularizer: object) -> bool:
    """Tell whether a regularizer changes graphs: what it says, or whether a class of marked hooks has that hook."""
    said = getattr(regularizer, "changes_graph", None)
    if said is None:
        from .hooks.signatures import implemented

        return "modify_graph" in implemented(type(regularizer))
    return bool(said)


def build(options: Mapping[str, Any] | None = None, /, **aliases: Any) -> RegularizerSet:
    """Build regularizers from their aliases.

    Parameters
    ----------
    options : mapping of str to value, optional
        Aliases and values as read from JSON or TOML; they come before the keywords.
    **aliases : value
        A value is the weight (a real number of at least 0, a `Live` of one, or a scalar of a graph library), a mapping
        of the constructor's arguments, a regularizer, a list of these, or None for not used.

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
    if options is not None:
        from .value_forms import merged

        aliases = merged(options, aliases)
    members: list[Member] = []
    for alias, value in aliases.items():
        arguments = value if type(value) is dict else {"weight": value}
        if is_plain_number(arguments.get("weight")):  # what nearly all have
            members.append(Member(alias, _from_arguments(alias, arguments), True))
        else:
            from .value_forms import regularizers_of

            members += [Member(alias, one, from_alias) for one, from_alias in regularizers_of(alias, value)]
    return RegularizerSet(members)


def _from_arguments(alias: str, arguments: dict[str, Any]) -> Any:
    cls = class_of(alias)
    try:
        return instance(cls, arguments)
    except regkit.RegkitError as error:
        from .errors import prefixed

        raise prefixed(error, f"alias {alias!r}") from error.__cause__
