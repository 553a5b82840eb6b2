"""The set that `build` returns: as a sequence, written down, and what it says of patterns and penalties."""

from __future__ import annotations

import copy
import gc
import json
import pickle
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from regkit_hidden_l1 import HiddenL1

import regkit
from regkit._constructor import constructor_arguments, weight_of
from regkit._driver import KEPT


def unchanged(regs, outputs):
    return [member.name for member in regkit.hosts.unchanged(regs, outputs)]


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
        hidden_l1=[0.1, dict(weight=np.float64(0.5), pattern=["hid1:*", "hid2:*"], reduction="mean")], weight_l2=None
    )
    config = json.loads(json.dumps(regs.config()))
    assert config == {
        "hidden_l1": [
            {"weight": 0.1, "reduction": "sum"},
            {"weight": 0.5, "pattern": ["hid1:*", "hid2:*"], "reduction": "mean"},
        ]
    }
    assert regkit.build(config).config() == config


def test_config_of_an_instance_needs_a_label_that_is_an_alias_of_its_class(installed):
    assert regkit.build(hidden_sparsity=HiddenL1(weight=1)).config()["hidden_sparsity"]["weight"] == 1
    with pytest.raises(regkit.OptionError, match="'label' is not an alias of HiddenL1"):
        regkit.build(label=HiddenL1(weight=1)).config()
    installed("healthy")
    with pytest.raises(regkit.OptionError, match="'acme_healthy' is not an alias of HiddenL1"):
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
    vars(member)["order"] = 2
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


def test_sets_with_equal_configs_are_equal_and_hash_alike():
    same = [regkit.build(hidden_l1=dict(weight=0.1, pattern=["a", "b"]), noise=0.5) for _ in range(2)]
    assert same[0] == same[1]
    assert len(set(same)) == 1
    other = regkit.build(hidden_l1=dict(weight=0.1, pattern=["b", "a"]), noise=0.5)
    assert same[0] != other
    assert same[0] != same[0][:1]
    assert same[0] != "build"


def test_weights_that_are_no_numbers_count_by_identity():
    weight = regkit.Live(0.1)
    assert regkit.build(hidden_l1=weight) == regkit.build(hidden_l1=weight)
    assert regkit.build(hidden_l1=weight) != regkit.build(hidden_l1=regkit.Live(0.1))


def test_a_set_that_cannot_be_written_down_has_a_hash_and_equals_itself():
    class Forgetful(regkit.Regularizer):
        def __init__(self, order=2):
            super().__init__()

        def loss(self):
            """Nothing."""

    regs = regkit.build(mine=Forgetful())
    assert hash(regs) == hash(regs[:])
    assert regs == regs[:]
    assert regs != regkit.build(mine=Forgetful())


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
        of_layer = {layer.output_name: outputs[layer.output_name]}
        regs.modify_graph(of_layer, layers)
        outputs.update(of_layer)
    assert unchanged(regs, outputs) == ["none"]
    with pytest.raises(regkit.NoMatchError) as error:
        regs.loss(layers, outputs)
    assert str(error.value) == (
        "none: pattern 'hid9:*' matches none of the outputs: in:out, hid1:out, hid2:out, out:out, hid1:out-unscaled"
    )


def test_the_next_graph_is_judged_by_itself(network):
    layers, outputs = network
    regs = regkit.build(scale=Scale("hid1:out", 1))
    regs.modify_graph(outputs, layers)
    others = {"other:out": np.ones(2)}
    regs.modify_graph(others, layers)
    for _ in range(2):  # in any order, any number of times
        assert regs.loss(layers, outputs) == 0
        assert (unchanged(regs, outputs), unchanged(regs, others)) == ([], ["scale"])
        with pytest.raises(
            regkit.NoMatchError, match="scale: pattern 'hid1:out' matches none of the outputs: other:out"
        ):
            regs.loss(layers, others)


def test_a_misspelt_pattern_is_found_in_the_second_graph_of_a_set():
    regs = regkit.build(noise=dict(weight=0.1, pattern="hid1"))
    regs.modify_graph({"hid1": np.ones((2, 2))})
    outputs = {"h_1": np.ones((2, 2))}
    regs.modify_graph(outputs)
    with pytest.raises(regkit.NoMatchError, match="noise: pattern 'hid1' matches none of the outputs: h_1"):
        regs.loss([], outputs)
    assert unchanged(regs, outputs) == ["noise"]


def test_slices_sums_and_copies_of_a_set_remember_what_it_saw(network):
    layers, outputs = network
    regs = regkit.build(none=Scale("hid9:*", 1), some=Scale("hid1:*", 1))
    regs.modify_graph(outputs, layers)
    again = [regs[1:], regs[1:] + regkit.build(hidden_l1=1)[:0], copy.copy(regs)[1:]]
    assert [unchanged(one, outputs) for one in again] == [[], [], []]
    assert unchanged(regs, outputs) == ["none"]


def test_threads_may_drive_one_set_over_graphs_of_their_own():
    regs = regkit.build(noise=dict(weight=0.1, pattern="hid1"))

    def drive(number):
        found = []
        for step in range(30):
            good = (number + step) % 2
            outputs = {"hid1" if good else "h_1": np.ones((2, 2)), "out": np.ones(2)}
            for name in list(outputs):
                of_layer = {name: outputs[name]}
                regs.modify_graph(of_layer)
                outputs.update(of_layer)
            try:
                regs.loss([], outputs)
                found.append(bool(good))
            except regkit.NoMatchError:
                found.append(not good)
        return found

    with ThreadPoolExecutor(8) as pool:
        assert all(all(found) for found in pool.map(drive, range(8)))


def test_what_is_remembered_of_a_graph_goes_with_it():
    regs = regkit.build(scale=Scale("hid1", 1))
    for _ in range(50):
        outputs = {"hid1": np.ones((2, 2))}
        regs.modify_graph(outputs)
    del outputs
    gc.collect()
    assert sum(len(one.memory.seen) for one in regs._members) == 0


def test_the_loss_of_a_graph_that_modify_graph_never_saw_warns_of_what_is_missing(network):
    regs = regkit.build(hidden_dropout=0.3, hidden_l1=0.1)
    with pytest.warns(
        UserWarning, match="hidden_dropout: HiddenDropout changes graphs, and modify_graph was called with"
    ):
        regs.loss(*network)


def test_a_constant_weight_of_0_never_warns_and_adds_nothing_to_an_infinite_penalty(network):
    layers, outputs = network
    assert regkit.build(hidden_dropout=0).loss(layers, outputs) == 0
    outputs["hid1:out"] = np.full((4, 3), np.inf)
    assert regkit.build(hidden_l1=0, weight_l2=0)[:1].loss(layers, outputs) == 0


def test_a_class_changes_graphs_if_it_overrides_the_hook_or_says_so():
    class Quiet(Scale):
        changes_graph = False

    class Loud(Quiet):
        def modify_graph(self, outputs):
            """Change."""

    assert [cls.changes_graph for cls in (regkit.Regularizer, Scale, Quiet, Loud, HiddenL1)] == [
        False, True, False, True, False,
    ]  # fmt: skip
    assert regkit.build(hidden_l1=1, hidden_noise=0.1).changes_graph
    assert not regkit.build(hidden_l1=1).changes_graph


def test_a_class_that_inherits_a_penalty_and_then_the_hook_changes_graphs():
    class Penalty(regkit.Regularizer):
        def loss(self):
            return 1.0

    class Both(Penalty, Scale):
        """A penalty and a change."""

    assert (Penalty.changes_graph, Both.changes_graph) == (False, True)


def test_a_host_that_reshapes_a_changed_output_is_warned_and_not_told_that_the_pattern_is_wrong(network):
    layers, outputs = network
    for spec in (dict(dropout=dict(weight=0.5, pattern="hid1:out")), dict(hidden_dropout=0.5)):
        regs = regkit.build(spec)
        current = {}
        for name, z in outputs.items():
            of_layer = {name: z}
            regs.modify_graph(of_layer, layers)
            current[name] = of_layer[name]
        assert regs.loss(layers, current) == 0
        reshaped = {name: z.reshape(z.shape) if name.startswith("hid") else z for name, z in current.items()}
        with pytest.warns(UserWarning, match="unless they are computed from what it was called with"):
            assert regs.loss(layers, reshaped) == 0


def test_scalars_which_have_no_weak_references_are_remembered_up_to_a_number():
    regs = regkit.build(scale=Scale("x0", 2))
    outputs = {}
    for i in range(KEPT - 1):  # x0 counts twice, with the original that is kept
        of_layer = {f"x{i}": np.float64(i)}
        regs.modify_graph(of_layer)
        outputs.update(of_layer)
    assert regkit.hosts.unchanged(regs, outputs) == []


def test_a_class_of_marked_hooks_changes_graphs_if_it_has_that_hook():
    class Duck:
        @regkit.hookimpl
        def modify_graph(self, outputs):
            """Change."""

    assert regkit.build(duck=Duck()).changes_graph


@pytest.mark.parametrize(
    ("alias", "pattern", "said"),
    [
        ("hidden_l1", ["hid1:out", "hid9"], "hidden_l1: pattern 'hid9' matches none of the outputs: in:out, hid1:out"),
        (
            "weight_l2",
            ["hid1.w", "hid9.w"],
            "weight_l2: pattern 'hid9.w' matches none of the parameters: in.w, hid1.w",
        ),
        (
            "weight_l2",
            ["hid1.w", "hid2:out"],
            "weight_l2: pattern 'hid2:out' matches none of the parameters: in.w, hid1.w",
        ),
        ("noise", ["hid1:out", "hid9"], "noise: pattern 'hid9' matches none of the outputs"),
    ],
)
def test_a_glob_of_several_that_matches_nothing_in_the_whole_graph_is_named(network, alias, pattern, said):
    _, outputs = network
    layers = [regkit.Layer(name, {f"{name[:-4]}.w": np.eye(2)}) for name in outputs]
    regs = regkit.build({alias: dict(weight=0.1, pattern=pattern)})
    regs.modify_graph(outputs, layers)
    with pytest.raises(regkit.NoMatchError, match=said):
        regs.loss(layers, outputs)


def test_sets_add_up_in_order_and_still_refuse_what_build_refuses():
    regs = regkit.build(hidden_l1=0.1) + regkit.build(weight_l2=0.2, hidden_l1=0.3)
    assert repr(regs) == "build(hidden_l1=[0.1, 0.3], weight_l2=0.2)"
    assert regs.keys() == ["hidden_l1", "weight_l2", "hidden_l1[1]"]
    assert {name: one.weight for name, one in dict(regs).items()} == {
        "hidden_l1": 0.1, "weight_l2": 0.2, "hidden_l1[1]": 0.3,
    }  # fmt: skip
    with pytest.raises(regkit.OptionError, match="aliases 'hidden_l1' and 'hidden_sparsity' are the same"):
        regs + regkit.build(hidden_sparsity=1)


def test_a_label_that_is_the_name_of_another_member_is_refused():
    with pytest.raises(regkit.OptionError, match=r"'a\[1\]' is both a label and the name of a further 'a'"):
        regkit.build({"a": [HiddenL1(), HiddenL1()], "a[1]": HiddenL1()})


def test_an_alias_that_is_a_keyword_of_python_is_written_as_a_mapping():
    regkit.register(HiddenL1, "lambda")
    assert repr(regkit.build({"lambda": 0.1})) == "build({'lambda': 0.1})"


def test_a_config_holds_no_none_so_that_toml_can_hold_it(installed):
    class NeedsNone(regkit.Regularizer):
        def __init__(self, target=1, weight=0.0):
            super().__init__(None, weight)
            self.target = target

        def loss(self):
            """Nothing."""

    regkit.register(NeedsNone, "needs_none")
    assert regkit.build(needs_none=1).config() == {"needs_none": {"weight": 1, "target": 1}}
    for target in (None, [1, None]):
        with pytest.raises(
            regkit.OptionError, match="needs_none: target=.* cannot be written down: TOML has no form for"
        ):
            regkit.build(needs_none=dict(weight=1, target=target)).config()


def test_a_hook_that_misses_something_else_than_its_pattern_is_quoted(network):
    class Parametric(regkit.Regularizer):
        def modify_graph(self, layers):
            regkit.select_params(layers, "nothing")

    layers, outputs = network
    regs = regkit.build(p=Parametric("hid*", 1))
    regs.modify_graph(outputs, layers)
    with pytest.raises(regkit.NoMatchError, match="p: pattern 'nothing' matches none of the parameters: none"):
        regs.loss(layers, outputs)


def test_a_change_that_matched_keeps_the_original_beside_it(network):
    layers, outputs = network
    regs = regkit.build(scale=Scale("hid1:*", 1))
    clean = outputs["hid1:out"].copy()
    regs.modify_graph(outputs, layers)
    np.testing.assert_array_equal(outputs["hid1:out"], 2 * clean)
    np.testing.assert_array_equal(outputs["hid1:out-unscaled"], clean)
    assert regkit.hosts.unchanged(regs, outputs) == []
    assert regs.loss(layers, outputs) == 0


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ({"hid1:out": None}, "'hid1:out': None of type builtins.NoneType is not an expression of a supported library: "
         "theano, aesara, pytensor, numpy"),
        ({"hid1:out": "z"}, "'hid1:out': 'z' of type builtins.str is not an expression"),
        ({"hid1:out": [1.0]}, "'hid1:out': \\[1.0\\] of type builtins.list is not an expression"),
        ({"hid1:out": np.array("z")}, "'hid1:out': array\\('z'.* of type numpy.ndarray is not an expression"),
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
        (np.complex128(1j), "bad: Returns returned a penalty of complex128; a penalty is a real number"),
        (np.ones(3), r"bad: Returns returned a penalty of shape \(3,\); a penalty is a scalar"),
        ("0", "bad: Returns returned as its penalty: '0' of type builtins.str is not an expression"),
        (True, "bad: Returns returned as its penalty: True of type builtins.bool is not an expression"),
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


def test_modify_graph_looks_at_its_layers_too(network):
    with pytest.raises(regkit.GraphError, match="layers is 3; expected a sequence of layers, such as regkit.Layer"):
        regkit.build(noise=1).modify_graph(network[1], 3)


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


def test_options_are_fixed_once_a_regularizer_is_in_a_set():
    regularizer = HiddenL1("hid", weight=0.1)
    regularizer.weight = 0.2
    regs = regkit.build(mine=regularizer)
    for name, value in (("weight", 0.3), ("pattern", "out"), ("reduction", "mean")):
        with pytest.raises(regkit.OptionError, match=rf"HiddenL1.{name} = {value!r}: its options are fixed"):
            setattr(regs[0], name, value)
    assert repr(regs) == "build(mine=HiddenL1(weight=0.2, pattern='hid'))"
    regularizer.note = "whatever is no option"
    again = copy.copy(regularizer)
    again.weight = 0.4  # a copy is in no set


def test_a_set_is_a_table_in_a_notebook():
    class Mine(regkit.Regularizer):
        """Penalize <nothing>."""

        def loss(self):
            return None

    class Silent(Mine):
        pass

    Silent.__doc__ = None
    regs = regkit.build(
        hidden_l1=[regkit.Live(0.5), dict(weight=2, pattern=["a*", "b"])], mine=Mine("<c>", 1), silent=Silent()
    )
    owner = f"regkit-hidden-l1 {regkit.available()['hidden_l1'][0].version}"
    what = "HiddenL1: Penalize the activation of hidden layers under an L1 norm"
    rows = re.findall("<tr>(.*?)</tr>", regs._repr_html_())
    assert [re.findall("<t[hd]>(.*?)</t[hd]>", row) for row in rows] == [
        ["alias", "weight", "pattern", "penalty", "distribution"],
        ["hidden_l1", "0.5 (live)", "all hidden layers", what, owner],
        ["hidden_l1[1]", "2", "a*, b", what, owner],
        ["mine", "1", "&lt;c&gt;", "Mine: Penalize &lt;nothing&gt;", ""],
        ["silent", "0.0", "default", "Silent", ""],
    ]


def test_a_pattern_of_parameters_is_not_satisfied_by_an_output_of_that_name():
    outputs = {"hid1": np.ones(2), "hid2": np.ones(2)}
    layers = [regkit.Layer("hid1", {"hid1.w": np.eye(2)}), regkit.Layer("hid2")]
    regs = regkit.build(weight_l2=dict(weight=1, pattern=["hid1*", "hid2*"]))
    with pytest.raises(
        regkit.NoMatchError, match=r"weight_l2: pattern 'hid2\*' matches none of the parameters: hid1.w"
    ):
        regs.loss(layers, outputs)


def test_a_class_of_marked_hooks_may_mean_something_else_by_a_pattern(network):
    class Duck:
        pattern = (1, 2)

        @regkit.hookimpl
        def loss(self):
            return 1.0

        @regkit.hookimpl
        def modify_graph(self, outputs):
            """Leave them."""

    regs = regkit.build(duck=Duck())
    regs.modify_graph(network[1])
    assert regs.loss(*network) == 1


def test_a_class_that_changes_an_output_and_says_that_it_changes_none_is_refused():
    class Denies(Scale):
        changes_graph = False

    with pytest.raises(
        regkit.GraphError, match="d: modify_graph of Denies changed an output, and its class says changes"
    ):
        regkit.build(d=Denies("hid1", 1)).modify_graph({"hid1": np.ones(2)})


def test_an_error_lists_the_first_of_many_outputs():
    outputs = {f"hid{i}": np.ones(2) for i in range(500)}
    with pytest.raises(regkit.NoMatchError, match="matches none of the outputs: hid0, .*, hid19 and 480 more$"):
        regkit.build(hidden_l1=dict(weight=1, pattern="x")).loss([], outputs)


def test_a_position_that_is_not_in_the_set_is_an_index_error_that_says_so():
    with pytest.raises(IndexError, match="no regularizer 5 in this set of 1"):
        regkit.build(hidden_l1=1)[5]


def test_a_class_that_takes_no_attributes_is_read_as_others_are():
    assert weight_of(object()) == 1
    assert constructor_arguments(int) == ({}, False)
