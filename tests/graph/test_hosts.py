"""One mistake, one class of error: on arrays, in graphs, and on every host that is installed.

Each host computes hidden outputs of twelve numbers 2, or outputs that are not floats, or none, beside a set of
regularizers, and returns the penalty.
"""

from __future__ import annotations

import importlib
import os
from importlib.util import find_spec
from typing import Any, Callable, NamedTuple

import numpy as np
import pytest

import regkit

X = np.ones((4, 3), "float32")
LIBRARY = next(filter(find_spec, ("theano", "aesara", "pytensor")), "no graph library")
KERAS = "keras" if "KERAS_BACKEND" in os.environ else "no backend of Keras"


class Literal(regkit.Regularizer):
    """It asks for an output that neither the pattern nor another option names."""

    def loss(self, outputs):
        return regkit.graph.total([abs(outputs[name]).sum() for name in ("other",)])


class Restless(regkit.Regularizer):
    """It sets an option of itself while it runs in a set."""

    def __init__(self, pattern=None, weight=0.0, scale=1.0):
        super().__init__(pattern, weight)
        self.scale = scale

    def loss(self, outputs):
        self.scale = 2.0


def made(given: Any) -> Any:
    """The set of some options; another value as it is."""
    return regkit.build(given) if isinstance(given, dict) else given


def on_numpy(given, hid):
    regs = made(given)
    outputs = {"hid": X * {"floats": 2, "complex": 2j}[hid], "other": X}
    regs.modify_graph(outputs)
    return regs.loss(outputs)


def in_a_graph(given, hid):
    library = importlib.import_module(LIBRARY)
    x = importlib.import_module(f"{LIBRARY}.tensor").fmatrix("x")
    outputs = {"hid": x * {"floats": 2, "complex": np.complex64(2j)}[hid], "other": x + 1} if hid != "nothing" else {}
    loss = made(given).regularize([], outputs).loss
    return library.function([x], loss, mode="FAST_COMPILE")(X)


def in_a_jax_run(given, hid):
    import jax
    import regkit_jax

    run = regkit_jax.Run(given if given == 3 else made(given), key=jax.random.key(0))
    if hid != "nothing":
        run.tap("other", X)
        run.tap("hid", X * {"floats": 2, "complex": 2j}[hid])
    return run.loss()


def in_an_nnx_watch(given, hid):
    import jax
    import regkit_jax
    from flax import nnx

    class Times(nnx.Module):
        def __init__(self, factor):
            self.factor = factor

        def __call__(self, x):
            return x * self.factor

    class Net(nnx.Module):
        def __init__(self):
            self.hid, self.other = Times({"floats": 2, "complex": 2j}[hid]), Times(1)

        def __call__(self, x):
            return self.other(self.hid(x).real)

    model = Net()
    with regkit_jax.nnx.watch(model, made(given), key=jax.random.key(0)) as run:
        model(X)
        return run.loss()


def in_a_keras_model(given, hid):
    import keras
    import regkit_keras

    class Times(keras.layers.Layer):
        def call(self, x):
            return keras.ops.cast(2 * x, "float32" if hid == "floats" else "int32")

    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.hid, self.other = Times(name="hid"), keras.layers.Dense(1, name="other")

        def call(self, x):
            return self.other(keras.ops.cast(self.hid(x), "float32"))

    model = regkit_keras.Model(Net(), made(given))
    model.compile(keras.optimizers.SGD(0.0), "mse")
    logs = model.train_on_batch(X, X[:, :1], return_dict=True)
    return sum(value for name, value in logs.items() if not name.startswith("loss"))


def in_a_torch_run(given, hid):
    import regkit_torch
    import torch

    run = regkit_torch.Run(made(given))
    if hid != "nothing":
        run.tap("other", torch.tensor(X))
        run.tap("hid", torch.tensor(X) * {"floats": 2, "complex": 2j}[hid])
    return run.loss()


def in_a_torch_watch(given, hid):
    import regkit_torch
    import torch

    class Times(torch.nn.Module):
        def __init__(self, factor):
            super().__init__()
            self.factor = factor

        def forward(self, x):
            return x * self.factor

    model = torch.nn.Module()
    model.hid, model.other = Times({"floats": 2, "complex": 2j, "nothing": 2}[hid]), torch.nn.Linear(3, 1)
    with regkit_torch.watch(model, made(given)) as run:
        if hid != "nothing":
            model.other(model.hid(torch.tensor(X)).real)
        return run.loss()


def in_a_tensorflow_run(given, hid):
    import regkit_tensorflow
    import tensorflow as tf

    run = regkit_tensorflow.Run(made(given))
    if hid != "nothing":
        run.tap("other", tf.constant(X))
        run.tap("hid", tf.constant(X * {"floats": 2, "complex": 2j}[hid]))
    return run.loss()


def in_a_pymc_model(given, hid):
    import pymc as pm
    import pytensor.tensor as pt
    import regkit_pymc

    with pm.Model() as model:
        w = pm.Flat("w", shape=(4, 3))
        pm.Deterministic("other", w + 1)
        pm.Deterministic("hid", pt.as_tensor(w) * {"floats": 2, "complex": 2j}[hid])
        regkit_pymc.regularize(given)
    return -model.compile_logp(vars=model.potentials)({"w": X})


def in_a_loss_of_pytensor_ml(given, hid):
    from pytensor_ml.layers import Input, Linear, Sequential
    from pytensor_ml.loss import SquaredError
    from pytensor_ml.model import Model
    from pytensor_ml.optim import sgd
    from regkit_pytensor_ml import Regularized

    network = Sequential(Linear("hid", n_in=3, n_out=3), Linear("other", n_in=3, n_out=1))(Input("X", shape=(None, 3)))
    model = Model(network, compile_kwargs={"mode": "FAST_COMPILE"}).initialize(seed=1)
    for param in model.weights:  # which make the hidden outputs 2, and the prediction 0
        param.set_value(2 * np.eye(3) if param.name.startswith("hid") and param.ndim > 1 else 0 * param.get_value())
    step = model.compile_train(sgd(0.0), Regularized(SquaredError(), made(given)))
    return float(step(X.astype("float64"), np.zeros((4, 1))))


def in_theanets(given, hid):
    import regkit_theanets
    import theano

    with regkit_theanets.installed("sum") as theanets:
        net = theanets.Regressor([3, (3, "linear"), 1], rng=1)
        for param in net.params:
            param.set_value((2 * np.eye(3) if param.name == "hid1.w" else 0 * param.get_value()).astype(param.dtype))
        loss = net.loss(regularizers=made(given))
        x = X.astype(theano.config.floatX)
        return theano.function(net.variables, loss)(x, 0 * x[:, :1])


class Host(NamedTuple):
    run: Callable[[Any, str], Any]
    needs: str  # a module without which it is left out
    output: str = "hid"
    weights: str = ""  # the name of a parameter, where it has some
    mistakes: str = "no pattern, complex, change, set"  # that can be made there


HOSTS = {
    "numpy": Host(on_numpy, "numpy", mistakes="no layers, no pattern, complex, change"),
    "graph": Host(in_a_graph, LIBRARY, mistakes="no layers, no pattern, complex, change, nothing"),
    "jax": Host(in_a_jax_run, "jax", mistakes="no layers, no pattern, complex, change, nothing, set"),
    "nnx": Host(in_an_nnx_watch, "flax"),  # a watch of which no module was called is a GraphError: its tests have that
    "keras": Host(in_a_keras_model, KERAS, weights="other/kernel"),
    "torch": Host(in_a_torch_run, "torch", mistakes="no layers, no pattern, complex, change, nothing, set"),
    "torch-watch": Host(
        in_a_torch_watch, "torch", weights="other.weight", mistakes="no pattern, complex, change, nothing, set"
    ),
    "tensorflow": Host(
        in_a_tensorflow_run, "tensorflow", mistakes="no layers, no pattern, complex, change, nothing, set"
    ),
    "pymc": Host(in_a_pymc_model, "pymc", weights="w", mistakes="no pattern, complex, set"),
    "pytensor-ml": Host(in_a_loss_of_pytensor_ml, "pytensor_ml", "hid:out", "hid_W", "change, set"),
    "theanets": Host(in_theanets, "theanets", "hid1:out", "hid1.w", "change, set"),
}


def on_hosts(mistake: str = ""):
    """Run a test on every host that is installed and on which the mistake can be made."""
    marks = {"graph": [pytest.mark.graph]}
    return pytest.mark.parametrize(
        "host",
        [
            pytest.param(host, id=name, marks=[pytest.mark.framework(host.needs), *marks.get(name, ())])
            for name, host in HOSTS.items()
            if mistake in host.mistakes or (mistake == "weights" and host.weights)
        ],
    )


def refusal(kind, host, given, hid="floats"):
    with pytest.raises(kind) as caught:
        host.run(given, hid)
    assert type(caught.value) is kind
    return str(caught.value)


@on_hosts()
def test_without_a_mistake_the_penalty_is_that_by_hand(host):
    value = host.run({"hidden_l1": {"weight": 0.5, "pattern": host.output}}, "floats")
    assert float(value) == 0.5 * 12 * 2


@on_hosts("no pattern")
@pytest.mark.parametrize("pattern", [None, "!other"])
def test_no_pattern_where_one_is_needed_is_an_option_error(host, pattern):
    assert "needs a pattern" in refusal(regkit.OptionError, host, {"hidden_l1": {"weight": 0.5, "pattern": pattern}})


@on_hosts()
def test_a_pattern_that_matches_no_output_is_a_no_match_error_with_the_outputs(host):
    error = refusal(regkit.NoMatchError, host, {"hidden_l1": {"weight": 0.5, "pattern": "hidd"}})
    assert "hidden_l1: pattern 'hidd' matches none of the " in error
    assert host.output in error.partition("none of the")[2]


@on_hosts()
def test_one_glob_of_several_that_matches_no_output_is_a_no_match_error_with_the_outputs(host):
    error = refusal(regkit.NoMatchError, host, {"hidden_l1": {"weight": 0.5, "pattern": [host.output, "hidd"]}})
    assert "hidden_l1: pattern 'hidd' matches none of the " in error
    assert host.output in error.partition("none of the")[2]


@on_hosts("change")
def test_a_change_that_matches_no_output_is_a_no_match_error_with_the_outputs(host):
    error = refusal(regkit.NoMatchError, host, {"dropout": {"weight": 0.5, "pattern": "hidd"}})
    assert "dropout: pattern 'hidd' matches none of the " in error
    assert host.output in error.partition("none of the")[2]


@on_hosts("weights")
def test_a_pattern_that_matches_no_weight_is_a_no_match_error_with_the_weights(host):
    error = refusal(regkit.NoMatchError, host, {"weight_l2": {"weight": 0.5, "pattern": "hidd"}})
    assert "weight_l2: pattern 'hidd' matches none of the " in error
    assert host.weights in error.partition("none of the")[2]


@on_hosts("no layers")
@pytest.mark.parametrize(("pattern", "globs"), [(None, "'*'"), ("w", "'w'"), (["w", "b"], "'w', 'b'"), ("!b", "'!b'")])
def test_a_penalty_of_parameters_where_no_layers_are_given_names_them_as_missing(host, pattern, globs):
    assert refusal(regkit.NoMatchError, host, {"weight_l2": {"weight": 0.5, "pattern": pattern}}) == (
        f"weight_l2: pattern {globs} is for parameters, which layers have, and no layers are given. "
        "Pass layers=[regkit.Layer('hid1', {'hid1.w': w})]"
    )


@on_hosts("nothing")
def test_a_change_where_nothing_was_computed_is_a_no_match_error(host):
    error = refusal(regkit.NoMatchError, host, {"dropout": {"weight": 0.5, "pattern": "hid"}}, "nothing")
    assert "dropout: pattern 'hid' matches none of the outputs: none" in error


@on_hosts("set")
def test_a_value_that_is_not_a_set_is_an_option_error(host):
    assert "3" in refusal(regkit.OptionError, host, 3)


@on_hosts("complex")
def test_an_output_that_is_not_of_floats_is_a_graph_error(host):
    error = refusal(regkit.GraphError, host, {"hidden_l1": {"weight": 0.5, "pattern": "hid"}}, "complex")
    assert "output 'hid' is of " in error


@on_hosts()
def test_a_hook_that_asks_for_an_output_that_it_does_not_look_at_gets_a_graph_error(host):
    error = refusal(regkit.GraphError, host, {"literal": Literal(host.output, weight=0.5)})
    assert "literal: the hook asked for the output 'other', which its regularizer does not look at" in error


@on_hosts()
def test_setting_an_option_of_a_member_is_an_option_error(host):
    error = refusal(regkit.OptionError, host, {"restless": Restless(host.output, weight=0.5)})
    assert "Restless.scale = 2.0: its options are fixed, since it is in a set" in error
