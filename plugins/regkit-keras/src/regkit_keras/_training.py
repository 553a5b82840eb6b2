"""A computation of a model in training: outputs are shown to regularizers, changed and penalized."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial, wraps
from typing import TYPE_CHECKING, Any

import keras

import regkit
from regkit import hosts, schedules

from ._layers import Described, find_paths, has_order, input_names, own_attribute
from ._masks import Masking, mask_of
from ._steps import after_updates, change_weights, check_optimizer, updating

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ._backends import Jax, TensorFlow, Torch

SCHEDULES = tuple(getattr(schedules, name) for name in schedules.__all__)


class Training:
    """A set of regularizers beside the steps that train a model.

    Parameters
    ----------
    backend : one of the backends of Keras
    regularizers : regkit.RegularizerSet
    mask : bool
        Whether penalties leave out padding and examples of weight 0.
    measures : sequence of str
        The names of the metrics that each step computes.

    Attributes
    ----------
    regularizers : regkit.RegularizerSet
    measured : dict of str to scalar
        The metrics of the step that is computed now.
    live : dict of str to keras.Variable
        Where a step is traced, the variables by which it takes the live weights.
    noted : bool
        Whether the loss was one of training, whose terms the metrics have.
    in_loss : set of int
        The ids of terms of the last outputs that a loss has.
    added : list of regkit.Term, or None
        What the model has added to the losses, while another `regkit_keras.Model` around it looks for that.
    """

    def __init__(
        self,
        backend: Jax | TensorFlow | Torch,
        regularizers: regkit.RegularizerSet,
        mask: bool,
        measures: Sequence[str],
    ) -> None:
        self.regularizers = regularizers
        self.mask = mask
        self.measures = measures
        self.measured: dict[str, Any] = {}
        self.noted = False
        self.in_loss: set[int] = set()
        self.added: list[Any] | None = None
        self._members = hosts.members(regularizers, "Model")
        self._stepping = [member for member in self._members if member.changes_params]
        self._scheduled = [member for member in self._members if isinstance(_weight(member), SCHEDULES)]
        by_step = [member.name for member in self._scheduled if not isinstance(_weight(member), schedules.Target)]
        self._by_step = hosts.subset(regularizers, by_step)
        self._looking = [one for one in self._members if one.selects != "params" or one.changes_graph or one.named]
        # of weights alone, outputs are needed only if an option is the name of one
        self._of_weights = all(one.selects == "params" and not one.changes_graph for one in self._looking)
        self._predicting = [member for member in self._members if member.in_predictions]
        self._described = Described()
        self._backend = backend
        self._uncompiled_forward = backend.uncompiled(self._forward)
        self._masked_terms = backend.uncompiled(Masking(self._members).terms)
        self._uncompiled_predict = backend.uncompiled(self._predict)
        self._terms: Callable[[Any], list[Any]] | None = None  # of the last outputs, by their sample weights
        self._outputs: list[Any] = []  # of this step, in order
        self._left: list[str] = []  # what has terms that no loss has yet
        self._in_step = False
        self._now: dict[str, Any] | None = None  # live weights as the step has them
        self._updates: int | None = None  # of the optimizer; None where it may have been loaded
        lives = regularizers.live() if backend.traced else {}
        self.live = {
            name: keras.Variable(value, trainable=False, dtype=keras.config.floatx(), name="live")
            for name, value in lives.items()
        }

    def forward(self, model: Any, inputs: Any, seed: keras.random.SeedGenerator) -> tuple[Any, list[Any]]:
        """Compute a model as the regularizers change it; return what it gives, and their terms."""
        return self._uncompiled_forward(model, inputs, seed)  # type: ignore[no-any-return]

    def predict(self, model: Any, inputs: Any, training: bool | None) -> Any:
        """Compute a model with the changes of outputs that hold in predictions too."""
        if not self._predicting:
            return model(inputs, training=training)
        return self._uncompiled_predict(model, inputs, training)

    def _predict(self, model: Any, inputs: Any, training: bool | None) -> Any:
        names = input_names(model, inputs)
        layers = self._described.layers(model, names)
        is_wanted = self._described.is_wanted
        with plain_errors():
            regs = hosts.subset(self.regularizers, [member.name for member in self._predicting])
            run = self._backend.run(regs, layers, None, self._live_values(), None)

        def show(name: str, value: Any) -> Any:
            if not is_wanted(self._predicting, name, value):
                return value
            with plain_errors():
                return run.tap(name, value)

        data = [show(name, one) for name, one in zip(names, keras.tree.flatten(inputs))]
        with _watched(model, find_paths(model), show):
            return model(keras.tree.pack_sequence_as(inputs, data), training=training)

    def _forward(self, model: Any, inputs: Any, seed: keras.random.SeedGenerator) -> tuple[Any, list[Any]]:
        regs, backend = self.regularizers, self._backend
        names = input_names(model, inputs)
        if not model.built:  # of which TensorFlow's trainer makes the weights only when it traces
            model(keras.tree.map_structure(_symbolic, inputs), training=True)
        layers = self._described.layers(model, names)
        is_wanted = self._described.is_wanted
        with plain_errors():
            paths = find_paths(model)
            if not has_order(model):
                why = "A subclassed model does not define which of its layers are hidden. Name some"
                hosts.check_patterns(self._members, [*names, *paths], why)
        state = [(variable, variable.value) for variable in model.variables] if backend.traced else []
        times: dict[str, int] = {}  # how often each name was shown
        left: dict[str, Any] = {}  # the outputs as layers return them
        masks: dict[str, Any] = {}  # which attention takes away from its inputs

        def compute(run: Any) -> Any:
            def show(name: str, value: Any) -> Any:
                count = times.get(name, 0)
                times[name] = count + 1
                if not is_wanted(self._looking, name, value):
                    run.skip(name)
                    return value
                with plain_errors(), backend.drawing(seed) if regs.changes_graph else nullcontext():
                    tapped = run.tap(name, value)
                left[f"{name}@{count}" if count else name] = tapped
                return tapped

            def note_masks() -> None:
                for name in left.keys() - masks.keys() if self.mask else ():
                    masks[name] = mask_of(left[name])

            data = [
                None if one is None else backend.data(regs, one, model.variable_dtype)
                for one in keras.tree.flatten(inputs)
            ]
            if self._of_weights and (not self._looking or self._described.wants_none()):
                return model(keras.tree.pack_sequence_as(inputs, data), training=True)
            data = [show(name, one) for name, one in zip(names, data)]
            with _watched(model, paths, show, note_masks):
                outputs = model(keras.tree.pack_sequence_as(inputs, data), training=True)
            note_masks()
            return outputs

        def again(run: Any) -> None:  # on JAX, for derivatives
            with keras.StatelessScope(state):  # from the same draws, and nothing is left of it
                compute(run)

        self._now = self._live_values()
        with plain_errors():
            if self._stepping and not self._in_step:
                hosts.count_loss(regs)
            run = backend.run(regs, layers, seed, self._now, again)
        outputs = compute(run)
        kept, masked = dict(left), {name: mask for name, mask in masks.items() if mask is not None}
        with plain_errors():
            later = [f"{name}@{i}" for name, count in times.items() for i in range(1, count)]
            self._check_globs(dict.fromkeys([*times, *later, *run.outputs]), layers)
            self.measured = self._measured(run) if self._in_step and self.measures else {}
            terms = backend.terms(run, regs)
        if self._in_step:
            self._outputs.append(outputs)
            self._left = [term.name for term in terms] or list(self.measured)
        if self.mask:
            self._terms = partial(self._masked_terms, self._as_they_are_now(), terms, layers, kept, masked)
            with plain_errors():
                terms = [] if self._in_step else self._terms(None)  # in a step, when sample weights are known
        else:
            self._terms = lambda _: terms
        return outputs, terms

    def _measured(self, run: Any) -> dict[str, Any]:
        """Return the metrics of a step by their names."""
        found = run.metrics()
        missing = [name for name in self.measures if name not in found]
        if missing:
            raise regkit.NoMatchError(
                f"the regularizers have no metric {missing[0]!r}; they have: {', '.join(found) or 'none'}"
            )
        return {name: found[name] for name in self.measures}

    def _check_globs(self, outputs: Iterable[str], layers: Sequence[regkit.Layer]) -> None:
        """Raise for a glob that matches none of these outputs or parameters, or takes none of them out."""
        params = [name for layer in layers for name in layer.param_names]
        for member, glob in hosts.unmatched(self._members, outputs=outputs, params=params):
            there = {"outputs": outputs} if member.selects == "outputs" else {"trained weights": params}
            raise hosts.no_match(member, [glob], **there)

    def take(self, training: bool, outputs: Any, sample_weight: Any) -> tuple[list[Any], dict[str, Any]]:
        """Return what regularizers add in a step of training, of the outputs that a loss is of, and their metrics.

        Raises
        ------
        regkit.GraphError
            If the model was called again since it gave these outputs.
        """
        if any(one is outputs for one in self._outputs[:-1]):
            raise regkit.GraphError(
                "compute_loss got outputs of a call of the model before the last one, whose penalties are gone. Call "
                "it after each call of the model, or call the model once with all the data"
            )
        make_terms, self._terms = self._terms, None
        measured, self.measured = self.measured, {}
        with plain_errors():
            terms = make_terms(sample_weight) if training and make_terms else []
        self._left = []
        self.in_loss |= {id(term.weighted) for term in terms}
        self.noted = training and bool(self.noted or terms or measured)
        return terms, measured if training else {}

    def not_in_loss(self, losses: list[Any]) -> list[Any]:
        """Return the losses that `compute_loss` has not added, and note that these were asked for."""
        if not self.mask and not self.measured:
            self._left = []
        return [loss for loss in losses if id(loss) not in self.in_loss]

    def check_noting(self) -> None:
        """Raise where a step of JAX computes a loss whose terms cannot get into the history."""
        if self._backend.traced and self._in_step:
            with keras.StatelessScope() as scope:
                if scope.original_scope is None:
                    raise regkit.GraphError(
                        "compute_loss changes metrics, which a train_step on JAX has as values. Call "
                        "self.stateless_compute_loss there, as keras.Model.compute_loss_and_updates does"
                    )

    def _check_taken(self) -> None:
        """Raise if a step of a user has ended without the terms of its outputs."""
        if self._left:
            instead = "" if self.mask or self.measured else ", or add up self.losses"
            raise regkit.GraphError(
                f"the loss of a training step has nothing of {hosts.listed(self._left)}. In a train_step or "
                f"compute_loss of your own, call compute_loss of regkit_keras.Model{instead}"
            )

    def note_added(self, terms: list[Any]) -> None:
        """Note terms for the model around this one."""
        if self.added is not None:
            self.added += terms

    def take_added(self) -> list[Any]:
        """Return the terms that were noted, and keep none."""
        added, self.added = self.added, None
        return added or []

    # Around a step

    def check_optimizer(self, optimizer: Any) -> None:
        """Raise for an optimizer under which a step of a regularizer is not known."""
        if self._stepping:
            check_optimizer(optimizer, self._stepping)

    def check_place(self, is_within: bool) -> None:
        """Raise for what needs a step of this model where a model that it is within is trained, or a loop of a user."""
        if self._in_step:
            return
        remedy = "Put that into a regkit_keras.Model, with these regularizers"
        with plain_errors():
            if is_within and self._stepping:
                raise regkit.GraphError(
                    f"{self._stepping[0].name} acts on parameters after an optimizer's step, and this model is trained "
                    f"within another one. {remedy}"
                )
            if is_within and self._scheduled:
                raise regkit.GraphError(
                    f"{self._scheduled[0].name} has a weight that moves with each update of an optimizer, "
                    f"{_weight(self._scheduled[0])!r}, and this model is trained within another one. {remedy}"
                )
            if self.live and _is_kept(self.regularizers[next(iter(self.live))]):
                where = (
                    f"this model is trained within another one. {remedy}"
                    if is_within
                    else "this is not a training step of the model. Train it with fit or train_on_batch"
                )
                raise regkit.GraphError(
                    f"{next(iter(self.live))} has a live weight, which JAX would keep as it is now: {where}"
                )

    def stepping(self, step: Callable[..., Any], model: Any) -> Callable[..., Any]:
        """Return a function that runs a step with the live weights as they are then, and changes weights after it."""
        if self.regularizers.needs_metrics and model.steps_per_execution > 1:
            raise regkit.OptionError(
                "a weight follows a metric after each step (regkit.schedules.Target), and an execution has "
                f"steps_per_execution={model.steps_per_execution}; accepted: 1"
            )
        change = self._backend.uncompiled(self._change)

        def around(*args: Any) -> Any:
            if self._scheduled:
                before = self._count(model, args[0]) if self._updates is None else self._updates
                self._by_step.step(before)  # another model may have moved them
            if self.live:
                args = (self._with_live(args[0]), *args[1:])
            self._in_step = True
            try:
                with after_updates(model.optimizer, partial(change, model.model)) if self._stepping else nullcontext():
                    result = step(*args)
                self._check_taken()
            finally:
                self._in_step = self.noted = False
                self._now, self._terms, self._outputs, self._left = None, None, [], []
            if self._scheduled:
                state = result[1] if self._backend.traced else None
                self._updates = self._count(model, state)
                if self._updates != before:  # and no gradient was only accumulated, or too large for its precision
                    self.regularizers.step(self._updates, model.latest_metrics(state))
            return result

        return around

    def _change(self, model: Any, optimizer: Any, updated: list[Any], learning_rate: Any) -> None:
        """Change the weights of a model after an update."""
        with plain_errors():
            change_weights(
                self._as_they_are_now(), self._described.trained_weights(model), optimizer, updated, learning_rate
            )

    def current(self, variable: Any, model: Any, state: Any) -> Any:
        """Return the value of a variable of the optimizer or of a metric, which on JAX is in the state of a step."""
        return keras.ops.convert_to_numpy(self._backend.current(variable, model, state))

    def count_anew(self) -> None:
        """Ask the optimizer for its updates when the next step begins."""
        self._updates = None

    def _count(self, model: Any, state: Any) -> int:
        """Return how many updates the optimizer has made."""
        optimizer = updating(model.optimizer)
        counter = next(variable for variable in optimizer.variables if variable.name == "iteration")
        return int(self.current(counter, model, state)) // (optimizer.gradient_accumulation_steps or 1)

    def _with_live(self, state: Any) -> Any:
        """Return the state of a step with the live weights as they are."""
        trainable, fixed, *others = state
        values = self.regularizers.live()
        now = [keras.ops.convert_to_tensor(values[name], variable.dtype) for name, variable in self.live.items()]
        return trainable, [*fixed[: -len(now)], *now], *others

    def _as_they_are_now(self) -> regkit.RegularizerSet:
        """Return the regularizers with the live weights that a step has."""
        return hosts.with_weights(self.regularizers, self._now) if self._now else self.regularizers

    def _live_values(self) -> dict[str, Any] | None:
        """The values that a traced step has for live weights; outside of steps, they are read as they are."""
        return {name: variable.value for name, variable in self.live.items()} if self._in_step and self.live else None


def _is_kept(regularizer: Any) -> bool:
    """Return whether a step is traced that would keep a live weight as it is now."""
    try:
        regkit.graph.weight(regularizer, keras.ops.zeros(()))
    except regkit.GraphError:
        return True
    return False


def _symbolic(data: Any) -> Any:
    return None if data is None else keras.KerasTensor(data.shape, data.dtype)


def _weight(member: hosts.Member) -> Any:
    return getattr(member.regularizer, "weight", None)


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
def _watched(
    model: Any, paths: Mapping[str, Any], show: Callable[[str, Any], Any], before: Callable[[], None] | None = None
) -> Iterator[None]:
    """Replace the output of each layer of a model by the result of `show`, called with its name and its output.

    `before` is called before each layer.

    Layers are Python objects that look up their `call` each time, so another one is put into the attributes of the
    layer and taken out again. Masks and activity regularizers, which Keras adds around it, get the changed output.
    """
    with ExitStack() as stack:
        # values within a checkpoint cannot be used outside, so layers are rematerialized, and the model is not
        stack.enter_context(own_attribute(model, "_remat_mode", None))
        for path, layer in paths.items():
            around: Callable[..., Any] = _showing
            if getattr(layer, "_remat_mode", None) is not None:
                # the output is shown, and nothing within its checkpoint
                attribute, around = "rematerialized_call", _showing_what_it_returns
            else:
                attribute = "call" if getattr(layer, "quantization_mode", None) is None else "quantized_call"
            stack.enter_context(own_attribute(layer, attribute, around(getattr(layer, attribute), path, show, before)))
        yield


def _showing(
    call: Callable[..., Any], path: str, show: Callable[[str, Any], Any], before: Callable[[], None] | None
) -> Callable[..., Any]:
    @wraps(call)
    def shown(*args: Any, **kwargs: Any) -> Any:
        if before is not None:
            before()
        return _each_output(path, call(*args, **kwargs), show)

    return shown


def _showing_what_it_returns(
    make: Callable[..., Any], path: str, show: Callable[[str, Any], Any], before: Callable[[], None] | None
) -> Callable[..., Any]:
    @wraps(make)
    def making(*args: Any, **kwargs: Any) -> Any:
        return _showing(make(*args, **kwargs), path, show, before)

    return making


def _each_output(name: str, output: Any, show: Callable[[str, Any], Any]) -> Any:
    """Return an output of a layer with `show` applied to each part of it: of several, ``lstm:0`` is the first."""
    if isinstance(output, dict):
        return type(output)({key: _each_output(f"{name}:{key}", part, show) for key, part in output.items()})
    if isinstance(output, (list, tuple)):
        parts = [_each_output(f"{name}:{i}", part, show) for i, part in enumerate(output)]
        return type(output)(*parts) if hasattr(output, "_fields") else type(output)(parts)
    return show(name, output)
