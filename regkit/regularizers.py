"""Regularizer, which plugin authors subclass; RegularizerSet, which hosts call; and build, which users call.

The hooks of `Regularizer` are the contract between the three. They are plain methods: :mod:`regkit.hooks.specs` makes
specifications of them when the first one is called, since building must not cost the import of pluggy.

One module, because a build needs all of it and each module more costs a tenth of a millisecond.
"""

import sys

import regkit

from .discovery import class_of, identity_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
    from typing import Any

    from .hooks.driver import Driver
    from .hooks.penalties import Term
    from .serialization import Member
    from .validation import Pattern

LARGEST_FLOAT = sys.float_info.max


def is_plain_number(weight: "Any") -> bool:
    """Tell whether a weight is what nearly all are: a Python number that needs no closer look."""
    return (type(weight) is float or type(weight) is int) and 0 <= weight <= LARGEST_FLOAT


class Regularizer:
    """Base class of regularizers.

    A regularizer adds ``weight * loss(layers, outputs)`` to the loss of a network, or changes the outputs of its
    layers. A subclass overrides any of the hooks `loss`, `modify_graph` and `log`, with their arguments or fewer.
    Further constructor arguments are stored under their own name: repr, config and copy rest on that.

    Parameters
    ----------
    pattern : str or sequence of str, optional
        Case-sensitive glob, or several, for the names of outputs or parameters. What None selects is the subclass's
        to say.
    weight : real number or scalar of a graph library, default 0
        Strength of the regularizer, dimensionless and at least 0. A symbolic or shared scalar is live: changing it
        needs no recompilation.

    Raises
    ------
    OptionError
        If the weight is no finite real number of at least 0, or the pattern no glob.
    GraphError
        If the weight is an expression that is no scalar.

    Examples
    --------
    >>> import numpy, regkit
    >>> class HiddenMax(regkit.Regularizer):
    ...     def loss(self, outputs):
    ...         (name, z), = regkit.select_outputs(outputs, self.pattern)
    ...         return abs(z).max()
    >>> HiddenMax("hid1:out", weight=0.5)
    HiddenMax(weight=0.5, pattern='hid1:out')
    >>> print(HiddenMax("hid1:out").loss({"hid1:out": numpy.array([1.0, -3.0])}))
    3.0
    """

    def __init__(self, pattern: "Pattern" = None, weight: "Any" = 0.0) -> None:
        if not is_plain_number(weight) or not (pattern is None or type(pattern) is str):
            from .validation import checked_pattern, checked_weight

            pattern = checked_pattern(type(self).__name__, pattern)
            weight = checked_weight(type(self).__name__, weight)
        self.pattern: Pattern = pattern
        self.weight = weight

    def modify_graph(self, outputs: "MutableMapping[str, Any]", layers: "Sequence[Any]") -> None:
        """Change the outputs of one layer while the graph is built.

        Called once for each layer, with that layer's outputs alone. A changed output keeps its name and the original
        stays beside it under a name of its own::

            def modify_graph(self, outputs):
                for name, expression in list(outputs.items()):
                    if fnmatchcase(name, self.pattern):
                        outputs[name + "-unscaled"] = expression
                        outputs[name] = expression * 2

        Parameters
        ----------
        outputs : dict of str to expression
            The layer's outputs by their full names. It is changed in place.
        layers : sequence of Layer
            The layers of the network, first the input and last the output; empty when the host has none to give.
        """

    def loss(self, layers: "Sequence[Any]", outputs: "MutableMapping[str, Any]") -> "Any":
        """Return the penalty: the unweighted scalar that is added, times the weight, to the loss of the network.

        Called once, with all outputs of the graph::

            def loss(self, outputs):
                return sum(abs(z).sum() for _, z in regkit.select_outputs(outputs, self.pattern))

        Parameters
        ----------
        layers : sequence of Layer
            The layers of the network, first the input and last the output.
        outputs : dict of str to expression
            All outputs of the graph by their full names.

        Returns
        -------
        scalar expression or None
            The penalty; None adds nothing.
        """

    def log(self) -> None:
        """Log one line at level INFO to the logger ``regkit``, such as ``regularizer: 0.1 * HiddenL1(hid3:out)``."""
        import logging

        pattern = getattr(self, "pattern", None)
        logging.getLogger("regkit").info(
            "regularizer: %s * %s(%s)",
            getattr(self, "weight", 1),
            type(self).__name__,
            pattern if pattern is None or isinstance(pattern, str) else ", ".join(pattern),
        )

    def checked_choice(self, argument: str, value: "Any", accepted: "Sequence[str]") -> str:
        """Return the value of a constructor's argument if it is one of several; otherwise raise an OptionError.

        Examples
        --------
        >>> import regkit
        >>> regkit.Regularizer().checked_choice("reduction", "max", ("sum", "mean"))
        Traceback (most recent call last):
            ...
        regkit.errors.OptionError: Regularizer got reduction='max'; accepted: 'sum', 'mean'
        """
        if not isinstance(value, str) or value not in accepted:
            choices = ", ".join(map(repr, accepted))
            raise regkit.OptionError(f"{type(self).__name__} got {argument}={value!r}; accepted: {choices}")
        return value

    def __repr__(self) -> str:
        from .constructors import changed_options

        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in changed_options(self).items())})"

    @classmethod
    def _hooks_are_plain(cls) -> bool:
        """Tell whether a subclass overrides hooks, and all as methods with the arguments that are given, or fewer.

        Nearly all do. Where not, :mod:`regkit.hooks.signatures` looks closer, and says what is wrong if anything is.
        """
        found = False
        for base in cls.__mro__[: cls.__mro__.index(Regularizer)]:
            for name, attribute in vars(base).items():
                if any(hasattr(attribute, mark) for mark in ("__func__", "__wrapped__", "regkit_impl")):
                    return False
                if name in ("modify_graph", "loss", "log"):
                    code, given = getattr(attribute, "__code__", None), getattr(Regularizer, name).__code__.co_varnames
                    if code is None or code.co_flags & 0x0C or code.co_kwonlyargcount or not code.co_argcount:
                        return False
                    if attribute.__defaults__ or not {*code.co_varnames[1 : code.co_argcount]} <= {*given[1:]}:
                        return False
                    found = True
        return found


class RegularizerSet:
    """An ordered set of regularizers; `build` makes it.

    ``regs[0]`` and ``regs["hidden_l1"]`` are members; where an alias has several, ``regs["noise[1]"]`` is the second.
    Sets do not compare by value: compare `config`.
    """

    def __init__(self, members: "Iterable[Member]") -> None:
        self._members = tuple(members)
        self._driver: Driver | None = None

    # What a host calls

    def modify_graph(self, outputs: "MutableMapping[str, Any]", layers: "Sequence[Any]" = ()) -> None:
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
        self._hooks.modify_graph(outputs, layers)

    def loss(self, layers: "Sequence[Any]", outputs: "MutableMapping[str, Any]") -> "Any":
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
        from .hooks.penalties import weighted_total

        return weighted_total(self.terms(layers, outputs))

    def terms(self, layers: "Sequence[Any]", outputs: "MutableMapping[str, Any]") -> "list[Term]":
        """Return each regularizer's part of the loss by itself.

        Parameters and errors are those of `loss`.

        Returns
        -------
        list of Term
            ``(name, weight, penalty, weighted)``, in order, without regularizers that have no penalty.
        """
        return self._hooks.terms(layers, outputs)

    def apply(self, outputs: "Mapping[str, Any]", layers: "Sequence[Any]" = ()) -> "dict[str, Any]":
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

    def log(self) -> None:
        """Let every regularizer log its line, in order."""
        self._hooks.log()

    def unmatched(self) -> "list[str]":
        """Return the names of regularizers that change graphs and whose pattern has matched nothing so far.

        For hosts that only predict: `modify_graph` sees one layer at a time and cannot know that no layer will match.
        """
        return self._hooks.unmatched()

    def config(self) -> "dict[str, Any]":
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
        from .serialization import config_of

        return config_of(self._members)

    # As a sequence

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> "Iterator[Any]":
        return (regularizer for _, regularizer, _ in self._members)

    def __getitem__(self, key: "int | slice | str") -> "Any":
        if isinstance(key, slice):
            return RegularizerSet(self._members[key])
        if isinstance(key, str):
            for name, regularizer in zip(self._names(), self):
                if name == key:
                    return regularizer
            raise regkit.UnknownAliasError(
                f"no regularizer {key!r} in this set. It has: {', '.join(self._names()) or 'none'}"
            )
        return self._members[key][1]

    def __contains__(self, key: object) -> bool:
        return key in self._names() if isinstance(key, str) else any(key is regularizer for regularizer in self)

    def __repr__(self) -> str:
        from .serialization import call_of

        return call_of(self._members)

    def __getstate__(self) -> "dict[str, Any]":
        """A copy does not share with its original what is remembered of a graph."""
        driver = self._driver
        return {"_members": self._members, "_driver": driver and driver.copy()}

    # Inside

    def _names(self) -> "list[str]":
        """The label of each member, numbered from its second appearance on."""
        count: dict[str, int] = {}
        names = []
        for label, _, _ in self._members:
            count[label] = count.get(label, -1) + 1
            names.append(f"{label}[{count[label]}]" if count[label] else label)
        return names

    @property
    def _hooks(self) -> "Driver":
        """What calls the hooks, made at the first call: it needs pluggy, and registering costs more than building."""
        if self._driver is None:
            from .hooks.driver import Driver

            self._driver = Driver(list(zip(self._names(), self)))
        return self._driver


def build(options: "Mapping[str, Any] | None" = None, /, **aliases: "Any") -> "RegularizerSet":
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
    if options is not None:
        from .value_forms import merged

        aliases = merged(options, aliases)
    members: list[Member] = []
    for alias, value in aliases.items():
        arguments = value if type(value) is dict else {"weight": value}
        regularizer = _plainly_built(alias, arguments) if is_plain_number(arguments.get("weight")) else None
        if regularizer is not None:
            members.append((alias, regularizer, True))
        else:
            from .value_forms import built

            members += [(alias, one, from_alias) for one, from_alias in built(alias, value)]
    if len(aliases) > 1:
        _check_twins(members)
    return RegularizerSet(members)


def _plainly_built(alias: str, arguments: "dict[str, Any]") -> "Any":
    """Return the regularizer of a constructor's arguments, or None where it has to be found out what is wrong."""
    cls: Any = class_of(alias)
    if len(arguments) > 1:
        code = getattr(cls.__init__, "__code__", None)
        if code is None or code.co_flags & 0x08:  # with **kwargs it might take a misspelt name in silence
            return None
    try:
        regularizer = cls(**arguments)
        regularizer.weight  # noqa: B018 - it is an error not to store it
    except Exception:
        return None
    return regularizer


def _check_twins(members: "list[Member]") -> None:
    """Raise if two aliases were given that are one regularizer: one target, or one registered class."""
    alias_of: dict[object, str] = {}
    for alias, _, from_alias in members:
        if from_alias:
            twin = alias_of.setdefault(identity_of(alias), alias)
            if twin != alias:
                raise regkit.OptionError(f"aliases {twin!r} and {alias!r} are the same regularizer. Give one of them")
