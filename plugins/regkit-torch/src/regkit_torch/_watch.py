"""A model of torch with regularizers: hooks on its modules show their outputs to a run."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch.compiler import is_compiling
from torch.utils.hooks import RemovableHandle

import regkit
from regkit import hosts

from ._hooks import Network, Routing, may_find, may_match, routing_of
from ._plans import plans_of
from ._run import Run, not_floats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager


def watch(model: torch.nn.Module, regs: regkit.RegularizerSet) -> AbstractContextManager[Run]:
    """Show the outputs of a model's modules to regularizers, for as long as the ``with`` statement runs.

    Outputs go by the path of their module in ``model.named_modules()``, such as ``encoder.fc1``; of several outputs
    ``lstm:0`` is the first and ``lstm:1:0`` the first of the second. Parameters go by their names in
    ``model.named_parameters()``. The prefixes of wrappers, ``module.`` and ``_orig_mod.``, are left out.

    Parameters
    ----------
    model : torch.nn.Module
    regs : regkit.RegularizerSet
        What `regkit.build` returns. Regularizers of outputs need a pattern.

    Returns
    -------
    context manager of Run
        ``run.loss()`` is the regularizers' part of the loss, of all forwards since the last time. Nothing is kept of a
        forward under ``torch.no_grad()``, nor of what a checkpoint computes again in the backward. Noise and dropout
        change the outputs of modules that are in training mode. ``run.tap(name, value)`` shows other tensors than
        outputs of modules.

    Raises
    ------
    regkit.OptionError
        If the model is not one, `regs` is not a set, or a regularizer of outputs has no pattern.
    regkit.GraphError
        If the model, or a part of it, is watched already.
    regkit.NoMatchError
        If a pattern matches no module, no parameter, and nothing that was tapped before the first loss: by
        ``run.loss()``, or at the end of a watch without one. At once for a penalty of weights.

    Examples
    --------
    >>> import regkit, regkit_torch, torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
    >>> regs = regkit.build(hidden_l1=dict(weight=0.1, pattern="1"), weight_l2=0.01)
    >>> x, y = torch.ones(8, 4), torch.zeros(8, 1)
    >>> with regkit_torch.watch(model, regs) as run:
    ...     loss = torch.nn.functional.mse_loss(model(x), y) + run.loss()
    ...     loss.backward()
    >>> [term.name for term in run.terms()]
    ['hidden_l1', 'weight_l2']
    """
    return Watch(model, regs)


#: Ids of modules that are watched, each of which a watch keeps alive until it ends.
_watched: set[int] = set()


class Watch:
    """Hooks on the modules of a model, which show their outputs to a run."""

    _run: Run

    def __init__(self, model: torch.nn.Module, regs: regkit.RegularizerSet) -> None:
        self._model = model
        self._regs = regs

    def __enter__(self) -> Run:
        model = self._model
        if not isinstance(model, torch.nn.Module):
            raise regkit.OptionError(f"watch got a model of type {type(model).__name__}; accepted: a torch.nn.Module")
        self._routing = routing_of(self._regs, "watch")
        self._network = Model(model, self._routing, self._regs)
        if not _watched.isdisjoint(self._network.modules.places):
            raise regkit.GraphError(
                "the model, or a part of it, is watched already. Put all regularizers into one set, "
                "watch(model, regs + more), or leave the first watch before"
            )
        self._run = Run(self._regs, self._network)  # type: ignore[arg-type]  # users give layers
        _watched.update(self._network.modules.places)
        # A watch may open for each step, and register_forward_hook takes three times as long: it makes a handle with
        # three weak references. So there is one handle, and the hooks of all modules go by its number.
        self._number = RemovableHandle(OrderedDict()).id
        for path, module in self._network.watched:
            module._forward_hooks[self._number] = _Hook(self._show, path, module)
        return self._run

    def __exit__(self, error: type[BaseException] | None, *more: object) -> None:
        try:
            if error is None:
                self._network.check_taps(self._run._tapped)
        finally:
            for _, module in self._network.watched:
                module._forward_hooks.pop(self._number, None)
            _watched.difference_update(self._network.modules.places)
            self._run._end("this watch has ended, and nothing is kept of the model since. Use run.loss() within `with`")

    def _show(self, path: str, module: torch.nn.Module, output: Any) -> Any:
        """Show the run the output of a module; return the output with its changes, or None for the same."""
        route = self._routing.routes.get(path) or self._routing.route(path)
        if isinstance(output, torch.Tensor) and not (route.changers and module.training):
            if route.penalized:
                if not output.is_floating_point():
                    raise not_floats(path, output)
                self._run._keep(path, output, route)
            return None
        outputs = {}
        for name, one in _named_outputs(path, output):
            route = self._routing.route(name)
            if not route.penalized and not route.changers:
                self._run._shown.times.setdefault(name, 0)
            elif not isinstance(one, torch.Tensor) or not one.is_floating_point():
                raise not_floats(name, one)
            else:
                outputs[name] = one
        if not outputs:
            return None
        changed = self._run._show(outputs, module.training)
        if all(changed[name] is one for name, one in outputs.items()):
            return None
        return _with_outputs(path, output, changed)


class _Hook:
    """A forward hook on a module. A deep copy of the module, or a pickled one, has a hook that does nothing."""

    __slots__ = ("_module", "_path", "_show")

    def __init__(self, show: Callable[..., Any], path: str, module: torch.nn.Module) -> None:
        self._show, self._path, self._module = show, path, module

    def __reduce__(self) -> Any:
        return _hook_of_a_copy, ()

    def __call__(self, module: torch.nn.Module, _: Any, output: Any) -> Any:
        """Show the output; return it with its changes, or None for the same."""
        if is_compiling():  # compiled code would keep showing the outputs of this trace
            return None
        if module is self._module:
            return self._show(self._path, module, output)
        if module.__dict__.get("_is_replica"):
            raise regkit.GraphError(
                f"module {self._path!r} runs as replicas on several devices at once (DataParallel), whose outputs are "
                "not in one place. Use torch.nn.parallel.DistributedDataParallel"
            )
        return None  # a shallow copy, which has the hooks of the module


def _hook_of_a_copy() -> Any:
    return _do_nothing


def _do_nothing(*_: Any) -> None:
    """Do nothing, as the hook of a copy."""


# The model


class Model(Network):
    """A model, with the modules that it had when the watch opened.

    Attributes
    ----------
    modules : Modules
    watched : list of (str, torch.nn.Module)
        The modules that a member may look at, with their paths.
    """

    caller = "watch"
    hint = (
        "Nothing is kept of forwards under torch.no_grad() or within a reentrant checkpoint, nor of a model that "
        "torch.compile has compiled; the result of a function such as F.relu is not an output of a module: "
        "run.tap(name, value) shows it"
    )

    def __init__(self, model: torch.nn.Module, routing: Routing, regs: regkit.RegularizerSet) -> None:
        self._model = model
        self.modules = Modules(model)
        self.plans = plans_of(model, regs, self.modules.form)
        if self.plans.layout is None:
            self.plans.layout = Layout(model, self.modules.places, routing)
            regs.log()
        layout: Layout = self.plans.layout
        every = self.modules.every
        self.paths = layout.paths
        self.layers = layout.layers
        self.watched = [(path, every[place]) for path, place in layout.watched]
        self.unmatched = [(routing.every[name], glob) for name, glob in layout.unmatched]
        self._params = layout.params

    @property
    def train(self) -> bool:  # type: ignore[override]  # which is the model's to change
        """Whether the model is in training mode."""
        return bool(self._model.training)

    @train.setter
    def train(self, value: bool) -> None:
        raise regkit.GraphError("a watch has the mode of its model: call model.train() or model.eval()")

    def param(self, name: str) -> Any:
        """Return the parameter of a full name, which may be another one in each step."""
        place, short = self._params[name]
        return self.modules.every[place]._parameters.get(short)

    def params(self) -> dict[str, torch.Tensor]:
        """Return the parameters by their full names."""
        found = ((name, self.param(name)) for name in self._params)
        return {name: param for name, param in found if param is not None}

    def check(self, tapped: Iterable[str]) -> None:
        """Raise if the model has other modules than it had, or a glob matches no module and no name that was tapped.

        Raises
        ------
        regkit.GraphError
            With the modules and the names of parameters that are new.
        regkit.NoMatchError
            With the modules and the tapped names that there are.
        """
        if not self.modules.are_as_they_were():
            raise self._changed()
        super().check(tapped)

    def _changed(self) -> regkit.GraphError:
        found = module_paths(self._model)
        params = [name for path, module in found for name in params_of(path, module)]
        new = {
            "modules": [path for path, module in found if id(module) not in self.modules.places],
            "parameters": [name for name in params if name not in self._params],
        }
        changes = (f"new {kind} are {hosts.listed(names)}" for kind, names in new.items() if names)
        return regkit.GraphError(
            "the model has changed within the watch: "
            f"{next(changes, 'modules or parameters are gone, or shared, or have other names')}. Leave the watch "
            "before modules or parameters are added, replaced or taken out, and open a new one after it"
        )


class Modules:
    """The modules of a model, and the names of their parameters, at a time.

    A watch for each step looks at them anew each time, so this does not go through ``named_modules``, which takes
    several times as long.

    Attributes
    ----------
    every : list of torch.nn.Module
        Each module once.
    places : dict of int to int
        The place in `every` of each module, by its id.
    form : list
        All names, and what is shared: two models of one form have modules of the same paths in the same places.
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
        """Return whether the modules still have the children and the names of parameters that they had.

        Each loss asks that; it takes a third of the time of making this anew.
        """
        return [one._modules for one in self.every] == self._children and self._names == [
            name for one in self.every for name, param in one._parameters.items() if param is not None
        ]


_NO_CHILDREN: dict[str, Any] = {}


class Layout:
    """What a set looks at in a model of a form, kept with the plans, so without references to modules and members.

    Attributes
    ----------
    paths : list of str
        Those of all modules but the model itself.
    watched : list of (str, int)
        The paths of modules that a member may look at, and their places in `Modules.every`.
    layers : list of (str, str, list of str)
        Of each module, the name and the role of its layer, and the names of its parameters, without its children's.
    params : dict of str to (int, str)
        By their full names, the place of the module that has them and their names in it.
    unmatched : list of (str, str)
        Members with globs that match nothing of these, so that only a tap can.
    """

    def __init__(self, model: torch.nn.Module, places: Mapping[int, int], routing: Routing) -> None:
        found = module_paths(model)
        members = routing.every.values()
        self.paths = [path for path, _ in found if path]
        hosts.check_patterns(members, self.paths, "A model does not define which of its modules are hidden. Name some")
        self.watched = [
            (path, places[id(module)])
            for path, module in found
            if path and any(_may_be_shown(path, member) for member in members)
        ]
        self.layers: list[tuple[str, str | None, list[str]]] = [
            (path or "model", "hidden", list(params_of(path, module))) for path, module in found
        ]
        self.params = {
            name: (places[id(module)], name.rpartition(".")[2])
            for path, module in found
            for name in params_of(path, module)
        }
        for member, glob in hosts.unmatched(members, params=self.params):  # no tap can be a parameter
            raise hosts.no_match(member, [glob], parameters=self.params)
        self.unmatched = [
            (member.name, glob)
            for member, glob in hosts.unmatched(members, outputs=self.paths)
            if not may_find(member, glob, self.paths)
        ]


def _may_be_shown(path: str, member: hosts.Member) -> bool:
    """Return whether a member may look at an output of a module: the output, one of several, or one tapped beside it.

    Which outputs it looks at is known from `hosts.Member.looks_at` once they are there. Here every string among the
    options counts as a glob.
    """
    if member.looks_at(path):
        return True
    options = getattr(member.regularizer, "__dict__", {}).items()
    named = [option for name, option in options if name != "pattern" or member.selects == "outputs"]
    globs = [one for option in named for one in (option if isinstance(option, (list, tuple)) else (option,))]
    return any(may_match(path, glob) for glob in globs if isinstance(glob, str))


# Names of outputs and parameters

#: torch.compile puts this into the paths of modules that it compiles.
COMPILED = "_orig_mod"

#: DistributedDataParallel and others put this before paths.
WRAPPED = "module"


def module_paths(model: torch.nn.Module) -> list[tuple[str, torch.nn.Module]]:
    """Return the modules of a model by their paths, without the prefixes of wrappers; each once."""
    prefix = _wrapper(model)
    found = []
    for full, module in model.named_modules():
        if full == prefix or f"{full}.".startswith(f"{prefix}."):
            path = full[len(prefix) :].lstrip(".")
        elif not prefix or prefix.startswith(full):
            path = "" if prefix else full
        else:
            path = full
        found.append((".".join(part for part in path.split(".") if part != COMPILED), module))
    return found


def _wrapper(model: torch.nn.Module) -> str:
    """The path of the model within wrappers: a wrapper has one child, of one of two names, and no parameters."""
    parts: list[str] = []
    while True:
        children = dict(model.named_children())
        (name,) = children if len(children) == 1 else ("",)
        if name not in (COMPILED, WRAPPED) or model._parameters:
            return ".".join(parts)
        parts.append(name)
        model = children[name]


def params_of(path: str, module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return the parameters of a module by their full names, without its children's."""
    prefix = f"{path}." if path else ""
    return {f"{prefix}{name}": param for name, param in module._parameters.items() if param is not None}


def _named_outputs(path: str, output: Any) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a module's output by names: ``lstm:0``, ``lstm:1:0``; a tensor by the module's path."""
    parts = _parts(output)
    if parts is None:
        yield path, output
    else:
        for key, part in parts:
            if part is not None:
                yield from _named_outputs(f"{path}:{key}", part)


def _with_outputs(path: str, output: Any, changed: Mapping[str, Any]) -> Any:
    """Return the output of a module with the parts that have a new value by their names."""
    parts = _parts(output)
    if parts is None:
        return changed.get(path, output)
    values = [(key, _with_outputs(f"{path}:{key}", part, changed)) for key, part in parts]
    if all(value is part for (_, value), (_, part) in zip(values, parts)):
        return output
    if isinstance(output, Mapping):
        copied = type(output)(output)  # type: ignore[call-arg]  # as mappings are copied
        for key, value in values:
            copied[key] = value  # type: ignore[index]  # a mapping that modules return is a dict
        return copied
    plain = [value for _, value in values]
    return type(output)(*plain) if hasattr(output, "_fields") else type(output)(plain)


def _parts(output: Any) -> list[tuple[Any, Any]] | None:
    """The parts of an output that is a tuple, a list or a mapping, with their keys."""
    if isinstance(output, Mapping):
        return list(output.items())
    return list(enumerate(output)) if isinstance(output, (tuple, list)) else None
