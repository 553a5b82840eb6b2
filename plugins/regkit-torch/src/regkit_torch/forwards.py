"""The hooks that a watch puts on modules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.compiler import is_compiling

import regkit

if TYPE_CHECKING:
    import torch

    from .watching import Watched


class Hook:
    """A hook on a module. A deep copy of the module, or a pickled one, has one that does nothing and holds nothing."""

    __slots__ = ("_module", "_path", "_run")

    def __init__(self, run: Watched, path: str, module: torch.nn.Module) -> None:
        self._run, self._path, self._module = run, path, module

    def __reduce__(self) -> Any:
        return _hook_of_a_copy, ()


class Before(Hook):
    """The hook that is called before the model computes."""

    __slots__ = ()

    def __call__(self, module: torch.nn.Module, _: Any) -> None:
        """Tell the run, unless the module is a copy."""
        if not is_compiling() and module is self._module:
            self._run.before()


class After(Hook):
    """The hook that is called with what a module gave."""

    __slots__ = ()

    def __call__(self, module: torch.nn.Module, _: Any, output: Any) -> Any:
        """Show the run what the module gave; return what it is from there on, or None for the same."""
        if is_compiling():  # compiled code would show the outputs of this run to the end of its days
            return None
        if module is self._module:
            return self._run.after(self._path, module, output)
        if module.__dict__.get("_is_replica"):
            raise regkit.GraphError(
                f"module {self._path!r} runs as replicas on several devices at once (DataParallel), whose outputs are "
                "not in one place. Use torch.nn.parallel.DistributedDataParallel"
            )
        return None  # a shallow copy, which has the hooks of the module


def _hook_of_a_copy() -> Any:
    return _nothing


def _nothing(*_: Any) -> None:
    """Do nothing, as the hook of a copy."""
