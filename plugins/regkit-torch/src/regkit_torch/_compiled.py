"""Compiled code and a watch: such code leaves what it has seen for later, and computes penalties by plans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ._plans import Plan

    #: The names, dtypes and numbers of axes of outputs, the names of those that the model returned, and which of the
    #: weights of the default are trained.
    Case = tuple[tuple[tuple[str, torch.dtype, int], ...], tuple[str, ...], tuple[bool, ...]]


#: What compiled code leaves for a hook: its method `run` is called with the output, with gradients enabled or not.
Left = tuple[Any, Any, bool]


class Link:
    """One thing that compiled code has left, and those before it; none for the first of all."""

    __slots__ = ("before", "left")

    def __init__(self, before: Link | None, left: Left | None) -> None:
        self.before = before
        self.left = left


class Bell:
    """What compiled code replaces by a new one where it leaves something: its end is Python that runs beside that code.

    So what was left is taken soon, also where nobody asks for a loss. The end comes late for the one that there was
    while code was compiled, which the compiler refers to.
    """

    __slots__ = ("_rung",)

    def __init__(self, rung: Callable[[], None]) -> None:
        self._rung = rung

    def __del__(self) -> None:
        rung = getattr(self, "_rung", None)  # the compiler makes some without
        if rung is not None:
            rung()


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
    inside : list of Left
        What was left within it.
    changes : list of int
        For each, how often the output was changed in place behind that.
    output : object
        What the module returned.
    plan : Plan or None
        The plan that was called.
    results : list of tensor
        What the plan returned, without gradients but of the weighted sum.
    """

    inside: list[Left]
    changes: list[int]
    output: Any
    plan: Plan | None
    results: list[Any]


class Leavings:
    """What compiled code has left, and what it can compute of that.

    What is left outside of a forward goes into links: a list would make each of its lengths a graph of its own.

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
    rung : callable
        It is called without arguments soon after something was left.

    Attributes
    ----------
    last : Link
    bell : Bell
    forward : list of (object, object, bool, int), or None
        What was left since a forward began that is compiled as a whole, with the count of changes in place.
    changes : dict of str to int
        Of a loss that was computed in compiled code: how often each output was changed in place.
    """

    def __init__(
        self,
        every: list[torch.nn.Module],
        hidden: Mapping[str, None],
        by_default: list[tuple[int, str]],
        plans: Mapping[Case, InGraph | None],
        rung: Callable[[], None],
    ) -> None:
        self._every = every
        self._hidden = hidden
        self._by_default = by_default
        self._plans = plans
        self._rung = rung
        self.bell: Bell | None = None
        self.clear()

    def __bool__(self) -> bool:
        return self.last.before is not None or bool(self.forward)

    def clear(self) -> None:
        """Forget all."""
        self.last = Link(None, None)
        self.forward: list[tuple[Any, Any, bool, int]] | None = None
        self.changes: dict[str, int] = {}

    def take(self) -> list[Left]:
        """Return all in order, and forget it."""
        found = []
        link = self.last
        while link.before is not None:
            if link.left is not None:
                found.append(link.left)
            link = link.before
        self.last = link
        found.reverse()
        if self.forward:
            found += [(hook, output, grad) for hook, output, grad, _ in self.forward]
            self.forward = []
        return found

    def keep_loss_outside(self) -> None:
        """Have the next loss computed beside compiled code, since it is not of what that code leaves alone."""
        self.last = Link(self.last, None)

    # What is compiled

    def leave(self, hook: Any, output: Any) -> None:
        """Leave an output for a hook."""
        grad = torch.is_grad_enabled()
        if self.forward is None:
            self.last = Link(self.last, (hook, output, grad))
            self.bell = Bell(self._rung)
        else:
            version = output._version if grad and isinstance(output, torch.Tensor) else 0
            self.forward.append((hook, output, grad, version))

    def begin(self, hook: Any, as_whole: bool, given: list[torch.Tensor] | None) -> bool:
        """Leave the beginning of a forward; return whether it is compiled as a whole, and in no other such one."""
        if not as_whole or self.forward is not None:
            self.leave(hook, given if self.forward is None else None)
            return False
        self.forward = [(hook, given, torch.is_grad_enabled(), 0)]
        return True

    def end(self, begun: Any, ended: Any, output: Any, whole: bool) -> None:
        """Leave the end of a forward that is in no other one.

        Parameters
        ----------
        begun, ended : object
            The hooks of the beginning and of the end.
        output : object
            What the module returned.
        whole : bool
            Whether the module is the model, of whose outputs a plan can be called. It looks at names, with each of
            which compiled code would be another one, where several modules share it.
        """
        forward, self.forward = self.forward or [], None
        grad = torch.is_grad_enabled()
        inside, changes = [], []
        outputs, fits = {}, whole and len(forward) > 0
        for i, (hook, one, enabled, version) in enumerate(forward):
            inside.append((hook, one, enabled))
            if i == 0 and type(hook) is not type(begun):  # a break of the graph, at which they were taken
                fits = False
            is_tensor = isinstance(one, torch.Tensor)
            changes.append(one._version - version if hook.kept and is_tensor and enabled and grad else 0)
            if whole and hook.kept:
                fits = fits and is_tensor and enabled == grad and hook.path not in outputs
                outputs[hook.path] = one
        case = self._case(outputs, output) if fits else None
        known = None if case is None else self._plans.get(case)
        plan, results = (None, []) if known is None else (known.plan, self._call(known, outputs))
        self.leave(ended, End(inside, changes, output, plan, results))

    def take_loss(self) -> End | None:
        """Return what compiled code left if it is one forward of the whole model with its loss, and forget it."""
        before = self.last.before
        if self.forward is not None or before is None or before.before is not None or self.last.left is None:
            return None
        end = self.last.left[1]
        if not isinstance(end, End) or end.plan is None:
            return None
        self.last = before
        self.changes = {hook.path: one for (hook, _, _), one in zip(end.inside, end.changes) if hook.kept}
        return end

    def _case(self, outputs: dict[str, Any], returned: Any) -> Case | None:
        """Return what a plan is for; None where that is not known of what the model returned."""
        parts = _tensors_in(returned) if self._hidden else []
        if parts is None:
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
