"""One search on every library: the parameters that are suggested, and the aims that a twin in NumPy has."""

from __future__ import annotations

import re
from functools import partial

import numpy as np
import pytest
import regkit_search as search
from optuna.distributions import CategoricalDistribution, FloatDistribution

import blocks
import regkit

SPACE = {
    "hidden_l1": {
        "weight": FloatDistribution(1e-3, 1, log=True),
        "reduction": CategoricalDistribution(["batch", "mean"]),
        "pattern": "hid",
    },
    "weight_l2": {"weight": FloatDistribution(1e-3, 1, log=True), "pattern": "hid.w"},
}
RATE, STEPS, TRIALS = 0.1, 12, 24
_rng = np.random.default_rng(5)
DATA = _rng.normal(size=(20, 6)) @ np.diag([2, 1.5, 1, 0.5, 0.2, 0.1])
START = {"hid.w": _rng.normal(size=(6, 4)) / 2, "out.w": _rng.normal(size=(4, 6)) / 2}


def trained_on_graphs(lib):
    """`prepare` for a library of graphs: one step of gradient descent is one call of a function."""

    def prepare(regs):
        parameters = {name: lib.shared(value, name) for name, value in START.items()}
        x = lib.shared(DATA, "x")
        hidden = lib.tensor_module.tanh(x.dot(parameters["hid.w"]))
        out = hidden.dot(parameters["out.w"])
        layers = [
            regkit.Layer("in", outputs={"in": x}),
            regkit.Layer("hid", [parameters["hid.w"]], outputs={"hid": hidden}),
            regkit.Layer("out", [parameters["out.w"]], outputs={"out": out}),
        ]
        error = ((out - x) ** 2).mean()
        active = abs(hidden).mean()
        loss = error + regs.regularize(layers).loss
        updates = [(one, one - RATE * lib.grad(loss, one)) for one in parameters.values()]
        step = lib.function([], [], updates=updates)
        measure = lib.function([], [error, active])

        def evaluate(trial):
            for name, parameter in parameters.items():
                parameter.set_value(START[name])
            for _ in range(STEPS):
                step()
            return dict(zip(("error", "active"), measure()))

        return evaluate

    return prepare


def trained_on_jax(regs, at_once=False):
    """`prepare` for JAX: weights that the search sets are an argument of the step."""
    import jax
    import jax.numpy as jnp
    import regkit_jax

    def outputs(parameters):
        hidden = jnp.tanh(DATA @ parameters["hid.w"])
        return hidden, hidden @ parameters["out.w"]

    def measured(parameters):
        hidden, out = outputs(parameters)
        return ((out - DATA) ** 2).mean(), abs(hidden).mean()

    def loss(parameters, weights):
        run = regkit_jax.Run(regs, live=weights, layers=[regkit.Layer("hid", {"hid.w": parameters["hid.w"]})])
        hidden, out = outputs(parameters)
        run.tap("hid", hidden)
        return ((out - DATA) ** 2).mean() + run.loss()

    def step(parameters, weights):
        gradients = jax.grad(loss)(parameters, weights)
        return {name: value - RATE * gradients[name] for name, value in parameters.items()}

    compiled = jax.jit(step)

    def evaluate(trial):
        parameters = {name: jnp.asarray(value) for name, value in START.items()}
        for _ in range(STEPS):
            parameters = compiled(parameters, regs.live())
        error, active = measured(parameters)
        return {"error": error, "active": active}

    @jax.jit
    @jax.vmap
    def trained(weights):
        parameters = {name: jnp.asarray(value) for name, value in START.items()}
        return measured(jax.lax.scan(lambda now, _: (step(now, weights), None), parameters, length=STEPS)[0])

    def evaluate_many(trials):
        return dict(zip(("error", "active"), trained(trials.live)))

    return evaluate_many if at_once else evaluate


def trained_at_once_on_torch(regs):
    """`prepare` for torch: a training with weights of a batch, below torch.func.vmap."""
    import torch

    from regkit import hosts

    data = torch.as_tensor(DATA)

    def outputs(parameters):
        hidden = torch.tanh(data @ parameters["hid.w"])
        return hidden, hidden @ parameters["out.w"]

    def loss(parameters, weights):
        hidden, out = outputs(parameters)
        layers = [regkit.Layer("hid", {"hid.w": parameters["hid.w"]})]
        return ((out - data) ** 2).mean() + hosts.with_weights(regs, weights).loss(layers, {"hid": hidden})

    @torch.func.vmap
    def trained(weights):
        parameters = {name: torch.as_tensor(value) for name, value in START.items()}
        for _ in range(STEPS):
            gradients = torch.func.grad(loss)(parameters, weights)
            parameters = {name: value - RATE * gradients[name] for name, value in parameters.items()}
        hidden, out = outputs(parameters)
        return ((out - data) ** 2).mean(), abs(hidden).mean()

    def evaluate(trials):
        weights = {name: torch.as_tensor(values) for name, values in trials.live.items()}
        return dict(zip(("error", "active"), trained(weights)))

    return evaluate


def trained_by_hand(regs):
    """The twin: the same network with its derivatives written out, in NumPy."""
    count = {"batch": len(DATA), "mean": len(DATA) * 4}[regs["hidden_l1"].reduction]

    def evaluate(trial):
        sparsity, decay = (trial.params[f"{name}.weight"] for name in ("hidden_l1", "weight_l2"))
        first, second = START["hid.w"], START["out.w"]
        for _ in range(STEPS):
            hidden = np.tanh(DATA @ first)
            slope = 2 * (hidden @ second - DATA) / DATA.size
            down = (slope @ second.T + sparsity * np.sign(hidden) / count) * (1 - hidden**2)
            first, second = first - RATE * (DATA.T @ down + 2 * decay * first), second - RATE * hidden.T @ slope
        hidden = np.tanh(DATA @ first)
        return {"error": ((hidden @ second - DATA) ** 2).mean(), "active": abs(hidden).mean()}

    return evaluate


def each(prepare):
    """`prepare` for batches of one that trains trials one by one."""

    def many(regs):
        def evaluate_many(trials):
            found = [prepare(regs)(trial) for trial in trials]
            return {name: [one[name] for one in found] for name in found[0]}

        return evaluate_many

    return many


def assert_same(prepare, aims, batch=None):
    """TPE and NSGA-II look back at the aims, of which the last digits differ from library to library."""
    by_hand = each(trained_by_hand) if batch else trained_by_hand
    found, wanted = (
        search.run(one, SPACE, minimize=aims, trials=TRIALS, seed=2, batch=batch).frame() for one in (prepare, by_hand)
    )
    parameters = [name for name in wanted if "." in name]
    assert len(parameters) == 3
    assert found[parameters].equals(wanted[parameters])
    assert set(found["state"]) == {"complete"}
    np.testing.assert_allclose(found[["error", "active"]], wanted[["error", "active"]], rtol=0, atol=1e-10)
    assert wanted["error"].nunique() == TRIALS


@pytest.mark.parametrize("aims", ["error", ["error", "active"]], ids=["one aim", "two aims"])
def test_a_search_is_the_same_on_a_library_of_graphs(lib, aims):
    with lib.float_type("float64"):
        assert_same(trained_on_graphs(lib), aims)


@pytest.fixture
def jax_in_64_bits():
    import jax

    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


@pytest.mark.framework("regkit_jax")
@pytest.mark.usefixtures("jax_in_64_bits")
@pytest.mark.parametrize("aims", ["error", ["error", "active"]], ids=["one aim", "two aims"])
def test_a_search_is_the_same_on_jax_in_64_bits(aims):
    assert_same(trained_on_jax, aims)


@pytest.mark.framework("regkit_jax")
@pytest.mark.usefixtures("jax_in_64_bits")
def test_weights_of_a_batch_are_trained_at_once_on_jax():
    assert_same(partial(trained_on_jax, at_once=True), "error", batch=6)


@pytest.mark.framework("regkit_jax")
def test_the_program_of_the_page_trains_thirty_networks_at_once_on_jax():
    _, first, many, *_ = blocks.programs("docs/search.md")
    scope: dict = {}
    exec(re.sub(r"import pytensor.*\n", "", first.text.partition("\n\ndef prepare")[0]), scope)
    exec(many.text, scope)
    frame = scope["result"].frame()
    assert len(frame) == 30
    assert set(frame["state"]) == {"complete"}
    # as the page states of the first program, which suggests others
    assert 0.22 < frame["error"].min() < 0.24
    assert frame["training_error"][frame["weight_l2.weight"].idxmin()] < 0.01
    blocks.ran([many])


@pytest.mark.framework("regkit_torch")
def test_weights_of_a_batch_are_trained_at_once_on_torch():
    assert_same(trained_at_once_on_torch, "error", batch=6)
