"""A batch that is split over devices: with `axis_name` the numbers are those of one device that has all of it."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import regkit_jax
from flax import linen, nnx
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import regkit

SPLIT, SAME = PartitionSpec("batch"), PartitionSpec()
DEVICES = 4

REDUCTIONS = [{"reduction": reduction} for reduction in ("sum", "mean", "batch")]

#: The options that each regularizer with a penalty is tried with.
OF_OUTPUTS = {
    "hidden_decorrelation": [{}],
    "hidden_hoyer": REDUCTIONS,
    "hidden_kl": [{"rho": 0.1}],
    "hidden_l1": REDUCTIONS,
    "hidden_l2": REDUCTIONS,
    "hidden_variation": REDUCTIONS,
    "recurrent_norm": REDUCTIONS,
    "recurrent_state": REDUCTIONS,
}
OF_PARAMETERS = {
    "elastic_net": [{}],
    "group_lasso": [{}],
    "weight_decay": [{}],
    "weight_distance": [{"reference": {"w1": np.ones((4, 5)), "w2": np.ones((5, 2))}}],
    "weight_l1": [{}],
    "weight_l2": [{}],
    "weight_max_norm": [{}],
    "weight_orthogonal": [{}],
    "weight_spectral": [{}],
}
#: A penalty of derivatives, and one without a gradient, which acts after the step.
OTHERS = ("contractive", "weight_l0")


def test_every_regularizer_with_a_penalty_is_tried():
    penalties = {regkit.load(alias) for alias in regkit.available()}
    penalties = {cls for cls in penalties if cls.loss is not regkit.Regularizer.loss}
    assert penalties == {regkit.load(alias) for alias in (*OF_OUTPUTS, *OF_PARAMETERS, *OTHERS)}


def regs_of(*aliases):
    """Return a set with another weight for each, so that none makes up for another."""
    options = {
        alias: [
            {"weight": 0.3 + i / 7, **({"pattern": "h"} if alias in OF_OUTPUTS else {}), **given}
            for i, given in enumerate({**OF_OUTPUTS, **OF_PARAMETERS}[alias])
        ]
        for alias in aliases
    }
    return regkit.build(options)


@pytest.fixture(scope="module")
def mesh():
    assert jax.device_count() == DEVICES, "conftest.py asks for these before anything is computed"
    return Mesh(np.array(jax.devices()), ("batch",))


@pytest.fixture
def params():
    rng = np.random.default_rng(0)
    return {"w1": jnp.asarray(rng.normal(size=(4, 5))), "w2": jnp.asarray(rng.normal(size=(5, 2)))}


@pytest.fixture
def x():
    return jnp.asarray(np.random.default_rng(1).normal(size=(8, 3, 4)))


def loss_of(regs, axis_name=None):
    def loss(params, x):
        run = regkit_jax.Run(regs, layers=regkit_jax.layers_of(params), axis_name=axis_name)
        h = run.tap("h", jax.nn.sigmoid(jnp.dot(x, params["w1"])))
        return (jnp.dot(h, params["w2"]) ** 2).mean() + run.loss()

    return loss


def by_pmap(regs, mesh, params, x):
    def step(params, x):
        return lax.pmean(jax.value_and_grad(loss_of(regs, "batch"))(params, x), "batch")

    parts = x.reshape(DEVICES, -1, *x.shape[1:])
    return jax.tree.map(lambda every: every[0], jax.pmap(step, axis_name="batch", in_axes=(None, 0))(params, parts))


def by_shard_map(regs, mesh, params, x, varying=False):
    def step(params, x):
        if varying:
            params = lax.pcast(params, "batch", to="varying")
        return lax.pmean(jax.value_and_grad(loss_of(regs, "batch"))(params, x), "batch")

    return jax.jit(jax.shard_map(step, mesh=mesh, in_specs=(SAME, SPLIT), out_specs=SAME, check_vma=varying))(params, x)


def by_shard_map_of_checked_types(regs, mesh, params, x):
    return by_shard_map(regs, mesh, params, x, varying=True)


def mean_loss(regs):
    return lambda params, x: lax.pmean(loss_of(regs, "batch")(params, x), "batch")


def by_the_mean_of_losses(regs, mesh, params, x):
    step = jax.value_and_grad(mean_loss(regs))
    return jax.jit(jax.shard_map(step, mesh=mesh, in_specs=(SAME, SPLIT), out_specs=SAME))(params, x)


def around_shard_map(regs, mesh, params, x):
    loss = jax.shard_map(mean_loss(regs), mesh=mesh, in_specs=(SAME, SPLIT), out_specs=SAME)
    return jax.jit(jax.value_and_grad(loss))(params, x)


def by_vmap(regs, mesh, params, x):
    """Each call has one example."""

    def loss(params):
        return jax.vmap(loss_of(regs, "batch"), in_axes=(None, 0), axis_name="batch")(params, x).mean()

    return jax.jit(jax.value_and_grad(loss))(params)


def by_vmap_of_gradients(regs, mesh, params, x):
    step = jax.vmap(jax.value_and_grad(loss_of(regs, "batch")), in_axes=(None, 0), axis_name="batch")
    return jax.tree.map(lambda every: every.mean(axis=0), jax.jit(step)(params, x))


def by_vmap_on_devices(regs, mesh, params, x):
    def step(params, x):
        each = jax.vmap(loss_of(regs, ("batch", "example")), in_axes=(None, 0), axis_name="example")
        return lax.pmean(jax.value_and_grad(lambda params: each(params, x).mean())(params), "batch")

    step = jax.shard_map(step, mesh=mesh, in_specs=(SAME, SPLIT), out_specs=SAME, check_vma=False)
    return jax.jit(step)(params, x)


def by_shardings(regs, mesh, params, x):
    """Without `axis_name`: the batch is whole within jit."""
    return jax.jit(jax.value_and_grad(loss_of(regs)))(params, jax.device_put(x, NamedSharding(mesh, SPLIT)))


WAYS = [
    by_pmap,
    by_shard_map,
    by_shard_map_of_checked_types,
    by_the_mean_of_losses,
    around_shard_map,
    by_vmap,
    by_vmap_of_gradients,
    by_vmap_on_devices,
    by_shardings,
]


def check(found, expected):
    assert float(found[0]) > 0
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("way", WAYS)
def test_value_and_gradient_of_a_split_batch_are_those_of_one_device(way, mesh, params, x):
    regs = regs_of("hidden_decorrelation", "hidden_kl", "hidden_l1", "weight_l2")
    check(way(regs, mesh, params, x), jax.jit(jax.value_and_grad(loss_of(regs)))(params, x))


@pytest.mark.parametrize("alias", [*OF_OUTPUTS, *OF_PARAMETERS])
def test_a_penalty_and_its_gradient_are_those_of_one_device(alias, mesh, params, x):
    regs = regs_of(alias)
    check(by_shard_map_of_checked_types(regs, mesh, params, x), jax.jit(jax.value_and_grad(loss_of(regs)))(params, x))


@pytest.mark.parametrize("alias", OF_OUTPUTS)
def test_explicit_axes_give_the_numbers_of_one_device(alias, x):
    regs = regs_of(alias)

    def loss(x, shown=lambda h: h):
        run = regkit_jax.Run(regs)
        h = jax.nn.sigmoid(x)
        run.tap("h", shown(h))
        return (h**2).mean() + run.loss()

    expected = jax.jit(jax.value_and_grad(loss))(x)
    if alias == "hidden_decorrelation":  # a product over examples, of which JAX asks how it is to be split
        loss = partial(loss, shown=lambda h: jax.sharding.reshard(h, SAME))
    with jax.set_mesh(jax.make_mesh((DEVICES,), ("batch",))):
        found = jax.jit(jax.value_and_grad(loss))(jax.device_put(x, SPLIT))
    check(found, expected)


def on_devices(mesh, x, function, out=SPLIT, **options):
    return jax.jit(jax.shard_map(function, mesh=mesh, in_specs=SPLIT, out_specs=out, **options))(x)


@pytest.mark.parametrize("check_vma", [True, False])
def test_the_loss_is_that_of_the_whole_batch_on_each_device(check_vma, mesh, x):
    regs = regs_of("hidden_decorrelation", "hidden_l1")

    def loss(x, axis_name="batch"):
        run = regkit_jax.Run(regs, axis_name=axis_name)
        run.tap("h", x)
        return run.loss()[None]

    found = on_devices(mesh, x, loss, check_vma=check_vma)
    np.testing.assert_allclose(found, [float(loss(x, None)[0])] * DEVICES, rtol=1e-12)


def test_without_axis_name_a_device_has_the_loss_of_its_part(mesh, x):
    regs = regkit.build(hidden_decorrelation=dict(weight=1.0, pattern="h"))

    def loss(x):
        run = regkit_jax.Run(regs)
        run.tap("h", x)
        return run.loss()[None]

    parts = [float(loss(part)[0]) for part in np.split(np.asarray(x), DEVICES)]
    np.testing.assert_allclose(on_devices(mesh, x, loss), parts, rtol=1e-12)


def test_the_slices_of_scanned_layers_are_of_the_whole_batch(mesh, x):
    regs = regkit.build(hidden_decorrelation=dict(weight=1.0, pattern="h"))

    def loss(x, axis_name="batch"):
        run = regkit_jax.Run(regs, axis_name=axis_name)
        run.tap_each("h", jnp.stack([x, x**2]))
        return run.loss()[None]

    np.testing.assert_allclose(on_devices(mesh, x, loss)[0], loss(x, None)[0], rtol=1e-12)


@pytest.mark.parametrize("check_vma", [True, False])
def test_each_device_draws_its_part_of_the_noise_and_penalties_see_all_of_it(check_vma, mesh, key):
    regs = regkit.build(noise=dict(weight=1.0, pattern="h"), hidden_l2=dict(weight=1.0, pattern="h", reduction="mean"))

    def draw(x, key):
        run = regkit_jax.Run(regs, key=key, axis_name="batch")
        return run.tap("h", x), run.loss()[None]

    step = jax.shard_map(draw, mesh=mesh, in_specs=(SPLIT, SAME), out_specs=SPLIT, check_vma=check_vma)
    noise, loss = jax.jit(step)(jnp.zeros((8, 3)), key)
    assert len({float(value) for value in noise.ravel()}) == noise.size
    np.testing.assert_allclose(loss, [float((noise**2).mean())] * DEVICES, rtol=1e-12)


def test_each_example_of_a_vmap_draws_from_one_key(key):
    regs = regkit.build(noise=dict(weight=1.0, pattern="h"))

    def draw(x):
        return regkit_jax.Run(regs, key=key, axis_name="batch").tap("h", x)

    noise = jax.vmap(draw, axis_name="batch")(jnp.zeros((8, 3)))
    assert len({float(value) for value in noise.ravel()}) == noise.size


def test_a_live_weight_is_an_argument_on_devices_too(mesh, x):
    regs = regkit.build(hidden_l1=dict(weight=regkit.Live(0.5), pattern="h", reduction="mean"))

    def loss(x, live):
        run = regkit_jax.Run(regs, live=live, axis_name="batch")
        run.tap("h", x)
        return run.loss()[None]

    step = jax.jit(jax.shard_map(loss, mesh=mesh, in_specs=(SPLIT, SAME), out_specs=SPLIT))
    for weight in (0.5, 2.0):
        np.testing.assert_allclose(step(x, {"hidden_l1": weight}), [weight * abs(np.asarray(x)).mean()] * DEVICES)


def test_a_constant_key_is_refused_on_devices_too(mesh, key):
    regs = regkit.build(noise=dict(weight=1.0, pattern="h"))
    with pytest.raises(regkit.GraphError, match="the key is a constant of a function that JAX compiles"):
        on_devices(mesh, jnp.zeros((8, 3)), lambda x: regkit_jax.Run(regs, key=key, axis_name="batch").tap("h", x))


def penalized(value, regs=None, axis_name="batch"):
    run = regkit_jax.Run(regs or regkit.build(hidden_l1=dict(weight=1.0, pattern="h")), axis_name=axis_name)
    run.tap("h", value)
    return run.loss()[None]


@pytest.mark.parametrize("axes", [0, 1])
def test_an_output_without_an_axis_of_examples_is_refused(axes, mesh):
    with pytest.raises(regkit.GraphError, match=r"axis_name: output 'h' has shape .* Tap it with an axis for each"):
        on_devices(mesh, jnp.ones(8), lambda x: penalized(x if axes else x.sum()))
    with pytest.raises(regkit.GraphError, match=r"axis_name: output 'h' has shape \(\)"):
        jax.vmap(penalized, axis_name="batch")(jnp.ones(8))


def test_an_output_that_is_the_same_on_all_devices_is_refused(mesh):
    with pytest.raises(regkit.GraphError, match="output 'h' does not depend on the device along 'batch'"):
        on_devices(mesh, jnp.ones(8), lambda x: penalized(jnp.ones((2, 3))))


def test_an_output_that_no_penalty_looks_at_may_have_any_shape(mesh, x):
    def loss(x):
        run = regkit_jax.Run(regkit.build(hidden_l1=dict(weight=1.0, pattern="h")), axis_name="batch")
        run.tap("norm", x.sum())
        run.tap("h", x)
        return run.loss()[None]

    np.testing.assert_allclose(on_devices(mesh, x, loss)[0], abs(np.asarray(x)).sum(), rtol=1e-12)


def test_an_axis_that_is_not_there_is_refused(x):
    with pytest.raises(regkit.GraphError, match="no axis 'batch' is here.*Under jit with shardings the batch is whole"):
        jax.jit(penalized)(x)


@pytest.mark.parametrize("axis_name", [3, (3,), ["batch"]])
def test_what_is_no_name_of_an_axis_is_refused(axis_name, x):
    with pytest.raises(regkit.OptionError, match="Run got axis_name=.*; accepted: the name of an axis"):
        penalized(x, axis_name=axis_name)


def test_derivatives_of_a_split_batch_are_refused(mesh, x):
    regs = regkit.build(contractive=dict(weight=1.0, pattern="h", wrt="in"))
    with pytest.raises(regkit.OptionError, match="Run got both again and axis_name.*a run of their own"):
        on_devices(mesh, x, lambda x: regkit_jax.Run(regs, again=lambda run: None, axis_name="batch").loss())


def test_derivatives_without_axis_name_are_means_over_devices(mesh, params, x):
    regs = regkit.build(contractive=dict(weight=1.0, pattern="h", wrt="in", reduction="batch"))

    def loss(params, x):
        def forward(run):
            return run.tap("h", jnp.tanh(jnp.dot(run.tap("in", x), params["w1"])))

        run = regkit_jax.Run(regs, again=forward)
        forward(run)
        return run.loss()

    def step(params, x):
        return lax.pmean(jax.value_and_grad(loss)(params, x), "batch")

    x = x[:, 0]
    step = jax.shard_map(step, mesh=mesh, in_specs=(SAME, SPLIT), out_specs=SAME, check_vma=False)
    check(jax.jit(step)(params, x), jax.jit(jax.value_and_grad(loss))(params, x))


def of_nnx(x):
    model = nnx.Sequential(nnx.Linear(4, 5, rngs=nnx.Rngs(0), param_dtype=jnp.float64))
    graph, params = nnx.split(model)

    def loss(params, x, axis_name=None):
        model = nnx.merge(graph, params)
        with regkit_jax.nnx.watch(model, regs_for_module("layers.0"), axis_name=axis_name) as run:
            return (model(x) ** 2).mean() + run.loss()

    return params, loss


def of_linen(x):
    model = linen.Sequential([linen.Dense(5, param_dtype=jnp.float64)])

    def loss(params, x, axis_name=None):
        with regkit_jax.linen.watch(params, regs_for_module("layers_0"), axis_name=axis_name) as run:
            return (model.apply({"params": params}, x) ** 2).mean() + run.loss()

    return model.init(jax.random.key(0), x)["params"], loss


def regs_for_module(name):
    return regkit.build(hidden_decorrelation=dict(weight=1.0, pattern=name), weight_l2=0.1)


@pytest.mark.parametrize("of_library", [of_nnx, of_linen])
def test_a_model_of_flax_has_the_numbers_of_one_device(of_library, mesh, x):
    params, loss = of_library(x)

    def step(params, x):
        return lax.pmean(jax.value_and_grad(loss)(params, x, "batch"), "batch")

    step = jax.shard_map(step, mesh=mesh, in_specs=(SAME, SPLIT), out_specs=SAME, check_vma=False)
    check(jax.jit(step)(params, x), jax.jit(jax.value_and_grad(loss))(params, x))
