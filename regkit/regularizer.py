"""Regularizer: what plugin authors subclass. Its hooks are the contract between users, plugin authors and integrators.

They are plain methods. :mod:`regkit.manager` makes pluggy hooks of them when the first one is called: building a
regularizer must not cost the import of pluggy.
"""

import sys

import regkit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence
    from typing import Any

    from .options import Pattern

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
            from .options import checked_pattern, checked_weight

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
        from .arguments import changed_options

        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in changed_options(self).items())})"


#: The arguments of each hook, by its name, in the order of the calls that a host makes.
HOOKS: "dict[str, tuple[str, ...]]" = {
    function.__name__: function.__code__.co_varnames[1 : function.__code__.co_argcount]
    for function in (Regularizer.modify_graph, Regularizer.loss, Regularizer.log)
}


#: Where ``@regkit.hookimpl`` leaves the options of the hook that it marks.
MARK = "regkit_impl"


def hooks_are_plain(cls: type) -> bool:
    """Tell whether all hooks of a class, of which there are some, are methods with the arguments above or fewer.

    Nearly all are. Where they are not, :mod:`regkit.signatures` looks closer, and says what is wrong if anything is.
    """
    found = False
    for base in cls.__mro__:
        if base is Regularizer:
            return found
        for name, attribute in vars(base).items():
            if hasattr(attribute, MARK) or hasattr(attribute, "__func__") or hasattr(attribute, "__wrapped__"):
                return False
            if name in HOOKS:
                code = getattr(attribute, "__code__", None)
                if code is None or code.co_flags & 0x0C or code.co_kwonlyargcount or not code.co_argcount:
                    return False
                if attribute.__defaults__ or not {*code.co_varnames[1 : code.co_argcount]} <= {*HOOKS[name]}:
                    return False
                found = True
    return False
