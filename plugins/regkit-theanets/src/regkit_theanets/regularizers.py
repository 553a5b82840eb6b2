"""From the keywords of theanets' methods to regularizers that theanets drives."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import regkit
import regkit.graph

#: Aliases whose mapping, in theanets, has patterns for keys: ``noise={'hid[23]:out': 0.1}``.
BY_PATTERN = ("noise", "dropout")

#: Aliases that theanets means for every input of a network, of which it may have several.
OF_INPUTS = ("input_noise", "input_dropout")


class Keywords:
    """What stands in the place of ``theanets.regularizers.from_kwargs``."""

    def __init__(self, theanets: Any, original: Any, reduction: str | None) -> None:
        self._theanets = theanets
        self._original = original
        self._reduction = reduction

    def __call__(self, graph: Any, **kwargs: Any) -> list[Any]:
        """Return the regularizers that keywords of ``train`` and the others ask for, for a network."""
        given = kwargs.pop("regularizers", None)
        if isinstance(given, Mapping):
            kwargs.update(given)
            given = None
        if given is not None:
            return self._as_they_are(graph, given)
        options, rest = regkit.split(kwargs)
        seed = kwargs.get("rng", 13)  # theanets' own default
        values = {alias: self._value(graph, alias, value, seed) for alias, value in options.items()}
        regularizers = list(self._original(graph, **rest))
        if values:
            regularizers.append(Driven(graph, regkit.build(values)))
        return regularizers

    def _as_they_are(self, graph: Any, given: Any) -> list[Any]:
        """Regularizers handed over as objects: theanets' own, regkit's, sets of regkit's."""
        if isinstance(given, regkit.RegularizerSet):
            return [Driven(graph, given)]
        result = []
        for item in given if isinstance(given, (list, tuple)) else [given]:
            if isinstance(item, (self._theanets.Regularizer, Driven)):
                result.append(item)
            else:
                found = item if isinstance(item, regkit.RegularizerSet) else regkit.build(regularizer=item)
                result.append(Driven(graph, found))
        return result

    def _value(self, graph: Any, alias: str, value: Any, seed: Any) -> Any:
        """A value as theanets' manual has it, in regkit's form and with theanets' defaults."""
        if isinstance(value, (list, tuple)):
            return [self._value(graph, alias, item, seed) for item in value]
        arguments = _arguments(alias)
        if alias in BY_PATTERN and isinstance(value, Mapping) and not set(value) & set(arguments):
            by_pattern = [dict(pattern=pattern, weight=weight) for pattern, weight in value.items()]
            return [self._value(graph, alias, item, seed) for item in by_pattern]
        if not isinstance(value, Mapping) and not _is_weight(value):
            return value  # a regularizer, None, or what build refuses
        options = dict(value) if isinstance(value, Mapping) else {"weight": value}
        if "reduction" in arguments and self._reduction is not None:
            options.setdefault("reduction", self._reduction)
        if "seed" in arguments and isinstance(seed, int):
            options.setdefault("seed", seed)
        inputs = tuple(layer.output_name() for layer in graph.layers if isinstance(layer, self._theanets.layers.Input))
        if alias in OF_INPUTS:
            options.setdefault("pattern", inputs)
        if "wrt" in arguments and len(inputs) > 1:
            options.setdefault("wrt", inputs)
        return options


class Driven:
    """A regkit set as theanets sees it: one regularizer of weight 1.

    theanets tells graphs apart by class name, weight and pattern. The pattern here is the whole configuration of the
    set, so that two that differ in any option do not share a graph.
    """

    weight = 1

    def __init__(self, graph: Any, regularizers: regkit.RegularizerSet) -> None:
        self._layers = [regkit.Layer(layer.output_name(), layer.params) for layer in graph.layers]
        self._network = graph
        self.regularizers = regularizers
        self.pattern = _key(regularizers)
        self._outputs: dict[str, Any] = {}

    def log(self) -> None:
        """Log a line for each regularizer."""
        self.regularizers.log()

    def modify_graph(self, outputs: dict[str, Any]) -> None:
        """Change the outputs of one layer; after the last, see that every pattern matched.

        A prediction never asks for the loss, where regkit would find that a penalty matches nothing.
        """
        self.regularizers.modify_graph(outputs, self._layers)
        self._outputs.update(outputs)
        if self._layers[-1].output_name in outputs:
            complete = {**{variable.name: variable for variable in self._network.inputs}, **self._outputs}
            self.regularizers.loss(self._layers, complete)

    def loss(self, layers: Any, outputs: dict[str, Any]) -> Any:
        """Return what the set adds to the loss."""
        return self.regularizers.loss(self._layers, outputs)


#: Live weights are told apart by identity, for which they have to stay alive.
_alive: dict[int, Any] = {}


def _key(regularizers: regkit.RegularizerSet) -> str:
    """A text that is the same for sets that build the same graph, and only for those."""
    return json.dumps([_description(regularizer) for regularizer in regularizers])


def _description(regularizer: Any) -> list[Any]:
    options = {name: _constant(value) for name, value in sorted(vars(regularizer).items())}
    return [type(regularizer).__module__, type(regularizer).__qualname__, options]


def _constant(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_constant(item) for item in value]
    _alive[id(value)] = value
    return f"{type(value).__name__} {id(value)}"


def _arguments(alias: str) -> list[str]:
    """The arguments that an alias's class takes, or none if it cannot be had: build will say why."""
    import inspect

    try:
        # an alias with no options builds its class, if it can be found, or says why not
        (regularizer,) = regkit.build({alias: 0})
    except regkit.RegkitError:
        return []
    return list(inspect.signature(type(regularizer)).parameters)


def _is_weight(value: Any) -> bool:
    if value is None or isinstance(value, (str, bool)):
        return False
    try:
        regkit.graph.library(value)
    except regkit.GraphError:
        return isinstance(value, (int, float))
    return True
