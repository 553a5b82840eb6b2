"""Modules that are objects with their parameters, watched while they are called: those of Flax NNX and Equinox."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import regkit
from regkit import hosts

from ._watching import Library, Watched, watching

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from typing_extensions import Unpack

    from ._run import Options, Run

#: The watches that are open here, from the outermost on.
_open: ContextVar[tuple[_Objects, ...]] = ContextVar("regkit_jax_watches", default=())


def check_model(model: Any, cls: type, library: Library) -> None:
    """Raise if a model is not a module of a library."""
    if not isinstance(model, cls):
        raise regkit.OptionError(
            f"watch got a model of type {type(model).__module__}.{type(model).__qualname__}; accepted: a module of "
            f"{library.name}"
        )


@contextmanager
def watching_objects(
    library: Library,
    modules: Mapping[str, Any],
    regs: regkit.RegularizerSet,
    layers: Sequence[regkit.Layer],
    **options: Unpack[Options],
) -> Iterator[Run]:
    """Tap the outputs of modules, given by their paths; that of the model is empty."""
    watched = _Objects(library, modules)
    with watching(watched, regs, layers, **options) as run:
        token = _open.set((*_open.get(), watched))
        try:
            with _calls.of({type(module) for module in modules.values()}):
                yield run
        finally:
            _open.reset(token)


class _Objects(Watched):
    """Those of a model, by their identity too."""

    def __init__(self, library: Library, modules: Mapping[str, Any]) -> None:
        callable_ = {
            path: module for path, module in modules.items() if path and hosts.Calls.owner(type(module)) is not None
        }
        super().__init__(library, callable_)
        self.path_of = {id(module): path for path, module in callable_.items()}
        self.modules = modules  # so that an id stays that of the module
        self.running: set[int] = set()
        everything = {id(module): path for path, module in modules.items()}
        for other in _open.get():
            for again in other.modules.values():
                if id(again) in everything:
                    path = everything[id(again)]
                    what = f"module {path!r} of the model" if path else "the model"
                    raise regkit.GraphError(f"{what} is watched already. End that block before the next begins")

    def called_with(self, module: Any, call: Callable[[], Any]) -> Any:
        """Call a module of the model, and return its output as the regularizers leave it."""
        if id(module) in self.running:  # its class calls what it overrides
            return call()
        self.running.add(id(module))
        try:
            output = call()
        finally:
            self.running.discard(id(module))
        return self.show(self.path_of[id(module)], output)


def _called(module: Any, call: Callable[[], Any]) -> Any:
    """Stand in for the call of a module, watched or not."""
    for watched in _open.get():
        if id(module) in watched.path_of:
            return watched.called_with(module, call)
    for watched in _open.get():
        watched.is_mistaken = watched.is_mistaken or watched.run.mistakes(module)
    return call()


_calls = hosts.Calls(_called)
