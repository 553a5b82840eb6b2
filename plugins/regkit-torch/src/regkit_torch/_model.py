"""A model as the network of a run: its modules and weights by names, and the errors of its forwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.compiler import is_compiling

import regkit
from regkit import hosts

from . import _weights
from ._compiled import End, Leavings, in_graph, outside
from ._forward import reads, returned_names
from ._forwards import contains
from ._hooks import Computed, Network, changed_in_place, may_match
from ._layout import Layout, Modules, may_be_shown
from ._names import COMPILED, module_paths, named_outputs, params_of
from ._plans import plans_of

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    from ._forward import Forward
    from ._forwards import Forwards
    from ._hooks import Outputs, Routing
    from ._plans import Plan


class Model(Network):
    """A watched model, with the modules that it had when the watch opened.

    Attributes
    ----------
    modules : Modules
    watched : list of (str, torch.nn.Module)
        The modules that a member may look at, with their paths.
    containers : list of (str, torch.nn.Module)
        The modules that contain such modules, and the model itself; all containers if a tap may come within any.
    computed : list of (str, torch.nn.Module)
        Parametrizations, with the names of the weights that they compute.
    weights : Weights
    left : Leavings
        The outputs that compiled code has left.
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
        self._compiled = [
            (module, [one for one, _ in self.watched if one == path or not path or one.startswith(f"{path}.")])
            for path, module in self.containers + self.watched
            if _is_compiled(module)
        ]
        self.weights = _weights.Weights(self.modules.every, layout.params, layout.made_of)
        self._unchanged: dict[str, str] = {}
        self._plain = {name: place for name, place in layout.params.items() if name not in layout.made_of}
        by_default = [self._plain[name] for name in layout.by_default if name in self._plain]
        self.left = Leavings(every, self.hidden, by_default, self.plans.in_graph, self._settle_soon)
        self._error: Exception | None = None
        self._read: dict[int, bool] = {}

    @property
    def hint(self) -> str:  # type: ignore[override]  # it depends on what other threads did
        """Advice for a pattern that matches nothing."""
        return (
            "Nothing is kept for it of a forward under torch.no_grad() or within a reentrant checkpoint, of a model "
            "that torch.compile compiled before the watch opened, or of model.forward(x) instead of model(x); the "
            "result of a function such as F.relu is not an output of a module: run.tap(name, value) shows it. "
            f"regkit_torch.names(model, *inputs) shows what there is.{self._others}"
        )

    @property
    def _others(self) -> str:
        others = self._forwards.elsewhere()
        return f" There are {others} forwards of other threads, and a loss is of those of its thread." if others else ""

    def check_began(self, since: str) -> None:
        """Raise, if a loss takes outputs, that there was no forward."""
        if any(member.selects == "outputs" for member in self.routing.looking.values()):
            mode = "with" if torch.is_grad_enabled() else "without"
            raise regkit.GraphError(
                f"there was no forward {mode} gradients of watched modules in this thread since {since}, so there are "
                "no outputs for a penalty. Call the model before each run.loss(). A model that torch.compile compiled "
                f"before the watch opened needs torch.compiler.reset() once.{self._others}"
            )

    @property
    def train(self) -> bool:  # type: ignore[override]  # which is the model's to change
        """Whether the model is in training mode."""
        return bool(self._model.training)

    @train.setter
    def train(self, value: bool) -> None:
        raise regkit.GraphError("a watch has the mode of its model: call model.train() or model.eval()")

    def settle(self) -> None:
        """Let hooks handle the outputs that compiled code has left."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        changes, self.left.changes = self.left.changes, {}
        for name, count in changes.items():
            if count:
                raise changed_in_place(name)
        here = self._forwards.here
        last = here.done[-1:]
        for one in self.left.take():
            self._settle(*one)
            if here.done[-1:] != last:  # a forward that may have ended some time ago
                last = here.done[-1:]
                for forward in last:
                    forward.check()

    @outside
    def _settle_soon(self) -> None:
        """Handle what compiled code has just left; the next call raises an error of it, since this one cannot."""
        if not self.left or is_compiling():
            return
        try:
            self.settle()
        except Exception as error:  # of hooks too
            self._error = error
        if any(one.grad and one.outputs for one in self._forwards.here.done):
            self.left.keep_loss_outside()

    def _settle(self, hook: Any, output: Any, grad: bool, changed: bool = False) -> None:
        if grad != torch.is_grad_enabled():
            with torch.set_grad_enabled(grad):
                return self._settle(hook, output, grad, changed)
        if type(output) is End:
            for (one, value, enabled), changes in zip(output.inside, output.changes):
                if changes or not one.plain or enabled != grad or not self._forwards.see(one.path, value):
                    self._settle(one, value, enabled, changes > 0)
        hook.run(output)
        if changed:
            self._forwards.mark_changed()
        return None

    # Outputs

    def leave_out_final(self, path: str, forward: Forward | None, output: Any) -> None:
        """Record which outputs of a forward its module returned: the model, or a part that is called separately.

        Raises
        ------
        regkit.GraphError
            If a member without a pattern changed one of them.
        """
        if not self.hidden or forward is None:
            return
        forward.settle()
        parts = [part for _, part in named_outputs("", output)]
        forward.final = tuple(name for name in returned_names(forward.outputs, parts) if name in self.hidden)
        changed = {name: (tensor, 0) for name, tensor in forward.changed.items()}
        for name in returned_names(changed, parts) if changed else ():
            for changer in self.route(name).changers if name in self.hidden else ():
                if not self.routing.every[changer].needs_pattern:
                    continue
                if path:
                    raise regkit.GraphError(
                        f"{changer} changed {name!r}, which {path!r} returned. That part was called apart, so this may "
                        f"be the model's output and no hidden one. Take it out, pattern='!{name}', or name what is to "
                        f"be changed, pattern={name!r}"
                    )
                raise regkit.GraphError(
                    f"{changer} changed {name!r}, which is the model's output and no hidden one. Take it out: "
                    f"pattern='!{name}'"
                )

    def _final(self, forwards: Sequence[Forward]) -> tuple[str, ...]:
        """Return the names of outputs that count as the model's output in a loss, and so are not hidden.

        The output of a part that is called separately does, unless another part reads it, or may read it unseen.
        """
        model = self.modules.every[0]
        final: dict[str, None] = {}
        hidden: set[str] = set()
        for i, one in enumerate(forwards):
            for name in one.final:
                output = one.outputs.get(name)
                if output is None or (
                    one.module is not model
                    and (self._may_be_read(one.module) or any(reads(later, output[0]) for later in forwards[i + 1 :]))
                ):
                    hidden.add(name)
                final[name] = None
        return tuple(name for name in final if name not in hidden)

    def _may_be_read(self, part: Any) -> bool:
        """Return whether modules with parameters beside a part have calls that are not seen, such as a head."""
        if id(part) not in self._read:
            seen = {id(one) for one in part.modules()}
            seen.update(id(one) for _, one in self.watched)
            around = set()
            for _, container in self.containers:
                inside = {id(one) for one in container.modules()}
                if id(part) in inside:
                    around.add(id(container))
                else:
                    seen |= inside
            others = (one for one in self.modules.every if id(one) not in seen and id(one) not in around)
            self._read[id(part)] = any(param is not None for one in others for param in one._parameters.values())
        return self._read[id(part)]

    def check_seen(self, forwards: Sequence[Forward]) -> None:
        """Raise if a module that a member looks at ran in a forward, and was not seen in it.

        Raises
        ------
        regkit.GraphError
            It names the module, and the way out.
        """
        _weights.check_live(forwards)
        if self._unchanged:
            self.check_changed()
        for forward in forwards:
            for name, why in forward.missed.items():
                if name not in forward.outputs:
                    raise regkit.GraphError(f"module {name!r} {why}")

    def changers(self, path: str, train: bool = True) -> list[str]:
        """Return the members that may change an output of a module in one of the two modes."""
        if not self.routing.changers:
            return []
        return [
            name
            for name, member in self.routing.changers.items()
            if (train or member.in_predictions) and may_be_shown(path, member, self.hidden or {})
        ]

    def check_changed(self) -> None:
        """Raise if a member should have changed the output of a module that ran unseen."""
        for name, why in self._unchanged.items():
            raise regkit.GraphError(f"module {name!r} {why}")

    def is_compiled(self, module: torch.nn.Module) -> bool:
        """Return whether the forward of a module is compiled as a whole, in place or within a wrapper."""
        return any(module is one or module is one._modules.get(COMPILED) for one, _ in self._compiled)

    def _unseen_in(self, forward: Forward) -> list[str]:
        """Return the watched modules within compiled ones from which no output was seen in a forward."""
        unseen = []
        for module, within in self._compiled:
            if any(one in forward.times for one in within):
                continue
            seen = {name.partition(":")[0] for name in forward.times}
            if seen.isdisjoint(within) and forward.module is not None and contains(forward.module, module):
                unseen += within
        return unseen

    # Parameters

    def param(self, name: str) -> Any:
        """Return the present weight of a full name; it may be another tensor in each step."""
        return self.weights.get(name)

    def params(self) -> dict[str, torch.Tensor]:
        """Return the present weights by their full names."""
        found = ((name, self.param(name)) for name in self._layout.params)
        return {name: param for name, param in found if param is not None}

    def visible(self, member: hosts.Member) -> frozenset[str]:
        """Return the names of the parameters that a member sees: without a pattern those that are trained.

        Only a member with a glob that matches no weight sees the parameters from which a weight is computed.
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
        found: dict[int, tuple[str, torch.Tensor]] = {}  # a tied parameter counts once, by its first name
        for name in layout.params:
            param = None if name in layout.made_of else self.param(name)
            if param is not None:
                found.setdefault(id(param), (name, param))
        return dict(found.values())

    def of_forwards(self, forwards: Sequence[Forward]) -> Hashable:
        """Use the weights of these forwards; return what a plan depends on besides outputs and parameters."""
        self.weights.use(forwards)
        self.final = self._final(forwards) if self.hidden else ()
        return self.final, tuple(map(self.weights.is_trained, self._layout.by_default))

    def note(self, forward: Forward) -> None:
        """Record, at the end of a forward, its missed outputs and its weights for the loss."""
        for name in self._unseen_in(forward) if self._compiled else ():
            route = self.route(name)
            if route.kept:
                forward.missed[name] = COMPILED_BEFORE
            if route.changed_by(self.train):
                self._unchanged[name] = COMPILED_BEFORE
        if self._layout.looks_at_params:
            self.weights.note(forward)

    def noted(self, plan: Plan, outputs: Outputs) -> None:
        """Let compiled code call a new plan for outputs like these, if it can; torch.compile then compiles again."""
        kinds = tuple((name, tensor.dtype, tensor.dim()) for name, (tensor, _) in outputs.items())
        final, trained = plan.conditions
        self.plans.in_graph[kinds, final, trained] = in_graph(plan, self._plain)

    def loss_in_graph(self) -> Computed | None:
        """Return the loss of a forward within compiled code; None where it cannot be computed there."""
        if self.routing.changers or self.unmatched or self.regs.needs_metrics:
            return None
        end = self.left.take_loss()
        return None if end is None or end.plan is None else Computed(end.plan, end.results, None)

    # Errors

    def tied(self, glob: str) -> str:
        """Return a sentence on a module that a glob matches under another name; an empty string if there is none."""
        names = {id(module): path for path, module in reversed(module_paths(self._model))}
        for full, module in self._model.named_modules(remove_duplicate=False):
            if full not in names.values() and may_match(full, glob) and names.get(id(module)):
                return f". {full!r} is the same module as {names[id(module)]!r}, which is its name here"
        return ""

    def check(self, tapped: Iterable[str]) -> None:
        """Raise if the modules of the model have changed, or a glob matches no module and no name that was tapped.

        Raises
        ------
        regkit.GraphError
            It names the new modules and parameters.
        regkit.NoMatchError
            It lists the modules and the tapped names.
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
