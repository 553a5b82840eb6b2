"""Which outputs and parameters a glob selects."""

from __future__ import annotations

import numpy as np
import pytest

import regkit

OUTPUTS = {
    name: np.array(float(i)) for i, name in enumerate(("in:out", "hid1:out", "hid2:out", "hid2:pre", "Hid3:out"))
}


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("hid1:out", ["hid1:out"]),
        ("hid*", ["hid1:out", "hid2:out", "hid2:pre"]),
        ("hid[23]:*", ["hid2:out", "hid2:pre"]),
        (["hid2:*", "*:out"], ["in:out", "hid1:out", "hid2:out", "hid2:pre", "Hid3:out"]),
        (("Hid*",), ["Hid3:out"]),
    ],
)
def test_globs_are_case_sensitive_and_select_each_output_once_in_order(pattern, names):
    assert regkit.select_outputs(OUTPUTS, pattern) == [(name, OUTPUTS[name]) for name in names]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [("act", ["act", "act@1", "act@12"]), ("act@1", ["act@1"]), ("*@*", ["act@1", "act@12", "act@home"])],
)
def test_an_output_that_comes_again_is_matched_by_what_matches_the_first(pattern, names):
    outputs = dict.fromkeys(("act", "act@1", "act@12", "act@home"), np.ones(2))
    assert [name for name, _ in regkit.select_outputs(outputs, pattern)] == names


def test_by_default_the_repetitions_of_hidden_outputs_are_selected_too():
    layers = [regkit.Layer(name) for name in ("in", "hid1", "hid2", "out")]
    outputs = {name: np.ones(2) for name in ("in", "in@1", "hid1", "hid2", "hid2@1", "out", "out@1")}
    assert [name for name, _ in regkit.select_outputs(outputs, None, layers)] == ["hid1", "hid2", "hid2@1"]


def test_outputs_that_match_nothing_are_named():
    with pytest.raises(regkit.NoMatchError) as error:
        regkit.select_outputs(OUTPUTS, ["hid9", "HID1:out"])
    assert str(error.value) == (
        "pattern 'hid9', 'HID1:out' matches none of the outputs: in:out, hid1:out, hid2:out, hid2:pre, Hid3:out"
    )


@pytest.mark.parametrize("pattern", [None, 3, []])
def test_a_selection_of_outputs_needs_a_glob(pattern):
    with pytest.raises(regkit.OptionError, match="select got pattern="):
        regkit.select_outputs(OUTPUTS, pattern)


def param(name=None, value=1.0):
    """An array with a name, as the parameters of a network have one."""
    array = np.array([value]).view(type("Param", (np.ndarray,), {"name": name}))
    assert array.name == name
    return array


def test_parameters_are_selected_by_name_once_also_where_layers_share_them():
    w1, w2, b = param("hid1.w"), param("hid2.w"), param("hid1.b")
    layers = [regkit.Layer("in:out"), regkit.Layer("hid1:out", [w1, b]), regkit.Layer("hid2:out", [w2, w1])]
    assert regkit.select_params(layers, "*.w") == [("hid1.w", w1), ("hid2.w", w2)]
    with pytest.raises(regkit.NoMatchError) as error:
        regkit.select_params(layers, "out.*")
    assert str(error.value) == "pattern 'out.*' matches none of the parameters: hid1.w, hid1.b, hid2.w"


def test_a_parameter_without_a_name_goes_by_its_layer_and_position():
    shared = param()
    layers = [regkit.Layer("hid1:out", [param("hid1.w"), shared]), regkit.Layer("hid2:out", [shared, param()])]
    assert [name for name, _ in regkit.select_params(layers)] == ["hid1.w", "hid1:out.param1", "hid2:out.param1"]
    assert regkit.select_params(layers, "hid1:*") == [("hid1:out.param1", shared)]


def test_a_mapping_of_parameters_has_their_full_names():
    first, second = param("W"), param("W")
    layers = [regkit.Layer("hid1", {"hid1.W": first}), regkit.Layer("hid2", {"hid2.W": second})]
    assert layers[0].params == (first,)
    assert regkit.select_params(layers, "*.W") == [("hid1.W", first), ("hid2.W", second)]


def test_a_hosts_own_layer_may_hold_its_parameters_in_a_mapping():
    class Own:
        output_name = "hid1"
        params = {"hid1.W": param()}  # noqa: RUF012 - as a host has it

    assert [name for name, _ in regkit.select_params([Own()], "hid1.*")] == ["hid1.W"]


def test_two_parameters_of_one_name_are_an_error_and_not_one_of_them():
    layers = [regkit.Layer("hid1:out", [param("w")]), regkit.Layer("hid2:out", [param("w")])]
    with pytest.raises(regkit.GraphError, match="two different parameters are named 'w'"):
        regkit.select_params(layers, "*")


def test_a_selected_output_or_parameter_of_complex_numbers_is_refused():
    with pytest.raises(regkit.GraphError, match="output 'z' is of complex numbers; regularizers are of arrays of real"):
        regkit.select_outputs({"z": np.ones(2, complex), "x": np.ones(2)}, "*")
    assert len(regkit.select_outputs({"z": np.ones(2, complex), "x": np.ones(2)}, "x")) == 1
    with pytest.raises(regkit.GraphError, match="parameter 'w' is of complex numbers"):
        regkit.select_params([regkit.Layer("h", {"w": np.ones(2, complex)})])


def test_an_output_of_a_graph_library_that_is_not_a_dense_tensor_is_refused(lib):
    scalar = __import__(f"{lib.name}.scalar", fromlist=["float64"]).float64("s")
    generic = __import__(f"{lib.name}.compile", fromlist=["shared"]).shared({"a": 1})
    several = __import__(f"{lib.name}.typed_list", fromlist=["TypedListType"]).TypedListType(lib.tensor("x").type)("xs")
    sparse = __import__(f"{lib.name}.sparse", fromlist=["csr_matrix"]).csr_matrix("w", dtype="float64")
    for odd in (scalar, generic, several, sparse):
        with pytest.raises(regkit.GraphError, match="output 'odd' is of type .*; regularizers are of arrays of real"):
            regkit.select_outputs({"odd": odd}, "odd")


# Roles


def layers_of(**roles):
    return [regkit.Layer(name, role=role) for name, role in roles.items()]


def test_without_roles_the_first_layer_is_the_input_the_last_the_output_and_those_between_are_hidden():
    layers = layers_of(a=None, b=None, c=None, d=None)
    names = {role: [layer.output_name for layer in regkit.select_layers(layers, role)] for role in
             ("input", "hidden", "output")}  # fmt: skip
    assert names == {"input": ["a"], "hidden": ["b", "c"], "output": ["d"]}
    assert regkit.select_layers(layers[:1], "input") == regkit.select_layers(layers[:1], "output") == layers[:1]


def test_roles_say_what_is_hidden_in_a_network_of_two_inputs_and_no_output_layer():
    layers = layers_of(left="input", right="input", first="hidden", last="hidden")
    assert [layer.output_name for layer in regkit.select_layers(layers, "hidden")] == ["first", "last"]
    assert regkit.select_layers(layers, "output") == []
    outputs = {name: np.ones(2) for name in ("left", "right", "first", "last")}
    assert [name for name, _ in regkit.select_outputs(outputs, None, layers)] == ["first", "last"]


def test_roles_of_some_layers_only_are_refused():
    with pytest.raises(regkit.GraphError) as error:
        regkit.select_layers(layers_of(a="input", b=None), "hidden")
    assert str(error.value) == "layer 'a' has a role and layer 'b' has none. Give every layer a role, or none"


def test_an_unknown_role_is_refused():
    with pytest.raises(regkit.GraphError, match="Layer 'a' got role='hiden'; accepted: 'input', 'hidden', 'output'"):
        regkit.Layer("a", role="hiden")
    with pytest.raises(regkit.OptionError, match="select_layers got role='hiden'"):
        regkit.select_layers([], "hiden")


def test_parameters_that_are_assigned_to_a_layer_without_their_names_are_refused():
    layer = regkit.Layer("hid1")
    layer.params = (np.eye(2),)
    with pytest.raises(regkit.GraphError) as error:
        regkit.select_params([layer], "*")
    assert str(error.value) == (
        "layer 'hid1' has 1 in params and 0 in param_names. Make a layer with its parameters: Layer(name, params)"
    )
