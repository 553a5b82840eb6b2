"""A module of TensorFlow with regularizers: its modules show their outputs to a run while they are called."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import tensorflow as tf

import regkit
from regkit import hosts

from ._run import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: The watches that are open here.
_open: ContextVar[tuple[_Watched, ...]] = ContextVar("regkit_tensorflow_watches", default=())


@contextmanager
def watch(module: tf.Module, regs: regkit.RegularizerSet, *, train: bool = True, tape: Any = None) -> Iterator[Run]:
    """Show the outputs of a module's submodules to regularizers, while they are called within the ``with`` statement.

    Outputs go by the path of their module, such as ``layers.0``, variables by ``layers.0.w``. Tensors in tuples and
    dicts are ``lstm:0`` and ``head:logits``, and of a module that is called again ``layers.0@1``. The module itself has
    no path, so its own output is not shown. Within a `tf.function`, open it in there.

    Parameters
    ----------
    module : tf.Module
        Its submodules are called by ``__call__``, as those of Keras and Sonnet are.
    regs : regkit.RegularizerSet
        What `regkit.build` returns. Regularizers of outputs need a pattern.
    train, tape
        As for `Run`.

    Yields
    ------
    Run
        ``run.loss()`` is what the regularizers add; `Run.tap` shows what is not a module's output.

    Raises
    ------
    regkit.OptionError
        If the module is not one, `regs` is not a set, or a regularizer of outputs has no pattern.
    regkit.GraphError
        If the module, or a part of it, is watched already, is a layer of Keras, or has a ``__call__`` that is a
        `tf.function`; at the end, and by ``run.loss()``, if a module that a pattern matches was not called.
    regkit.NoMatchError
        At the end, if a regularizer that changes outputs was shown none.

    Examples
    --------
    >>> import regkit, regkit_tensorflow, tensorflow as tf
    >>> class Dense(tf.Module):
    ...     def __init__(self, rows, columns):
    ...         super().__init__()
    ...         self.w = tf.Variable(tf.ones((rows, columns)))
    ...     def __call__(self, x):
    ...         return x @ self.w
    >>> class Net(tf.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.hid, self.out = Dense(3, 2), Dense(2, 1)
    ...     def __call__(self, x):
    ...         return self.out(self.hid(x))
    >>> net, regs = Net(), regkit.build(hidden_l1=dict(weight=0.1, pattern="hid"), weight_l2=0.01)
    >>> with regkit_tensorflow.watch(net, regs) as run:
    ...     y = net(tf.ones((5, 3)))
    ...     loss = run.loss()
    >>> round(float(loss), 3)  # 0.1 * 30, and 0.01 * (6 + 2) / 2
    3.04
    """
    watched = _Watched(module, regs)
    run = watched.run = _Run(watched, regs, train=train, tape=tape)
    token = _open.set((*_open.get(), watched))
    try:
        with _calls.of({type(one) for one in watched.paths}):
            yield run
        run.check_called()
        run.check_recorded()
        run.check_changes()
    finally:
        _open.reset(token)


class _Run(Run):
    """A run whose outputs are those of a watched module's submodules."""

    def __init__(self, watched: _Watched, regs: regkit.RegularizerSet, **options: Any) -> None:
        super().__init__(regs, watched.layers(), **options)
        self._watched = watched

    def terms(self) -> list[regkit.Term]:
        self.check_called()
        return super().terms()

    def metrics(self) -> dict[str, Any]:
        self.check_called()
        return super().metrics()

    def check_called(self) -> None:
        """Raise for a module that a pattern matches, and that was not called."""
        names = {*self._watched.called, *self._times, *self._skipped}
        acting = [one for one in self._members if one.penalizes or self._train or one.in_predictions]
        for path in hosts.uncalled(acting, self._watched.callable, names):
            raise regkit.GraphError(
                f"module {path!r}, which a pattern matches, was not called within the watch. A tf.function that was "
                "traced before has it within, and does not call it: open the watch in there, or return what the module "
                f"returns, and tap it by hand, run.tap({path!r}, ...). If it is not to be called, write "
                f"run.skip({path!r}), or take it out of the pattern with '!{path}'"
            )
        for path in self._watched.callable:
            if path not in names:
                self.skip(path)  # so that patterns can take it out


class _Watched:
    """A module's submodules, and the run that their outputs are tapped in."""

    run: _Run

    def __init__(self, module: Any, regs: regkit.RegularizerSet) -> None:
        if not isinstance(module, tf.Module):
            raise regkit.OptionError(f"watch got a module of type {type(module).__name__}; accepted: a tf.Module")
        members = hosts.members(regs, "watch")
        for path, one in module._flatten(predicate=_is_of_keras, with_path=True):
            raise regkit.GraphError(
                f"{_joined(path)!r} is a layer of Keras ({type(one).__name__}), whose outputs and variables are not "
                "among those of a tf.Module. Tap what it returns in a Run, with its variables in a regkit.Layer, or "
                "make a model of Keras of all, for regkit_keras.Model"
            )
        found = module._flatten(predicate=lambda one: isinstance(one, tf.Module), with_path=True)
        self.module = module
        self.paths: dict[Any, str] = {}
        for path, one in found:
            self.paths.setdefault(one, _joined(path))
        others = [one for other in _open.get() for one in (other.module, *other.paths)]
        if any(one is other for one in (module, *self.paths) for other in others):
            raise regkit.GraphError(
                "the module, or a part of it, is watched already. Put all regularizers into one set"
            )
        for one in (module, *self.paths):
            call = getattr(type(one), "__call__", None)  # noqa: B004 - of its instances
            if isinstance(call, tf.types.experimental.GenericFunction):
                raise regkit.GraphError(
                    f"the __call__ of {type(one).__name__} is a tf.function, which keeps the changes of the watch that "
                    "it is traced in, or none. Leave __call__ as it is, and open the watch and call the module within "
                    "a tf.function"
                )
        hosts.check_patterns(members, self.paths.values(), "A module does not say which of its parts are hidden")
        self.called: set[str] = set()
        self.callable = [path for one, path in self.paths.items() if callable(one)]
        self._members = members
        self._running: set[int] = set()

    def layers(self) -> list[regkit.Layer]:
        """Return a layer for each module that has trainable variables of its own."""
        params: dict[str, dict[str, Any]] = {}
        seen: set[int] = set()
        for path, one in self.module._flatten(predicate=_is_trained, with_path=True):
            if id(one) not in seen:
                seen.add(id(one))
                name = _joined(path)
                params.setdefault(name.rpartition(".")[0] or type(self.module).__name__, {})[name] = one
        return [regkit.Layer(owner, of_owner, role="hidden") for owner, of_owner in params.items()]

    def call(self, module: Any, call: Callable[[], Any]) -> Any:
        """Call a module, and return its outputs as the regularizers leave them."""
        if id(module) in self._running:  # its class calls what it overrides
            return call()
        self._running.add(id(module))
        try:
            output = call()
        finally:
            self._running.discard(id(module))
        path = self.paths[module]
        self.called.add(path)
        if not tf.nest.is_nested(output):
            return self._shown(path, output)
        names = [f"{path}:{inner}" for inner in _inner(output)]
        return tf.nest.pack_sequence_as(output, list(map(self._shown, names, tf.nest.flatten(output))))

    def _shown(self, name: str, output: Any) -> Any:
        floats = tf.is_tensor(output) and output.dtype.is_floating
        if any(member.wants(name, floats) for member in self._members):
            return self.run.tap(name, output)
        self.run.skip(name)
        return output


def _inner(output: Any) -> Iterator[str]:
    """Yield the places of what is in tuples and dicts, in the order of `tf.nest.flatten`."""
    items = sorted(output.items()) if isinstance(output, Mapping) else enumerate(output)
    for key, value in items:
        if tf.nest.is_nested(value):
            yield from (f"{key}.{inner}" for inner in _inner(value))
        else:
            yield str(key)


def _is_of_keras(value: Any) -> bool:
    keras = sys.modules.get("keras")
    return keras is not None and isinstance(value, keras.layers.Layer)


def _is_trained(value: Any) -> bool:
    return isinstance(value, tf.Variable) and value.trainable


def _joined(path: Any) -> str:
    return ".".join(str(part[-1]) if isinstance(part, tuple) else str(part) for part in path)


def _called(module: Any, call: Callable[[], Any]) -> Any:
    """Stand in for the call of a module, watched or not."""
    for watched in _open.get():
        if any(one is module for one in watched.paths):
            return watched.call(module, call)
    return call()


_calls = hosts.Calls(_called)
