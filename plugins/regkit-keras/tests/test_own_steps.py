"""Subclasses with training steps and losses of their own, as in the guides of Keras, on each backend: by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import regkit_keras

import regkit

X = np.random.default_rng(0).normal(size=(24, 4)).astype("float32")
Y = X.sum(axis=1, keepdims=True)
BACKEND = keras.config.backend()

if BACKEND == "jax":
    import jax

    class Guide(regkit_keras.Model):
        """A step as in the guide on JAX."""

        stateless = "stateless_compute_loss"

        def losses_and_updates(self, trainable, fixed, metrics, x, y):
            outputs, fixed = self.stateless_call(trainable, fixed, x, training=True)
            if self.stateless:
                loss, (*_, metrics) = self.stateless_compute_loss(trainable, fixed, metrics, x, y, outputs)
            else:
                loss = self.compute_loss(x, y, outputs)
            return loss, (outputs, fixed, metrics)

        def train_step(self, state, data):
            trainable, fixed, optimizer, metrics = state
            x, y = data
            gradients = jax.value_and_grad(self.losses_and_updates, has_aux=True)
            (loss, (outputs, fixed, metrics)), found = gradients(trainable, fixed, metrics, x, y)
            trainable, optimizer = self.optimizer.stateless_apply(optimizer, found, trainable)
            variables, logs = [], {}
            for metric in self.metrics:
                own = metrics[len(variables) : len(variables) + len(metric.variables)]
                given = (loss,) if metric.name == "loss" else (y, outputs)
                own = metric.stateless_update_state(own, *given)
                logs[metric.name] = metric.stateless_result(own)
                variables += own
            return logs, (trainable, fixed, optimizer, variables)

elif BACKEND == "torch":
    import torch

    class Guide(regkit_keras.Model):
        """A step as in the guide on PyTorch."""

        def train_step(self, data):
            x, y = data
            self.zero_grad()
            outputs = self(x, training=True)
            loss = self.compute_loss(y=y, y_pred=outputs)
            loss.backward()
            weights = self.trainable_weights
            with torch.no_grad():
                self.optimizer.apply([weight.value.grad for weight in weights], weights)
            for metric in self.metrics:
                metric.update_state(*((loss,) if metric.name == "loss" else (y, outputs)))
            return {metric.name: metric.result() for metric in self.metrics}

else:
    import tensorflow as tf

    class Guide(regkit_keras.Model):
        """A step as in the guide on TensorFlow."""

        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                outputs = self(x, training=True)
                loss = self.compute_loss(y=y, y_pred=outputs)
            self.optimizer.apply(tape.gradient(loss, self.trainable_weights), self.trainable_weights)
            for metric in self.metrics:
                metric.update_state(*((loss,) if metric.name == "loss" else (y, outputs)))
            return {metric.name: metric.result() for metric in self.metrics}


class OwnLoss(regkit_keras.Model):
    """A loss that is not that of `compile`."""

    adds = True

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = keras.ops.mean((y - y_pred) ** 2)
        return loss + sum(self.losses) if self.adds else loss


def network():
    keras.utils.set_random_seed(0)
    dense = keras.layers.Dense
    return keras.Sequential([keras.Input((4,)), dense(3, "tanh", name="hid"), dense(1, name="out")])


def trained(cls, mask=False, metrics=(), **aliases):
    """The model, whose weights stay, and the history of an epoch."""
    model = cls(network(), regkit.build(aliases), mask=mask, metrics=metrics)
    model.compile(keras.optimizers.SGD(0.0), "mse", metrics=["mae"] if issubclass(cls, Guide) else None)
    return model, model.fit(X, Y, batch_size=8, verbose=0).history


def by_hand(model):
    """The error, and the L1 norm of the hidden outputs in a batch of 8, by hand."""
    kernel, bias = model.get_layer("hid").get_weights()
    error = ((model.predict(X, verbose=0) - Y) ** 2).mean()
    return error, abs(np.tanh(X @ kernel + bias)).sum() / 3


def test_the_steps_of_the_guides_have_the_terms():
    model, history = trained(Guide, hidden_l1=0.1)
    error, penalty = by_hand(model)
    np.testing.assert_allclose(history["hidden_l1"], [0.1 * penalty], rtol=1e-5)
    np.testing.assert_allclose(history["loss_without_penalties"], [error], rtol=1e-5)
    np.testing.assert_allclose(history["loss"], [error + 0.1 * penalty], rtol=1e-4)
    assert set(history) == {"loss", "mae", "hidden_l1", "loss_without_penalties"}


def test_a_loss_that_adds_up_losses_has_the_terms_and_the_history_has_not():
    model, history = trained(OwnLoss, hidden_l1=0.1)
    error, penalty = by_hand(model)
    np.testing.assert_allclose(history["loss"], [error + 0.1 * penalty], rtol=1e-4)
    assert set(history) == {"loss"}


@pytest.mark.parametrize("mask", [False, True])
def test_a_second_loss_of_the_same_outputs_has_no_terms(mask):
    class Twice(regkit_keras.Model):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            first = super().compute_loss(x, y, y_pred, sample_weight, training)
            return first + regkit_keras.Model.compute_loss(self, x, 0 * y, y_pred, sample_weight, training)

    model, history = trained(Twice, mask, hidden_l1=0.1)
    error, penalty = by_hand(model)
    second = (model.predict(X, verbose=0) ** 2).mean()
    np.testing.assert_allclose(history["loss"], [error + 0.1 * penalty + second], rtol=1e-4)
    np.testing.assert_allclose(history["hidden_l1"], [0.1 * penalty], rtol=1e-5)


@pytest.mark.skipif(BACKEND == "jax", reason="a step on JAX gives the values of its metrics itself")
def test_an_evaluation_of_one_s_own_has_no_terms():
    class Own(regkit_keras.Model):
        def test_step(self, data):
            self(data[0], training=False)
            return {metric.name: metric.result() for metric in self.metrics}

    model, _ = trained(Own, hidden_l1=0.1)
    assert set(model.evaluate(X, Y, verbose=0, return_dict=True)) == {"loss"}


# Bad input


def refusal(kind, call):
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize(
    ("given", "instead"),
    [({"mask": True}, ""), ({"metrics": ["hidden_l1.zeros"]}, ""), ({}, ", or add up self.losses")],
    ids=["mask", "metrics", "losses"],
)
def test_a_loss_of_one_s_own_that_leaves_out_the_terms_is_an_error(given, instead):
    class Without(OwnLoss):
        adds = bool(given)

    if BACKEND == "jax" and not given:
        pytest.skip("Keras' step on JAX asks for the losses itself")
    assert refusal(regkit.GraphError, lambda: trained(Without, hidden_l1=0.1, **given)) == (
        "the loss of a training step has nothing of hidden_l1. In a train_step or compute_loss of your own, call "
        f"compute_loss of regkit_keras.Model{instead}"
    )


@pytest.mark.skipif(BACKEND != "jax", reason="others have variables that a step changes")
def test_a_loss_of_a_step_on_jax_that_is_not_stateless_is_an_error():
    class Own(Guide):
        stateless = None

    assert refusal(regkit.GraphError, lambda: trained(Own, hidden_l1=0.1)) == (
        "compute_loss changes metrics, which a train_step on JAX has as values. Call self.stateless_compute_loss "
        "there, as keras.Model.compute_loss_and_updates does"
    )


@pytest.mark.skipif(BACKEND == "jax", reason="the losses of a step on JAX are those of a call")
def test_a_loss_of_outputs_whose_terms_are_gone_is_an_error():
    class Twice(regkit_keras.Model):
        def train_step(self, data):
            x, y = data
            first, second = self(x, training=True), self(2 * x, training=True)
            return self.compute_loss(x, y, first) + self.compute_loss(x, y, second)

    assert refusal(regkit.GraphError, lambda: trained(Twice, hidden_l1=0.1)) == (
        "compute_loss got outputs of a call of the model before the last one, whose penalties are gone. Call it after "
        "each call of the model, or call the model once with all the data"
    )


def test_metrics_without_those_of_the_model_are_an_error():
    class Own(regkit_keras.Model):
        @property
        def metrics(self):
            return []

    assert refusal(regkit.OptionError, lambda: trained(Own, hidden_l1=0.1)) == (
        "the metrics of Own are without those of regkit_keras.Model, by which the history has what regularizers add. "
        "Return [*super().metrics, ...]"
    )
