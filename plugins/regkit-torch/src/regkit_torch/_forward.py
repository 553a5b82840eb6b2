"""A forward: the outputs of one call of a module, and the backward that uses them up."""

from __future__ import annotations

import sys
import weakref
from typing import TYPE_CHECKING, Any

import torch
import torch.utils.checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ._hooks import Computed

#: Returns the number of the backward that runs here, -1 for none: a backward runs checkpointed forwards again.
current_backward: Callable[[], int] = getattr(torch._C, "_current_graph_task_id", lambda: -1)

#: Returns whether the backward that runs here keeps its graph.
_keeps_graph: Callable[[], bool] = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", lambda: False)


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
