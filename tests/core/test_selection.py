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


def test_a_numbered_output_that_is_of_a_layer_has_the_role_of_that_layer():
    layers = [
        regkit.Layer("in", role="input"),
        regkit.Layer("code", role="hidden"),
        regkit.Layer("code@1", role="output"),
    ]
    outputs = {name: np.ones(2) for name in ("in", "code", "code@1")}
    assert [name for name, _ in regkit.select_outputs(outputs, None, layers)] == ["code"]


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


@pytest.mark.parametrize("pattern", [None, "hid*.w"])
def test_parameters_without_layers_ask_for_layers(pattern):
    with pytest.raises(regkit.NoMatchError) as error:
        regkit.select_params([], pattern)
    assert str(error.value) == (
        f"pattern {pattern or '*'!r} is for parameters, which layers have, and no layers are given. "
        "Pass layers=[regkit.Layer('hid1', {'hid1.w': w})]"
    )


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


# Globs that take names out


NAMES = ("in", "emb", "emb2", "hid1", "hid2", "out")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (["*", "!emb*"], ["in", "hid1", "hid2", "out"]),
        (["hid*", "!hid1"], ["hid2"]),
        (["*", "!*", "out"], ["out"]),
        (["*", "!emb*", "emb2"], ["in", "emb2", "hid1", "hid2", "out"]),
    ],
)
def test_a_glob_that_begins_with_not_takes_out_of_those_before_it(pattern, expected):
    outputs = dict.fromkeys(NAMES, np.ones(2))
    layer = regkit.Layer("all", {name: np.ones((2, 2)) for name in NAMES})
    assert [name for name, _ in regkit.select_outputs(outputs, pattern)] == expected
    assert [name for name, _ in regkit.select_params([layer], pattern)] == expected


def test_not_alone_takes_out_of_what_is_selected_by_default():
    layers = [regkit.Layer(name) for name in ("in", "hid1", "hid2", "out")]
    outputs = {name: np.full(2, float(i)) for i, name in enumerate(("in", "hid1", "hid2", "out"))}
    assert [name for name, _ in regkit.select_outputs(outputs, "!hid1", layers)] == ["hid2"]
    assert [name for name, _ in regkit.select_outputs(outputs, ["!hid1", "out"], layers)] == ["hid2", "out"]
    assert regkit.build(hidden_l1=dict(weight=1, pattern="!hid1")).loss(layers, outputs) == 4
    changed = regkit.build(noise=dict(weight=0.1, pattern="!hid*"))
    found = {}
    for layer in layers:
        of_layer = {layer.output_name: outputs[layer.output_name]}
        changed.modify_graph(of_layer, layers)
        found.update(of_layer)
    assert [name for name in found if name.endswith("-prenoise")] == ["in-prenoise", "out-prenoise"]


@pytest.mark.parametrize(
    ("alias", "pattern", "message"),
    [
        (
            "hidden_l1",
            ["*", "!emb*"],
            "hidden_l1: pattern '!emb.' takes out none of the outputs that are selected before it: in, hid, out",
        ),
        ("hidden_l1", "!emb*", "hidden_l1: pattern '!emb.' takes out none of the outputs: in, hid, out"),
        ("hidden_l1", "!in", "hidden_l1: pattern '!in' takes out none of the outputs of hidden layers: hid"),
        ("hidden_l1", ["hid", "!in"], "hidden_l1: pattern '!in' takes out none of the outputs that .* before it: hid$"),
        ("hidden_l1", "!hid", "hidden_l1: pattern '!hid' .* none of the outputs: in, hid, out"),
        ("weight_l2", "!w9", "weight_l2: pattern '!w9' takes out none of the parameters: w"),
        ("weight_l2", ["*", "!w", "w*", "!b"], "weight_l2: pattern '!b' takes out none of the parameters that .*: w"),
    ],
)
def test_a_glob_that_takes_nothing_out_is_an_error_of_the_set(alias, pattern, message):
    layers = [regkit.Layer("in"), regkit.Layer("hid", {"w": np.ones((2, 2))}), regkit.Layer("out")]
    outputs = {name: np.ones(2) for name in ("in", "hid", "out")}
    with pytest.raises(regkit.NoMatchError, match=message):
        regkit.build({alias: dict(weight=1, pattern=pattern)}).loss(layers, outputs)


def test_not_alone_needs_the_layers_whose_outputs_are_the_default():
    with pytest.raises(regkit.OptionError, match=r"takes out of the default, and no layers.*\['\*', '!...'\]"):
        regkit.select_outputs({"hid": np.ones(2)}, "!in")


# The outputs that a hook is given


class Reads(regkit.Regularizer):
    def __init__(self, pattern=None, weight=0.0, wrt=None, read=None):
        super().__init__(pattern, weight)
        self.wrt = wrt
        self.read = read

    def loss(self, outputs):
        return sum(z.sum() for z in outputs.values()) if self.read is None else self.read(outputs)


GIVEN = {"in": np.array([1.0]), "hid": np.array([10.0]), "out": np.array([100.0])}


def loss_of(layers=(), outputs=GIVEN, **options):
    return regkit.build(mine=Reads(weight=1, **options)).loss(layers, outputs)


def test_a_hook_is_given_the_outputs_that_its_pattern_or_another_option_names():
    assert loss_of(pattern="hid") == 10
    assert loss_of(pattern="hid", wrt="in") == 11
    assert loss_of(pattern=["hid"], wrt=("in", "out")) == 111
    assert loss_of() == 111


def test_a_class_of_parameters_is_given_outputs_that_an_option_names():
    class OfParams(Reads):
        selects = "params"

    layers = [regkit.Layer("hid", {"w": np.ones((2, 2))})]
    regs = regkit.build(mine=OfParams("w", 1, wrt="out"))
    assert regs.loss(layers, GIVEN) == 100


@pytest.mark.parametrize("read", [lambda outputs: outputs["out"].sum(), lambda outputs: outputs.get("out", 0)])
def test_an_output_that_a_hook_is_not_given_is_an_error_in_words(read):
    words = "mine: the hook asked for the output 'out', which its regularizer does not look at: .* It has: hid"
    with pytest.raises(regkit.GraphError, match=words):
        loss_of(pattern="hid", read=read)


def test_main_outputs_of_layers_may_be_asked_for_where_they_are():
    layers = [regkit.Layer("in"), regkit.Layer("hid"), regkit.Layer("out")]
    assert loss_of(layers, pattern="hid", read=lambda outputs: outputs["in"].sum()) == 1
    with pytest.raises(regkit.GraphError, match="does not look at"):
        loss_of(
            layers, {"hid": np.ones(1), "out": np.ones(1), "in": np.ones(1)}, pattern="hid", read=lambda o: o["emb"]
        )


def test_what_a_loss_hook_puts_into_its_outputs_is_not_seen_by_others():
    def read(outputs):
        outputs["hid"] = outputs["hid"] * 2
        outputs["more"] = outputs["hid"]
        return outputs["hid"].sum()

    outputs = dict(GIVEN)
    regs = regkit.build(mine=Reads("hid", 1, read=read), hidden_l1=dict(weight=1, pattern="hid"))
    assert regs.loss(outputs) == 20 + 10
    assert outputs == GIVEN
