"""Small networks of pytensor-ml, each beside what it computes written down with NumPy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pytest
import scipy.stats
from pytensor.compile.mode import Mode
from pytensor_ml.activations import ReLU, Tanh
from pytensor_ml.layers import (
    LSTM,
    BatchNorm,
    Conv2D,
    Dropout,
    Flatten,
    Input,
    Linear,
    MaxPool2D,
    MultiheadAttention,
    Sequential,
)
from pytensor_ml.model import Model

EXAMPLES = 8
RNG = np.random.default_rng(5)
TARGETS = RNG.integers(0, 3, EXAMPLES)


@dataclass
class Network:
    """A network's prediction, and its outputs with NumPy: of the data, the parameters and whether it trains."""

    prediction: Any
    data: np.ndarray
    hidden: tuple[str, ...]
    outputs: Callable[[np.ndarray, dict[str, np.ndarray], bool], dict[str, np.ndarray]]
    dropout: Any = None
    targets: np.ndarray = field(default_factory=lambda: TARGETS)

    def __post_init__(self) -> None:
        self.model = Model(self.prediction, {"mode": Mode("py", "fast_compile")}).initialize(seed=3)

    @property
    def values(self) -> dict[str, np.ndarray]:
        return {param.name: param.get_value() for param in self.model.weights}

    def numpy(self, training: bool = True) -> dict[str, np.ndarray]:
        return self.outputs(self.data, self.values, training)

    def loss(self, step: Callable[..., Any]) -> float:
        """The loss of a step, of which dropout draws what it draws first."""
        if self.dropout is not None:
            self.dropout.generators[0].set_value(np.random.default_rng(11))
        return float(step(self.data, self.targets))


def linear(x, values, name):
    return x @ values[f"{name}_W"] + values[f"{name}_b"]


def softmax(x):
    exp = np.exp(x - x.max(axis=-1, keepdims=True))
    return exp / exp.sum(axis=-1, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


relu = partial(np.maximum, 0)


def mlp():
    x = Input("X", shape=(None, 4))
    prediction = Sequential(
        Linear("fc1", n_in=4, n_out=5),
        ReLU(),
        Linear("fc2", n_in=5, n_out=6),
        Tanh(),
        Linear("logits", n_in=6, n_out=3),
    )(x)

    def outputs(x, values, training):
        fc1 = relu(linear(x, values, "fc1"))
        fc2 = np.tanh(linear(fc1, values, "fc2"))
        return {"fc1:out": fc1, "fc2:out": fc2, "logits:out": linear(fc2, values, "logits")}

    return Network(prediction, RNG.normal(size=(EXAMPLES, 4)), ("fc1:out", "fc2:out"), outputs)


def convolution():
    """The output of a convolution is pooled and flat, as the next layer takes it."""
    x = Input("X", shape=(None, 6, 6, 2))
    pooled = Sequential(Conv2D("conv", in_channels=2, out_channels=4, kernel_size=3), ReLU(), MaxPool2D())(x)
    prediction = Linear("logits", n_in=16, n_out=3)(Flatten(pooled))

    def outputs(x, values, training):
        windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
        maps = np.einsum("nxyckl,klco->nxyo", windows, values["conv_W"]) + values["conv_b"]
        conv = relu(maps).reshape(len(x), 2, 2, 2, 2, 4).max(axis=(2, 4)).reshape(len(x), 16)
        return {"conv:out": conv, "logits:out": linear(conv, values, "logits")}

    return Network(prediction, RNG.normal(size=(EXAMPLES, 6, 6, 2)), ("conv:out",), outputs)


def residual():
    """The sum of a layer and of what it was made from belongs to the layer, whatever the names are."""
    x = Input("X", shape=(None, 4))
    stem = ReLU()(Linear("stem", n_in=4, n_out=5)(x))
    block = ReLU()(stem + Linear("block", n_in=5, n_out=5)(stem))
    prediction = Linear("logits", n_in=5, n_out=3)(block)

    def outputs(x, values, training):
        stem = relu(linear(x, values, "stem"))
        block = relu(stem + linear(stem, values, "block"))
        return {"stem:out": stem, "block:out": block, "logits:out": linear(block, values, "logits")}

    return Network(prediction, RNG.normal(size=(EXAMPLES, 4)), ("stem:out", "block:out"), outputs)


def normalized():
    """BatchNorm, activation and Dropout belong to the layer before them: its output is what leaves the last."""
    dropout = Dropout(p=0.25, random_state=0)
    norm = BatchNorm("bn", n_in=5)
    x = Input("X", shape=(None, 4))
    layers = Linear("fc1", n_in=4, n_out=5), norm, ReLU(), dropout, Linear("logits", n_in=5, n_out=3)
    prediction = Sequential(*layers)(x)

    def outputs(x, values, training):
        fc1 = linear(x, values, "fc1")
        mean, variance = fc1.mean(axis=0), fc1.var(axis=0)
        if not training:
            mean, variance = norm.running_mean.get_value(), norm.running_var.get_value()
        fc1 = relu((fc1 - mean) / np.sqrt(variance + 1e-5) * values["bn_scale"] + values["bn_loc"])
        if training:
            kept = scipy.stats.bernoulli.rvs(0.75, size=fc1.shape, random_state=np.random.default_rng(11))
            fc1 = fc1 * kept / 0.75
        return {"fc1:out": fc1, "logits:out": linear(fc1, values, "logits")}

    return Network(prediction, RNG.normal(size=(EXAMPLES, 4)), ("fc1:out",), outputs, dropout)


def recurrent():
    """The output of an LSTM of which only the last state is used is that state."""
    x = Input("X", shape=(None, 4, 3))
    prediction = Linear("logits", n_in=5, n_out=3)(LSTM("lstm", n_in=3, n_hidden=5)(x)[:, -1])

    def outputs(x, values, training):
        state = memory = np.zeros((len(x), 5))
        for step in range(x.shape[1]):
            gates = x[:, step] @ values["lstm_W_ih"] + state @ values["lstm_W_hh"] + values["lstm_b"]
            take, keep, candidate, give = np.split(gates, 4, axis=1)
            memory = sigmoid(keep) * memory + sigmoid(take) * np.tanh(candidate)
            state = sigmoid(give) * np.tanh(memory)
        return {"lstm:out": state, "logits:out": linear(state, values, "logits")}

    return Network(prediction, RNG.normal(size=(EXAMPLES, 4, 3)), ("lstm:out",), outputs)


def attention():
    """Queries and keys are layers; what is attended to belongs to the values, whose name is the last of the three."""
    x = Input("X", shape=(None, 4, 6))
    attended = MultiheadAttention("at", n_embd=6, n_head=2)(x)
    prediction = Linear("logits", n_in=6, n_out=3)(attended.mean(axis=1))

    def outputs(x, values, training):
        def heads(name):
            return linear(x, values, name).reshape(len(x), 4, 2, 3).swapaxes(1, 2)

        q, k, v = (heads(f"at_{which}_proj") for which in "qkv")
        mixed = (softmax(q @ k.swapaxes(2, 3) / np.sqrt(3)) @ v).swapaxes(1, 2).reshape(len(x), 4, 6)
        out = linear(mixed, values, "at_out_proj").mean(axis=1)
        return {
            "at_q_proj:out": q,
            "at_k_proj:out": k,
            "at_v_proj:out": mixed,
            "at_out_proj:out": out,
            "logits:out": linear(out, values, "logits"),
        }

    hidden = "at_q_proj:out", "at_k_proj:out", "at_v_proj:out", "at_out_proj:out"
    return Network(prediction, RNG.normal(size=(EXAMPLES, 4, 6)), hidden, outputs)


@pytest.fixture(params=[mlp, convolution, residual, normalized, recurrent, attention], ids=lambda make: make.__name__)
def network(request) -> Network:
    return request.param()
