"""Regularizers beside computations in TensorFlow: eager, traced, with a tape; watched modules; draws; live weights."""

from __future__ import annotations

import numpy as np
import pytest
import regkit_tensorflow
import tensorflow as tf

import regkit

Z = np.array([[1.0, -2.0], [0.0, 3.0]])
W = np.array([[1.0, -2.0], [0.5, 3.0]])


def both(function):
    """A function as it is, and traced for unknown lengths of axes."""
    return [function, tf.function(function, input_signature=[tf.TensorSpec([None, None], tf.float64)])]


@pytest.mark.parametrize(
    ("alias", "options", "expected"),
    [
        ("hidden_l1", {}, 6),
        ("hidden_l1", {"reduction": "mean"}, 1.5),
        ("hidden_l1", {"reduction": "batch"}, 3),
        ("hidden_l2", {}, 14),
    ],
)
def test_penalties_are_those_of_the_formula_eager_and_with_unknown_lengths(alias, options, expected):
    regs = regkit.build({alias: dict(weight=0.5, pattern="hid", **options)})

    def loss(z):
        run = regkit_tensorflow.Run(regs)
        run.tap("hid", z)
        return run.loss()

    for function in both(loss):
        found = function(tf.constant(Z))
        assert found.dtype == tf.float64
        assert float(found) == 0.5 * expected


def test_gradients_pass_through_taps_and_weights():
    w = tf.Variable(W)
    layer = regkit.Layer("hid", {"w": w}, role="hidden")
    regs = regkit.build(hidden_l1=0.5, weight_l2=0.25)
    for decorate in (lambda function: function, tf.function):

        @decorate
        def gradient():
            with tf.GradientTape() as tape:
                run = regkit_tensorflow.Run(regs, [layer])
                h = run.tap("hid", tf.constant(Z) @ w)
                loss = tf.reduce_sum(h) + run.loss()
            return tape.gradient(loss, w)

        h = Z @ W
        np.testing.assert_allclose(gradient(), Z.T @ (1 + 0.5 * np.sign(h)) + 0.5 * W)


def test_a_traced_function_follows_a_live_weight():
    weight = regkit.Live(0.5)
    regs = regkit.build(hidden_l1=dict(weight=weight, pattern="hid"))

    @tf.function
    def loss(z):
        run = regkit_tensorflow.Run(regs)
        run.tap("hid", z)
        return run.loss()

    assert float(loss(tf.constant(Z))) == 3
    traced = loss.experimental_get_tracing_count()
    weight.set(0.25)
    assert float(loss(tf.constant(Z))) == 1.5
    assert loss.experimental_get_tracing_count() == traced


def test_draws_differ_from_call_to_call_of_a_traced_function_and_repeat_with_the_seed():
    regs = regkit.build(dropout=dict(weight=0.5, pattern="hid"))

    @tf.function
    def dropped(z):
        return regkit_tensorflow.Run(regs).tap("hid", z)

    ones = tf.ones((40, 40), tf.float64)
    tf.random.set_seed(3)
    tf.random.get_global_generator().reset_from_seed(3)
    first, second = dropped(ones).numpy(), dropped(ones).numpy()
    assert (first != second).any()
    assert set(np.unique(first)) == {0, 2}
    tf.random.get_global_generator().reset_from_seed(3)
    np.testing.assert_array_equal(dropped(ones), first)
    np.testing.assert_array_equal(regkit_tensorflow.Run(regs, train=False).tap("hid", ones), ones)


def test_half_precision_is_added_up_in_float32():
    regs = regkit.build(hidden_l1=dict(weight=0.1, pattern="hid"))
    for dtype in (tf.float16, tf.bfloat16):
        run = regkit_tensorflow.Run(regs)
        run.tap("hid", tf.ones((1000, 1000), dtype))
        loss = run.loss()
        assert (loss.dtype, float(loss)) == (tf.float32, pytest.approx(1e5))


def test_a_contractive_penalty_is_that_of_the_jacobian():
    w = tf.constant(W)
    regs = regkit.build(contractive=dict(weight=1, pattern="hid", wrt="in"))
    with tf.GradientTape(persistent=True) as tape:
        x = tf.constant(Z)
        tape.watch(x)
        run = regkit_tensorflow.Run(regs, tape=tape)
        run.tap("in", x)
        run.tap("hid", tf.tanh(x @ w))
        loss = run.loss()
    slopes = 1 - np.tanh(Z @ W) ** 2
    expected = sum(((slope * W) ** 2).sum() for slope in slopes)
    assert float(loss) == pytest.approx(expected)
    run = regkit_tensorflow.Run(regs)
    run.tap("in", x)
    run.tap("hid", x)
    with pytest.raises(regkit.GraphError, match=r"regkit_tensorflow.Run\(regs, tape=tape\)"):
        run.loss()


class Dense(tf.Module):
    def __init__(self, rows, columns):
        super().__init__()
        self.w = tf.Variable(np.full((rows, columns), 0.5))

    def __call__(self, x):
        return x @ self.w


class Net(tf.Module):
    def __init__(self):
        super().__init__()
        self.layers = [Dense(2, 2), Dense(2, 1)]
        self.tied = self.layers[0]

    def __call__(self, x):
        return self.layers[1](self.layers[0](x))


def test_a_watch_shows_modules_by_their_paths_and_leaves_nothing_behind():
    net, before = Net(), Dense.__call__
    regs = regkit.build(hidden_l1=dict(weight=0.1, pattern="layers.0"), weight_l2=0.25)
    for decorate in (lambda function: function, tf.function):

        @decorate
        def loss(x):
            with regkit_tensorflow.watch(net, regs) as run:
                net(x)
                return run.loss()

        h = Z @ np.full((2, 2), 0.5)
        assert float(loss(tf.constant(Z))) == pytest.approx(0.1 * abs(h).sum() + 0.25 * (1 + 0.5) / 2)
    assert Dense.__call__ is before


def test_mistakes_have_the_errors_that_they_have_on_every_host():
    net, x = Net(), tf.constant(Z)
    l1 = regkit.build(hidden_l1=dict(weight=1, pattern="nowhere"))
    with pytest.raises(regkit.OptionError, match="Run got regs=3"):
        regkit_tensorflow.Run(3)
    with pytest.raises(regkit.OptionError, match="hidden_l1: HiddenL1 needs a pattern"):
        regkit_tensorflow.Run(regkit.build(hidden_l1=1))
    with pytest.raises(regkit.OptionError, match="There is: layers.0, layers.1"):
        regkit_tensorflow.watch(net, regkit.build(hidden_l1=1)).__enter__()
    with pytest.raises(regkit.OptionError, match="watch got a module of type int"):
        regkit_tensorflow.watch(3, l1).__enter__()
    with regkit_tensorflow.watch(net, l1) as run:
        net(x)
        with pytest.raises(regkit.NoMatchError, match="pattern 'nowhere' matches none of the outputs"):
            run.loss()
        with pytest.raises(regkit.GraphError, match="watched already"):
            regkit_tensorflow.watch(net, l1).__enter__()
    with pytest.raises(regkit.NoMatchError, match="dropout: pattern 'hid' matches none of the outputs"):
        regkit_tensorflow.Run(regkit.build(dropout=dict(weight=0.5, pattern="hid"))).loss()
    for wrong in (Z, tf.constant([1, 2]), None, tf.sparse.from_dense(Z), tf.RaggedTensor.from_tensor(Z)):
        with pytest.raises(regkit.GraphError, match="output 'hid' is of .*; accepted: a tf.Tensor of floats"):
            regkit_tensorflow.Run(l1).tap("hid", wrong)
    leaked = []

    @tf.function
    def leaks(z):
        run = regkit_tensorflow.Run(regkit.build(hidden_l1=dict(weight=1, pattern="hid")))
        leaked.append(run)
        return run.tap("hid", z * 2)

    leaks(x)
    with pytest.raises(
        regkit.GraphError, match="a tf.function that has ended, from which .*: make the run, or open the"
    ):
        leaked[0].loss()


class Traced(Net):
    @tf.function
    def __call__(self, x):
        return super().__call__(x)


DROPPING = regkit.build(dropout=dict(weight=0.5, pattern="layers.0"))


def test_a_module_whose_call_is_a_traced_function_is_not_watched():
    class Outer(tf.Module):
        def __init__(self):
            super().__init__()
            self.inner = Traced()

    for module, regs in ((Traced(), DROPPING), (Outer(), regkit.build(weight_l2=1))):
        with pytest.raises(regkit.GraphError, match="the __call__ of Traced is a tf.function, which keeps the changes"):
            regkit_tensorflow.watch(module, regs).__enter__()


def test_a_function_that_is_traced_within_a_watch_keeps_no_changes():
    net, x = Net(), tf.constant(Z)
    function = tf.function(lambda x: net(x))
    with (
        pytest.raises(
            regkit.GraphError, match="'layers.0' is tapped within a tf.function, and the run was made outside"
        ),
        regkit_tensorflow.watch(net, DROPPING),
    ):
        function(x)
    np.testing.assert_allclose(function(x), net(x))


def test_a_watch_that_changes_nothing_raises_at_its_end():
    net, x = Net(), tf.constant(Z)
    function = tf.function(lambda x: net(x))
    function(x)  # so that it is not traced in the watch
    for regs in (DROPPING, regkit.build(hidden_l1=dict(weight=1, pattern="layers.0"))):
        unseen = pytest.raises(
            regkit.GraphError, match="module 'layers.0', which a pattern matches, was not called with"
        )
        with unseen, regkit_tensorflow.watch(net, regs):
            function(x)
    nothing = pytest.raises(
        regkit.NoMatchError, match="dropout: pattern 'hid' matches none of the outputs: layers.0, l"
    )
    with nothing, regkit_tensorflow.watch(net, regkit.build(dropout=dict(weight=0.5, pattern="hid"))):
        net(x)
    with pytest.raises(ValueError, match="of the user"), regkit_tensorflow.watch(net, DROPPING):
        raise ValueError("of the user")


def test_errors_within_a_traced_function_are_those_of_regkit():
    def named(z):
        run = regkit_tensorflow.Run(regkit.build(hidden_l1=dict(weight=1, pattern="nowhere")))
        run.tap("hid", z)
        return run.loss()

    def plain(z):
        return regkit.build(hidden_l1=dict(weight=1, pattern="nowhere")).loss([], {"hid": z})

    for function, x in ((named, tf.constant(Z)), (plain, tf.constant(Z)), (named, tf.constant([1]))):
        with pytest.raises(regkit.RegkitError) as eager:
            function(x)
        with pytest.raises(type(eager.value)) as traced:
            tf.function(function)(x)
        assert type(traced.value) is type(eager.value)
        assert str(traced.value) == str(eager.value)


def test_steps_are_assigned_to_trained_variables_and_others_count():
    w, frozen = tf.Variable([[3.0, -0.5]]), tf.Variable([[3.0, -0.5]], trainable=False)
    regs = regkit.build(weight_l1=dict(weight=2, by="proximal"))
    step = tf.function(lambda rate: regkit_tensorflow.after_step(regs, {"w": w, "frozen": frozen}, rate))
    step(tf.constant(1.0))
    np.testing.assert_array_equal(w, [[2, 0]])
    np.testing.assert_array_equal(frozen, [[3, -0.5]])


def test_a_variable_under_two_names_counts_once_in_a_step_as_in_the_loss():
    tied, other = tf.Variable(tf.fill((2, 2), 5.0)), tf.Variable(tf.zeros((2, 2)))
    regs, variables = regkit.build(weight_l1=dict(weight=2.0, by="proximal")), {"a": tied, "b": tied, "c": other}
    assert float(regkit_tensorflow.Run(regs, [regkit.Layer("net", variables)]).loss()) == 2 * 20 / 2
    regkit_tensorflow.after_step(regs, variables, 0.5)
    np.testing.assert_allclose(tied, 5 - 0.5 * 2 / 2)


@pytest.mark.parametrize("compiled", [False, True])
def test_the_lasso_has_the_zeros_of_the_closed_form_under_adam_with_its_divisors(compiled):
    """Adam by hand, as its paper has it."""
    aims = np.random.default_rng(0).normal(size=(6, 9)) / 2
    w, m, v = (tf.Variable(np.zeros((6, 9))) for _ in range(3))
    n = tf.Variable(0.0, dtype=tf.float64)
    regs = regkit.build(weight_l1=dict(weight=0.3, by="proximal"))

    def step():
        gradient = w - aims
        n.assign_add(1.0)
        m.assign(0.9 * m + 0.1 * gradient)
        v.assign(0.99 * v + 0.01 * gradient**2)
        divisor = tf.sqrt(v / (1 - 0.99**n)) + 1e-8
        w.assign_sub(0.05 * m / (1 - 0.9**n) / divisor)
        regkit_tensorflow.after_step(regs, {"w": w}, 0.05, divisors={"w": divisor})

    step = tf.function(step) if compiled else step
    for _ in range(600):
        step()
    expected = np.sign(aims) * np.maximum(0, abs(aims) - 0.3)
    np.testing.assert_array_equal(w.numpy() == 0, expected == 0)
    assert 10 < (expected == 0).sum() < 50
    np.testing.assert_allclose(w, expected, atol=1e-6)


def test_variables_in_a_list_raise():
    with pytest.raises(regkit.OptionError, match="after_step got variables=.*; accepted: a dict of full names"):
        regkit_tensorflow.after_step(regkit.build(decoupled_decay=0.1), [tf.Variable([[1.0]])], 0.1)
    with pytest.raises(regkit.OptionError, match="after_step got variables=.*; accepted: a dict of full names"):
        regkit_tensorflow.after_step(regkit.build(decoupled_decay=0.1), {"w": tf.constant([[1.0]])}, 0.1)


def test_metrics_are_those_of_numpy():
    run = regkit_tensorflow.Run(regkit.build(hidden_l1=dict(weight=1, pattern="hid"), weight_l1=1), [
        regkit.Layer("hid", {"w": tf.constant([[0.0, 1.0]])})
    ])  # fmt: skip
    run.tap("hid", tf.constant(Z))
    assert float(run.metrics()["weight_l1.zeros"]) == 0.5


@pytest.mark.parametrize("train", [False, True])
def test_metrics_are_of_what_a_pattern_leaves_and_of_changes_in_predictions(train):
    regs = regkit.build(hidden_topk=dict(k=1, pattern="hid"), hidden_l1=dict(weight=1, pattern=["h*", "!hidden"]))
    run = regkit_tensorflow.Run(regs, train=train)
    run.skip("hidden")
    run.tap("hid", tf.constant([[1.0, 2.0, 3.0, 4.0]]))
    found = run.metrics()
    assert float(found["hidden_topk.zeros"]) == 0.75
    assert float(found["hidden_l1.l0"]) == (1 + 4) / 2  # the pattern matches the original beside it too


def test_a_step_that_never_comes_warns_at_the_second_loss(recwarn):
    regs = regkit.build(weight_nonnegative=1)
    layers = [regkit.Layer("hid", {"hid.w": tf.ones((2, 2))})]
    regkit_tensorflow.Run(regs, layers).loss()
    regkit_tensorflow.Run(regs, layers, train=False).loss()
    assert not recwarn
    with pytest.warns(UserWarning, match="weight_nonnegative changes parameters .* after_step was never called"):
        regkit_tensorflow.Run(regs, layers).loss()


def test_a_change_of_predictions_that_matches_nothing_raises():
    run = regkit_tensorflow.Run(regkit.build(hidden_topk=dict(k=1, pattern="y")), train=False)
    run.tap("x", tf.ones((2, 3)))
    with pytest.raises(regkit.NoMatchError, match="hidden_topk"):
        run.loss()


class Pair(tf.Module):
    def __call__(self, x):
        return x, {"logits": 2 * x, "count": tf.constant(3)}


class Parts(tf.Module):
    """A module that is called twice, one with several outputs, and one that is called by a function, or not."""

    def __init__(self, call):
        super().__init__()
        self.hid, self.pair, self.last = Dense(2, 2), Pair(), Dense(2, 1)
        self.call = call

    def __call__(self, x):
        return self.call(self.last)(self.pair(self.hid(self.hid(x)))[1]["logits"])


def watched(net, pattern, alias="hidden_l1", **options):
    with regkit_tensorflow.watch(net, regkit.build({alias: {"weight": 1, "pattern": pattern, **options}})) as run:
        net(tf.constant(Z))
        return float(run.loss())


@pytest.mark.parametrize(
    ("pattern", "factors"),
    [
        ("hid", [1, 1]),
        ("hid@1", [0, 1]),
        ("*@1", [0, 1]),
        (["*", "!last", "!pair:*"], [1, 1]),
        (["pair:*", "!pair:1.count"], [0, 0, 1, 2]),
        ("pair:1.logits", [0, 0, 0, 2]),
    ],
)
def test_names_in_a_watch_are_those_of_every_host(pattern, factors):
    first = Z @ np.full((2, 2), 0.5)
    second = first @ np.full((2, 2), 0.5)
    terms = [factor * abs(h).sum() for factor, h in zip(factors, (first, second, second, second))]
    assert watched(Parts(lambda f: f), pattern) == pytest.approx(sum(terms) / sum(factor > 0 for factor in factors))


def test_a_module_that_is_not_called_is_an_error_unless_it_is_skipped_or_taken_out():
    net = Parts(lambda part: lambda x: x)
    with pytest.raises(regkit.GraphError, match="module 'last', which a pattern matches, was not called within"):
        watched(net, ["hid", "last"])
    expected = watched(net, "hid")
    assert watched(net, ["hid", "la*", "!last"]) == pytest.approx(expected)
    with regkit_tensorflow.watch(net, regkit.build(hidden_l1=dict(weight=1, pattern=["hid", "last"]))) as run:
        net(tf.constant(Z))
        run.skip("last")
        assert float(run.loss()) == pytest.approx(expected)


@pytest.mark.parametrize("decorate", [lambda function: function, tf.function])
@pytest.mark.parametrize(
    "regs", [dict(hidden_l1=dict(weight=1, pattern="last")), dict(hidden_topk=dict(k=1, pattern="last"))]
)
def test_an_output_that_no_tape_records_is_an_error_where_one_does(regs, decorate):
    net, x = Parts(tf.recompute_grad), tf.constant(Z)

    @decorate
    def gradient(x, regs):
        with tf.GradientTape() as tape, regkit_tensorflow.watch(net, regs):
            loss = tf.reduce_sum(net(x))
        return tape.gradient(loss, net.last.w)

    with pytest.raises(regkit.GraphError, match="output 'last' was computed where no tape records, as within tf.recom"):
        gradient(x, regkit.build(**regs))
    np.testing.assert_allclose(gradient(x, regkit.build(weight_l2=1.0)), np.full((2, 1), 2 * (Z / 2).sum()), rtol=1e-12)
    with regkit_tensorflow.watch(net, regkit.build(**regs)):  # nothing is differentiated
        net(x)


def test_layers_of_keras_within_a_module_are_refused():
    keras = pytest.importorskip("keras")
    net = tf.Module()
    net.parts = [Dense(2, 2), keras.layers.Dense(2)]
    with pytest.raises(regkit.GraphError, match="'parts.1' is a layer of Keras"):
        regkit_tensorflow.watch(net, regkit.build(weight_l2=1)).__enter__()


class Recurrent(tf.Module):
    """A loop that AutoGraph converts."""

    def __init__(self):
        super().__init__()
        self.cell = Dense(2, 2)

    def __call__(self, x):
        for _ in tf.range(3):
            x = self.cell(x)
        return x


class Outer(tf.Module):
    def __init__(self):
        super().__init__()
        self.recurrent = Recurrent()

    def __call__(self, x):
        return self.recurrent(x)


@pytest.mark.parametrize("decorate", [lambda function: function, tf.function])
def test_a_loop_of_a_module_in_a_traced_function_has_the_changes_and_the_penalty_of_what_it_returns(decorate):
    net = Outer()
    regs = regkit.build(
        hidden_topk=dict(k=1, pattern="recurrent.cell"), hidden_l1=dict(weight=0.5, pattern="recurrent")
    )

    @decorate
    def loss(x):
        with regkit_tensorflow.watch(net, regs) as run:
            net(x)
            return run.loss()

    h = Z
    for _ in range(3):
        h = h @ np.full((2, 2), 0.5)
        h = np.where(np.arange(2) == 0, h, 0)  # of equal ones the first stays
    assert float(loss(tf.constant(Z))) == pytest.approx(0.5 * abs(h).sum())
