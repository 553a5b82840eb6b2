"""A model of torch with regularizers: hooks on its modules show their outputs to a run."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.compiler import is_compiling, is_exporting
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import WeakIdKeyDictionary

import regkit
from regkit import hosts

from . import _weights
from ._forwards import Forward, Forwards, current_backward, outside
from ._hooks import Network, Routing, by_default, may_find, may_match, routing_of
from ._names import COMPILED, module_paths, named_outputs, params_of, table_of_modules, with_outputs
from ._plans import plans_of
from ._run import Run, not_floats
from ._steps import follow

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from ._hooks import Route


def watch(
    model: torch.nn.Module, regs: regkit.RegularizerSet, *, forwards: str = "one", optimizer: Any = None
) -> Watch:
    """Show the outputs of a model's modules to regularizers, for as long as the ``with`` statement runs.

    Outputs go by the path of their module in ``model.named_modules()``, such as ``encoder.fc1``; of several outputs
    ``lstm:0`` is the first and ``lstm:1:0`` the first of the second, and ``block:hidden`` is the field of a dict or a
    dataclass. Parameters go by their names in ``model.named_parameters()``. The prefixes of wrappers, ``module.`` and
    ``_orig_mod.``, are left out. `names` shows what there is.

    Without a pattern, penalties and changes of hidden outputs take those of activations, the modules of
    ``torch.nn.modules.activation`` but softmax and attention, and of recurrent modules; one whose output is the model's
    is left out. Penalties of weights take all matrices that are trained.

    Parameters
    ----------
    model : torch.nn.Module
    regs : regkit.RegularizerSet
        What `regkit.build` returns.
    forwards : {"one", "all", "last"}, default "one"
        What a loss is of. A forward is the outermost call of a module of the model. Several since the last loss that
        have the same module, or of which the module of one contains that of the other, are a `regkit.GraphError` for
        ``"one"``; for ``"all"`` the loss is of all, and for ``"last"`` of the last one of each module that was called.
    optimizer : torch.optim.Optimizer, optional
        After each of its steps `Run.after_step` is called: proximal steps, projections and decays, and the weights that
        are `regkit.schedules`.

    Returns
    -------
    context manager of Run
        ``run.loss()`` is the regularizers' part of the loss, of the forward since the last time. Under
        ``torch.no_grad()`` it is of forwards under that. Noise and dropout change the outputs of modules that are in
        training mode. ``run.tap(name, value)`` shows other tensors than outputs of modules.

    Raises
    ------
    regkit.OptionError
        If the model is not one, `regs` is not a set, `forwards` none of the three, `optimizer` is none, or a
        regularizer of outputs has no pattern and the model no such modules.
    regkit.GraphError
        If the model, or a part of it, is watched already.
    regkit.NoMatchError
        If a pattern matches no module, no parameter, and nothing that was tapped before the first loss: by
        ``run.loss()``, or at the end of a watch without one. At once for a penalty of weights.

    Examples
    --------
    >>> import regkit, regkit_torch, torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
    >>> regs = regkit.build(hidden_l1=0.1, weight_l2=0.01)
    >>> x, y = torch.ones(8, 4), torch.zeros(8, 1)
    >>> with regkit_torch.watch(model, regs) as run:
    ...     loss = torch.nn.functional.mse_loss(model(x), y) + run.loss()
    ...     loss.backward()
    >>> [term.name for term in run.terms()]
    ['hidden_l1', 'weight_l2']
    """
    return Watch(model, regs, forwards, optimizer)


#: By models that are watched, the ids of their modules.
_watched: WeakIdKeyDictionary = WeakIdKeyDictionary()


class Watch:
    """Hooks on the modules of a model, which show their outputs to a run."""

    _run: Run
    _ended = False

    def __init__(
        self, model: torch.nn.Module, regs: regkit.RegularizerSet, forwards: str = "one", optimizer: Any = None
    ) -> None:
        self._model = model
        self._regs = regs
        self._forwards = Forwards(forwards)
        self._optimizer = optimizer
        self._followed: Any = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(Run, name):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        raise regkit.GraphError(f"watch is used by `with`: with regkit_torch.watch(model, regs) as run: ... run.{name}")

    def __enter__(self) -> Run:
        model = self._model
        if not isinstance(model, torch.nn.Module):
            raise regkit.OptionError(f"watch got a model of type {type(model).__name__}; accepted: a torch.nn.Module")
        routing = routing_of(self._regs, "watch")
        self._network = Model(model, routing, self._regs, self._forwards)
        if not all(self._network.modules.places.keys().isdisjoint(ids) for ids in list(_watched.values())):
            raise regkit.GraphError(
                "the model, or a part of it, is watched already. Put all regularizers into one set, "
                "watch(model, regs + more), or leave the first watch before"
            )
        self._run = Run.of(self._network, self._forwards)
        if self._optimizer is not None:
            self.follow(self._optimizer)
        _watched[model] = list(self._network.modules.places)
        self._events = self._network.events
        # A module that has hooks takes longer to call than what the hooks do. So it is its forward that shows the
        # output, but where hooks of others are to come first. Hooks go by one number, since register_forward_hook makes
        # a handle with three weak references.
        self._number = RemovableHandle(OrderedDict()).id
        self._before: list[tuple[torch.nn.Module, Any]] = []
        self._hooked: list[torch.nn.Module] = [model]
        model._forward_hooks[self._number] = _Hook(self, "", model)
        containers = {id(module): path for path, module in self._network.containers}
        shown = {id(module): path for path, module in self._network.watched}
        for path, module in self._network.watched:
            if module._forward_hooks or module._forward_pre_hooks:
                del shown[id(module)]
                module._forward_hooks[self._number] = _Seen(self, path, module)
                self._hooked.append(module)
        for name, module in self._network.computed:
            module._forward_hooks[self._number] = _Weight(self, name, module)
            self._hooked.append(module)
        for module in self._network.modules.every:
            shows, contains = shown.get(id(module)), containers.get(id(module))
            if shows is not None or contains is not None:
                self._before.append((module, module.__dict__.get("forward")))
                module.__dict__["forward"] = _forward_of(self, module, shows, contains)
                self._hooked.append(module)
        for module in self._hooked:
            module.__dict__["__getstate__"] = partial(_state_of, module)
            module.__dict__["_replicate_for_data_parallel"] = _replicas
        return self._run

    def follow(self, optimizer: Any) -> None:
        """Have regularizers act after each step of an optimizer, and of none before, until the watch ends."""
        handle = follow(optimizer, self._run.after_step)
        self._follow_none()
        self._followed = handle

    def _follow_none(self) -> None:
        if self._followed is not None:
            self._followed.remove()

    def __exit__(self, error: type[BaseException] | None, *more: object) -> None:
        try:
            if error is None:
                self._network.settle()
                self._network.check_taps(self._run._tapped)
                self._network.check_changed()
                if self._run._is_trained:
                    hosts.warn_without_step(hosts.waiting(self._regs))
        finally:
            self._ended = True
            self._follow_none()
            for module in self._hooked:
                module._forward_hooks.pop(self._number, None)
                module.__dict__.pop("__getstate__", None)
                module.__dict__.pop("_replicate_for_data_parallel", None)
            for module, before in self._before:
                if not hasattr(module.__dict__.get("forward"), "regkit_forward"):
                    continue  # somebody has put another one around it, in which it does nothing from here on
                if before is None:
                    del module.__dict__["forward"]
                else:
                    module.__dict__["forward"] = before
            _watched.pop(self._model, None)
            self._events.clear()
            self._run._end("this watch has ended, and nothing is kept of the model since. Use run.loss() within `with`")

    # What forwards and hooks do

    def _begin(self, module: torch.nn.Module) -> Forward | None:
        """Open a forward, unless one is open or a backward computes a checkpoint again; return it."""
        if self._events:
            self._network.settle()
        return self._forwards.begin(module)

    def _end(self, path: str, forward: Forward | None, output: Any) -> None:
        """Close a forward, if one began here."""
        if self._events:
            self._network.settle()
        if not path:
            self._network.leave_out_final(self._forwards.here.open, output)
        if forward is not None:
            self._forwards.end(forward, output)
            self._network.note(forward)

    def _show(self, path: str, module: torch.nn.Module, output: Any) -> Any:
        """Show the run the output of a module; return the output with its changes, or None for the same."""
        if self._events:
            self._network.settle()
        network = self._network
        route = network.routes.get(path) or network.route(path)
        if isinstance(output, torch.Tensor) and not route.changed_by(module.training):
            if route.kept:
                if not output.is_floating_point():
                    raise not_floats(path, output)
                self._run._keep(path, output, route, module)
            return None
        outputs = {}
        for name, one in named_outputs(path, output):
            route = network.route(name)
            if not route.kept and not route.changers:
                self._forwards.here.shown[name] = None
            elif not isinstance(one, torch.Tensor) or not one.is_floating_point():
                raise not_floats(name, one)
            else:
                outputs[name] = one
        if not outputs:
            return None
        changed = self._run._show(outputs, module.training, module)
        if all(changed[name] is one for name, one in outputs.items()):
            return None
        forward = self._forwards.here.open
        if forward is not None and network.hidden:
            forward.changed.update({name: changed[name] for name, one in outputs.items() if changed[name] is not one})
        return with_outputs(path, output, changed)


class _Hook:
    """A forward hook on a module, which copies of the module do not have. This one does nothing."""

    __slots__ = ("_module", "_path", "_watch")

    def __init__(self, watch: Watch, path: str, module: torch.nn.Module) -> None:
        self._watch, self._path, self._module = watch, path, module

    @property
    def __name__(self) -> str:  # what torch.jit.script asks a hook for
        raise _NotScriptedError(
            "torch.jit.script cannot compile a model that is watched. Script it before the watch opens, or after it "
            "has ended"
        )

    def __call__(self, module: torch.nn.Module, _: Any, output: Any) -> Any:
        """Do nothing."""

    def leave(self, output: Any) -> None:
        """Leave an output of compiled code for `run`."""
        if not is_exporting():
            self._watch._events.append((self, output, torch.is_grad_enabled()))

    def run(self, output: Any) -> Any:
        """Do what could not be done in compiled code."""


class _NotScriptedError(regkit.GraphError, AttributeError):
    """An attribute that a hook does not have, with words on what asks for it."""


class _Seen(_Hook):
    """A hook that shows an output."""

    __slots__ = ("_changes",)

    def __init__(self, watch: Watch, path: str, module: torch.nn.Module) -> None:
        super().__init__(watch, path, module)
        network = watch._network
        self._changes = network.may_change(path, train=False), network.may_change(path, train=True)

    def __call__(self, module: torch.nn.Module, _: Any, output: Any) -> Any:
        """Show the output; return it with its changes, or None for the same."""
        if is_compiling():
            if self._changes[module.training] and not is_exporting():
                return _changed_outside(self, output)
            self.leave(output)
            return None
        if module is not self._module or torch.jit.is_tracing():
            return None  # a shallow copy has the hooks of the module
        return self.run(output)

    def run(self, output: Any) -> Any:
        """Show the output."""
        return self._watch._show(self._path, self._module, output)


#: What compiled code calls for an output that is changed.
_changed_outside = outside(_Seen.run)


class _Weight(_Hook):
    """A hook on a parametrization, whose output is the weight that a module computes with."""

    __slots__ = ()

    def __call__(self, module: torch.nn.Module, _: Any, output: Any) -> None:
        """Keep the weight."""
        if is_compiling():
            self.leave(output)
        elif module is self._module and not self._watch._network.weights.computing:
            self.run(output)

    def run(self, output: Any) -> None:
        """Keep the weight."""
        forward = self._watch._forwards.here.open
        if forward is not None and current_backward() == -1 and forward.grad == torch.is_grad_enabled():
            forward.keep_weight(self._path, output)


class _Begun(_Hook):
    """What compiled code leaves where the forward of a module with others in it begins."""

    __slots__ = ()

    def run(self, output: Any) -> None:
        """Open a forward where none is open."""
        self._watch._forwards.begin(self._module)


class _Ended(_Hook):
    """What compiled code leaves where it ends."""

    __slots__ = ()

    def run(self, output: Any) -> None:
        """Close the forward that began with the module."""
        forward = self._watch._forwards.here.open
        began = forward is not None and forward.module is self._module
        self._watch._end(self._path, forward if began else None, output)


def _replicas() -> Any:
    """Refuse to make a replica of a module."""
    raise regkit.GraphError(
        "a model that is watched runs as replicas on several devices at once (DataParallel), whose outputs are not in "
        "one place. Use torch.nn.parallel.DistributedDataParallel"
    )


def _forward_of(watch: Watch, module: torch.nn.Module, shows: str | None, contains: str | None) -> Callable[..., Any]:
    """Return the forward of a module while it is watched.

    Parameters
    ----------
    watch : Watch
    module : torch.nn.Module
    shows : str or None
        The name of its output, if that is shown.
    contains : str or None
        Its path, if calling it is a forward.
    """
    forward = module.forward
    here, is_grad_enabled = watch._forwards._here, torch.is_grad_enabled
    changes = shows is not None and watch._network.may_change(shows)
    seen = _Seen(watch, shows or "", module)
    begun, ended = _Begun(watch, contains or "", module), _Ended(watch, contains or "", module)
    kept = shows is not None and not changes and watch._network.route(shows).kept

    def show(output: Any) -> Any:
        if not is_compiling():
            opened = here.state.open
            if (
                kept
                and shows is not None
                and opened is not None
                and type(output) is torch.Tensor
                and opened.grad
                and is_grad_enabled()
                and current_backward() == -1
                and output.is_floating_point()
            ):
                opened.seen.append((shows, output, output._version))
                return output
            if watch._ended:
                return output
        changed = seen(module, None, output)
        return output if changed is None else changed

    def of_leaf(*args: Any, **kwargs: Any) -> Any:
        return show(forward(*args, **kwargs))

    def of_container(*args: Any, **kwargs: Any) -> Any:
        if is_compiling():
            begun.leave(None)
            output = forward(*args, **kwargs)
            output = output if shows is None else show(output)
            ended.leave(output if contains == "" else None)
            return output
        if here.state.open is not None and contains:  # within another one
            output = forward(*args, **kwargs)
            return output if shows is None else show(output)
        if watch._ended or torch.jit.is_tracing():
            return forward(*args, **kwargs)
        opened = watch._begin(module)
        try:
            output = forward(*args, **kwargs)
            output = output if shows is None else show(output)
        except BaseException:
            if opened is not None:
                watch._forwards.drop(opened)
            raise
        watch._end(contains or "", opened, output)
        return output

    replacement = of_leaf if contains is None else of_container
    replacement.regkit_forward = replacement.__wrapped__ = forward  # type: ignore[attr-defined]
    return replacement


def _state_of(module: torch.nn.Module) -> Any:
    """Return the state of a module for copies, without the hooks of a watch."""
    get = getattr(type(module), "__getstate__", None)  # object has none before Python 3.11
    state = module.__dict__ if get is None else get(module)
    if not isinstance(state, dict):
        return state
    ours = ("__getstate__", "_replicate_for_data_parallel")
    state = {name: value for name, value in state.items() if name not in ours}
    if hasattr(state.get("forward"), "regkit_forward"):
        del state["forward"]
    hooks = state.get("_forward_hooks", {}).items()
    state["_forward_hooks"] = OrderedDict((number, hook) for number, hook in hooks if not isinstance(hook, _Hook))
    return state


# The model


class Model(Network):
    """A model, with the modules that it had when the watch opened.

    Attributes
    ----------
    modules : Modules
    watched : list of (str, torch.nn.Module)
        The modules that a member may look at, with their paths.
    containers : list of (str, torch.nn.Module)
        The modules that such modules are in, or that parameters are looked at of.
    computed : list of (str, torch.nn.Module)
        Parametrizations, with the names of the weights that they compute.
    weights : Weights
    events : list
        What compiled code leaves: a hook, what it was given, and whether gradients are enabled.
    """

    caller = "watch"

    def __init__(
        self, model: torch.nn.Module, routing: Routing, regs: regkit.RegularizerSet, forwards: Forwards
    ) -> None:
        self._model = model
        self._forwards = forwards
        self.regs = regs
        self.routing = routing
        self.modules = Modules(model)
        self.plans = plans_of(model, regs, self.modules.form)
        if self.plans.layout is None:
            self.plans.layout = Layout(model, self.modules.places, routing)
            regs.log()
        layout: Layout = self.plans.layout
        every = self.modules.every
        self.paths = layout.paths
        self.layers = layout.layers
        self.hidden = layout.hidden
        self.routes = layout.routes
        self.watched = [(path, every[place]) for path, place in layout.watched]
        self.containers: list[tuple[str, torch.nn.Module]] = [(path, every[place]) for path, place in layout.containers]
        self.computed: list[tuple[str, torch.nn.Module]] = [(name, every[place]) for name, place in layout.computed]
        self.unmatched = [(routing.every[name], glob) for name, glob in layout.unmatched]
        self._layout = layout
        self._compiled = [(path, module) for path, module in self.containers + self.watched if _is_compiled(module)]
        self.weights = _weights.Weights(self.modules.every, layout.params, layout.made_of)
        self._unchanged: dict[str, str] = {}
        self.events: list[Any] = []

    @property
    def hint(self) -> str:  # type: ignore[override]  # it depends on what other threads did
        """What to do where a pattern matches nothing."""
        others = self._forwards.elsewhere()
        threads = (
            f" There are {others} forwards of other threads, and a loss is of those of its thread." if others else ""
        )
        return (
            "Nothing is kept for it of a forward under torch.no_grad() or within a reentrant checkpoint, of a model "
            "that torch.compile compiled before the watch opened, or of model.forward(x) instead of model(x); the "
            "result of a function such as F.relu is not an output of a module: run.tap(name, value) shows it. "
            f"regkit_torch.names(model, *inputs) shows what there is.{threads}"
        )

    @property
    def train(self) -> bool:  # type: ignore[override]  # which is the model's to change
        """Whether the model is in training mode."""
        return bool(self._model.training)

    @train.setter
    def train(self, value: bool) -> None:
        raise regkit.GraphError("a watch has the mode of its model: call model.train() or model.eval()")

    def settle(self) -> None:
        """Take what compiled code has left since: hooks do on it what they could not do then."""
        events, self.events[:] = list(self.events), []
        for hook, output, grad in events:
            with torch.set_grad_enabled(grad):
                hook.run(output)

    # Outputs

    def leave_out_final(self, forward: Forward | None, output: Any) -> None:
        """Take the outputs of a forward that are the model's out of the default.

        Raises
        ------
        regkit.GraphError
            If a member changed one, which it selected by default.
        """
        if not self.hidden or forward is None:
            return
        forward.settle()
        returned = {id(part) for _, part in named_outputs("", output)}
        forward.final = tuple(
            name for name, (tensor, _) in forward.outputs.items() if name in self.hidden and id(tensor) in returned
        )
        for name, tensor in forward.changed.items():
            if id(tensor) in returned and name in self.hidden:
                for changer in self.route(name).changers:
                    if self.routing.every[changer].needs_pattern:
                        raise regkit.GraphError(
                            f"{changer} changed {name!r}, which is the model's output and no hidden one. Take it out: "
                            f"pattern='!{name}'"
                        )

    def check_seen(self, forwards: Sequence[Forward]) -> None:
        """Raise if a module that a member looks at ran unseen in a forward, and was not seen in the same.

        Raises
        ------
        regkit.GraphError
            With the module, and the way out.
        """
        _weights.check_live(forwards)
        if self._unchanged:
            self.check_changed()
        for forward in forwards:
            for name, why in forward.missed.items():
                if name not in forward.outputs:
                    raise regkit.GraphError(f"module {name!r} {why}")

    def may_change(self, path: str, train: bool = True) -> bool:
        """Return whether a member may change an output of a module in one of the two modes."""
        changers = (member for member in self.routing.changers.values() if train or member.in_predictions)
        return any(_may_be_shown(path, member, self.hidden or {}) for member in changers)

    def check_changed(self) -> None:
        """Raise if a member was to change the output of a module that ran unseen."""
        for name, why in self._unchanged.items():
            raise regkit.GraphError(f"module {name!r} {why}")

    def _unseen_in(self, forward: Forward) -> list[str]:
        """Return the watched modules in compiled ones of which nothing was seen in a forward."""
        unseen = []
        ran = set() if forward.module is None else set(map(id, forward.module.modules()))
        for path, module in self._compiled:
            within = [one for one, _ in self.watched if one == path or not path or one.startswith(f"{path}.")]
            if id(module) in ran and not any(name.partition(":")[0] in within for name in forward.times):
                unseen += within
        return unseen

    # Parameters

    def param(self, name: str) -> Any:
        """Return the present weight of a full name, which may be another one in each step."""
        return self.weights.get(name)

    def params(self) -> dict[str, torch.Tensor]:
        """Return the present weights by their full names."""
        found = ((name, self.param(name)) for name in self._layout.params)
        return {name: param for name, param in found if param is not None}

    def visible(self, member: hosts.Member) -> frozenset[str]:
        """Return the names of the parameters that a member sees: without a pattern those that are trained.

        What a weight is computed of is seen only by a member with a glob that matches no weight.
        """
        layout = self._layout
        weights = [name for name in layout.params if name not in layout.originals]
        if member.selects != "params":
            return frozenset(weights)
        globs = member.globs or ("!",)
        if globs[0].startswith("!"):
            return frozenset(name for name in weights if self.weights.is_trained(name))
        own = [glob for glob in globs if not any(hosts.matches(weight, [glob]) for weight in weights)]
        originals = {one for one in layout.originals if any(hosts.matches(one, [glob]) for glob in own)}
        return frozenset(weights) | originals

    def params_to_change(self, members: Iterable[hosts.Member]) -> dict[str, torch.Tensor]:
        """Return the parameters that members may change after a step, and those that count beside them."""
        layout = self._layout
        for member in members:
            for name in layout.made_of.keys() & self.visible(member):
                if not member.globs or hosts.matches(name, member.globs):
                    raise regkit.GraphError(
                        f"{member.name}: the weight {name!r} is computed in each forward, by a parametrization, a mask "
                        "or adapters, so a step after the optimizer's cannot change it. Name what it is computed of, "
                        f"pattern={layout.made_of[name]!r}, or take it out, pattern='!{name}'"
                    )
        return {
            name: param
            for name in layout.params
            if name not in layout.made_of and (param := self.param(name)) is not None
        }

    def of_forwards(self, forwards: Sequence[Forward]) -> Hashable:
        """Have the weights of forwards from here on; return what a plan depends on besides outputs and parameters."""
        self.weights.use(forwards)
        self.final = tuple(name for one in forwards for name in one.final)
        return self.final, tuple(map(self.weights.is_trained, self._layout.by_default))

    def note(self, forward: Forward) -> None:
        """Take down what the loss of a forward needs to know when it has ended."""
        for name in self._unseen_in(forward) if self._compiled else ():
            route = self.route(name)
            if route.kept:
                forward.missed[name] = COMPILED_BEFORE
            if route.changed_by(self.train):
                self._unchanged[name] = COMPILED_BEFORE
        if self._layout.looks_at_params:
            self.weights.note(forward)

    # Errors

    def tied(self, glob: str) -> str:
        """Return words on what a glob matches under another name; none if there is no such thing."""
        names = {id(module): path for path, module in reversed(module_paths(self._model))}
        for full, module in self._model.named_modules(remove_duplicate=False):
            if full not in names.values() and may_match(full, glob) and names.get(id(module)):
                return f". {full!r} is the same module as {names[id(module)]!r}, which is its name here"
        return ""

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
            "parameters": [name for name in params if name not in self._layout.params],
        }
        changes = (f"new {kind} are {hosts.listed(names)}" for kind, names in new.items() if names)
        return regkit.GraphError(
            "the model has changed within the watch: "
            f"{next(changes, 'modules or parameters are gone, or shared, or have other names')}. Leave the watch "
            "before modules or parameters are added, replaced or taken out, and open a new one after it"
        )


#: Why an output in a compiled module was not seen.
COMPILED_BEFORE = (
    "ran in code that torch.compile had compiled before the watch opened, which does not show its outputs. Call "
    "torch.compiler.reset() after the watch opened, so that it is compiled again"
)


def _is_compiled(module: torch.nn.Module) -> bool:
    """Return whether torch.compile compiled a module: in place, or as a wrapper."""
    return getattr(module, "_compiled_call_impl", None) is not None or COMPILED in module._modules


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


#: Activations whose outputs are no hidden layer's: they are weights of a mean, or log-probabilities.
_NOT_HIDDEN = ("Softmax", "Softmax2d", "Softmin", "LogSoftmax", "MultiheadAttention")


def hidden_output(path: str, module: torch.nn.Module) -> str | None:
    """Return the name of the output that a module has by default among the hidden ones; None if it has none."""
    for cls in type(module).__mro__:
        if cls.__module__ == "torch.nn.modules.activation":
            return None if cls.__name__ in _NOT_HIDDEN else path
        if cls.__module__ == "torch.nn.modules.rnn" and isinstance(
            module, (torch.nn.RNNBase, torch.nn.RNNCell, torch.nn.GRUCell, torch.nn.LSTMCell)
        ):
            return path if isinstance(module, (torch.nn.RNNCell, torch.nn.GRUCell)) else f"{path}:0"
    return None


class Layout:
    """What a set looks at in a model of a form, kept with the plans, so without references to modules and members.

    Attributes
    ----------
    paths : list of str
        Those of all modules but the model itself.
    watched : list of (str, int)
        The paths of modules that a member may look at, and their places in `Modules.every`.
    containers : list of (str, int)
        Those that such modules are in.
    layers : list of (str, str, list of str)
        Of each module, the name and the role of its layer, and the names of its weights, without its children's.
    hidden : dict of str to None
        The names of outputs that members without a pattern select.
    params : dict of str to (int, str)
        By the full names of weights, the place of the module that has them and their names in it.
    made_of : dict of str to list of str
        By the full names of computed weights, those of the parameters that they are made of.
    originals : set of str
        All of these.
    computed : list of (str, int)
        By the full names of computed weights, the place of the parametrization that computes each in a forward.
    looks_at_params : bool
        Whether a penalty may be of weights.
    by_default : list of str
        The names of weights that a penalty may be of without a pattern.
    routes : dict of str to Route
        By names of outputs, those that were asked for.
    unmatched : list of (str, str)
        Members with globs that match nothing of these, so that only a tap can.
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
        seen: dict[str, int] = {}  # what is compiled has the path of its wrapper, which shows the output
        for path, module in found:
            if path and any(_may_be_shown(path, member, self.hidden) for member in members):
                seen.setdefault(path, places[id(module)])
        self.watched = list(seen.items())
        self._add_weights(found, places)
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
        for member, glob in hosts.unmatched(members, params=self.params):  # no tap can be a parameter
            raise regkit.NoMatchError(
                f"{hosts.no_match(member, [glob], parameters=self.params)}{_tied_weight(model, glob)}"
            )

    def _add_weights(self, found: Sequence[tuple[str, torch.nn.Module]], places: Mapping[int, int]) -> None:
        self.layers: list[tuple[str, str | None, list[str]]] = []
        self.params: dict[str, tuple[int, str]] = {}
        self.made_of: dict[str, list[str]] = {}
        self.computed: list[tuple[str, int]] = []
        for path, module in found:
            prefix = f"{path}." if path else ""
            names = list(params_of(path, module))
            originals = [f"{prefix}{name}" for name in _weights.original_names(module)]
            for short in _weights.computed_names(module):
                self.made_of[f"{prefix}{short}"] = originals
                names.append(f"{prefix}{short}")
            for short, one in _weights.parametrizations(module).items():
                self.computed.append((f"{prefix}{short}", places[id(one)]))
            self.params.update({name: (places[id(module)], name.removeprefix(prefix)) for name in names})
            self.layers.append((path or "model", "output", names))
        self.originals = {name for names in self.made_of.values() for name in names}

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
            example = (
                f"{member.name.partition('[')[0]}=dict(weight=..., pattern={self.paths[0] if self.paths else 'hid*'!r})"
            )
            raise regkit.OptionError(
                f"{member.name}: {type(member.regularizer).__name__} needs a pattern. {lacks}. Name some: {example}. "
                f"regkit_torch.names(model, *inputs) shows outputs and parameters. There is:\n{table_of_modules(found)}"
            )


def _tied_weight(model: torch.nn.Module, glob: str) -> str:
    """Return words on a parameter that a glob matches under another name."""
    names = {id(param): name for name, param in reversed(list(model.named_parameters()))}
    for full, param in model.named_parameters(remove_duplicate=False):
        if hosts.matches(full, [glob]):
            return f". {full!r} is the same parameter as {names[id(param)]!r}, which is its name here"
    return ""


def _may_be_shown(path: str, member: hosts.Member, hidden: Mapping[str, None]) -> bool:
    """Return whether a member may look at an output of a module: the output, one of several, or one kept beside it."""
    name = path if path in hidden else f"{path}:0"
    if member.needs_pattern:
        if name in hidden or by_default(member, path, hidden):
            return True
    elif member.looks_at(path):
        return True
    named = [*member.named, member.globs or ()] if member.selects == "outputs" else member.named
    return any(may_match(path, glob) for globs in named for glob in globs if not glob.startswith("!"))
