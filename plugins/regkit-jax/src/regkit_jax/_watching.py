"""Models whose modules are objects, watched while they are called: what Flax NNX and Equinox have in common."""

from __future__ import annotations

import functools
import threading
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

import regkit
from regkit import hosts

from ._run import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

#: The watches that are open here, from the outermost on.
_open: ContextVar[tuple[_Watch, ...]] = ContextVar("regkit_jax_watches", default=())


class Library(NamedTuple):
    """A library of modules: its name, the class of its modules, and where it calls copies of modules, in words."""

    name: str
    module: type
    copies: str

    def check(self, model: Any) -> None:
        """Raise if a model is not a module of the library."""
        if not isinstance(model, self.module):
            raise regkit.OptionError(
                f"watch got a model of type {type(model).__module__}.{type(model).__qualname__}; accepted: a module of "
                f"{self.name}"
            )


@contextmanager
def watching(
    library: Library,
    model: Any,
    modules: Mapping[str, Any],
    layers: Sequence[regkit.Layer],
    regs: regkit.RegularizerSet,
    *arguments: Any,
) -> Iterator[Run]:
    """Tap the outputs of modules, given by their paths, in a run with some arguments."""
    watched = _Watch(library, model, modules, hosts.members(regs, "watch"))
    run = _Run(watched, regs, layers, *arguments)
    token = _open.set((*_open.get(), watched))
    try:
        with _patched({type(module) for module in watched.modules.values()}):
            yield run
    finally:
        _open.reset(token)
    run.check()


class _Watch:
    """A model's modules by their paths, and the run that their outputs are tapped in now."""

    def __init__(
        self, library: Library, model: Any, modules: Mapping[str, Any], members: tuple[hosts.Member, ...]
    ) -> None:
        self.library = library
        self.model = model
        self.modules = modules
        self.paths = {id(module): path for path, module in self.modules.items() if path}
        self.run: Any = None
        self.seen: set[str] = set()
        self.is_mistaken = False
        self._running: set[int] = set()
        again = set(self.paths) & {module for other in _open.get() for module in other.paths}
        if again or any(other.model is model for other in _open.get()):
            what = f"module {self.paths[min(again)]!r} of the model" if again else "the model"
            raise regkit.GraphError(f"{what} is watched already. End that block before the next begins")
        hosts.check_patterns(
            members,
            self.paths.values(),
            f"A model of {library.name} does not define which of its modules are hidden. Name some",
        )

    def listed(self) -> str:
        """Return the paths in words."""
        return hosts.listed(path for path in self.modules if path)

    def called(self, module: Any, call: Callable[[], Any]) -> Any:
        """Call a module of the model, and return its output as the regularizers leave it."""
        if id(module) in self._running:  # its class calls what it overrides
            return call()
        self._running.add(id(module))
        self.seen.add(self.paths[id(module)])
        try:
            output = call()
        finally:
            self._running.discard(id(module))
        return self.run.tap_all(self.paths[id(module)], output)

    def uncalled(self) -> list[str]:
        """Return the paths of modules that can be called and were not seen."""
        there = {id(module): module for module in self.modules.values()}
        return [p for key, p in self.paths.items() if p not in self.seen and _owner(type(there[key])) is not None]


class _Run(Run):
    """A run whose outputs are those of a watched model's modules."""

    def __init__(self, watched: _Watch, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._watched = watched
        watched.run = self

    def terms(self) -> list[Any]:
        self._check_seen()
        with self._naming_paths():
            return super().terms()

    def metrics(self) -> dict[str, Any]:
        self._check_seen()
        with self._naming_paths():
            return super().metrics()

    def _check_seen(self) -> None:
        """Raise for another model in the place of the watched one, and for a module that a member is for, not seen.

        A copy may have been called instead. Whether one was, or none, cannot be known: what JAX has traced of a
        transformation it keeps, and then calls nothing.
        """
        if self._watched.is_mistaken and not self._watched.seen:
            raise regkit.GraphError(
                "the watched model was not called, but another of its classes, whose parameters JAX transforms here. "
                "The penalties of the watched one would have a gradient of 0. Watch the model that the function gets"
            )
        names = [name.partition(":") for name in (*self._given, *self._skipped)]
        named = {path for path, _, _ in names}
        inner = {"", *(colon + rest for _, colon, rest in names)}  # of arrays in tuples
        for path in self._watched.uncalled():
            if path in named:
                continue
            if any(m.selects == "outputs" and m.wants(path + end) for m in self._members for end in inner):
                raise regkit.GraphError(
                    f"module {path!r}, which a pattern matches, was not called within the watch. "
                    f"{self._watched.library.copies}: return from there what the module returns, and tap it by hand, "
                    f"run.tap({path!r}, ...). If it is not to be called, write run.skip({path!r}), or take it out of "
                    f"the pattern with '!{path}'"
                )
            self.skip(path)  # so that patterns can take it out

    def check(self) -> None:
        """Raise if nothing was seen that some are for, or if one that changes outputs found none to change."""
        if not self._watched.seen and not self._given and any(member.selects == "outputs" for member in self._members):
            raise regkit.GraphError(
                f"no module of the watched model was called. {self._watched.library.copies}: open the watch inside of "
                "the function, with the model that it gets"
            )
        self._check_seen()
        with self._naming_paths():
            self.check_changes()

    @contextmanager
    def _naming_paths(self) -> Iterator[None]:
        try:
            yield
        except regkit.NoMatchError as error:
            raise regkit.NoMatchError(
                f"{error}. Modules of the model: {self._watched.listed()}. {self._watched.library.copies}, for which "
                "the watch has to be opened inside"
            ) from None

    def _compute(self, run: Run) -> None:
        before, self._watched.run = self._watched.run, run
        try:
            super()._compute(run)
        finally:
            self._watched.run = before


# Between a class and the calls of its instances

_lock = threading.Lock()
#: Class -> its method, the one that stands in for it, and for how many blocks: several threads may have some open.
_patches: dict[type, tuple[Any, Any, int]] = {}


@contextmanager
def _patched(classes: Iterable[type]) -> Iterator[None]:
    """Let calls of the instances of classes go through `_called`; afterwards the classes are as they were."""
    owners = {owner for cls in classes if (owner := _owner(cls)) is not None}
    with _lock:
        for owner in owners:
            _begin(owner)
    try:
        yield
    finally:
        with _lock:
            for owner in owners:
                _end(owner)


def _owner(cls: type) -> type | None:
    """Return the class that defines the method."""
    return next((base for base in cls.__mro__ if "__call__" in vars(base)), None)


def _begin(owner: type) -> None:
    original, standing, blocks = _patches.get(owner, (None, None, 0))
    if not blocks:
        method = original = vars(owner)["__call__"]

        @functools.wraps(method)
        def standing(self: Any, *arguments: Any, **keywords: Any) -> Any:
            return _called(self, lambda: method.__get__(self, type(self))(*arguments, **keywords))

        owner.__call__ = standing  # type: ignore[method-assign]
    _patches[owner] = original, standing, blocks + 1


def _end(owner: type) -> None:
    original, standing, blocks = _patches.pop(owner)
    if blocks > 1:
        _patches[owner] = original, standing, blocks - 1
    elif vars(owner).get("__call__") is standing:  # otherwise another library has put its method there
        owner.__call__ = original  # type: ignore[method-assign]


def _called(module: Any, call: Callable[[], Any]) -> Any:
    """Stand in for the call of a module, watched or not."""
    for watched in _open.get():
        if id(module) in watched.paths:
            return watched.called(module, call)
    for watched in _open.get():
        watched.is_mistaken = watched.is_mistaken or watched.run.mistakes(module)
    return call()
