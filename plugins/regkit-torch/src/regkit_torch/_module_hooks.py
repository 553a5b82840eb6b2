"""The forwards and the hooks that a watch puts on modules."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from types import CodeType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch.compiler import is_compiling, is_dynamo_compiling, is_exporting

import regkit

from ._compiled import End, outside
from ._forward import current_backward
from ._hooks import Computed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ._watch import Watch


class Hook:
    """A forward hook on a module, which copies of the module do not have. This one does nothing.

    Attributes
    ----------
    path : str
    kept : bool
        Whether it shows an output that is kept.
    plain : bool
        Whether it does, and no member changes the output.
    """

    __slots__ = ("_module", "_watch", "kept", "path", "plain")

    def __init__(self, watch: Watch, path: str, module: torch.nn.Module) -> None:
        self._watch, self.path, self._module = watch, path, module
        self.kept = self.plain = False

    @property
    def __name__(self) -> str:  # what torch.jit.script asks a hook for
        raise _NotScriptedError(
            "torch.jit.script cannot compile a model that is watched. Script it before the watch opens, or after it "
            "has ended"
        )

    def __call__(self, module: torch.nn.Module, _: Any, output: Any) -> Any:
        """Do nothing."""

    def run(self, output: Any) -> Any:
        """Handle an output that compiled code has left."""


class _NotScriptedError(regkit.GraphError, AttributeError):
    """A missing attribute of a hook, for torch.jit.script, which reads it."""


class Seen(Hook):
    """A hook that shows an output."""

    __slots__ = ("_changes", "changes")

    def __init__(self, watch: Watch, path: str, module: torch.nn.Module) -> None:
        super().__init__(watch, path, module)
        network = watch._network
        self.kept = network.route(path).kept
        self._changes = bool(network.changers(path, train=False)), bool(network.changers(path))
        self.changes = any(self._changes)
        self.plain = self.kept and not self.changes

    def __call__(self, module: torch.nn.Module, _: Any, output: Any) -> Any:
        """Show the output; return it with its changes, or None for the same."""
        if is_exporting() or torch.jit.is_tracing():
            return self._traced(output) if self._changes[module.training] and module is self._module else None
        if is_compiling():
            if self._changes[module.training]:
                return _changed_outside(self, output)
            self._watch._left.leave(self, output)
            return None
        if module is not self._module:
            return None  # a shallow copy has the hooks of the module
        return self.run(output)

    def _traced(self, output: Any) -> Any:
        """Return an output with its changes for torch.export or torch.jit.trace; None for the same."""
        if self._module.training:
            raise regkit.GraphError(
                f"the model is exported or traced in training mode, in which regularizers change the output of "
                f"{self.path!r}. Call model.eval() before, or export it when the watch has ended"
            )
        if is_dynamo_compiling():
            raise regkit.GraphError(
                f"torch.export with strict=True cannot trace what changes the output of {self.path!r} in predictions. "
                "Write strict=False"
            )
        return self._watch._show_traced(self.path, output)

    def run(self, output: Any) -> Any:
        """Show the output."""
        return self._watch._show(self.path, self._module, output)


#: Called by compiled code for an output that is changed.
_changed_outside = outside(Seen.run)


class ComputedWeight(Hook):
    """A hook on a parametrization, whose output is the weight that a module computes with."""

    __slots__ = ()

    def __call__(self, module: torch.nn.Module, _: Any, output: Any) -> None:
        """Keep the weight."""
        if is_exporting():
            return
        if is_compiling():
            self._watch._left.leave(self, output)
        elif module is self._module and not self._watch._network.weights.computing:
            self.run(output)

    def run(self, output: Any) -> None:
        """Keep the weight."""
        forward = self._watch._forwards.here.open
        if forward is not None and current_backward() == -1 and forward.grad == torch.is_grad_enabled():
            forward.keep_weight(self.path, output)


class _Begun(Hook):
    """Left by compiled code at the beginning of the forward of a container."""

    __slots__ = ()

    def run(self, output: Any) -> None:
        """Open a forward where none is open."""
        forward = self._watch._forwards.begin(self._module)
        if forward is not None and output is not None:
            forward.given = output


class _Ended(Hook):
    """Left by compiled code at the end of the forward of a container."""

    __slots__ = ()

    def run(self, output: Any) -> None:
        """Close the forward that began with the module."""
        forward = self._watch._forwards.here.open
        returned = output
        if type(output) is End:
            returned = output.output
            if forward is not None and output.plan is not None:
                forward.computed = Computed(output.plan, output.results, None)
        began = forward is not None and forward.module is self._module
        self._watch._end(self.path, forward if began else None, returned)


def replicas() -> Any:
    """Refuse to make a replica of a module."""
    raise regkit.GraphError(
        "a model that is watched runs as replicas on several devices at once (DataParallel), whose outputs are not in "
        "one place. Use torch.nn.parallel.DistributedDataParallel"
    )


def forward_of(watch: Watch, module: torch.nn.Module, shows: str | None, contains: str | None) -> Callable[..., Any]:
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
    seen = Seen(watch, shows or "", module)
    changes = shows is not None and seen.changes
    begun, ended = _Begun(watch, contains or "", module), _Ended(watch, contains or "", module)
    plain = shows is not None and seen.plain
    left, whole = watch._left, contains == ""
    read = bool(contains and watch._network.hidden)
    in_whole = whole or watch._network.is_compiled(module)

    def show(output: Any) -> Any:
        if is_compiling():
            if not changes and not is_exporting():
                left.leave(seen, output)
                return output
        else:
            opened = here.state.open
            if (
                plain
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
        if is_compiling() and not is_exporting():
            outermost = left.begin(begun, in_whole, _given(args, kwargs) if read else None)
            output = forward(*args, **kwargs)
            output = output if shows is None else show(output)
            if outermost:
                left.end(begun, ended, output, whole)
            else:
                left.leave(ended, output if left.forward is None else None)
            return output
        if here.state.open is not None and contains:  # within another one
            output = forward(*args, **kwargs)
            return output if shows is None else show(output)
        if watch._ended:
            return forward(*args, **kwargs)
        if torch.jit.is_tracing() or is_exporting():
            output = forward(*args, **kwargs)
            return output if shows is None else show(output)
        opened = watch._begin(module)
        if read and opened is not None:
            opened.given = _given(args, kwargs)
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
    replacement.__code__ = _code_of(type(module), replacement.__code__)
    replacement.regkit_forward = replacement.__wrapped__ = forward  # type: ignore[attr-defined]
    return replacement


def _given(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[torch.Tensor]:
    """Return the tensors that a module is called with, also in tuples and lists."""
    found = []
    for one in (*args, *kwargs.values()):
        found += [
            part for part in (one if isinstance(one, (tuple, list)) else (one,)) if isinstance(part, torch.Tensor)
        ]
    return found


#: By classes of modules, copies of the code of our forwards: torch.compile limits how often it compiles one code.
_codes: WeakKeyDictionary[type, dict[CodeType, CodeType]] = WeakKeyDictionary()


def _code_of(cls: type, code: CodeType) -> CodeType:
    """Return the copy of some code for a class of modules, the same at every call."""
    copies = _codes.setdefault(cls, {})
    if code not in copies:
        copies[code] = code.replace()
    return copies[code]


def state_of(module: torch.nn.Module, changers: Sequence[str]) -> Any:
    """Return the state of a module for copies, without the hooks of a watch; warn if the hooks change predictions."""
    if changers:
        warnings.warn(
            f"a copy of a watched model is not watched, so {', '.join(changers)}, which changes predictions too, does "
            "nothing in it. Open a watch on the copy",
            stacklevel=2,
        )
    get = getattr(type(module), "__getstate__", None)  # object has none before Python 3.11
    state = module.__dict__ if get is None else get(module)
    if not isinstance(state, dict):
        return state
    ours = ("__getstate__", "_replicate_for_data_parallel")
    state = {name: value for name, value in state.items() if name not in ours}
    if hasattr(state.get("forward"), "regkit_forward"):
        del state["forward"]
    hooks = state.get("_forward_hooks", {}).items()
    state["_forward_hooks"] = OrderedDict((number, hook) for number, hook in hooks if not isinstance(hook, Hook))
    return state
