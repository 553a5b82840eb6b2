"""Every alias computes what its formula says, to 1e-12: the same file for each engine that is installed, and for Keras.

NumPy's arrays have no gradients, so they are not asked for any.
"""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

import regkit
import values
from regkit._engines import engine_of
from regkit.testing import Network, installed_libraries
from regkit.testing._laboratory import laboratory

WEIGHT = 0.25
KEPT = 1 - WEIGHT
LIBRARIES = installed_libraries()
HOSTS = ["keras"] if find_spec("regkit_keras") else []
LAYERS = [regkit.Layer(f"{unit}:out") for unit in values.UNITS]
Z = 1 + np.arange(6000.0).reshape(100, 60) / 6000  # what noise and dropout change; no element is zero


class OnEngine:
    """Aliases on the expressions of an engine, driven as a host does."""

    def __init__(self, name):
        self.lab = laboratory(name)
        self.gradients = self.lab.gradients
        self.running = self.lab.running

    def penalties(self, alias, penalty, weight):
        """The weighted penalty with each of its options; with which of them it is differentiated; its gradients."""
        inputs = values.inputs(penalty.kind)
        network = Network("sigmoid" if penalty.kind == "sigmoid" else "tanh")
        sets = [regkit.build({alias: {"weight": weight, **options}}) for options in penalty.options]

        def of_all(given):
            return [self._loss(regs, network, given) for regs in sets]

        found = self.lab.compiled(of_all, inputs)(inputs)
        if not self.gradients:
            return found, (), {}
        names = list(inputs)
        function = self.lab.compiled(lambda given: self._loss(sets[-1], network, given), inputs, by=names)
        return found, penalty.options[-1:], dict(zip(names, function(inputs)[1:]))

    def _loss(self, regs, network, inputs):
        """What a set adds to a loss. As a host does, pass it the engine's arrays, and get one."""
        engine = engine_of(inputs["in:out"])
        _, outputs = network.connect(inputs, self.lab.tensor_module)
        layers = [
            regkit.Layer(f"{unit}:out", {name: engine.unwrap(x) for name, x in inputs.items() if name.startswith(unit)})
            for unit in values.UNITS
        ]
        layers[0] = LAYERS[0]  # the input has no parameters
        return engine.wrap(regs.loss(layers, {name: engine.unwrap(z) for name, z in outputs.items()}))

    def changes(self, alias, weight, z, kept):
        """By unit, what an output is before an alias and after it; those that change are kept by names with an end."""
        names = []

        def build(given):
            outputs = self._changed(alias, weight, given["z"])
            names[:] = outputs
            return list(outputs.values())

        found = dict(zip(names, map(np.asarray, self.lab.compiled(build, {"z": z})({"z": z}))))
        after = {unit: found.pop(f"{unit}:out") for unit in values.UNITS}
        assert found.keys() == {f"{unit}:out{kept}" for unit, one in after.items() if (one != z).any()}
        for clean in found.values():
            np.testing.assert_array_equal(clean, z)
        return {unit: (z, one) for unit, one in after.items()}

    def _changed(self, alias, weight, z):
        """What an alias makes of layers whose outputs are all z, by name."""
        engine = engine_of(z)
        regs = regkit.build({alias: weight})
        outputs = {}
        for layer in LAYERS:
            of_layer = {layer.output_name: engine.unwrap(z)}
            regs.modify_graph(of_layer, LAYERS)
            outputs.update(of_layer)
        return {name: engine.wrap(output) for name, output in outputs.items()}

    def stepped(self, regs, params, rate):
        """What parameters are after a step of a rate, by their names."""

        def build(given):
            engine = engine_of(given["hid1.w"])
            stepped = regs.after_step({name: engine.unwrap(x) for name, x in given.items()}, rate)
            return [engine.wrap(stepped[name]) for name in params]

        return dict(zip(params, self.lab.compiled(build, params)(params)))

    def total_and_gradient(self, alias, weight, z, unit):
        """What an output is before an alias; the sum of it after that, and the derivatives by it, of the same draws."""

        def build(given):
            return self._changed(alias, weight, given["z"])[f"{unit}:out"].sum()

        return (z, *map(np.asarray, self.lab.compiled(build, {"z": z}, by=["z"])({"z": z})))


@pytest.fixture(params=["numpy", *(pytest.param(name, marks=pytest.mark.graph) for name in [*LIBRARIES, *HOSTS])])
def place(request):
    """Each library of arrays or graphs that is installed and has an engine, and a framework that runs on one."""
    if request.param == "keras":
        from values_keras import InKeras

        found = InKeras()
    else:
        found = OnEngine(request.param)
    with found.running():
        yield found


def close(found, expected):
    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-12, atol=1e-12)


def near(found, expected, deviation):
    """Hold a mean of draws to five of its standard deviations."""
    assert abs(found - expected) < 5 * deviation


@pytest.mark.graph
@pytest.mark.parametrize("package", ["theano", "aesara", "pytensor", "jax", "tensorflow", "torch"])
def test_each_library_that_is_installed_with_an_engine_is_tried(package):
    brought = package not in ("jax", "tensorflow", "torch") or find_spec(f"regkit_{package}") is not None
    assert (package in LIBRARIES) == (find_spec(package) is not None and brought)


def test_every_alias_of_ours_has_a_formula_here():
    ours = {
        alias
        for alias, claims in regkit.available().items()
        if any((claim.distribution or "").startswith("regkit-") for claim in claims)
    }
    changes = {*values.NOISES, *values.DROPOUTS, *values.DROP_PATHS, *values.SPARSE}
    assert ours == {*values.PENALTIES, *values.STEPS, *changes}


@pytest.mark.parametrize("alias", values.PENALTIES)
def test_the_penalty_and_its_gradients_are_those_of_the_formula(alias, place):
    penalty = values.PENALTIES[alias]
    if alias == "contractive" and not place.gradients:
        with pytest.raises(regkit.GraphError, match="no graph, so it has no jacobian"):
            place.penalties(alias, penalty, WEIGHT)
        return
    found, differentiated, gradients = place.penalties(alias, penalty, WEIGHT)
    close(found, [WEIGHT * penalty.value(**options) for options in penalty.options])
    assert gradients.keys() == (values.inputs(penalty.kind).keys() if place.gradients else set())
    for name, gradient in gradients.items():
        close(gradient, WEIGHT * sum(penalty.gradient(name, **options) for options in differentiated))


@pytest.mark.parametrize("alias", values.STEPS)
def test_the_step_after_the_optimizers_is_that_of_the_formula_with_its_zeros(alias, place):
    options, formula = values.STEPS[alias]
    regs = regkit.build({alias: {"weight": WEIGHT, **options}})
    params = {name: value for name, value in values.inputs("tanh").items() if name != "in:out"}
    for rate in (0.4, 6.0):
        found = place.stepped(regs, params, rate)
        for name, before in params.items():
            expected = formula(before, rate * WEIGHT / 3) if name.endswith(".w") else before
            close(found[name], expected)
            np.testing.assert_array_equal(np.asarray(found[name]) == 0, expected == 0)


@pytest.mark.parametrize("name", values.SCHEDULES)
def test_a_schedule_has_the_value_of_its_formula_at_a_step_that_is_an_expression(name, place):
    if not hasattr(place, "lab"):
        pytest.skip("a framework passes live weights to its step by itself")
    options, formula = values.SCHEDULES[name]
    regs = regkit.build(hidden_l1={"weight": {"schedule": name, **options}})

    def build(given):
        engine = engine_of(given["step"])
        return engine.wrap(regs.live(engine.unwrap(given["step"]))["hidden_l1"])

    function = place.lab.compiled(build, {"step": np.asarray(0)})
    for step in (0, 1, 2, 5, 6, 8, 20):
        (found,) = function({"step": np.asarray(step)})
        np.testing.assert_allclose(np.asarray(found), formula(step), rtol=1e-6, atol=1e-7)  # in the library's float


def changes_of(alias, units, kept, place, z=Z, weight=WEIGHT):
    """What outputs of the units are before an alias and after it, which leaves the others as they are."""
    found = place.changes(alias, weight, z, kept)
    for unit in set(values.UNITS) - set(units):
        np.testing.assert_array_equal(*found[unit])
    return [found[unit] for unit in units]


@pytest.mark.parametrize("alias", values.DROPOUTS)
def test_dropout_keeps_elements_over_the_probability_of_keeping_them_or_sets_them_to_zero(alias, place):
    units = values.DROPOUTS[alias]
    masks = []
    for before, after in changes_of(alias, units, "-predrop", place):
        mask = after != 0
        close(after, mask * before / KEPT)
        near(mask.mean(), KEPT, np.sqrt(KEPT * WEIGHT / Z.size))
        masks.append(mask.ravel())
    for one, other in zip(masks, masks[1:]):
        near(np.corrcoef(one, other)[0, 1], 0, Z.size**-0.5)
    if place.gradients:
        before, total, gradient = place.total_and_gradient(alias, WEIGHT, Z, units[-1])
        close(gradient, (gradient != 0) / KEPT)
        np.testing.assert_allclose(total, (gradient * before).sum(), rtol=1e-12)


@pytest.mark.parametrize("alias", values.DROP_PATHS)
def test_drop_path_keeps_examples_over_the_probability_of_keeping_them_or_sets_them_to_zero(alias, place):
    z = Z.reshape(2000, 3)
    masks = []
    for before, after in changes_of(alias, values.DROP_PATHS[alias], "-predrop", place, z=z):
        mask = after[:, :1] != 0
        close(after, mask * before / KEPT)
        near(mask.mean(), KEPT, np.sqrt(KEPT * WEIGHT / len(z)))
        masks.append(mask.ravel())
    near(np.corrcoef(*masks)[0, 1], 0, len(z) ** -0.5)


@pytest.mark.graph
@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("alias", ["hidden_l1", "hidden_variation", "hidden_hoyer", "weight_l1", "elastic_net"])
def test_what_is_0_has_no_gradient_of_an_absolute_value(alias, library):
    z = np.array([[0.5, 0.0, 0.0], [0.0, 0.0, -2.0]])
    by_hand = {
        "hidden_variation": [[1, -1, 0], [0, 1, -1]],  # of the steps -0.5, 0 and 0, -2
        "hidden_hoyer": np.zeros((2, 3)),  # one active unit is as sparse as can be
        "elastic_net": (np.sign(z) + z) / 2,
    }.get(alias, np.sign(z))
    lab = laboratory(library)
    regs = regkit.build({alias: dict(weight=1.0, pattern="*")})

    def loss(given):
        engine = engine_of(given["z"])
        array = engine.unwrap(given["z"])
        shown = ([], {"h": array}) if "hidden" in alias else ([regkit.Layer("h", {"h.w": array})], {})
        return engine.wrap(regs.loss(*shown))

    with lab.running():
        _, gradient = lab.compiled(loss, {"z": z}, by=["z"])({"z": z})
    np.testing.assert_allclose(gradient, by_hand, atol=1e-12)


@pytest.mark.parametrize("alias", values.SPARSE)
def test_sparse_changes_keep_those_elements_that_the_formula_keeps(alias, place):
    z = values.numbers((100, 60), 5)
    for (
        value,
        formula,
    ) in zip(*values.SPARSE[alias][:2]):
        for before, after in changes_of(alias, values.HIDDEN, values.SPARSE[alias][2], place, z=z, weight=value):
            np.testing.assert_array_equal(after, [formula(example) for example in before])


@pytest.mark.parametrize("alias", values.NOISES)
def test_noise_adds_independent_normal_draws_of_the_deviation_that_the_weight_is(alias, place):
    units = values.NOISES[alias]
    draws = [((after - before) / WEIGHT).ravel() for before, after in changes_of(alias, units, "-prenoise", place)]
    for epsilon in draws:
        for power, expected, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):  # moments of a normal variable
            near((epsilon**power).mean(), expected, np.sqrt(variance / Z.size))
        assert len(set(epsilon)) > 0.999 * Z.size
    for one, other in zip(draws, draws[1:]):
        near(np.corrcoef(one, other)[0, 1], 0, Z.size**-0.5)
    if place.gradients:
        _, _, gradient = place.total_and_gradient(alias, WEIGHT, Z, units[-1])
        np.testing.assert_array_equal(gradient, np.ones_like(Z))
