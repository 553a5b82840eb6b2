"""The forwards of each thread, and those that a loss takes."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any

import torch

import regkit

from ._forward import Forward, current_backward, version_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FORWARDS = ("one", "all", "last")

#: How many conflicting forwards are kept: a backward may still use one up, so that only the other counts.
CONFLICTING = 4


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
