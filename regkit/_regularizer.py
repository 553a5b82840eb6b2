"""Regularizer, which plugin authors subclass; its hooks, and which of them a class implements.

The hooks are plain methods, and these are the specification: a further hook is a method here, a name in `HOOKS`, and a
method of the adapter in :mod:`regkit._hooks`.
"""

from __future__ import annotations

from weakref import WeakValueDictionary

from ._constructor import changed_options, constructor_arguments, line_of
from ._values import INFINITY, LARGEST_FLOAT, REDUCTIONS, as_python_number, is_plain_number, is_zero, range_in_words
from ._weights import checked_weight
from .errors import HookSignatureError, OptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping, Sequence
    from typing import Any, TypeVar, Union

    Returned = TypeVar("Returned")
    Pattern = Union[str, Sequence[str], None]

#: Regularizers whose options are fixed, since they are in a set, by their ids.
_fixed: WeakValueDictionary[int, Regularizer] = WeakValueDictionary()


def fix_options(regularizer: object) -> None:
    """Make setting an option of a regularizer an error from now on."""
    if isinstance(regularizer, Regularizer):
        _fixed[id(regularizer)] = regularizer


def _or_fewer_arguments(hook: Callable[..., Returned]) -> Callable[..., Returned]:
    """Return the hook; for type checkers, subclasses may leave arguments out."""
    return hook


class Regularizer:
    """Base class of regularizers.

    A regularizer adds ``weight * loss(layers, outputs)`` to the loss of a network, or changes the outputs of its
    layers, or the parameters after an optimizer's step. A subclass overrides any of the hooks `loss`, `modify_graph`,
    `after_step`, `metrics` and `log`, with their arguments or fewer.
    Further constructor arguments are stored under the same names: repr, config and copy depend on that. The options of
    a regularizer in a set are fixed: a `Live` is for a weight that changes.

    Parameters
    ----------
    pattern : str or sequence of str, optional
        Case-sensitive glob, or several, for the names of outputs or parameters, depending on `selects`. A glob that
        begins with ``!`` takes names out of those before it: ``["*", "!emb*"]``. The subclass defines the meaning of
        None.
    weight : real number or scalar of a graph library, default 0
        Strength of the regularizer, dimensionless and at least 0. A `Live`, and a symbolic or shared scalar, can change
        without recompilation.

    Raises
    ------
    OptionError
        If the weight is not a finite real number of at least 0, or the pattern not a glob.
    GraphError
        If the weight is an expression that is not a scalar.

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

    #: The divisors of a sum over an array: none, the number of elements, the number of examples.
    REDUCTIONS = REDUCTIONS

    #: What the pattern selects: ``"outputs"``, ``"params"``, or None if the pattern is something else.
    selects: str | None = "outputs"

    #: The weight has to be below this: 1 where it is a probability.
    weight_below = INFINITY

    #: Whether instances change the graph: True for a subclass that overrides `modify_graph`, unless it sets this.
    changes_graph = False

    #: Whether instances change parameters after an optimizer's step: True for a subclass that overrides `after_step`,
    #: unless it sets this.
    changes_params = False

    #: Whether the change of the graph holds in predictions too, and not only in training.
    in_predictions = False

    #: Whether it acts at a weight of 0 too. A constructor sets it where another argument takes the place of the weight.
    acts_at_any_weight = False

    #: The name of the engine whose arrays hooks are written for, such as ``"torch"``; None if for all. Such hooks get
    #: the engine's arrays instead of expressions, and may use any of its functions.
    engine: str | None = None

    #: The meaning of None as a pattern, in words, for the log and the catalogue.
    default_selection = "default"

    def __init__(self, pattern: Pattern = None, weight: Any = 0.0) -> None:
        if not is_plain_number(weight, self.weight_below):
            weight = checked_weight(type(self), weight)
        self.pattern: Pattern = self.checked_pattern("pattern", pattern)
        self.weight = weight

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Set `changes_graph` and `changes_params` of a class that overrides the hook and does not set them."""
        super().__init_subclass__(**arguments)
        for attribute, hook in (("changes_graph", "modify_graph"), ("changes_params", "after_step")):
            for base in cls.__mro__:
                if attribute in vars(base):
                    break  # Python finds it there; a copy here would hide that of a further base of a subclass
                if hook in vars(base):
                    setattr(cls, attribute, True)
                    break

    @_or_fewer_arguments
    def modify_graph(self, outputs: MutableMapping[str, Any], layers: Sequence[Any]) -> None:
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

    @_or_fewer_arguments
    def loss(self, layers: Sequence[Any], outputs: MutableMapping[str, Any]) -> Any:
        """Return the penalty: an unweighted scalar, which is multiplied by the weight and added to the network's loss.

        Called once for each graph::

            def loss(self, outputs):
                return sum(abs(z).sum() for _, z in regkit.select_outputs(outputs, self.pattern))

        Parameters
        ----------
        layers : sequence of Layer
            The layers of the network, first the input and last the output.
        outputs : dict of str to expression
            The outputs that the pattern selects, and those that another option which is a string, or several, names;
            all outputs of the graph where there is no pattern. Any other name is a `GraphError`, on every engine.

        Returns
        -------
        scalar expression or None
            The penalty; None adds nothing.
        """

    @_or_fewer_arguments
    def after_step(
        self,
        params: MutableMapping[str, Any],
        amount: Any,
        layers: Sequence[Any],
        divisors: Mapping[str, Any],
    ) -> None:
        """Change parameters after an optimizer's step, such as by a proximal operator or a projection.

        Called once a step, with all parameters of the network::

            def after_step(self, params, amount):
                for name, w in regkit.select_params([regkit.Layer("", params)], self.pattern):
                    params[name] = w * (1 - regkit.graph.cast(amount, str(w.dtype)))

        Parameters
        ----------
        params : dict of str to expression
            The values after the optimizer's step, by the full names of the parameters. It is changed in place; each
            keeps its dtype and shape.
        amount : number or scalar expression
            The step size times the weight. It may be traced: no branch may depend on it. Cast it before it meets a
            parameter: a symbolic step size may be wider.
        layers : sequence of Layer
            The layers of the network; empty when the host has none to give.
        divisors : dict of str to expression
            The numbers by which the optimizer divides the gradient of each element, by the full names of parameters:
            for Adam the root of the mean square. Empty for optimizers that do not divide. A proximal step divides the
            amount by them; one that does not take this argument is refused under an optimizer that divides.
        """

    @_or_fewer_arguments
    def metrics(self, layers: Sequence[Any], outputs: MutableMapping[str, Any]) -> Mapping[str, Any]:
        """Return scalars to look at, by name, such as the share of zeros. Called only when metrics are requested.

        Parameters
        ----------
        layers : sequence of Layer
        outputs : dict of str to expression
            As those of `loss`.

        Returns
        -------
        mapping of str to scalar expression
        """
        return {}

    def log(self) -> None:
        """Log one line at level INFO to the logger ``regkit``.

        The line has the weight, the class, the selection, the name in the set and the other options, such as
        ``regularizer: 0.1 * HiddenL1(hid3:out) [hidden_l1, reduction=sum]``.
        """
        log_line(self)

    def checked_choice(self, argument: str, value: Any, accepted: Sequence[str]) -> str:
        """Return the value of a constructor's argument if it is one of several; otherwise raise an OptionError.

        Examples
        --------
        >>> import regkit
        >>> regkit.Regularizer().checked_choice("reduction", "max", ("sum", "mean"))
        Traceback (most recent call last):
            ...
        regkit.OptionError: Regularizer got reduction='max'; accepted: 'sum', 'mean'
        """
        if not isinstance(value, str) or value not in accepted:
            choices = ", ".join(map(repr, accepted))
            raise OptionError(f"{type(self).__name__} got {argument}={value!r}; accepted: {choices}")
        return value

    def checked_pattern(self, argument: str, value: Any) -> Pattern:
        """Return the value of a constructor's argument if it is None, a glob or several; otherwise raise OptionError.

        A list is returned as a tuple, which nobody can change later.

        Examples
        --------
        >>> import regkit
        >>> regkit.Regularizer().checked_pattern("wrt", ["in:out", "hid*"])
        ('in:out', 'hid*')
        """
        if value is None or isinstance(value, str):
            return value
        if isinstance(value, (list, tuple)) and value and all(isinstance(glob, str) for glob in value):
            return tuple(value)
        raise OptionError(
            f"{type(self).__name__} got {argument}={value!r}; accepted: None, a glob, or a list of one or more globs"
        )

    def checked_number(self, argument: str, value: Any, low: float = 0.0, high: float = float("inf")) -> float:
        """Return the value of a constructor's argument if it is a number in a range; otherwise raise an OptionError.

        NumPy's scalars are returned as Python's. A bool does not count as a number, nor do infinity and NaN.

        Examples
        --------
        >>> import regkit
        >>> regkit.Regularizer().checked_number("l1_ratio", 1.5, high=1)
        Traceback (most recent call last):
            ...
        regkit.OptionError: Regularizer got l1_ratio=1.5; accepted: a finite real number from 0 to 1
        """
        number = as_python_number(value)
        if number is None or not low <= number <= high or not abs(number) <= LARGEST_FLOAT:
            accepted = f"a finite real number {range_in_words(low, high)}".rstrip()
            raise OptionError(f"{type(self).__name__} got {argument}={value!r}; accepted: {accepted}")
        return number

    def __setattr__(self, name: str, value: Any) -> None:
        if _fixed.get(id(self)) is self and name in constructor_arguments(type(self))[0]:
            raise OptionError(
                f"{type(self).__name__}.{name} = {value!r}: its options are fixed, since it is in a set. A weight that "
                "changes is a regkit.Live; for other options build a new set"
            )
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in changed_options(self).items())})"


def log_line(regularizer: Any, name: str | None = None) -> None:
    """Log the line of a regularizer; `name` is that in a set."""
    import logging

    logging.getLogger("regkit").info("regularizer: %s", line_of(regularizer, name))


# Which hooks a class implements, and what they take: read from code objects, as `inspect` costs more than a build


HOOKS: dict[str, tuple[str, ...]] = {
    name: code.co_varnames[1 : code.co_argcount]
    for name in ("modify_graph", "loss", "after_step", "metrics", "log")
    for code in [vars(Regularizer)[name].__code__]
}

#: The attribute in which ``@regkit.hookimpl`` leaves the options of the hook that it marks.
MARK = "regkit_impl"


def implemented(cls: type) -> dict[str, tuple[str, ...]]:
    """Return the hooks that a class implements, each with the arguments that its implementation takes.

    Raises
    ------
    HookSignatureError
        If an implementation could not be called as regkit calls it, or there is none.
    """
    found: dict[str, tuple[str, ...]] = {}
    own = _attributes_before_the_hooks(cls)
    for name, attribute in own.items():
        options = _mark(attribute)
        if options is not None:
            _check_mark(cls, name, options)
        if name in HOOKS and (options is not None or issubclass(cls, Regularizer)):
            found[name] = _hook_arguments(cls, name, attribute)
    if not found:
        raise _refused(cls, f" has no hook. Override one of {_hooks_in_words()}")
    if issubclass(cls, Regularizer):
        found.setdefault("log", ())
    return {name: found[name] for name in HOOKS if name in found}


def has_hooks(cls: type) -> bool:
    """Return whether a class has hooks of a regularizer, right or wrong ones."""
    return issubclass(cls, Regularizer) or any(
        _mark(attribute) for base in cls.__mro__ for attribute in vars(base).values()
    )


def _attributes_before_the_hooks(cls: type) -> dict[str, object]:
    """Return the attributes of a class and its bases, nearest first, up to `Regularizer`."""
    found: dict[str, object] = {}
    for base in cls.__mro__:
        if base is object or base is Regularizer:
            break
        for name, attribute in vars(base).items():
            nearest = found.setdefault(name, attribute)
            if (
                name in HOOKS
                and _mark(attribute) is not None
                and _mark(nearest) is None
                and not issubclass(cls, Regularizer)
            ):
                raise _refused(cls, f".{name} overrides a hook. Mark it too with @regkit.hookimpl")
    return found


def _mark(attribute: object) -> Any:
    """Return the options that ``@regkit.hookimpl`` left on an attribute, or None."""
    return getattr(attribute, MARK, None) or getattr(getattr(attribute, "__func__", None), MARK, None)


def _check_mark(cls: type, name: str, options: dict[str, object]) -> None:
    if name not in HOOKS:
        raise _refused(cls, f" marks {name!r}, which is not a hook. The hooks are {_hooks_in_words()}")
    unusual = [option for option, value in options.items() if value]
    if unusual:
        raise _refused(
            cls,
            f".{name} is marked with {', '.join(unusual)}. "
            "Use @regkit.hookimpl without options: regularizers run in the order the user wrote",
        )


def _hook_arguments(cls: type, name: str, attribute: object) -> tuple[str, ...]:
    """Return the arguments of an implementation."""
    expected = HOOKS[name]
    function = attribute
    while hasattr(function, "__wrapped__") or hasattr(function, "__func__"):
        function = getattr(function, "__wrapped__", None) or function.__func__  # type: ignore[attr-defined]  # by hasattr
    code = getattr(function, "__code__", None)
    if code is None:
        raise _refused(cls, f".{name} is {attribute!r}. Write it as a method: {_signature(name)}")
    problems = []
    taken = code.co_varnames[: code.co_argcount]
    if not isinstance(attribute, staticmethod):
        if not taken:
            problems.append("no self")
        taken = taken[1:]
    defaults = getattr(function, "__defaults__", None) or ()
    with_default = taken[len(taken) - len(defaults) :] if defaults else ()
    problems += [f"argument {argument!r} with a default" for argument in with_default]
    problems += [f"unknown argument {a!r}" for a in taken if a not in expected and a not in with_default]
    rest = code.co_varnames[code.co_argcount :]
    problems += [f"keyword-only argument {argument!r}" for argument in rest[: code.co_kwonlyargcount]]
    rest = rest[code.co_kwonlyargcount :]
    if code.co_flags & 0x04:
        problems.append(f"*{rest[0]}")
        rest = rest[1:]
    if code.co_flags & 0x08:
        problems.append(f"**{rest[0]}")
    if problems:
        raise _refused(
            cls, f".{name} has {', '.join(problems)}. Expected {_signature(name)}, or fewer of these arguments"
        )
    return tuple(taken)


def _refused(cls: type, why: str) -> HookSignatureError:
    return HookSignatureError(f"{cls.__module__}.{cls.__qualname__}{why}")


def _signature(name: str) -> str:
    return f"{name}({', '.join(('self', *HOOKS[name]))})"


def _hooks_in_words() -> str:
    return ", ".join(_signature(name) for name in HOOKS)


def is_off(regularizer: object) -> bool:
    """Return whether a regularizer has no effect, since its weight is the constant 0."""
    return is_zero(getattr(regularizer, "weight", 1)) and not getattr(regularizer, "acts_at_any_weight", False)


def changes_params(regularizer: object) -> bool:
    """Return whether a regularizer changes parameters after a step; a class of marked hooks does if it has the hook."""
    given = getattr(regularizer, "changes_params", None)
    return "after_step" in implemented(type(regularizer)) if given is None else bool(given)


def changes_graph(regularizer: object) -> bool:
    """Return whether a regularizer changes graphs; a class of marked hooks does if it has that hook."""
    given = getattr(regularizer, "changes_graph", None)
    return "modify_graph" in implemented(type(regularizer)) if given is None else bool(given)
