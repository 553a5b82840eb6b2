"""What is to be proven: a regularizer's class, the aliases and options it is tried with, and what its author gave."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ..constructors import constructor_arguments
from ..discovery import class_of
from ..errors import OptionError
from ..hooks.adapters import Adapter
from ..hooks.signatures import has_hooks, implemented
from ..registry import available
from ..regularizers import Regularizer, RegularizerSet
from .libraries import Arrays, Values
from .network import Network

#: The weight that a regularizer has where a check does not say another. Below 1, so that it can be a probability.
WEIGHT = 0.25

#: Selects the output and the parameters of one layer of `Network`, whichever the regularizer goes by.
ONE_LAYER = "hid2[:.]*"


class NotApplicable(Exception):  # noqa: N818 - no error: what a check says of a regularizer that it is not about
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
        self.cls: type = class_of(regularizer) if isinstance(regularizer, str) else regularizer
        if not isinstance(self.cls, type) or not has_hooks(self.cls):
            raise OptionError(f"{self.cls!r} is no regularizer. Accepted: an alias, or a class with hooks")
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

    def __repr__(self) -> str:
        target = f"{self.cls.__module__}:{self.cls.__qualname__}"
        return target if self.name == self.cls.__name__ else f"{self.name} ({target})"

    def takes(self, argument: str) -> bool:
        """Tell whether the constructor takes an argument."""
        return argument in constructor_arguments(self.cls)[0]

    def make(self, **changes: Any) -> Any:
        """Make one, with the options that are to be tried and changes to them."""
        usual = {"weight": WEIGHT, "seed": 7}
        options = {name: value for name, value in usual.items() if self.takes(name)}
        return self.cls(**{**options, **self.options, **changes})

    def set_of(self, *regularizers: Any) -> RegularizerSet:
        """Put regularizers into a set, as `build` does."""
        return RegularizerSet([(self.name, regularizer, False) for regularizer in regularizers])

    def has(self, hook: str) -> bool:
        """Tell whether the class implements a hook itself."""
        return hook in implemented(self.cls)

    @property
    def is_subclass(self) -> bool:
        """Whether it is a subclass of `Regularizer`, and not a class that marks its hooks."""
        return issubclass(self.cls, Regularizer)

    def needs_penalty(self) -> None:
        """Say that a check is about penalties only."""
        if not self.has("loss"):
            raise NotApplicable("it has no loss hook")

    def needs_change(self) -> None:
        """Say that a check is about changes of the graph only."""
        if not self.has("modify_graph"):
            raise NotApplicable("it has no modify_graph hook")

    def needs(self, argument: str) -> None:
        """Say that a check is about classes whose constructor takes an argument."""
        if not self.takes(argument):
            raise NotApplicable(f"its constructor takes no {argument}")

    # On a graph

    def graph(self, library: Any, values: Values, regularizers: Any = None) -> tuple[dict[str, Any], Any, Any]:
        """Return the inputs, the layers and the outputs of a new network."""
        inputs = library.inputs(values)
        return (inputs, *self.network.connect(inputs, library.tensor_module, regularizers))

    def penalty(self, regularizer: Any, layers: Any, outputs: Any) -> Any:
        """Return what the loss hook gives."""
        return Adapter(self.name, regularizer).loss(layers, outputs)[1]

    def penalty_value(self, library: Any, regularizer: Any, dtype: str = "float64") -> Any:
        """Return the value of the penalty on a new network, which nothing has changed."""
        values = self.network.values(dtype)
        inputs, layers, outputs = self.graph(library, values)
        return library.values(inputs, self.penalty(regularizer, layers, outputs), values)

    def twin_value(self, regularizer: Any, dtype: str = "float64") -> Any:
        """Return what the author's NumPy twin makes of the same network."""
        _, layers, outputs = self.graph(Arrays(), self.network.values(dtype))
        return self.twin(regularizer, layers, outputs)

    def changed(self, library: Any, regularizer: Any, dtype: str = "float64") -> Changes:
        """Return what a regularizer makes of the outputs of a new network."""
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


class Changes:
    """Stands between a network and a set of regularizers, and keeps what each layer was before and after them."""

    library: Any
    inputs: dict[str, Any]
    values: Values

    def __init__(self, regularizers: RegularizerSet) -> None:
        self._regularizers = regularizers
        #: name of a changed output -> what it was, what an array's value was then, what it is, all that was added
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
        """Return the changes; say that a check is about regularizers that make any."""
        if not self.of:
            raise NotApplicable("its modify_graph leaves these outputs as they are")
        return self

    def computed(self, **how: Any) -> list[Any]:
        """Return the values of the changed outputs."""
        changed = [after for _, _, after, _ in self.of.values()]
        values: list[Any] = self.library.values(self.inputs, changed, self.values, **how)
        return values
