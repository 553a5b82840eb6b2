"""Changing a finished graph: every change is seen by what depends on it, on every library, or there is an error."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from regkit_hidden_l1 import HiddenL1

import regkit

DATA = np.array([[1.0, -2.0], [0.5, 3.0]])


class Shift(regkit.Regularizer):
    """Adds its weight to what matches, so that expected values can be worked out."""

    def modify_graph(self, outputs):
        for name, output in regkit.select_outputs(outputs, self.pattern or "*"):
            outputs[name + "-preshift"] = output
            outputs[name] = output + regkit.graph.cast(self.weight, str(output.dtype))


class Noise(regkit.Regularizer):
    """Adds noise to what matches."""

    def __init__(self, pattern=None, weight=0.0, seed=0):
        super().__init__(pattern, weight)
        self.seed = seed

    def modify_graph(self, outputs):
        for name, output in regkit.select_outputs(outputs, self.pattern or "*"):
            draws = regkit.graph.random_stream(output, [self.seed, *name.encode()]).normal(output)
            outputs[name + "-prenoise"] = output
            outputs[name] = output + draws * regkit.graph.cast(self.weight, str(output.dtype))


@pytest.fixture
def finished(lib):
    """A network whose graph was built by somebody who knew nothing of regkit."""
    x = lib.tensor("x")
    w = lib.shared(np.array([[1.0, 2.0], [3.0, 4.0]]), name="w")
    hid1 = x.dot(w)
    hid2 = hid1 * 10
    return {"in:out": x, "hid1:out": hid1, "hid2:out": hid2, "out:out": hid1 + hid2}


def values(lib, outputs, *names):
    return [lib.evaluate(outputs[name], x=DATA) for name in names]


W = np.array([[1.0, 2.0], [3.0, 4.0]])


def test_dependent_changes_are_all_seen_downstream(lib, finished):
    regs = regkit.build(a=Shift("hid*:out", 1), b=Shift("in:out", 100))
    changed = regs.apply(finished)
    hid1 = (DATA + 100) @ W + 1
    hid2 = hid1 * 10 + 1
    np.testing.assert_allclose(values(lib, changed, "hid1:out", "hid2:out", "out:out"), [hid1, hid2, hid1 + hid2])


def test_the_clean_originals_are_what_stood_there_before_the_change_itself(lib, finished):
    changed = regkit.build(a=Shift(["hid1:out", "hid2:out"], 1)).apply(finished)
    assert list(changed) == [*finished, "hid1:out-preshift", "hid2:out-preshift"]
    clean1, clean2 = values(lib, changed, "hid1:out-preshift", "hid2:out-preshift")
    np.testing.assert_allclose(clean1, DATA @ W)
    np.testing.assert_allclose(clean2, (DATA @ W + 1) * 10)


def test_the_given_graph_is_untouched(lib, finished):
    before = dict(finished)
    regkit.build(a=Shift("*", 1)).apply(finished)
    assert finished == before
    np.testing.assert_allclose(values(lib, finished, "out:out")[0], DATA @ W * 11)


def test_two_dependent_noisy_outputs_both_stay_noisy_beside_a_clean_prediction(lib, finished):
    noisy = regkit.build(noise=Noise("hid[12]:out", 1.0)).apply(finished)
    names = ("hid1:out", "hid1:out-prenoise", "hid2:out", "hid2:out-prenoise", "out:out")
    training = lib.function([finished["in:out"]], [noisy[name] for name in names])
    predict = lib.function([finished["in:out"]], finished["out:out"])
    draws = []
    for _ in range(2):
        hid1, clean1, hid2, clean2, out = training(DATA)
        np.testing.assert_allclose(clean1, DATA @ W)
        np.testing.assert_allclose(clean2, hid1 * 10)
        np.testing.assert_allclose(out, hid1 + hid2)
        draws += [hid1 - clean1, hid2 - clean2]
        np.testing.assert_allclose(predict(DATA), DATA @ W * 11)
    for i, draw in enumerate(draws):
        assert 0.1 < np.abs(draw).mean() < 3
        assert all(np.abs(draw - other).min() > 1e-6 for other in draws[:i])


def test_gradients_go_through_a_rebuilt_graph(lib, finished):
    changed = regkit.build(a=Shift("hid1:out", 5)).apply(finished)
    loss = (changed["out:out"] ** 2).sum() + regkit.build(hidden_l1=dict(weight=1, pattern="hid2:out")).loss(
        [], changed
    )
    gradient = lib.evaluate(regkit.graph.gradient(loss, finished["in:out"]), x=DATA)
    hid1 = DATA @ W + 5
    np.testing.assert_allclose(gradient, (2 * 121 * hid1 + 10 * np.sign(hid1)) @ W.T)


def test_a_set_that_changes_nothing_gives_the_same_expressions(finished):
    assert regkit.build(hidden_l1=dict(weight=1, pattern="hid1:*")).apply(finished) == finished
    assert regkit.build().apply({}) == {}


def test_names_of_one_expression_change_together(lib, finished):
    outputs = {**finished, "hid1:pre": finished["hid1:out"]}
    changed = regkit.build(a=Shift("hid1:out", 1)).apply(outputs)
    hid1 = DATA @ W + 1
    np.testing.assert_allclose(values(lib, changed, "hid1:pre", "out:out"), [hid1, hid1 * 11])
    with pytest.raises(
        regkit.GraphError, match="'hid1:out', 'hid1:pre' are one expression, and were changed into diff"
    ):
        regkit.build(a=Shift("hid1:*", 1)).apply(outputs)


def test_a_pattern_that_matches_nothing_names_the_outputs(finished):
    regs = regkit.build(a=Shift("hid1:*", 1), b=Shift("hid9:*", 1))
    for _ in range(2):
        with pytest.raises(regkit.NoMatchError) as error:
            regs.apply(finished)
        assert str(error.value) == (
            "b: pattern 'hid9:*' matches none of the outputs: in:out, hid1:out, hid2:out, out:out"
        )


def test_a_penalty_of_an_original_that_a_later_regularizer_keeps_does_not_hinder(finished):
    penalty = HiddenL1("hid1:out-preshift", 1)
    for regs in (regkit.build(a=penalty, b=Shift("hid1:*", 1)), regkit.build(b=Shift("hid1:*", 1), a=penalty)):
        assert "hid1:out-preshift" in regs.apply(finished)


def test_an_output_of_another_graph_is_named(lib, finished):
    outputs = {**finished, "stray:out": lib.tensor("y") * 2}
    with pytest.raises(regkit.GraphError) as error:
        regkit.build(a=Shift("*", 1)).apply(outputs)
    assert str(error.value) == (
        "'stray:out' is not in the graph of 'in:out', 'hid1:out', 'hid2:out', 'out:out': they have no input in common"
    )


def test_arrays_have_no_graph_to_rebuild():
    with pytest.raises(regkit.GraphError, match="arrays have their value and no graph"):
        regkit.build(a=Shift("*", 1)).apply({"hid1:out": np.ones(2)})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda outputs: outputs.update({"hid1:out": outputs["hid1:out"].sum()}),
            "'hid1:out' was changed from .* to .*;",
        ),
        (lambda outputs: outputs.update({"hid1:out": outputs["hid1:out"].astype("float32")}), "keeps its dtype"),
        (lambda outputs: outputs.pop("hid1:out"), "breaks: modify_graph of Breaks took 'hid1:out' away"),
        (lambda outputs: outputs.update({"hid1:out": None}), "'hid1:out': None of type builtins.NoneType is no expr"),
        (lambda outputs: outputs.update({"out:out": outputs["hid1:out"]}), "the new name 'out:out' is taken already"),
    ],
)
def test_a_change_that_breaks_the_graph_is_refused(finished, change, said):
    class Breaks(regkit.Regularizer):
        def modify_graph(self, outputs):
            if "hid1:out" in outputs:
                change(outputs)

    with pytest.raises(regkit.GraphError, match=said):
        regkit.build(breaks=Breaks()).apply(finished)


def test_rebuild_by_itself_refuses_that_a_name_is_taken_away(finished):
    with pytest.raises(regkit.GraphError, match="'in:out' was taken away. A changed output keeps its name"):
        regkit.graph.rebuild(finished, lambda current: current.clear())


def test_a_chain_of_hundreds_of_layers_is_rebuilt_without_recursion(lib):
    limit = sys.getrecursionlimit()
    x = lib.tensor("x")
    outputs, current = {"in:out": x}, x
    for i in range(600):
        current = current + 1
        outputs[f"hid{i}:out"] = current
    changed = regkit.build(a=Shift("hid*", 1)).apply(outputs)
    assert len(changed) == len(outputs) + 600
    np.testing.assert_allclose(lib.evaluate(changed["hid99:out"], x=DATA), DATA + 200)
    assert sys.getrecursionlimit() == limit


def test_a_constant_that_is_an_output_is_in_the_graph_of_its_users(lib):
    c, x = lib.tensor_module.constant(np.ones((2, 2))), lib.tensor("x")
    changed = regkit.build(a=Shift("c", 5)).apply({"c": c, "h": x + c})
    np.testing.assert_allclose(values(lib, changed, "h")[0], DATA + 6)


def test_originals_that_one_regularizer_keeps_are_not_changed_by_the_next(lib, finished):
    changed = regkit.build(a=[Shift("hid1*", 1), Shift("hid1*", 10)]).apply(finished)
    assert list(changed) == [*finished, "hid1:out-preshift"]
    clean, shifted = values(lib, changed, "hid1:out-preshift", "hid1:out")
    np.testing.assert_allclose(clean, DATA @ W)
    np.testing.assert_allclose(shifted, DATA @ W + 11)


def test_a_change_keeps_axes_that_can_be_broadcast(lib):
    """Noise has the shape of a column, but the library does not know that it is one."""
    x = lib.tensor("x")
    column = x.sum(axis=1, keepdims=True)
    outputs = {"in:out": x, "hid1:out": column, "out:out": column + x}
    changed = regkit.build(a=Noise("hid1:out", 0.0)).apply(outputs)
    np.testing.assert_allclose(values(lib, changed, "out:out")[0], DATA.sum(axis=1, keepdims=True) + DATA)


# Scan: a step that uses an expression of the network has a copy of its computation inside


@pytest.fixture
def recurrent(lib):
    """A step that closes over a hidden layer, one that takes the layer as an argument, and the first one's inside."""
    x = lib.tensor("x")
    w = lib.shared(W, name="w")
    hid1 = lib.tensor_module.tanh(x.dot(w))
    inside = []

    def closing(row, state):
        inside.append(row + 2 * state)
        return inside[-1] + hid1.sum()

    def taking(row, state, hidden):
        return row + 2 * state + hidden.sum()

    closed = lib.scan(closing, sequences=[x], outputs_info=[x[0] * 0])
    taken = lib.scan(taking, sequences=[x], outputs_info=[x[0] * 0], non_sequences=[hid1])
    return {"in:out": x, "hid1:out": hid1}, closed, taken, inside[0]


def scanned(total, rows=DATA):
    state, states = np.zeros(2), []
    for row in rows:
        state = row + 2 * state + total
        states.append(state)
    return np.array(states)


def test_a_change_reaches_through_a_scan_that_takes_it_as_an_argument(lib, recurrent):
    outputs, _, taken, _ = recurrent
    changed = regkit.build(a=Shift("hid1:out", 1)).apply({**outputs, "rec:out": taken})
    np.testing.assert_allclose(values(lib, changed, "rec:out")[0], scanned((np.tanh(DATA @ W) + 1).sum()))


def test_a_change_of_what_stands_within_a_scan_is_an_error(lib, recurrent):
    outputs, closed, _, _ = recurrent
    with pytest.raises(
        regkit.GraphError, match="'hid1:out' stands within Scan, where a rebuild cannot reach it. Pass it"
    ):
        regkit.build(a=Shift("hid1:out", 1)).apply({**outputs, "rec:out": closed})
    changed = regkit.build(a=Shift("rec:out", 1)).apply({**outputs, "rec:out": closed})
    np.testing.assert_allclose(values(lib, changed, "rec:out")[0], scanned(np.tanh(DATA @ W).sum()) + 1)


def test_a_change_of_a_random_expression_within_a_scan_is_an_error(lib):
    x = lib.tensor("x")
    hidden = x + regkit.graph.random_stream(x, 0).normal(x)
    closed = lib.scan(lambda row: row + hidden.sum(), sequences=[x])
    with pytest.raises(regkit.GraphError, match="'hid1:out' stands within Scan"):
        regkit.build(a=Shift("hid1:out", 1)).apply({"in:out": x, "hid1:out": hidden, "rec:out": closed})


def test_a_change_of_what_stands_within_a_scan_within_a_scan_is_an_error(lib):
    x = lib.tensor("x")
    hidden = lib.tensor_module.tanh(x)
    closed = lib.scan(lambda row: lib.scan(lambda one: one + hidden.sum(), sequences=[row]), sequences=[x])
    with pytest.raises(regkit.GraphError, match="'hid1:out' stands within Scan"):
        regkit.build(a=Shift("hid1:out", 1)).apply({"in:out": x, "hid1:out": hidden, "rec:out": closed})


def test_what_only_looks_like_the_inside_of_a_scan_can_be_changed(lib):
    """A step on another input that does the same to it has nothing to do with the change."""
    x, other = lib.tensor("x", ndim=1), lib.tensor("other")
    hidden = lib.tensor_module.tanh(x)
    scan = lib.scan(lambda row: lib.tensor_module.tanh(row) * 2, sequences=[other])
    outputs = {"in:out": x, "hid1:out": hidden, "rec:out": scan, "out:out": scan.sum() + hidden}
    changed = regkit.build(a=Shift("hid1:out", 1)).apply(outputs)
    value = lib.evaluate(changed["out:out"], x=DATA[0], other=DATA)
    np.testing.assert_allclose(value, 2 * np.tanh(DATA).sum() + np.tanh(DATA[0]) + 1)


def test_an_expression_from_inside_a_step_is_an_error(recurrent):
    outputs, closed, _, inside = recurrent
    with pytest.raises(regkit.GraphError, match="'step:out' (is not in the graph|stands within Scan)"):
        regkit.build(a=Shift("step:out", 1)).apply({**outputs, "rec:out": closed, "step:out": inside})
