"""Modules of Flax NNX, watched while they run. Needs flax, which nothing else here does."""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from contextvars import ContextVar
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import jax

import regkit

try:
    from flax import nnx
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"regkit_jax.nnx needs Flax ({error}): pip install flax", name=error.name) from error

from .calls import patched
from .run import Run, as_array, is_floats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

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
) -> Iterator[Run]:
    """Tap the outputs of a model's modules while they are called, by their paths.

    The output of ``model.blocks[0].mlp`` is ``blocks.0.mlp``, its parameter ``blocks.0.mlp.kernel``; of a module that
    is called again, ``blocks.0.mlp@1``. Arrays in tuples and dicts are ``lstm:0`` and ``head:logits``, and deeper ones
    ``lstm:0.1``. The model itself has no path, so its own output is tapped as none.

    Parameters
    ----------
    model : flax.nnx.Module
    regs : regkit.RegularizerSet
        What `regkit.build` returns. Those that select outputs need a pattern: NNX does not tell in which order modules
        come, and so not which are hidden.
    key, live, again
        As for `regkit_jax.Run`.

    Yields
    ------
    regkit_jax.Run
        Its `loss` may also be called after the block; `tap` shows it what is not a module's output.

    Raises
    ------
    regkit.OptionError
        If the model is not a module of NNX, or a regularizer has no pattern.
    regkit.GraphError
        If the model, or a module of it, is watched already.
    regkit.NoMatchError
        At the end of the block, if a regularizer that changes outputs found none to change.

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
    watched = _Watch(model, regs)
    run = _Run(watched, regs, watched.layers(), key, live, again)
    token = _open.set((*_open.get(), watched))
    try:
        with patched({type(module) for module in watched.modules.values()}, _called):
            yield run
    finally:
        _open.reset(token)
    if watched.was_called and key is not None:
        run.check_changes()


class _Watch:
    """A model's modules by their paths, and the run that their outputs are tapped in now."""

    def __init__(self, model: Any, regs: regkit.RegularizerSet) -> None:
        if not isinstance(model, nnx.Module):
            raise regkit.OptionError(
                f"watch got a model of type {type(model).__module__}.{type(model).__qualname__}; accepted: a "
                "flax.nnx.Module"
            )
        self.model = model
        self.modules = {".".join(map(str, path)): module for path, module in nnx.iter_modules(model)}
        self.paths = {id(module): path for path, module in self.modules.items() if path}
        self.was_called = False
        self.run: Any = None
        self._running: set[int] = set()
        again = set(self.paths) & {module for other in _open.get() for module in other.paths}
        if again or any(other.model is model for other in _open.get()):
            what = f"module {self.paths[min(again)]!r} of the model" if again else "the model"
            raise regkit.GraphError(f"{what} is watched already. End that block before the next begins")
        if not isinstance(regs, regkit.RegularizerSet):
            raise regkit.OptionError(f"watch got regs={regs!r}; accepted: what regkit.build returns")
        self._globs = [glob for regularizer in regs for glob in _strings(regularizer)]
        # hid1@1 means a later output of hid1, and none is that unless those before it are tapped too
        self._later = [glob.rpartition("@")[0] for glob in self._globs if "@" in glob]
        for name, regularizer in zip(regs.keys(), regs):
            if getattr(regularizer, "pattern", "") is None and _is_of_outputs(regularizer):
                raise regkit.OptionError(
                    f"{name} has no pattern, and Flax NNX does not tell which modules are hidden, or come first. Give "
                    f"it one for their paths: {self.listed()}"
                )

    def listed(self) -> str:
        """Return the paths in words."""
        return ", ".join(path for path in self.modules if path) or "none"

    def layers(self) -> list[regkit.Layer]:
        """Return the modules that have parameters of their own, with these."""
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
        try:
            output = call()
        finally:
            self._running.discard(id(module))
        self.was_called = True
        return self._tapped(self.paths[id(module)], output)

    def _tapped(self, path: str, output: Any) -> Any:
        leaves, structure = jax.tree_util.tree_flatten_with_path(output, is_leaf=lambda leaf: leaf is None)
        tapped = []
        for inner, leaf in leaves:
            name = path + (":" + jax.tree_util.keystr(inner, simple=True, separator=".") if inner else "")
            tapped.append(self.run.tap(name, leaf) if self._wanted(name, leaf) else leaf)
        return jax.tree_util.tree_unflatten(structure, tapped)

    def _wanted(self, name: str, leaf: Any) -> bool:
        if any(fnmatchcase(name, glob) for glob in self._globs):
            return True
        return is_floats(leaf) and any(fnmatchcase(name, glob) for glob in self._later)


class _Run(Run):
    """A run whose outputs are those of a watched model's modules."""

    def __init__(self, watched: _Watch, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._watched = watched
        watched.run = self

    def loss(self) -> Any:
        with self._naming_paths():
            return super().loss()

    def terms(self) -> list[Any]:
        with self._naming_paths():
            return super().terms()

    def check_changes(self) -> None:
        """Raise for a regularizer that changes outputs and found none."""
        unmatched = self._regs.unmatched(self._outputs)
        if unmatched:
            pattern = getattr(self._regs[unmatched[0]], "pattern", None)
            with self._naming_paths():
                raise regkit.NoMatchError(f"{unmatched[0]}: pattern {pattern!r} matches none of the outputs")

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


def _called(original: Callable[..., Any], module: Any, arguments: Any, keywords: Any) -> Any:
    """Stand in for the call of a module, watched or not."""
    for watched in _open.get():
        if id(module) in watched.paths:
            return watched.called(module, lambda: original(module, *arguments, **keywords))
    return original(module, *arguments, **keywords)


def _strings(regularizer: Any) -> list[str]:
    """All that may be a glob for outputs: its pattern, and whatever else of it is a string."""
    values = getattr(regularizer, "__dict__", {}).values()
    each = [value if isinstance(value, (list, tuple)) else [value] for value in values]
    return [value for several in each for value in several if isinstance(value, str)]


def _is_of_outputs(regularizer: Any) -> bool:
    """Tell whether a regularizer selects outputs: those of parameters take the layers alone."""
    if getattr(regularizer, "changes_graph", True):
        return True
    loss = getattr(regularizer, "loss", None)
    return loss is not None and "outputs" in inspect.signature(loss).parameters
