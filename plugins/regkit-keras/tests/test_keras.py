"""Models of Keras with regularizers, on the backend that KERAS_BACKEND says: values by hand, or Keras' own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import regkit_keras
from regkit_keras._layers import TESTED, Described, find_paths, input_names

import regkit

X = np.random.default_rng(0).normal(size=(24, 4)).astype("float32")
Y = X.sum(axis=1, keepdims=True)
BACKEND = keras.config.backend()


def network(regularizer=None, kernel_regularizer=None):
    """Two dense layers, the same weights every time."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    hid = layers.Dense(3, "tanh", name="hid", activity_regularizer=regularizer, kernel_regularizer=kernel_regularizer)
    return keras.Sequential([keras.Input((4,), name="data"), hid, layers.Dense(1, name="out")])


def functional():
    """A functional model with a nested block that is called twice."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    inside = [layers.Dense(3, name="a"), layers.BatchNormalization(name="norm"), layers.Dense(3, name="b")]
    block = keras.Sequential([keras.Input((3,)), *inside], name="block")
    data = keras.Input((4,), name="data")
    hid = layers.Dense(3, name="hid")(data)
    out = layers.Dense(1, name="out")(block(block(hid)))
    return keras.Model(data, layers.Activation("tanh", name="act")(out))


@keras.saving.register_keras_serializable(package="tests")
class Subclassed(keras.Model):
    """A model that says in code what follows what."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hid = keras.layers.Dense(3, "tanh", name="hid")
        self.out = keras.layers.Dense(1, name="out")

    def build(self, input_shape):
        self.hid.build(input_shape)
        self.out.build((None, 3))

    def call(self, x):
        return self.out(self.hid(x))


def regularized(model, jit_compile="auto", optimizer="still", **aliases):
    """A compiled model; its weights stay where the optimizer is still."""
    result = regkit_keras.Model(model, regkit.build(aliases), seed=1)
    optimizer = keras.optimizers.SGD(0.0) if optimizer == "still" else optimizer
    result.compile(optimizer, "mse", jit_compile=jit_compile)
    return result


def step(model, x=X, y=Y):
    model.reset_metrics()  # Keras 3.14 on JAX goes on with those of the step before
    return model.train_on_batch(x, y, return_dict=True)


def hidden(model, x=X):
    """The outputs of `hid`, by hand."""
    kernel, bias = model.get_layer("hid").get_weights()
    return np.tanh(x @ kernel + bias)


# Against Keras' own regularizers


@pytest.mark.parametrize("jit_compile", [True, False] if BACKEND == "jax" else [False])
@pytest.mark.parametrize(("alias", "keras_has"), [("hidden_l1", "L1"), ("hidden_l2", "L2")])
def test_three_epochs_give_the_weights_of_an_activity_regularizer(alias, keras_has, jit_compile):
    by_hand = network(getattr(keras.regularizers, keras_has)(0.1))
    by_hand.compile("adam", "mse", jit_compile=jit_compile)
    ours = regularized(network(), jit_compile, "adam", **{alias: dict(weight=0.1, reduction="batch")})
    for model in (by_hand, ours):
        keras.utils.set_random_seed(1)
        model.fit(X, Y, batch_size=8, epochs=3, verbose=0)
    untrained = network().get_weights()
    for expected, found, before in zip(by_hand.get_weights(), ours.model.get_weights(), untrained):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
        assert abs(found - before).max() > 1e-4


def test_three_epochs_give_the_weights_of_a_kernel_regularizer():
    by_hand = network(kernel_regularizer=keras.regularizers.L2(0.1))
    by_hand.compile("adam", "mse")
    ours = regularized(network(), "auto", "adam", weight_l2=dict(weight=0.1, pattern="hid/kernel"))
    for model in (by_hand, ours):
        keras.utils.set_random_seed(1)
        model.fit(X, Y, batch_size=8, epochs=3, verbose=0)
    for expected, found in zip(by_hand.get_weights(), ours.model.get_weights()):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("size", [8, 16])
def test_the_scale_of_an_activity_regularizer_is_that_of_reduction_batch(size):
    by_hand = network(keras.regularizers.L1(1.0))
    by_hand(X[:size])
    (theirs,) = by_hand.losses
    ours = step(regularized(network(), hidden_l1=dict(weight=1.0, reduction="batch")), X[:size], Y[:size])
    np.testing.assert_allclose(ours["hidden_l1"], keras.ops.convert_to_numpy(theirs), rtol=1e-6)


# What training has, and the rest has not


def test_the_loss_is_that_of_compile_plus_the_terms_of_the_history():
    model = regularized(network(), hidden_l1=0.1, weight_l2=0.2)
    history = model.fit(X, Y, batch_size=8, verbose=0, validation_data=(X, Y)).history
    kernels = [variable.numpy() for variable in model.model.weights if len(variable.shape) == 2]
    np.testing.assert_allclose(history["hidden_l1"], [0.1 * abs(hidden(model.model)).sum() / 3], rtol=1e-5)
    np.testing.assert_allclose(history["weight_l2"], [0.2 * sum((k**2).sum() for k in kernels) / 2], rtol=1e-5)
    clean = ((model.model.predict(X, verbose=0) - Y) ** 2).mean()
    np.testing.assert_allclose(history["val_loss"], [clean], rtol=1e-5)
    np.testing.assert_allclose(history["loss"][0], clean + history["hidden_l1"][0] + history["weight_l2"][0], rtol=1e-5)
    np.testing.assert_allclose(history["loss_without_penalties"], [clean], rtol=1e-5)
    assert set(history) == {"loss", "val_loss", "loss_without_penalties", "hidden_l1", "weight_l2"}


def test_batches_of_different_lengths_count_by_their_examples():
    model = regularized(network(), hidden_l1=dict(weight=1.0, reduction="batch"))
    history = model.fit(X, Y, batch_size=16, shuffle=False, verbose=0).history  # 16 examples and 8
    np.testing.assert_allclose(history["hidden_l1"], [abs(hidden(model.model)).sum() / len(X)], rtol=1e-5)
    clean = ((model.model.predict(X, verbose=0) - Y) ** 2).mean()
    np.testing.assert_allclose(history["loss_without_penalties"], [clean], rtol=1e-5)


def test_a_model_without_a_loss_trains_by_penalties_alone():
    plain = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="hid")])
    model = regkit_keras.Model(plain, regkit.build(hidden_l1=dict(weight=1.0, pattern="hid")))
    model.compile(keras.optimizers.SGD(0.0))
    shares = step(model, y=None)
    assert shares["loss_without_penalties"] == 0
    np.testing.assert_allclose(shares["loss"], shares["hidden_l1"], rtol=1e-6)


def test_within_another_model_the_terms_stay_in_the_loss():
    inner = regkit_keras.Model(network(), regkit.build(hidden_l1=0.5))
    outer = keras.Sequential([keras.Input((4,)), inner, keras.layers.Dense(1, kernel_initializer="zeros")])
    outer.compile(keras.optimizers.SGD(0.0), "mse")
    expected = (Y**2).mean() + 0.5 * abs(hidden(inner.model)).sum()
    np.testing.assert_allclose(step(outer)["loss"], expected, rtol=1e-5)
    np.testing.assert_allclose(outer.evaluate(X, Y, verbose=0), (Y**2).mean(), rtol=1e-5)


def test_the_loss_without_penalties_is_without_those_of_a_model_within():
    inner = regkit_keras.Model(network(), regkit.build(hidden_l1=0.5))
    outer = keras.Sequential([keras.Input((4,)), inner, keras.layers.Dense(1, kernel_initializer="zeros", name="last")])
    shares = step(regularized(outer, weight_l2=dict(weight=1.0, pattern="*/hid/kernel")))
    (kernel, _), penalty = inner.get_layer("hid").get_weights(), 0.5 * abs(hidden(inner.model)).sum()
    np.testing.assert_allclose(shares["loss_without_penalties"], (Y**2).mean(), rtol=1e-5)
    np.testing.assert_allclose(shares["loss"], (Y**2).mean() + penalty + (kernel**2).sum(), rtol=1e-5)


def test_layers_inputs_and_outputs_are_those_of_the_model():
    plain = functional()
    model = regularized(plain, hidden_l1=0.1)
    assert model.get_layer("hid") is plain.get_layer("hid") is model.get_layer(index=1)
    assert (model.layers, model.inputs, model.outputs) == (plain.layers, plain.inputs, plain.outputs)
    features = keras.Model(model.inputs, model.get_layer("hid").output)
    np.testing.assert_allclose(np.tanh(features.predict(X, verbose=0)), hidden(plain), rtol=1e-5, atol=1e-6)


def test_the_model_is_exported(tmp_path):
    model = regularized(network(), hidden_l1=0.1, hidden_dropout=0.5)
    if BACKEND == "torch":
        import torch

        model.export(tmp_path / "model.pt2", format="torch", verbose=False)
        found = torch.export.load(tmp_path / "model.pt2").module()(torch.tensor(X[:1])).detach().numpy()
    elif BACKEND == "tensorflow":
        import tensorflow as tf

        model.export(tmp_path / "model", verbose=False)
        loaded = tf.saved_model.load(tmp_path / "model")
        found = loaded.serve(X[:1])
    else:  # Keras on JAX exports with TensorFlow or jax2onnx, which are not here
        given = []
        model.model.export = lambda *args, **kwargs: given.append((args, kwargs))
        model.export("model.onnx", format="onnx", verbose=False)
        assert given == [(("model.onnx",), {"format": "onnx", "verbose": False})]
        return
    np.testing.assert_allclose(found, model.predict(X, verbose=0)[:1], rtol=1e-4, atol=1e-6)


def test_evaluate_and_predict_are_those_of_the_model_alone():
    plain = network()
    plain.compile("sgd", "mse")
    model = regularized(network(), hidden_dropout=0.5, hidden_l1=1.0)
    np.testing.assert_array_equal(model.predict(X, verbose=0), plain.predict(X, verbose=0))
    np.testing.assert_allclose(model.evaluate(X, Y, verbose=0), plain.evaluate(X, Y, verbose=0), rtol=1e-6)
    assert model.evaluate(X, Y, verbose=0, return_dict=True).keys() == {"loss"}


def test_a_change_that_holds_in_predictions_is_made_in_predict_and_evaluate():
    model = network()
    full = regularized(model, hidden_topk=dict(k=1, pattern="hid"), dropout=dict(weight=0.5, pattern="hid"))
    z = hidden(model)
    kept = np.where(z == z.max(axis=-1, keepdims=True), z, 0)
    kernel, bias = model.layers[-1].get_weights()
    np.testing.assert_allclose(full.predict(X, verbose=0), kept @ kernel + bias, rtol=1e-4, atol=1e-6)
    expected = ((kept @ kernel + bias - Y) ** 2).mean()
    np.testing.assert_allclose(full.evaluate(X, Y, verbose=0), expected, rtol=1e-4)


def test_the_model_keeps_nothing_of_having_been_trained():
    plain = network()
    before = [set(vars(layer)) for layer in plain.layers]
    step(regularized(plain, hidden_dropout=0.5))
    for layer, names in zip(plain.layers, before):
        assert not {"call", "rematerialized_call"} & (set(vars(layer)) - names)


def test_the_weights_are_those_of_the_model():
    plain = network()
    model = regularized(plain, "auto", "sgd", weight_l2=regkit.Live(0.1))
    assert [id(weight) for weight in model.weights] == [id(weight) for weight in plain.weights]
    before = plain.get_weights()
    step(model)
    assert all((now != then).any() for now, then in zip(plain.get_weights(), before))


def test_dropout_draws_anew_at_each_step_and_the_same_from_the_same_seed():
    model = regularized(network(), hidden_dropout=0.5)
    losses = [step(model)["loss"] for _ in range(4)]
    assert len(set(losses)) == 4
    again = regularized(network(), hidden_dropout=0.5)
    assert [step(again)["loss"] for _ in range(4)] == losses


def test_the_noise_of_each_step_of_one_compiled_epoch_differs():
    seen = []

    class Note(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(logs["hidden_l1"])

    model = regularized(network(), hidden_noise=0.5, hidden_l1=1.0)
    model.fit(np.repeat(X[:1], 24, axis=0), np.repeat(Y[:1], 24, axis=0), batch_size=1, verbose=0, callbacks=[Note()])
    assert len({round(value, 6) for value in seen}) == 24


def test_masks_and_activity_regularizers_see_what_has_become_of_an_output():
    plain = network(keras.regularizers.L1(1.0))
    model = regkit_keras.Model(plain, regkit.build(hidden_dropout=0.5), seed=1)
    model(X, training=True)
    (penalty,) = model.losses
    assert abs(keras.ops.convert_to_numpy(penalty) - abs(hidden(plain)).sum() / len(X)) > 1e-3


# Live weights


def test_a_live_weight_changes_the_next_step_without_compiling_again():
    traced = []

    class Counting(keras.layers.Layer):
        def call(self, x):
            traced.append(1)
            return x

    weight = regkit.Live(0.0)
    plain = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="hid"), Counting(), keras.layers.Dense(1)])
    model = regularized(plain, weight_l2=weight)
    shares = [step(model)["weight_l2"]]
    after_the_first = len(traced)
    for value in (1.0, 3.0):
        weight.set(value)
        shares.append(step(model)["weight_l2"])
    assert shares[0] == 0
    assert shares[1] > 0
    np.testing.assert_allclose(shares[2], 3 * shares[1], rtol=1e-6)
    if BACKEND == "jax":
        assert len(traced) == after_the_first


def test_a_live_weight_that_a_callback_sets_counts_in_the_same_epoch():
    weight = regkit.Live(0.0)
    losses = []

    class Raise(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            losses.append(logs["weight_l2"])
            weight.set(batch + 1.0)

    model = regularized(network(), weight_l2=weight)
    model.fit(X, Y, batch_size=8, verbose=0, callbacks=[Raise()])
    one = losses[1] * 2  # the mean of 0 and it
    np.testing.assert_allclose(losses, [0, one / 2, (0 + one + 2 * one) / 3], rtol=1e-5)


@pytest.mark.skipif(BACKEND != "jax", reason="torch computes each step as it is written")
def test_a_live_weight_in_a_step_that_the_user_traces_is_an_error():
    import jax

    model = regkit_keras.Model(network(), regkit.build(weight_l2=regkit.Live(0.1)))
    state = [[variable.value for variable in v] for v in (model.trainable_variables, model.non_trainable_variables)]
    with pytest.raises(
        regkit.GraphError, match="which JAX would keep as it is now: this is not a training step of the model"
    ):
        jax.jit(lambda *state: model.stateless_call(*state, X, training=True, return_losses=True)[2])(*state)


# Several devices


@pytest.mark.skipif(BACKEND == "torch", reason="Keras on PyTorch leaves several devices to the user")
def test_two_devices_train_as_one(tmp_path):
    found = []
    for devices in ("1", "2"):
        file = tmp_path / f"{devices}.npz"
        subprocess.run([sys.executable, Path(__file__).with_name("on_devices.py"), devices, file], check=True)
        found.append(np.load(file))
    assert set(found[0]) == set(found[1])
    for name, expected in found[0].items():
        np.testing.assert_allclose(found[1][name], expected, rtol=1e-4, atol=1e-6, err_msg=name)


# Penalties of derivatives


@pytest.mark.parametrize("jit_compile", [True, False] if BACKEND == "jax" else [False])
def test_contractive_is_the_squared_norm_of_the_jacobian(jit_compile):
    plain = network()
    kernel, _ = plain.get_layer("hid").get_weights()
    jacobians = (1 - hidden(plain) ** 2)[:, :, None] * kernel.T
    shares = step(regularized(plain, jit_compile, contractive=dict(weight=1.0, reduction="batch")))
    np.testing.assert_allclose(shares["contractive"], (jacobians**2).sum() / len(X), rtol=1e-5)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="others compile derivatives by the data")
def test_contractive_is_not_compiled_by_xla_on_tensorflow():
    with pytest.warns(UserWarning, match="Proceeding with `jit_compile=False`"):
        model = regularized(network(), True, contractive=1.0)
    kernel, _ = model.get_layer("hid").get_weights()
    jacobians = (1 - hidden(model.model) ** 2)[:, :, None] * kernel.T
    np.testing.assert_allclose(step(model)["contractive"], (jacobians**2).sum(), rtol=1e-5)


def test_contractive_takes_data_of_any_precision():
    model = regularized(network(), contractive=dict(weight=1.0, reduction="batch"))
    kernel, _ = model.get_layer("hid").get_weights()
    jacobians = (1 - hidden(model.model) ** 2)[:, :, None] * kernel.T
    share = model.train_on_batch(X.astype("float64"), Y.astype("float64"), return_dict=True)["contractive"]
    np.testing.assert_allclose(share, (jacobians**2).sum() / len(X), rtol=1e-5)


def test_contractive_with_a_pattern_asks_for_wrt_alone():
    model = regularized(network(), contractive=dict(weight=1.0, pattern="hid"))
    with pytest.raises(regkit.NoMatchError) as caught:
        step(model)
    assert str(caught.value).endswith("is not among the outputs: hid. Pass wrt")


def test_computing_the_network_again_leaves_no_trace_in_its_state_or_losses():
    def build():
        keras.utils.set_random_seed(0)
        layers = keras.layers
        inner = [
            layers.Dense(3, name="hid", activity_regularizer=keras.regularizers.L1(0.1)),
            layers.BatchNormalization(name="norm"),
            layers.Dropout(0.5, seed=3),
        ]
        return keras.Sequential([keras.Input((4,), name="data"), *inner, layers.Dense(1)])

    plain, ours = build(), build()
    plain.compile(keras.optimizers.SGD(0.0), "mse")
    model = regularized(ours, contractive=dict(weight=0.0, pattern="hid", wrt="data"))
    np.testing.assert_allclose(step(model)["loss"], step(plain)["loss"], rtol=1e-6)
    for found, expected in zip(ours.get_layer("norm").get_weights(), plain.get_layer("norm").get_weights()):
        np.testing.assert_allclose(found, expected, rtol=1e-6)


# Names


def test_layers_go_by_paths_and_roles():
    model = functional()
    assert list(find_paths(model)) == ["hid", "block", "block/a", "block/norm", "block/b", "out", "act"]
    layers = Described().layers(model, input_names(model, X))
    roles = {"data": "input", "hid": "hidden", "block/a": "hidden", "block/b": "hidden", "out": "output"}
    assert {layer.output_name: layer.role for layer in layers} == roles
    assert layers[2].param_names == ("block/a/kernel", "block/a/bias", "block/norm/gamma", "block/norm/beta")


def test_a_layer_that_is_called_twice_has_two_outputs():
    model = functional()
    hid = keras.Model(model.input, model.get_layer("hid").output).predict(X, verbose=0)
    first = model.get_layer("block").predict(hid, verbose=0)
    block = model.get_layer("block")
    block.trainable = False  # so that its normalization does in training what it does in predictions
    shares = step(regularized(model, hidden_l1=dict(weight=1.0, pattern="block")))
    expected = (abs(first).sum() + abs(block.predict(first, verbose=0)).sum()) / 2
    np.testing.assert_allclose(shares["hidden_l1"], expected, rtol=1e-4)


def test_a_subclassed_model_trains_by_patterns_and_shows_its_input():
    model = regularized(
        Subclassed(),
        hidden_l1=dict(weight=1.0, pattern="hid"),
        input_noise=dict(weight=0.5, pattern="input"),
        weight_l2=dict(weight=1.0, pattern="hid/kernel"),
    )
    shares = step(model)
    plain = abs(hidden_of(model.model)).sum()
    assert abs(shares["hidden_l1"] - plain) > 1e-2
    np.testing.assert_allclose(shares["weight_l2"], (model.model.hid.get_weights()[0] ** 2).sum(), rtol=1e-5)


def test_an_optional_input_may_be_left_out():
    class Add(keras.layers.Layer):
        def call(self, x, other):
            return x if other is None else x + other

    keras.utils.set_random_seed(0)
    data, other = (keras.Input((4,), name=name, optional=name == "other") for name in ("data", "other"))
    hid = keras.layers.Dense(3, "tanh", name="hid")(Add()(data, other))
    plain = keras.Model({"data": data, "other": other}, keras.layers.Dense(1, name="out")(hid))
    inputs = {"data": X, "other": None}
    model = regularized(plain, hidden_l1=1.0, hidden_topk=dict(k=1, pattern="hid"))
    kept = hidden(plain).max(axis=1, keepdims=True)
    np.testing.assert_allclose(step(model, inputs)["hidden_l1"], abs(kept).sum(), rtol=1e-5)
    only = np.where(hidden(plain) == kept, kept, 0)
    kernel, bias = plain.get_layer("out").get_weights()
    np.testing.assert_allclose(model.predict(inputs, verbose=0), only @ kernel + bias, rtol=1e-4, atol=1e-6)


def hidden_of(model):
    kernel, bias = model.hid.get_weights()
    return np.tanh(X @ kernel + bias)


def test_a_recurrent_layer_counts_as_one_and_several_outputs_are_numbered():
    layers = keras.layers
    tokens = keras.Input((5,), dtype="int32", name="tokens")
    steps, last, _ = layers.LSTM(3, return_sequences=True, return_state=True, name="lstm")(
        layers.Embedding(10, 4, name="words")(tokens)
    )
    plain = keras.Model(tokens, layers.Dense(1, name="out")(last))
    data = np.random.default_rng(0).integers(0, 10, size=(24, 5))
    expected = keras.Model(tokens, [steps, last]).predict(data, verbose=0)
    model = regularized(
        plain,
        hidden_l1=[dict(weight=1.0, pattern="lstm:0"), dict(weight=1.0, pattern="lstm:1")],
        weight_l2=dict(weight=1.0, pattern="lstm/lstm_cell/recurrent_kernel"),
        hidden_l2=0.1,
    )
    shares = step(model, data)
    np.testing.assert_allclose(shares["hidden_l1"], abs(expected[0]).sum(), rtol=1e-5)
    np.testing.assert_allclose(shares["hidden_l1[1]"], abs(expected[1]).sum(), rtol=1e-5)


@pytest.mark.skipif(
    keras.config.backend() == "tensorflow", reason="Keras cannot rematerialize within a tf.function: custom_gradient"
)
def test_rematerialized_layers_give_the_same():
    with keras.RematScope(mode="full"):
        rematerialized = network()
    aliases = dict(hidden_l1=0.1, hidden_dropout=0.5)
    ours, expected = (
        regularized(rematerialized, "auto", "sgd", **aliases),
        regularized(network(), "auto", "sgd", **aliases),
    )
    for _ in range(2):
        np.testing.assert_allclose(step(ours)["loss"], step(expected)["loss"], rtol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains_and_penalizes_weights_in_their_own_precision(policy):
    keras.config.set_dtype_policy(policy)
    try:
        plain = network()
    finally:
        keras.config.set_dtype_policy("float32")
    model = regularized(
        plain, "auto", "sgd", hidden_l1=0.01, hidden_dropout=0.2, weight_l2=dict(weight=1.0, pattern="hid/*")
    )
    kernel = plain.get_layer("hid").get_weights()[0]
    np.testing.assert_allclose(step(model)["weight_l2"], (kernel**2).sum(), rtol=1e-6)
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer) == (policy == "mixed_float16")


def test_a_model_of_float64_trains():
    keras.config.set_floatx("float64")
    try:
        model = regularized(network(), hidden_l1=1.0, weight_l2=regkit.Live(0.5))
        shares = step(model, X.astype("float64"), Y.astype("float64"))
    finally:
        keras.config.set_floatx("float32")
    kernels = [weight for weight in model.model.get_weights() if weight.ndim == 2]
    np.testing.assert_allclose(shares["hidden_l1"], abs(hidden(model)).sum(), rtol=1e-5)
    np.testing.assert_allclose(shares["weight_l2"], 0.5 * sum((one**2).sum() for one in kernels) / 2, rtol=1e-5)
    np.testing.assert_allclose(shares["loss"], sum(one for name, one in shares.items() if name != "loss"), rtol=1e-6)


# Quantized layers


def quantized(mode):
    """A network of which a layer is quantized, with matrices of low rank that are trained for `lora`."""
    plain = network()
    hid = plain.get_layer("hid")
    if mode == "lora":
        hid.enable_lora(2)
        hid.lora_kernel_b.assign(np.full((2, 3), 0.5, "float32"))
    hid.quantize("int8" if mode == "lora" else mode)
    return plain


@pytest.mark.parametrize("mode", ["int8", "float8", "lora"])
def test_the_output_of_a_quantized_layer_is_penalized_and_changed(mode):
    plain = quantized(mode)
    expected = abs(keras.ops.convert_to_numpy(plain.get_layer("hid")(X))).sum()
    np.testing.assert_allclose(step(regularized(plain, hidden_l1=1.0))["hidden_l1"], expected, rtol=1e-5)
    dropped = step(regularized(plain, hidden_l1=1.0, hidden_dropout=0.5))["hidden_l1"]
    assert abs(dropped - expected) > 1e-2


@pytest.mark.parametrize("mode", ["int8", "float8", "lora"])
def test_of_a_quantized_layer_the_matrices_of_floats_that_are_trained_count(mode):
    plain = quantized(mode)
    names = {"int8": ["out/kernel"], "float8": ["hid/kernel", "out/kernel"]}.get(
        mode, ["hid/lora_kernel_a", "hid/lora_kernel_b", "out/kernel"]
    )
    matrices = [getattr(plain.get_layer(layer), name).numpy() for layer, name in (one.split("/") for one in names)]
    expected = np.mean([(matrix**2).sum() for matrix in matrices])
    np.testing.assert_allclose(step(regularized(plain, weight_l2=1.0))["weight_l2"], expected, rtol=1e-5)


def test_a_pattern_for_a_kernel_of_integers_is_an_error():
    model = regularized(quantized("int8"), weight_l2=dict(weight=0.1, pattern="hid/kernel"))
    assert refusal(regkit.NoMatchError, lambda: step(model)) == (
        "weight_l2: pattern 'hid/kernel' matches none of the trained weights: hid/bias, out/kernel, out/bias"
    )


# Saving


@pytest.mark.parametrize("make", [network, functional, Subclassed])
def test_a_saved_model_is_what_it_was(make, tmp_path):
    aliases = dict(hidden_l1=dict(weight=0.1, pattern="hid"), weight_l2=dict(weight=0.5, pattern="hid/kernel"))
    model = regularized(make(), "auto", "adam", **aliases)
    model.fit(X, Y, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(X, verbose=0), model.predict(X, verbose=0), rtol=1e-6)
    assert loaded.regularizers.config() == model.regularizers.config()
    np.testing.assert_allclose(step(loaded)["loss"], step(model)["loss"], rtol=1e-5)


def test_the_model_within_is_saved_without_regkit(tmp_path):
    model = regularized(network(), "auto", "adam", hidden_l1=0.1)
    model.fit(X, Y, verbose=0)
    model.model.save(tmp_path / "plain.keras")
    plain = keras.saving.load_model(tmp_path / "plain.keras")
    np.testing.assert_allclose(plain.predict(X, verbose=0), model.predict(X, verbose=0), rtol=1e-6)


def test_a_clone_has_its_own_weights_and_the_same_regularizers():
    model = regularized(network(), hidden_l1=0.1)
    clone = keras.models.clone_model(model)
    assert clone.regularizers.config() == model.regularizers.config()
    assert clone.model.get_layer("hid").kernel is not model.model.get_layer("hid").kernel


# Bad input


def refusal(kind, call):
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize("alias", ["hidden_l1", "hidden_dropout"])
def test_a_pattern_that_matches_no_layer_names_the_layers_there_are(alias):
    model = regularized(network(), **{alias: dict(weight=0.1, pattern="hidd")})
    assert refusal(regkit.NoMatchError, lambda: model.fit(X, Y, verbose=0)) == (
        f"{alias}: pattern 'hidd' matches none of the outputs: data, hid, out"
    )


def test_a_pattern_that_matches_no_weight_names_the_weights():
    model = regularized(network(), weight_l2=dict(weight=0.1, pattern="hidd/*"))
    assert refusal(regkit.NoMatchError, lambda: model.fit(X, Y, verbose=0)) == (
        "weight_l2: pattern 'hidd/*' matches none of the trained weights: hid/kernel, hid/bias, out/kernel, out/bias"
    )


def test_a_glob_that_takes_out_a_layer_of_a_subclassed_model_still_needs_one_that_selects():
    model = regularized(Subclassed(), hidden_l1=dict(weight=0.1, pattern="!out"))
    assert refusal(regkit.OptionError, lambda: step(model)) == (
        "hidden_l1: HiddenL1 needs a pattern. A subclassed model does not define which of its layers are hidden. Name "
        "some: hidden_l1=dict(weight=..., pattern='input'). There is: input, hid, out"
    )


@pytest.mark.skipif(
    BACKEND == "torch", reason="a torch Run keeps the outputs that patterns match, by their first names"
)
@pytest.mark.parametrize("pattern", ["hid@1", "hid@*"])
def test_a_pattern_may_mean_a_later_call_alone(pattern):
    layers = keras.layers
    data, hid = keras.Input((3,), name="data"), layers.Dense(3, name="hid")
    plain = keras.Model(data, layers.Dense(1, name="out")(hid(hid(data))))
    kernel, bias = hid.get_weights()
    expected = abs((X[:, :3] @ kernel + bias) @ kernel + bias).sum()
    shares = step(regularized(plain, hidden_l1=dict(weight=1.0, pattern=pattern)), X[:, :3])
    np.testing.assert_allclose(shares["hidden_l1"], expected, rtol=1e-5)


def test_data_of_integers_are_an_error_only_where_a_pattern_matches_them():
    tokens = keras.Input((5,), dtype="int32", name="tokens")
    words = keras.layers.Flatten()(keras.layers.Embedding(10, 4, name="words")(tokens))
    plain = keras.Model(tokens, keras.layers.Dense(1, name="out")(words))
    data = np.zeros((24, 5), "int32")
    for pattern in ("tokens", "*"):
        said = refusal(
            regkit.GraphError, lambda p=pattern: step(regularized(plain, hidden_l1=dict(weight=1.0, pattern=p)), data)
        )
        assert "output 'tokens' is of " in said
    shares = step(regularized(plain, hidden_l1=dict(weight=1.0, pattern=["*", "!tokens", "!out", "!flatten*"])), data)
    np.testing.assert_allclose(
        shares["hidden_l1"], 24 * 5 * abs(plain.get_layer("words").get_weights()[0][0]).sum(), rtol=1e-5
    )


def test_symbolic_tensors_are_no_expressions():
    said = refusal(
        regkit.GraphError,
        lambda: regkit.build(hidden_l1=dict(weight=1, pattern="a")).loss([], {"a": keras.Input((3,), name="a")}),
    )
    assert "KerasTensor is not an expression of a supported library" in said


def test_a_model_with_a_training_step_of_its_own_is_refused():
    class Own(Subclassed):
        def train_step(self, *args):
            return {}

    assert refusal(regkit.GraphError, lambda: regkit_keras.Model(Own(), regkit.build(weight_l2=0.1))) == (
        "Own has a train_step of its own, which would not be called where another model trains it. Give it to a "
        "subclass of regkit_keras.Model"
    )


def test_a_model_that_has_regularizers_is_not_given_more():
    model = regkit_keras.Model(network(), regkit.build(weight_l2=0.1))
    assert "has regularizers already" in refusal(regkit.GraphError, lambda: regkit_keras.Model(model, regkit.build()))


@pytest.mark.parametrize("name", ["hidden_l1", "loss_without_penalties"])
def test_a_metric_with_the_name_of_a_term_is_an_error(name):
    model = regkit_keras.Model(network(), regkit.build(hidden_l1=0.1))
    model.compile("sgd", "mse", metrics=[keras.metrics.MeanSquaredError(name=name)])
    assert refusal(regkit.OptionError, lambda: step(model)) == (
        f"a metric of the model is named {name!r}, as is what regularizers add to the history. Give the metric "
        "another name"
    )


def test_a_model_that_predicts_by_other_outputs_than_those_of_the_network_is_not_exported():
    model = regkit_keras.Model(network(), regkit.build(hidden_topk=dict(k=1, pattern="hid")))
    assert refusal(regkit.GraphError, lambda: model.export("model.onnx", format="onnx")) == (
        "hidden_topk changes outputs in predictions too, and what is exported is the model without it. Export a model "
        "that has this as a layer"
    )


def test_arguments_of_other_kinds_are_refused():
    assert refusal(regkit.OptionError, lambda: regkit_keras.Model(network(), 0.1)) == (
        "Model got regs=0.1; accepted: a set of regularizers, which regkit.build returns"
    )
    assert refusal(regkit.OptionError, lambda: regkit_keras.Model(abs, regkit.build())) == (
        "Model got model=<built-in function abs>; accepted: a keras.Model"
    )


@pytest.mark.parametrize("name", ["openvino", "numpy"])
def test_another_backend_is_refused_by_name(monkeypatch, name):
    plain = network()
    monkeypatch.setattr(keras.config, "backend", lambda: name)
    assert refusal(regkit.GraphError, lambda: regkit_keras.Model(plain, regkit.build())) == (
        f"Keras runs on {name}; regkit_keras works on its backends jax, tensorflow, torch. Set KERAS_BACKEND, such "
        "as KERAS_BACKEND=jax, before Keras is imported"
    )


def test_a_backend_without_its_engine_says_what_to_install(monkeypatch):
    import sys

    plain = network()
    monkeypatch.setitem(sys.modules, f"regkit_{BACKEND}", None)
    assert refusal(regkit.GraphError, lambda: regkit_keras.Model(plain, regkit.build())) == (
        f"Keras runs on {BACKEND}, whose arrays come with the distribution regkit-{BACKEND}; in a checkout of "
        f"regkit: pip install ./plugins/regkit-{BACKEND}"
    )


def test_parts_of_keras_that_are_not_there_are_named(monkeypatch):
    plain = network()
    monkeypatch.delattr(keras.Layer, "_maybe_reset_call_context")
    monkeypatch.delattr(plain.inputs[0], "_keras_history")
    assert refusal(regkit.PluginLoadError, lambda: regkit_keras.Model(plain, regkit.build())) == (
        f"regkit_keras does not work with Keras {keras.__version__}: keras.Layer._maybe_reset_call_context, "
        f"keras.KerasTensor._keras_history are not there. It was tested with Keras {TESTED}. Install one of "
        "them, or a later regkit-keras"
    )


def test_two_layers_of_one_path_are_refused():
    class Twins(keras.Model):
        def __init__(self):
            super().__init__()
            self.one, self.two = (keras.layers.Dense(2, name="twin") for _ in range(2))

        def call(self, x):
            return self.two(self.one(x))

    model = regularized(Twins(), weight_l2=0.1)
    assert refusal(regkit.GraphError, lambda: step(model, y=np.zeros((24, 2)))) == (
        "two layers of the model are named 'twin'. Give each a name of its own"
    )


def test_the_page_says_what_it_was_tested_with():
    page = Path(__file__).parents[1] / "README.md"
    assert f"tested with Keras {TESTED}" in " ".join(page.read_text(encoding="utf-8").split())


def test_layers_that_are_frozen_or_added_between_trainings_are_seen():
    ones = dict(use_bias=False, kernel_initializer="ones")
    plain = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, **ones), keras.layers.Dense(4, **ones)])
    model = regkit_keras.Model(plain, regkit.build(weight_l2=1.0))

    def share():
        model.compile(keras.optimizers.SGD(0.0), "mse")
        return model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0).history["weight_l2"][0]

    np.testing.assert_allclose(share(), (6 + 12) / 2)
    plain.layers[0].trainable = False
    np.testing.assert_allclose(share(), 12)
    plain.layers[0].trainable = True
    plain.add(keras.layers.Dense(1, **ones))
    np.testing.assert_allclose(share(), (6 + 12 + 4) / 3, rtol=1e-6)
