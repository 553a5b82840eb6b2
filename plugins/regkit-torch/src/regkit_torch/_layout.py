"""The modules and weights of a model, and which of them a set looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn.parameter import is_lazy

import regkit
from regkit import hosts

from . import _weights
from ._hooks import by_default, may_find, may_match
from ._names import module_paths, params_of, pattern_of, table_of_modules

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ._hooks import Route, Routing


class Modules:
    """The modules of a model, and the names of their parameters, as they are now.

    A watch that is opened in each step makes this each time, so it does without ``named_modules``, which takes several
    times as long.

    Attributes
    ----------
    every : list of torch.nn.Module
        Each module once.
    places : dict of int to int
        The place in `every` of each module, by its id.
    form : list
        All names, and which modules are shared: in two models of one form, the same places have the same paths.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self.every = [model]
        self.places = {id(model): 0}
        self.form: list[Any] = []
        self._children: list[dict[str, Any]] = []
        self._names: list[str] = []
        for module in self.every:  # which grows
            children, params = module._modules, module._parameters
            self._children.append(children.copy() if children else _NO_CHILDREN)
            if not children and not params:
                self.form.append(None)
                continue
            row: list[Any] = [name for name, param in params.items() if param is not None]
            self._names.extend(row)
            for name, child in children.items():
                if child is not None:
                    place = self.places.setdefault(id(child), len(self.every))
                    if place == len(self.every):
                        self.every.append(child)
                    row.append((name, place))
            self.form.append(row)

    def are_as_they_were(self) -> bool:
        """Return whether the modules still have the same children and the same names of parameters.

        Each loss checks that; it takes a third of the time of making this again.
        """
        return [one._modules for one in self.every] == self._children and self._names == [
            name for one in self.every for name, param in one._parameters.items() if param is not None
        ]


_NO_CHILDREN: dict[str, Any] = {}


#: Activations that are not hidden layers: their outputs are weights of a mean, or log-probabilities.
_NOT_HIDDEN = ("Softmax", "Softmax2d", "Softmin", "LogSoftmax", "MultiheadAttention")


def hidden_output(path: str, module: torch.nn.Module) -> str | None:
    """Return the name of the output of a module that is hidden by default; None if there is none."""
    for cls in type(module).__mro__:
        if cls.__module__ == "torch.nn.modules.activation":
            return None if cls.__name__ in _NOT_HIDDEN else path
        if cls.__module__ == "torch.nn.modules.rnn" and isinstance(
            module, (torch.nn.RNNBase, torch.nn.RNNCell, torch.nn.GRUCell, torch.nn.LSTMCell)
        ):
            return path if isinstance(module, (torch.nn.RNNCell, torch.nn.GRUCell)) else f"{path}:0"
    return None


class Layout:
    """The parts of a model of a form that a set looks at; kept with the plans, so without modules and members.

    Attributes
    ----------
    paths : list of str
        The paths of all modules except the model itself.
    watched : list of (str, int)
        The paths of modules that a member may look at, and their places in `Modules.every`.
    containers : list of (str, int)
        The paths and places of modules that contain such modules.
    layers : list of (str, str, list of str)
        Of each module, the name and the role of its layer, and the names of its weights, without its children's.
    hidden : dict of str to None
        The names of outputs that members without a pattern select.
    params : dict of str to (int, str)
        By the full names of weights: the place of the module that has it, and its name there.
    made_of : dict of str to list of str
        By the full names of computed weights, the names of the parameters from which each is computed.
    originals : set of str
        All of these parameters.
    computed : list of (str, int)
        The full names of computed weights, each with the place of the parametrization that computes it in a forward.
    looks_at_params : bool
        Whether a penalty may be of weights.
    by_default : list of str
        The names of weights that a penalty may select without a pattern.
    routes : dict of str to Route
        The routes that have been made, by names of outputs.
    unmatched : list of (str, str)
        Members with globs that match no output of a module, so that only a tap can match them.
    """

    def __init__(self, model: torch.nn.Module, places: Mapping[int, int], routing: Routing) -> None:
        found = module_paths(model)
        members = routing.every.values()
        self.paths = list(dict.fromkeys(path for path, _ in found if path))
        self.routes: dict[str, Route] = {}
        hidden = (hidden_output(path, module) for path, module in found if path)
        self.hidden = {name: None for name in hidden if name is not None}
        if any(member.needs_pattern for member in members):
            self._check_defaults(members, found)
        else:
            self.hidden = {}
        seen: dict[str, int] = {}  # a compiled module has the path of its wrapper, which shows the output
        for path, module in found:
            if path and any(may_be_shown(path, member, self.hidden) for member in members):
                seen.setdefault(path, places[id(module)])
        self.watched = list(seen.items())
        second = self._add_weights(found, places)
        params = [member for member in routing.penalizers.values() if member.selects != "outputs"]
        self.looks_at_params = bool(params)
        by_default = any(member.globs is None or member.globs[0].startswith("!") for member in params)
        self.by_default = [name for name in self.params if by_default and name not in self.originals]
        self.unmatched = [
            (member.name, glob)
            for member, glob in hosts.unmatched(members, outputs=self.paths)
            if not may_find(member, glob, self.paths)
        ]
        inside = {id(module) for path, module in found if path in seen}
        self.containers = [
            (path, places[id(module)])
            for path, module in found
            if module._modules and (not path or self.unmatched or any(id(one) in inside for one in module.modules()))
        ]
        names = [name for name in self.params if name not in second]
        for member, glob in hosts.unmatched(members, params=names):  # no tap can be a parameter
            raise regkit.NoMatchError(f"{hosts.no_match(member, [glob], parameters=names)}{_tied_weight(model, glob)}")

    def _add_weights(self, found: Sequence[tuple[str, torch.nn.Module]], places: Mapping[int, int]) -> set[str]:
        """Add the weights; return the further names of tied parameters."""
        self.layers: list[tuple[str, str | None, list[str]]] = []
        self.params: dict[str, tuple[int, str]] = {}
        self.made_of: dict[str, list[str]] = {}
        self.computed: list[tuple[str, int]] = []
        first: dict[int, str] = {}
        second: set[str] = set()
        for path, module in found:
            prefix = f"{path}." if path else ""
            params = params_of(path, module)
            names = list(params)
            second.update(name for name, param in params.items() if first.setdefault(id(param), name) != name)
            originals = [f"{prefix}{name}" for name in _weights.original_names(module)]
            for short in _weights.computed_names(module):
                self.made_of[f"{prefix}{short}"] = originals
                names.append(f"{prefix}{short}")
            for short, one in _weights.parametrizations(module).items():
                self.computed.append((f"{prefix}{short}", places[id(one)]))
            self.params.update({name: (places[id(module)], name.removeprefix(prefix)) for name in names})
            self.layers.append((path or "model", "output", names))
        self.originals = {name for names in self.made_of.values() for name in names}
        return second

    def _check_defaults(self, members: Iterable[hosts.Member], found: Sequence[tuple[str, torch.nn.Module]]) -> None:
        """Raise for a member without a pattern, unless it is of hidden layers and there are some."""
        for member in members:
            if not member.needs_pattern:
                continue
            default = getattr(member.regularizer, "default_selection", "default")
            there = list(self.hidden)
            of_hidden = "hidden" in default or default == "default"
            if of_hidden and there and any(by_default(member, name, self.hidden) for name in there):
                continue
            if of_hidden and there:
                raise hosts.no_match(member, member.globs or (), **{"outputs of hidden modules": there})
            lacks = (
                "The model has no modules of torch.nn.modules.activation or recurrent ones, whose outputs are the "
                "default"
                if of_hidden
                else f"Which modules are {default} is not known of a model"
            )
            example = f"{member.name.partition('[')[0]}=dict(weight=..., pattern={_proposed(found)!r})"
            raise regkit.OptionError(
                f"{member.name}: {type(member.regularizer).__name__} needs a pattern. {lacks}. Name some: {example}. "
                f"regkit_torch.names(model, *inputs) shows outputs and parameters. There is:\n{table_of_modules(found)}"
            )


def _proposed(found: Sequence[tuple[str, torch.nn.Module]]) -> str:
    """Return a pattern of outputs that are tensors: those of the first layer with a matrix, in all blocks like its own.

    Containers, such as the blocks of a transformer, may return tuples or dataclasses.
    """
    rows = [(hidden_output(path, module) or path, "output", type(module).__name__) for path, module in found]
    for (path, module), row in zip(found, rows):
        is_layer = module._modules.keys() <= {"parametrizations"} and not isinstance(module, _NO_LAYERS)
        if path and is_layer and any(is_lazy(param) or param.dim() > 1 for param in module.parameters()):
            return pattern_of(*row, rows)
    return "hid*"


#: Embeddings, whose outputs are inputs of a network; and the part of attention that torch never calls.
_NO_LAYERS = (torch.nn.Embedding, torch.nn.EmbeddingBag, torch.nn.modules.linear.NonDynamicallyQuantizableLinear)


def _tied_weight(model: torch.nn.Module, glob: str) -> str:
    """Return a sentence on a parameter that a glob matches under another name; an empty string if there is none."""
    names = {id(param): name for name, param in reversed(list(model.named_parameters()))}
    for full, param in model.named_parameters(remove_duplicate=False):
        if hosts.matches(full, [glob]):
            return f". {full!r} is the same parameter as {names[id(param)]!r}, which is its name here"
    return ""


def may_be_shown(path: str, member: hosts.Member, hidden: Mapping[str, None]) -> bool:
    """Return whether a member may look at the output of a module, a part of it, or an original kept beside it."""
    name = path if path in hidden else f"{path}:0"
    if member.needs_pattern:
        if name in hidden or by_default(member, path, hidden):
            return True
    elif member.looks_at(path):
        return True
    named = [*member.named, member.globs or ()] if member.selects == "outputs" else member.named
    return any(may_match(path, glob) for globs in named for glob in globs if not glob.startswith("!"))
