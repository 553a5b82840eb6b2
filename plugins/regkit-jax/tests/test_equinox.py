"""Modules of Equinox that are watched: values and gradients by hand, and what is not silent."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import regkit_jax

import regkit


class Block(eqx.Module):
    mlp: eqx.nn.Linear

    def __call__(self, x):
        return x + jnp.tanh(self.mlp(x))


class Net(eqx.Module):
    hid: eqx.nn.Linear
    blocks: list[Block]
    heads: dict[str, eqx.nn.Linear]

    def __call__(self, x):
        x = self.hid(x)
        for block in self.blocks:
            x = block(x)
        return self.heads["out"](self.hid(x))


@pytest.fixture
def model():
    keys = jax.random.split(jax.random.key(0), 4)
    linear = lambda size, key: eqx.nn.Linear(4, size, key=key, dtype=jnp.float64)  # noqa: E731
    blocks = [Block(linear(4, keys[1])), Block(linear(4, keys[2]))]
    return Net(linear(4, keys[0]), blocks, {"out": linear(2, keys[3])})


def forward(model, x):
    """Return what each place computes of a batch, by hand."""
    linear = lambda layer, h: jnp.dot(h, layer.weight.T) + layer.bias  # noqa: E731
    first = linear(model.hid, x)
    inner = linear(model.blocks[0].mlp, first)
    middle = first + jnp.tanh(inner)
    last = middle + jnp.tanh(linear(model.blocks[1].mlp, middle))
    again = linear(model.hid, last)
    return first, inner, again, linear(model.heads["out"], again)


def check(found, expected):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-12)


def batched(model, regs, x, **arguments):
    def one(x):
        with regkit_jax.equinox.watch(model, regs, axis_name="batch", **arguments) as run:
            return (model(x) ** 2).sum() + run.loss()

    return jax.vmap(one, axis_name="batch")(x).mean()


def test_penalties_of_all_examples_and_gradients_are_those_by_hand_and_names_are_paths(model, x):
    regs = regkit.build(
        hidden_l1=dict(weight=0.3, pattern=["hid", "blocks.0.mlp"], reduction="batch"),
        hidden_decorrelation=dict(weight=0.7, pattern="hid@1"),
        weight_l2=dict(weight=0.2, pattern="*.weight"),
    )

    def hand(model):
        first, inner, again, out = forward(model, x)
        covariance = jnp.cov(again.T, bias=True)
        apart = (covariance**2).sum() - (jnp.diag(covariance) ** 2).sum()
        norms = sum(abs(z).sum() for z in (first, inner, again)) / len(x) / 3
        layers = [model.hid, model.heads["out"], *(block.mlp for block in model.blocks)]
        weights = sum((layer.weight**2).sum() for layer in layers) / 4
        return (out**2).sum(axis=1).mean() + 0.3 * norms + 0.7 * apart / 2 + 0.2 * weights

    found = eqx.filter_jit(eqx.filter_value_and_grad(lambda model: batched(model, regs, x)))(model)
    check(found, eqx.filter_jit(eqx.filter_value_and_grad(hand))(model))


def test_a_model_that_is_called_with_a_batch_needs_no_axis(x):
    class Dense(eqx.Module):
        weight: jax.Array

        def __call__(self, x):
            return x @ self.weight

    class Two(eqx.Module):
        layers: tuple[Dense, ...]

        def __call__(self, x):
            return self.layers[1](jnp.tanh(self.layers[0](x)))

    model, regs = (
        Two((Dense(jnp.ones((4, 3))), Dense(jnp.ones((3, 2))))),
        regkit.build(hidden_l1=dict(weight=1, pattern="layers.0")),
    )
    with regkit_jax.equinox.watch(model, regs) as run:
        model(x)
    np.testing.assert_allclose(run.loss(), abs(np.asarray(x) @ np.ones((4, 3))).sum(), rtol=1e-12)


def test_a_change_goes_on_through_the_model_with_draws_for_each_example(model, key):
    pattern = "heads.out"
    regs = regkit.build(noise=dict(weight=1.0, pattern=pattern), hidden_l1=dict(weight=1.0, pattern=pattern))

    def one(x):
        with regkit_jax.equinox.watch(model, regs, key=key, axis_name="batch") as run:
            return model(x), run.loss()

    x = jnp.ones((8, 4))
    noisy, loss = jax.vmap(one, axis_name="batch", out_axes=(0, None))(x)
    noise = noisy - jax.vmap(model)(x)
    assert len({round(float(value), 9) for value in noise.ravel()}) == noise.size
    np.testing.assert_allclose(loss, abs(noisy).sum(), rtol=1e-12)


def test_afterwards_the_classes_are_as_they_were(model, x):
    before = {cls: vars(cls)["__call__"] for cls in (Net, Block, eqx.nn.Linear)}
    batched(model, regkit.build(hidden_l1=dict(weight=1.0, pattern="hid")), x)
    assert before == {cls: vars(cls)["__call__"] for cls in before}


@pytest.mark.parametrize("transform", [eqx.filter_jit, eqx.filter_vmap, eqx.filter_checkpoint])
def test_a_model_of_which_a_transformation_calls_a_copy_raises(transform, model, x):
    regs = regkit.build(hidden_l1=dict(weight=1.0, pattern="hid"))
    value = x if transform is eqx.filter_vmap else x[0]
    with (
        pytest.raises(regkit.GraphError, match="no module of the watched model was called. Within eqx.filter_jit, .*"),
        regkit_jax.equinox.watch(model, regs),
    ):
        transform(model)(value)


def test_a_module_that_is_called_within_a_vmap_that_has_ended_raises(model, x):
    with regkit_jax.equinox.watch(model, regkit.build(hidden_l1=dict(weight=1.0, pattern="hid"))) as run:
        jax.vmap(model)(x)
    with pytest.raises(regkit.GraphError, match="output 'hid' was tapped in a function that JAX has transformed"):
        run.loss()


def test_a_watch_outside_of_what_is_differentiated_raises(model, x):
    with (
        pytest.raises(regkit.GraphError, match="the run was made outside of the function"),
        regkit_jax.equinox.watch(model, regkit.build(weight_l2=0.1)) as run,
    ):
        eqx.filter_grad(lambda model: (jax.vmap(model)(x) ** 2).sum() + run.loss())(model)


def test_what_is_no_module_and_a_missing_pattern_are_refused(model):
    with (
        pytest.raises(regkit.OptionError, match="watch got a model of type builtins.int; accepted: a module of"),
        regkit_jax.equinox.watch(3, regkit.build()),
    ):
        pass
    with (
        pytest.raises(regkit.OptionError, match="A model of Equinox does not define which of its modules are hidden"),
        regkit_jax.equinox.watch(model, regkit.build(hidden_l1=0.1)),
    ):
        pass


def test_two_modules_of_one_name_raise():
    class Heads(eqx.Module):
        heads: dict

    linear = lambda: eqx.nn.Linear(2, 2, key=jax.random.key(0))  # noqa: E731
    model = Heads({"a.b": linear(), "a": {"b": linear()}})
    with (
        pytest.raises(regkit.GraphError, match=r"two modules are called 'heads.a.b', since a key of a dict has a dot"),
        regkit_jax.equinox.watch(model, regkit.build(hidden_l1=dict(weight=1.0, pattern="heads.*"))),
    ):
        pass


def test_a_change_that_finds_nothing_to_change_raises_without_a_loss(model, x, key):
    regs = regkit.build(dropout=dict(weight=0.5, pattern="hidd"))
    with (
        pytest.raises(regkit.NoMatchError, match="pattern 'hidd' matches none of the outputs: hid, blocks.0.mlp"),
        regkit_jax.equinox.watch(model, regs, key=key),
    ):
        model(x[0])


@pytest.mark.parametrize("alias", ["dropout", "hidden_l1"])
@pytest.mark.parametrize("transform", [eqx.filter_checkpoint, eqx.filter_jit])
def test_a_module_that_only_a_copy_of_was_called_raises(transform, alias, x, key):
    class Two(eqx.Module):
        first: eqx.nn.Linear
        second: eqx.nn.Linear

        def __call__(self, x):
            return transform(self.second)(self.first(x))

    model = Two(eqx.nn.Linear(4, 4, key=key), eqx.nn.Linear(4, 4, key=key))
    regs = regkit.build({alias: {"weight": 0.5, "pattern": "*"}})
    with (
        pytest.raises(regkit.GraphError, match="module 'second', which a pattern matches, was not called within the w"),
        regkit_jax.equinox.watch(model, regs, key=key),
    ):
        model(x[0])


def test_a_watch_of_another_model_than_the_one_that_is_differentiated_raises(model, x):
    def loss(inner):
        with regkit_jax.equinox.watch(model, regkit.build(weight_l2=0.1)) as run:
            return (inner(x[0]) ** 2).sum() + run.loss()

    with pytest.raises(regkit.GraphError, match="the watched model was not called, but another, whose par"):
        eqx.filter_grad(loss)(model)


def test_a_copy_of_the_watched_model_with_the_same_parameters_may_be_called(model, x):
    def loss(model):
        with regkit_jax.equinox.watch(model, regkit.build(weight_l2=1.0)) as run:
            return 0 * eqx.nn.inference_mode(jax.tree.map(lambda w: 2 * w, model))(x[0]).sum() + run.loss()

    found = eqx.filter_grad(loss)(model)
    np.testing.assert_allclose(found.hid.weight, 2 * model.hid.weight / 4, rtol=1e-12)  # four matrices


def test_a_change_within_a_scan_is_that_of_a_loop():
    class Recurrent(eqx.Module):
        cell: eqx.nn.GRUCell

        def __call__(self, xs):
            return jax.lax.scan(lambda h, x: (self.cell(x, h), None), jnp.zeros(5), xs)[0]

    model = Recurrent(eqx.nn.GRUCell(4, 5, key=jax.random.key(0), dtype=jnp.float64))
    xs = jax.random.normal(jax.random.key(1), (7, 4), dtype=jnp.float64)
    regs = regkit.build(hidden_topk=dict(k=2, pattern="cell"), weight_l2=1.0)

    def loss(model):
        with regkit_jax.equinox.watch(model, regs) as run:
            return model(xs).sum() + 0 * run.loss()

    h = jnp.zeros(5)
    for x in xs:
        h = model.cell(x, h)
        h = jnp.where(h >= jnp.sort(h)[-2], h, 0)
    np.testing.assert_allclose(eqx.filter_jit(loss)(model), h.sum(), rtol=1e-12)
