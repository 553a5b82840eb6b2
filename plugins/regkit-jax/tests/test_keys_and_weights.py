"""What a run gets as arguments of a transformed function: the key of its draws, and the values of live weights."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import regkit_jax

import regkit

NOISY = ["noise", "dropout"]


def changed(regs, x, key, **more):
    return regkit_jax.Run(regs, key=key, **more).tap("hid", x)


def of(alias, weight=0.5):
    return regkit.build({alias: {"weight": weight, "pattern": "hid"}})


@pytest.mark.parametrize("alias", NOISY)
@pytest.mark.parametrize("transformed", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_the_same_key_gives_the_same_draws_and_another_key_others(alias, transformed, x):
    regs = of(alias)
    step = transformed(lambda x, key: changed(regs, x, key))
    first, second = jax.random.split(jax.random.key(0))
    assert (step(x, first) == step(x, first)).all()
    assert (step(x, first) != step(x, second)).any()
    np.testing.assert_allclose(step(x, first), changed(of(alias), x, first), rtol=1e-12)


@pytest.mark.parametrize("alias", NOISY)
def test_without_a_key_nothing_changes(alias, x):
    run = regkit_jax.Run(of(alias) + regkit.build(hidden_l1=dict(weight=1, pattern="hid")))
    assert run.tap("hid", x) is x
    np.testing.assert_allclose(run.loss(), abs(x).sum(), rtol=1e-12)


def test_noise_is_the_weight_times_normal_draws(key):
    drawn = changed(of("noise", 2.0), jnp.zeros((300, 300)), key) / 2
    assert abs(drawn.mean()) < 0.02
    assert abs(drawn.std() - 1) < 0.02


def test_a_dropped_output_has_a_gradient_where_it_was_kept(key):
    ones = jnp.ones((10, 10))
    kept = changed(of("dropout"), ones, key)
    gradient = jax.grad(lambda x: changed(of("dropout"), x, key).sum())(ones)
    assert (gradient == kept).all()


@pytest.mark.parametrize("alias", NOISY)
def test_each_example_of_a_vmap_draws_from_its_own_key(alias):
    regs, ones = of(alias), jnp.ones((4, 50))
    keys = jax.random.split(jax.random.key(0), 4)
    found = jax.vmap(lambda x, key: changed(regs, x, key))(ones, keys)
    one_by_one = jnp.stack([changed(regs, x, key) for x, key in zip(ones, keys)])
    np.testing.assert_allclose(found, one_by_one, rtol=1e-12)
    assert (found[0] != found[1]).any()


def test_a_checkpointed_function_draws_the_same_when_it_is_computed_again(x, key):
    def loss(x, key):
        return (changed(of("dropout"), x, key) ** 2).sum()

    np.testing.assert_allclose(jax.grad(jax.checkpoint(loss))(x, key), jax.grad(loss)(x, key), rtol=1e-12)


def test_a_key_that_a_compiled_function_closes_over_is_refused(x, key):
    with pytest.raises(regkit.GraphError) as error:
        jax.jit(lambda x: changed(of("dropout"), x, key))(x)
    assert str(error.value) == (
        "the key is a constant of a function that JAX compiles, which would draw the same at every call. Pass it to "
        "the function as an argument"
    )


def looped(loop, body, steps=3):
    """Return what a body of the step computes at each, in a loop of JAX."""
    if loop == "scan":
        return jax.lax.scan(lambda carry, step: (carry, body(step)), 0, jnp.arange(steps))[1]
    if loop == "map":
        return jax.lax.map(body, jnp.arange(steps))
    rows = jnp.zeros((steps, 50))
    if loop == "fori_loop":
        return jax.lax.fori_loop(0, steps, lambda step, rows: rows.at[step].set(body(step)), rows)
    after = lambda state: (state[0] + 1, state[1].at[state[0]].set(body(state[0])))  # noqa: E731
    return jax.lax.while_loop(lambda state: state[0] < steps, after, (0, rows))[1]


LOOPS = ["scan", "map", "fori_loop", "while_loop"]
CONSTANT = "the key is a constant of the body of a loop of JAX .*, which would draw the same at every step"


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("inner", [lambda f: f, jax.jit, jax.checkpoint], ids=["", "jit", "checkpoint"])
def test_a_key_that_the_body_of_a_loop_closes_over_is_refused(loop, inner, key):
    regs, ones = of("dropout"), jnp.ones(50)
    with pytest.raises(regkit.GraphError, match=CONSTANT):
        jax.jit(lambda key: looped(loop, inner(lambda _: changed(regs, ones, key))))(key)

    def outside(key):
        run = regkit_jax.Run(regs, key=key)
        return looped(loop, inner(lambda _: run.tap("hid", ones)))

    with pytest.raises(regkit.GraphError, match=CONSTANT):
        jax.jit(outside)(key)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("inner", [lambda f: f, jax.jit, jax.checkpoint], ids=["", "jit", "checkpoint"])
def test_a_key_of_each_step_of_a_loop_draws_as_without_the_loop(loop, inner, key):
    def body(key, step):
        return inner(lambda key: changed(of("dropout"), jnp.ones(50), key))(jax.random.fold_in(key, step))

    found = jax.jit(lambda key: looped(loop, lambda step: body(key, step)))(key)
    np.testing.assert_array_equal(found, [body(key, step) for step in range(3)])


def test_a_loop_within_which_nothing_is_drawn_may_have_any_key(key):
    def steps(key):
        def body(_, __):
            run = regkit_jax.Run(of("hidden_l1"), key=key)
            run.tap("hid", jnp.ones(50))
            return None, run.loss()

        return jax.lax.scan(body, None, None, 2)[1]

    np.testing.assert_array_equal(jax.jit(steps)(key), [25, 25])


def test_drawing_outside_of_a_run_is_refused(x):
    with pytest.raises(regkit.GraphError, match="JAX draws from a key, and none is here"):
        of("dropout").modify_graph({"hid": x})


@pytest.mark.parametrize("alias", NOISY)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_draws_have_the_dtype_of_the_output(alias, dtype, key):
    after = changed(of(alias), jnp.ones((50, 50), dtype), key)
    assert after.dtype == dtype
    assert 0.9 < float(after.astype("float32").mean()) < 1.1


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_penalties_of_16_bits_are_of_32_bits(dtype):
    run = regkit_jax.Run(regkit.build(hidden_l1=dict(weight=0.5, pattern="hid")))
    run.tap("hid", jnp.full((512, 512), 1, dtype))
    assert run.loss().dtype == "float32"
    assert float(run.loss()) == 131_072  # beyond float16, and adding ones ends at 256 in bfloat16


def test_in_32_bits_nothing_is_wider(key):
    with jax.enable_x64(False):
        run = regkit_jax.Run(of("dropout") + regkit.build(hidden_l2=dict(weight=0.1, pattern="hid")), key=key)
        assert run.tap("hid", jnp.ones(8)).dtype == run.loss().dtype == "float32"


# Live weights


def live_penalty(regs, x, **live):
    run = regkit_jax.Run(regs, **live)
    run.tap("hid", x)
    return run.loss()


def test_a_live_weight_is_an_argument_of_a_compiled_step(x):
    regs = of("hidden_l1", regkit.Live(0.5))
    traced = []

    @jax.jit
    def step(x, live):
        traced.append(1)
        return live_penalty(regs, x, live=live)

    for weight in (0.5, 0.25, 2.0):
        regs["hidden_l1"].weight.set(weight)
        np.testing.assert_allclose(step(x, regs.live()), weight * abs(x).sum(), rtol=1e-12)
    assert traced == [1]


def test_a_row_of_live_weights_is_tried_at_once(x):
    regs = of("hidden_l1", regkit.Live(0.5))
    weights = jnp.array([0.1, 0.2, 0.4])
    found = jax.vmap(lambda weight: live_penalty(regs, x, live={"hidden_l1": weight}))(weights)
    np.testing.assert_allclose(found, weights * abs(x).sum(), rtol=1e-12)


@pytest.mark.parametrize("transformed", [jax.jit, jax.grad])
@pytest.mark.parametrize("in_a_run", [True, False])
def test_a_live_weight_that_is_read_while_tracing_is_refused(transformed, in_a_run, x):
    regs = of("hidden_l1", regkit.Live(0.5))
    penalty = (lambda x: live_penalty(regs, x)) if in_a_run else (lambda x: regs.loss([], {"hid": x}))
    with pytest.raises(regkit.GraphError, match=r"Live\(0.5\) is read while JAX traces.* Pass regs.live\(\)"):
        transformed(penalty)(x)


def test_live_values_that_would_be_constants_are_refused(x):
    regs = of("hidden_l1", regkit.Live(0.5))
    with pytest.raises(regkit.GraphError, match=r"live\['hidden_l1'\] is 0.5, a constant of a function that JAX"):
        jax.jit(lambda x: live_penalty(regs, x, live=regs.live()))(x)


def test_a_live_weight_that_is_not_traced_is_its_present_value(x):
    np.testing.assert_allclose(live_penalty(of("hidden_l1", regkit.Live(0.5)), x), 0.5 * abs(x).sum(), rtol=1e-12)


@pytest.mark.parametrize(
    ("alias", "live", "said"),
    [
        ("hidden_l1", {"noise": 0.1}, "Run got a live weight for 'noise'; members with a live weight: hidden_l1"),
        ("hidden_l1", {"hidden_l1": -1.0}, "hidden_l1: HiddenL1 got weight=-1.0; accepted: a finite real number"),
        ("hidden_l1", {"hidden_l1": "a"}, "hidden_l1: HiddenL1 got weight='a'; accepted: a finite real number"),
        ("dropout", {"dropout": 1.5}, "dropout: Dropout got weight=1.5; accepted: a finite real number"),
        ("dropout", {"dropout": jnp.array(1.5)}, "dropout: Dropout got weight=1.5; accepted: a finite real number"),
    ],
)
def test_a_live_value_that_is_not_accepted_is_named(alias, live, said, x, key):
    with pytest.raises(regkit.OptionError) as error:
        live_penalty(of(alias, regkit.Live(0.5)), x, key=key, live=live)
    assert str(error.value).startswith(said)


def test_a_set_cannot_be_moved_to_a_step_that_is_traced():
    regs = of("hidden_l1", regkit.schedules.Warmup(to=0.5, steps=4))
    with pytest.raises(
        regkit.OptionError, match=r"step got n=.*; accepted: an integer of at least 0. .* regs.live\(step"
    ):
        jax.jit(regs.step)(2)
    regs.step(jnp.asarray(2))
    assert regs.live() == {"hidden_l1": 0.25}


def test_a_live_weight_beside_a_schedule_is_an_argument_too(x):
    schedule = regkit.schedules.Warmup(to=1.0, steps=10)
    regs = regkit.build(
        hidden_l1=dict(weight=regkit.Live(0.5), pattern="hid"), hidden_l2=dict(weight=schedule, pattern="hid")
    )
    with pytest.raises(regkit.GraphError, match=r"live=\{\*\*regs.live\(step\), 'hidden_l1': value\}"):
        jax.jit(lambda x, step: live_penalty(regs, x, live=regs.live(step)))(x, 5)
    step = jax.jit(lambda x, step, value: live_penalty(regs, x, live={**regs.live(step), "hidden_l1": value}))
    expected = 0.25 * abs(np.asarray(x)).sum() + 0.5 * (np.asarray(x) ** 2).sum()
    np.testing.assert_allclose(step(x, 5, 0.25), expected, rtol=1e-6)  # the schedule is of 32 bits
