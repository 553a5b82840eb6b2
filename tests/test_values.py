"""Every alias computes what its formula says, to 1e-12, on every engine that is installed: the same file for all."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

import regkit
import values
from regkit.graph.engines import engine_of
from regkit.testing import Network, installed_libraries
from regkit.testing.libraries import laboratory

WEIGHT = 0.25
KEPT = 1 - WEIGHT
LIBRARIES = installed_libraries()
LAYERS = [regkit.Layer(f"{unit}:out") for unit in values.UNITS]
Z = 1 + np.arange(6000.0).reshape(100, 60) / 6000  # what noise and dropout change; no element is zero


@pytest.fixture(params=["numpy", *(pytest.param(name, marks=pytest.mark.graph) for name in LIBRARIES)])
def lab(request):
    """Each library of arrays or graphs that is installed and has an engine."""
    found = laboratory(request.param)
    with found.running():
        yield found


def loss(regs, network, inputs, lab):
    """What a set adds to a loss. As a host does, pass it the engine's arrays, and get one."""
    engine = engine_of(inputs["in:out"])
    _, outputs = network.connect(inputs, lab.tensor_module)
    layers = [
        regkit.Layer(f"{unit}:out", {name: engine.unwrap(x) for name, x in inputs.items() if name.startswith(unit)})
        for unit in values.UNITS
    ]
    layers[0] = LAYERS[0]  # the input has no parameters
    return engine.wrap(regs.loss(layers, {name: engine.unwrap(z) for name, z in outputs.items()}))


def changed(regs, z):
    """What a set makes of layers whose outputs are all z, by name."""
    engine = engine_of(z)
    outputs = {}
    for layer in LAYERS:
        of_layer = {layer.output_name: engine.unwrap(z)}
        regs.modify_graph(of_layer, LAYERS)
        outputs.update(of_layer)
    return {name: engine.wrap(output) for name, output in outputs.items()}


def close(found, expected):
    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-12, atol=1e-12)


def near(found, expected, deviation):
    """Hold a mean of draws to five of its standard deviations."""
    assert abs(found - expected) < 5 * deviation


@pytest.mark.graph
@pytest.mark.parametrize("package", ["theano", "aesara", "pytensor", "jax", "torch"])
def test_each_library_that_is_installed_with_an_engine_is_tried(package):
    brought = package not in ("jax", "torch") or find_spec(f"regkit_{package}") is not None
    assert (package in LIBRARIES) == (find_spec(package) is not None and brought)


def test_every_alias_of_ours_has_a_formula_here():
    ours = {
        alias
        for alias, claims in regkit.available().items()
        if any((claim.distribution or "").startswith("regkit-") for claim in claims)
    }
    assert ours == {*values.PENALTIES, *values.NOISES, *values.DROPOUTS}


@pytest.mark.parametrize("alias", values.PENALTIES)
def test_the_penalty_and_its_gradients_are_those_of_the_formula(alias, lab):
    penalty = values.PENALTIES[alias]
    inputs = values.inputs(penalty.kind)
    network = Network("sigmoid" if penalty.kind == "sigmoid" else "tanh")
    sets = [regkit.build({alias: {"weight": WEIGHT, **options}}) for options in penalty.options]

    def of_all(expressions):
        return [loss(regs, network, expressions, lab) for regs in sets]

    if alias == "contractive" and not lab.gradients:
        with pytest.raises(regkit.GraphError, match="no graph, so it has no jacobian"):
            lab.compiled(of_all, inputs)(inputs)
        return
    for options, found in zip(penalty.options, lab.compiled(of_all, inputs)(inputs)):
        close(found, WEIGHT * penalty.value(**options))
    if lab.gradients:
        names = list(inputs)
        function = lab.compiled(lambda given: loss(sets[-1], network, given, lab), inputs, by=names)
        for name, gradient in zip(names, function(inputs)[1:]):
            close(gradient, WEIGHT * penalty.gradient(name, **penalty.options[-1]))


def draws_of(alias, units, suffix, lab):
    """What an alias makes of Z in the units' layers; it leaves others as they are, and the clean outputs beside."""
    changes = {f"{unit}:out" for unit in units}
    names = [name for layer in LAYERS for name in (layer.output_name, layer.output_name + suffix)]
    names = [name for name in names if name.endswith(":out") or name[: -len(suffix)] in changes]
    seen = []

    def build(given):
        outputs = changed(regkit.build({alias: WEIGHT}), given["z"])
        seen.append(set(outputs))
        return [outputs[name] for name in names]

    found = dict(zip(names, map(np.asarray, lab.compiled(build, {"z": Z})({"z": Z}))))
    assert seen[0] == set(names)
    for name in set(names) - changes:
        np.testing.assert_array_equal(found[name], Z)
    return [found[name] for name in changes]


def gradient_of_change(alias, units, lab):
    """The sum of what an alias makes of Z in one layer, and its derivatives by Z, for the same draws."""

    def build(given):
        return changed(regkit.build({alias: WEIGHT}), given["z"])[f"{units[-1]}:out"].sum()

    return map(np.asarray, lab.compiled(build, {"z": Z}, by=["z"])({"z": Z}))


@pytest.mark.parametrize("alias", values.DROPOUTS)
def test_dropout_keeps_elements_over_the_probability_of_keeping_them_or_sets_them_to_zero(alias, lab):
    units = values.DROPOUTS[alias]
    masks = []
    for after in draws_of(alias, units, "-predrop", lab):
        mask = after != 0
        close(after, mask * Z / KEPT)
        near(mask.mean(), KEPT, np.sqrt(KEPT * WEIGHT / Z.size))
        masks.append(mask.ravel())
    for one, other in zip(masks, masks[1:]):
        near(np.corrcoef(one, other)[0, 1], 0, Z.size**-0.5)
    if lab.gradients:
        total, gradient = gradient_of_change(alias, units, lab)
        close(gradient, (gradient != 0) / KEPT)
        np.testing.assert_allclose(total, (gradient * Z).sum(), rtol=1e-12)


@pytest.mark.parametrize("alias", values.NOISES)
def test_noise_adds_independent_normal_draws_of_the_deviation_that_the_weight_is(alias, lab):
    units = values.NOISES[alias]
    draws = [((after - Z) / WEIGHT).ravel() for after in draws_of(alias, units, "-prenoise", lab)]
    for epsilon in draws:
        for power, expected, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):  # moments of a normal variable
            near((epsilon**power).mean(), expected, np.sqrt(variance / Z.size))
        assert len(set(epsilon)) > 0.999 * Z.size
    for one, other in zip(draws, draws[1:]):
        near(np.corrcoef(one, other)[0, 1], 0, Z.size**-0.5)
    if lab.gradients:
        _, gradient = gradient_of_change(alias, units, lab)
        np.testing.assert_array_equal(gradient, np.ones_like(Z))
