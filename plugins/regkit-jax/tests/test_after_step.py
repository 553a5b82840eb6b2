"""Steps on pytrees: formulas by hand, and the closed form of the lasso under optax."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import regkit_jax
from flax import linen, nnx

import regkit

optax = pytest.importorskip("optax")  # Flax brings it

LASSO = regkit.build(weight_l1=dict(weight=0.3, by="proximal", pattern="w"))


def soft(v, amount):
    return np.sign(v) * np.maximum(np.abs(v) - amount, 0)


def test_a_step_is_the_soft_threshold_in_any_pytree_and_under_jit(model_params):
    regs = regkit.build(weight_l1=dict(weight=0.5, by="proximal"))
    stepped = jax.jit(lambda params: regkit_jax.after_step(regs, params, 0.2))(model_params)
    for one in ("hid", "out"):  # the mean over two matrices
        np.testing.assert_allclose(stepped[one]["w"], soft(model_params[one]["w"], 0.2 * 0.5 / 2), rtol=1e-12)
        np.testing.assert_array_equal(stepped[one]["b"], model_params[one]["b"])
    assert stepped["steps"] is not None
    assert int(stepped["steps"]) == 3


@pytest.fixture
def model_params():
    rng = np.random.default_rng(0)
    layer = lambda: {"w": jnp.asarray(rng.normal(size=(4, 4)) / 10), "b": jnp.ones(4)}  # noqa: E731
    return {"hid": layer(), "out": layer(), "steps": jnp.asarray(3)}


def test_slices_of_stacked_parameters_are_groups_by_themselves():
    rng = np.random.default_rng(0)
    w = rng.normal(size=(3, 5, 2)) / 4
    regs = regkit.build(group_lasso=dict(weight=3.0, by="proximal"))
    one = regkit_jax.after_step(regs, {"blocks": {"w": jnp.asarray(w)}}, 0.1, stacked={"blocks.*": 0})["blocks"]["w"]
    apart = regs.after_step({f"w{i}": part for i, part in enumerate(w)}, 0.1)
    np.testing.assert_allclose(one, np.stack(list(apart.values())), rtol=1e-12)
    assert (np.asarray(one) == 0).any()
    assert (np.asarray(one) != 0).any()


def test_a_state_of_nnx_keeps_its_form_and_names_are_those_of_watch(x):
    model = nnx.Sequential(nnx.Linear(4, 3, rngs=nnx.Rngs(0)))
    regs = regkit.build(weight_nonnegative=dict(weight=1.0, pattern="layers.0.kernel"))
    state = nnx.state(model, nnx.Param)
    before = np.asarray(model.layers[0].kernel[...])
    nnx.update(model, regkit_jax.after_step(regs, state, 0.1))
    np.testing.assert_array_equal(model.layers[0].kernel[...], np.maximum(before, 0))
    assert (before < 0).any()


def test_variables_of_nnx_that_are_no_parameters_are_left_alone():
    state = {"kernel": nnx.Param(jnp.full((2, 2), 0.5)), "cache": nnx.Cache(jnp.full((2, 2), 0.5))}
    regs = regkit.build(weight_l1=dict(weight=0.3, by="proximal", pattern="*"))
    stepped = regkit_jax.after_step(regs, state, 1.0)
    np.testing.assert_allclose(stepped["kernel"][...], 0.2, rtol=1e-12)
    np.testing.assert_array_equal(stepped["cache"][...], 0.5)
    assert [layer.param_names for layer in regkit_jax.layers_of(state)] == [("kernel",)]


def test_parameters_that_linen_has_in_boxes_have_the_names_of_others_and_stay_in_them():
    box = linen.Partitioned(jnp.full((2, 2), 0.5), ("x", None))
    regs = regkit.build(weight_l1=dict(weight=0.3, by="proximal", pattern="*.kernel"))
    stepped = jax.jit(lambda params: regkit_jax.after_step(regs, params, 1.0))({"hid": {"kernel": box}})
    assert stepped["hid"]["kernel"].names == ("x", None)
    np.testing.assert_allclose(stepped["hid"]["kernel"].value, 0.2, rtol=1e-12)


@pytest.mark.parametrize("momentum", [None, 0.9])
def test_the_lasso_has_the_zeros_of_the_closed_form_under_sgd(momentum):
    rng = np.random.default_rng(1)
    v = rng.normal(size=(6, 9)) / 2
    rate = 0.1
    chain = optax.chain(optax.sgd(rate, momentum), regkit_jax.optax(LASSO, rate / (1 - (momentum or 0))))

    @jax.jit
    def train(params):
        def step(carry, _):
            params, state = carry
            updates, state = chain.update(jax.tree.map(lambda w: w - v, params), state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, chain.init(params)), None, length=2000)[0][0]

    found = np.asarray(train({"w": jnp.asarray(rng.normal(size=(6, 9)))})["w"])
    expected = soft(v, 0.3)
    np.testing.assert_array_equal(found == 0, expected == 0)
    assert 10 < (expected == 0).sum() < 50
    np.testing.assert_allclose(found, expected, atol=1e-9)


ADAM = dict(b1=0.9, b2=0.99, eps=1e-8)


def divisors_of(state):
    """What optax.adam divides a gradient by, as its page has it."""
    return jax.tree.map(lambda v: jnp.sqrt(v / (1 - ADAM["b2"] ** state.count)) + ADAM["eps"], state.nu)


def test_the_lasso_has_the_zeros_of_the_closed_form_under_adam_with_its_divisors():
    rng = np.random.default_rng(1)
    aims = {"hid": {"w": rng.normal(size=(6, 9)) / 2, "b": np.ones(9)}}
    adam, regs = optax.adam(0.01, **ADAM), regkit.build(weight_l1=dict(weight=0.3, by="proximal"))

    @jax.jit
    def train(params):
        def step(carry, _):
            params, state = carry
            updates, state = adam.update(jax.tree.map(jnp.subtract, params, aims), state, params)
            params = optax.apply_updates(params, updates)
            return (regkit_jax.after_step(regs, params, 0.01, divisors=divisors_of(state[0])), state), None

        return jax.lax.scan(step, (params, adam.init(params)), None, length=3000)[0][0]

    found = train(jax.tree.map(jnp.zeros_like, aims))["hid"]
    expected = soft(aims["hid"]["w"], 0.3)
    np.testing.assert_array_equal(np.asarray(found["w"]) == 0, expected == 0)
    assert 10 < (expected == 0).sum() < 50
    np.testing.assert_allclose(found["w"], expected, atol=1e-9)
    np.testing.assert_allclose(found["b"], 1, atol=1e-9)


def test_divisors_are_those_of_a_state_of_nnx_and_of_slices(x):
    model = nnx.Sequential(nnx.Linear(4, 3, rngs=nnx.Rngs(0), param_dtype=float))
    optimizer = nnx.Optimizer(model, optax.adam(0.1, **ADAM), wrt=nnx.Param)
    optimizer.update(model, nnx.grad(lambda model: (model(x) ** 2).sum())(model))
    before, v = np.asarray(model.layers[0].kernel[...]), optimizer.opt_state[0].nu["layers"][0]["kernel"][...]
    regs = regkit.build(weight_l1=dict(weight=0.5, by="proximal"))
    divisors = divisors_of(optimizer.opt_state[0])
    nnx.update(model, regkit_jax.after_step(regs, nnx.state(model, nnx.Param), 0.1, divisors=divisors))
    expected = soft(before, 0.1 * 0.5 / (np.sqrt(np.asarray(v) / (1 - ADAM["b2"])) + ADAM["eps"]))
    np.testing.assert_allclose(model.layers[0].kernel[...], expected, rtol=1e-6)
    stack, divisor = np.full((3, 2, 2), 5.0), np.arange(1.0, 13).reshape(3, 2, 2)
    found = regkit_jax.after_step(
        regs, {"w": jnp.asarray(stack)}, 0.6, divisors={"w": jnp.asarray(divisor)}, stacked={"w": 0}
    )
    np.testing.assert_allclose(found["w"], stack - 0.6 * 0.5 / 3 / divisor, rtol=1e-12)


def test_each_name_has_its_rate_and_those_without_count_and_stay():
    regs = regkit.build(weight_l1=dict(weight=2.0, by="proximal"))
    params = {"a": jnp.full((2, 2), 5.0), "b": jnp.full((3, 2, 2), 5.0)}
    for rates, a, b in (({"a": 0.4}, 5 - 0.2, 5), ({"b": 0.4, "a": 0.2}, 5 - 0.1, 5 - 0.2)):  # four matrices
        found = regkit_jax.after_step(regs, params, rates, stacked={"b": 0})
        np.testing.assert_allclose(found["a"], a, rtol=1e-12)
        np.testing.assert_allclose(found["b"], b, rtol=1e-12)
    with pytest.raises(regkit.OptionError, match="after_step got rate for 'c'"):
        regkit_jax.after_step(regs, params, {"c": 0.1})
    with pytest.raises(regkit.OptionError, match="after_step got divisors for 'c'"):
        regkit_jax.after_step(regs, params, 0.1, divisors={"c": jnp.ones(2)})


def test_schedules_of_rate_and_weight_follow_the_count():
    warmup = regkit.schedules.Warmup(to=1.0, steps=2)
    regs = regkit.build(weight_l1=dict(weight=warmup, by="proximal"))
    chain = regkit_jax.optax(regs, lambda count: 0.1 * (count + 1))
    params = {"w": jnp.full((2, 2), 10.0)}
    state = chain.init(params)
    for count, amount in enumerate([0.0, 0.2 * 0.5, 0.3 * 1.0]):
        updates, state = jax.jit(chain.update)({"w": jnp.zeros((2, 2))}, state, params)
        np.testing.assert_allclose(updates["w"], -amount, rtol=1e-6, err_msg=str(count))


def test_without_parameters_optax_raises():
    chain = regkit_jax.optax(LASSO, 0.1)
    with pytest.raises(regkit.OptionError, match="needs the parameters"):
        chain.update({"w": jnp.ones((2, 2))}, chain.init({}))


def test_a_live_weight_is_an_argument_of_a_compiled_step():
    regs = regkit.build(weight_l1=dict(weight=regkit.Live(0.5), by="proximal"))
    params = {"w": jnp.full((2, 2), 1.0)}
    with pytest.raises(regkit.GraphError, match="Live"):
        jax.jit(lambda params: regkit_jax.after_step(regs, params, 1.0))(params)
    stepped = jax.jit(lambda params, live: regkit_jax.after_step(regs, params, 1.0, live=live))
    assert float(stepped(params, regs.live())["w"][0, 0]) == 0.5
    regs["weight_l1"].weight.set(0.25)
    assert float(stepped(params, regs.live())["w"][0, 0]) == 0.75


def test_a_pattern_that_matches_nothing_raises():
    with pytest.raises(regkit.NoMatchError, match="hid"):
        regkit_jax.after_step(LASSO, {"hid": jnp.ones((2, 2))}, 0.1)


def test_a_step_that_never_comes_warns_at_the_second_loss(recwarn):
    regs = regkit.build(weight_l1=dict(weight=0.5, by="proximal"))
    params = {"w": jnp.ones((2, 2))}

    def loss():
        return regkit_jax.Run(regs, layers=regkit_jax.layers_of(params)).loss()

    loss()
    assert not recwarn
    with pytest.warns(UserWarning, match="weight_l1 changes parameters .* after_step was never called"):
        loss()
    for seen_by in (
        lambda other: regkit_jax.after_step(other, params, 0.1),
        lambda other: regkit_jax.optax(other, 0.1),
    ):
        other = regkit.build(weight_l1=dict(weight=0.5, by="proximal"))
        seen_by(other)
        for _ in range(3):
            regkit_jax.Run(other, layers=regkit_jax.layers_of(params)).loss()
    assert len(recwarn) == 0


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"a.b": jnp.ones((2, 2)), "a": {"b": jnp.zeros((2, 2))}}, "a.b"),
        ({"a.0": jnp.ones((2, 2)), "a": [jnp.zeros((2, 2))]}, "a.0"),
    ],
)
def test_two_leaves_of_one_name_raise(params, name):
    expected = f"two leaves are called '{name}', since a key of a dict has a dot in it"
    with pytest.raises(regkit.GraphError, match=expected):
        regkit_jax.layers_of(params)
    regs = regkit.build(weight_l1=dict(weight=0.5, by="proximal"))
    with pytest.raises(regkit.GraphError, match=expected):
        regkit_jax.after_step(regs, params, 0.1)


@pytest.mark.parametrize(("params", "leaves"), [({"w": [[1.0, 2.0]]}, 2), ({}, 0)])
def test_parameters_without_an_array_raise(params, leaves):
    regs = regkit.build(weight_l1=dict(weight=0.5, by="proximal"))
    with pytest.raises(regkit.GraphError, match=f"no array of floats among the {leaves} leaves of params"):
        regkit_jax.after_step(regs, params, 0.1)


def test_a_chain_in_which_nothing_acts_after_a_step_is_refused():
    with pytest.raises(regkit.OptionError, match=r"optax got build\(weight_l1=1.0\), of which nothing acts"):
        regkit_jax.optax(regkit.build(weight_l1=1.0), 0.1)


@pytest.mark.parametrize("weight", [regkit.Live(0.5), regkit.schedules.Target("zeros", 0.75, start=0.5)])
def test_a_weight_that_a_chain_would_keep_is_refused_where_it_is_compiled(weight):
    regs = regkit.build(weight_l1=dict(weight=weight, by="proximal"), hidden_l1=regkit.Live(0.1))
    chain, params, zeros = regkit_jax.optax(regs, 1.0), {"w": jnp.ones((2, 2))}, {"w": jnp.zeros((2, 2))}
    state = chain.init(params)
    with pytest.raises(regkit.GraphError, match="weight of 'weight_l1' would be a constant .*after_step.*live=live"):
        jax.jit(chain.update)(zeros, state, params)
    np.testing.assert_allclose(chain.update(zeros, state, params)[0]["w"], -0.5, rtol=1e-12)
    step = jax.jit(lambda params, live: regkit_jax.after_step(regs, params, 1.0, live=live))
    np.testing.assert_allclose(step(params, regs.live())["w"], 0.5, rtol=1e-12)


def test_a_live_weight_of_what_does_not_act_after_a_step_is_no_matter_of_a_chain():
    regs = regkit.build(weight_l1=dict(weight=0.25, by="proximal"), hidden_l1=regkit.Live(0.1))
    chain, params, zeros = regkit_jax.optax(regs, 1.0), {"w": jnp.ones((2, 2))}, {"w": jnp.zeros((2, 2))}
    updates, _ = jax.jit(chain.update)(zeros, chain.init(params), params)
    np.testing.assert_allclose(updates["w"], -0.25, rtol=1e-12)


def test_of_masked_parameters_the_mean_is_over_the_rest():
    regs = regkit.build(weight_l1=dict(weight=1.0, by="proximal"))
    chain = optax.masked(regkit_jax.optax(regs, 0.1), {"a": True, "b": False})
    params = {"a": jnp.ones((2, 2)), "b": jnp.ones((2, 2))}
    updates, _ = chain.update(jax.tree.map(jnp.zeros_like, params), chain.init(params), params)
    np.testing.assert_allclose(updates["a"], -0.1, rtol=1e-12)  # of one matrix, not half of it
    np.testing.assert_array_equal(updates["b"], 0)


@pytest.mark.parametrize("within", [True, False])
def test_a_step_belongs_within_what_accumulates_gradients(within):
    step = regkit_jax.optax(LASSO, 0.1)
    accumulated = lambda inner: optax.MultiSteps(inner, every_k_schedule=2)  # noqa: E731
    chain = accumulated(optax.chain(optax.sgd(0.1), step)) if within else optax.chain(accumulated(optax.sgd(0.1)), step)
    params, gradients = {"w": jnp.array([[1.0]])}, [{"w": jnp.array([[2.0]])}, {"w": jnp.array([[4.0]])}]
    state = chain.init(params)
    for gradient in gradients:
        updates, state = chain.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    steps = 1 if within else 2
    np.testing.assert_allclose(params["w"], 1 - 0.1 * 3 - steps * 0.1 * 0.3, rtol=1e-6)
