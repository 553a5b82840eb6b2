"""A Keras model around a model, which trains it with regularizers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import keras

import regkit
from regkit import hosts

from ._backends import backend, by_inputs, replicas
from ._layers import check_parts, declared_tensors
from ._training import Training

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Methods of a subclass that would not be called where another model trains it.
OWN = ("train_step", "test_step", "predict_step", "compute_loss", "compute_metrics")

#: The name in the history of the loss without what regularizers add.
WITHOUT = "loss_without_penalties"


@keras.saving.register_keras_serializable(package="regkit_keras")
class Model(keras.Model):
    r"""Train a Keras model with regularizers.

    While it trains, the outputs of layers are shown to the regularizers and changed by noise and dropout, and the loss
    is :math:`L + \sum_r w_r \, p_r`: that of ``compile`` plus weight times penalty. Everything else, ``predict`` and
    ``evaluate`` too, is the model's own: without changes and without penalties.

    Parameters
    ----------
    model : keras.Model
        Functional, Sequential or subclassed. Its weights are those that are trained.
    regularizers : regkit.RegularizerSet
        What `regkit.build` returns.
    seed : int, optional
        Of the draws of noise and dropout, as in `keras.random.SeedGenerator`.
    name : str, optional
    mask : bool, default False
        Whether padding, the positions that Keras masks, and examples of sample weight 0 are left out of the penalties
        of outputs.
    metrics : sequence of str, default ()
        Metrics of regularizers that the history has too, such as ``["hidden_l1.zeros"]``.

    Attributes
    ----------
    model : keras.Model
    regularizers : regkit.RegularizerSet

    Raises
    ------
    regkit.OptionError
        If an argument is none of those.
    regkit.GraphError
        If Keras runs on a backend for which there is no engine, the model has a training step of its own, or metrics of
        outputs are asked for with `mask`.
    regkit.PluginLoadError
        If this version of Keras lacks something that is used of it.

    Notes
    -----
    Outputs go by the path of their layer, such as ``hid1`` or ``block/dense``, weights by ``hid1/kernel``. By default
    regularizers take the layers that have a weight of two or more dimensions; the one before the output is the output.

    Examples
    --------
    >>> import keras, numpy, regkit, regkit_keras
    >>> network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="hid"), keras.layers.Dense(1)])
    >>> regs = regkit.build(hidden_l1=dict(weight=0.1, reduction="batch"), hidden_dropout=0.5)
    >>> model = regkit_keras.Model(network, regs)
    >>> model.compile("sgd", "mse")
    >>> history = model.fit(numpy.ones((8, 4)), numpy.ones(8), verbose=0)
    >>> sorted(history.history)
    ['hidden_l1', 'loss', 'loss_without_penalties']
    """

    def __init__(
        self,
        model: keras.Model,
        regularizers: regkit.RegularizerSet,
        seed: int | None = None,
        name: str | None = None,
        mask: bool = False,
        metrics: Sequence[str] = (),
    ) -> None:
        check(model, regularizers, metrics)
        # the model casts what it is given and what it computes; around it, weights have their own dtype
        super().__init__(name=name or f"regularized_{model.name}", dtype=model.variable_dtype)
        check_parts(self, declared_tensors(model, "inputs"))
        self._convert_input_args = False
        self._allow_non_tensor_positional_args = True
        self.model = model
        self.seed_generator = keras.random.SeedGenerator(seed)
        members = hosts.members(regularizers, "Model")
        names = [member.name for member in members if member.penalizes]
        self._measures = list(metrics)
        followed = followed_metrics(members)
        check_metrics([*self._measures, *followed], members, mask)
        self._training = Training(backend(), regularizers, mask, list(dict.fromkeys([*self._measures, *followed])))
        self._shares = Shares([*([WITHOUT, *names] if names else ()), *self._measures], followed, self._training)
        self.built = model.built
        if keras.config.backend() == "tensorflow" and by_inputs(regularizers):
            self.supports_jit = False  # XLA has no loops without a bound, such as those of TensorFlow's Jacobians

    @property
    def regularizers(self) -> regkit.RegularizerSet:
        """The set of regularizers."""
        return self._training.regularizers

    # What Keras asks of a model

    def build(self, input_shape: Any) -> None:
        """Do nothing: the model builds itself when it is called."""
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Compute the model as the regularizers change it; in training with their penalties among `losses`."""
        self._training.in_loss = set()
        if any(isinstance(one, keras.KerasTensor) for one in keras.tree.flatten(inputs)):
            return self.model(inputs, training=training)
        if not training:
            return self._training.predict(self.model, inputs, training)
        context = self._get_call_context()  # so that no layer within takes itself for the first and forgets its losses
        context.set_value("training", True)
        for within in self._models_within():
            within._training.added = []
        try:
            self._training.check_place(bool(context.entry_layer is not self or self._inbound_nodes))
            outputs, terms = self._training.forward(self.model, inputs, self.seed_generator)
        finally:
            self._maybe_reset_call_context()
        self._training.note_added(terms)
        for term in terms:
            self.add_loss(term.weighted)
        return outputs

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Return the loss, which in training has the penalties, and note these for the history."""
        terms, measured = self._training.take(training, y_pred, sample_weight)
        if not terms and not measured:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        is_more = self.loss is not None or self.losses
        loss = super().compute_loss(x, y, y_pred, sample_weight, training) if is_more else keras.ops.zeros(())
        within = {id(term.weighted) for model in self._models_within() for term in model._training.take_added()}
        devices = replicas()
        without = loss * devices if devices > 1 else loss
        if within:
            without = keras.ops.subtract(without, sum(one for one in self.losses if id(one) in within))
        count = keras.ops.shape(next(one for one in keras.tree.flatten((x, y_pred)) if one is not None))[0]
        shares = {WITHOUT: without, **{term.name: term.weighted for term in terms}, **measured}
        self._training.check_noting()
        self._shares.note(shares, count)
        return keras.ops.add(loss, hosts.total(terms) / devices) if terms else loss

    def _models_within(self) -> list[Model]:
        return [layer for layer in self._flatten_layers(include_self=False) if isinstance(layer, Model)]

    @property
    def losses(self) -> list[Any]:
        """The losses of the layers, and in training what each regularizer adds, until `compute_loss` has added that."""
        losses = super().losses
        return self._training.not_in_loss(losses) if hasattr(self, "_training") else losses

    def get_metrics_result(self) -> dict[str, Any]:
        """Return the metrics; in training also what each regularizer adds to the loss, and the loss without that.

        Raises
        ------
        regkit.OptionError
            If another metric has the name of one of these.
        """
        results: dict[str, Any] = {}
        for metric in self.metrics:
            if metric is not self._shares:
                result = metric.result()
                results.update(result if isinstance(result, dict) else {metric.name: result})
        for name in self._shares.names:
            if name in results:
                raise regkit.OptionError(
                    f"a metric of the model is named {name!r}, as is what regularizers add to the history. Give the "
                    "metric another name"
                )
        return {**results, **self._shares.result()}

    def latest_metrics(self, state: Any) -> dict[str, Any] | None:
        """Return the metrics that weights follow, of the step that ended with that state; None if none is followed."""
        followed = self._shares.followed
        return dict(zip(followed, self._training.current(self._shares.latest, self, state))) if followed else None

    def compile(self, optimizer: Any = "rmsprop", *args: Any, auto_scale_loss: bool = True, **kwargs: Any) -> None:
        """Configure training, as `keras.Model.compile` does."""
        if auto_scale_loss and self.model.dtype_policy.name == "mixed_float16":
            optimizer = keras.optimizers.get(optimizer)
            if not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
                optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        super().compile(optimizer, *args, auto_scale_loss=auto_scale_loss, **kwargs)
        self._training.check_optimizer(self.optimizer)

    def compile_from_config(self, config: Mapping[str, Any]) -> None:
        """Configure training as a saved model was."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer is not None and self.built:
            self.optimizer.build(self.trainable_variables)

    # What is the model's own

    @property
    def layers(self) -> list[Any]:
        """The layers of the model."""
        return self.model.layers  # type: ignore[no-any-return]

    @property
    def inputs(self) -> list[Any]:
        """The inputs that the model declares; an AttributeError of a subclassed model."""
        return self.model.inputs  # type: ignore[no-any-return]

    @property
    def outputs(self) -> list[Any]:
        """The outputs that the model declares; an AttributeError of a subclassed model."""
        return self.model.outputs  # type: ignore[no-any-return]

    @property
    def output_names(self) -> list[str]:
        """The names of the model's outputs, by which ``compile`` takes several losses; none of a subclassed model."""
        return self.model.output_names  # type: ignore[no-any-return]

    def export(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Export the model, as `keras.Model.export` does.

        Raises
        ------
        regkit.GraphError
            If a regularizer changes outputs in predictions too, which the exported model would not have.
        """
        changing = [member.name for member in hosts.members(self.regularizers, "Model") if member.in_predictions]
        if changing:
            raise regkit.GraphError(
                f"{changing[0]} changes outputs in predictions too, and what is exported is the model without it. "
                "Export a model that has this as a layer"
            )
        self.model.export(filepath, *args, **kwargs)

    # Live weights, which a compiled step has among its variables

    @property
    def variables(self) -> list[Any]:
        """The variables, those of live weights included, which are not weights of the model."""
        return [*super().variables, *(self._training.live.values() if hasattr(self, "_training") else ())]

    def make_train_function(self, force: bool = False) -> Any:
        """Make the function that runs a step, into which each step takes the live weights as they are."""
        if self.train_function is None or force:  # type: ignore[has-type]  # of Keras
            if (self._shares.names or self._shares.followed) and all(one is not self._shares for one in self.metrics):
                raise regkit.OptionError(
                    f"the metrics of {type(self).__name__} are without those of regkit_keras.Model, by which the "
                    "history has what regularizers add. Return [*super().metrics, ...]"
                )
            super().make_train_function(force)
            self.train_function = self._training.stepping(self.train_function, self)  # type: ignore[has-type]  # of Keras
        self._training.count_anew()  # weights may have been loaded
        return self.train_function

    # Saving

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` takes: the model, the set as `build` takes it, the seed, the name."""
        return {
            "model": keras.saving.serialize_keras_object(self.model),
            "regularizers": self.regularizers.config(),
            "seed": self.seed_generator.get_config()["seed"],
            "name": self.name,
            "mask": self._training.mask,
            "metrics": self._measures,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Any = None) -> Model:
        """Return a model from what `get_config` gave; the plugins of its regularizers have to be installed."""
        model = keras.saving.deserialize_keras_object(config["model"], custom_objects=custom_objects)
        regs = regkit.build(config["regularizers"])
        return cls(model, regs, **{name: config[name] for name in ("seed", "name", "mask", "metrics")})


class Shares(keras.metrics.Metric):
    """The means over examples of the parts of a loss and of metrics; a regularizer without a term adds 0.

    Parameters
    ----------
    names : list of str
    followed : list of str
        Of these, the values in the latest step are kept.
    training : Training
    """

    def __init__(self, names: list[str], followed: list[str], training: Training) -> None:
        super().__init__(name="shares")
        self.names, self.followed, self._training = names, followed, training
        self._sums = self.add_weight(shape=(len(names),), initializer="zeros", name="sums")
        self._count = self.add_weight(shape=(), initializer="zeros", name="count")
        self.latest = self.add_weight(shape=(len(followed),), initializer="zeros", name="latest") if followed else None

    def update_state(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: a train_step of a user may give targets and outputs to all metrics of a model."""

    def note(self, shares: Mapping[str, Any], count: Any) -> None:
        """Take the values of a step, and of how many examples they are."""
        each = [keras.ops.cast(shares.get(name, 0.0), self.dtype) for name in self.names]
        count = count if isinstance(count, int) else keras.ops.cast(count, self.dtype)
        if each:
            self._sums.assign_add(keras.ops.stack(each) * count)
            self._count.assign_add(count)
        if self.latest is not None:
            self.latest.assign(keras.ops.stack([keras.ops.cast(shares[name], self.dtype) for name in self.followed]))

    def result(self) -> dict[str, Any]:
        """Return the means by their names; none where no loss of training noted any, as in an evaluation."""
        if not self._training.noted or not self.names:
            return {}
        return dict(zip(self.names, keras.ops.unstack(self._sums / self._count, len(self.names))))


def followed_metrics(members: Iterable[hosts.Member]) -> list[str]:
    """Return the names of the metrics that weights follow."""
    weights = [(member.name, getattr(member.regularizer, "weight", None)) for member in members]
    targets = [(name, weight.metric) for name, weight in weights if isinstance(weight, regkit.schedules.Target)]
    return list(dict.fromkeys(metric if "." in metric else f"{name}.{metric}" for name, metric in targets))


def check_metrics(names: Iterable[str], members: Iterable[hosts.Member], mask: bool) -> None:
    """Raise for metrics that the regularizers do not have, or that would count what is masked."""
    having = {member.name: member for member in members if "metrics" in member.hooks}
    for name in names:
        member = having.get(str(name).rpartition(".")[0])
        if member is None:
            raise regkit.OptionError(
                f"{name!r} is not a metric of these regularizers; accepted: a name such as 'hidden_l1.zeros'. "
                f"Metrics have: {', '.join(having) or 'none'}"
            )
        if mask and member.selects != "params":
            raise regkit.GraphError(
                f"the metric {name!r} counts padding and examples of weight 0, which mask=True leaves out of "
                "penalties. Leave one of both out"
            )


def check(model: Any, regularizers: Any, metrics: Any) -> None:
    """Raise if the arguments of a `Model` are not what it takes."""
    if not isinstance(model, keras.Model):
        raise regkit.OptionError(f"Model got model={model!r}; accepted: a keras.Model")
    hosts.members(regularizers, "Model")
    if isinstance(metrics, str) or not isinstance(metrics, Iterable):
        raise regkit.OptionError(f"Model got metrics={metrics!r}; accepted: names, such as ['hidden_l1.zeros']")
    if isinstance(model, Model):
        raise regkit.GraphError(
            "the model has regularizers already. Put all into one set: Model(model.model, model.regularizers + more)"
        )
    own = [name for name in OWN if getattr(type(model), name) is not getattr(keras.Model, name)]
    if own:
        raise regkit.GraphError(
            f"{type(model).__name__} has a {own[0]} of its own, which would not be called where another model trains "
            "it. Give it to a subclass of regkit_keras.Model"
        )
