"""Contractive: the true Jacobian, what wrt selects, and every promise of a regularizer."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from regkit_contractive import Contractive

import regkit
import regkit.testing

NETWORK = regkit.testing.Network("tanh")


def jacobians(layers, outputs):
    """The Jacobian of each hidden output by the input, for each example, by the chain rule for tanh layers."""
    found, before = {}, None
    for layer in layers[1:-1]:
        z, w = outputs[layer.output_name], np.asarray(layer.params[0])
        of_layer = (1 - z**2)[:, :, None] * w.T[None]
        before = of_layer if before is None else of_layer @ before
        found[layer.output_name] = before
    return found


def twin(regularizer, layers, outputs):
    found = jacobians(layers, outputs)
    names = regkit.testing.selected(regularizer, layers, outputs)
    per = {"sum": lambda j: 1, "mean": np.size, "batch": len}[regularizer.reduction]
    return np.mean([np.sum(found[name] ** 2) / per(found[name]) for name in names])


test_promises = regkit.testing.pytest_checks("contractive", twin=twin, network=NETWORK)


@pytest.mark.parametrize("reduction", ["sum", "mean", "batch"])
def test_every_reduction_is_that_of_the_twin(lib, reduction):
    values = NETWORK.values()
    inputs = lib.inputs(values)
    layers, outputs = NETWORK.connect(inputs, lib.tensor_module)
    regularizer = Contractive("hid1:out", reduction=reduction)
    found = lib.function(list(inputs.values()), regularizer.loss(layers, outputs))(*values.values())
    arrays = jacobians(*NETWORK.connect(values, np))["hid1:out"]
    per = {"sum": 1, "mean": arrays.size, "batch": len(arrays)}[reduction]
    assert found == pytest.approx(np.sum(arrays**2) / per, rel=1e-10)


def test_derivatives_of_opposite_signs_do_not_cancel(lib):
    x = lib.tensor("x")
    outputs = {"in": x, "hid": x * np.array([1.0, -1.0])}
    penalty = Contractive("hid", wrt="in").loss([], outputs)
    assert lib.evaluate(penalty, x=np.ones((3, 2))) == 3 * 2  # the mean of the outputs has a derivative of 0


def test_wrt_selects_what_is_differentiated_by(lib):
    x, y = lib.tensor("x"), lib.tensor("y")
    outputs = {"a": x, "b": y, "hid": 2 * x + 3 * y}
    for wrt, expected in (("a", 2 * 4), ("b", 2 * 9), (["a", "b"], 2 * 13)):
        penalty = Contractive("hid", wrt=wrt).loss([], outputs)
        assert lib.evaluate(penalty, x=np.ones((1, 2)), y=np.ones((1, 2))) == expected


def test_wrt_that_selects_no_input_names_the_outputs(lib):
    x = lib.tensor("x")
    with pytest.raises(regkit.NoMatchError) as error:
        Contractive("hid", wrt="input").loss([], {"in": x, "hid": 2 * x})
    assert str(error.value) == "wrt: pattern 'input' matches none of the outputs: in, hid"


def test_each_glob_of_wrt_has_to_match(lib):
    x = lib.tensor("x")
    with pytest.raises(regkit.NoMatchError) as error:
        Contractive("hid", wrt=["in", "inn"]).loss([], {"in": x, "hid": 2 * x})
    assert str(error.value) == "wrt: pattern 'inn' matches none of the outputs: in, hid"


@pytest.mark.parametrize("reduction", ["sum", "mean", "batch"])
def test_no_examples_have_no_derivatives(lib, reduction):
    x = lib.tensor("x")
    penalty = Contractive("hid", wrt="in", reduction=reduction).loss([], {"in": x, "hid": 2 * x})
    assert lib.evaluate(penalty, x=np.ones((0, 3))) == 0


def test_squares_of_derivatives_in_float16_do_not_overflow(lib):
    x = lib.tensor("x", "float16")
    penalty = Contractive("hid", wrt="in", reduction="mean").loss([], {"in": x, "hid": x * np.float16(300)})
    assert lib.evaluate(penalty, x=np.ones((2, 1), "float16")) == 90_000


def test_an_output_that_does_not_depend_on_the_input_is_an_error(lib):
    x, y = lib.tensor("x"), lib.tensor("y")
    with pytest.raises(regkit.GraphError, match="does not depend on"):
        Contractive("hid", wrt="in").loss([], {"in": x, "hid": 2 * y})


def test_an_input_that_does_not_reach_an_output_has_derivatives_of_zero(lib):
    x, y = lib.tensor("x"), lib.tensor("y")
    outputs = {"a": x, "b": y, "h1": 2 * x, "h2": x + 3 * y}
    penalty = Contractive("h*", wrt=["a", "b"]).loss([], outputs)
    assert lib.evaluate(penalty, x=np.ones((1, 2)), y=np.ones((1, 2))) == (2 * 4 + 2 * (1 + 9)) / 2
    with pytest.raises(regkit.GraphError, match="output 'h1' does not depend on any of the inputs b, h2"):
        Contractive("h1", wrt=["b", "h2"]).loss([], outputs)


def test_the_jacobian_of_a_random_layer_is_that_of_the_draws_of_the_graph(lib):
    x = lib.tensor("x")
    kept = regkit.graph.random_stream(x, 3).bernoulli(x, 0.5)
    outputs = {"in": x, "hid": 2 * kept * x}
    penalty = Contractive("hid", wrt="in").loss([], outputs)
    found, mask = lib.function([x], [penalty, kept])(np.ones((6, 5)))
    assert 0 < mask.sum() < 30
    assert found == 4 * mask.sum()


@pytest.mark.parametrize("alias", ["noise", "dropout"])
def test_beside_random_changes_the_gradient_is_that_of_finite_differences_with_the_draws_held(lib, alias):
    pytest.importorskip("regkit_noise", reason="what is random beside it comes from regkit-noise")
    rng = np.random.default_rng(0)
    at, w_at, v_at = (rng.normal(size=size) for size in ((5, 3), (3, 4), (4, 2)))
    x, w, v = lib.tensor("x"), lib.tensor("w"), lib.tensor("v")
    regs = regkit.build({alias: dict(weight=0.3, pattern="hid")}, contractive=dict(weight=2, pattern="out", wrt="in"))
    hidden = {"hid": lib.tensor_module.tanh(x.dot(w))}
    regs.modify_graph(hidden)
    out = lib.tensor_module.tanh(hidden["hid"].dot(v))
    regs.modify_graph({"out": out})
    loss = regs.loss([], {"in": x, **hidden, "out": out})
    drawing = lib.function([x, w, v], loss, rewrites=False)
    generators = [
        variable for variable in drawing.get_shared() if getattr(variable, "default_update", None) is not None
    ]
    assert generators
    results, as_they_are = [loss, hidden["hid"], *lib.grad(loss, [w, v])], [(one, one) for one in generators]
    held = lib.function([x, w, v], results, updates=as_they_are, rewrites=False)
    value, activations, by_w, by_v = held(at, w_at, v_at)

    clean = np.tanh(at @ w_at)
    factors = activations / clean if alias == "dropout" else np.ones_like(clean)
    rows = (1 - np.tanh(activations @ v_at) ** 2)[:, :, None] * (
        (v_at.T * ((1 - clean**2) * factors)[:, None, :]) @ w_at.T
    )
    assert value == pytest.approx(2 * np.sum(rows**2), rel=1e-10)
    assert (activations != clean).any()
    step = 1e-6
    for parameter, gradient in ((w_at, by_w), (v_at, by_v)):
        parameter[1, 1] += step
        above = held(at, w_at, v_at)[0]
        parameter[1, 1] -= 2 * step
        below = held(at, w_at, v_at)[0]
        parameter[1, 1] += step
        assert gradient[1, 1] == pytest.approx((above - below) / (2 * step), rel=1e-6)


def test_without_layers_or_wrt_there_is_no_input(lib):
    x = lib.tensor("x")
    with pytest.raises(regkit.NoMatchError, match="the output of the first layer, None, is not among the outputs"):
        Contractive("hid").loss([], {"in": x, "hid": 2 * x})


def test_the_layer_whose_role_is_input_is_differentiated_by(lib):
    x = lib.tensor("x")
    layers = [regkit.Layer("hid", role="hidden"), regkit.Layer("in", role="input")]
    penalty = Contractive("hid").loss(layers, {"hid": 2 * x, "in": x})
    assert lib.evaluate(penalty, x=np.ones((1, 3))) == 12


@pytest.mark.parametrize("wrt", [[], 3, [1], {"in": 1}])
def test_a_wrt_that_is_no_glob_is_refused(wrt):
    with pytest.raises(regkit.OptionError, match="Contractive got wrt="):
        Contractive(wrt=wrt)


def test_log_says_what_is_differentiated_by(caplog):
    with caplog.at_level(logging.INFO, logger="regkit"):
        Contractive("hid3:out", 0.1, wrt="in").log()
    assert caplog.messages == ["regularizer: 0.1 * Contractive(hid3:out) [wrt=in, reduction=sum]"]
