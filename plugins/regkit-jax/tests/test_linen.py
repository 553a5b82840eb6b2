"""Modules of Flax Linen that are watched: values and gradients by hand, and what is not silent."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import regkit_jax
from flax import linen as nn

import regkit


class Block(nn.Module):
    @nn.compact
    def __call__(self, x):
        return x + jnp.tanh(nn.Dense(4, name="mlp", param_dtype=jnp.float64)(x))


class Net(nn.Module):
    transform: Any = lambda block: block

    @nn.compact
    def __call__(self, x):
        block = self.transform(Block)(name="block")
        return nn.Dense(2, name="out", param_dtype=jnp.float64)(block(block(x)))


@pytest.fixture
def params(x):
    return Net().init(jax.random.key(0), x)["params"]


def by_hand(params, x):
    mlp = lambda h: jnp.dot(h, params["block"]["mlp"]["kernel"]) + params["block"]["mlp"]["bias"]  # noqa: E731
    first = mlp(x)
    second = mlp(x + jnp.tanh(first))
    last = x + jnp.tanh(first) + jnp.tanh(second)
    out = jnp.dot(last, params["out"]["kernel"]) + params["out"]["bias"]
    kernels = params["block"]["mlp"]["kernel"], params["out"]["kernel"]
    norms = (abs(first).sum() + abs(second).sum()) / 2
    return (out**2).sum() + 0.3 * norms + 0.2 * sum((w**2).sum() for w in kernels) / 2


def test_penalties_and_gradients_are_those_by_hand_and_names_are_paths(params, x):
    regs = regkit.build(hidden_l1=dict(weight=0.3, pattern="block.mlp"), weight_l2=dict(weight=0.2, pattern="*.kernel"))

    def loss(params):
        with regkit_jax.linen.watch(params, regs) as run:
            return (Net().apply({"params": params}, x) ** 2).sum() + run.loss()

    found = jax.jit(jax.value_and_grad(loss))(params)
    expected = jax.value_and_grad(by_hand)(params, x)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


def test_a_change_goes_on_through_the_model(params, x):
    regs = regkit.build(hidden_topk=dict(k=1, pattern="block"))
    with regkit_jax.linen.watch(params, regs) as run:
        found = Net().apply({"params": params}, x)
    assert [name for name in run.outputs if "-" not in name] == ["block", "block@1"]
    assert ((run.outputs["block@1"] != 0).sum(axis=-1) == 1).all()
    last = run.outputs["block@1"]
    np.testing.assert_allclose(found, jnp.dot(last, params["out"]["kernel"]) + params["out"]["bias"], rtol=1e-12)


def test_a_module_within_remat_raises(params, x):
    regs = regkit.build(hidden_l1=dict(weight=0.3, pattern="block.mlp"))

    def loss(params):
        with regkit_jax.linen.watch(params, regs) as run:
            return (Net(nn.remat).apply({"params": params}, x) ** 2).sum() + run.loss()

    with pytest.raises(regkit.GraphError, match="was tapped in a function that JAX has transformed"):
        jax.grad(loss)(params)


@pytest.mark.parametrize(
    "changes", [dict(dropout=dict(weight=0.5, pattern="block.mlp")), dict(hidden_topk=dict(k=2, pattern="block"))]
)
def test_a_change_within_remat_is_that_without_it(changes, params, x, key):
    regs = regkit.build(**changes, hidden_l1=dict(weight=0.3, pattern="out"), weight_l2=dict(weight=0.2))

    def loss(params, key, net):
        with regkit_jax.linen.watch(params, regs, key=key) as run:
            return (net.apply({"params": params}, x) ** 2).sum() + run.loss()

    compiled = jax.jit(jax.value_and_grad(loss), static_argnums=2)
    found, expected = compiled(params, key, Net(nn.remat)), compiled(params, key, Net())
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize("alias", ["dropout", "hidden_topk"])
def test_a_change_within_what_is_compiled_by_itself_raises(alias, params, x, key):
    regs = regkit.build({alias: {"pattern": "block.mlp", **({"k": 1} if alias == "hidden_topk" else {"weight": 0.5})}})

    @jax.jit
    def compiled(params, key):
        return loss_of(regs, params, x, Net(nn.jit), key=key)

    with pytest.raises(regkit.GraphError, match="output of module 'block.mlp' would be changed within jit, which"):
        compiled(params, key)


def test_penalties_of_parameters_hold_through_remat(params, x):
    regs = regkit.build(weight_l2=dict(weight=0.2, pattern="*.kernel"))

    def loss(params):
        with regkit_jax.linen.watch(params, regs) as run:
            return (Net(nn.remat).apply({"params": params}, x) ** 2).sum() + run.loss()

    def plain(params):
        kernels = params["block"]["mlp"]["kernel"], params["out"]["kernel"]
        return (Net().apply({"params": params}, x) ** 2).sum() + 0.2 * sum((w**2).sum() for w in kernels) / 2

    for one, other in zip(jax.tree.leaves(jax.grad(loss)(params)), jax.tree.leaves(jax.grad(plain)(params))):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_a_watch_in_which_nothing_is_applied_and_one_outside_raise(params, x):
    regs = regkit.build(hidden_l1=dict(weight=0.3, pattern="block"))
    with (
        pytest.raises(regkit.GraphError, match="no module of the watched model was called. Within nn.jit"),
        regkit_jax.linen.watch(params, regs),
    ):
        pass
    with (
        pytest.raises(regkit.GraphError, match="the run was made outside of the function"),
        regkit_jax.linen.watch(params, regkit.build(weight_l2=0.1)) as run,
    ):
        jax.grad(lambda params: (Net().apply({"params": params}, x) ** 2).sum() + run.loss())(params)


def test_a_regularizer_of_outputs_needs_a_pattern(params):
    with (
        pytest.raises(
            regkit.OptionError, match="A model of Flax Linen does not define.*There is: block, block.mlp, out"
        ),
        regkit_jax.linen.watch(params, regkit.build(hidden_l1=0.1)),
    ):
        pass


def test_a_change_that_finds_nothing_to_change_raises_without_a_loss(params, x, key):
    regs = regkit.build(dropout=dict(weight=0.5, pattern="blok"))
    with (
        pytest.raises(regkit.NoMatchError, match="pattern 'blok' matches none of the outputs: block.mlp, block, out"),
        regkit_jax.linen.watch(params, regs, key=key),
    ):
        Net().apply({"params": params}, x)
    with regkit_jax.linen.watch(params, regs):  # predictions
        Net().apply({"params": params}, x)


def test_a_watch_of_other_parameters_than_those_that_are_differentiated_raises(params, x):
    def loss(inner):
        with regkit_jax.linen.watch(params, regkit.build(weight_l2=0.1)) as run:
            return (Net().apply({"params": inner}, x) ** 2).sum() + run.loss()

    with pytest.raises(regkit.GraphError, match="not called, but another, whose parameters JAX transforms here"):
        jax.grad(loss)(params)
    assert float(loss(params)) > 0


def test_other_parameters_that_are_not_differentiated_may_be_applied_in_a_watch(params, x):
    def loss(inner):
        with regkit_jax.linen.watch(inner, regkit.build(weight_l2=1.0)) as run:
            return 0 * Net().apply({"params": params}, x).sum() + run.loss()

    gradients = jax.grad(loss)(params)
    np.testing.assert_allclose(gradients["out"]["kernel"], params["out"]["kernel"], rtol=1e-12)  # two kernels


def loss_of(regs, params, x, net=None, **options):
    with regkit_jax.linen.watch(params, regs, **options) as run:
        return (net or Net()).apply({"params": params}, x).sum(), run.loss()


class Heads(nn.Module):
    """Two blocks that may be compiled, and two heads of which one is called."""

    transform: Any = lambda block: block

    @nn.compact
    def __call__(self, x):
        heads = [nn.Dense(2, name=f"head{i}", param_dtype=jnp.float64) for i in range(2)]
        block = self.transform(Block)
        for i in range(2):
            x = block(name=f"block{i}")(x)
        outs = [head(x) for head in (heads if self.is_initializing() else heads[:1])]
        return outs[0]


def test_a_block_that_is_compiled_already_and_not_called_again_raises(x):
    net = Heads(nn.jit)
    params = net.init(jax.random.key(0), x)["params"]
    with pytest.raises(regkit.GraphError, match="module 'block1', which a pattern matches, was not called within the"):
        loss_of(regkit.build(hidden_l1=dict(weight=1.0, pattern="block?")), params, x, net)


def test_a_head_that_is_not_called_raises_unless_it_is_skipped_or_taken_out(x, key):
    net = Heads()
    params = net.init(jax.random.key(0), x)["params"]
    for alias in ("hidden_l1", "dropout"):
        regs = regkit.build({alias: {"weight": 0.5, "pattern": "head*"}})
        with (
            pytest.raises(regkit.GraphError, match="module 'head1', which a pattern matches, was not called within"),
            regkit_jax.linen.watch(params, regs, key=key),
        ):
            net.apply({"params": params}, x)
    expected = 0.5 * abs(net.apply({"params": params}, x)).sum()
    with regkit_jax.linen.watch(params, regkit.build(hidden_l1=dict(weight=0.5, pattern="head*"))) as run:
        net.apply({"params": params}, x)
        run.skip("head1")
    np.testing.assert_allclose(run.loss(), expected, rtol=1e-12)
    taken_out = regkit.build(hidden_l1=dict(weight=0.5, pattern=["head*", "!head1"]))
    np.testing.assert_allclose(loss_of(taken_out, params, x, net)[1], expected, rtol=1e-12)


def test_a_glob_that_matches_nothing_raises_with_the_modules(params, x):
    regs = regkit.build(hidden_l1=dict(weight=0.5, pattern=["block", "hid*"]))
    with pytest.raises(
        regkit.NoMatchError, match=r"'hid\*' matches none .* Modules of the model: block, block.mlp, out"
    ):
        loss_of(regs, params, x)


def test_contractive_applies_a_model_again(params, x):
    def forward(run):
        return Net().apply({"params": params}, run.tap("in", x))

    regs = regkit.build(contractive=dict(weight=1, pattern="block", wrt="in"))
    with regkit_jax.linen.watch(params, regs, again=forward) as run:
        forward(run)
        found = run.loss()
    block = lambda row: Block().apply({"params": params["block"]}, row)  # noqa: E731
    squares = [(jax.vmap(jax.jacfwd(f))(x) ** 2).sum() for f in (block, lambda row: block(block(row)))]
    np.testing.assert_allclose(found, sum(squares) / 2, rtol=1e-12)


def test_a_model_with_other_parameters_beside_the_watched_one_raises(params, x):
    regs, teacher = regkit.build(hidden_l1=dict(weight=0.5, pattern="block.mlp")), jax.tree.map(lambda w: w / 2, params)
    for both in ((params, teacher), (teacher, params)):
        with (
            pytest.raises(regkit.GraphError, match="module 'block.mlp', .*, was applied with the watched parameters, "),
            regkit_jax.linen.watch(params, regs),
        ):
            [Net().apply({"params": one}, x) for one in both]


def test_a_model_may_be_applied_with_parameters_that_are_made_of_the_watched_ones(params, x):
    regs = regkit.build(hidden_l1=dict(weight=0.5, pattern="out"))
    half = jax.tree.map(lambda w: w / 2, params)
    with regkit_jax.linen.watch(params, regs) as run:
        out = Net().apply({"params": half}, x)
    np.testing.assert_allclose(run.loss(), 0.5 * abs(out).sum(), rtol=1e-12)


def test_a_model_of_which_parameters_are_trained_and_others_frozen_is_one(params, x):
    regs = regkit.build(hidden_l1=dict(weight=0.5, pattern=["block.mlp", "out"]), weight_l2=dict(weight=0.2))

    def loss(trained, frozen):
        with regkit_jax.linen.watch(trained, regs) as run:
            return Net().apply({"params": {**frozen, **trained}}, x).sum() + run.loss()

    def hand(trained, frozen):
        mlp = lambda h: jnp.dot(h, frozen["block"]["mlp"]["kernel"]) + frozen["block"]["mlp"]["bias"]  # noqa: E731
        first = mlp(x)
        second = mlp(x + jnp.tanh(first))
        last = x + jnp.tanh(first) + jnp.tanh(second)
        out = jnp.dot(last, trained["out"]["kernel"]) + trained["out"]["bias"]
        norms = sum(abs(h).sum() for h in (first, second, out)) / 3
        return out.sum() + 0.5 * norms + 0.2 * (trained["out"]["kernel"] ** 2).sum()

    frozen, trained = {"block": params["block"]}, {"out": params["out"]}
    found, expected = (jax.value_and_grad(f)(trained, frozen) for f in (loss, hand))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11)


def test_a_model_in_a_watch_of_its_own_is_left_to_it(params, x):
    teacher = jax.tree.map(lambda w: w / 2, params)
    l1, l2 = (regkit.build({alias: {"weight": 0.5, "pattern": "out"}}) for alias in ("hidden_l1", "hidden_l2"))
    with regkit_jax.linen.watch(params, l1) as first, regkit_jax.linen.watch(teacher, l2) as second:
        outs = [Net().apply({"params": one}, x) for one in (params, teacher)]
    np.testing.assert_allclose(first.loss(), 0.5 * abs(outs[0]).sum(), rtol=1e-12)
    np.testing.assert_allclose(second.loss(), 0.5 * (outs[1] ** 2).sum(), rtol=1e-12)


def test_parameters_in_boxes_have_the_names_of_others(x):
    class Boxed(nn.Module):
        @nn.compact
        def __call__(self, x):
            init = nn.with_partitioning(nn.initializers.lecun_normal(), ("x", None))
            return nn.Dense(3, name="hid", kernel_init=init, param_dtype=jnp.float64)(x)

    params = Boxed().init(jax.random.key(0), x)["params"]
    regs = regkit.build(hidden_l1=dict(weight=0.5, pattern="*"), weight_l2=dict(weight=0.1, pattern="hid.kernel"))
    out, loss = loss_of(regs, params, x, Boxed())
    hid = jnp.dot(x, params["hid"]["kernel"].value)  # the bias is 0
    np.testing.assert_allclose(out, hid.sum(), rtol=1e-12)
    np.testing.assert_allclose(
        loss, 0.5 * abs(hid).sum() + 0.1 * (params["hid"]["kernel"].value ** 2).sum(), rtol=1e-12
    )


def test_variables_in_the_place_of_parameters_are_refused(params):
    with (
        pytest.raises(regkit.OptionError, match=r"which have params; accepted: the parameters, variables\['params'\]"),
        regkit_jax.linen.watch({"params": params}, regkit.build(weight_l2=0.1)),
    ):
        pass
