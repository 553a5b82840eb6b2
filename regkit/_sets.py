"""RegularizerSet, which hosts call; and how a set is written: as a call, a config, a table."""

from __future__ import annotations

from operator import index

from ._constructor import all_options, constructor_arguments, plain, selection_of, value_as_written, weight_as_written
from ._discovery import claims_of, class_of
from ._engines import engine_of
from ._members import Member, Memory
from ._messages import escaped, first_sentence
from ._regularizer import changes_graph, changes_params, fix_options
from ._values import as_python_number
from ._weights import Live, current_value
from .errors import GraphError, OptionError, RegkitError, UnknownAliasError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, MutableMapping, Sequence
    from typing import Any, overload

    from ._driver import Driver, Regularized
    from ._terms import Term


class Entry:
    """A regularizer in a set, under its label, which is the alias if it was built from an alias."""

    __slots__ = ("from_alias", "label", "memory", "regularizer")

    def __init__(self, label: str, regularizer: Any, from_alias: bool = False) -> None:
        self.label = label
        self.regularizer = regularizer
        self.from_alias = from_alias
        self.memory = Memory()
        fix_options(regularizer)

    def __reduce__(self) -> tuple[Any, ...]:
        """A pickle, and a deep copy, knows nothing of graphs."""
        return type(self), (self.label, self.regularizer, self.from_alias)


class RegularizerSet:
    """An ordered set of regularizers; `build` makes it.

    ``regs[0]`` and ``regs["hidden_l1"]`` are members; where an alias has several, ``regs["noise[1]"]`` is the second.
    Sets with equal configs are equal and have equal hashes. Weights that are no numbers count by identity, and so do
    members that cannot be written down.
    """

    def __init__(self, members: Iterable[Entry], names: Sequence[str] | None = None) -> None:
        self._members = tuple(members)
        self._names = _names(self._members) if names is None else list(names)

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

    if TYPE_CHECKING:

        @overload
        def loss(self, layers: Mapping[str, Any], /) -> Any: ...
        @overload
        def loss(self, layers: Sequence[Any], outputs: Mapping[str, Any]) -> Any: ...

    def loss(self, layers: Any, outputs: Any = None) -> Any:
        r"""Return the regularizers' part of the loss: :math:`\sum_r w_r \, p_r`, weight times penalty.

        ``loss(outputs)``, with one argument, is ``loss([], outputs)``.

        Parameters
        ----------
        layers : sequence of Layer
            The layers of the network, first the input and last the output.
        outputs : mapping of str to expression
            All outputs of the graph by their full names.

        Returns
        -------
        scalar expression
            In the penalties' dtype, which is float32 or wider; the number 0 if there are no penalties.

        Raises
        ------
        NoMatchError
            If a regularizer's pattern, or one glob of several, matches nothing.
        GraphError
            If an output is not an expression, a penalty not a scalar, or libraries are mixed.
        """
        return self._hooks.loss(*_layers_and_outputs(layers, outputs))

    if TYPE_CHECKING:

        @overload
        def terms(self, layers: Mapping[str, Any], /) -> list[Term]: ...
        @overload
        def terms(self, layers: Sequence[Any], outputs: Mapping[str, Any]) -> list[Term]: ...

    def terms(self, layers: Any, outputs: Any = None) -> list[Term]:
        """Return each regularizer's part of the loss by itself.

        Parameters and errors are those of `loss`.

        Returns
        -------
        list of Term
            ``(name, weight, penalty, weighted)``, in order, without regularizers that have no penalty.
        """
        return self._hooks.terms(*_layers_and_outputs(layers, outputs))

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
        return self._hooks.apply(outputs, layers)

    if TYPE_CHECKING:

        @overload
        def metrics(self, layers: Mapping[str, Any], /) -> dict[str, Any]: ...
        @overload
        def metrics(self, layers: Sequence[Any], outputs: Mapping[str, Any]) -> dict[str, Any]: ...

    def metrics(self, layers: Any, outputs: Any = None) -> dict[str, Any]:
        """Return scalars to look at, such as the share of zeros: those of every regularizer that has some.

        Parameters and errors are those of `loss`.

        Returns
        -------
        dict of str to scalar expression
            By the names of member and scalar, such as ``"hidden_l1.zeros"``.

        Examples
        --------
        >>> import numpy, regkit
        >>> regs = regkit.build(hidden_l1=dict(weight=0.1, pattern="hid"))
        >>> {name: float(value) for name, value in regs.metrics({"hid": numpy.array([[1.0, 0.0], [2.0, 0.0]])}).items()}
        {'hidden_l1.zeros': 0.5, 'hidden_l1.l0': 1.0, 'hidden_l1.dead': 0.5}
        """
        return self._hooks.metrics(*_layers_and_outputs(layers, outputs))

    def after_step(
        self,
        params: Any,
        rate: Any,
        layers: Sequence[Any] = (),
        *,
        divisors: Mapping[str, Any] | None = None,
    ) -> Any:
        r"""Return parameters after an optimizer's step with the changes of the regularizers, in order.

        Called once a step, with all parameters of the network. The step of a regularizer is ``rate`` times its weight.

        Parameters
        ----------
        params : dict of str to array, sequence of pairs, or dict of variables
            The values after the step by the full names of the parameters; or the updates of a graph library, pairs of a
            shared variable and its new value or a dict of them, for which `layers` is needed.
        rate : number, scalar expression, or dict of str to those
            The step size of the optimizer; a dict has that of each parameter by the full name, and a parameter that is
            not in it counts in the means of penalties and stays. The closed form of a penalty holds where a step is
            ``rate`` times the gradient: for SGD with momentum that is ``rate / (1 - momentum)``.
        layers : sequence of Layer, default ()
            The layers of the network.
        divisors : dict of str to array, optional
            By what the optimizer divides the gradient of each element, by the full names of parameters: for Adam
            :math:`\sqrt{\hat v} + \epsilon`. The amounts of proximal steps are divided by it, so that they have the
            zeros of the closed form there too.

        Returns
        -------
        dict, list or tuple
            In the form of `params`, which is left as it is.

        Raises
        ------
        OptionError
            If `params`, `rate` or `divisors` is not accepted, or there are no parameters.
        GraphError
            If a hook changes integers, a dtype or a number of axes, no update is of a parameter of the layers, or a
            proximal step has one amount for all elements and cannot be divided.
        NoMatchError
            If a pattern matches no parameter.

        Examples
        --------
        >>> import numpy, regkit
        >>> regs = regkit.build(weight_l1=dict(weight=0.5, by="proximal"))
        >>> print(regs.after_step({"w": numpy.array([[0.3, -0.1], [0.02, -0.7]])}, rate=0.1)["w"])
        [[ 0.25 -0.05]
         [ 0.   -0.65]]
        """
        return self._hooks.after_step(params, rate, layers, divisors)

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
        """Change the graph of a finished network, compute terms and loss, and log: the one call of most hosts.

        A set that changes no graph leaves every expression as it is; the expressions need not be connected.

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

    @property
    def changes_params(self) -> bool:
        """Whether any member changes parameters after an optimizer's step."""
        return any(changes_params(regularizer) for regularizer in self)

    @property
    def needs_metrics(self) -> bool:
        """Whether the weight of any member is a `regkit.schedules.Target`, which `step` has to be given metrics for."""
        return any(weight._needs_metrics for weight in self._live_weights().values())

    def step(self, n: int | None = None, metrics: Mapping[str, Any] | None = None) -> None:
        """Move the weights that are schedules to a step, or to the next. Called after each step of an optimizer.

        A schedule begins at step 0, and remembers its step: one that several members, or sets, share moves once a call.

        Parameters
        ----------
        n : int, optional
            How many steps there have been; by default one more than before.
        metrics : mapping of str to scalar, optional
            What `metrics` returned for this step, for a `regkit.schedules.Target`.

        Raises
        ------
        OptionError
            If n is not an integer of at least 0, or a metric is not a finite number.
        NoMatchError
            If a metric that a weight follows is not among `metrics`.

        Examples
        --------
        >>> import regkit
        >>> regs = regkit.build(hidden_l1=regkit.schedules.Warmup(to=0.5, steps=10))
        >>> regs.step(4)
        >>> regs.step()
        >>> regs.live()
        {'hidden_l1': 0.25}
        """
        count = None if n is None else _steps_of(n)
        moved: list[Live] = []
        for name, weight in self._live_weights().items():
            if not any(weight is other for other in moved):
                moved.append(weight)
                weight._follow(name, count, metrics)

    def live(self, step: Any = None) -> dict[str, Any]:
        """Return the values of the live weights, by the names of their members.

        For engines whose compiled steps take them as an argument.

        Parameters
        ----------
        step : number or scalar expression, optional
            Schedules have their values at this step, computed in its library, so that it may be traced; other live
            weights, and a `regkit.schedules.Target`, have their current values. By default all have.

        Examples
        --------
        >>> import regkit
        >>> regs = regkit.build(hidden_l1=regkit.schedules.Warmup(to=0.5, steps=10), weight_l2=regkit.Live(0.1))
        >>> regs.live()
        {'hidden_l1': 0.0, 'weight_l2': 0.1}
        >>> regs.live(step=5)
        {'hidden_l1': 0.25, 'weight_l2': 0.1}
        """
        weights = self._live_weights()
        return {name: weight.value if step is None else weight._at(step) for name, weight in weights.items()}

    def _live_weights(self) -> dict[str, Live]:
        weights = {name: getattr(regularizer, "weight", None) for name, regularizer in zip(self._names, self)}
        return {name: weight for name, weight in weights.items() if isinstance(weight, Live)}

    def config(self) -> dict[str, Any]:
        """Return the set as a plain mapping that `build` takes back, and that JSON and TOML can hold.

        Returns
        -------
        dict of str to dict, or list of dict
            The constructor's arguments by alias, without those that are None by default. A live weight has its current
            value, and a schedule its arguments.

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
        return _config_of(self._members)

    # As a sequence

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Any]:
        return (member.regularizer for member in self._members)

    def keys(self) -> list[str]:
        """Return the names of the members, in order: ``regs["noise[1]"]`` is the second under ``noise``."""
        return list(self._names)

    if TYPE_CHECKING:

        @overload
        def __getitem__(self, key: slice) -> RegularizerSet: ...
        @overload
        def __getitem__(self, key: int | str) -> Any: ...

    def __getitem__(self, key: int | slice | str) -> Any:
        if isinstance(key, slice):
            return RegularizerSet(self._members[key])
        if isinstance(key, str):
            if key in self._names:
                return self._members[self._names.index(key)].regularizer
            raise UnknownAliasError(f"no regularizer {key!r} in this set. It has: {', '.join(self._names) or 'none'}")
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
        return _call_of(self._members)

    def _repr_html_(self) -> str:
        """A table of the members, for notebooks."""
        return _table_of(zip(self._names, self._members))

    def __eq__(self, other: object) -> bool:
        return self._identity == other._identity if isinstance(other, RegularizerSet) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._identity)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name in ("_members", "_names")}

    def _subset(self, names: Collection[str]) -> RegularizerSet:
        chosen = [(name, one) for name, one in zip(self._names, self._members) if name in names]
        return RegularizerSet([one for _, one in chosen], [name for name, _ in chosen])

    def _with_weights(self, weights: Mapping[str, Any]) -> RegularizerSet:
        from copy import copy

        def changed(name: str, member: Entry) -> Entry:
            if name not in weights:
                return member
            regularizer = copy(member.regularizer)
            regularizer.weight = weights[name]  # of a copy, which is in no set yet
            entry = Entry(member.label, regularizer, member.from_alias)
            entry.memory = member.memory
            return entry

        return RegularizerSet(map(changed, self._names, self._members), self._names)

    def _named(self) -> tuple[Member, ...]:
        return tuple(Member(name, one.regularizer, one.memory) for name, one in zip(self._names, self._members))

    @property
    def _hooks(self) -> Driver:
        """The driver of the hooks, made at the first call: it needs pluggy, and takes longer to make than a set."""
        driver: Driver | None = self.__dict__.get("_driver")
        if driver is None:
            from ._driver import Driver

            driver = self.__dict__.setdefault("_driver", Driver(self._named()))  # of two threads, both get the same
        return driver

    @property
    def _identity(self) -> tuple[Any, ...]:
        identity: tuple[Any, ...] | None = self.__dict__.get("_kept_identity")
        if identity is None:
            identity = self.__dict__["_kept_identity"] = tuple(map(_identity_of, self._members))
        return identity


def _steps_of(n: Any) -> int:
    """Return a number of steps as Python's.

    Raises
    ------
    OptionError
        If it is none, or has no value yet, as within a compiled function.
    """
    try:
        count = -1 if isinstance(n, bool) else index(n)
    except TypeError:  # JAX's error for what it traces is one
        count = -1
    if count < 0:
        symbolic = as_python_number(n) is None and engine_of(n) is not None
        raise OptionError(
            f"step got n={n!r}; accepted: an integer of at least 0"
            + (". Of a step that is traced or symbolic, regs.live(step) has the weights" if symbolic else "")
        )
    return count


def _layers_and_outputs(layers: Any, outputs: Any) -> tuple[Any, Any]:
    """Return the arguments of a call with one argument, which is outputs, or with both."""
    return ((), layers) if outputs is None else (layers, outputs)


def _identity_of(entry: Entry) -> tuple[Any, ...]:
    """Return a hashable form of a member: label, class, and options as in a config."""
    cls = type(entry.regularizer)
    try:
        options = all_options(entry.regularizer)
    except OptionError:
        return entry.label, cls, id(entry.regularizer)
    return entry.label, cls, *((name, _value_identity(name, value)) for name, value in options.items())


def _value_identity(name: str, value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    try:
        return id(value) if name == "weight" else repr(plain(value))
    except Exception:  # of a library whose arrays have no values now
        return id(value)


def _names(members: Sequence[Entry]) -> list[str]:
    """Return the label of each member, numbered from its second appearance on.

    Raises
    ------
    OptionError
        If two members would go by one name, or two aliases are one regularizer.
    """
    count: dict[str, int] = {}
    alias_of: dict[type, str] = {}
    names: dict[str, Entry] = {}
    for member in members:
        label = member.label
        count[label] = count.get(label, -1) + 1
        name = f"{label}[{count[label]}]" if count[label] else label
        if names.setdefault(name, member) is not member:
            raise OptionError(
                f"{name!r} is both a label and the name of a further {name.rpartition('[')[0]!r}. Rename one"
            )
        if member.from_alias:
            first = alias_of.setdefault(type(member.regularizer), label)
            if first != label:
                raise OptionError(f"aliases {first!r} and {label!r} are the same regularizer. Give one of them")
    return list(names)


# How a set is written


def _call_of(members: Iterable[Entry]) -> str:
    """Return the call of `build` that makes a set."""
    values: dict[str, list[str]] = {}
    for member in members:
        written = value_as_written(member.regularizer) if member.from_alias else repr(member.regularizer)
        values.setdefault(member.label, []).append(written)
    lines = {label: row[0] if len(row) == 1 else f"[{', '.join(row)}]" for label, row in values.items()}
    if all(_is_keyword_argument(label) for label in lines):
        return f"build({', '.join(f'{label}={value}' for label, value in lines.items())})"
    return f"build({{{', '.join(f'{label!r}: {value}' for label, value in lines.items())}}})"


def _is_keyword_argument(label: str) -> bool:
    from keyword import iskeyword

    return label.isidentifier() and not iskeyword(label)


def _config_of(members: Iterable[Entry]) -> dict[str, Any]:
    """Return the constructor arguments of a set's members by their labels, as JSON and TOML have them.

    Raises
    ------
    OptionError
        If a label is not an alias of its class, or an argument cannot be written down.
    """
    written: dict[str, list[Any]] = {}
    for member in members:
        label, regularizer = member.label, member.regularizer
        if _class_or_none(label) is not type(regularizer):
            raise OptionError(
                f"{label!r} is not an alias of {type(regularizer).__name__}, so build could not make it from a config. "
                "Give it under its alias, or register the class under this one"
            )
        written.setdefault(label, []).append(_options_written_down(label, regularizer))
    return {label: options[0] if len(options) == 1 else options for label, options in written.items()}


def _options_written_down(label: str, regularizer: Any) -> dict[str, Any]:
    """Every argument of an instance but those that are None, which TOML cannot hold, by default."""
    defaults, _ = constructor_arguments(type(regularizer))
    options = {}
    for argument, value in all_options(regularizer).items():
        if value is None and defaults[argument] is None:
            continue
        try:
            if value is None:
                raise TypeError("TOML has no form for None")
            options[argument] = plain(value._config() if isinstance(value, Live) else current_value(value))
        except (TypeError, GraphError) as error:
            raise OptionError(f"{label}: {argument}={value!r} cannot be written down: {error}") from None
    return options


def _class_or_none(label: str) -> type | None:
    try:
        return class_of(label)
    except RegkitError:
        return None


def _table_of(members: Iterable[tuple[str, Entry]]) -> str:
    """Return the HTML table of a set's members, by their names."""
    from html import escape

    rows: list[tuple[str, ...]] = [("alias", "weight", "pattern", "penalty", "distribution")]
    rows += [_row(name, member) for name, member in members]
    head, *body = (
        "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row) for tag, row in zip(["th", *["td"] * len(rows)], rows)
    )
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{cells}</tr>' for cells in body)}</table>"


def _row(name: str, member: Entry) -> tuple[str, ...]:
    """What the table says of one member; its distribution where it is one that claims its alias."""
    cls = type(member.regularizer)
    sentence = first_sentence(cls.__doc__)
    claims = claims_of(member.label) if member.from_alias else ()
    owners = [" ".join(map(str, claim[:2])) for claim in claims if claim.distribution is not None]
    return (
        name,
        weight_as_written(member.regularizer),
        selection_of(member.regularizer),
        f"{cls.__name__}: {sentence}" if sentence else cls.__name__,
        "" if claims and claims[0].distribution is None else escaped(", ".join(owners)),
    )
