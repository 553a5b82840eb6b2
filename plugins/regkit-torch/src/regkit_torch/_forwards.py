"""Forwards: which outputs a loss is of."""

from __future__ import annotations

import sys
import threading
import weakref
from functools import wraps
from typing import TYPE_CHECKING, Any

import torch
import torch._compile
import torch.utils.checkpoint
from torch.compiler import is_compiling

import regkit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ._hooks import Computed

FORWARDS = ("one", "all", "last")

#: How many conflicting forwards are kept: a backward may still use one up, so that only the other counts.
CONFLICTING = 4

#: Returns the number of the backward that runs here, -1 for none: a backward runs checkpointed forwards again.
current_backward: Callable[[], int] = getattr(torch._C, "_current_graph_task_id", lambda: -1)

#: Returns whether the backward that runs here keeps its graph.
_keeps_graph: Callable[[], bool] = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", lambda: False)


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


def in_checkpoint() -> bool:
    """Return whether this is the first run, without gradients, of a checkpoint with use_reentrant=True."""
    frame: Any = sys._getframe()
    while frame is not None:
        if frame.f_code is _REENTRANT:
            return True
        frame = frame.f_back
    return False


def without_gradients(name: str, checkpointed: bool, apart: bool = False) -> str:
    """Return the reason why no loss with gradients has an output, and the ways out."""
    top, _, rest = name.partition(".")
    example = f", such as pattern={[f'*.{rest}', f'!{top}.*']}" if rest else ""
    where = "within checkpoint(..., use_reentrant=True)" if checkpointed else "under torch.no_grad()"
    return (
        f"ran {where} beside modules with gradients, so a penalty of it would have none. "
        f"{'Write use_reentrant=False there, or give' if checkpointed else 'Give'} a pattern that does not match it"
        f"{example}{', or call run.discard() after it' if apart else ''}"
    )


#: The code in which a checkpoint with use_reentrant=True runs for the first time.
_REENTRANT = torch.utils.checkpoint.CheckpointFunction.forward.__code__


def version_of(tensor: torch.Tensor) -> int:
    """Return how often a tensor was changed in place; 0 for inference tensors, which have no count."""
    return 0 if tensor.is_inference() else tensor._version


class Forward:
    """The outermost call of a module, or taps outside of one.

    Attributes
    ----------
    module : torch.nn.Module or None
        None if an output was tapped before any module was called.
    grad : bool
        Whether it began with gradients enabled.
    outputs : dict of str to (tensor, int)
        The outputs for penalties, each with the count of changes in place when it was seen.
    seen : list of (str, tensor, int)
        Outputs that are not among `outputs` yet: as little as possible is done while modules run.
    times : dict of str to int
        How often each name was shown.
    weights : dict of str to tensor
        The weights that modules computed with, where they are not parameters of the model.
    params : list of tensor, or None
        The parameters that modules computed with.
    checkpointed : bool
        Whether it is within a checkpoint that runs without gradients.
    changed : dict of str to tensor
        While it runs, the outputs that a member changed.
    final : tuple of str
        The names of the outputs that its module returned.
    given : list of tensor
        The arguments of its module, if that is a part of the model and outputs are selected by default.
    missed : dict of str to str
        The paths of modules whose outputs were not seen, and the reasons.
    computed : Computed or None
        The penalties of its outputs that compiled code has computed.
    used : bool
        Whether a backward that keeps no graph has passed through its outputs, and no output was seen since.
    lost : bool
        Whether such a backward has used outputs up.
    """

    __slots__ = (
        "__weakref__", "_marked", "changed", "checkpointed", "computed", "final", "given", "grad", "lost", "missed",
        "module", "outputs", "params", "seen", "times", "used", "weights",
    )  # fmt: skip

    def __init__(self, module: torch.nn.Module | None, grad: bool, marked: bool = False) -> None:
        self.module = module
        self.grad = grad
        self.outputs: dict[str, tuple[torch.Tensor, int]] = {}
        self.seen: list[tuple[str, torch.Tensor, int]] = []
        self.times: dict[str, int] = {}
        self.weights: dict[str, torch.Tensor] = {}
        self.params: list[Any] | None = None
        self.changed: dict[str, torch.Tensor] = {}
        self.final: tuple[str, ...] = ()
        self.given: list[torch.Tensor] = []
        self.missed: dict[str, str] = {}
        self.computed: Computed | None = None
        self.used = self.lost = False
        self.checkpointed = not grad and in_checkpoint()
        self._marked = marked

    def check(self) -> None:
        """Use it up if a backward has passed through its outputs before they were seen."""
        if self.grad and any(map(_is_freed, {tensor.grad_fn for tensor, _ in self.outputs.values()})):
            self.use_up()

    def keep(self, name: str, tensor: torch.Tensor) -> None:
        """Keep an output under a new name."""
        if self.seen:
            self.settle()
        self.outputs[name] = tensor, version_of(tensor)
        self.used = False
        if not self._marked:
            self.mark(tensor)

    def missing(self) -> dict[str, str]:
        """Return by names of outputs the reasons why a loss with gradients misses them."""
        return {name: without_gradients(name, self.checkpointed, apart=True) for name in self.outputs}

    def settle(self) -> None:
        """Move `seen` to `outputs`."""
        seen, self.seen = self.seen, []
        outputs = {name: (tensor, version) for name, tensor, version in seen}
        if len(outputs) < len(seen) or not outputs.keys().isdisjoint(self.times):
            for name, tensor, version in seen:
                times = self.times.get(name, 0)
                self.times[name] = times + 1
                self.outputs[f"{name}@{times}" if times else name] = tensor, version
        else:
            self.outputs.update(outputs)
            self.times.update(dict.fromkeys(outputs, 1))
        if seen:
            self.used = False
            for _, tensor, _ in seen:
                if self._marked:
                    break
                self.mark(tensor)

    def keep_weight(self, name: str, tensor: torch.Tensor) -> None:
        """Keep a weight that a module computes with."""
        self.weights[name] = tensor
        if not self._marked:
            self.mark(tensor)

    def mark(self, tensor: torch.Tensor) -> None:
        """Let a backward through a tensor use up this forward.

        Only the first output that has a gradient is marked, since a mark takes longer than an operation of torch on
        scalars. Where a backward passes only through other outputs, torch itself raises for a second backward.
        """
        node = tensor.grad_fn if self.grad else None
        if node is not None:
            node.register_prehook(_Mark(self))
            self._marked = True

    def end(self, output: Any) -> None:
        """Finish it, with the output of its module."""
        self.changed = {}
        self.settle()
        if not self._marked and isinstance(output, torch.Tensor):
            self.mark(output)

    def use_up(self) -> None:
        """Forget the outputs, since a backward has freed their graph."""
        self.used, self.lost = True, self.lost or bool(self.outputs)
        self.outputs.clear()
        self.times.clear()
        self.weights.clear()
        self.given = []
        self.computed = None


def _is_freed(node: Any) -> bool:
    """Return whether a backward that keeps no graph has passed through a node.

    That shows in the tensors that a node saved. For a node that saved none, the first one before it counts that did.
    """
    while node is not None:
        try:
            if hasattr(node, "saved_tensors"):  # as of compiled code
                return False
            kept = [getattr(node, name) for name in dir(node) if name.startswith("_saved_")]
        except RuntimeError:  # the saved tensors are freed
            return True
        node = None if kept else next((one for one, _ in node.next_functions if one is not None), None)
    return False


class _Mark:
    """A hook in the graph of the backward; it refers to the forward weakly, since the graph refers to it."""

    __slots__ = ("_forward",)

    def __init__(self, forward: Forward) -> None:
        self._forward = weakref.ref(forward)

    def __call__(self, gradients: Any) -> None:
        forward = self._forward()
        if forward is not None and not _keeps_graph():
            forward.use_up()


class State:
    """The forwards of a thread since its last loss.

    Attributes
    ----------
    open : Forward or None
        The one that runs.
    done : list of Forward
        Those that have ended.
    changed_by : set of str
        The members that changed an output.
    shown : dict of str to None
        The names of outputs that were seen, for errors.
    dropped : int
        How many forwards were dropped, because there were too many that conflict.
    beside : dict of torch.nn.Module to dict of str to str
        By modules that ran without gradients before one with gradients, the outputs that a loss misses, and why.
    lost : bool
        Whether a forward whose outputs were used up is gone.
    """

    __slots__ = ("__weakref__", "beside", "changed_by", "done", "dropped", "lost", "open", "shown")

    def __init__(self) -> None:
        self.open: Forward | None = None
        self.done: list[Forward] = []
        self.clear()

    def clear(self) -> None:
        """Forget everything but the forwards, after a loss."""
        self.changed_by: set[str] = set()
        self.shown: dict[str, None] = {}
        self.dropped = 0
        self.beside: dict[torch.nn.Module, dict[str, str]] = {}
        self.lost = False


class _Here(threading.local):
    """The state of the current thread."""

    def __init__(self, every: weakref.WeakSet[State]) -> None:
        self.state = State()
        every.add(self.state)


class Forwards:
    """The forwards of a model, by threads.

    Parameters
    ----------
    mode : {"one", "all", "last"}
        Which forwards a loss is of.
    marks : bool, default True
        Whether a backward uses forwards up.
    """

    def __init__(self, mode: str = "one", marks: bool = True) -> None:
        if mode not in FORWARDS:
            raise regkit.OptionError(f"watch got forwards={mode!r}; accepted: {', '.join(map(repr, FORWARDS))}")
        self.mode = mode
        self._marked = not marks
        self._every: weakref.WeakSet[State] = weakref.WeakSet()
        self._here = _Here(self._every)

    @property
    def here(self) -> State:
        """The forwards of this thread."""
        return self._here.state

    # While modules run

    def begin(self, module: torch.nn.Module) -> Forward | None:
        """Open a forward if none is open here; return it."""
        state = self._here.state
        if state.open is not None or current_backward() != -1:
            return None
        state.open = self._new(state, module)
        return state.open

    def end(self, forward: Forward, output: Any) -> None:
        """Close a forward."""
        state = self._here.state
        forward = state.open if state.open is not None else forward  # a loss within it has made it another one
        state.open = None
        forward.end(output)
        state.done.append(forward)

    def see(self, name: str, output: Any) -> bool:
        """Add an output to the open forward by the fast way; return False where that does not apply."""
        forward = self._here.state.open
        if (
            forward is None
            or forward.grad != torch.is_grad_enabled()
            or type(output) is not torch.Tensor
            or not output.is_floating_point()
            or current_backward() != -1
        ):
            return False
        forward.seen.append((name, output, version_of(output)))
        return True

    def mark_changed(self) -> None:
        """Record that the last output was changed in place since it was seen."""
        state = self._here.state
        forward = state.open if state.open is not None else state.done[-1]
        forward.settle()
        name, (tensor, _) = forward.outputs.popitem()
        forward.outputs[name] = tensor, -1

    def drop(self, forward: Forward) -> None:
        """Forget the forward that is open, which raised."""
        self._here.state.open = None

    def of_output(self, module: torch.nn.Module | None, grad: bool) -> Forward | None:
        """Return the forward that an output belongs to: of a module, or tapped. None if it is of a backward."""
        if current_backward() != -1:
            return None
        state = self._here.state
        if state.open is not None:
            return state.open
        last = state.done[-1] if state.done else None
        if module is None and last is not None and last.grad == grad and not last.used:
            return last
        forward = self._new(state, module)
        state.done.append(forward)
        return forward

    def _new(self, state: State, module: torch.nn.Module | None) -> Forward:
        """Return a new forward, and drop those that no loss can have any more."""
        forward = Forward(module, torch.is_grad_enabled(), self._marked)
        if state.done:
            state.lost = state.lost or any(one.lost for one in state.done)
            if forward.grad:
                state.beside.update(_without_gradients(state.done))
            # Of forwards without gradients the last of each module counts, until the next one with gradients. A
            # forward without outputs, for penalties of weights, counts only if it is the last.
            state.done = [
                one
                for one in state.done
                if not one.used
                and (one.outputs or one.missed)
                and (one.grad or (not forward.grad and one.module is not module))
                and not (self.mode == "last" and one.grad and forward.grad and one.module is module is not None)
            ]
            if self.mode == "one" and forward.grad:
                conflicting = [one for one in state.done if one.grad and _conflict(one, forward)]
                for one in conflicting[: max(0, len(conflicting) + 1 - CONFLICTING)]:
                    state.done.remove(one)
                    state.dropped += 1
        return forward

    # The loss

    def began(self) -> bool:
        """Return whether this thread had a forward since the last loss, with gradients enabled as they are now."""
        state, grad = self._here.state, torch.is_grad_enabled()
        return bool(state.shown) or any(one.grad == grad for one in (*state.done, state.open) if one is not None)

    def of_loss(self, take: bool) -> list[Forward]:
        """Return the forwards that a loss is of here, in order.

        Parameters
        ----------
        take : bool
            Whether to forget them, and those that no later loss can have.

        Raises
        ------
        regkit.GraphError
            If all were used up, or several conflict and the loss is to be of one.
        """
        state = self._here.state
        grad = torch.is_grad_enabled()
        if take and len(state.done) == 1 and state.open is None and not (state.lost or state.dropped or state.beside):
            one = state.done[0]
            if one.grad == grad and one.outputs:  # as in most loops
                state.done = []
                if state.changed_by or state.shown:
                    state.clear()
                return [one]
        if state.open is not None:
            state.open.settle()
        mine = [one for one in (*state.done, state.open) if one is not None and one.grad == grad]
        for one in mine:
            if not one.outputs:
                state.shown.update(dict.fromkeys(one.times))
        lost, dropped = grad and (state.lost or any(one.lost for one in mine)), state.dropped if grad else 0
        beside = {**state.beside, **_without_gradients(state.done)} if grad else {}
        if take:
            state.done = [one for one in state.done if one.grad != grad]
            if state.open is not None and state.open.grad == grad:  # it goes on, for the next loss
                state.open = Forward(state.open.module, grad, self._marked)
            state.clear()
        live = [one for one in mine if one.outputs or one.missed or one.weights or one.params is not None]
        if lost and not any(one.outputs for one in live):
            raise regkit.GraphError(
                "a backward has passed through the outputs of the forward already, and has freed what a loss of them "
                "would need. Call run.loss() before the backward, or backward(retain_graph=True)"
            )
        if not grad or self.mode == "last":
            last = {id(one.module): one for one in live}
            live = [one for one in live if last[id(one.module)] is one]
        if grad and self.mode == "one":
            check_one([one for one in live if one.outputs], dropped)
        if beside:
            _add_missed(live, beside)
        return live

    def kept(self) -> list[Forward]:
        """Return the forwards that a loss could be of here."""
        state, grad = self._here.state, torch.is_grad_enabled()
        if state.open is not None:
            state.open.settle()
        return [one for one in (*state.done, state.open) if one is not None and one.grad == grad and not one.used]

    def discard(self) -> None:
        """Forget the forwards of this thread."""
        state = self._here.state
        state.done = []
        state.clear()
        if state.open is not None:
            state.open = Forward(state.open.module, state.open.grad, self._marked)

    def clear(self) -> None:
        """Forget the forwards of all threads."""
        for state in list(self._every):
            state.done, state.open = [], None

    def elsewhere(self) -> int:
        """Return how many forwards other threads have."""
        others = [state for state in list(self._every) if state is not self._here.state]
        return sum(bool(one.outputs) for state in others for one in state.done)


def check_one(forwards: list[Forward], dropped: int = 0) -> None:
    """Raise if a loss would be of several forwards of one module, or of a module and a part of it."""
    for i, one in enumerate(forwards):
        conflicting = [other for other in forwards[i + 1 :] if _conflict(one, other)]
        if conflicting:
            number = len(conflicting) + 1 + dropped
            raise regkit.GraphError(
                f"there were {number} forwards of {type(one.module).__name__} since the last loss, and a penalty would "
                "be the mean of them. For a loss of all, such as of two views of an example or of all time steps, open "
                "watch(..., forwards='all'); for that of the last forward of each module, forwards='last'; after a "
                "forward that does not count, call run.discard()"
            )


def _without_gradients(forwards: list[Forward]) -> dict[torch.nn.Module, dict[str, str]]:
    """Return by modules the outputs of forwards without gradients that a loss with gradients misses, with reasons."""
    return {one.module: one.missing() for one in forwards if not one.grad and one.module is not None and one.outputs}


def _add_missed(forwards: list[Forward], beside: Mapping[torch.nn.Module, dict[str, str]]) -> None:
    """Add to the missed outputs of forwards with gradients those of parts that ran beside them without gradients.

    A part that ran with gradients too does not count: without gradients, it was validated, or was a teacher.
    """
    seen = {name for one in forwards for name in one.times}
    for module, missing in beside.items():
        if forwards and not any(_overlap(module, one.module) for one in forwards):
            forwards[0].missed.update({name: why for name, why in missing.items() if name not in seen})


def _conflict(one: Forward, other: Forward) -> bool:
    """Return whether the module of one forward is that of the other, or contains it."""
    return _overlap(one.module, other.module)


def _overlap(one: torch.nn.Module | None, other: torch.nn.Module | None) -> bool:
    """Return whether one module is the other, or contains it."""
    return one is not None and other is not None and (contains(one, other) or contains(other, one))


def contains(outer: torch.nn.Module, inner: torch.nn.Module) -> bool:
    """Return whether a module is another one, or has it as a part."""
    return outer is inner or any(module is inner for module in outer.modules())


def reads(forward: Forward, tensor: torch.Tensor) -> bool:
    """Return whether an argument of a forward is a tensor, a view of it, or computed from it."""
    if any(_storage(one) == _storage(tensor) for one in forward.given):
        return True
    nodes, met = [one.grad_fn for one in forward.given], set()
    while nodes and tensor.grad_fn is not None:
        node = nodes.pop()
        if node is tensor.grad_fn:
            return True
        if node is not None and node not in met:
            met.add(node)
            nodes += [one for one, _ in node.next_functions]
    return False


def returned_names(outputs: Mapping[str, tuple[torch.Tensor, int]], parts: Iterable[Any]) -> list[str]:
    """Return the names of outputs that a module returned, as they are or as views."""
    found: set[int] = set()
    for part in parts:
        if isinstance(part, torch.Tensor):
            found.add(id(part))
            if part._base is not None:
                found.add(id(part._base))
            elif part.is_inference():  # whose views have no base
                storage = _storage(part)
                found.update(id(one) for one, _ in outputs.values() if _storage(one) == storage)
    return [
        name
        for name, (one, _) in outputs.items()
        if id(one) in found or (one._base is not None and id(one._base) in found)
    ]


def _storage(tensor: torch.Tensor) -> int:
    """Return an id that a tensor shares only with its views."""
    try:
        return tensor.untyped_storage()._cdata
    except (NotImplementedError, RuntimeError):  # as in a transform of torch.func
        return id(tensor)


def merged(forwards: Iterable[Forward]) -> dict[str, tuple[torch.Tensor, int]]:
    """Return the outputs of forwards; names that occur again are numbered, as within a forward."""
    forwards = list(forwards)
    if len(forwards) < 2:
        return forwards[0].outputs if forwards else {}
    first, *others = forwards
    outputs = dict(first.outputs)
    times = dict(first.times)
    for forward in others:
        for full, output in forward.outputs.items():
            name, _, number = full.partition("@")
            place = times.get(name, 0) + int(number or 0)
            outputs[f"{name}@{place}" if place else name] = output
        for name, count in forward.times.items():
            times[name] = times.get(name, 0) + count
    return outputs
