"""Networks of pytensor-ml, trained and asked to predict with regkit's regularizers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.compile.mode import Mode
from pytensor.graph.traversal import variable_ancestors
from pytensor.printing import debugprint
from pytensor_ml.activations import ReLU
from pytensor_ml.layers import (
    LSTM,
    BatchNorm,
    Conv2D,
    Embedding,
    Input,
    LayerNorm,
    Linear,
    Sequential,
    TransformerBlock,
)
from pytensor_ml.loss import CrossEntropy, SquaredError
from pytensor_ml.model import Model
from pytensor_ml.models.architectures.gpt2 import build_gpt2
from pytensor_ml.models.loading.keys import KeyMap
from pytensor_ml.optim import adam, chain, constant_schedule, sgd
from pytensor_ml.params import trainable
from pytensor_ml.state import NormalInitializer
from regkit_pytensor_ml import find_layers, regularized

import regkit

FAST = {"mode": Mode("py", "fast_compile")}
LOSS = CrossEntropy(expect_logits=True)
PENALTIES = {"hidden_l1": 0.03, "weight_l2": 0.1, "group_lasso": 0.2}

DATA = np.random.default_rng(0).normal(size=(8, 4))
TARGETS = np.arange(8) % 3

pytestmark = pytest.mark.filterwarnings("ignore:PyTensor could not link to a BLAS")


def compiled(network, rate=0.0, **aliases):
    return network.model.compile_train(sgd(rate), regularized(LOSS, **aliases) if aliases else LOSS)


def mlp():
    x = Input("X", shape=(None, 4))
    return Sequential(Linear("fc1", n_in=4, n_out=5), ReLU(), Linear("logits", n_in=5, n_out=3))(x)


def test_the_loss_is_theirs_and_the_penalties_are_numpys(network):
    outputs = network.numpy()
    hidden = [outputs[name] for name in network.hidden]
    matrices = [value for value in network.values.values() if value.ndim > 1]
    logits = outputs["logits:out"]
    error = -(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))[
        np.arange(len(logits)), network.targets
    ].mean()
    l1 = np.mean([np.abs(z).sum() for z in hidden])
    l2 = np.mean([(w**2).sum() for w in matrices])
    groups = [np.sqrt(w[0].size) * np.sqrt((w.reshape(len(w), -1) ** 2).sum(axis=1)).sum() for w in matrices]
    expected = error + 0.03 * l1 + 0.1 * l2 + 0.2 * np.mean(groups)
    np.testing.assert_allclose(network.loss(compiled(network, **PENALTIES)), expected, rtol=1e-10)


def test_layers_are_named_by_their_parameters(network):
    layers = find_layers(network.prediction)
    assert [layer.output_name for layer in regkit.select_layers(layers, "input")] == ["X:out"]
    assert {layer.output_name for layer in regkit.select_layers(layers, "hidden")} == set(network.hidden)
    assert [layer.output_name for layer in regkit.select_layers(layers, "output")] == ["logits:out"]


def test_every_compilation_of_a_model_has_the_same_names_and_values(network):
    """pytensor-ml rewrites in place what it differentiates: of its own loss, the model's graph."""
    compiled(network, **PENALTIES)
    found = []
    for with_penalties in (True, False, True, True):
        if with_penalties:
            names = [list(layer.outputs) for layer in find_layers(network.prediction)]
            found.append((names, network.loss(compiled(network, **PENALTIES))))
        else:
            compiled(network)
    assert found[0][0] == found[1][0] == found[2][0]
    np.testing.assert_allclose([loss for _, loss in found[1:]], found[0][1], rtol=1e-12)


def test_a_network_trains_with_dropout_and_its_predictions_stay_clean(network):
    before = network.model.predict(network.data)
    np.testing.assert_allclose(before, network.numpy(training=False)["logits:out"], atol=1e-10)
    step = compiled(network, rate=0.1, hidden_l1=1e-4, hidden_dropout=0.2)
    losses = [float(step(network.data, network.targets)) for _ in range(40)]
    assert len(set(losses)) == len(losses)
    assert np.mean(losses[-10:]) < np.mean(losses[:10])
    after = network.model.predict(network.data)
    assert (after != before).all()
    np.testing.assert_array_equal(network.model.predict(network.data), after)
    np.testing.assert_allclose(after, network.numpy(training=False)["logits:out"], atol=1e-10)


def test_compiling_with_regularizers_leaves_the_models_graph_as_it_is():
    prediction = mlp()
    before = debugprint(prediction, file="str")
    Model(prediction, FAST).compile_train(sgd(0.1), regularized(LOSS, hidden_l1=0.1, hidden_dropout=0.5))
    assert debugprint(prediction, file="str") == before


def test_a_relu_that_lost_its_name_is_still_what_is_penalized():
    prediction = mlp()
    Model(prediction, FAST).compile_train(sgd(0.1), LOSS)
    assert "ReLU" not in {variable.name for variable in variable_ancestors([prediction])}
    (hidden,) = regkit.select_layers(find_layers(prediction), "hidden")
    assert hidden.outputs["fc1:out"].eval({"X": DATA}).min() == 0
    assert hidden.outputs["fc1:pre"].eval({"X": DATA}).min() < 0


def test_dropout_of_a_layer_is_seen_by_what_follows():
    """With weights and biases of 1 and inputs of 1, each of 4 units is 5 or, dropped out, 0; kept ones are doubled."""
    x = Input("X", shape=(None, 4))
    prediction = Linear("out", n_in=4, n_out=1)(Linear("fc1", n_in=4, n_out=4)(x))
    model = Model(prediction, FAST)
    for param in model.weights:
        param.set_value(np.ones(param.get_value().shape))
    step = model.compile_train(sgd(0.0), regularized(SquaredError(), hidden_dropout=0.5))
    losses = {round(float(step(np.ones((1, 4)), np.ones((1, 1))))) for _ in range(60)}
    assert losses == {(10 * kept) ** 2 for kept in range(5)}
    assert model.predict(np.ones((1, 4))) == 21


def test_a_sum_of_two_parallel_branches_belongs_to_the_later_name():
    x = Input("X", shape=(None, 4))
    left, right = (Linear(name, n_in=4, n_out=5)(x) for name in ("left", "right"))
    for joined in (left + right, right + left):
        outputs = {}
        for layer in find_layers(Linear("logits", n_in=5, n_out=3)(ReLU()(joined))):
            outputs.update(layer.outputs)
        assert outputs["left:out"] is left
        assert outputs["right:pre"] is right
        assert outputs["right:out"].owner.inputs[1] is joined


def test_an_input_of_a_normalization_stays_the_input():
    x = Input("X", shape=(None, 4))
    data, fc1 = find_layers(Linear("fc1", n_in=4, n_out=2)(BatchNorm("bn", n_in=4)(x)))
    assert data.outputs == {"X:out": x}
    assert [param.name for param in data.params] == ["bn_loc", "bn_scale"]
    assert [param.name for param in fc1.params] == ["fc1_W", "fc1_b"]


def test_a_recurrent_layer_takes_the_output_before_it_turned_time_first():
    x = Input("X", shape=(None, 7, 4))
    hidden = ReLU()(Linear("fc1", n_in=4, n_out=5)(x))
    layers = find_layers(LSTM("lstm", n_in=5, n_hidden=3)(hidden))
    assert layers[1].outputs["fc1:out"] is hidden


def test_a_convolution_takes_the_output_before_it_was_padded():
    x = Input("X", shape=(None, 8, 8, 4))
    hidden = ReLU()(Linear("fc1", n_in=4, n_out=5)(x))
    layers = find_layers(Conv2D("conv", in_channels=5, out_channels=3, kernel_size=3, padding="same")(hidden))
    assert layers[1].outputs["fc1:out"] is hidden


def test_a_language_model_has_the_layers_of_its_block():
    tokens = pt.tensor("tokens", shape=(None, 7), dtype="int64")
    words, places = (Embedding(name, n_embeddings=11, n_features=8) for name in ("words", "places"))
    embedded = words(tokens) + places(pt.arange(tokens.shape[1]))
    block = TransformerBlock("block", d_model=8, n_head=2, dropout=0.1, is_causal=True)(embedded)
    layers = find_layers(Linear("head", n_in=8, n_out=11)(LayerNorm("norm", n_in=8)(block)))
    names = {layer.output_name: layer.role for layer in layers}
    attention = {f"block_attn_{which}_proj:out": "hidden" for which in ("q", "k", "v", "out")}
    feed_forward = {"block_ff_fc_in:out": "hidden", "block_ff_fc_out:out": "hidden"}
    ends = {"tokens:out": "input", "words:out": "hidden", "places:out": "hidden", "head:out": "output"}
    assert names == {**ends, **attention, **feed_forward}
    outputs = {name: expression for layer in layers for name, expression in layer.outputs.items()}
    assert outputs["places:out"] is embedded
    assert outputs["words:out"].name == "words_output"


def test_a_layer_of_ones_own_has_its_matrix_and_its_bias():
    x = Input("X", shape=(None, 4))
    w, b = trainable(np.ones((4, 3)), "own_W", layer_name="own"), trainable(np.ones(3), "own_b", layer_name="own")
    _, own, _ = find_layers(Linear("out", n_in=3, n_out=2)(pt.tanh(x @ w + b)))
    assert own.params == (w, b)
    assert list(own.outputs) == ["own:pre", "own:out"]
    np.testing.assert_array_equal(own.outputs["own:pre"].eval({"X": np.ones((1, 4))}), [[5, 5, 5]])


def sequence_model():
    """A model whose LSTM is used at every step."""
    x = Input("X", shape=(None, 6, 4))
    return Model(Linear("logits", n_in=5, n_out=3)(LSTM("lstm", n_in=4, n_hidden=5)(x)), FAST).initialize(seed=1)


#: Values of aliases that need more than a weight.
VALUES = {"weight_distance": dict(weight=0.1, reference={"fc1_W": np.ones((4, 5)), "logits_W": np.ones((5, 3))})}
AFTER_A_STEP = ["decoupled_decay", "weight_l0", "weight_nonnegative", "weight_unit_norm"]


@pytest.mark.parametrize("alias", AFTER_A_STEP)
def test_an_alias_that_acts_after_a_step_is_refused_where_nothing_follows_the_optimizer(alias):
    model = Model(mlp(), FAST)
    with pytest.raises(regkit.GraphError, match=f"{alias} acts .*chain.rule, loss.after_step.rate"):
        model.compile_train(sgd(0.1), regularized(LOSS, {alias: 0.1}))


@pytest.mark.parametrize("alias", AFTER_A_STEP)
def test_a_network_trains_with_every_alias_that_acts_after_a_step(alias):
    model, loss = Model(mlp(), FAST).initialize(seed=1), regularized(LOSS, {alias: 0.1})
    bare = Model(mlp(), FAST).initialize(seed=1)
    bare.compile_train(sgd(0.01), LOSS)(DATA, TARGETS)
    model.compile_train(chain(sgd(0.01), loss.after_step(0.01)), loss)(DATA, TARGETS)
    moved = {param.name: param.get_value() for param in bare.weights}
    expected = regkit.build({alias: 0.1}).after_step(moved, 0.01)
    for param in model.weights:
        np.testing.assert_allclose(param.get_value(), expected[param.name], rtol=1e-9)
    assert any((expected[name] != moved[name]).any() for name in moved)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("scheduled", [False, True])
def test_the_lasso_has_the_zeros_of_the_closed_form(momentum, scheduled):
    data = np.linalg.qr(np.random.default_rng(2).normal(size=(40, 12)))[0] * np.sqrt(40)  # orthogonal, mean square 1
    targets = data @ np.linspace(-1, 1, 12)[:, None]
    model = Model(Linear("fc", n_in=12, n_out=1, bias=False)(Input("X", shape=(None, 12))), FAST).initialize(seed=0)
    loss = regularized(SquaredError(), weight_l1=dict(weight=0.6, by="proximal"))
    rate = 0.05 / (1 - momentum)
    after = loss.after_step(constant_schedule(rate) if scheduled else rate)
    step = model.compile_train(chain(sgd(0.05, momentum=momentum), after), loss)
    for _ in range(400):
        step(data, targets)
    least_squares = np.linspace(-1, 1, 12)  # of which a mean of squares has twice the gradient
    expected = np.sign(least_squares) * np.maximum(0, abs(least_squares) - 0.6 / 2)
    (found,) = (param.get_value()[:, 0] for param in model.weights)
    np.testing.assert_array_equal(found == 0, expected == 0)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_a_proximal_step_after_a_rule_that_divides_gradients_raises():
    loss = regularized(LOSS, weight_l1=dict(weight=0.1, by="proximal"), decoupled_decay=0.1)
    with pytest.raises(regkit.OptionError, match="weight_l1: a proximal step needs .* Use sgd"):
        Model(mlp(), FAST).compile_train(chain(adam(0.1), loss.after_step(0.1)), loss)
    with pytest.raises(regkit.OptionError, match="after_step has no rule before it"):
        Model(mlp(), FAST).compile_train(loss.after_step(0.1), loss)
    decayed = regularized(LOSS, decoupled_decay=0.1)
    Model(mlp(), FAST).compile_train(chain(adam(0.1), decayed.after_step(0.1)), decayed)


@pytest.mark.parametrize("alias", sorted(set(regkit.available()) - set(AFTER_A_STEP)))
def test_a_network_trains_with_every_alias(alias):
    if alias.startswith("recurrent"):
        model, data, targets = sequence_model(), np.tile(DATA[:, None], (1, 6, 1)), np.tile(TARGETS[:, None], (1, 6))
    else:
        model, data, targets = Model(mlp(), FAST).initialize(seed=1), DATA, TARGETS
    before = {param: param.get_value() for param in model.weights}
    step = model.compile_train(sgd(0.01), regularized(LOSS, {alias: VALUES.get(alias, 0.1)}))
    losses = [float(step(data, targets)) for _ in range(3)]
    assert np.isfinite(losses).all()
    assert all((param.get_value() != value).any() for param, value in before.items())


def test_a_float32_network_keeps_its_type():
    with pytensor.config.change_flags(floatX="float32"):
        loss = regularized(LOSS, hidden_l1=0.1, weight_l2=0.1, hidden_dropout=0.5)(pt.lvector("target"), mlp())
    assert loss.dtype == "float32"


def test_a_live_weight_changes_the_next_step():
    weight = regkit.Live(0.0)
    step = Model(mlp(), FAST).initialize(seed=1).compile_train(sgd(0.0), regularized(LOSS, weight_l2=weight))
    bare = float(step(DATA, TARGETS))
    weight.set(1.0)
    one = float(step(DATA, TARGETS))
    weight.set(2.0)
    np.testing.assert_allclose(float(step(DATA, TARGETS)) - bare, 2 * (one - bare))
    assert one > bare


def test_contractive_is_the_squared_norm_of_a_linear_layers_weights():
    """The Jacobian of each of the examples is W, whatever the example is."""
    x = Input("X", shape=(None, 4))
    first = Linear("fc1", n_in=4, n_out=5)
    model = Model(Linear("logits", n_in=5, n_out=3)(first(x)), FAST).initialize(seed=1)
    losses = [
        float(model.compile_train(sgd(0.0), loss)(DATA, TARGETS))
        for loss in (LOSS, regularized(LOSS, contractive=dict(weight=1, reduction="batch")))
    ]
    np.testing.assert_allclose(losses[1] - losses[0], (first.W.get_value() ** 2).sum())


def test_options_come_as_a_mapping_too():
    loss = regularized(LOSS, {"hidden_l1": 0.1}, weight_l2=0.2)
    assert repr(loss.regularizers) == "build(hidden_l1=0.1, weight_l2=0.2)"


def test_labels_and_one_hot_targets_are_what_the_loss_without_regularizers_takes():
    onehot = CrossEntropy(expect_logits=True, expect_onehot_labels=True)
    for loss in (LOSS, onehot, SquaredError()):
        assert regularized(loss).target_ndim(2) == loss.target_ndim(2)
        assert regularized(loss).target_dtype("float32") == loss.target_dtype("float32")


# Several heads


def heads():
    """Means and logarithms of variances, joined into one prediction."""
    x = Input("X", shape=(None, 4))
    hidden = ReLU()(Linear("fc1", n_in=4, n_out=5)(x))
    return pt.join(1, Linear("means", n_in=5, n_out=2)(hidden), Linear("variances", n_in=5, n_out=2)(hidden))


PAIRS = np.random.default_rng(1).normal(size=(8, 4))


def differences(prediction, targets, **regularizers):
    """What each of several sets of regularizers adds to the squared error of a network, and its parameters."""
    model = Model(prediction, FAST).initialize(seed=1)
    bare = float(model.compile_train(sgd(0.0), SquaredError())(DATA, targets))
    steps = {name: model.compile_train(sgd(0.0), loss) for name, loss in regularizers.items()}
    added = {name: float(step(DATA, targets)) - bare for name, step in steps.items()}
    return added, {param.name: param.get_value() for param in model.weights}


def test_all_last_layers_are_outputs_and_what_joins_them_is_of_none():
    layers = find_layers(heads())
    roles = {"X:out": "input", "fc1:out": "hidden", "means:out": "output", "variances:out": "output"}
    assert {layer.output_name: layer.role for layer in layers} == roles
    x, w = np.ones((1, 4)), {param.name: param.get_value() for layer in layers for param in layer.params}
    hidden = np.maximum(x @ w["fc1_W"] + w["fc1_b"], 0)
    for layer in layers[2:]:
        name = layer.output_name.partition(":")[0]
        expected = hidden @ w[f"{name}_W"] + w[f"{name}_b"]
        np.testing.assert_allclose(layer.outputs[layer.output_name].eval({"X": x}), expected, rtol=1e-12)


def test_regularizers_of_hidden_layers_leave_all_heads_alone():
    added, w = differences(
        heads(),
        PAIRS,
        hidden=regularized(SquaredError(), hidden_l1=0.1),
        named=regularized(SquaredError(), hidden_l1=dict(weight=0.1, pattern="means:out")),
        roles=regularized(SquaredError(), hidden_l1=0.1, roles={"means:out": "hidden"}),
    )
    hidden = np.maximum(DATA @ w["fc1_W"] + w["fc1_b"], 0)
    l1 = {"hidden": np.abs(hidden).sum(), "named": np.abs(hidden @ w["means_W"] + w["means_b"]).sum()}
    l1["roles"] = (l1["hidden"] + l1["named"]) / 2
    assert added == pytest.approx({name: 0.1 * value for name, value in l1.items()}, rel=1e-9)


def test_dropout_of_a_head_changes_what_is_made_of_it():
    """All of the means are dropped but for one in a million, and the squared error is that of zeros."""
    added, w = differences(
        heads(), PAIRS, dropped=regularized(SquaredError(), dropout=dict(weight=1 - 1e-9, pattern="means:out"))
    )
    hidden = np.maximum(DATA @ w["fc1_W"] + w["fc1_b"], 0)
    means = hidden @ w["means_W"] + w["means_b"]
    expected = ((PAIRS[:, :2] ** 2).sum() - ((means - PAIRS[:, :2]) ** 2).sum()) / PAIRS.size
    assert added["dropped"] == pytest.approx(expected, rel=1e-9)


def test_the_layers_are_printed_as_a_table():
    assert repr(find_layers(heads())).splitlines() == [
        "role    outputs           parameters",
        "input   X:out",
        "hidden  fc1:pre, fc1:out  fc1_W[2], fc1_b[1]",
        "output  means:out         means_W[2], means_b[1]",
        "output  variances:out     variances_W[2], variances_b[1]",
    ]


def test_a_role_of_a_layer_that_is_not_there_is_refused():
    with pytest.raises(regkit.NoMatchError) as caught:
        find_layers(heads(), {"mean:out": "output"})
    there = "X:out, fc1:out, means:out, variances:out"
    assert str(caught.value) == f"roles has 'mean:out'; the layers: {there}"
    with pytest.raises(regkit.GraphError, match="'means:out' got role='first'; accepted: 'input', 'hidden', 'output'"):
        find_layers(heads(), {"means:out": "first"})


# Tied weights


def tied():
    """An autoencoder whose decoder has the weights of the encoder, and a bias."""
    x = Input("X", shape=(None, 4))
    encoder = Linear("encoder", n_in=4, n_out=2)
    initializer = NormalInitializer(0.0, 0.1)
    bias = trainable(np.zeros(4), "decoder_b", initializer=initializer, layer_name="decoder")
    return pt.tanh(encoder(x)) @ encoder.W.T + bias


def test_a_tied_autoencoder_has_its_weights_once():
    added, w = differences(
        tied(),
        DATA,
        hidden=regularized(SquaredError(), hidden_l1=0.1),
        weights=regularized(SquaredError(), weight_l2=0.2),
        output=regularized(SquaredError(), hidden_l1=dict(weight=0.3, pattern="encoder:out@1")),
        both=regularized(SquaredError(), hidden_l1=dict(weight=0.3, pattern="encoder:out")),
    )
    code = np.tanh(DATA @ w["encoder_W"] + w["encoder_b"])
    decoded = code @ w["encoder_W"].T + w["decoder_b"]
    expected = {
        "hidden": 0.1 * np.abs(code).sum(),
        "weights": 0.2 * (w["encoder_W"] ** 2).sum(),
        "output": 0.3 * np.abs(decoded).sum(),
        "both": 0.3 * (np.abs(code).sum() + np.abs(decoded).sum()) / 2,
    }
    assert added == pytest.approx(expected, rel=1e-9)


def test_a_layer_that_is_applied_twice_has_two_outputs():
    left, right = (Input(name, shape=(None, 4)) for name in ("left", "right"))
    shared = Linear("shared", n_in=4, n_out=3)
    layers = find_layers(Linear("out", n_in=3, n_out=1)(abs(shared(left) - shared(right))))
    names = {layer.output_name: layer.role for layer in layers}
    hidden = {"shared:out": "hidden", "shared:out@1": "hidden"}
    assert names == {"left:out": "input", "right:out": "input", **hidden, "out:out": "output"}
    assert regkit.select_params(layers, "shared_W") == [("shared_W", shared.W)]


def test_their_gpt2_has_its_embedding_again_as_the_last_layer():
    config = dict(n_embd=8, n_head=2, n_layer=1, vocab_size=11, n_positions=5, layer_norm_epsilon=1e-5)
    _, (logits, *_) = build_gpt2(config, KeyMap())
    layers = find_layers(logits)
    assert [layer.output_name for layer in regkit.select_layers(layers, "output")] == ["wte:out@1"]
    assert [layer.output_name for layer in layers][:3] == ["input_ids:out", "wte:out", "wpe:out"]
    matrices = [param for _, param in regkit.select_params(layers) if param.ndim > 1]
    added = regkit.build(weight_l2=1).regularize(layers).loss.eval()
    expected = np.mean([(param.get_value() ** 2).sum() for param in matrices])
    assert [param.name for param in matrices].count("wte_W") == 1
    np.testing.assert_allclose(added, expected, rtol=1e-6)


def test_a_prebuilt_loss_trains_an_autoencoder():
    """As the page has it: the target of the loss is the input."""
    x = Input("X", shape=(None, 4))
    model = Model(Linear("decoder", n_in=2, n_out=4)(Linear("encoder", n_in=4, n_out=2)(x)), FAST).initialize(seed=1)
    loss = regularized(SquaredError(), hidden_l1=0.1)(x, model.y)
    found = float(model.compile_train(sgd(0.0), loss=loss)(DATA))
    w = {param.name: param.get_value() for param in model.weights}
    code = DATA @ w["encoder_W"] + w["encoder_b"]
    error = ((code @ w["decoder_W"] + w["decoder_b"] - DATA) ** 2).mean()
    assert found == pytest.approx(error + 0.1 * np.abs(code).sum(), rel=1e-9)


# Bad input


def refusal(prediction):
    with pytest.raises(regkit.GraphError) as caught:
        find_layers(prediction)
    return str(caught.value)


def test_a_parameter_of_no_named_layer_is_refused():
    x = Input("X", shape=(None, 4))
    assert refusal(x @ trainable(np.ones((4, 2)), "W")) == (
        "parameter W belongs to no named layer. Give the layer's name where it is made: "
        "pytensor_ml.params.trainable(..., layer_name='fc1')"
    )


def test_an_input_without_a_name_is_refused():
    assert refusal(Linear("fc1", n_in=4, n_out=2)(pt.tensor(shape=(None, 4), dtype="float64"))) == (
        "an input of the network has no name: Matrix(float64, shape=(?, 4)). Give it one, as in Input('X', shape=...)"
    )


TWO = "two layers are named {!r}. Give each layer a name of its own, as in Linear('fc1', ...)"


def test_two_layers_that_were_given_no_name_are_refused():
    x = Input("X", shape=(None, 4))
    assert refusal(Linear(n_in=4, n_out=2)(ReLU()(Linear(n_in=4, n_out=4)(x)))) == TWO.format("Linear")


def test_two_parallel_layers_of_one_name_are_refused():
    x = Input("X", shape=(None, 4))
    assert refusal(Linear("a", n_in=4, n_out=2)(x) + Linear("a", n_in=4, n_out=2)(x)) == TWO.format("a")


def test_layers_of_two_kinds_and_one_name_are_refused():
    x = Input("X", shape=(None, 7, 4))
    hidden = LSTM("a", n_in=4, n_hidden=4, bias=False)(x)
    assert refusal(Linear("a", n_in=4, n_out=2, bias=False)(hidden)) == TWO.format("a")


def test_an_input_and_a_layer_of_one_name_are_refused():
    assert refusal(Linear("X", n_in=4, n_out=2)(Input("X", shape=(None, 4)))) == TWO.format("X")


def test_a_graph_without_layers_is_refused():
    x = Input("X", shape=(None, 4))
    assert refusal(x * 2).endswith(
        "depends on no layer: no parameter of two or more dimensions, made by a layer of pytensor-ml or by "
        "pytensor_ml.params.trainable, meets data"
    )


def test_a_layer_of_which_others_use_two_expressions_is_refused():
    x = Input("X", shape=(None, 4))
    u, v = (trainable(np.ones((4, 4)), name, layer_name="pair") for name in "UV")
    assert refusal(Linear("out", n_in=4, n_out=1)(x @ u) + Linear("other", n_in=4, n_out=1)(x @ v)) == (
        "layer 'pair' has several outputs that others use, and no expression through which all goes. Give the "
        "parameters of each part a layer_name of their own"
    )


def test_parameters_of_two_layers_in_one_expression_are_refused():
    x = Input("X", shape=(None, 4))
    u, v = (trainable(np.ones((4, 4)), name, layer_name=f"layer{name}") for name in "UV")
    assert refusal(pt.join(0, x, u, v)).startswith(
        "parameters of layers 'layerU', 'layerV' meet data in one expression"
    )


def test_a_keyword_that_is_not_an_alias_brings_the_suggestion():
    with pytest.raises(regkit.UnknownAliasError, match="'hiden_sparsity'. Did you mean 'hidden_sparsity'?"):
        regularized(LOSS, hiden_sparsity=0.1)


def test_a_pattern_that_matches_nothing_names_the_outputs_it_saw():
    model = Model(mlp(), FAST)
    with pytest.raises(regkit.NoMatchError, match="hidden_l1: pattern 'hid1' matches none of the outputs: X:out, fc1:"):
        model.compile_train(sgd(0.1), regularized(LOSS, hidden_l1=dict(weight=0.1, pattern="hid1")))


def test_what_is_not_a_loss_is_refused():
    with pytest.raises(regkit.OptionError) as caught:
        regularized(abs, hidden_l1=0.1)
    assert str(caught.value) == (
        "regularized got <built-in function abs>; accepted: a loss of pytensor-ml, such as "
        "pytensor_ml.loss.SquaredError()"
    )


@pytest.mark.subprocess
@pytest.mark.parametrize("version", ["0.4.0", "1.3", "0.30.1", "0.2.9"])
def test_a_version_outside_the_pin_is_refused_at_import(tmp_path: Path, version):
    metadata = tmp_path / f"pytensor_ml-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: pytensor-ml\nVersion: {version}\n")
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-c", "import regkit_pytensor_ml"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: regkit-pytensor-ml works with pytensor-ml 0.3, and {version} is installed. Install what works: "
        'pip install "pytensor-ml==0.3.*"'
    )
