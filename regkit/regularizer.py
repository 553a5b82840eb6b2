"""Regularizer, which plugin authors subclass. Its hooks are the contract between users, authors and hosts.

The hooks are plain methods: :mod:`regkit.hooks` makes specifications of them when the first one is called, since
building must not cost the import of pluggy.
"""

from __future__ import annotations

import sys

import regkit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping, Sequence
    from typing import Any, TypeVar, Union

    Returned = TypeVar("Returned")
    Pattern = Union[str, Sequence[str], None]

LARGEST_FLOAT = sys.float_info.max


def is_plain_number(weight: Any, below: float = float("inf")) -> bool:
    """Tell whether a weight is what nearly all are: a Python number in range, which needs no closer look."""
    return (type(weight) is float or type(weight) is int) and 0 <= weight <= LARGEST_FLOAT and weight < below


def _or_fewer_arguments(hook: Callable[..., Returned]) -> Callable[..., Returned]:
    """Tell type checkers that a subclass may leave arguments of a hook out; the hook stays as it is."""
    return hook


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

    #: What a sum over an array may be divided by: nothing, the number of elements, the number of examples.
    REDUCTIONS = ("sum", "mean", "batch")

    #: The weight has to be below this. A subclass whose weight is a probability says 1.
    weight_below = float("inf")

    #: Whether instances change the graph. A subclass that overrides `modify_graph` is taken to do so, unless it says
    #: ``changes_graph = False``.
    changes_graph = False

    #: What None for a pattern selects, in words, for the log and the catalogue.
    default_selection = "default"

    def __init__(self, pattern: Pattern = None, weight: Any = 0.0) -> None:
        if not is_plain_number(weight, self.weight_below):
            from .validation import checked_weight

            weight = checked_weight(type(self), weight)
        self.pattern: Pattern = self.checked_pattern("pattern", pattern)
        self.weight = weight

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Find out whether the class changes graphs: the nearest that overrides the hook, or says so, tells."""
        super().__init_subclass__(**arguments)
        for base in cls.__mro__:
            if "changes_graph" in vars(base):
                return  # Python finds it there by itself; a copy here would hide what a further base of a subclass says
            if "modify_graph" in vars(base):
                cls.changes_graph = True
                return

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
        """Log one line at level INFO to the logger ``regkit``.

        It says the weight, the class, what is selected, the name in the set and the other options, such as
        ``regularizer: 0.1 * HiddenL1(hid3:out) [hidden_l1, reduction=sum]``.
        """
        import logging

        from .serialization import line_of

        logging.getLogger("regkit").info("regularizer: %s", line_of(self))

    def checked_choice(self, argument: str, value: Any, accepted: Sequence[str]) -> str:
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

    def checked_pattern(self, argument: str, value: Any) -> Pattern:
        """Return the value of a constructor's argument if it is None, a glob or several; otherwise raise OptionError.

        A list comes back as a tuple, so that nobody changes it from outside.

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
        raise regkit.OptionError(
            f"{type(self).__name__} got {argument}={value!r}; accepted: None, a glob, or a list of one or more globs"
        )

    def checked_number(self, argument: str, value: Any, low: float = 0.0, high: float = float("inf")) -> float:
        """Return the value of a constructor's argument if it is a number in a range; otherwise raise an OptionError.

        NumPy's scalars come back as Python's. Neither bool nor what is not finite is a number here.

        Examples
        --------
        >>> import regkit
        >>> regkit.Regularizer().checked_number("l1_ratio", 1.5, high=1)
        Traceback (most recent call last):
            ...
        regkit.errors.OptionError: Regularizer got l1_ratio=1.5; accepted: a finite real number from 0 to 1
        """
        from .validation import as_python_number, range_in_words

        number = as_python_number(value)
        if number is None or not low <= number <= high or not abs(number) <= LARGEST_FLOAT:
            accepted = f"a finite real number {range_in_words(low, high)}"
            raise regkit.OptionError(f"{type(self).__name__} got {argument}={value!r}; accepted: {accepted}")
        return number

    def __repr__(self) -> str:
        from .serialization import changed_options

        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in changed_options(self).items())})"
