"""Changing a finished graph: every change is seen by what depends on it, on every library, or there is an error."""

from __future__ import annotations

import importlib.util
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


def test_names_of_one_expression_have_one_noise(lib):
    """Each name by itself would draw its own; both regularizers of a set are applied once."""
    x = lib.tensor("x")
    z = x * 2
    changed = regkit.build(a=[Noise("*", 0.1), Shift("b", 5.0)]).apply({"a": z, "b": z})
    assert list(changed) == ["a", "b", "a-prenoise", "b-prenoise", "b-preshift"]
    assert changed["a"] is changed["b"]
    both, clean = lib.function([x], [changed["a"], changed["a-prenoise"]])(DATA)
    np.testing.assert_array_equal(clean, DATA * 2)
    assert np.abs(both - 5 - clean).min() > 0
    assert np.abs(both - 5 - clean).max() < 1


def test_the_first_name_that_changes_decides_for_all_names_of_an_expression(lib):
    x = lib.tensor("x")

    def by_name(outputs):
        for name, more in (("b", 10), ("c", 20)):
            if name in outputs:
                outputs[name] = outputs[name] + more

    rebuilt = regkit.graph.rebuild({"a": x, "b": x, "c": x, "out": x * 2}, by_name)
    assert rebuilt["a"] is rebuilt["b"] is rebuilt["c"]
    np.testing.assert_allclose(values(lib, rebuilt, "out")[0], (DATA + 10) * 2)


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


def test_outputs_of_two_graphs_are_no_error_where_nothing_changes(lib, finished):
    outputs = {**finished, "stray:out": lib.tensor("y") * 2}
    assert regkit.graph.rebuild(outputs, lambda current: None) == outputs


def test_further_expressions_are_rebuilt_along_and_not_changed_themselves(lib, finished):
    seen = []

    def shift(current):
        seen.extend(current)
        current.update({name: value + 1 for name, value in current.items() if name == "hid1:out"})

    loss, untouched = (finished["out:out"] ** 2).sum(), finished["in:out"] * 3
    rebuilt, also = regkit.graph.rebuild(finished, shift, also=[loss, untouched])
    assert list(rebuilt) == seen == list(finished)
    np.testing.assert_allclose(lib.evaluate(also[0], x=DATA), (((DATA @ W + 1) * 11) ** 2).sum())
    assert also[1] is untouched
    assert regkit.graph.rebuild({}, shift, also=[loss]) == ({}, (loss,))
    assert regkit.graph.rebuild(finished, lambda current: None, also=()) == (finished, ())


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
        (
            lambda outputs: outputs.update({"hid1:out": None}),
            "'hid1:out': None of type builtins.NoneType is not an expr",
        ),
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


def is_frozen(lib):
    """Whether the library keeps graphs within nodes frozen, as PyTensor does from 3.3 on."""
    return importlib.util.find_spec(f"{lib.name}.compile.inner_function") is not None


#: Libraries whose steps draw anew what they close over.
DRAW_AT_EVERY_STEP = ("theano",)


def scan(lib, step, **arguments):
    """What the library's scan gives, its step in Python."""
    if is_frozen(lib):  # which runs it as it runs the whole
        return lib.scan(step, **arguments)
    return lib.scan(step, mode=lib.module.compile.mode.Mode(linker="py", optimizer="fast_compile"), **arguments)


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

    closed = scan(lib, closing, sequences=[x], outputs_info=[x[0] * 0])
    taken = scan(lib, taking, sequences=[x], outputs_info=[x[0] * 0], non_sequences=[hid1])
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


def test_a_change_reaches_what_a_step_closes_over(lib, recurrent):
    outputs, closed, _, _ = recurrent
    changed = regkit.build(a=Shift("*", 1)).apply({**outputs, "rec:out": closed})
    hid1 = np.tanh((DATA + 1) @ W) + 1
    np.testing.assert_allclose(values(lib, changed, "rec:out")[0], scanned(hid1.sum(), DATA + 1) + 1)


def test_gradients_go_through_a_scan_whose_step_was_changed(lib):
    x = lib.tensor("x")
    hidden = lib.tensor_module.tanh(x)
    closed = scan(lib, lambda row: row * hidden.sum(), sequences=[x])
    changed = regkit.build(a=Shift("hid1:out", 1)).apply({"in:out": x, "hid1:out": hidden, "rec:out": closed})
    gradient = lib.evaluate(lib.grad(changed["rec:out"].sum(), x), x=DATA)
    np.testing.assert_allclose(gradient, (np.tanh(DATA) + 1).sum() + DATA.sum() * (1 - np.tanh(DATA) ** 2))


def test_a_random_expression_that_a_step_closes_over_is_changed_with_the_same_draws_or_refused(lib):
    """theano-pymc draws it anew at every step."""
    x = lib.tensor("x")
    hidden = x + regkit.graph.random_stream(x, 0).normal(x)
    closed = scan(lib, lambda row: row + hidden.sum(), sequences=[x])
    outputs, regs = {"in:out": x, "hid1:out": hidden, "rec:out": closed}, regkit.build(a=Shift("hid1:out", 1))
    if lib.name in DRAW_AT_EVERY_STEP:
        with pytest.raises(regkit.GraphError) as error:
            regs.apply(outputs)
        assert str(error.value) == (
            "'hid1:out' stands within Scan, where it is another at every step and a rebuild cannot reach it. Pass it "
            "to the step as an argument (non_sequences), or change the graph while it is built, with modify_graph"
        )
    else:
        changed = regs.apply(outputs)
        hid1, rec = lib.function([x], [changed["hid1:out"], changed["rec:out"]])(DATA)
        np.testing.assert_allclose(rec, DATA + hid1.sum())


def test_a_random_expression_is_changed_in_a_scan_that_takes_it_as_an_argument(lib):
    x = lib.tensor("x")
    hidden = x + regkit.graph.random_stream(x, 0).normal(x)
    taken = scan(lib, lambda row, given: row + given.sum(), sequences=[x], non_sequences=[hidden])
    changed = regkit.build(a=Shift("hid1:out", 1)).apply({"in:out": x, "hid1:out": hidden, "rec:out": taken})
    hid1, rec = lib.function([x], [changed["hid1:out"], changed["rec:out"]])(DATA)
    np.testing.assert_allclose(rec, DATA + hid1.sum())


def test_a_change_reaches_a_scan_within_a_scan(lib):
    x = lib.tensor("x")
    hidden = lib.tensor_module.tanh(x)
    closed = scan(lib, lambda row: scan(lib, lambda one: one + hidden.sum(), sequences=[row]), sequences=[x])
    changed = regkit.build(a=Shift("hid1:out", 1)).apply({"in:out": x, "hid1:out": hidden, "rec:out": closed})
    np.testing.assert_allclose(values(lib, changed, "rec:out")[0], DATA + (np.tanh(DATA) + 1).sum())


def test_an_expression_computed_after_a_scan_is_changed_within_it(lib):
    """The library sorts the Scan before the expression, which it does not need as such."""
    x = lib.tensor("x")
    hidden = lib.tensor_module.tanh(x)
    closed = scan(lib, lambda row: row + hidden.sum(), sequences=[x])
    changed = regkit.build(a=Shift("hid1:out", 1)).apply({"rec:out": closed, "in:out": x, "hid1:out": hidden})
    np.testing.assert_allclose(values(lib, changed, "rec:out")[0], DATA + (np.tanh(DATA) + 1).sum())


def test_of_two_layers_of_one_step_each_is_changed_once(lib):
    x = lib.tensor("x")
    hid1 = lib.tensor_module.tanh(x)
    hid2 = hid1 * 10
    closed = scan(lib, lambda row: row + hid1.sum() + hid2.sum(), sequences=[x])
    outputs = {"in:out": x, "hid1:out": hid1, "hid2:out": hid2, "rec:out": closed}
    changed = regkit.build(a=Shift("hid*", 1)).apply(outputs)
    hid1 = np.tanh(DATA) + 1
    np.testing.assert_allclose(values(lib, changed, "rec:out")[0], DATA + hid1.sum() + (hid1 * 10 + 1).sum())


def test_two_branches_with_the_same_weights_can_be_changed_one_by_one(lib):
    """A query and a sequence: each row of the one is treated as the other, but is another."""
    query, x, w = lib.tensor("query", ndim=1), lib.tensor("x"), lib.shared(W, name="w")
    tanh = lib.tensor_module.tanh
    outputs = {"query:out": tanh(query.dot(w)), "rec:out": scan(lib, lambda row: tanh(row.dot(w)), sequences=[x])}
    regs = regkit.build(a=Shift("query:out", 1))
    if is_frozen(lib):  # and does not tell whether the query was kept from inside the step
        with pytest.raises(regkit.GraphError, match="'query:out' stands within Scan, where it is another at every"):
            regs.apply(outputs)
        return
    changed = regs.apply(outputs)
    np.testing.assert_allclose(lib.evaluate(changed["query:out"], query=DATA[0]), np.tanh(DATA[0] @ W) + 1)
    np.testing.assert_allclose(values(lib, changed, "rec:out")[0], np.tanh(DATA @ W))


def test_what_only_looks_like_the_inside_of_a_scan_can_be_changed(lib):
    """A step on another input that does the same to it has nothing to do with the change."""
    x, other = lib.tensor("x", ndim=1), lib.tensor("other")
    hidden = lib.tensor_module.tanh(x)
    other_rec = scan(lib, lambda row: lib.tensor_module.tanh(row) * 2, sequences=[other])
    outputs = {"in:out": x, "hid1:out": hidden, "rec:out": other_rec, "out:out": other_rec.sum() + hidden}
    changed = regkit.build(a=Shift("hid1:out", 1)).apply(outputs)
    value = lib.evaluate(changed["out:out"], x=DATA[0], other=DATA)
    np.testing.assert_allclose(value, 2 * np.tanh(DATA).sum() + np.tanh(DATA[0]) + 1)


def test_an_expression_from_inside_a_step_is_an_error(recurrent):
    outputs, closed, _, inside = recurrent
    with pytest.raises(regkit.GraphError, match="'step:out' (is not in the graph|stands within Scan)"):
        regkit.build(a=Shift("step:out", 1)).apply({**outputs, "rec:out": closed, "step:out": inside})


# OpFromGraph: its graph is a copy of expressions


def block_of(lib, inputs, outputs, **options):
    builders = importlib.import_module(f"{lib.name}.compile.builders")
    return builders.OpFromGraph(inputs, outputs, **options)


def test_a_change_reaches_what_stands_within_an_op_from_graph(lib):
    x = lib.tensor("x")
    hidden = lib.tensor_module.tanh(x)
    out = block_of(lib, [x], [hidden * 10])(x)
    changed = regkit.build(a=Shift("*", 1)).apply({"in:out": x, "hid1:out": hidden, "out:out": out})
    expected = (np.tanh(DATA + 1) + 1) * 10 + 1
    np.testing.assert_allclose(values(lib, changed, "out:out")[0], expected)
    gradient = lib.evaluate(lib.grad(changed["out:out"].sum(), x), x=DATA)
    np.testing.assert_allclose(gradient, 10 * (1 - np.tanh(DATA + 1) ** 2))


def test_dropout_of_what_stands_within_an_op_from_graph_is_the_same_mask(lib):
    x = lib.tensor("x")
    hidden = lib.tensor_module.tanh(x)
    out = block_of(lib, [x], [hidden * 10])(x)
    regs = regkit.build(dropout=dict(weight=0.5, pattern="hid"))
    changed = regs.apply({"in": x, "hid": hidden, "out": out})
    function = lib.function([x], [changed["hid"], changed["out"]])
    masks = set()
    for _ in range(8):
        hid, out = function(DATA)
        np.testing.assert_allclose(out, hid * 10)
        masks.add(tuple(hid.ravel() == 0))
    assert len(masks) > 1


def test_a_change_reaches_an_op_from_graph_within_a_scan_within_an_op_from_graph(lib):
    x, rows = lib.tensor("x"), lib.tensor("rows")
    hidden = lib.tensor_module.tanh(x)
    inner = block_of(lib, [x], [hidden * 10])
    middle = scan(lib, lambda row, whole: row + inner(whole).sum() + hidden.sum(), sequences=[rows], non_sequences=[x])
    out = block_of(lib, [rows, x], [middle * 2])(rows, x)
    changed = regkit.build(a=Shift("hid1:out", 1)).apply({"in:out": x, "hid1:out": hidden, "out:out": out})
    expected = (DATA + 11 * (np.tanh(DATA) + 1).sum()) * 2
    np.testing.assert_allclose(lib.evaluate(changed["out:out"], x=DATA, rows=DATA), expected)


def test_an_op_from_graph_of_other_inputs_is_left_as_it_is(lib):
    x, y = lib.tensor("x"), lib.tensor("y")
    block = block_of(lib, [x], [lib.tensor_module.tanh(x) * 10])
    outputs = {"in:out": x, "hid1:out": lib.tensor_module.tanh(x), "out:out": block(y) + x}
    changed = regkit.build(a=Shift("hid1:out", 1)).apply(outputs)
    assert changed["out:out"] is outputs["out:out"]


def test_an_op_from_graph_with_a_gradient_of_its_own_is_refused_with_what_helps(lib):
    x = lib.tensor("x")
    hidden = lib.tensor_module.tanh(x)

    def out_of(*inputs, gives):
        name = "pullback" if lib.name == "pytensor" else "grad_overrides"
        return block_of(lib, list(inputs), [gives], **{name: lambda inputs, *others: [others[-1][0] * 0]})(*inputs)

    outputs = {"in:out": x, "hid1:out": hidden, "out:out": out_of(x, gives=hidden * 10)}
    with pytest.raises(regkit.GraphError) as error:
        regkit.build(a=Shift("hid1:out", 1)).apply(outputs)
    assert str(error.value) == (
        "'hid1:out' stands within OpFromGraph, where a rebuild cannot reach it. Give it to the OpFromGraph as an "
        "input, or change the graph while it is built, with modify_graph"
    )
    outputs["out:out"] = out_of(hidden, gives=hidden * 10)
    changed = regkit.build(a=Shift("hid1:out", 1)).apply(outputs)
    np.testing.assert_allclose(values(lib, changed, "out:out")[0], (np.tanh(DATA) + 1) * 10)


# PyTensor's solvers try values of a variable: what is computed from it stands within, for each value


@pytest.fixture
def optimize(lib):
    if lib.name != "pytensor":
        pytest.skip("PyTensor alone has solvers")
    return importlib.import_module("pytensor.tensor.optimize")


@pytest.mark.parametrize("solver", ["minimize", "root", "minimize_scalar", "root_scalar"])
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_what_a_solver_computes_from_its_variable_is_refused_with_what_helps(lib, optimize, solver):
    ndim = 0 if solver.endswith("scalar") else 1
    x, shift = lib.tensor("x", ndim=ndim), lib.tensor("shift", ndim=ndim)

    def graph(change):
        outputs = {"in": x, "hid": lib.tensor_module.tanh(x - shift)}
        change(outputs)
        goal = outputs["hid"] + 0.25 if solver.startswith("root") else ((outputs["hid"] + 0.25) ** 2).sum()
        outputs["solved"] = getattr(optimize, solver)(goal, x)[0]
        return outputs

    regs = regkit.build(a=Shift("hid", 0.5))
    with pytest.raises(regkit.GraphError) as error:
        regs.apply(graph(lambda outputs: None))
    assert str(error.value).endswith(
        "where a rebuild cannot reach it. Change the graph while it is built, with modify_graph"
    )
    if solver in ("root", "minimize"):
        solved = lib.evaluate(graph(regs.modify_graph)["solved"], x=np.zeros(2), shift=np.zeros(2))
        np.testing.assert_allclose(np.tanh(solved), [-0.75, -0.75], atol=1e-4)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_what_a_solver_computes_from_one_of_several_variables_is_refused(lib, optimize):
    x, y = lib.tensor("x"), lib.tensor("y", ndim=1)
    hidden = lib.tensor_module.tanh(x)
    solved, _ = optimize.minimize((hidden**2).sum() + (y**2).sum(), [x, y])
    with pytest.raises(regkit.GraphError, match="'hid' stands within MinimizeOp, where a rebuild cannot reach it"):
        regkit.build(a=Shift("hid", 1)).apply({"in": x, "hid": hidden, "solved": solved[0]})


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_what_a_solver_is_given_is_changed(lib, optimize):
    x, start = lib.tensor("x", ndim=1), lib.tensor("start", ndim=1)
    hidden = lib.tensor_module.tanh(x)
    solved, _ = optimize.minimize(((start - hidden) ** 2).sum(), start)
    changed = regkit.build(a=Shift("hid", 1)).apply({"in": x, "hid": hidden, "solved": solved})
    value = lib.evaluate(changed["solved"], x=DATA[0], start=np.zeros(2))
    np.testing.assert_allclose(value, np.tanh(DATA[0]) + 1, atol=1e-5)


def test_a_change_keeps_the_lengths_that_are_known(lib):
    x = lib.tensor("x")
    column = x.sum(axis=1, keepdims=True)
    unknown = lib.tensor("unknown")

    def change(current):
        if "column" in current:
            current["column"] = unknown

    rebuilt = regkit.graph.rebuild({"column": column, "out": column + x}, change)
    assert rebuilt["column"].type.broadcastable == column.type.broadcastable == (False, True)
    value = lib.evaluate(rebuilt["out"], x=DATA, unknown=DATA[:, :1])
    np.testing.assert_allclose(value, DATA[:, :1] + DATA)
