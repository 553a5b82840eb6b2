"""A watched model of torch, whose modules show their outputs to a run."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import Any

import torch
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import WeakIdKeyDictionary

import regkit
from regkit import hosts

from ._forward import Forward
from ._forwards import Forwards
from ._hooks import routing_of
from ._model import Model
from ._module_hooks import ComputedWeight, Hook, Seen, forward_of, replicas, state_of
from ._names import COMPILED, named_outputs, with_outputs
from ._run import Run, not_floats
from ._steps import follow


def watch(
    model: torch.nn.Module, regs: regkit.RegularizerSet, *, forwards: str = "one", optimizer: Any = None
) -> Watch:
    """Show the outputs of a model's modules to regularizers, for as long as the ``with`` statement runs.

    Outputs are named by the path of their module in ``model.named_modules()``, such as ``encoder.fc1``. In a tuple,
    ``lstm:0`` is the first output and ``lstm:1:0`` the first of the second; ``block:hidden`` is a field of a dict or a
    dataclass. Parameters have their names in ``model.named_parameters()``. The prefixes of wrappers, ``module.`` and
    ``_orig_mod.``, are left out. `names` lists all of them.

    Without a pattern, penalties and changes of hidden outputs select those of activations (the modules of
    ``torch.nn.modules.activation`` except softmax and attention) and of recurrent modules. An output that the model
    returns, as it is or as a view, is left out, and so is one that a separately called part returns, unless another
    part reads it. Penalties of weights select all matrices that are trained.

    Parameters
    ----------
    model : torch.nn.Module
    regs : regkit.RegularizerSet
        What `regkit.build` returns.
    forwards : {"one", "all", "last"}, default "one"
        Which forwards a loss takes. A forward is the outermost call of a module of the model. Two forwards since the
        last loss conflict if they have the same module, or the module of one contains that of the other: a
        `regkit.GraphError` for ``"one"``. With ``"all"`` the loss takes all forwards, with ``"last"`` the last one of
        each module that was called.
    optimizer : torch.optim.Optimizer, optional
        After each of its steps `Run.after_step` is called: for proximal steps, projections and decays, and for weights
        that are `regkit.schedules`.

    Returns
    -------
    context manager of Run
        ``run.loss()`` returns the regularizers' part of the loss, for the forward since the last loss; under
        ``torch.no_grad()``, for forwards that ran under ``torch.no_grad()``. Noise and dropout change the outputs of
        modules that are in training mode. ``run.tap(name, value)`` shows tensors that are not outputs of modules.

    Raises
    ------
    regkit.OptionError
        If `model` is not a module, `regs` not a set, `forwards` none of the three, or `optimizer` not an optimizer; or
        if a regularizer of outputs has no pattern and the model none of these modules.
    regkit.GraphError
        If the model, or a part of it, is watched already.
    regkit.NoMatchError
        If a pattern matches no module, no parameter, and no name that was tapped before the first loss: by
        ``run.loss()``, or at the end of a watch without a loss. For a pattern of weights, when the watch opens.

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
        model, self._ended = self._model, False
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
        self._left = self._network.left
        # Calling a module that has any hook takes longer than the hook itself. So the forward shows the output, except
        # where hooks of others come first. All hooks have one number, since register_forward_hook makes a handle with
        # three weak references.
        self._number = RemovableHandle(OrderedDict()).id
        self._before: list[tuple[torch.nn.Module, Any]] = []
        self._hooked: list[torch.nn.Module] = [model]
        if COMPILED not in model._modules:  # a wrapper cannot be scripted, and takes longer to call with a hook
            model._forward_hooks[self._number] = Hook(self, "", model)
        containers = {id(module): path for path, module in self._network.containers}
        watched = {id(module): path for path, module in self._network.watched}
        shown = dict(watched)
        for path, module in self._network.watched:
            if module._forward_hooks or module._forward_pre_hooks:
                del shown[id(module)]
                module._forward_hooks[self._number] = Seen(self, path, module)
                self._hooked.append(module)
        for name, module in self._network.computed:
            module._forward_hooks[self._number] = ComputedWeight(self, name, module)
            self._hooked.append(module)
        for module in self._network.modules.every:
            shows, contains = shown.get(id(module)), containers.get(id(module))
            if shows is not None or contains is not None:
                self._before.append((module, module.__dict__.get("forward")))
                module.__dict__["forward"] = forward_of(self, module, shows, contains)
                self._hooked.append(module)
        for module in self._hooked:
            path = watched.get(id(module), "")
            module.__dict__["__getstate__"] = partial(state_of, module, path and self._network.changers(path, False))
            module.__dict__["_replicate_for_data_parallel"] = replicas
        return self._run

    def follow(self, optimizer: Any) -> None:
        """Let regularizers act after each step of an optimizer, in place of an earlier one, until the watch ends."""
        handle = follow(optimizer, self._run._after_step)
        self._follow_none()
        self._followed = handle
        self._run._follows = True

    def _follow_none(self) -> None:
        if self._followed is not None:
            self._followed.remove()

    def __exit__(self, error: type[BaseException] | None, *more: object) -> None:
        try:
            if error is None:
                self._network.settle()
                self._network.check_taps(self._run._tapped)
                self._network.check_changed()
                losses = self._run._losses + self._run._compiled_losses
                hosts.warn_of_schedules(self._regs, losses)
                if losses:
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
                    continue  # another forward has been put around ours, which does nothing from here on
                if before is None:
                    del module.__dict__["forward"]
                else:
                    module.__dict__["forward"] = before
            _watched.pop(self._model, None)
            self._left.clear()
            self._run._end("this watch has ended, and nothing is kept of the model since. Use run.loss() within `with`")

    # Called by forwards and hooks

    def _begin(self, module: torch.nn.Module) -> Forward | None:
        """Open a forward, unless one is open or a backward computes a checkpoint again; return it."""
        if self._left:
            self._network.settle()
        return self._forwards.begin(module)

    def _end(self, path: str, forward: Forward | None, output: Any) -> None:
        """Close a forward, if one began here."""
        if self._left:
            self._network.settle()
        if not path or forward is not None:
            try:
                self._network.leave_out_final(path, forward if path else self._forwards.here.open, output)
            except regkit.GraphError:
                if forward is not None:
                    self._forwards.drop(forward)
                raise
        if forward is not None:
            self._forwards.end(forward, output)
            self._network.note(forward)

    def _show(self, path: str, module: torch.nn.Module, output: Any) -> Any:
        """Show the run the output of a module; return the output with its changes, or None for the same."""
        if self._left:
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

    def _show_traced(self, path: str, output: Any) -> Any:
        """Return the output of a module with its changes in predictions, or None for the same."""
        named = dict(named_outputs(path, output))
        outputs = {name: one for name, one in named.items() if self._network.route(name).predicting}
        for name, one in outputs.items():
            if not isinstance(one, torch.Tensor) or not one.is_floating_point():
                raise not_floats(name, one)
        return with_outputs(path, output, self._run._hooks.in_predictions(outputs)) if outputs else None
