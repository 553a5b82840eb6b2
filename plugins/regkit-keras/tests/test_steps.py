"""What acts after an optimizer's update, on the backend that KERAS_BACKEND says: closed forms, or steps by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import regkit_keras

import regkit

V = np.array([2.0, -1.5, 0.9, -0.3, 0.2, 0.05])  # a loss of half the squared distance of the weights from it
RATE, STRENGTH = 0.1, 0.3

SGD, Adam, AdamW = keras.optimizers.SGD, keras.optimizers.Adam, keras.optimizers.AdamW


def soft(w, amount):
    return np.sign(w) * np.maximum(abs(w) - amount, 0)


def regularized(optimizer, units=1, **aliases):
    """A model with a kernel of ones as its weights, or several such columns."""
    dense = keras.layers.Dense(units, use_bias=False, name="w", kernel_initializer="ones")
    model = regkit_keras.Model(keras.Sequential([keras.Input((6,)), dense]), regkit.build(aliases))
    model.compile(optimizer, lambda y, w: 0.5 * keras.ops.sum((y - w) ** 2))
    return model


def trained(model, steps):
    """The kernel after some steps, and what the last of them returns."""
    logs = {}
    for _ in range(steps):
        model.reset_metrics()
        logs = model.train_on_batch(np.eye(6, dtype="float32"), V[:, None].astype("float32"), return_dict=True)
    return model.get_weights()[0][:, 0], logs


def by_hand(rates, strength=STRENGTH):
    w = np.ones(6)
    for rate in rates:
        w = soft(w - rate * (w - V), rate * strength)
    return w


PROXIMAL = dict(weight_l1=dict(weight=STRENGTH, by="proximal"))


@pytest.mark.parametrize(
    ("optimizer", "steps"),
    [
        (lambda: SGD(RATE), 200),
        (lambda: SGD(0.02, momentum=0.9), 600),
        (lambda: SGD(0.02, momentum=0.9, nesterov=True), 600),
        (lambda: Adam(0.02), 1200),
        (lambda: Adam(0.02, amsgrad=True), 1200),
        (lambda: AdamW(0.02, weight_decay=0.0), 1200),
        (lambda: keras.optimizers.LossScaleOptimizer(SGD(RATE)), 200),
    ],
    ids=["sgd", "momentum", "nesterov", "adam", "amsgrad", "adamw", "loss scale"],
)
def test_the_lasso_has_the_zeros_and_the_weights_of_the_closed_form(optimizer, steps):
    found, _ = trained(regularized(optimizer(), **PROXIMAL), steps)
    expected = soft(V, STRENGTH)
    np.testing.assert_array_equal(found == 0, expected == 0)
    np.testing.assert_allclose(found, expected, atol=3e-6)


def test_the_term_is_in_the_loss_without_a_gradient():
    _, logs = trained(regularized(SGD(0.0), **PROXIMAL), 1)
    error = 0.5 * ((V - 1) ** 2).sum()
    np.testing.assert_allclose(logs["weight_l1"], STRENGTH * 6, rtol=1e-6)
    np.testing.assert_allclose(logs["loss_without_penalties"], error, rtol=1e-6)
    np.testing.assert_allclose(logs["loss"], error + STRENGTH * 6, rtol=1e-6)
    found, _ = trained(regularized(SGD(RATE), **PROXIMAL), 1)
    np.testing.assert_allclose(found, by_hand([RATE]), atol=1e-6)


@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "loss scale"])
def test_an_accumulated_gradient_is_followed_by_no_step(scaled):
    optimizer = SGD(RATE, gradient_accumulation_steps=2)
    model = regularized(keras.optimizers.LossScaleOptimizer(optimizer) if scaled else optimizer, **PROXIMAL)
    for steps, updates in ((1, 0), (1, 1), (1, 1), (1, 2)):
        found, _ = trained(model, steps)
        np.testing.assert_allclose(found, by_hand([RATE] * updates), atol=1e-6)


def test_a_schedule_of_the_learning_rate_is_followed():
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([1], [0.1, 0.05])
    found, _ = trained(regularized(SGD(schedule), **PROXIMAL), 3)
    np.testing.assert_allclose(found, by_hand([0.1, 0.1, 0.05]), atol=1e-6)


def test_a_learning_rate_that_is_set_between_steps_is_followed():
    model = regularized(SGD(0.1), **PROXIMAL)
    trained(model, 1)
    model.optimizer.learning_rate = 0.05
    np.testing.assert_allclose(trained(model, 1)[0], by_hand([0.1, 0.05]), atol=1e-6)


def test_a_live_weight_is_followed_in_the_step():
    weight = regkit.Live(0.0)
    model = regularized(SGD(RATE), weight_l1=dict(weight=weight, by="proximal"))
    trained(model, 1)
    weight.set(2.0)
    expected = by_hand([RATE], 0.0)
    expected = soft(expected - RATE * (expected - V), RATE * 2.0)
    np.testing.assert_allclose(trained(model, 1)[0], expected, atol=1e-6)


@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "loss scale"])
@pytest.mark.parametrize("accumulated", [None, 2])
def test_a_weight_that_is_a_schedule_moves_with_each_update(accumulated, scaled):
    weight = regkit.schedules.Warmup(to=1.0, steps=4)
    optimizer = SGD(0.0, gradient_accumulation_steps=accumulated)
    model = regularized(keras.optimizers.LossScaleOptimizer(optimizer) if scaled else optimizer, weight_l2=weight)
    found = [trained(model, 1)[1]["weight_l2"] for _ in range(6)]
    expected = [0, 0, 0.25, 0.25, 0.5, 0.5] if accumulated else [0, 0.25, 0.5, 0.75, 1, 1]
    np.testing.assert_allclose(found, np.multiply(expected, 6), rtol=1e-6)


def test_a_step_that_is_left_out_does_not_move_a_schedule():
    optimizer = keras.optimizers.LossScaleOptimizer(SGD(0.0))
    model = regularized(optimizer, weight_l2=regkit.schedules.Warmup(to=1.0, steps=4))
    found = []
    for y in (np.full((6, 1), np.inf), V[:, None], V[:, None]):  # the first gradient is infinite
        model.reset_metrics()
        found.append(model.train_on_batch(np.eye(6), y, return_dict=True)["weight_l2"])
    np.testing.assert_allclose(found, [0, 0, 0.25 * 6], rtol=1e-6)


@pytest.mark.skipif(keras.config.backend() == "torch", reason="Keras has no executions of several steps on torch")
def test_a_last_execution_of_fewer_steps_moves_a_schedule_by_these():
    weight = regkit.schedules.Linear(0.0, 1.0, 100)
    model = regularized(SGD(0.0), weight_l2=weight)
    model.compile(SGD(0.0), "mse", steps_per_execution=2)
    steps = []
    note = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: steps.append(100 * weight.value))
    model.fit(np.eye(6)[:5], V[:5], batch_size=1, epochs=2, verbose=0, callbacks=[note])
    np.testing.assert_allclose(steps, [2, 4, 5, 7, 9, 10])


@pytest.mark.parametrize("accumulated", [None, 2])
@pytest.mark.parametrize("how", ["model", "weights"])
def test_a_schedule_of_a_model_that_is_loaded_goes_on(how, accumulated, tmp_path):
    def made():
        weight = regkit.schedules.Warmup(to=1.0, steps=10)
        model = regularized(SGD(0.0, gradient_accumulation_steps=accumulated), weight_l2=weight)
        model.compile(SGD(0.0, gradient_accumulation_steps=accumulated), "mse")
        return model

    model = made()
    model.fit(np.eye(6), V, batch_size=2, verbose=0)  # three batches
    if how == "model":
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
    else:
        model.save_weights(tmp_path / "model.weights.h5")
        loaded = made()
        trained(loaded, 1)  # so that the optimizer has its variables
        loaded.load_weights(tmp_path / "model.weights.h5")
    shares = [trained(loaded, 1)[1]["weight_l2"] for _ in range(3)]
    steps = [1, 2, 2] if accumulated else [3, 4, 5]
    np.testing.assert_allclose(shares, np.multiply(steps, 0.1 * 6), rtol=1e-6)


def test_a_schedule_begins_anew_with_another_optimizer():
    model = regularized(SGD(0.0), weight_l2=regkit.schedules.Warmup(to=1.0, steps=10))
    trained(model, 4)
    np.testing.assert_allclose(trained(model, 1)[1]["weight_l2"], 0.4 * 6, rtol=1e-6)
    model.compile(SGD(0.0), "mse")
    np.testing.assert_allclose(trained(model, 2)[1]["weight_l2"], 0.1 * 6, rtol=1e-6)


def test_a_schedule_of_two_models_has_the_step_of_each():
    weight = regkit.schedules.Warmup(to=1.0, steps=10)
    regs = regkit.build(weight_l2=weight)
    models = []
    for _ in range(2):
        models.append(regkit_keras.Model(regularized(SGD(0.0)).model, regs))
        models[-1].compile(SGD(0.0), "mse")
    trained(models[0], 3)
    for steps in (0, 1):
        np.testing.assert_allclose(trained(models[1], 1)[1]["weight_l2"], 0.1 * steps * 6, rtol=1e-6)
    np.testing.assert_allclose(trained(models[0], 1)[1]["weight_l2"], 0.3 * 6, rtol=1e-6)


# Metrics


X = np.random.default_rng(0).normal(size=(10, 6)).astype("float32")


def relu_network(**given):
    keras.utils.set_random_seed(1)
    hid = keras.layers.Dense(5, "relu", name="hid", bias_initializer="random_normal")
    return regkit_keras.Model(keras.Sequential([keras.Input((6,)), hid, keras.layers.Dense(1, name="out")]), **given)


def activations(model):
    w, b = model.get_layer("hid").get_weights()
    return np.maximum(X @ w + b, 0)


def test_metrics_are_means_over_the_examples_of_an_epoch(tmp_path):
    names = ["hidden_l1.zeros", "hidden_l1.l0", "hidden_l1.dead", "weight_l1.zeros"]
    regs = regkit.build(hidden_l1=dict(weight=0.1, reduction="batch"), weight_l1=0.0)
    model = relu_network(regularizers=regs, metrics=names)
    model.compile(SGD(0.0), "mse", metrics=["mae"])
    kernel, bias = model.get_layer("hid").get_weights()
    kernel[:2] = 0  # 10 of 30
    model.get_layer("hid").set_weights([kernel, bias])
    a = activations(model)
    dead = sum(len(part) * (part == 0).all(axis=0).mean() for part in (a[:4], a[4:8], a[8:])) / 10
    expected = dict(zip(names, [(a == 0).mean(), (a > 0).sum(axis=1).mean(), dead, (10 / 30 + 0) / 2]))
    for _ in range(2):  # of a loaded model too
        found = model.fit(X, X[:, 0], batch_size=4, epochs=2, shuffle=False, verbose=0).history
        assert set(found) == {"loss", "mae", "loss_without_penalties", "hidden_l1", "weight_l1", *names}
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], [value, value], rtol=1e-5, atol=1e-6, err_msg=name)
        assert set(model.evaluate(X, X[:, 0], verbose=0, return_dict=True)) == {"loss", "mae"}
        model.save(tmp_path / "model.keras")
        model = keras.saving.load_model(tmp_path / "model.keras")


def test_metrics_of_a_set_without_penalties():
    model = relu_network(regularizers=regkit.build(hidden_topk=dict(k=2)), metrics=["hidden_topk.zeros"])
    model.compile(SGD(0.0), "mse")
    found = model.fit(X, X[:, 0], verbose=0).history
    assert set(found) == {"loss", "hidden_topk.zeros"}
    kept = np.minimum((activations(model) > 0).sum(axis=1), 2)
    np.testing.assert_allclose(found["hidden_topk.zeros"], 1 - kept.mean() / 5, rtol=1e-5)


@pytest.mark.parametrize("metric", ["zeros", "hidden_l1.zeros"])
@pytest.mark.parametrize("accumulated", [None, 2])
def test_a_weight_follows_the_metric_of_each_update(accumulated, metric):
    weight = regkit.schedules.Target(metric, 0.9, start=0.5, gain=0.3)
    model = relu_network(regularizers=regkit.build(hidden_l1=dict(weight=weight, reduction="mean")))
    model.compile(SGD(0.0, gradient_accumulation_steps=accumulated), "mse")
    weights = []
    then = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: weights.append(weight.value))
    model.fit(X, X[:, 0], batch_size=4, shuffle=False, verbose=0, callbacks=[then], epochs=2)
    a, expected, now = activations(model), [], 0.5
    for step, part in enumerate([a[:4], a[4:8], a[8:]] * 2):
        if not accumulated or step % 2:
            now *= np.exp(0.3 * (0.9 - (part == 0).mean()))
        expected.append(now)
    np.testing.assert_allclose(weights, expected, rtol=1e-5)


def test_the_weight_of_a_change_follows_a_metric():
    weight = regkit.schedules.Target("hidden_topk.zeros", 0.9, start=0.1, gain=0.3)
    model = relu_network(regularizers=regkit.build(hidden_noise=weight, hidden_topk=dict(k=2)))
    model.compile(SGD(0.0), "mse")
    model.layers[0].set_weights([np.zeros((6, 5)), np.ones(5)])  # of which noise leaves two of five
    found = model.fit(X, X[:, 0], batch_size=5, verbose=0).history
    assert set(found) == {"loss"}
    np.testing.assert_allclose(weight.value, 0.1 * np.exp(2 * 0.3 * (0.9 - 3 / 5)), rtol=1e-5)


def test_projections_and_decays_act_under_any_optimizer():
    model = regularized(keras.optimizers.RMSprop(0.5), weight_unit_norm=1)
    np.testing.assert_allclose(np.linalg.norm(trained(model, 3)[0]), 1, rtol=1e-6)
    found, _ = trained(regularized(keras.optimizers.RMSprop(0.5), weight_nonnegative=1), 20)
    assert found.min() == 0
    plain, _ = trained(regularized(keras.optimizers.RMSprop(0.5)), 1)
    found, _ = trained(regularized(keras.optimizers.RMSprop(0.5), decoupled_decay=0.1), 1)
    np.testing.assert_allclose(found, (1 - 0.5 * 0.1) * plain, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_a_weight_without_a_gradient_counts_in_the_mean_and_stays():
    keras.utils.set_random_seed(0)

    class Beside(keras.Model):
        def __init__(self):
            super().__init__()
            self.w = keras.layers.Dense(1, use_bias=False, name="w", kernel_initializer="ones")
            self.other = keras.layers.Dense(1, use_bias=False, name="other", kernel_initializer="ones")

        def call(self, x):
            self.other(x)
            return self.w(x)

    plain = Beside()
    model = regkit_keras.Model(plain, regkit.build(PROXIMAL))
    model.compile(SGD(RATE), lambda y, w: 0.5 * keras.ops.sum((y - w) ** 2))
    trained(model, 1)
    np.testing.assert_allclose(plain.w.get_weights()[0][:, 0], by_hand([RATE], STRENGTH / 2), atol=1e-6)
    if keras.config.backend() != "jax":  # which has gradients of 0, and steps
        np.testing.assert_array_equal(plain.other.get_weights()[0], 1)


def test_constraints_and_moving_averages_of_keras_come_after_it():
    optimizer = SGD(RATE, use_ema=True, ema_momentum=0.0)
    model = regularized(optimizer, **PROXIMAL)
    found, _ = trained(model, 1)
    average = keras.ops.convert_to_numpy(optimizer._model_variables_moving_average[0])[:, 0]
    np.testing.assert_allclose(average, found, rtol=1e-6)
    np.testing.assert_allclose(found, by_hand([RATE]), atol=1e-6)


def test_a_saved_model_goes_on_with_its_steps(tmp_path):
    model = regularized(SGD(RATE, momentum=0.5), **PROXIMAL)
    model.compile(SGD(RATE, momentum=0.5), "mse")
    trained(model, 2)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(trained(loaded, 2)[0], trained(model, 2)[0], rtol=1e-5, atol=1e-7)


def test_the_optimizer_keeps_nothing_of_it():
    model = regularized(SGD(RATE), **PROXIMAL)
    before = set(vars(model.optimizer))
    trained(model, 1)
    assert "_backend_update_step" not in before | set(vars(model.optimizer))


# Bad input


def refusal(kind, call):
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


def test_a_proximal_step_under_another_optimizer_is_refused():
    assert refusal(regkit.OptionError, lambda: regularized("rmsprop", **PROXIMAL)) == (
        "weight_l1: a proximal step depends on how the optimizer scales a gradient, which is known of SGD, Adam and "
        "AdamW, and not of RMSprop. Compile with one of these"
    )


def test_a_momentum_of_one_is_refused():
    assert refusal(regkit.OptionError, lambda: regularized(SGD(0.1, momentum=1.0), **PROXIMAL)) == (
        "the optimizer has momentum=1.0; accepted: below 1"
    )


def test_a_model_with_steps_within_another_one_is_refused():
    model = regularized(SGD(0.1), **PROXIMAL)
    outer = keras.Sequential([keras.Input((6,)), model])
    outer.compile("sgd", "mse")
    assert refusal(regkit.GraphError, lambda: outer.fit(np.eye(6), V, verbose=0)) == (
        "weight_l1 acts on parameters after an optimizer's step, and this model is trained within another one. Put "
        "that into a regkit_keras.Model, with these regularizers"
    )


def test_a_model_with_a_schedule_within_another_one_is_refused():
    model = regularized(SGD(0.1), weight_l2=regkit.schedules.Warmup(to=1.0, steps=4))
    outer = keras.Sequential([keras.Input((6,)), model])
    outer.compile("sgd", "mse")
    assert refusal(regkit.GraphError, lambda: outer.fit(np.eye(6), V, verbose=0)) == (
        "weight_l2 has a weight that moves with each update of an optimizer, Warmup(to=1.0, steps=4), and this model "
        "is trained within another one. Put that into a regkit_keras.Model, with these regularizers"
    )


def test_a_live_weight_within_another_model_is_followed_or_refused():
    weight = regkit.Live(0.0)
    model = regularized(SGD(0.1), weight_l2=weight)
    outer = keras.Sequential([keras.Input((6,)), model])
    outer.compile(SGD(0.0), "mse")
    if keras.config.backend() == "jax":
        assert refusal(regkit.GraphError, lambda: outer.train_on_batch(np.eye(6), V)) == (
            "weight_l2 has a live weight, which JAX would keep as it is now: this model is trained within another one. "
            "Put that into a regkit_keras.Model, with these regularizers"
        )
        return
    error = ((V - 1) ** 2).mean()  # of weights that are 1
    np.testing.assert_allclose(outer.train_on_batch(np.eye(6), V), error, rtol=1e-6)
    weight.set(0.5)
    outer.reset_metrics()
    np.testing.assert_allclose(outer.train_on_batch(np.eye(6), V), error + 0.5 * 6, rtol=1e-6)


def test_metrics_that_are_not_there_are_named():
    regs = regkit.build(hidden_l1=0.1, hidden_noise=0.1)
    plain = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, name="hid"), keras.layers.Dense(1)])
    assert refusal(regkit.OptionError, lambda: regkit_keras.Model(plain, regs, metrics="hidden_l1.zeros")) == (
        "Model got metrics='hidden_l1.zeros'; accepted: names, such as ['hidden_l1.zeros']"
    )
    assert refusal(regkit.OptionError, lambda: regkit_keras.Model(plain, regs, metrics=["hidden_noise.zeros"])) == (
        "'hidden_noise.zeros' is not a metric of these regularizers; accepted: a name such as 'hidden_l1.zeros'. "
        "Metrics have: hidden_l1"
    )
    model = regkit_keras.Model(plain, regs, metrics=["hidden_l1.ones"])
    model.compile(SGD(0.0), "mse")
    assert refusal(regkit.NoMatchError, lambda: model.fit(np.eye(6), V, verbose=0)) == (
        "the regularizers have no metric 'hidden_l1.ones'; they have: hidden_l1.zeros, hidden_l1.l0, hidden_l1.dead"
    )


def test_metrics_that_would_count_padding_are_refused():
    plain = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, name="hid"), keras.layers.Dense(1)])
    regs = regkit.build(hidden_l1=regkit.schedules.Target("zeros", 0.9))
    assert refusal(regkit.GraphError, lambda: regkit_keras.Model(plain, regs, mask=True)) == (
        "the metric 'hidden_l1.zeros' counts padding and examples of weight 0, which mask=True leaves out of "
        "penalties. Leave one of both out"
    )
    regkit_keras.Model(plain, regkit.build(weight_l1=0.1), mask=True, metrics=["weight_l1.zeros"])


@pytest.mark.skipif(keras.config.backend() == "torch", reason="Keras has no executions of several steps on torch")
def test_several_steps_at_once_with_a_weight_that_follows_a_metric_are_refused():
    model = regularized(SGD(0.0), weight_l2=regkit.schedules.Target("zeros", 0.9))
    model.compile(SGD(0.0), "mse", steps_per_execution=2)
    assert refusal(regkit.OptionError, lambda: model.fit(np.eye(6), V, verbose=0)) == (
        "a weight follows a metric after each step (regkit.schedules.Target), and an execution has "
        "steps_per_execution=2; accepted: 1"
    )


def test_a_loop_of_the_users_without_the_step_warns():
    model = regularized(SGD(0.1), weight_nonnegative=1)
    x = np.eye(6, dtype="float32")
    model(x, training=True)
    with pytest.warns(UserWarning, match="weight_nonnegative changes parameters after .* and after_step was never"):
        model(x, training=True)


def test_a_part_of_the_optimizer_that_is_not_there_is_named(monkeypatch):
    base = next(cls for cls in Adam.__mro__ if "_get_variable_index" in vars(cls))
    monkeypatch.delattr(base, "_get_variable_index")
    assert "keras.optimizers.Optimizer._get_variable_index is not there" in refusal(
        regkit.PluginLoadError, lambda: regularized(Adam(0.1), **PROXIMAL)
    )
