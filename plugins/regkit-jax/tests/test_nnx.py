"""Modules of Flax NNX that are watched: names, values by hand, and that nothing stays behind."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import regkit_jax
from flax import nnx

import regkit


class Block(nnx.Module):
    def __init__(self, rngs):
        self.mlp = nnx.Linear(4, 4, rngs=rngs, param_dtype=jnp.float64)

    def __call__(self, x):
        return x + jnp.tanh(self.mlp(x))


class Net(nnx.Module):
    def __init__(self, rngs):
        self.hid1 = nnx.Linear(4, 4, rngs=rngs, param_dtype=jnp.float64)
        self.blocks = nnx.List([Block(rngs), Block(rngs)])
        self.pair = Pair()

    def __call__(self, x):
        x = self.hid1(x)
        for block in self.blocks:
            x = block(x)
        return self.pair(self.hid1(x))[0]


class Pair(nnx.Module):
    def __call__(self, x):
        return x, None


class Second(Block):
    def __call__(self, x):
        return 2 * super().__call__(x)


@pytest.fixture
def model():
    return Net(nnx.Rngs(0))


def of(pattern, weight=1.0):
    return regkit.build(hidden_l1=dict(weight=weight, pattern=pattern))


def test_penalties_and_gradients_are_those_by_hand_and_names_are_paths(model, x):
    regs = regkit.build(
        hidden_l1=dict(weight=0.3, pattern=["hid1", "blocks.0.mlp"]), weight_l2=dict(weight=0.2, pattern="*.kernel")
    )

    def loss(model, x):
        with regkit_jax.nnx.watch(model, regs) as run:
            return (model(x) ** 2).sum() + run.loss()

    def hand(model, x):
        first = model.hid1(x)
        inner = model.blocks[0].mlp(first)
        last = model.blocks[1](first + jnp.tanh(inner))
        again = model.hid1(last)
        norms = sum(abs(z).sum() for z in (first, inner, again)) / 3
        kernels = [model.hid1.kernel[...], *(block.mlp.kernel[...] for block in model.blocks)]
        return (again**2).sum() + 0.3 * norms + 0.2 * sum((w**2).sum() for w in kernels) / 3

    found = nnx.jit(nnx.value_and_grad(loss))(model, x)
    expected = nnx.value_and_grad(hand)(model, x)
    leaves = zip(jax.tree.leaves(found), jax.tree.leaves(expected))
    for one, other in leaves:
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


def test_names_are_paths_numbers_and_places_in_tuples(model, x):
    with regkit_jax.nnx.watch(model, of(["hid1", "blocks.*", "pair:0"])) as run:
        model(x)
    assert list(run.outputs) == [
        "hid1",
        "blocks.0.mlp",
        "blocks.0",
        "blocks.1.mlp",
        "blocks.1",
        "hid1@1",
        "pair:0",
    ]


def test_a_glob_that_begins_with_an_exclamation_mark_takes_modules_out(model, x):
    with regkit_jax.nnx.watch(model, of(["*", "!blocks.*", "!pair:1"])) as run:
        model(x)
        penalty = run.loss()
    assert list(run.outputs) == ["hid1", "hid1@1", "pair:0"]
    np.testing.assert_allclose(penalty, sum(abs(run.outputs[name]).sum() for name in run.outputs) / 3, rtol=1e-12)


@pytest.mark.parametrize("pattern", ["hid1@1", "*@1"])
def test_a_pattern_may_mean_a_later_call_alone(pattern, model, x):
    with regkit_jax.nnx.watch(model, of(pattern)) as run:
        model(x)
        penalty = run.loss()
    np.testing.assert_allclose(penalty, abs(run.outputs["hid1@1"]).sum(), rtol=1e-12)


def test_a_change_goes_on_through_the_model_and_is_gone_without_a_key(model, x, key):
    regs = regkit.build(dropout=dict(weight=0.5, pattern="blocks.1"))
    clean = model(x)
    with regkit_jax.nnx.watch(model, regs, key=key) as run:
        changed = model(x)
    np.testing.assert_allclose(changed, model.hid1(run.outputs["blocks.1"]), rtol=1e-12)
    assert (run.outputs["blocks.1"] == 0).any()
    with regkit_jax.nnx.watch(model, regs):
        np.testing.assert_array_equal(model(x), clean)


def test_a_class_that_calls_what_it_overrides_is_tapped_once(x):
    model = nnx.Sequential(Second(nnx.Rngs(0)))
    with regkit_jax.nnx.watch(model, of("layers.0")) as run:
        out = model(x)
    assert list(run.outputs) == ["layers.0"]
    np.testing.assert_array_equal(out, run.outputs["layers.0"])


def calls():
    return [vars(cls)["__call__"] for cls in (nnx.Linear, Block, Net, Pair)]


def test_after_the_block_and_after_an_error_everything_is_as_before(model, x):
    before, clean = calls(), model(x)
    with regkit_jax.nnx.watch(model, of("hid1")) as run:
        model(x)
        assert calls() != before
    assert calls() == before
    with pytest.raises(ZeroDivisionError), regkit_jax.nnx.watch(model, of("hid1")):
        raise ZeroDivisionError
    assert calls() == before
    np.testing.assert_array_equal(model(x), clean)
    assert list(run.outputs) == ["hid1", "hid1@1"]


def test_another_model_of_the_same_classes_is_left_alone(model, x):
    other = Net(nnx.Rngs(1))
    with regkit_jax.nnx.watch(model, of("hid1")) as run:
        other(x)
        assert run.outputs == {}
        model(x)


def test_two_models_are_watched_one_within_the_other(model, x):
    other = Net(nnx.Rngs(1))
    with regkit_jax.nnx.watch(model, of("hid1")) as outer, regkit_jax.nnx.watch(other, of("pair:0")) as inner:
        model(x), other(x)
    assert (list(outer.outputs), list(inner.outputs)) == (["hid1", "hid1@1"], ["pair:0"])


@pytest.mark.parametrize("part", [lambda model: model, lambda model: model.blocks[0]], ids=["model", "part"])
def test_a_model_that_is_watched_cannot_be_watched_again(part, model, x):
    before = calls()
    with (
        pytest.raises(regkit.GraphError, match="is watched already. End that block before the next begins"),
        regkit_jax.nnx.watch(model, of("hid1")),
        regkit_jax.nnx.watch(part(model), of("mlp")),
    ):
        pass
    assert calls() == before


PATHS = "Modules of the model: blocks.0.mlp, blocks.0, blocks.1.mlp, blocks.1, hid1, pair. Within nnx.jit"


@pytest.mark.parametrize("alias", ["hidden_l1", "dropout"])
def test_a_path_that_matches_nothing_names_the_paths_there_are(alias, model, x, key):
    regs = regkit.build({alias: {"weight": 0.5, "pattern": "hid7"}})

    def watched():
        with regkit_jax.nnx.watch(model, regs, key=key) as run:
            model(x)
            return run.loss() if alias == "hidden_l1" else None

    with pytest.raises(regkit.NoMatchError, match="pattern 'hid7' matches none of the outputs") as error:
        watched()
    assert PATHS in str(error.value)


def test_a_regularizer_of_outputs_needs_a_pattern(model):
    with (
        pytest.raises(regkit.OptionError, match="hidden_l1: HiddenL1 needs a pattern. A model of Flax NNX.*hid1, pair"),
        regkit_jax.nnx.watch(model, regkit.build(weight_l2=1, hidden_l1=1)),
    ):
        pass


def test_what_is_no_module_is_refused():
    with (
        pytest.raises(regkit.OptionError, match="watch got a model of type builtins.int; accepted: a module of Flax"),
        regkit_jax.nnx.watch(3, of("hid1")),
    ):
        pass


def test_an_output_of_none_that_a_pattern_matches_is_refused(model, x):
    with (
        pytest.raises(regkit.GraphError, match="output 'pair:1' is None; accepted: a JAX array of floats"),
        regkit_jax.nnx.watch(model, of("pair:1")),
    ):
        model(x)


def test_contractive_computes_a_watched_model_again(model, x):
    def forward(run):
        return model(run.tap("in", x))

    regs = regkit.build(contractive=dict(weight=1, pattern="blocks.0", wrt="in"))
    with regkit_jax.nnx.watch(model, regs, again=forward) as run:
        forward(run)
        found = run.loss()
    jacobians = jax.vmap(jax.jacfwd(lambda row: model.blocks[0](model.hid1(row))))(x)
    np.testing.assert_allclose(found, (jacobians**2).sum(), rtol=1e-12)


class Normed(nnx.Module):
    def __init__(self, rngs):
        self.linear = nnx.Linear(4, 4, rngs=rngs, param_dtype=jnp.float64)
        self.norm = nnx.LayerNorm(4, rngs=rngs, param_dtype=jnp.float64)

    def __call__(self, x):
        return jnp.tanh(self.norm(self.linear(x)))


class Scanned(nnx.Module):
    """Five blocks whose parameters are stacked, as vmap makes them and scan takes them."""

    def __init__(self, rngs):
        self.blocks = nnx.split_rngs(splits=5)(nnx.vmap(Normed, axis_size=5))(rngs)

    def __call__(self, x):
        def step(x, block):
            x = block(x)
            return x, x

        return nnx.scan(step)(x, self.blocks)


def test_scanned_blocks_have_the_penalties_by_hand(x):
    regs = regkit.build(
        hidden_l1=dict(weight=0.3, pattern="h"),
        hidden_decorrelation=dict(weight=0.7, pattern="h@4"),
        weight_l2=dict(weight=0.2, pattern="*.kernel"),
    )

    def loss(model, x):
        with regkit_jax.nnx.watch(model, regs, stacked={"blocks.*": 0}) as run:
            last, outputs = model(x)
            run.tap_each("h", outputs)
            return (last**2).sum() + run.loss()

    def hand(params, x):
        h, norms, squares = x, 0.0, 0.0
        for i in range(5):
            linear, norm = (jax.tree.map(lambda stacked: stacked[i], params[name]) for name in ("linear", "norm"))  # noqa: B023
            z = jnp.dot(h, linear["kernel"]) + linear["bias"]
            z = (z - z.mean(1)[:, None]) / jnp.sqrt(z.var(1)[:, None] + 1e-6)
            h = jnp.tanh(z * norm["scale"] + norm["bias"])
            norms, squares = norms + abs(h).sum(), squares + (linear["kernel"] ** 2).sum()
        covariance = jnp.cov(h.T, bias=True)
        apart = ((covariance**2).sum() - (jnp.diag(covariance) ** 2).sum()) / 2
        return (h**2).sum() + 0.3 * norms / 5 + 0.7 * apart + 0.2 * squares / 5

    model = Scanned(nnx.Rngs(0))
    expected = jax.jit(jax.value_and_grad(hand))(nnx.to_pure_dict(nnx.state(model, nnx.Param))["blocks"], x)
    cost, gradients = nnx.jit(nnx.value_and_grad(loss))(model, x)
    np.testing.assert_allclose(cost, expected[0], rtol=1e-11)
    found = nnx.to_pure_dict(gradients)["blocks"]
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected[1]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-11)


def test_scanned_blocks_whose_outputs_are_not_tapped_raise(x):
    model = Scanned(nnx.Rngs(0))
    with (
        pytest.raises(regkit.GraphError, match="no module of the watched model was called"),
        regkit_jax.nnx.watch(model, of("blocks")),
    ):
        model(x)


class Plain(nnx.Module):
    """Parameters without nnx.Param."""

    def __init__(self, value):
        self.w, self.b = value, jnp.ones(4)
        self.calls = jnp.array(0)

    def __call__(self, x):
        self.calls += 1
        return jnp.dot(x, self.w) + self.b


class Plains(nnx.Module):
    def __init__(self):
        self.first, self.second = Plain(jnp.full((4, 4), 0.5)), Plain(jnp.full((4, 4), -0.25))

    def __call__(self, x):
        return self.second(jnp.tanh(self.first(x)))


def test_arrays_that_are_no_variables_are_parameters_where_there_are_no_others(x):
    regs = regkit.build(hidden_l1=dict(weight=0.3, pattern="first"), weight_l2=0.2)

    def loss(model):
        with regkit_jax.nnx.watch(model, regs) as run:
            return (model(x) ** 2).sum() + run.loss()

    def hand(w, v):
        first = jnp.dot(x, w) + 1
        out = jnp.dot(jnp.tanh(first), v) + 1
        return (out**2).sum() + 0.3 * abs(first).sum() + 0.2 * ((w**2).sum() + (v**2).sum()) / 2

    model = Plains()
    differentiated = nnx.DiffState(0, lambda path, value: path[-1] == "w")
    gradients = nnx.jit(nnx.grad(loss, argnums=differentiated))(model)
    expected = jax.grad(hand, (0, 1))(model.first.w, model.second.w)
    np.testing.assert_allclose(gradients["first"]["w"], expected[0], rtol=1e-11)
    np.testing.assert_allclose(gradients["second"]["w"], expected[1], rtol=1e-11)
    assert (int(model.first.calls), int(model.second.calls)) == (1, 1)


def test_two_modules_of_one_name_raise():
    linear = lambda: nnx.Linear(2, 2, rngs=nnx.Rngs(0))  # noqa: E731
    model = nnx.Dict({"a.b": linear(), "a": nnx.Dict({"b": linear()})})
    with (
        pytest.raises(regkit.GraphError, match="two modules are called 'a.b', since a key of a dict has a dot in it"),
        regkit_jax.nnx.watch(model, of("a.b")),
    ):
        pass


class Two(nnx.Module):
    """Two blocks, of which the second may be called by a transformation, or not at all."""

    def __init__(self, call):
        self.blocks = nnx.List([nnx.Linear(4, 4, rngs=nnx.Rngs(i), param_dtype=jnp.float64) for i in range(2)])
        self.call = call

    def __call__(self, x):
        return self.call(self.blocks[1], self.blocks[0](x))


UNSEEN = "module 'blocks.1', which a pattern matches, was not called within the watch. Within nnx.jit, .*remat"


@pytest.mark.parametrize("alias", ["dropout", "hidden_l1"])
@pytest.mark.parametrize("transform", [nnx.remat, nnx.jit, lambda f: lambda block, x: x])
def test_a_block_of_which_a_copy_or_nothing_was_called_raises(transform, alias, x, key):
    model = Two(transform(lambda block, x: block(x)))
    regs = regkit.build({alias: {"weight": 0.5, "pattern": "blocks.*"}})

    def loss(model):
        with regkit_jax.nnx.watch(model, regs, key=key) as run:
            model(x)
            return run.loss()

    model(x)  # and JAX keeps what it traced
    for _ in range(2):
        with pytest.raises(regkit.GraphError, match=UNSEEN):
            nnx.grad(loss)(model)
        with pytest.raises(regkit.GraphError, match=UNSEEN), regkit_jax.nnx.watch(model, regs, key=key):
            model(x)


def test_a_block_that_is_called_as_a_copy_may_be_tapped_by_hand(x):
    model = Two(nnx.remat(lambda block, x: block(x)))
    with regkit_jax.nnx.watch(model, of("blocks.*")) as run:
        run.tap("blocks.1", model(x))
        found = run.loss()
    first = model.blocks[0](x)
    np.testing.assert_allclose(found, (abs(first).sum() + abs(model.blocks[1](first)).sum()) / 2, rtol=1e-12)


def test_a_module_that_is_taken_out_is_so_beside_one_that_returns_several():
    class Both(nnx.Module):
        def __init__(self):
            self.pair, self.hid = Pair(), nnx.Linear(2, 2, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return self.pair(x)[0]

    model = Both()
    with regkit_jax.nnx.watch(model, of(["*", "!hid", "!pair:1"])) as run:
        model(jnp.ones(3))
    np.testing.assert_allclose(run.loss(), 3.0)


@pytest.mark.parametrize(("pattern", "skipped"), [("blocks.*", True), (["*", "!blocks.1"], False)])
def test_a_block_that_is_not_to_be_called_is_skipped_or_taken_out(pattern, skipped, x):
    model = Two(lambda block, x: x)
    with regkit_jax.nnx.watch(model, of(pattern)) as run:
        model(x)
        if skipped:
            run.skip("blocks.1")
    np.testing.assert_allclose(run.loss(), abs(model.blocks[0](x)).sum(), rtol=1e-12)


@pytest.mark.parametrize("transform", [jax.checkpoint, jax.jit])
def test_a_change_that_a_transformation_would_keep_raises(transform, x):
    model = Two(lambda block, x: transform(block)(x))
    regs = regkit.build(hidden_topk=dict(k=1, pattern="blocks.1"))
    with (
        pytest.raises(regkit.GraphError, match="output of module 'blocks.1' would be changed within (jit|checkpoint)"),
        regkit_jax.nnx.watch(model, regs),
    ):
        model(x)
    assert (model(x) != 0).all()
