"""Modules of Flax NNX, watched while they run. Needs flax, which nothing else here does."""

from __future__ import annotations

import functools
import threading
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import regkit
from regkit import hosts

try:
    from flax import nnx
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"regkit_jax.nnx needs Flax ({error}): pip install flax", name=error.name) from error

from ._run import Run
from ._values import as_array

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

__all__ = ["watch"]

#: The watches that are open here, from the outermost on.
_open: ContextVar[tuple[_Watch, ...]] = ContextVar("regkit_jax_watches", default=())


@contextmanager
def watch(
    model: nnx.Module,
    regs: regkit.RegularizerSet,
    key: Any = None,
    live: Mapping[str, Any] | None = None,
    again: Callable[[Run], Any] | None = None,
    stacked: Mapping[str, int] | None = None,
    axis_name: str | tuple[str, ...] | None = None,
) -> Iterator[Run]:
    """Tap the outputs of a model's modules while they are called, by their paths.

    The output of ``model.blocks[0].mlp`` is ``blocks.0.mlp``, its parameter ``blocks.0.mlp.kernel``; of a module that
    is called again, ``blocks.0.mlp@1``. Arrays in tuples and dicts are ``lstm:0`` and ``head:logits``, and deeper ones
    ``lstm:0.1``. The model itself has no path, so its own output is tapped as none.

    Parameters
    ----------
    model : flax.nnx.Module
    regs : regkit.RegularizerSet
        What `regkit.build` returns. Those that select outputs need a pattern: NNX does not know the order of modules in
        the network, and so not which are hidden.
    key, live, again, stacked, axis_name
        As for `regkit_jax.Run`.

    Yields
    ------
    regkit_jax.Run
        Its `loss` may also be called after the block; `tap` shows it values that are no module's output.

    Raises
    ------
    regkit.OptionError
        If the model is not a module of NNX, or a regularizer has no pattern.
    regkit.GraphError
        If the model, or a module of it, is watched already; at the end of the block, if no module of it was called and
        a regularizer is for outputs.
    regkit.NoMatchError
        At the end of the block, if there is a key and a regularizer that changes outputs found none to change.

    Examples
    --------
    >>> import jax.numpy as jnp, regkit, regkit_jax
    >>> from flax import nnx
    >>> class Net(nnx.Module):
    ...     def __init__(self, rngs):
    ...         self.hid1, self.out = nnx.Linear(3, 4, rngs=rngs), nnx.Linear(4, 2, rngs=rngs)
    ...     def __call__(self, x):
    ...         return self.out(self.hid1(x))
    >>> model, regs = Net(nnx.Rngs(0)), regkit.build(hidden_l1=dict(weight=0.1, pattern="hid1"))
    >>> with regkit_jax.nnx.watch(model, regs) as run:
    ...     y = model(jnp.ones((5, 3)))
    ...     loss = (y**2).mean() + run.loss()
    >>> list(run.outputs)
    ['hid1']
    """
    watched = _Watch(model, hosts.members(regs, "watch"))
    run = _Run(watched, regs, watched.layers(), key, live, again, stacked, axis_name)
    token = _open.set((*_open.get(), watched))
    try:
        with _patched({type(module) for module in watched.modules.values()}):
            yield run
    finally:
        _open.reset(token)
    run.check()


class _Watch:
    """A model's modules by their paths, and the run that their outputs are tapped in now."""

    def __init__(self, model: Any, members: tuple[hosts.Member, ...]) -> None:
        if not isinstance(model, nnx.Module):
            raise regkit.OptionError(
                f"watch got a model of type {type(model).__module__}.{type(model).__qualname__}; accepted: a "
                "flax.nnx.Module"
            )
        self.model = model
        self.modules = {".".join(map(str, path)): module for path, module in nnx.iter_modules(model)}
        self.paths = {id(module): path for path, module in self.modules.items() if path}
        self.run: Any = None
        self.is_called = False
        self._members = members
        self._running: set[int] = set()
        again = set(self.paths) & {module for other in _open.get() for module in other.paths}
        if again or any(other.model is model for other in _open.get()):
            what = f"module {self.paths[min(again)]!r} of the model" if again else "the model"
            raise regkit.GraphError(f"{what} is watched already. End that block before the next begins")
        there = [path for path in self.modules if path]
        hosts.check_patterns(
            members, there, "A model of Flax NNX does not define which of its modules are hidden. Name some"
        )

    def listed(self) -> str:
        """Return the paths in words."""
        return hosts.listed(path for path in self.modules if path)

    def layers(self) -> list[regkit.Layer]:
        """Return the modules that have parameters, each with those that are not of a module within."""
        params: dict[str, dict[str, Any]] = {}
        for path, param in nnx.to_flat_state(nnx.state(self.model, nnx.Param)):
            names = [str(part) for part in path]
            owner = ".".join(names[:-1]) or type(self.model).__name__
            params.setdefault(owner, {})[".".join(names)] = as_array(param)
        # whichever is first or last in the alphabet is not the input or the output
        return [regkit.Layer(owner, of_owner, role="hidden") for owner, of_owner in params.items()]

    def called(self, module: Any, call: Callable[[], Any]) -> Any:
        """Call a module of the model, and return its output as the regularizers leave it."""
        if id(module) in self._running:  # its class calls what it overrides
            return call()
        self._running.add(id(module))
        self.is_called = True
        try:
            output = call()
        finally:
            self._running.discard(id(module))
        return self.run.tap_all(self.paths[id(module)], output)


class _Run(Run):
    """A run whose outputs are those of a watched model's modules."""

    def __init__(self, watched: _Watch, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._watched = watched
        watched.run = self

    def terms(self) -> list[Any]:
        with self._naming_paths():
            return super().terms()

    def check(self) -> None:
        """Raise if no module was called that some were to see, or if one that changes outputs found none to change."""
        if not self._watched.is_called and any(member.selects == "outputs" for member in self._members):
            raise regkit.GraphError(
                "no module of the watched model was called. Within nnx.jit, nnx.grad, nnx.remat and their kind Flax "
                "calls copies: open the watch inside of the function, with the model that it gets"
            )
        with self._naming_paths():
            self._check_changes()

    @contextmanager
    def _naming_paths(self) -> Iterator[None]:
        try:
            yield
        except regkit.NoMatchError as error:
            raise regkit.NoMatchError(
                f"{error}. Modules of the model: {self._watched.listed()}; within nnx.jit, nnx.remat and their kind "
                "Flax calls copies of them, for which watch has to be inside"
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
            return _called(self, lambda: method(self, *arguments, **keywords))

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
    return call()
