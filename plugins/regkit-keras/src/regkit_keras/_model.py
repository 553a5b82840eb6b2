"""A Keras model around a model, which trains it with regularizers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras

import regkit
from regkit import hosts

from ._backends import backend
from ._layers import check_parts, declared_tensors
from ._training import Training

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

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

    Attributes
    ----------
    model : keras.Model
    regularizers : regkit.RegularizerSet

    Raises
    ------
    regkit.OptionError
        If an argument is none of those.
    regkit.GraphError
        If Keras runs on a backend for which there is no engine, the model has a training step of its own, or a weight
        is a `regkit.schedules.Target`.
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

    _left_out: Collection[int] = frozenset()  # the ids of losses that are added up by themselves

    def __init__(
        self,
        model: keras.Model,
        regularizers: regkit.RegularizerSet,
        seed: int | None = None,
        name: str | None = None,
        mask: bool = False,
    ) -> None:
        check(model, regularizers)
        # the model casts what it is given and what it computes; around it, weights have their own dtype
        super().__init__(name=name or f"regularized_{model.name}", dtype=model.variable_dtype)
        check_parts(self, declared_tensors(model, "inputs"))
        self._convert_input_args = False
        self._allow_non_tensor_positional_args = True
        self.model = model
        self.seed_generator = keras.random.SeedGenerator(seed)
        members = hosts.members(regularizers, "Model")
        names = [member.name for member in members if member.penalizes]
        self._shares = Shares([WITHOUT, *names]) if names else None
        self._training = Training(backend(), regularizers, mask)
        self.built = model.built

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
        if not all(map(_has_value, keras.tree.flatten(inputs))):
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
        terms = self._training.take_terms(training, sample_weight)
        if not terms or self._shares is None:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        self._left_out = {id(term.weighted) for term in terms}
        try:
            is_more = self.loss is not None or self.losses
            loss = super().compute_loss(x, y, y_pred, sample_weight, training) if is_more else keras.ops.zeros(())
        finally:
            self._left_out = frozenset()
        within = {id(term.weighted) for model in self._models_within() for term in model._training.take_added()}
        without = loss - sum(one for one in self.losses if id(one) in within)
        count = keras.ops.shape(next(one for one in keras.tree.flatten(x) if one is not None))[0]
        self._shares.update_state({WITHOUT: without, **{term.name: term.weighted for term in terms}}, count)
        return keras.ops.add(loss, hosts.total(terms))

    def _models_within(self) -> list[Model]:
        return [layer for layer in self._flatten_layers(include_self=False) if isinstance(layer, Model)]

    @property
    def losses(self) -> list[Any]:
        """The losses of the layers, and in training what each regularizer adds."""
        return [loss for loss in super().losses if id(loss) not in self._left_out]

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
        for name in self._shares.names if self._shares else ():
            if name in results:
                raise regkit.OptionError(
                    f"a metric of the model is named {name!r}, as is what regularizers add to the history. Give the "
                    "metric another name"
                )
        if self._shares and self._training.now:
            results.update(self._shares.result())
        return results

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
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Any = None) -> Model:
        """Return a model from what `get_config` gave; the plugins of its regularizers have to be installed."""
        model = keras.saving.deserialize_keras_object(config["model"], custom_objects=custom_objects)
        return cls(model, regkit.build(config["regularizers"]), config["seed"], config["name"], config["mask"])


class Shares(keras.metrics.Metric):
    """The means of the parts of a loss over examples; a regularizer without a term adds 0."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(name="shares")
        self.names = names
        self._total = self.add_weight(shape=(len(names),), initializer="zeros", name="total")
        self._count = self.add_weight(shape=(), initializer="zeros", name="count")

    def update_state(self, shares: Mapping[str, Any], count: Any) -> None:
        """Take the parts of a step, and of how many examples they are."""
        each = [keras.ops.cast(shares.get(name, 0.0), self.dtype) for name in self.names]
        count = keras.ops.cast(count, self.dtype)
        self._total.assign_add(keras.ops.stack(each) * count)
        self._count.assign_add(count)

    def result(self) -> dict[str, Any]:
        """Return the means by their names."""
        means = keras.ops.divide_no_nan(self._total, self._count)
        return {name: means[i] for i, name in enumerate(self.names)}


def check(model: Any, regularizers: Any) -> None:
    """Raise if the arguments of a `Model` are not what it takes."""
    if not isinstance(model, keras.Model):
        raise regkit.OptionError(f"Model got model={model!r}; accepted: a keras.Model")
    hosts.members(regularizers, "Model")
    if isinstance(model, Model):
        raise regkit.GraphError(
            "the model has regularizers already. Put all into one set: Model(model.model, model.regularizers + more)"
        )
    for member in hosts.members(regularizers, "Model"):
        if isinstance(getattr(member.regularizer, "weight", None), regkit.schedules.Target):
            raise regkit.GraphError(
                f"{member.name} has a weight that follows a metric, {member.regularizer.weight!r}, and training steps "
                "of Keras compute none for it. Give it a regkit.Live, and set that in a callback"
            )
    own = [name for name in OWN if getattr(type(model), name) is not getattr(keras.Model, name)]
    if own:
        raise regkit.GraphError(
            f"{type(model).__name__} has a {own[0]} of its own, which would not be called where another model trains "
            "it. Give it to a subclass of regkit_keras.Model"
        )


def _has_value(data: Any) -> bool:
    return data is not None and not isinstance(data, keras.KerasTensor)
