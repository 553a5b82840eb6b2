"""Compiled code in a watch: it leaves outputs for hooks that run afterwards, and calls plans for their penalties."""

from __future__ import annotations

import sys
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch._compile
from torch.compiler import is_compiling

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ._plans import Plan

    #: The names, dtypes and numbers of axes of outputs, the names of those that the model returned, and which of the
    #: weights of the default are trained.
    Case = tuple[tuple[tuple[str, torch.dtype, int], ...], tuple[str, ...], tuple[bool, ...]]


#: A hook, the output that its method `run` will be called with, and whether gradients were enabled.
Left = tuple[Any, Any, bool]


class Link:
    """One output that compiled code has left, linked to the one before; the first link of all is empty."""

    __slots__ = ("before", "left")

    def __init__(self, before: Link | None, left: Left | None) -> None:
        self.before = before
        self.left = left


class Bell:
    """Calls a function when compiled code replaces it: `__del__` is Python that runs outside of that code.

    Compiled code makes a new bell whenever it leaves an output, so the output is taken soon, even if `loss` is never
    called. The bell that existed during compilation rings late, since the compiler refers to it.
    """

    __slots__ = ("_rung",)

    def __init__(self, rung: Callable[[], None]) -> None:
        self._rung = rung

    def __del__(self) -> None:
        rung = getattr(self, "_rung", None)  # the compiler makes bells without it
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
        The outputs that it takes.
    params : list of (int, str)
        The parameters that it takes: the place of the module, and the name there.
    constants : list of tensor
    """

    plan: Plan
    function: Callable[..., tuple[Any, ...]]
    device: str
    names: list[str]
    params: list[tuple[int, str]]
    constants: list[torch.Tensor]


class End(NamedTuple):
    """Left by compiled code at the end of a forward that was compiled as a whole.

    Attributes
    ----------
    inside : list of Left
        The outputs that were left within the forward.
    changes : list of int
        For each, how often the output was changed in place afterwards.
    output : object
        The value that the module returned.
    plan : Plan or None
        The plan that was called.
    results : list of tensor
        The results of the plan; only the weighted sum has gradients.
    """

    inside: list[Left]
    changes: list[int]
    output: Any
    plan: Plan | None
    results: list[Any]


class Leavings:
    """The outputs that compiled code has left, and the plans that it calls for them.

    Outputs that are left outside of a forward go into links: with a list, torch.compile would compile again for each
    length of it.

    Parameters
    ----------
    every : list of torch.nn.Module
        The modules of the model.
    hidden : dict of str to None
        The names of the outputs that are selected by default.
    by_default : list of (int, str)
        The weights that are penalized if they are trained: the place of the module, and the name there.
    plans : dict of Case to InGraph
        The plans that compiled code calls.
    rung : callable
        Called without arguments soon after an output was left.

    Attributes
    ----------
    last : Link
    bell : Bell
    forward : list of (object, object, bool, int), or None
        While a forward runs that is compiled as a whole, the outputs that it has left, each with its count of changes
        in place.
    changes : dict of str to int
        How often each output of a loss that compiled code computed was changed in place.
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
        """Forget everything."""
        self.last = Link(None, None)
        self.forward: list[tuple[Any, Any, bool, int]] | None = None
        self.changes: dict[str, int] = {}

    def take(self) -> list[Left]:
        """Return everything that was left, in order, and forget it."""
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
        """Have the next loss computed outside of compiled code, since it is also of outputs that are taken already."""
        self.last = Link(self.last, None)

    # Called in compiled code

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
        """Leave the beginning of a forward; return whether it is compiled as a whole and is the outermost such one."""
        if not as_whole or self.forward is not None:
            self.leave(hook, given if self.forward is None else None)
            return False
        self.forward = [(hook, given, torch.is_grad_enabled(), 0)]
        return True

    def end(self, begun: Any, ended: Any, output: Any, whole: bool) -> None:
        """Leave the end of an outermost forward.

        Parameters
        ----------
        begun, ended : object
            The hooks of the beginning and of the end.
        output : object
            The value that the module returned.
        whole : bool
            Whether the module is the model. Only then a plan is called: that compares names, and where several modules
            share compiled code, that code would be compiled again for each name.
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
        """Return the forward that compiled code left, if it is one of the whole model with its loss, and forget it."""
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
        """Return the case that a plan is kept for; None if the model returned an object that may hide tensors."""
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
        """Return the results of a plan for outputs."""
        params = [self._every[place]._parameters[short] for place, short in known.params]
        given = (*(outputs[name] for name in known.names), *params, *known.constants)
        if torch.is_autocast_enabled(known.device):
            with torch.autocast(known.device, enabled=False):
                total, *others = known.function(*given)
        else:
            total, *others = known.function(*given)
        return [total, *(one.detach() for one in others)]


def _tensors_in(value: Any) -> list[torch.Tensor] | None:
    """Return the tensors in tuples, lists and dicts; None for an object of another class, which may contain tensors."""
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
    """Return a plan as compiled code calls it; None if compiled code cannot call it.

    Parameters
    ----------
    plan : Plan
    places : dict of str to (int, str)
        By the full names of parameters that are not computed: the place of the module, and the name there.
    """
    if not plan.any_lengths or not plan.of_torch or any(name not in places for name in plan.params):
        return None
    params = [places[name] for name in plan.params]
    return InGraph(plan, plan.function, plan.device, plan.outputs, params, plan.constants)


# Code that is not compiled


def outside(function: Any, inside: Callable[..., Any] | None = None) -> Any:
    """Return a function that is not compiled: compiled code breaks its graph to call it.

    Parameters
    ----------
    function : callable
    inside : callable, optional
        Compiled in its place; where it returns None, compiled code breaks its graph after all.
    """
    disabled = getattr(torch._compile, "_disable_dynamo", torch.compiler.disable)(function)  # the first imports little

    @wraps(function)
    def either(*args: Any, **kwargs: Any) -> Any:
        if not is_compiling() and not _compiles():
            return function(*args, **kwargs)
        if is_compiling() and inside is not None:
            found = inside(*args, **kwargs)
            if found is not None:
                return found
        return disabled(*args, **kwargs)

    return either


#: Returns the compiler of the functions that are called here, or None; without this, a wrapper takes 10 µs a call.
_frames = getattr(getattr(torch._C, "_dynamo", None), "eval_frame", None)
_compiles: Callable[[], Any] = getattr(_frames, "get_eval_frame_callback", lambda: "torch._dynamo" in sys.modules)
