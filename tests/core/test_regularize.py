"""What a host does in one call: change the graph of a finished network, add up the penalties, log."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from samples import Scale

import regkit


def network(x):
    """Layers in, hid, out that pass on x + 1 and 10 times that, each with its outputs."""
    hid = x + 1
    values = {"in": x, "hid": hid, "out": hid * 10}
    roles = ("input", "hidden", "output")
    return [regkit.Layer(name, outputs={name: z}, role=role) for (name, z), role in zip(values.items(), roles)]


def test_a_changed_graph_its_terms_and_what_is_rebuilt_along(lib):
    x = lib.tensor("x")
    layers = network(x)
    prediction = layers[-1].outputs["out"].sum()
    regs = regkit.build(scale=Scale("hid", 1), hidden_l1=0.5)
    result = regs.regularize(layers, also=[prediction, x])
    assert list(result.outputs) == ["in", "hid", "out", "hid-unscaled"]
    changed, along, loss = (
        lib.evaluate(z, x=np.array([[1.0, 2.0]])) for z in (result.outputs["out"], result.also[0], result.loss)
    )
    assert changed.tolist() == [[40, 60]]
    assert along == 100
    assert loss == 0.5 * (4 + 6)
    assert result.also[1] is x
    assert [term.name for term in result.terms] == ["hidden_l1"]
    assert lib.evaluate(prediction, x=np.array([[1.0, 2.0]])) == 50  # the clean graph is as it was


def test_the_result_is_frozen_and_each_regularizer_logs_a_line(caplog):
    with caplog.at_level("INFO"):
        result = regkit.build(hidden_l1=0.5).regularize(network(np.array([[1.0]])))
    assert result.loss == 1
    assert caplog.messages == ["regularizer: 0.5 * HiddenL1(all hidden layers) [hidden_l1, reduction=sum]"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.loss = 0


def test_outputs_that_are_given_come_before_those_of_the_layers():
    layers = network(np.array([[1.0]]))
    result = regkit.build(hidden_l1=1).regularize(layers, {"hid": np.array([[5.0]]), "more": np.ones(1)})
    assert result.loss == 5
    assert list(result.outputs) == ["in", "hid", "out", "more"]


def test_a_set_that_changes_nothing_does_not_mind_expressions_of_two_networks(lib):
    layers = network(lib.tensor("x"))
    other = lib.tensor("y")
    result = regkit.build(hidden_l1=1).regularize(layers, {"other": other}, also=(other,))
    assert result.outputs["hid"] is layers[1].outputs["hid"]
    assert result.also == (other,)
    with pytest.raises(regkit.GraphError, match="'other' is not in the graph of"):
        regkit.build(scale=Scale("hid", 1)).regularize(layers, {"other": other})


def test_members_that_change_graphs_are_refused_by_name_where_there_is_no_place_for_changes():
    regs = regkit.build(hidden_l1=1, hidden_dropout=0.5)
    with pytest.raises(regkit.GraphError, match="hidden_dropout changes the graph of a network, for which there is no"):
        regs.regularize(network(np.ones((1, 1))), allow_changes=False)
    with pytest.raises(regkit.GraphError, match="noise, hidden_dropout change the graph of a network"):
        (regkit.build(noise=0.1) + regs).regularize(network(np.ones((1, 1))), allow_changes=False)
    assert regs[:1].regularize(network(np.ones((1, 1))), allow_changes=False).loss == 2


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ([regkit.Layer("a", outputs={"a": np.ones(1)}), regkit.Layer("a")], "two layers have the output name 'a'"),
        ([regkit.Layer("a"), regkit.Layer("b", outputs={"b": np.ones(1)})], "layer 'a' has no output of that name"),
        (
            [
                regkit.Layer("a", outputs={"a": np.ones(1), "x": np.ones(1)}),
                regkit.Layer("b", outputs={"b": np.ones(1), "x": np.ones(1)}),
            ],
            "two layers have different outputs named 'x'",
        ),
        (["a"], "layers has 'a'; expected objects with output_name and params"),
    ],
)
def test_layers_that_do_not_make_a_network_are_refused(layers, said):
    with pytest.raises(regkit.GraphError, match=said):
        regkit.build(hidden_l1=dict(weight=1, pattern="*")).regularize(layers)


def test_what_is_rebuilt_along_has_to_be_a_list():
    with pytest.raises(regkit.GraphError, match="also is .*; expected a list or tuple of expressions"):
        regkit.build(hidden_l1=1).regularize(network(np.ones((1, 1))), also=np.ones(1))


def test_a_pattern_that_matches_nothing_is_an_error():
    with pytest.raises(
        regkit.NoMatchError, match="hidden_l1: pattern 'hid9' matches none of the outputs: in, hid, out"
    ):
        regkit.build(hidden_l1=dict(weight=1, pattern="hid9")).regularize(network(np.ones((1, 1))))
