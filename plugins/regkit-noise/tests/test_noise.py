"""Noise and dropout: their statistics, the outputs they change, their streams, and every promise of a regularizer."""

from __future__ import annotations

import numpy as np
import pytest
from regkit_noise import Dropout, DropPath, GaussianNoise, HiddenNoise

import regkit
import regkit.testing

ALIASES = ("noise", "dropout")
PLACES = {"": ["in:out", "hid1:out", "hid2:out", "out:out"], "input_": ["in:out"], "output_": ["out:out"]}
PLACES["hidden_"] = ["hid1:out", "hid2:out"]
LAYERS = [regkit.Layer(name) for name in PLACES[""]]

test_promises_of_noise = regkit.testing.pytest_checks("noise")
test_promises_of_input_noise = regkit.testing.pytest_checks("input_noise")
test_promises_of_hidden_noise = regkit.testing.pytest_checks("hidden_noise")
test_promises_of_output_noise = regkit.testing.pytest_checks("output_noise")
test_promises_of_dropout = regkit.testing.pytest_checks("dropout")
test_promises_of_input_dropout = regkit.testing.pytest_checks("input_dropout")
test_promises_of_hidden_dropout = regkit.testing.pytest_checks("hidden_dropout")
test_promises_of_output_dropout = regkit.testing.pytest_checks("output_dropout")
test_promises_of_drop_path = regkit.testing.pytest_checks("drop_path")


def run(regs, outputs):
    """Hand the outputs to the regularizers layer by layer."""
    result = {}
    for name, z in outputs.items():
        of_layer = {name: z}
        regs.modify_graph(of_layer, LAYERS)
        result.update(of_layer)
    return result


@pytest.mark.parametrize("kind", ALIASES)
@pytest.mark.parametrize("place", PLACES)
def test_each_alias_changes_the_outputs_of_its_layers_and_keeps_them(kind, place):
    clean = {name: np.ones((20, 10)) for name in PLACES[""]}
    found = run(regkit.build({place + kind: 0.5}), clean)
    suffix = {"noise": "-prenoise", "dropout": "-predrop"}[kind]
    assert [name for name in found if name not in clean] == [name + suffix for name in PLACES[place]]
    for name in clean:
        assert (found[name] != clean[name]).any() == (name in PLACES[place])
        assert name not in PLACES[place] or found[name + suffix] is clean[name]


def test_noise_has_the_mean_and_the_standard_deviation_of_its_definition(lib):
    z = lib.tensor("z")
    outputs = {"hid1:out": z}
    GaussianNoise("hid1:out", 0.3).modify_graph(outputs, [])
    noise = lib.evaluate(outputs["hid1:out"], z=np.full((400, 250), 2.0)) - 2
    # 100,000 draws: the standard error of the mean is 0.001, that of the standard deviation 0.0007
    assert abs(noise.mean()) < 0.005
    assert noise.std() == pytest.approx(0.3, abs=0.004)


def test_dropout_drops_its_share_and_keeps_the_expected_value(lib):
    z = lib.tensor("z")
    outputs = {"hid1:out": z}
    Dropout("hid1:out", 0.2).modify_graph(outputs, [])
    found = lib.evaluate(outputs["hid1:out"], z=np.full((400, 250), 2.0))
    np.testing.assert_allclose(np.unique(found), [0, 2.5])
    # 100,000 draws: the standard error of the share is 0.0013
    assert (found == 0).mean() == pytest.approx(0.2, abs=0.006)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_drop_path_drops_whole_examples_and_keeps_the_expected_value(lib, ndim):
    z = lib.tensor("z", "float32", ndim)
    outputs = {"branch": z}
    DropPath("branch", 0.2).modify_graph(outputs, [])
    function = lib.function([z], outputs["branch"])
    ones = np.full((20000, 3, 2)[:ndim], 2, "float32")
    found = function(ones)
    assert found.dtype == "float32"
    examples = found.reshape(len(ones), -1)
    np.testing.assert_allclose(np.unique(examples), [0, 2.5], rtol=1e-6)
    assert (examples == examples[:, :1]).all()
    # 20,000 draws: the standard error of the share is 0.003
    assert (examples[:, 0] == 0).mean() == pytest.approx(0.2, abs=0.014)
    assert (function(ones) != found).any()


def test_drop_path_changes_hidden_layers_and_leaves_predictions_as_they_are():
    clean = {name: np.ones((20, 10)) for name in PLACES[""]}
    regs = regkit.build(drop_path=0.5)
    found = run(regs, clean)
    assert [name for name in found if name not in clean] == ["hid1:out-predrop", "hid2:out-predrop"]
    assert not regs["drop_path"].in_predictions


def test_drop_path_of_an_output_without_examples_is_an_error():
    with pytest.raises(regkit.GraphError, match=r"an output has no axes; DropPath expects \(examples, ...\)"):
        DropPath("z", 0.5).modify_graph({"z": np.ones(())}, [])


@pytest.mark.parametrize("regularizer", [GaussianNoise("*", 0.5), Dropout("*", 0.5)])
def test_every_call_of_a_compiled_function_draws_anew(lib, regularizer):
    z = lib.tensor("z")
    outputs = {"z": z}
    regularizer.modify_graph(outputs, [])
    function = lib.function([z], outputs["z"])
    assert (function(np.ones((9, 9))) != function(np.ones((9, 9)))).any()


def test_several_at_once_have_each_their_own_strength_and_stream(lib):
    regs = regkit.build(noise=[dict(pattern="hid[23]:out", weight=0.1), dict(pattern="in:out", weight=3)])
    inputs = {name: lib.tensor(name) for name in ("in:out", "hid2:out", "hid3:out", "out:out")}
    noisy = {}
    for name, z in inputs.items():
        of_layer = {name: z}
        regs.modify_graph(of_layer, [regkit.Layer(layer) for layer in inputs])
        noisy.update(of_layer)
    assert noisy["out:out"] is inputs["out:out"]
    zeros = np.zeros((100, 100))
    draws = [lib.evaluate(noisy[name], **{name: zeros}) for name in ("in:out", "hid2:out", "hid3:out")]
    np.testing.assert_allclose([draw.std() for draw in draws], [3, 0.1, 0.1], rtol=0.05)
    correlations = np.corrcoef([draw.ravel() for draw in draws]) - np.eye(3)
    assert abs(correlations).max() < 0.05


def test_equal_noises_are_independent_in_every_output_however_many_there_are():
    regs = regkit.build(noise=[dict(weight=1.0, pattern="*"), dict(weight=1.0, pattern="*")])
    outputs = {f"hid{i}:out": np.zeros(100) for i in range(1001)}
    regs.modify_graph(outputs)
    noise = [outputs[f"hid{i}:out"].std() for i in range(1001)]
    assert np.mean(noise) == pytest.approx(np.sqrt(2), rel=0.01)  # of two that draw the same it would be 2
    assert max(noise) < 1.9


class Double(regkit.Regularizer):
    """Doubles the outputs."""

    def modify_graph(self, outputs):
        for name in list(outputs):
            outputs[name] = 2 * outputs[name]


def test_equal_dropouts_are_independent_whatever_stands_between_them():
    outputs = {"h": np.ones((200, 200))}
    regkit.build({"a": Dropout("h", 0.5), "double": Double(), "b": Dropout("h", 0.5)}).modify_graph(outputs)
    assert (outputs["h"] != 0).mean() == pytest.approx(0.25, abs=0.01)
    assert outputs["h"].mean() == pytest.approx(2, abs=0.1)


def test_noise_and_dropout_of_one_seed_are_independent():
    z = np.ones((100, 100))
    outputs = {"z": z}
    regkit.build(noise=GaussianNoise("z", 1.0), more=GaussianNoise(["z"], 1.0)).modify_graph(outputs)
    noise = outputs["z"] - 1
    assert noise.std() == pytest.approx(np.sqrt(2), rel=0.03)  # of two that draw the same it would be 2


@pytest.mark.parametrize("arrays", [True, False])
def test_two_that_are_the_same_in_all_draw_different_numbers(lib, arrays):
    regs = regkit.build(noise=[1.0, 1.0], dropout=[0.5, 0.5])
    ones = np.ones((200, 200))
    z = ones if arrays else lib.tensor("z")
    layer = [regkit.Layer("z")]
    noise, dropout = ({"z": z} for _ in range(2))
    regs[:2].modify_graph(noise, layer)
    regs[2:].modify_graph(dropout, layer)
    found = [of["z"] if arrays else lib.evaluate(of["z"], z=ones) for of in (noise, dropout)]
    assert found[0].std() == pytest.approx(np.sqrt(2), rel=0.03)  # of two that draw the same it would be 2
    assert found[1].mean() == pytest.approx(1, rel=0.1)  # likewise
    again = {"z": ones}
    regkit.build(noise=[1.0, 1.0]).modify_graph(again, layer)
    assert not arrays or (again["z"] == found[0]).all()


def test_a_live_standard_deviation_changes_without_compiling_again(lib):
    sigma = lib.shared(np.asarray(1.0))
    z = lib.tensor("z")
    outputs = {"z": z}
    GaussianNoise("z", sigma).modify_graph(outputs, [])
    function = lib.function([z], outputs["z"])
    assert function(np.zeros((50, 50))).std() == pytest.approx(1, rel=0.1)
    sigma.set_value(np.asarray(0.0))
    assert (function(np.zeros((50, 50))) == 0).all()


@pytest.mark.parametrize("kind", ["shared", "computed", "Live"])
def test_arrays_are_changed_with_the_present_value_of_a_live_weight(lib, kind):
    def weight(value):
        shared = lib.shared(np.asarray(value))
        return {"shared": shared, "computed": shared + 0, "Live": regkit.Live(value)}[kind]

    for alias, deviation in (("noise", 0.5), ("dropout", 1)):  # of values 0 and 2 with p = 0.5: 1
        of_layer = {"z": np.ones((100, 100), "float32")}
        regkit.build({alias: dict(weight=weight(0.5), pattern="z")}).modify_graph(of_layer)
        assert of_layer["z"].std() == pytest.approx(deviation, rel=0.05)
        assert of_layer["z"].dtype == "float32"


@pytest.mark.parametrize("alias", ["noise", "dropout"])
def test_a_live_weight_changes_graphs_without_compiling_again(lib, alias):
    weight, z = regkit.Live(0.5), lib.tensor("z", "float32")
    outputs = {"z": z}
    regkit.build({alias: dict(weight=weight, pattern="z")}).modify_graph(outputs)
    assert outputs["z"].dtype == "float32"
    function = lib.function([z], outputs["z"])
    ones = np.ones((100, 100), "float32")
    assert function(ones).std() == pytest.approx({"noise": 0.5, "dropout": 1}[alias], rel=0.05)
    weight.set(0.2)  # of values 0 and 1.25 with p = 0.2: 0.5
    assert function(ones).std() == pytest.approx({"noise": 0.2, "dropout": 0.5}[alias], rel=0.05)


def test_a_live_weight_of_dropout_stays_below_1():
    weight = regkit.Live(0.5)
    regkit.build(dropout=weight)
    with pytest.raises(regkit.OptionError, match="Dropout"):
        weight.set(1)
    assert weight.value == 0.5


def test_roles_tell_which_layers_are_hidden():
    layers = [regkit.Layer("a", role="hidden"), regkit.Layer("b", role="input"), regkit.Layer("c", role="output")]
    regs = regkit.build(hidden_noise=1.0)
    outputs = {name: np.zeros(9) for name in "abc"}
    regs.modify_graph(outputs, layers)
    assert [name for name in outputs if name.endswith("-prenoise")] == ["a-prenoise"]


def test_a_weight_of_zero_changes_nothing():
    outputs = {name: np.ones(3) for name in PLACES[""]}
    with pytest.warns(UserWarning, match="its weight is 0 and it has no effect"):
        regs = regkit.build(noise=0, dropout=dict(pattern="*"))
    assert list(run(regs, outputs)) == list(outputs)


def test_hidden_noise_of_a_network_without_hidden_layers_is_an_error():
    regs = regkit.build(hidden_noise=0.1)
    layers = LAYERS[:1] + LAYERS[-1:]
    outputs = {layer.output_name: np.ones(2) for layer in layers}
    for name, z in outputs.items():
        regs.modify_graph({name: z}, layers)
    assert [member.name for member in regkit.hosts.unchanged(regs, outputs)] == ["hidden_noise"]
    with pytest.raises(regkit.NoMatchError, match="hidden_noise: the network has no hidden layers"):
        regs.loss(layers, outputs)


def test_input_noise_of_a_network_that_names_no_input_says_that_there_is_none():
    layers = [regkit.Layer("hid:out", role="hidden")]
    outputs = {"hid:out": np.ones(2)}
    regs = regkit.build(input_noise=0.1)
    regs.modify_graph(outputs, layers)
    with pytest.raises(regkit.NoMatchError, match="input_noise: the network has no input layers"):
        regs.loss(layers, outputs)


@pytest.mark.parametrize("weight", [1, 1.0, 2.5])
def test_dropout_of_everything_is_refused(weight):
    with pytest.raises(regkit.OptionError, match=f"Dropout got weight={weight}; accepted: .* at least 0 and below 1"):
        regkit.build(dropout=weight)


def test_negative_noise_is_refused():
    with pytest.raises(regkit.OptionError, match="GaussianNoise got weight=-0.1; accepted: a finite real number of"):
        regkit.build(noise=-0.1)


@pytest.mark.parametrize("seed", [-1, 1.5, "13", None, True])
def test_a_seed_that_is_none_is_refused(seed):
    with pytest.raises(regkit.OptionError, match="accepted: an integer of at least 0"):
        HiddenNoise(weight=0.1, seed=seed)


def test_outputs_of_integers_are_refused():
    with pytest.raises(regkit.GraphError, match="output 'z' is of int64; Dropout changes floats only"):
        Dropout("z", 0.5).modify_graph({"z": np.ones(3, "int64")}, [])


def test_without_layers_a_pattern_is_needed():
    said = "InputNoise needs a pattern, since no layers are given.* Pass a pattern to select among the outputs: in:out"
    with pytest.raises(regkit.OptionError, match=said):
        regkit.build(input_noise=0.1).modify_graph({"in:out": np.ones(3)})
