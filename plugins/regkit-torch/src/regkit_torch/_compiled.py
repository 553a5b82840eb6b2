"""Compiled code and a watch: such code leaves what it has seen for later, and computes penalties by plans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.compiler import is_exporting

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ._plans import Plan

    #: The names, dtypes and numbers of axes of outputs, the names of those that the model returned, and which of the
    #: weights of the default are trained.
    Case = tuple[tuple[tuple[str, torch.dtype, int], ...], tuple[str, ...], tuple[bool, ...]]


class Event:
    """What compiled code leaves for a hook.

    Attributes
    ----------
    before : Event or None
    hook : object
        Its method `run` is called with the output.
    output : object
    grad : bool
        Whether gradients are enabled.
    version : int
        How often the output was changed in place, as compiled code counts it; inference tensors do not.
    """

    __slots__ = ("before", "grad", "hook", "output", "version")

    def __init__(self, before: Event | None, hook: Any, output: Any, grad: bool, version: int) -> None:
        self.before = before
        self.hook = hook
        self.output = output
        self.grad = grad
        self.version = version


#: The first event, so that the one before is always of one class.
_FIRST = Event(None, None, None, False, 0)


class InGraph(NamedTuple):
    """A plan that compiled code calls.

    Attributes
    ----------
    plan : Plan
    function : callable
    device : str
    names : list of str
        Those of the outputs that it takes.
    params : list of (int, str)
        The places of modules and names in them of the parameters that it takes.
    constants : list of tensor
    """

    plan: Plan
    function: Callable[..., tuple[Any, ...]]
    device: str
    names: list[str]
    params: list[tuple[int, str]]
    constants: list[torch.Tensor]


class End(NamedTuple):
    """What compiled code leaves where the forward of a module ends that was compiled as a whole.

    Attributes
    ----------
    events : list of (object, object, bool)
        Those within it: a hook, what it is for, and whether gradients are enabled.
    changes : list of int
        For each, how often the output was changed in place behind that.
    output : object
        What the model returned; None for a part of it.
    plan : Plan or None
        The plan that was called.
    results : list of tensor
        What the plan returned, without gradients but of the weighted sum.
    """

    events: list[tuple[Any, Any, bool]]
    changes: list[int]
    output: Any
    plan: Plan | None
    results: list[Any]


class Left:
    """What compiled code has left.

    Each event refers to the one before: a list would make each of its lengths a graph of its own.

    Parameters
    ----------
    every : list of torch.nn.Module
        The modules of the model.
    hidden : dict of str to None
        The names of outputs that are the default.
    by_default : list of (int, str)
        The places of modules and names in them of weights that are penalized if they are trained.
    plans : dict of Case to InGraph
        Those that compiled code calls.

    Attributes
    ----------
    last : Event
    changes : dict of str to int
        Of a loss that was computed in compiled code: how often each output was changed in place.
    """

    def __init__(
        self,
        every: list[torch.nn.Module],
        hidden: Mapping[str, None],
        by_default: list[tuple[int, str]],
        plans: Mapping[Case, InGraph | None],
    ) -> None:
        self.last = _FIRST
        self.changes: dict[str, int] = {}
        self._every = every
        self._hidden = hidden
        self._by_default = by_default
        self._plans = plans

    def __bool__(self) -> bool:
        return self.last is not _FIRST

    def clear(self) -> None:
        """Forget all."""
        self.last = _FIRST

    def take(self) -> list[Event]:
        """Return all events in order, and forget them."""
        found = []
        event, self.last = self.last, _FIRST
        while event.before is not None:
            found.append(event)
            event = event.before
        found.reverse()
        return found

    # What is compiled

    def leave(self, hook: Any, output: Any) -> None:
        """Leave an output for a hook."""
        if not is_exporting():
            grad = torch.is_grad_enabled()
            version = output._version if grad and isinstance(output, torch.Tensor) else 0
            self.last = Event(self.last, hook, output, grad, version)

    def leave_end(self, hook: Any, first: Event, output: Any, whole: bool) -> None:
        """Leave the end of the forward of a module that began with an event, and all since in its place.

        Parameters
        ----------
        hook : object
        first : Event
        output : object
            What the model returned; None for a part of it.
        whole : bool
            Whether the module is the model, of whose outputs a plan can be called. It looks at names, with each of
            which compiled code would be another one, where several modules share it.
        """
        if is_exporting():
            return
        found = []
        event = self.last
        while event is not first and event is not _FIRST:
            found.append(event)
            event = event.before  # type: ignore[assignment]  # the first of all alone has none
        if event is first:
            found.append(first)
            event = first.before  # type: ignore[assignment]
        found.reverse()
        events = [(one.hook, one.output, one.grad) for one in found]
        changes = [_changes(one) for one in found]
        plan, results = None, []
        if whole and found and found[0] is first:  # no break of the graph in between
            outputs = {one.hook.path: one.output for one in found if one.hook.penalized}
            case = self._case(found, outputs, output)
            known = None if case is None else self._plans.get(case)
            if known is not None:
                plan = known.plan
                results = self._call(known, outputs)
        self.last = Event(event, hook, End(events, changes, output, plan, results), torch.is_grad_enabled(), 0)

    def take_loss(self) -> End | None:
        """Return what compiled code left if it is one forward of the whole model with its loss, and forget it."""
        end = self.last.output
        if self.last.before is not _FIRST or not isinstance(end, End) or end.plan is None:
            return None
        self.last = _FIRST
        self.changes = {hook.path: one for (hook, _, _), one in zip(end.events, end.changes) if hook.penalized}
        return end

    def _case(self, events: list[Event], outputs: dict[str, Any], returned: Any) -> Case | None:
        """Return what a plan is for; None where none can be called."""
        seen = [one for one in events if one.hook.penalized]
        parts = _tensors_in(returned) if self._hidden else []
        if len(outputs) < len(seen) or parts is None:
            return None
        for one in seen:
            if not isinstance(one.output, torch.Tensor) or one.grad != torch.is_grad_enabled():
                return None
        kinds = tuple((name, one.dtype, one.dim()) for name, one in outputs.items())
        hidden = [(name, one) for name, one in outputs.items() if name in self._hidden]
        final = tuple(name for name, one in hidden if any(one is part for part in parts))
        params = [self._every[place]._parameters[short] for place, short in self._by_default]
        trained = tuple(one is not None and one.requires_grad and one.is_floating_point() for one in params)
        return kinds, final, trained

    def _call(self, known: InGraph, outputs: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        """Return what a plan returns for outputs."""
        params = [self._every[place]._parameters[short] for place, short in known.params]
        given = (*(outputs[name] for name in known.names), *params, *known.constants)
        if torch.is_autocast_enabled(known.device):
            with torch.autocast(known.device, enabled=False):
                total, *others = known.function(*given)
        else:
            total, *others = known.function(*given)
        return [total, *(one.detach() for one in others)]


def _tensors_in(value: Any) -> list[torch.Tensor] | None:
    """Return the tensors in tuples, lists and dicts; None for anything else, which may have some."""
    if isinstance(value, torch.Tensor):
        return [value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return []
    if not isinstance(value, (tuple, list, dict)):
        return None
    found = []
    for one in value.values() if isinstance(value, dict) else value:
        tensors = _tensors_in(one)
        if tensors is None:
            return None
        found += tensors
    return found


def _changes(event: Event) -> int:
    """Return how often an output was changed in place since it was left."""
    counts = event.hook.penalized and event.grad and torch.is_grad_enabled() and isinstance(event.output, torch.Tensor)
    return event.output._version - event.version if counts else 0


def in_graph(plan: Plan, places: Mapping[str, tuple[int, str]]) -> InGraph | None:
    """Return a plan for compiled code; None if that cannot call it.

    Parameters
    ----------
    plan : Plan
    places : dict of str to (int, str)
        By the names of parameters that are not computed, the places of their modules and the names there.
    """
    if not plan.any_lengths or not plan.of_torch or any(name not in places for name in plan.params):
        return None
    params = [places[name] for name in plan.params]
    return InGraph(plan, plan.function, plan.device, plan.outputs, params, plan.constants)
