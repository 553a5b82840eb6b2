"""From the keywords of theanets' methods to regularizers that theanets drives."""

from __future__ import annotations

import inspect
import json
import operator
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any
from weakref import WeakKeyDictionary

import regkit
from regkit import hosts

#: Aliases whose mapping, in theanets, has patterns for keys: ``noise={'hid[23]:out': 0.1}``.
BY_PATTERN = ("noise", "dropout")

#: Aliases that theanets means for every input of a network, of which it may have several.
OF_INPUTS = ("input_noise", "input_dropout")

#: Aliases for which the pattern ``*`` is all hidden outputs in theanets 0.8, whose default it is.
OF_HIDDEN = ("hidden_l1", "hidden_sparsity", "contractive")


class Keywords:
    """What stands in the place of ``theanets.regularizers.from_kwargs``."""

    def __init__(self, theanets: Any, original: Any, reduction: str | None) -> None:
        self._theanets = theanets
        self._original = original
        self.reduction = reduction
        #: Set while a pretrainer trains parts of a network, in which not every pattern can match.
        self.network_is_partial = False

    def __call__(self, graph: Any, **kwargs: Any) -> list[Any]:
        """Return the regularizers that keywords of ``train`` and the others ask for, for a network."""
        given = kwargs.pop("regularizers", None)
        if isinstance(given, Mapping):
            for name in given:
                if name in kwargs:
                    raise regkit.OptionError(f"{name!r} is in regularizers and in the keywords. Give it once")
            kwargs.update(given)
            given = None
        users = {name: kwargs.pop(name) for name in list(kwargs) if self._is_of_user(name)}
        options, rest = regkit.split(kwargs)
        rest.update(users)
        seed: Any = kwargs.get("rng")
        seed = operator.index(seed) if hasattr(seed, "__index__") else 13  # theanets' own default
        values = {alias: self._value(graph, alias, value, seed) for alias, value in options.items()}
        # theanets would drop its keywords where objects are given
        regularizers = self._as_they_are(graph, given) if given is not None else list(self._original(graph, **rest))
        if values:
            regularizers += self._driven(graph, regkit.build(values))
        return regularizers

    def _is_of_user(self, alias: str) -> bool:
        """Return whether a class outside of theanets is registered there under an alias; it is left to theanets."""
        base = self._theanets.Regularizer
        return base.is_registered(alias) and not base.get_class(alias).__module__.startswith("theanets.")

    def _driven(self, graph: Any, regularizers: regkit.RegularizerSet) -> list[Driven]:
        """Return an object for each member of a set, in order."""
        members = hosts.members(regularizers, "theanets")
        hosts.check_no_steps(members, "theanets has no place for that")
        kept: dict[str, Any] = {}
        alive = _alive.setdefault(graph, {})
        # theanets tells graphs apart by class name, weight and pattern: the name of the class has all other options
        return [
            type(_key(member.regularizer, alive), (Driven,), {})(
                graph, hosts.subset(regularizers, [member.name]), kept, self
            )
            for member in members
        ]

    def _as_they_are(self, graph: Any, given: Any) -> list[Any]:
        """Regularizers handed over as objects: theanets' own, regkit's, sets of regkit's."""
        result = []
        for item in given if isinstance(given, (list, tuple)) else [given]:
            if isinstance(item, (self._theanets.Regularizer, Driven)):
                result.append(item)
            elif isinstance(item, regkit.RegularizerSet):
                result += self._driven(graph, item)
            elif item is None or isinstance(item, (str, Mapping, int, float, list, tuple)):
                raise regkit.OptionError(
                    f"regularizers has {item!r}; accepted: a mapping of keywords, or regularizers and sets of them"
                )
            else:
                result += self._driven(graph, regkit.build({type(item).__name__: item}))
        return result

    def _value(self, graph: Any, alias: str, value: Any, seed: Any) -> Any:
        """A value as theanets' manual has it, in regkit's form and with theanets' defaults."""
        arguments = _arguments(alias)
        several = isinstance(value, (list, tuple))
        items = value if several else [value]
        if alias in BY_PATTERN:
            items = [part for item in items for part in _by_pattern(item, arguments)]
        values = [self._options(graph, alias, item, seed, arguments) for item in items]
        return values if several or len(values) != 1 else values[0]

    def _options(self, graph: Any, alias: str, value: Any, seed: Any, arguments: list[str]) -> Any:
        """The constructor's arguments that one value stands for, or the value if build is to look at it."""
        if not isinstance(value, Mapping) and not _is_weight(value):
            return value  # a regularizer, None, or what build refuses
        options = dict(value) if isinstance(value, Mapping) else {"weight": value}
        if "seed" in arguments:
            options.setdefault("seed", seed)
        inputs = [layer for layer in graph.layers if isinstance(layer, self._theanets.layers.Input)]
        if alias in OF_HIDDEN and options.get("pattern") == "*" and self._has_star_for_default():
            del options["pattern"]
        if alias in OF_INPUTS:
            options.setdefault("pattern", tuple(_output_name(layer) for layer in inputs))
        if alias == "contractive":
            options["wrt"] = _inputs_of(inputs, options.get("wrt")) or options["wrt"]
        if "reduction" in arguments and "reduction" not in options and self.reduction is not None:
            scaled = {**options, "reduction": self.reduction}
            if _is_accepted(alias, scaled):
                return scaled
        return options

    def _has_star_for_default(self) -> bool:
        return bool(inspect.signature(self._theanets.Regularizer.__init__).parameters["pattern"].default == "*")


def in_parts(itertrain: Any, keywords: Keywords) -> Any:
    """Wrap the method of a pretrainer, which trains a network part by part.

    A pattern may match in a later part only, so what does not match is left out as long as it runs. Where it fails, the
    network gets its layers and losses back.
    """

    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        network = self.network
        layers, losses = list(network.layers), list(network.losses)
        steps = itertrain(self, *args, **kwargs)
        while True:
            keywords.network_is_partial = True
            try:
                step = next(steps)
            except StopIteration:
                return
            except Exception:
                network.layers, network.losses = layers, losses
                raise
            finally:
                keywords.network_is_partial = False
            yield step

    return wrapped


class Driven:
    """A regularizer of regkit as theanets sees it.

    Attributes
    ----------
    pattern : str, tuple of str, or None
    weight : number or expression
    regularizers : regkit.RegularizerSet
        That of this one regularizer.
    """

    def __init__(
        self, graph: Any, regularizers: regkit.RegularizerSet, kept: dict[str, Any], keywords: Keywords
    ) -> None:
        (member,) = hosts.members(regularizers, "theanets")
        self._keywords = keywords
        self._layers = [regkit.Layer(_output_name(layer), layer.params) for layer in graph.layers]
        self._network = graph
        self._kept = kept  # clean originals, which a set keeps from its next regularizers
        self.regularizers = regularizers
        self.pattern = getattr(member.regularizer, "pattern", None)
        self.weight = _weight_of(member.regularizer)
        self._outputs: dict[str, Any] = {}

    def __repr__(self) -> str:
        return repr(self.regularizers)

    def log(self) -> None:
        """Log a line."""
        self.regularizers.log()

    def modify_graph(self, outputs: dict[str, Any]) -> None:
        """Change the outputs of one layer; after the last, see that the pattern matched.

        A prediction never asks for the loss, where regkit would find that a penalty matches nothing.
        """
        visible = {name: z for name, z in outputs.items() if name not in self._kept}
        self.regularizers.modify_graph(visible, self._layers)
        self._kept.update({name: z for name, z in visible.items() if name not in outputs})
        outputs.update(visible)
        self._outputs.update(outputs)
        last = self._layers[-1].output_name
        if last in outputs and not self._keywords.network_is_partial:
            inputs = {variable.name: variable for variable in self._network.inputs}
            self.regularizers.loss(self._layers, {**inputs, **self._outputs, "out": outputs[last]})

    def loss(self, layers: Any, outputs: dict[str, Any]) -> Any:
        """Return the penalty, which theanets multiplies by the weight; 0 for one that matches nothing of a part."""
        try:
            terms = self.regularizers.terms(self._layers, outputs)
        except regkit.NoMatchError:
            if not self._keywords.network_is_partial:
                raise
            return 0
        for term in terms:
            return term.weighted if isinstance(self.weight, (int, float)) and self.weight == 0 else term.penalty
        return 0


def _weight_of(regularizer: Any) -> Any:
    """Return a regularizer's weight as theanets multiplies by it: a live one as the expression that follows it."""
    weight = getattr(regularizer, "weight", 1)
    if not isinstance(weight, regkit.Live):
        return weight
    import theano.tensor

    return regkit.graph.weight(regularizer, theano.tensor.constant(0.0, dtype=theano.config.floatX))


#: By network: what tells its graphs apart by identity, live weights and classes, and so has to live as long as it.
_alive: WeakKeyDictionary[Any, dict[int, Any]] = WeakKeyDictionary()


def _key(regularizer: Any, alive: dict[int, Any]) -> str:
    """Return a text that is the same for regularizers that build the same graph, and only for those."""
    return f"{type(regularizer).__name__} {json.dumps(_description(regularizer, alive))}"


def _description(regularizer: Any, alive: dict[int, Any]) -> list[Any]:
    options = {name: _constant(value, alive) for name, value in sorted(getattr(regularizer, "__dict__", {}).items())}
    same = None if hasattr(regularizer, "__dict__") else _constant(regularizer, alive)
    return [type(regularizer).__qualname__, _constant(type(regularizer), alive), options, same]


def _constant(value: Any, alive: dict[int, Any]) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_constant(item, alive) for item in value]
    alive[id(value)] = value
    return f"{type(value).__name__} {id(value)}"


def _by_pattern(value: Any, arguments: list[str]) -> list[Any]:
    """The parts of a mapping of patterns to weights, or of a pair of the two, as theanets has them; others alone."""
    if isinstance(value, Mapping) and not set(value) & set(arguments):
        pairs = list(value.items())
    elif isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], (str, tuple)):
        pairs = [value]
    else:
        return [value]
    return [dict(pattern=pattern, weight=weight) for pattern, weight in pairs]


def _arguments(alias: str) -> list[str]:
    """The arguments that an alias's class takes, or none if it cannot be had: build will say why."""
    try:
        return list(inspect.signature(regkit.load(alias)).parameters)
    except regkit.RegkitError:
        return []


def _output_name(layer: Any) -> str:
    """The name of a layer's main output: of a method in theanets 0.7, of a property later."""
    name = layer.output_name
    return str(name() if callable(name) else name)


def _is_accepted(alias: str, options: dict[str, Any]) -> bool:
    """Return whether a regularizer can be made so; where a default of ours is not for it, it is made without."""
    try:
        regkit.build({alias: options})
    except regkit.RegkitError:
        return False
    return True


def _inputs_of(inputs: list[Any], wrt: Any) -> tuple[str, ...]:
    """The outputs of the input layers that theanets' ``wrt`` means: a glob of the names of their variables."""
    globs = ["*"] if wrt is None else [wrt] if isinstance(wrt, str) else wrt
    if not isinstance(globs, (list, tuple)) or not all(isinstance(glob, str) for glob in globs):
        return ()
    named = [(_output_name(layer), (layer.input.name, _output_name(layer))) for layer in inputs]
    return tuple(full for full, names in named if any(fnmatchcase(name, glob) for name in names for glob in globs))


def _is_weight(value: Any) -> bool:
    try:
        regkit.Regularizer(weight=value)
    except regkit.RegkitError:
        return False
    return True
