"""A network is trained and asked to predict through the set that `build` returns, as an integrator would do it."""

from __future__ import annotations

import numpy as np
import pytest

import regkit


class Network:
    """A small autoencoder with two hidden layers, built anew for each graph."""

    SIZES = (5, 8, 4, 5)
    NAMES = ("in:out", "hid1:out", "hid2:out", "out:out")

    def __init__(self, lib, dtype="float64"):
        rng = np.random.default_rng(3)
        self.lib, self.dtype = lib, dtype
        self.params = [
            lib.shared(rng.normal(size=size, scale=0.5).astype(dtype), name=f"w{i}")
            for i, size in enumerate(zip(self.SIZES, self.SIZES[1:]), start=1)
        ]
        self.layers = [regkit.Layer(self.NAMES[0])]
        self.layers += [regkit.Layer(name, [param]) for name, param in zip(self.NAMES[1:], self.params)]

    def graph(self, regs):
        """The input and all outputs, each layer's changed by the set as it comes into being."""
        x = self.lib.tensor("x", self.dtype)
        outputs, current = {}, x
        for i, layer in enumerate(self.layers):
            if i:
                current = current.dot(self.params[i - 1])
                if i < len(self.layers) - 1:
                    current = current * (current > 0)
            of_layer = {layer.output_name: current}
            regs.modify_graph(of_layer, self.layers)
            outputs.update(of_layer)
            current = of_layer[layer.output_name]
        return x, outputs

    def train(self, regs, data, steps, rate=0.02, default_mode=False, between=lambda step: None):
        """Gradient descent; the compiled step, and the mean absolute activation of hidden layers after each step."""
        x, outputs = self.graph(regs)
        rate = np.asarray(rate, self.dtype)
        error = ((outputs["out:out"] - x) ** 2).mean()
        loss = error + regs.loss(self.layers, outputs)
        assert loss.dtype == self.dtype
        updates = [(param, param - rate * gradient) for param, gradient in
                   zip(self.params, self.lib.grad(loss, self.params))]  # fmt: skip
        activation = [abs(outputs[name]).mean() for name in self.NAMES[1:3]]
        step = self.lib.function([x], [loss, *activation], updates, default_mode=default_mode)
        history = []
        for i in range(steps):
            history.append([float(value) for value in step(data)])
            between(i)
        return np.array(history)

    def predict(self, regs, data):
        """The network's output with the set's changes in the graph."""
        x, outputs = self.graph(regs)
        return self.lib.function([x], outputs["out:out"])(data)


@pytest.fixture
def data():
    return np.random.default_rng(5).normal(size=(20, 5))


def test_training_with_hidden_sparsity_drives_activations_towards_zero(lib, data):
    plain = Network(lib).train(regkit.build(), data, 300, rate=0.1)
    regs = regkit.build(hidden_sparsity=dict(weight=1.0, reduction="mean"))
    sparse = Network(lib).train(regs, data, 300, rate=0.1)
    assert plain[-1, 0] < plain[0, 0]
    assert sparse[-1, 0] < sparse[0, 0]
    assert (sparse[-1, 1:] < 0.5 * plain[-1, 1:]).all()


def test_training_follows_the_gradient_of_error_plus_weight_times_penalty(lib, data):
    """The same descent in NumPy, with the gradients written out by hand."""
    weight, rate, steps = 0.05, 0.02, 25
    network = Network(lib)
    w1, w2, w3 = (param.get_value() for param in network.params)
    expected = []
    for _ in range(steps):
        pre1 = data @ w1
        hid1 = pre1 * (pre1 > 0)
        pre2 = hid1 @ w2
        hid2 = pre2 * (pre2 > 0)
        error = hid2 @ w3 - data
        expected.append((error**2).mean() + weight * (np.abs(hid1).sum() + np.abs(hid2).sum()) / 2)
        d_out = 2 * error / error.size
        d_hid2 = (d_out @ w3.T + weight / 2 * np.sign(hid2)) * (pre2 > 0)
        d_hid1 = (d_hid2 @ w2.T + weight / 2 * np.sign(hid1)) * (pre1 > 0)
        w1, w2, w3 = w1 - rate * data.T @ d_hid1, w2 - rate * hid1.T @ d_hid2, w3 - rate * hid2.T @ d_out
    history = network.train(regkit.build(hidden_l1=weight), data, steps, rate)
    np.testing.assert_allclose(history[:, 0], expected, rtol=1e-10)


def test_a_float32_network_stays_float32_through_training(lib, data):
    network = Network(lib, "float32")
    network.train(regkit.build(hidden_l1=0.1, more=lib_instance(lib)), data.astype("float32"), 2)
    assert {str(param.get_value().dtype) for param in network.params} == {"float32"}


def lib_instance(lib):
    """A second regularizer whose weight is a float64 shared scalar."""
    from regkit_hidden_l1 import HiddenL1

    return HiddenL1("hid1:*", lib.shared(np.float64(0.1)), "mean")


def test_a_shared_weight_changes_the_next_step_without_another_compilation(lib, data):
    weight = lib.shared(np.float64(0.0))

    def raise_weight(step):
        if step == 0:
            weight.set_value(2.0)

    network = Network(lib)
    history = network.train(regkit.build(hidden_l1=weight), data, 2, rate=0.0, between=raise_weight)
    x, outputs = Network(lib).graph(regkit.build())
    penalty = sum(abs(outputs[name]).sum() for name in ("hid1:out", "hid2:out")) / 2
    assert history[1, 0] - history[0, 0] == pytest.approx(2 * float(lib.function([x], penalty)(data)))


def test_predictions_with_hidden_sparsity_are_those_without(lib, data):
    network = Network(lib)
    plain = network.predict(regkit.build(), data)
    np.testing.assert_array_equal(network.predict(regkit.build(hidden_sparsity=0.1), data), plain)


def test_predictions_go_through_what_a_regularizer_changes(lib, data):
    class Silence(regkit.Regularizer):
        def modify_graph(self, outputs):
            for name, output in regkit.select_outputs(outputs, self.pattern):
                outputs[name + "-presilence"] = output
                outputs[name] = output * 0

    network = Network(lib)
    regs = regkit.build(silence=Silence("hid2:out", 1))
    assert np.abs(network.predict(regkit.build(), data)).max() > 0.1
    np.testing.assert_array_equal(network.predict(regs, data), np.zeros_like(data))
    _, outputs = network.graph(regs)
    assert regkit.hosts.unchanged(regs, outputs) == []


def test_training_in_the_librarys_default_mode(lib, data):
    regs = {mode: regkit.build(hidden_l1=dict(weight=0.1, pattern=["hid1:*", "hid2:out"])) for mode in (False, True)}
    slow, fast = (Network(lib).train(regs[mode], data, 5, default_mode=mode) for mode in (False, True))
    np.testing.assert_allclose(fast, slow, rtol=1e-10)
