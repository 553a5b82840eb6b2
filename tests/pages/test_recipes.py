"""The recipes of docs/integrators.md for older frameworks, as they stand there, where the frameworks are installed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import regkit
from blocks import blocks, ran

PAGE = "docs/integrators.md"
RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 3)).astype("float32")
Y = X[:, :2]
START = [RNG.normal(size=size, scale=0.5).astype("float32") for size in ((3, 2), 2, (2, 2), 2)]

pytestmark = [
    pytest.mark.framework("theano"),
    pytest.mark.filterwarnings("ignore"),  # both frameworks are of a time before this Python and NumPy
]


def recipe(function: str):
    """A function from the page's recipes, which are fenced as ``py``; what any library runs is fenced as ``python``."""
    (block,) = (block for block in blocks(PAGE, "py") if f"def {function}(" in block.text)
    scope: dict = {}
    exec(compile(block.text, PAGE, "exec"), scope)
    ran([block])
    return scope[function]


class Lasagne:
    """Two hidden units in Lasagne, none of whose layers has a name."""

    def __init__(self, **aliases):
        train_output = recipe("train_output")
        import lasagne
        import theano
        from lasagne.layers import DenseLayer, InputLayer

        inputs = InputLayer((None, 3))
        hidden = DenseLayer(inputs, 2, nonlinearity=theano.tensor.tanh)
        network = DenseLayer(hidden, 2, nonlinearity=None)
        self.params = [*hidden.get_params(), *network.get_params()]
        for param, value in zip(self.params, START):
            param.set_value(value)
        x, y = inputs.input_var, theano.tensor.matrix()
        output, penalty = train_output(network, regkit.build(aliases))
        loss = ((output - y) ** 2).mean() + penalty
        self.loss = theano.function([x, y], loss)
        self.step = theano.function([x, y], loss, updates=lasagne.updates.sgd(loss, self.params, 0.1))
        self.predict = theano.function([x], lasagne.layers.get_output(network, deterministic=True))

    def values(self):
        return [param.get_value() for param in self.params]


class Keras:
    """Two hidden units in Keras."""

    def __init__(self, **aliases):
        compile_regularized = recipe("compile_regularized")
        import keras

        dense = keras.layers.Dense
        self.model = keras.models.Sequential([dense(2, activation="tanh", input_shape=(3,)), dense(2)])
        self.model.set_weights(START)
        self.compile = lambda: compile_regularized(
            self.model, regkit.build(aliases), loss="mse", optimizer=keras.optimizers.SGD(0.1)
        )
        self.compile()
        self.predict, self.values = self.model.predict, self.model.get_weights

    def step(self, x, y):
        return self.model.train_on_batch(x, y)

    def loss(self, x, y):
        """The loss of a training step, which is then undone."""
        values = self.values()
        loss = self.step(x, y)
        self.model.set_weights(values)
        return loss


IN_LASAGNE = pytest.param(Lasagne, marks=pytest.mark.framework("lasagne"))
IN_KERAS = pytest.param(Keras, marks=pytest.mark.framework("keras"))


@pytest.fixture(params=[IN_LASAGNE, IN_KERAS])
def host(request, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "theano")
    return request.param


def hidden_of(values, x):
    return np.tanh(x @ values[0] + values[1])


def error_of(values, hidden, y):
    return ((hidden @ values[2] + values[3] - y) ** 2).mean()


def test_the_loss_is_that_of_numpy(host):
    network = host(hidden_sparsity=0.2)
    values = network.values()
    hidden = hidden_of(values, X)
    assert network.loss(X, Y) == pytest.approx(error_of(values, hidden, Y) + 0.2 * abs(hidden).sum(), rel=1e-5)


def test_the_loss_with_dropout_is_that_of_numpy_with_one_mask_or_another(host):
    network = host(hidden_sparsity=0.2, hidden_dropout=0.5)
    values, x, y = network.values(), X[:1], Y[:1]
    masked = [2 * np.array(mask) * hidden_of(values, x) for mask in itertools.product((0, 1), repeat=2)]
    possible = [error_of(values, hidden, y) + 0.2 * abs(hidden).sum() for hidden in masked]
    found = np.array([np.isclose(network.loss(x, y), possible, rtol=1e-5) for _ in range(40)])
    assert found.any(axis=1).all()
    assert found.any(axis=0).all()  # every mask was drawn


def test_a_weight_penalty_counts_the_matrices_of_both_layers(host):
    network = host(weight_l2=0.3)
    w1, _, w2, _ = values = network.values()
    penalty = ((w1**2).sum() + (w2**2).sum()) / 2
    assert network.loss(X, Y) == pytest.approx(error_of(values, hidden_of(values, X), Y) + 0.3 * penalty, rel=1e-5)


def test_activations_go_down_and_predictions_are_clean_and_repeat(host):
    network = host(hidden_sparsity={"weight": 1, "reduction": "batch"}, hidden_dropout=0.1)
    before = abs(hidden_of(network.values(), X)).mean()
    for _ in range(100):
        network.step(X, Y)
    values = network.values()
    assert abs(hidden_of(values, X)).mean() < before / 2
    clean = hidden_of(values, X) @ values[2] + values[3]
    for _ in range(2):
        np.testing.assert_allclose(network.predict(X), clean, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("host", [IN_KERAS], indirect=True)
def test_keras_evaluates_without_regularizers(host):
    network = host(hidden_sparsity=0.2, hidden_noise=0.5)
    values = network.values()
    expected = error_of(values, hidden_of(values, X), Y)
    assert network.model.evaluate(X, Y, verbose=0) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("host", [IN_KERAS], indirect=True)
def test_a_keras_model_that_is_compiled_again_is_not_regularized_twice(host):
    network = host(hidden_sparsity=0.2)
    before = network.loss(X, Y)
    network.compile()
    assert network.loss(X, Y) == pytest.approx(before, rel=1e-6)


def test_a_set_without_penalties_adds_none(host):
    network = host()
    values = network.values()
    assert network.loss(X, Y) == pytest.approx(error_of(values, hidden_of(values, X), Y), rel=1e-5)
