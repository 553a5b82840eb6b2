"""The class to be checked, with the aliases, options, NumPy twin and network that it is tried with."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from traceback import walk_tb
from types import CodeType
from typing import Any

import numpy as np

from .._build import available, load
from .._constructor import constructor_arguments
from .._hooks import Adapter
from .._layers import Layer
from .._members import Member
from .._regularizer import Regularizer, changes_params, has_hooks, implemented
from .._sets import Entry, RegularizerSet
from ..errors import OptionError
from ..graph import gradient, jacobian
from ._laboratory import Arrays, Values
from ._network import Network

#: The weight of a regularizer where a check uses no other. Below 1, so that it can be a probability.
WEIGHT = 0.25

#: Selects the output and the parameters of one layer of `Network`, for regularizers of either.
ONE_LAYER = "hid2[:.]*"


class NotApplicable(Exception):  # noqa: N818 - no error: the check is about other regularizers
    """Raised by a check that has nothing to check, with the reason."""


class Subject:
    """A regularizer's class, and how the checks make and use it."""

    def __init__(
        self,
        regularizer: Any,
        *,
        aliases: Sequence[str] | None = None,
        options: Mapping[str, Any] | None = None,
        twin: Any = None,
        network: Network | None = None,
    ) -> None:
        self.cls: type = load(regularizer) if isinstance(regularizer, str) else regularizer
        if not isinstance(self.cls, type) or not has_hooks(self.cls):
            given = repr(self.cls)
            if len(given) > 100:  # such as a table, or the environment, which may have secrets
                given = f"an object of type {type(self.cls).__name__}"
            raise OptionError(f"{given} is not a regularizer. Accepted: an alias, or a class with hooks")
        if aliases is not None and (isinstance(aliases, str) or not isinstance(aliases, Sequence)):
            raise OptionError(f"aliases is {aliases!r}; accepted: a sequence of names, or None for those installed")
        if options is not None and not isinstance(options, Mapping):
            raise OptionError(f"options is {options!r}; accepted: a mapping of the constructor's arguments")
        if twin is not None and not callable(twin):
            raise OptionError(f"twin is {twin!r}; accepted: a function of (regularizer, layers, outputs), in NumPy")
        if network is not None and not isinstance(network, Network):
            raise OptionError(f"network is {network!r}; accepted: a regkit.testing.Network")
        self.name = regularizer if isinstance(regularizer, str) else self.cls.__name__
        self.aliases_are_given = aliases is not None
        self.aliases = _installed_aliases(self.cls) if aliases is None else tuple(aliases)
        self.options = dict(options or {})
        self.twin = twin
        self.network = network or Network()
        self._compiled: dict[Any, Callable[[Values], list[Any]]] = {}

    def __repr__(self) -> str:
        target = f"{self.cls.__module__}:{self.cls.__qualname__}"
        return target if self.name == self.cls.__name__ else f"{self.name} ({target})"

    def takes(self, argument: str) -> bool:
        """Return whether the constructor takes an argument."""
        return argument in constructor_arguments(self.cls)[0]

    def make(self, **changes: Any) -> Any:
        """Make one, with the options to try and changes to these."""
        usual = {"weight": WEIGHT, "seed": 7}
        options = {name: value for name, value in usual.items() if self.takes(name)}
        return self.cls(**{**options, **self.options, **changes})

    def set_of(self, *regularizers: Any) -> RegularizerSet:
        """Put regularizers into a set, as `build` does."""
        return RegularizerSet(Entry(self.name, regularizer) for regularizer in regularizers)

    def has(self, hook: str) -> bool:
        """Return whether the class implements a hook itself."""
        return hook in implemented(self.cls)

    @property
    def is_subclass(self) -> bool:
        """Whether it is a subclass of `Regularizer`, and not a class that marks its hooks."""
        return issubclass(self.cls, Regularizer)

    def needs_penalty(self) -> None:
        """Raise NotApplicable for a class without penalties."""
        if not self.has("loss"):
            raise NotApplicable("it has no loss hook")

    def needs_change(self) -> None:
        """Raise NotApplicable for a class without changes of the graph."""
        if not self.has("modify_graph"):
            raise NotApplicable("it has no modify_graph hook")

    def needs_gradient(self) -> None:
        """Raise NotApplicable for a penalty that is not trained by its gradient."""
        self.needs_penalty()
        if changes_params(self.make()):
            raise NotApplicable("it acts after the optimizer's step, so its penalty may have no gradient")

    def needs(self, argument: str) -> None:
        """Raise NotApplicable for a class whose constructor does not take an argument."""
        if not self.takes(argument):
            raise NotApplicable(f"its constructor takes no {argument}")

    def place(self, error: BaseException, hook: str = "") -> str:
        """Return file and line of the author's code where an error was raised, or of the hook or class.

        Parameters
        ----------
        error : exception
        hook : str, optional
            The hook to return if the error was not raised in the author's code; without it, the class.
        """
        module = sys.modules.get(self.cls.__module__.partition(".")[0])
        file = getattr(module, "__file__", None)
        if file is None:
            return ""
        own = Path(file).parent if hasattr(module, "__path__") else Path(file)
        for code, line in _raised_in(error):
            if Path(code.co_filename).is_relative_to(own):
                return _shown(code.co_filename, line)
        function = getattr(inspect.unwrap(getattr(self.cls, hook, self.cls)), "__code__", None)
        if function is not None and Path(function.co_filename).is_relative_to(own):
            return _shown(function.co_filename, function.co_firstlineno)
        try:
            source, first = inspect.findsource(self.cls)
            while not source[first].lstrip().startswith("class "):  # a decorator
                first += 1
            return _shown(inspect.getsourcefile(self.cls) or file, first + 1)
        except (OSError, TypeError):  # made by code that is in no file
            return ""

    # On a graph

    def graph(self, library: Any, values: Values, regularizers: Any = None) -> tuple[dict[str, Any], Any, Any]:
        """Return the inputs, the layers and the outputs of a new network."""
        inputs = library.inputs(values)
        return (inputs, *self.network.connect(inputs, library.tensor_module, regularizers))

    def penalty(self, regularizer: Any, layers: Any, outputs: Any) -> Any:
        """Return the result of the loss hook."""
        return Adapter(Member(self.name, regularizer)).loss(layers, outputs)[1]

    def tried(
        self, library: Any, values: Values, regularizer: Any = None
    ) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        """Return the penalty of a new network by a given regularizer or a new one, and the outputs before and after."""

        def build(inputs: dict[str, Any]) -> tuple[Any, dict[str, Any], dict[str, Any]]:
            layers, outputs = self.network.connect(inputs, library.tensor_module)
            before = dict(outputs)
            penalty = self.penalty(self.make() if regularizer is None else regularizer, layers, outputs)
            return penalty, before, outputs

        result: tuple[Any, dict[str, Any], dict[str, Any]] = library.built(build, values)
        return result

    def compiled(
        self,
        library: Any,
        dtype: str = "float64",
        *,
        pattern: str | None = None,
        gradients: bool = False,
        network: Network | None = None,
    ) -> Callable[[Values], list[Any]]:
        """Return a function of the network's values that returns the penalty and, if requested, its gradients.

        The checks share it: for one library it is compiled once for each dtype, pattern, network, with and without
        gradients.
        """
        key = (library.name, dtype, pattern, gradients, repr(network or self.network))
        if key not in self._compiled:
            values = self.network.values(dtype)
            changes = {} if pattern is None else {"pattern": pattern}
            build = self.penalty_of(library, network=network, **changes)
            self._compiled[key] = library.compiled(build, values, list(values) if gradients else ())
        return self._compiled[key]

    def penalty_of(
        self, library: Any, regularizer: Any = None, network: Network | None = None, **changes: Any
    ) -> Callable[[dict[str, Any]], Any]:
        """Return a function that builds the penalty, by a given regularizer or by a new one each time."""

        def build(inputs: dict[str, Any]) -> Any:
            layers, outputs = (network or self.network).connect(inputs, library.tensor_module)
            return self.penalty(self.make(**changes) if regularizer is None else regularizer, layers, outputs)

        return build

    def twin_value(self, regularizer: Any, dtype: str = "float64") -> Any:
        """Return the penalty of the author's NumPy twin for the same network."""
        _, layers, outputs = self.graph(Arrays(), self.network.values(dtype))
        return self.twin(regularizer, layers, outputs)

    def changed(self, library: Any, regularizer: Any, dtype: str = "float64") -> Changes:
        """Return the changes of a regularizer to the outputs of a new network."""
        changes = Changes(self.set_of(regularizer))
        changes.values = self.network.values(dtype)
        changes.inputs, _, _ = self.graph(library, changes.values, changes)
        changes.library = library
        return changes


def _installed_aliases(cls: type) -> tuple[str, ...]:
    """The aliases that are meant for a class: their targets have its package and its name, or one that is not there."""

    def meant(target: str) -> bool:
        module, _, attribute = target.partition(":")
        if module.partition(".")[0] != cls.__module__.partition(".")[0]:
            return False
        misspelt = module in sys.modules and not hasattr(sys.modules[module], attribute.partition(".")[0])
        return attribute == cls.__qualname__ or misspelt

    return tuple(alias for alias, claims in available().items() if any(meant(claim.target) for claim in claims))


def _shown(path: str, line: int) -> str:
    """A file and a line as people and editors read them: from the current folder, if it is in there."""
    file, here = Path(path), Path.cwd()
    return f"{file.relative_to(here) if file.is_relative_to(here) else file}:{line}"


def named_parameters(layers: Sequence[Layer]) -> dict[str, Any]:
    """Return the parameters of layers by their names."""
    return {name: param for layer in layers for name, param in zip(layer.param_names, layer.params)}


def _raised_in(error: BaseException) -> Iterator[tuple[CodeType, int]]:
    """Yield the code and line of each frame that an error, and those that led to it, went through, innermost first."""
    raised: BaseException | None = error
    while raised is not None:
        yield from ((frame.f_code, line) for frame, line in reversed(list(walk_tb(raised.__traceback__))))
        raised = raised.__cause__ or raised.__context__


def without_derivatives(error: BaseException, library: Any) -> bool:
    """Return whether an error is that of a derivative that the library does not have."""
    derivatives = (gradient.__code__, jacobian.__code__)
    return library is not None and not library.gradients and any(code in derivatives for code, _ in _raised_in(error))


class Changes:
    """Stands between a network and a set of regularizers, and keeps each layer from before and after them."""

    library: Any
    inputs: dict[str, Any]
    values: Values

    def __init__(self, regularizers: RegularizerSet | Adapter) -> None:
        self._regularizers = regularizers
        #: name of a changed output -> the original, the value of an array then, the new one, all that was added
        self.of: dict[str, tuple[Any, Any, Any, list[Any]]] = {}

    def modify_graph(self, outputs: dict[str, Any], layers: Sequence[Any]) -> None:
        """Let the regularizers change one layer's outputs."""
        before = dict(outputs)
        values = {name: value.copy() if hasattr(value, "flags") else None for name, value in outputs.items()}
        self._regularizers.modify_graph(outputs, layers)
        added = [value for name, value in outputs.items() if name not in before]
        for name, expression in before.items():
            value = values[name]
            if outputs[name] is not expression or (value is not None and (value != expression).any()):
                self.of[name] = (expression, value, outputs[name], added)

    def needed(self) -> Changes:
        """Return the changes; raise NotApplicable where there are none."""
        if not self.of:
            raise NotApplicable("its modify_graph leaves these outputs as they are")
        return self

    def computed(self) -> list[Any]:
        """Return the values of the changed outputs."""
        changed = [after for _, _, after, _ in self.of.values()]
        values: list[Any] = self.library.values(self.inputs, changed, self.values)
        return values


def selected(
    regularizer: Any, layers: Sequence[Any], outputs: Mapping[str, np.ndarray] | None = None
) -> dict[str, np.ndarray]:
    """Return the arrays that a regularizer selects, for its NumPy twin.

    A twin has to be independent of the code that it checks, so this uses the standard library's `fnmatch` and not
    `regkit.select_outputs`.

    Parameters
    ----------
    regularizer : Regularizer
        Its ``pattern`` is a glob, several, or None.
    layers : sequence of Layer
        First the input, last the output, between them hidden.
    outputs : mapping of str to array, optional
        All outputs by name. Without it the layers' parameters are selected from, by their names.

    Returns
    -------
    dict of str to array
        The outputs that the pattern matches, or those of all hidden layers without a pattern; or the parameters that
        the pattern matches, or all of them. A glob that begins with ``!`` takes names out.

    Examples
    --------
    >>> import numpy, regkit.testing
    >>> network = regkit.testing.Network()
    >>> layers, outputs = network.connect(network.values(), numpy)
    >>> list(regkit.testing.selected(regkit.Regularizer(), layers, outputs))
    ['hid1:out', 'hid2:out']
    >>> list(regkit.testing.selected(regkit.Regularizer("hid2.*"), layers))
    ['hid2.w', 'hid2.b']
    """
    if outputs is None:
        arrays = {param.name: np.asarray(param) for layer in layers for param in layer.params}
        usual = list(arrays)
    else:
        arrays = dict(outputs)
        usual = [layer.output_name for layer in layers[1:-1]]
    pattern = regularizer.pattern
    globs = [pattern] if isinstance(pattern, str) else pattern or []
    chosen = set(usual) if not globs or globs[0].startswith("!") else set()
    for glob in globs:
        matching = {name for name in arrays if fnmatchcase(name, glob.lstrip("!"))}
        chosen = chosen - matching if glob.startswith("!") else chosen | matching
    return {name: array for name, array in arrays.items() if name in chosen}
