"""Regularizers in Keras' own places, on the backend that KERAS_BACKEND says: values by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import regkit_keras

import regkit

X = np.random.default_rng(0).normal(size=(24, 4)).astype("float32")


def network(name="hid", **places):
    keras.utils.set_random_seed(0)
    hid = keras.layers.Dense(3, "tanh", name=name, bias_initializer="ones", **places)
    return keras.Sequential([keras.Input((4,)), hid, keras.layers.Dense(1, name="out")])


def penalty(model, x=X):
    """What the regularizers of a model add to its loss in a step that changes nothing."""
    model.compile(keras.optimizers.SGD(0.0), lambda y, predicted: 0 * predicted)
    return model.train_on_batch(x, np.ones((len(x), 1)), return_dict=True)["loss"]


def l1(model, x=X):
    """The sum of the absolute outputs of `hid`, by hand."""
    kernel, bias = model.get_layer("hid").get_weights()
    return abs(np.tanh(x @ kernel + bias)).sum()


@pytest.mark.parametrize("size", [6, 24])
@pytest.mark.parametrize("reduction", ["sum", "batch", "mean"])
def test_an_activity_has_the_penalty_of_the_formula_whatever_the_batch(reduction, size):
    options = dict(weight=0.1, reduction=reduction)
    model = network(activity_regularizer=regkit_keras.regularizer("hidden_l1", options))
    divisor = {"sum": 1, "batch": size, "mean": 3 * size}[reduction]
    np.testing.assert_allclose(penalty(model, X[:size]), 0.1 * l1(model, X[:size]) / divisor, rtol=1e-5)


def test_kernels_and_biases_have_the_penalty_of_the_formula():
    model = network(
        kernel_regularizer=regkit_keras.regularizer("weight_l2", 0.5),
        bias_regularizer=regkit_keras.regularizer("weight_l1", 0.25),
    )
    kernel, bias = model.get_layer("hid").get_weights()
    np.testing.assert_allclose(penalty(model), 0.5 * (kernel**2).sum() + 0.25 * abs(bias).sum(), rtol=1e-5)


def test_on_one_layer_it_counts_as_in_the_model_and_on_several_it_is_a_sum():
    options = dict(weight=0.1, reduction="batch")
    one = network(activity_regularizer=regkit_keras.regularizer("hidden_l1", options))
    around = regkit_keras.Model(network(), regkit.build(hidden_l1=dict(options, pattern="hid")))
    np.testing.assert_allclose(penalty(one), penalty(around), rtol=1e-5)
    two = network(activity_regularizer=regkit_keras.regularizer("hidden_l1", options))
    two.get_layer("out").activity_regularizer = regkit_keras.regularizer("hidden_l1", options)
    around = regkit_keras.Model(network(), regkit.build(hidden_l1=dict(options, pattern=["hid", "out"])))
    np.testing.assert_allclose(penalty(two), 2 * penalty(around), rtol=1e-5)


def test_it_is_trained_with_as_keras_own_is():
    weights = []
    for regularizer in (
        keras.regularizers.L1(0.1),
        regkit_keras.regularizer("hidden_l1", {"weight": 0.1, "reduction": "batch"}),
    ):
        model = network(activity_regularizer=regularizer)
        model.compile(keras.optimizers.SGD(0.1), "mse")
        model.fit(X, X[:, :1], batch_size=8, epochs=2, shuffle=False, verbose=0)
        weights.append(model.get_weights())
    for theirs, ours in zip(*weights):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_it_is_saved_loaded_and_cloned_with_its_layer(tmp_path):
    model = network(activity_regularizer=regkit_keras.regularizer("hidden_l1", dict(weight=0.1, reduction="batch")))
    model.save(tmp_path / "model.keras")
    expected = 0.1 * l1(model) / len(X)
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(penalty(loaded), expected, rtol=1e-5)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    np.testing.assert_allclose(penalty(clone), expected, rtol=1e-5)
    again = keras.regularizers.get(keras.regularizers.serialize(model.get_layer("hid").activity_regularizer))
    assert again.get_config() == {"alias": "hidden_l1", "options": {"weight": 0.1, "reduction": "batch"}}


def test_a_penalty_of_half_precision_is_computed_in_single():
    layer = keras.layers.Dense(
        100,
        kernel_initializer="ones",
        dtype="mixed_float16",
        activity_regularizer=regkit_keras.regularizer("hidden_l2", 1.0),
    )
    layer(np.ones((70, 10), "float32"))  # 7000 units of 10, of which the squares add up to more than 65504
    assert keras.ops.convert_to_numpy(layer.losses[0]) == 700_000


# Bad input


def refusal(kind, call):
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize(
    ("alias", "value", "kind", "words"),
    [
        ("hidden_l1", dict(weight=0.1, pattern="hid"), regkit.OptionError, "takes the place of a pattern"),
        ("hidden_l1", [0.1, 0.2], regkit.OptionError, "accepted: a number or a mapping of options"),
        ("hidden_l1", None, regkit.OptionError, "accepted: a number or a mapping of options"),
        ("hidden_l1", regkit.Live(0.1), regkit.OptionError, "hidden_l1: a live weight cannot change in a step"),
        ("hidden_dropout", 0.1, regkit.GraphError, "hidden_dropout changes outputs"),
        ("hidden_topk", 0.1, regkit.GraphError, "hidden_topk changes outputs"),
        (
            "weight_l1",
            dict(weight=0.1, by="proximal"),
            regkit.GraphError,
            "changes parameters after an optimizer's step",
        ),
        ("contractive", 0.1, regkit.GraphError, "contractive: the penalty is not a function of one tensor. Use "),
        (
            "weight_distance",
            dict(weight=0.1, reference={"hid/kernel": [[1.0]]}),
            regkit.GraphError,
            "weight_distance: the penalty is not a function of one tensor. Use regkit_keras.Model",
        ),
    ],
)
def test_what_is_not_the_penalty_of_one_tensor_is_refused(alias, value, kind, words):
    assert words in refusal(kind, lambda: regkit_keras.regularizer(alias, value))


def test_a_penalty_of_outputs_is_refused_for_a_weight():
    model = network(kernel_regularizer=regkit_keras.regularizer("hidden_l1", 0.1))
    assert refusal(regkit.GraphError, lambda: penalty(model)) == (
        "hidden_l1 penalizes outputs, and was called for a weight. Give it to a layer as activity_regularizer"
    )


def test_a_penalty_of_weights_is_refused_for_an_activity():
    model = network(activity_regularizer=regkit_keras.regularizer("weight_l2", 0.1))
    assert refusal(regkit.GraphError, lambda: penalty(model)) == (
        "weight_l2 penalizes weights, and was called for an activity. Give it to a layer as kernel_regularizer"
    )
