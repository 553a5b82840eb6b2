"""Runs: penalties and gradients under JAX's transformations, against values by hand."""

from __future__ import annotations

import inspect
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import regkit_jax

import regkit

EXACT = dict(rtol=1e-12, atol=1e-12)


def close(found, expected):
    """Two trees of arrays are equal to 1e-12."""
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, **EXACT), found, expected)


def forward(params, x, run=None):
    """The network: what it predicts, with its outputs tapped where there is a run for them."""
    tap = (lambda _, value: value) if run is None else run.tap
    tapped = tap("in", x)
    for name, w in (("hid1", params["w1"]), ("hid2", params["w2"])):
        tapped = tap(name, jnp.tanh(jnp.dot(tapped, w)))
    return tap("out", jnp.dot(tapped, params["w3"]))


def layers(params):
    """The layers of the network, with its parameters."""
    return [
        regkit.Layer("in"),
        regkit.Layer("hid1", {"hid1.w": params["w1"]}),
        regkit.Layer("hid2", {"hid2.w": params["w2"]}),
        regkit.Layer("out", {"out.w": params["w3"]}),
    ]


def hidden(params, x):
    """The hidden outputs by hand."""
    hid1 = jnp.tanh(jnp.dot(x, params["w1"]))
    return hid1, jnp.tanh(jnp.dot(hid1, params["w2"]))


def penalties():
    return regkit.build(hidden_l1=0.3, weight_l2=0.2)


def loss(params, x):
    run = regkit_jax.Run(penalties(), layers(params))
    return (forward(params, x, run) ** 2).sum() + run.loss()


def by_hand(params, x):
    hid1, hid2 = hidden(params, x)
    norms = (abs(hid1).sum() + abs(hid2).sum()) / 2
    squares = sum((w**2).sum() for w in params.values()) / len(params)
    return (jnp.dot(hid2, params["w3"]) ** 2).sum() + 0.3 * norms + 0.2 * squares


@pytest.mark.parametrize(
    "transformed",
    [
        lambda f: f,
        jax.jit,
        jax.grad,
        lambda f: jax.jit(jax.value_and_grad(f)),
        jax.checkpoint,
        lambda f: jax.grad(jax.checkpoint(f)),
        lambda f: jax.jit(jax.grad(jax.checkpoint(f))),
        lambda f: jax.hessian(lambda params, x: f(params, x)),
        lambda f: lambda params, x: jax.jvp(lambda x: f(params, x), (x,), (jnp.ones_like(x),)),
    ],
    ids=["eager", "jit", "grad", "jit grad", "checkpoint", "grad checkpoint", "jit grad checkpoint", "hessian", "jvp"],
)
def test_a_transformed_loss_is_that_by_hand(transformed, params, x):
    close(transformed(loss)(params, x), transformed(by_hand)(params, x))


@pytest.mark.parametrize("outer", [lambda f: f, jax.jit], ids=["eager", "jit"])
@pytest.mark.parametrize("inner", [lambda f: f, jax.grad], ids=["value", "gradient"])
def test_examples_in_parallel_are_those_by_hand(outer, inner, params, x):
    each = (None, 0)
    examples = x[:, None, :]
    found = outer(jax.vmap(inner(loss), each))(params, examples)
    close(found, jax.vmap(inner(by_hand), each)(params, examples))


def test_a_penalty_within_a_checkpointed_block_is_returned_from_it(params, x):
    def of_block(params, x):
        @jax.checkpoint
        def block(w, h):
            run = regkit_jax.Run(regkit.build(hidden_l1=dict(weight=0.3, pattern="hid1")))
            h = run.tap("hid1", jnp.tanh(jnp.dot(h, w)))
            return h, run.loss()

        h, penalty = block(params["w1"], x)
        return (h**2).sum() + penalty

    def hand(params, x):
        h = jnp.tanh(jnp.dot(x, params["w1"]))
        return (h**2).sum() + 0.3 * abs(h).sum()

    close(jax.jit(jax.grad(of_block))(params, x), jax.grad(hand)(params, x))


def test_terms_are_those_of_the_set(params, x):
    run = regkit_jax.Run(penalties(), layers(params))
    forward(params, x, run)
    terms = run.terms()
    assert [(term.name, term.weight) for term in terms] == [("hidden_l1", 0.3), ("weight_l2", 0.2)]
    close(sum(term.weighted for term in terms), by_hand(params, x) - (forward(params, x) ** 2).sum())
    assert all(isinstance(term.weighted, jax.Array) for term in terms)


def test_a_set_without_penalties_adds_the_number_0(params, x):
    run = regkit_jax.Run(regkit.build())
    forward(params, x, run)
    assert run.loss() == 0
    assert run.terms() == []


def test_what_is_tapped_comes_back_as_it_is(params, x):
    run = regkit_jax.Run(penalties())
    assert run.tap("in", x) is x
    assert run.outputs == {"in": x}


def test_the_same_set_serves_runs_one_after_the_other_and_in_several_threads(params, x):
    regs = penalties()
    found = []

    def one():
        run = regkit_jax.Run(regs, layers(params))
        forward(params, x, run)
        found.append(run.loss())

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    one()
    assert len(found) == 5
    close(found, [by_hand(params, x) - (forward(params, x) ** 2).sum()] * 5)


def test_a_run_leaks_no_tracers(params, x):
    regs = penalties()
    with jax.checking_leaks():
        jax.jit(jax.grad(lambda params: _loss_of(regs, params, x)))(params)


def _loss_of(regs, params, x):
    run = regkit_jax.Run(regs, layers(params))
    forward(params, x, run)
    return run.loss()


def test_parameters_in_a_mapping_of_a_layer_are_found_by_their_names(params, x):
    regs = regkit.build(weight_l1=dict(weight=0.5, pattern="*2.w"))
    run = regkit_jax.Run(regs, layers(params))
    close(run.loss(), 0.5 * abs(params["w2"]).sum())


# Names


def test_a_name_that_is_tapped_again_is_numbered_and_a_glob_matches_all(x):
    run = regkit_jax.Run(regkit.build(hidden_l1=dict(weight=1, pattern="act")))
    for factor in (1, 2, 3):
        run.tap("act", factor * x)
    assert list(run.outputs) == ["act", "act@1", "act@2"]
    close(run.loss(), (1 + 2 + 3) / 3 * abs(x).sum())


def test_one_repetition_can_be_selected_by_its_number(x):
    run = regkit_jax.Run(regkit.build(hidden_l1=dict(weight=1, pattern="act@1")))
    run.tap("act", x)
    run.tap("act", 2 * x)
    close(run.loss(), 2 * abs(x).sum())


def test_a_pattern_takes_out_a_name_that_is_skipped(x):
    regs = regkit.build(hidden_l1=dict(weight=1, pattern=["*", "!tokens"]))
    run = regkit_jax.Run(regs)
    run.skip("tokens")
    run.tap("act", x)
    close(run.loss(), abs(x).sum())
    run = regkit_jax.Run(regs)
    run.tap("act", x)
    with pytest.raises(regkit.NoMatchError, match="hidden_l1: pattern '!tokens' takes out none of the outputs: act"):
        run.loss()


def test_a_change_reaches_the_repetitions_with_draws_of_their_own(key):
    ones = jnp.ones((20, 20))
    run = regkit_jax.Run(regkit.build(dropout=dict(weight=0.5, pattern="act")), key=key)
    first, second = run.tap("act", ones), run.tap("act", ones)
    assert list(run.outputs) == ["act", "act-predrop", "act@1", "act-predrop@1"]
    assert set(np.unique(first)) == set(np.unique(second)) == {0.0, 2.0}
    assert 100 < (first != second).sum() < 300
    assert run.loss() == 0


@pytest.mark.parametrize("name", ["", None, 3, "act@1"])
def test_what_is_no_name_is_refused(name, x):
    with pytest.raises(regkit.GraphError) as error:
        regkit_jax.Run(penalties()).tap(name, x)
    assert str(error.value) == (
        f"tap got the name {name!r}; accepted: a string that does not end in @ and a number, which is how an output is "
        "called that is tapped again"
    )


def test_a_pattern_that_matches_nothing_names_what_was_tapped(params, x):
    run = regkit_jax.Run(regkit.build(hidden_l1=dict(weight=1, pattern="hidden")))
    forward(params, x, run)
    with pytest.raises(regkit.NoMatchError) as error:
        run.loss()
    assert str(error.value) == "hidden_l1: pattern 'hidden' matches none of the outputs: in, hid1, hid2, out"


def test_without_layers_a_regularizer_of_hidden_outputs_asks_for_a_pattern(params, x):
    run = regkit_jax.Run(regkit.build(hidden_l1=1))
    forward(params, x, run)
    with pytest.raises(regkit.OptionError, match="hidden_l1: it needs a pattern, since no layers are given.* in, hid1"):
        run.loss()


# What is refused

INSTEAD = (
    "accepted: a JAX array of floats. Tap one that is computed from it, or leave it out of a pattern with the glob "
    "'!hid1'"
)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "output 'hid1' is None; accepted: a JAX array of floats"),
        ([1.0, 2.0], "output 'hid1' is of type builtins.list; accepted: a JAX array of floats"),
        (
            np.arange(3, dtype="int32"),
            f"output 'hid1' is of int32; {INSTEAD}",
        ),
        (
            np.ones(3, bool),
            f"output 'hid1' is of bool; {INSTEAD}",
        ),
        (
            np.ones(3, complex),
            f"output 'hid1' is of complex128; {INSTEAD}",
        ),
    ],
    ids=["None", "list", "integers", "bools", "complex"],
)
def test_an_output_that_is_no_array_of_floats_is_refused(value, said):
    with pytest.raises(regkit.GraphError) as error:
        regkit_jax.Run(penalties()).tap("hid1", value)
    assert str(error.value) == said


def test_an_array_of_numpy_becomes_one_of_jax():
    assert isinstance(regkit_jax.Run(penalties()).tap("in", np.ones(3)), jax.Array)


@pytest.mark.parametrize(
    "given", [{"regs": 3}, {"layers": regkit.Layer("in")}, {"again": 3}, {"key": 3}, {"key": np.ones(2)}, {"live": [1]}]
)
def test_an_argument_that_is_not_accepted_is_named(given):
    with pytest.raises(regkit.OptionError, match=f"Run got {next(iter(given))}=.*; accepted: "):
        regkit_jax.Run(**{"regs": penalties(), **given})


def test_the_arguments_are_those_of_the_page():
    assert list(inspect.signature(regkit_jax.Run).parameters) == [
        "regs",
        "layers",
        "key",
        "live",
        "again",
        "stacked",
        "axis_name",
    ]


ENDED = (
    "output 'hid1' was tapped in a function that JAX has transformed (jit, grad, vmap, checkpoint, scan) and that has "
    "ended, so nothing can be computed from it. Make the Run inside of that function, and return from there what "
    "loss() gives"
)

TRANSFORMATIONS = {
    "jit": lambda f, x: jax.jit(f)(x),
    "grad": lambda f, x: jax.grad(f)(x),
    "vmap": lambda f, x: jax.vmap(f)(x),
    "checkpoint": lambda f, x: jax.checkpoint(f)(x),
    "scan": lambda f, x: jax.lax.scan(lambda total, row: (total + f(row), None), 0.0, x),
}


@pytest.mark.parametrize("transformation", TRANSFORMATIONS)
@pytest.mark.parametrize("outer", [lambda f, x: f(x), lambda f, x: jax.jit(f)(x)], ids=["outside", "in a jit"])
def test_the_loss_of_what_was_tapped_in_a_transformation_that_ended_is_refused(transformation, outer, x):
    def all_of_it(x):
        run = regkit_jax.Run(regkit.build(hidden_l1=dict(weight=1, pattern="hid1")))
        TRANSFORMATIONS[transformation](lambda x: run.tap("hid1", 2 * x).sum(), x)
        return run.loss()

    with pytest.raises(regkit.GraphError) as error:
        outer(all_of_it, x)
    assert str(error.value) == ENDED


def test_a_tracer_that_has_leaked_is_refused_without_a_run_too(x):
    leaked = []
    jax.jit(lambda x: leaked.append(x) or x)(x)
    with pytest.raises(regkit.GraphError, match="'hid1' is of a function that JAX has transformed and that has ended"):
        regkit.build(hidden_l1=dict(weight=1, pattern="hid1")).loss([], {"hid1": leaked[0]})


def test_a_run_that_is_made_outside_of_a_transformed_function_serves_it_once(x):
    run = regkit_jax.Run(regkit.build(hidden_l1=dict(weight=1, pattern="hid1")))

    def penalty(x):
        run.tap("hid1", 2 * x)
        return run.loss()

    close(jax.grad(penalty)(x), 2 * jnp.sign(x))
    with pytest.raises(regkit.GraphError) as error:
        jax.grad(penalty)(x)
    assert str(error.value) == ENDED


def test_what_was_tapped_around_a_transformation_counts_within_it(x):
    def outer(x):
        run = regkit_jax.Run(regkit.build(hidden_l1=dict(weight=1, pattern="*")))
        first = run.tap("first", 2 * x)

        def inner(y):
            run.tap("second", y * first)
            return run.loss()

        return jax.grad(inner)(3 * x)

    close(jax.jit(outer)(x), jnp.sign(x) * abs(2 * x) / 2)


def test_arrays_of_two_libraries_in_one_call_are_an_error(x):
    regs = regkit.build(hidden_l1=dict(weight=1, pattern="*"))
    with pytest.raises(regkit.GraphError, match="'a' is an expression of jax and 'b' one of numpy"):
        regs.loss([], {"a": x, "b": np.ones(3)})
