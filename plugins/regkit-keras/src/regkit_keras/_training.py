"""A computation of a model in training: outputs are shown to regularizers, changed and penalized."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, nullcontext
from functools import wraps
from typing import TYPE_CHECKING, Any

import keras

import regkit
from regkit import hosts

from ._layers import describe, find_paths, has_order, input_names

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Sequence

    from ._backends import Jax, TensorFlow, Torch


class Training:
    """A set of regularizers beside the steps that train a model.

    Attributes
    ----------
    regularizers : regkit.RegularizerSet
    live : dict of str to keras.Variable
        Where a step is traced, the variables by which it takes the live weights.
    now : bool
        Whether the step that ran last was one of training.
    """

    def __init__(self, backend: Jax | TensorFlow | Torch, regularizers: regkit.RegularizerSet) -> None:
        self.regularizers = regularizers
        self.now = False
        self._members = hosts.members(regularizers, "Model")
        hosts.check_no_steps(self._members, "regkit_keras.Model has no place for that")
        self._predicting = [member for member in self._members if member.in_predictions]
        self._backend = backend
        self._shares: dict[str, Any] = {}
        self._in_step = False
        lives = regularizers.live() if backend.traced else {}
        self.live = {
            name: keras.Variable(value, trainable=False, dtype=keras.config.floatx(), name="live")
            for name, value in lives.items()
        }

    def forward(self, model: Any, inputs: Any, seed: keras.random.SeedGenerator) -> tuple[Any, list[Any]]:
        """Compute a model as the regularizers change it; return what it gives, and their terms."""
        return self._backend.uncompiled(self._forward)(model, inputs, seed)  # type: ignore[no-any-return]

    def predict(self, model: Any, inputs: Any, training: bool | None) -> Any:
        """Compute a model with the changes of outputs that hold in predictions too."""
        if not self._predicting:
            return model(inputs, training=training)
        return self._backend.uncompiled(self._predict)(model, inputs, training)

    def _predict(self, model: Any, inputs: Any, training: bool | None) -> Any:
        names = input_names(model, inputs)
        layers = describe(model, names)
        main = {layer.output_name for layer in layers}
        with plain_errors():
            regs = hosts.subset(self.regularizers, [member.name for member in self._predicting])
            run = self._backend.run(regs, layers, None, self._live_values(), None)

        def show(name: str, value: Any) -> Any:
            if not _is_wanted(self._predicting, name, value, main):
                return value
            with plain_errors():
                return run.tap(name, value)

        data = [show(name, one) for name, one in zip(names, keras.tree.flatten(inputs))]
        with _watched(model, show):
            return model(keras.tree.pack_sequence_as(inputs, data), training=training)

    def _forward(self, model: Any, inputs: Any, seed: keras.random.SeedGenerator) -> tuple[Any, list[Any]]:
        regs, backend = self.regularizers, self._backend
        names = input_names(model, inputs)
        if not model.built:  # of which TensorFlow's trainer makes the weights only when it traces
            shapes = keras.tree.map_structure(lambda one: keras.KerasTensor(one.shape, one.dtype), inputs)
            model(shapes, training=True)
        layers = describe(model, names)
        main = {layer.output_name for layer in layers}
        with plain_errors():
            there = [*names, *find_paths(model)]
            if not has_order(model):
                hosts.check_patterns(
                    self._members, there, "A subclassed model does not define which of its layers are hidden. Name some"
                )
        state = [(variable, variable.value) for variable in model.variables]
        times: dict[str, int] = {}  # how often each name was shown

        def compute(run: Any) -> Any:
            def show(name: str, value: Any) -> Any:
                times[name] = times.get(name, 0) + 1
                if not _is_wanted(self._members, name, value, main):
                    run.skip(name)
                    return value
                with plain_errors(), backend.drawing(seed) if regs.changes_graph else nullcontext():
                    return run.tap(name, value)

            data = [backend.data(regs, one) for one in keras.tree.flatten(inputs)]
            data = [show(name, one) for name, one in zip(names, data)]
            with _watched(model, show):
                return model(keras.tree.pack_sequence_as(inputs, data), training=True)

        def again(run: Any) -> None:
            with keras.StatelessScope(state):  # from the same draws, and nothing is left of it
                compute(run)

        with plain_errors():
            run = backend.run(regs, layers, seed, self._live_values(), again)
        outputs = compute(run)
        with plain_errors():
            later = [f"{name}@{i}" for name, count in times.items() for i in range(1, count)]
            self._check_globs(dict.fromkeys([*times, *later, *run.outputs]), layers)
            terms = backend.terms(run, regs)
        self._shares = {term.name: term.weighted for term in terms}
        return outputs, terms

    def _check_globs(self, outputs: Iterable[str], layers: Sequence[regkit.Layer]) -> None:
        """Raise for a glob that matches none of these outputs or parameters, or takes none of them out."""
        params = [name for layer in layers for name in layer.param_names]
        for member, glob in hosts.unmatched(self._members, outputs=outputs, params=params):
            there = {"outputs": outputs} if member.selects == "outputs" else {"weights": params}
            raise hosts.no_match(member, [glob], **there)

    def take_shares(self, training: bool) -> dict[str, Any]:
        """Return by name what regularizers added in this step, and note whether it is one of training."""
        self.now = training
        shares, self._shares = self._shares, {}
        return shares if training else {}

    # Live weights

    def stepping(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that runs a step with the live weights as they are when it is called."""
        if not self.live:
            return step

        def with_live(state: Any, iterator: Any) -> Any:
            trainable, fixed, *others = state
            values = self.regularizers.live()
            now = [keras.ops.convert_to_tensor(values[name], variable.dtype) for name, variable in self.live.items()]
            self._in_step = True
            try:
                return step((trainable, [*fixed[: -len(now)], *now], *others), iterator)
            finally:
                self._in_step = False

        return with_live

    def _live_values(self) -> dict[str, Any] | None:
        """The values that a traced step has for live weights; outside of steps, they are read as they are."""
        return {name: variable.value for name, variable in self.live.items()} if self._in_step and self.live else None


def _is_wanted(members: Iterable[hosts.Member], name: str, value: Any, main: Container[str]) -> bool:
    """Return whether to show an output to the regularizers; `main` are those of layers, which need no pattern."""
    if isinstance(value, keras.KerasTensor):
        return False
    floats = keras.ops.is_tensor(value) and "float" in keras.backend.standardize_dtype(value.dtype)
    return any(
        member.wants(name, floats)
        and (member.globs is not None or name in main or not member.needs_pattern or member.wants(name, False))
        for member in members
    )


@contextmanager
def plain_errors() -> Iterator[None]:
    """Let errors of regularizers stay as they are: Keras would add the arguments of the layer, which are arrays."""
    try:
        yield
    except regkit.RegkitError as error:
        error._keras_call_info_injected = True  # type: ignore[attr-defined]
        raise error from None


# Between a model and its layers


@contextmanager
def _watched(model: Any, show: Callable[[str, Any], Any]) -> Iterator[None]:
    """Replace the output of each layer of a model by the result of `show`, called with its name and its output.

    Layers are Python objects that look up their `call` each time, so another one is put into the attributes of the
    layer and taken out again. Masks and activity regularizers, which Keras adds around it, get the changed output.
    """
    with ExitStack() as stack:
        # values within a checkpoint cannot be used outside, so layers are rematerialized, and the model is not
        stack.enter_context(_own_attribute(model, "_remat_mode", None))
        for path, layer in find_paths(model).items():
            # of a rematerialized layer, the output is shown, and nothing within its checkpoint
            attribute = "call" if getattr(layer, "_remat_mode", None) is None else "rematerialized_call"
            original = getattr(layer, attribute)
            around = _showing if attribute == "call" else _showing_what_it_returns
            stack.enter_context(_own_attribute(layer, attribute, around(original, path, show)))
        yield


def _showing(call: Callable[..., Any], path: str, show: Callable[[str, Any], Any]) -> Callable[..., Any]:
    @wraps(call)
    def shown(*args: Any, **kwargs: Any) -> Any:
        return _each_output(path, call(*args, **kwargs), show)

    return shown


def _showing_what_it_returns(
    make: Callable[..., Any], path: str, show: Callable[[str, Any], Any]
) -> Callable[..., Any]:
    @wraps(make)
    def making(*args: Any, **kwargs: Any) -> Any:
        return _showing(make(*args, **kwargs), path, show)

    return making


_ABSENT = object()


@contextmanager
def _own_attribute(layer: Any, name: str, value: Any) -> Iterator[None]:
    attributes = vars(layer)  # past what Keras and torch do when an attribute of a layer is set
    before = attributes.get(name, _ABSENT)
    attributes[name] = value
    try:
        yield
    finally:
        if before is _ABSENT:
            del attributes[name]
        else:
            attributes[name] = before


def _each_output(name: str, output: Any, show: Callable[[str, Any], Any]) -> Any:
    """Return an output of a layer with `show` applied to each part of it: of several, ``lstm:0`` is the first."""
    if isinstance(output, dict):
        return type(output)({key: _each_output(f"{name}:{key}", part, show) for key, part in output.items()})
    if isinstance(output, (list, tuple)):
        parts = [_each_output(f"{name}:{i}", part, show) for i, part in enumerate(output)]
        return type(output)(*parts) if hasattr(output, "_fields") else type(output)(parts)
    return show(name, output)
