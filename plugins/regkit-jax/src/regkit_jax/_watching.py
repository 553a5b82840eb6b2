"""Models whose modules are watched while they run: what Flax NNX, Flax Linen and Equinox have in common."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import jax

import regkit
from regkit import hosts

from . import _internals
from ._run import Run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from typing_extensions import Unpack

    from ._run import Options


class Library(NamedTuple):
    """A library of modules.

    Attributes
    ----------
    name : str
    unseen : str
        Where a watch does not see that it calls modules, in words.
    kept : str
        What begins the names of transformations, in the words of JAX, that keep what they have traced of a module.
    """

    name: str
    unseen: str
    kept: tuple[str, ...]


class Watched:
    """The modules of a model by their paths: which were called, and the run that has their outputs.

    Attributes
    ----------
    paths : tuple of str
        Those of modules that can be called.
    run : Run
        The present one: a penalty of derivatives computes the model again, in another.
    called : set of str
        The paths of modules that were called.
    trace : object
        That of JAX in which the watch was opened, or the model is computed again.
    is_mistaken : bool
        Whether another model was called whose parameters JAX transforms, and not those of the run.
    """

    def __init__(self, library: Library, paths: Iterable[str]) -> None:
        self.library = library
        self.paths = tuple(paths)
        self.run: Run
        self.called: set[str] = set()
        self.is_mistaken = False
        self.trace = _internals.running()[0]

    def show(self, path: str, output: Any) -> Any:
        """Show what a module returned, and return it as the regularizers leave it."""
        self.called.add(path)
        left = self.run.tap_all(path, output)
        kept = [name for name in _internals.recording(self.trace) if name.startswith(self.library.kept)]
        if kept and any(one is not other for one, other in zip(jax.tree.leaves(output), jax.tree.leaves(left))):
            raise regkit.GraphError(
                f"the output of module {path!r} would be changed within {kept[0]}, which keeps what it has traced, and "
                "the change with it, after the watch too. Call the module outside of it"
            )
        return left


@contextmanager
def watching(
    watched: Watched, regs: regkit.RegularizerSet, layers: Sequence[regkit.Layer], **options: Unpack[Options]
) -> Iterator[Run]:
    """Have a run for the outputs of a model's modules, which is checked at the end of the block."""
    hosts.check_patterns(
        hosts.members(regs, "watch"),
        watched.paths,
        f"A model of {watched.library.name} does not define which of its modules are hidden. Name some",
    )
    watched.run = run = _Run(watched, regs, layers, **options)
    yield run
    run.check()


class _Run(Run):
    """A run whose outputs are those of a watched model's modules."""

    def __init__(
        self, watched: Watched, regs: regkit.RegularizerSet, layers: Sequence[regkit.Layer], **options: Unpack[Options]
    ) -> None:
        super().__init__(regs, layers, **options)
        self._watched = watched

    def terms(self) -> list[Any]:
        self._check_called()
        with self._naming_paths():
            return super().terms()

    def metrics(self) -> dict[str, Any]:
        self._check_called()
        with self._naming_paths():
            return super().metrics()

    def check(self) -> None:
        """Raise if nothing was seen that some are for, or if one that changes outputs found none to change."""
        if not self._watched.called and not self._given and any(m.selects == "outputs" for m in self._members):
            raise regkit.GraphError(
                f"no module of the watched model was called. {self._watched.library.unseen}: open the watch inside of "
                "the function, with what it gets"
            )
        self._check_called()
        with self._naming_paths():
            self.check_changes()

    def _check_called(self) -> None:
        """Raise for another model in the place of the watched one, and for a module that a member is for, not seen.

        A copy may have been called instead. Whether one was, or none, cannot be known: what JAX has traced of a
        transformation it keeps, and then calls nothing.
        """
        if self._watched.is_mistaken and not self._watched.called:
            raise regkit.GraphError(
                "the watched model was not called, but another, whose parameters JAX transforms here. The penalties of "
                "the watched parameters would have a gradient of 0. Watch what the function gets"
            )
        names = {*self._watched.called, *self._given, *self._skipped}
        for path in hosts.uncalled(self._members, self._watched.paths, names):
            raise regkit.GraphError(
                f"module {path!r}, which a pattern matches, was not called within the watch. "
                f"{self._watched.library.unseen}: return from there what the module returns, and tap it by hand, "
                f"run.tap({path!r}, ...). If it is not to be called, write run.skip({path!r}), or take it out of "
                f"the pattern with '!{path}'"
            )
        for path in self._watched.paths:
            if path not in names:
                self.skip(path)  # so that patterns can take it out

    @contextmanager
    def _naming_paths(self) -> Iterator[None]:
        try:
            yield
        except regkit.NoMatchError as error:
            raise regkit.NoMatchError(
                f"{error}. Modules of the model: {hosts.listed(self._watched.paths)}. {self._watched.library.unseen}, "
                "for which the watch has to be opened inside"
            ) from None

    def _compute(self, run: Run) -> None:
        before = self._watched.run, self._watched.trace
        self._watched.run, self._watched.trace = run, _internals.running()[0]
        try:
            super()._compute(run)
        finally:
            self._watched.run, self._watched.trace = before
