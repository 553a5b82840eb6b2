"""Penalties without padding and without examples of weight 0, on the backend that KERAS_BACKEND says: by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import regkit_keras

import regkit

X = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")
WEIGHTS = np.array([1, 0, 2, 1, 0, 1], "float32")
TOKENS = np.array([[1, 2, 3, 4], [5, 6, 0, 0], [7, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 0]])


def network():
    keras.utils.set_random_seed(0)
    dense = keras.layers.Dense
    return keras.Sequential([keras.Input((4,)), dense(3, "tanh", name="hid"), dense(2, name="out")])


def sequences():
    """A model of padded tokens, and its hidden states."""
    keras.utils.set_random_seed(0)
    tokens = keras.Input((4,), dtype="int32", name="tokens")
    embedded = keras.layers.Embedding(10, 3, mask_zero=True, name="embedding")(tokens)
    hid = keras.layers.Dense(5, "tanh", name="hid")(embedded)
    out = keras.layers.Dense(1, name="out")(keras.layers.GlobalAveragePooling1D()(hid))
    return keras.Model(tokens, out), keras.Model(tokens, hid).predict(TOKENS, verbose=0)


def masked(model, **aliases):
    result = regkit_keras.Model(model, regkit.build(aliases), mask=True)
    result.compile(keras.optimizers.SGD(0.0), "mse")
    return result


def step(model, x, y, sample_weight=None):
    return model.train_on_batch(x, y, sample_weight=sample_weight, return_dict=True)


@pytest.mark.parametrize("reduction", ["sum", "batch", "mean"])
def test_examples_of_weight_0_are_as_if_they_were_not_there(reduction):
    plain = network()
    options = dict(weight=0.5, reduction=reduction)
    model = masked(plain, hidden_l1=options, hidden_l2=dict(options, pattern=["hid", "out"]), weight_l2=0.5)
    shares = step(model, X, X[:, :2], WEIGHTS)
    (w, b), (v, c) = (layer.get_weights() for layer in plain.layers)
    hid = np.tanh(X @ w + b)[WEIGHTS != 0]
    out = hid @ v + c
    of_hid, of_out = {"sum": (1, 1), "batch": (4, 4), "mean": (12, 8)}[reduction]
    np.testing.assert_allclose(shares["hidden_l1"], 0.5 * abs(hid).sum() / of_hid, rtol=1e-5)
    expected = 0.5 * ((hid**2).sum() / of_hid + (out**2).sum() / of_out) / 2
    np.testing.assert_allclose(shares["hidden_l2"], expected, rtol=1e-5)
    np.testing.assert_allclose(shares["weight_l2"], 0.5 * ((w**2).sum() + (v**2).sum()) / 2, rtol=1e-5)
    parts = sum(share for name, share in shares.items() if name != "loss")
    np.testing.assert_allclose(shares["loss"], parts, rtol=1e-5)


@pytest.mark.parametrize("sample_weight", [None, np.array([1, 1, 0, 1, 1], "float32")], ids=["all", "weights"])
@pytest.mark.parametrize("reduction", ["sum", "batch", "mean"])
def test_padding_is_as_if_it_were_not_there(reduction, sample_weight):
    plain, states = sequences()
    model = masked(plain, hidden_l1=dict(weight=0.5, reduction=reduction, pattern="hid"))
    kept = TOKENS != 0
    if sample_weight is not None:
        kept = kept & (sample_weight != 0)[:, None]
    divisor = {"sum": 1, "batch": kept.any(axis=1).sum(), "mean": kept.sum() * 5}[reduction]
    shares = step(model, TOKENS, np.ones((5, 1)), sample_weight)
    np.testing.assert_allclose(shares["hidden_l1"], 0.5 * abs(states[kept]).sum() / divisor, rtol=1e-5)


@pytest.mark.parametrize("reduction", ["sum", "batch", "mean"])
def test_padding_of_what_attention_takes_is_as_if_it_were_not_there(reduction):
    keras.utils.set_random_seed(0)
    tokens = keras.Input((4,), dtype="int32")
    embedded = keras.layers.Embedding(10, 3, mask_zero=True, name="embedding")(tokens)
    hid = keras.layers.Dense(5, "tanh", name="hid")(embedded)
    mixed = keras.layers.MultiHeadAttention(1, 2, name="attention")(hid, hid)  # which takes the mask off its inputs
    plain = keras.Model(tokens, keras.layers.Dense(1)(keras.layers.Flatten()(mixed)))
    model = masked(plain, hidden_l1=dict(weight=0.5, reduction=reduction, pattern="hid"))
    kept, states = TOKENS != 0, keras.Model(tokens, hid).predict(TOKENS, verbose=0)
    divisor = {"sum": 1, "batch": kept.any(axis=1).sum(), "mean": kept.sum() * 5}[reduction]
    for _ in range(2):
        found = step(model, TOKENS, np.ones((5, 1)))["hidden_l1"]
        np.testing.assert_allclose(found, 0.5 * abs(states[kept]).sum() / divisor, rtol=1e-5)


STEPS = np.random.default_rng(1).normal(size=(3, 4, 2)).astype("float32")
AT_STEPS = np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 2, 1, 1]], "float32")


def positions():
    """A model with an output at each position, and its hidden values there."""
    keras.utils.set_random_seed(0)
    data = keras.Input((4, 2))
    hid = keras.layers.Dense(5, "tanh", name="hid")(data)
    shorter = keras.layers.AveragePooling1D(2, name="shorter")(hid)
    last = keras.layers.Dense(2, name="last")(keras.layers.Flatten()(shorter))
    out = keras.layers.Dense(1, name="out")(hid) + keras.ops.sum(last, axis=1, keepdims=True)[:, None]
    return keras.Model(data, out), keras.Model(data, [hid, last]).predict(STEPS, verbose=0)


@pytest.mark.parametrize("reduction", ["sum", "batch", "mean"])
def test_positions_of_weight_0_are_as_if_they_were_not_there(reduction):
    plain, (hid, last) = positions()
    options = dict(weight=0.5, reduction=reduction)
    model = masked(plain, hidden_l1=dict(options, pattern="hid"), hidden_l2=dict(options, pattern="last"))
    shares = step(model, STEPS, np.ones((3, 4, 1)), AT_STEPS)
    kept, examples = hid[AT_STEPS != 0], last[[0, 2]]  # the second example has no position with a weight
    of_hid, of_last = {"sum": (1, 1), "batch": (2, 2), "mean": (kept.size, examples.size)}[reduction]
    np.testing.assert_allclose(shares["hidden_l1"], 0.5 * abs(kept).sum() / of_hid, rtol=1e-5)
    np.testing.assert_allclose(shares["hidden_l2"], 0.5 * (examples**2).sum() / of_last, rtol=1e-5)


def test_positions_are_masked_by_keras_and_by_their_weights():
    keras.utils.set_random_seed(0)
    tokens = keras.Input((4,), dtype="int32")
    states = keras.layers.Embedding(10, 3, mask_zero=True, name="embedding")(tokens)
    weights = np.ones((5, 4), "float32")
    weights[0, 1] = weights[1] = 0
    model = masked(keras.Model(tokens, keras.layers.Dense(1)(states)), hidden_l1=dict(weight=1, pattern="embedding"))
    kept = keras.Model(tokens, states).predict(TOKENS, verbose=0)[(TOKENS != 0) & (weights != 0)]
    found = step(model, TOKENS, np.ones((5, 4, 1)), weights)["hidden_l1"]
    np.testing.assert_allclose(found, abs(kept).sum(), rtol=1e-5)


def test_a_weight_of_shape_n_by_1_is_of_examples():
    plain, (hid, _) = positions()
    model = masked(plain, hidden_l1=dict(weight=1, pattern="hid"))
    found = step(model, STEPS, np.ones((3, 4, 1)), np.array([[1.0], [0.0], [1.0]]))["hidden_l1"]
    np.testing.assert_allclose(found, abs(hid[[0, 2]]).sum(), rtol=1e-5)


@pytest.mark.parametrize(
    ("alias", "told"),
    [
        (
            dict(hidden_l1=dict(weight=1, pattern="shorter")),
            "output 'shorter' has 2 positions, and sample_weight has 4",
        ),
        (dict(hidden_kl=dict(weight=1, pattern="hid")), "positions of weight 0 cannot be left out of the penalty of"),
    ],
)
def test_positions_of_weight_0_that_cannot_be_left_out_are_an_error(alias, told):
    model = masked(positions()[0], **alias)
    with pytest.raises(regkit.GraphError, match=told):
        step(model, STEPS, np.ones((3, 4, 1)), AT_STEPS)


def test_weights_of_pixels_are_an_error():
    image = keras.Input((4, 4, 1))
    model = masked(
        keras.Model(image, keras.layers.Conv2D(1, 1, name="out")(image)), hidden_l1=dict(weight=1, pattern="out")
    )
    with pytest.raises(regkit.GraphError, match="sample_weight has 3 axes; with mask=True"):
        step(model, np.ones((2, 4, 4, 1)), np.ones((2, 4, 4, 1)), np.ones((2, 4, 4)))


def test_padding_counts_without_mask():
    plain, states = sequences()
    model = regkit_keras.Model(plain, regkit.build(hidden_l1=dict(weight=0.5, pattern="hid")))
    model.compile(keras.optimizers.SGD(0.0), "mse")
    np.testing.assert_allclose(step(model, TOKENS, np.ones((5, 1)))["hidden_l1"], 0.5 * abs(states).sum(), rtol=1e-5)


def test_what_is_left_out_has_no_gradient_of_the_penalty():
    plain = network()
    model = regkit_keras.Model(plain, regkit.build(hidden_l2=dict(weight=0.5)), mask=True)
    model.compile(keras.optimizers.SGD(0.1), lambda y, outputs: 0 * keras.ops.sum(outputs, axis=-1))
    (w, b), _ = (layer.get_weights() for layer in plain.layers)
    hid = np.tanh(X @ w + b)
    gradient = X.T @ (2 * 0.5 * hid * (1 - hid**2) * (WEIGHTS != 0)[:, None])
    step(model, X, X[:, :2], WEIGHTS)
    np.testing.assert_allclose(plain.get_layer("hid").get_weights()[0], w - 0.1 * gradient, rtol=1e-4, atol=1e-5)


def test_a_live_weight_and_a_last_batch_that_is_shorter():
    plain = network()
    weight = regkit.Live(0.25)
    model = masked(plain, hidden_l1=dict(weight=weight, reduction="batch"))
    w, b = plain.get_layer("hid").get_weights()
    each = abs(np.tanh(X @ w + b)).sum(axis=1)
    for value in (0.25, 0.5):
        weight.set(value)
        history = model.fit(X, X[:, :2], batch_size=4, shuffle=False, verbose=0, sample_weight=WEIGHTS).history
        first, last = each[:4][WEIGHTS[:4] != 0].mean(), each[4:][WEIGHTS[4:] != 0].mean()
        np.testing.assert_allclose(history["hidden_l1"], [value * (4 * first + 2 * last) / 6], rtol=1e-5)


def test_it_is_saved(tmp_path):
    model = masked(network(), hidden_l1=0.5)
    expected = step(model, X, X[:, :2], WEIGHTS)["hidden_l1"]
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    loaded.compile(keras.optimizers.SGD(0.0), "mse")
    np.testing.assert_allclose(step(loaded, X, X[:, :2], WEIGHTS)["hidden_l1"], expected, rtol=1e-6)


def refusal(kind, call):
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize(
    ("alias", "kind"), [("hidden_decorrelation", "HiddenDecorrelation"), ("contractive", "Contractive")]
)
def test_a_penalty_that_is_no_sum_over_examples_is_refused(alias, kind):
    model = masked(network(), **{alias: 0.1})
    assert refusal(regkit.GraphError, lambda: step(model, X, X[:, :2], WEIGHTS)) == (
        f"{alias}: examples of weight 0 cannot be left out of the penalty of {kind}, which is not a sum over examples. "
        "Use mask=False, or leave it out"
    )


def test_a_penalty_of_neighbours_in_time_is_refused_for_padding():
    plain, _ = sequences()
    model = masked(plain, hidden_variation=dict(weight=0.1, axis=1, pattern="hid"))
    assert "hidden_variation: padding cannot be left out of the penalty" in refusal(
        regkit.GraphError, lambda: step(model, TOKENS, np.ones((5, 1)))
    )


def test_a_set_with_a_penalty_that_cannot_be_masked_trains_where_nothing_is_masked():
    assert step(masked(network(), contractive=0.1), X, X[:, :2])["contractive"] > 0
