"""The set that `build` returns: as a sequence, written down, and what it says of patterns and penalties."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest
from regkit_hidden_l1 import HiddenL1

import regkit


def test_members_are_found_by_position_and_by_name():
    regs = regkit.build(hidden_l1=[0.1, 0.2], other=HiddenL1(weight=0.3))
    assert len(regs) == 3
    assert [regularizer.weight for regularizer in regs] == [0.1, 0.2, 0.3]
    assert regs[-1] is regs["other"]
    assert regs["hidden_l1"].weight == 0.1
    assert regs["hidden_l1[1]"].weight == 0.2
    assert "hidden_l1[1]" in regs
    assert regs[0] in regs
    assert "hidden_l1[2]" not in regs
    assert repr(regs[1:]) == "build(hidden_l1=0.2, other=HiddenL1(weight=0.3))"


def test_a_name_that_is_not_in_the_set_is_answered_with_those_that_are():
    with pytest.raises(regkit.UnknownAliasError) as error:
        regkit.build(hidden_l1=[0.1, 0.2])["hidden_sparsity"]
    assert str(error.value) == "no regularizer 'hidden_sparsity' in this set. It has: hidden_l1, hidden_l1[1]"


@pytest.mark.parametrize(
    "written",
    [
        "build()",
        "build(hidden_sparsity=0.1)",
        "build(hidden_sparsity=dict(weight=0.1, pattern='hid3:out'))",
        "build(hidden_l1=[1, dict(weight=0.5, pattern=('hid1:*', 'hid2:*'), reduction='batch')])",
        "build({'my-label': HiddenL1(weight=0.1)})",
    ],
)
def test_the_repr_reads_like_the_call(written):
    assert repr(eval(written, {"build": regkit.build, "dict": dict, "HiddenL1": HiddenL1})) == written


def test_config_goes_through_json_and_builds_the_same_set():
    regs = regkit.build(
        hidden_l1=[0.1, dict(weight=np.float64(0.5), pattern=["hid1:*", "hid2:*"], reduction="mean")], other=None
    )
    config = json.loads(json.dumps(regs.config()))
    assert config == {
        "hidden_l1": [
            {"weight": 0.1, "pattern": None, "reduction": "sum"},
            {"weight": 0.5, "pattern": ["hid1:*", "hid2:*"], "reduction": "mean"},
        ]
    }
    assert regkit.build(config).config() == config


def test_config_of_an_instance_needs_a_label_that_is_an_alias_of_its_class(installed):
    assert regkit.build(hidden_sparsity=HiddenL1(weight=1)).config()["hidden_sparsity"]["weight"] == 1
    with pytest.raises(regkit.OptionError, match="'label' is no alias of HiddenL1"):
        regkit.build(label=HiddenL1(weight=1)).config()
    installed("healthy")
    with pytest.raises(regkit.OptionError, match="'acme_healthy' is no alias of HiddenL1"):
        regkit.build(acme_healthy=HiddenL1(weight=1)).config()


def test_config_refuses_what_cannot_be_written_down():
    class Forgetful(regkit.Regularizer):
        def __init__(self, order=2, target=None, weight=0.0):
            super().__init__(None, weight)
            self.target = target

        def loss(self):
            """Nothing."""

    regkit.register(Forgetful, "forgetful")
    with pytest.raises(regkit.OptionError, match="does not store its argument 'order' under that name"):
        regkit.build(forgetful=1).config()
    (member,) = regs = regkit.build(forgetful=dict(weight=1, target=object))
    member.order = 2
    with pytest.raises(
        regkit.OptionError, match="forgetful: target=.* cannot be written down: JSON has no form for type"
    ):
        regs.config()


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda regs: pickle.loads(pickle.dumps(regs))])
def test_a_set_can_be_copied_and_pickled_before_and_after_its_hooks_ran(network, copied):
    regs = regkit.build(hidden_l1=[0.1, dict(weight=2, pattern="hid1:*")])
    expected = regs.loss(*network)
    assert copied(regs).config() == regs.config()
    assert copied(regs).loss(*network) == expected


def test_sets_do_not_compare_by_value():
    assert regkit.build(hidden_l1=0.1) != regkit.build(hidden_l1=0.1)


def test_the_loss_of_no_penalties_is_the_number_zero(network):
    loss = regkit.build().loss(*network)
    assert loss == 0
    assert type(loss) is int


def test_terms_name_each_penalty_with_its_weight(network):
    layers, outputs = network
    regs = regkit.build(hidden_l1=[0.5, dict(weight=2, pattern="hid2:out")])
    norms = [np.abs(outputs[name]).sum() for name in ("hid1:out", "hid2:out")]
    terms = regs.terms(layers, outputs)
    assert [term._fields for term in terms] == [("name", "weight", "penalty", "weighted")] * 2
    assert [(term.name, term.weight) for term in terms] == [("hidden_l1", 0.5), ("hidden_l1[1]", 2)]
    assert [term.penalty for term in terms] == pytest.approx([sum(norms) / 2, norms[1]])
    assert [term.weighted for term in terms] == pytest.approx([sum(norms) / 4, 2 * norms[1]])
    assert regs.loss(layers, outputs) == pytest.approx(sum(norms) / 4 + 2 * norms[1])


def test_a_pattern_that_matches_nothing_names_the_outputs_it_saw(network):
    regs = regkit.build(hidden_l1=[0.1, dict(weight=1, pattern="HID1:*")])
    with pytest.raises(regkit.NoMatchError) as error:
        regs.loss(*network)
    assert str(error.value) == (
        "hidden_l1[1]: pattern 'HID1:*' matches none of the outputs: in:out, hid1:out, hid2:out, out:out"
    )


class Scale(regkit.Regularizer):
    """Multiplies what matches, as a plugin author would write it: select_outputs raises where a layer has nothing."""

    def modify_graph(self, outputs):
        for name, output in regkit.select_outputs(outputs, self.pattern):
            outputs[name + "-unscaled"] = output
            outputs[name] = output * 2


def test_a_change_that_matched_no_layer_is_an_error_in_loss_and_listed_for_who_only_predicts(network):
    layers, outputs = network
    regs = regkit.build(some=Scale("hid1:*", 1), none=Scale("hid9:*", 1))
    for layer in layers:
        regs.modify_graph({layer.output_name: outputs[layer.output_name]}, layers)
    assert regs.unmatched() == ["none"]
    with pytest.raises(regkit.NoMatchError) as error:
        regs.loss(layers, outputs)
    assert str(error.value) == (
        "none: pattern 'hid9:*' matches none of the outputs: in:out, hid1:out, hid2:out, out:out"
    )


def test_the_next_graph_is_judged_by_itself(network):
    layers, outputs = network
    regs = regkit.build(scale=Scale("hid1:out", 1))
    regs.modify_graph(dict(outputs), layers)
    assert regs.loss(layers, outputs) == 0
    assert regs.unmatched() == []
    regs.modify_graph({"other:out": outputs["out:out"]}, layers)
    assert regs.unmatched() == ["scale"]
    with pytest.raises(regkit.NoMatchError, match="scale: pattern 'hid1:out' matches none of the outputs: other:out"):
        regs.loss(layers, outputs)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda regs: pickle.loads(pickle.dumps(regs))])
def test_a_copy_remembers_what_matched_and_goes_its_own_way(network, copied):
    _, outputs = network
    regs = regkit.build(some=Scale("hid1:*", 1), none=Scale("hid9:*", 1))
    regs.modify_graph({"hid1:out": outputs["hid1:out"]})
    again = copied(regs)
    assert again.unmatched() == ["none"]
    again.modify_graph({"hid9:out": outputs["hid1:out"]})
    assert (again.unmatched(), regs.unmatched()) == ([], ["none"])


def test_a_hook_that_misses_something_else_than_its_pattern_is_quoted(network):
    class Parametric(regkit.Regularizer):
        def modify_graph(self, layers):
            regkit.select_params(layers, "nothing")

    layers, outputs = network
    regs = regkit.build(p=Parametric("hid*", 1))
    regs.modify_graph(dict(outputs), layers)
    with pytest.raises(regkit.NoMatchError, match="p: pattern 'nothing' matches none of the parameters: none"):
        regs.loss(layers, outputs)


def test_a_change_that_matched_keeps_the_original_beside_it(network):
    layers, outputs = network
    regs = regkit.build(scale=Scale("hid1:*", 1))
    clean = outputs["hid1:out"].copy()
    regs.modify_graph(outputs, layers)
    np.testing.assert_array_equal(outputs["hid1:out"], 2 * clean)
    np.testing.assert_array_equal(outputs["hid1:out-unscaled"], clean)
    assert regs.unmatched() == []
    assert regs.loss(layers, outputs) == 0


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ({"hid1:out": None}, "'hid1:out': None of type builtins.NoneType is no expression of a supported library: "
         "theano, aesara, pytensor, numpy"),
        ({"hid1:out": "z"}, "'hid1:out': 'z' of type builtins.str is no expression"),
        ({"hid1:out": [1.0]}, "'hid1:out': \\[1.0\\] of type builtins.list is no expression"),
        ({"hid1:out": np.array("z")}, "'hid1:out': array\\('z'.* of type numpy.ndarray is no expression"),
        ([("hid1:out", 1)], "outputs is .*; expected a mapping of names to expressions"),
    ],
)  # fmt: skip
def test_an_output_that_is_no_expression_is_named(outputs, said):
    regs = regkit.build(hidden_l1=dict(weight=1, pattern="*"))
    with pytest.raises(regkit.GraphError, match=said):
        regs.loss([], outputs)
    with pytest.raises(regkit.GraphError, match=said):
        regs.modify_graph(outputs)


@pytest.mark.parametrize(
    ("penalty", "said"),
    [
        (np.ones(3), r"bad: Returns returned a penalty of shape \(3,\); a penalty is a scalar"),
        ("0", "bad: Returns returned as its penalty: '0' of type builtins.str is no expression"),
        (True, "bad: Returns returned as its penalty: True of type builtins.bool is no expression"),
    ],
)
def test_a_penalty_that_is_no_scalar_is_the_plugins_mistake_and_named(network, penalty, said):
    class Returns(regkit.Regularizer):
        def loss(self):
            return penalty

    with pytest.raises(regkit.GraphError, match=said):
        regkit.build(bad=Returns(weight=1)).loss(*network)


@pytest.mark.parametrize("layers", [None, "hid1", {"hid1": 1}, 3])
def test_layers_that_are_no_sequence_are_refused(network, layers):
    with pytest.raises(regkit.GraphError, match="layers is .*; expected a sequence of layers, such as regkit.Layer"):
        regkit.build(hidden_l1=1).loss(layers, network[1])


def test_a_layer_without_an_output_name_is_refused(network):
    with pytest.raises(regkit.GraphError, match="layers has 'in'; expected objects with output_name and params"):
        regkit.build(hidden_l1=1).loss(["in", "hid1", "out"], network[1])


def test_a_name_of_an_output_that_is_no_string_is_refused():
    with pytest.raises(regkit.GraphError, match="outputs has the name 1; expected names to be strings"):
        regkit.build(hidden_l1=1).loss([], {1: np.ones(2)})


def test_a_weight_that_its_class_does_not_store_is_no_weight_of_1(network):
    class Forgets(regkit.Regularizer):
        def __init__(self, weight=0.0):
            self.strength = weight

        def loss(self):
            return 5.0

    said = "Forgets takes a weight and does not store it. Set self.weight in its constructor"
    regkit.register(Forgets, "forgets")
    for value in (0.1, {}):
        with pytest.raises(regkit.OptionError, match=f"alias 'forgets': {said}"):
            regkit.build(forgets=value)
    with pytest.raises(regkit.OptionError, match=said):
        regkit.build(label=Forgets(0.1)).loss(*network)


def test_a_weight_changed_into_nonsense_afterwards_is_noticed(network):
    regs = regkit.build(hidden_l1=0.1)
    regs[0].weight = -1
    with pytest.raises(regkit.OptionError, match="HiddenL1 got weight=-1"):
        regs.loss(*network)
