"""Real, unedited theanets, trained and asked to predict with regkit's regularizers."""

from __future__ import annotations

import collections
import gc
import logging
import subprocess
import sys
import warnings
import weakref

import numpy as np
import pytest
import regkit_theanets
import theano

import regkit

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    theanets = regkit_theanets.install()
    regkit_theanets.uninstall()

FLOAT = theano.config.floatX
RNG = np.random.RandomState(3)
X = RNG.randn(64, 4).astype(FLOAT)
Y = RNG.randn(64, 3).astype(FLOAT)
SEQUENCES = RNG.randn(16, 6, 4).astype(FLOAT)
TARGETS = RNG.randn(16, 6, 3).astype(FLOAT)

pytestmark = pytest.mark.filterwarnings("default")  # theanets, downhill and their time are older than most warnings


@pytest.fixture
def installed():
    with regkit_theanets.installed() as module:
        yield module


@pytest.fixture
def net(installed):
    return theanets.Regressor([4, 7, 5, 3], rng=13)


def values(net):
    return [param.get_value().copy() for param in net.params]


def set_values(net, given):
    for param, value in zip(net.params, given):
        param.set_value(value)


def losses(net, steps, **kwargs):
    """The training losses of some steps of plain gradient descent on the whole of the data."""
    run = net.itertrain([X, Y], algo="sgd", learning_rate=0.05, momentum=0, batch_size=64, train_batches=1, **kwargs)
    return [train["loss"] for _, (train, _) in zip(range(steps), run)]


def loss_value(net, x=X, y=Y, **kwargs):
    return float(theano.function(net.variables, net.loss(**kwargs), on_unused_input="ignore")(x, y))


def test_theanets_own_hidden_l1_and_regkits_give_the_same_losses_over_200_steps():
    steps = {}
    for name in ("theanets", "regkit"):
        if name == "regkit":
            regkit_theanets.install()
        try:
            net = theanets.Regressor([4, 7, 5, 3], rng=13)
            rng = np.random.RandomState(5)
            set_values(net, [rng.randn(*value.shape).astype(FLOAT) / 2 for value in values(net)])
            steps[name] = losses(net, 200, hidden_l1=0.3)
        finally:
            regkit_theanets.uninstall()
    assert len(steps["regkit"]) == 200
    assert steps["regkit"][0] > steps["regkit"][-1]
    np.testing.assert_allclose(steps["regkit"], steps["theanets"], rtol=1e-12 if FLOAT == "float64" else 2e-5)


ALIASES = {
    "hidden_l1": 0.1,
    "hidden_sparsity": dict(weight=0.1, pattern="hid1:out"),
    "weight_l1": 0.1,
    "weight_sparsity": dict(weight=0.1, pattern="hid[12].w"),
    "weight_l2": 0.1,
    "weight_decay": dict(weight=0.1, pattern="out.w"),
    "elastic_net": 0.1,
    "group_lasso": 0.1,
    "weight_orthogonal": 0.1,
    "weight_spectral": 0.1,
    "weight_distance": dict(
        weight=0.1, reference={"hid1.w": np.ones((4, 7)), "hid2.w": np.ones((7, 5)), "out.w": np.ones((5, 3))}
    ),
    "weight_max_norm": 0.1,
    "hidden_l2": 0.1,
    "hidden_hoyer": 0.1,
    "hidden_variation": 0.1,
    "hidden_kl": 0.1,
    "hidden_decorrelation": 0.1,
    "noise": {"hid[12]:out": 0.1, "in:out": 0.01},
    "input_noise": 0.1,
    "hidden_noise": 0.1,
    "output_noise": 0.1,
    "dropout": {"hid1:out": 0.3},
    "input_dropout": 0.3,
    "hidden_dropout": 0.3,
    "output_dropout": 0.3,
    "drop_path": dict(weight=0.3, pattern="hid1:out"),
    "hidden_topk": dict(k=2),
    "hidden_threshold": dict(threshold=0.1),
    "contractive": dict(weight=0.1, pattern="hid1:out", wrt="in"),
}
OF_TIME = {"recurrent_norm": dict(weight=0.1, pattern="hid1:out"), "recurrent_state": 0.1}


# What theanets' own tests ask of its regularizers, asked of ours


def from_kwargs(net, **keywords):
    return theanets.regularizers.from_kwargs(net, **keywords)


def test_from_kwargs_returns_an_object_for_each_regularizer_with_its_weight_and_pattern(net):
    regularizers = from_kwargs(
        net, hidden_l1=0.1, weight_l2=dict(weight=0.2, pattern="hid*.w"), noise={"hid1:out": 0.3, "in:out": 0.4}
    )
    found = [(type(one).__name__.partition(" ")[0], one.weight, one.pattern) for one in regularizers]
    assert found == [
        ("HiddenL1", 0.1, None),
        ("WeightL2", 0.2, "hid*.w"),
        ("GaussianNoise", 0.3, "hid1:out"),
        ("GaussianNoise", 0.4, "in:out"),
    ]
    assert repr(regularizers[0]) == "build(hidden_l1=dict(weight=0.1, reduction='mean'))"


def test_a_mapping_and_a_list_of_regularizers_are_taken(net):
    assert len(from_kwargs(net, regularizers=dict(input_noise=0.01))) == 1
    (theirs,) = from_kwargs(net, regularizers=[theanets.regularizers.WeightL2(weight=0.01)])
    assert type(theirs) is theanets.regularizers.WeightL2
    (ours,) = from_kwargs(net, regularizers=[regkit.build(weight_l2=0.01)])
    assert (ours.weight, ours.pattern) == (0.01, None)


def test_the_penalty_is_not_weighted_and_theanets_multiplies_it(net):
    (one,) = from_kwargs(net, weight_l1=0.5)
    outputs, _ = net.build_graph([one])
    twin = np.mean([np.abs(array).mean() for array in matrices(net).values()])
    assert float(one.loss(net.layers, outputs).eval()) == pytest.approx(twin, rel=1e-5)
    (live,) = from_kwargs(net, weight_l1=regkit.Live(0.25))
    assert float(live.weight.eval()) == 0.25


def test_each_regularizer_that_differs_in_any_option_has_its_own_graph(net):
    weight = regkit.Live(0.5)
    keywords = [
        dict(hidden_l1=0.5),
        dict(hidden_l1=dict(weight=0.5, reduction="sum")),
        dict(hidden_l1=weight),
        dict(hidden_l1=regkit.Live(0.5)),
        dict(hidden_l2=0.5),
    ]
    hashes = [net._hash(from_kwargs(net, **each)) for each in keywords]
    assert len(set(hashes)) == len(keywords)
    assert net._hash(from_kwargs(net, hidden_l1=weight)) == hashes[2]


def test_a_clean_original_is_not_changed_by_the_next_regularizer(net):
    outputs = net.feed_forward(X, noise={"hid1:out": 0.1}, dropout={"hid1:out*": 0.5})
    np.testing.assert_allclose(outputs["hid1:out-prenoise"], net.feed_forward(X)["hid1:out"], rtol=1e-5)
    assert "hid1:out-prenoise-predrop" not in outputs


# Classes of the user's


@pytest.fixture
def mine(net):
    """A class of the user's, registered in theanets under an alias of regkit."""

    class Mine(theanets.Regularizer):
        __extra_registration_keys__ = ("hidden_l1",)

        def loss(self, layers, outputs):
            return theano.tensor.constant(100.0)

    theirs = theanets.regularizers.HiddenL1
    yield Mine
    theanets.Regularizer._registry.update(hidden_l1=theirs)
    del theanets.Regularizer._registry["mine"]


def test_a_class_of_the_users_counts_in_the_place_of_ours(net, mine):
    (one,) = from_kwargs(net, hidden_l1=0.5)
    assert type(one) is mine
    assert loss_value(net, hidden_l1=0.5) - loss_value(net) == pytest.approx(50, rel=1e-6)
    own, ours = from_kwargs(net, hidden_l1=0.5, hidden_sparsity=0.5)
    assert (type(own), type(ours).__name__.partition(" ")[0]) == (mine, "HiddenL1")


# The pattern *


@pytest.mark.parametrize("alias", ["hidden_l1", "hidden_sparsity"])
@pytest.mark.parametrize("default", [None, "*"], ids=["0.7", "0.8"])
def test_a_star_is_all_outputs_or_all_hidden_ones_where_it_is_theanets_default(net, alias, default, monkeypatch):
    monkeypatch.setattr(theanets.Regularizer.__init__, "__defaults__", (default, 0.0))
    selected = [z for name, z in outputs_of(net).items() if default is None or name in ("hid1:out", "hid2:out")]
    added = loss_value(net, **{alias: dict(weight=1, pattern="*")}) - loss_value(net)
    assert added == pytest.approx(np.mean([np.abs(z).mean() for z in selected]), rel=1e-5)


AFTER_A_STEP = ["decoupled_decay", "weight_l0", "weight_nonnegative", "weight_unit_norm"]


def test_every_installed_alias_is_tried():
    assert {*ALIASES, *OF_TIME, *AFTER_A_STEP} == set(regkit.available())


@pytest.mark.parametrize("alias", AFTER_A_STEP)
def test_an_alias_that_acts_after_a_step_is_refused(net, alias):
    said = f"{alias} acts on parameters after an optimizer's step, and theanets has no place for that. Leave it out"
    with pytest.raises(regkit.GraphError, match=said):
        net.loss(**{alias: 0.1})


@pytest.mark.parametrize("alias", ALIASES)
def test_theanets_trains_with_every_alias(net, alias):
    before = values(net)
    found = losses(net, 4, **{alias: ALIASES[alias]})
    assert np.isfinite(found).all()
    assert all((new != old).any() for new, old in zip(values(net), before) if old.ndim > 1)


@pytest.mark.parametrize("alias", OF_TIME)
def test_a_recurrent_network_trains_with_the_aliases_of_time(installed, alias):
    net = theanets.recurrent.Regressor([4, (5, "rnn"), 3], rng=13)
    run = net.itertrain([SEQUENCES, TARGETS], algo="sgd", batch_size=16, train_batches=1, **{alias: OF_TIME[alias]})
    with_penalty = [train["loss"] for _, (train, _) in zip(range(3), run)]
    assert np.isfinite(with_penalty).all()
    assert loss_value(net, SEQUENCES, TARGETS, **{alias: OF_TIME[alias]}) > loss_value(net, SEQUENCES, TARGETS)


def outputs_of(net):
    return net.feed_forward(X)


def matrices(net):
    return {param.name: param.get_value() for param in net.params if param.ndim > 1}


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize(
    ("alias", "arrays", "power"),
    [
        ("hidden_l1", lambda net: [outputs_of(net)[name] for name in ("hid1:out", "hid2:out")], 1),
        ("weight_l1", lambda net: list(matrices(net).values()), 1),
        ("weight_l2", lambda net: list(matrices(net).values()), 2),
    ],
)
def test_a_penalty_adds_its_numpy_twin_in_theanets_scale_and_in_the_formulas(alias, arrays, power, reduction):
    with regkit_theanets.installed(reduction):
        net = theanets.Regressor([4, 7, 5, 3], rng=13)
        twin = np.mean([getattr(np, reduction)(np.abs(array).astype("float64") ** power) for array in arrays(net)])
        added = loss_value(net, **{alias: 0.5}) - loss_value(net)
        assert added == pytest.approx(0.5 * twin, rel=1e-9 if FLOAT == "float64" else 1e-4)


@pytest.mark.parametrize("live", [regkit.Live(0.5), theano.shared(np.asarray(0.5, FLOAT))], ids=["Live", "shared"])
def test_a_live_weight_has_theanets_scale_as_a_number_has(net, live):
    added = loss_value(net, weight_l1=live) - loss_value(net)
    twin = np.mean([np.abs(array).mean() for array in matrices(net).values()])
    assert added == pytest.approx(0.5 * twin, rel=1e-9 if FLOAT == "float64" else 1e-4)


@pytest.mark.parametrize(
    "keywords",
    [
        dict(hidden_sparsity=0.1),
        dict(hidden_sparsity=dict(weight=0.1, pattern="hid1:out")),
        dict(weight_l2=0.1),
        dict(contractive=dict(weight=0.1, pattern="hid1:out")),
    ],
)
def test_a_penalty_leaves_predictions_as_they_are(net, keywords):
    np.testing.assert_array_equal(net.predict(X, **keywords), net.predict(X))


@pytest.mark.parametrize("alias", ["hidden_dropout", "input_noise", "output_noise", "dropout", "noise"])
def test_noise_and_dropout_change_predictions_each_time(net, alias):
    value = {"hid*:out": 0.4} if alias in ("dropout", "noise") else 0.4
    clean = net.predict(X)
    first, second = (net.predict(X, **{alias: value}) for _ in range(2))
    assert (first != clean).any()
    assert (first != second).any()


def test_feed_forward_has_the_clean_output_beside_the_noisy_one(net):
    outputs = net.feed_forward(X, hidden_noise=0.1)
    assert (outputs["hid1:out"] != outputs["hid1:out-prenoise"]).any()
    np.testing.assert_allclose(outputs["hid1:out-prenoise"], net.feed_forward(X)["hid1:out"], rtol=1e-5)


def test_noise_by_pattern_has_the_strength_given_for_each(net):
    outputs = net.feed_forward(np.zeros((5000, 4), FLOAT), noise={"hid[12]:out": 0.1, "in:out": 2.0})
    for name, sigma in (("in:out", 2), ("hid1:out", 0.1), ("hid2:out", 0.1)):
        noise = outputs[name] - outputs[name + "-prenoise"]
        assert noise.std() == pytest.approx(sigma, rel=0.03)


PATTERNS = {
    "mapping": {"hid1:out": 0.1, "hid2:out": 3.0},
    "mappings": [{"hid1:out": 0.1}, {"hid2:out": 3.0}],
    "pairs": [("hid1:out", 0.1), ("hid2:out", 3.0)],
    "mixed": [{"hid1:out": 0.1}, dict(pattern="hid2:out", weight=3.0)],
}


@pytest.mark.parametrize("form", PATTERNS)
def test_patterns_with_their_strengths_come_in_every_form(net, form):
    outputs = net.feed_forward(np.zeros((5000, 4), FLOAT), noise=PATTERNS[form])
    for name, sigma in (("hid1:out", 0.1), ("hid2:out", 3)):
        assert (outputs[name] - outputs[name + "-prenoise"]).std() == pytest.approx(sigma, rel=0.03)


def test_regularizers_that_differ_in_any_option_do_not_share_a_graph(net):
    first = net.feed_forward(X, hidden_noise=dict(weight=0.5, seed=1))["hid1:out"]
    second = net.feed_forward(X, hidden_noise=dict(weight=0.5, seed=2))["hid1:out"]
    assert (first != second).any()
    assert len(net._functions) == 2
    net.feed_forward(X, hidden_noise=dict(weight=0.5, seed=2))
    assert len(net._functions) == 2


def test_two_live_weights_do_not_share_a_graph_and_each_stays_live(net):
    strong, weak = theano.shared(np.asarray(5.0, FLOAT)), theano.shared(np.asarray(0.0, FLOAT))
    noisy = net.feed_forward(X, hidden_noise=strong)
    clean = net.feed_forward(X, hidden_noise=weak)
    assert abs(noisy["hid1:out"] - noisy["hid1:out-prenoise"]).mean() > 1
    assert abs(clean["hid1:out"] - clean["hid1:out-prenoise"]).max() == 0
    weak.set_value(np.asarray(5.0, FLOAT))
    changed = net.feed_forward(X, hidden_noise=weak)
    assert abs(changed["hid1:out"] - changed["hid1:out-prenoise"]).mean() > 1


def test_a_network_that_is_gone_does_not_keep_its_live_weights(installed):
    weight = theano.shared(np.asarray(0.5, FLOAT))
    alive = weakref.ref(weight)
    net = theanets.Regressor([4, 3, 3], rng=13)
    net.loss(hidden_l1=weight)
    del net, weight
    gc.collect()
    assert alive() is None


def test_monitors_see_the_regularized_graph(net):
    monitors = dict(net.monitors(hidden_noise=0.5, monitors={"hid1:out*": (0.1,)}))
    assert set(monitors) == {"err", "hid1:out<0.1", "hid1:out-prenoise<0.1"}


def test_an_autoencoder_trains_with_sparsity(installed):
    net = theanets.Autoencoder([4, 6, 4], rng=13)
    run = net.itertrain([X], algo="sgd", batch_size=64, train_batches=1, hidden_sparsity=0.5)
    train = [train["loss"] for _, (train, _) in zip(range(5), run)]
    assert train[-1] < train[0]


PRETRAINED = [
    dict(hidden_l1=dict(weight=0.1, pattern="hid2:out")),
    dict(weight_l2=dict(weight=0.1, pattern="hid2.w")),
    dict(noise={"hid2:out": 0.1}),
]


@pytest.mark.parametrize("keywords", PRETRAINED)
@pytest.mark.parametrize("algo", ["layerwise", "pretrain"])
def test_pretraining_part_by_part_takes_patterns_of_later_parts(installed, algo, keywords):
    if algo == "pretrain":
        net = theanets.Autoencoder([4, 6, 5, 6, 4], rng=13)
        data = [X]
    else:
        net = theanets.Regressor([4, 7, 5, 3], rng=13)
        data = [X, Y]
    names = [layer.name for layer in net.layers]
    steps = net.itertrain(data, algo=algo, subalgo="sgd", batch_size=64, train_batches=1, patience=1, **keywords)
    found = [train["loss"] for _, (train, _) in zip(range(40), steps)]
    assert np.isfinite(found).all()
    steps.close()
    assert [layer.name for layer in net.layers][:2] == names[:2]
    with pytest.raises(regkit.NoMatchError):  # once it is done, what matches nothing is an error again
        theanets.Regressor([4, 3]).loss(**keywords)


def test_pretraining_that_fails_leaves_the_network_as_it_was(net):
    layers, losses = list(net.layers), list(net.losses)
    with pytest.raises(regkit.GraphError, match="has no time axis"):
        list(net.itertrain([X, Y], algo="layerwise", subalgo="sgd", train_batches=1, recurrent_state=0.1))
    assert net.layers == layers
    assert net.losses == losses


def test_contractive_and_dropout_go_together(net):
    assert np.isfinite(losses(net, 2, contractive=dict(weight=0.1, pattern="hid1:out"), hidden_dropout=0.3)).all()


@pytest.mark.parametrize("wrt", ["*", "in", "in:out", None])
def test_wrt_selects_inputs_by_the_names_of_their_variables(net, wrt):
    same = loss_value(net, contractive=dict(weight=0.1, pattern="hid1:out", wrt="in"))
    assert loss_value(net, contractive=dict(weight=0.1, pattern="hid1:out", wrt=wrt)) == same


def test_a_class_that_replaces_another_of_its_name_has_a_graph_of_its_own(net):
    def shift_by(amount):
        class Shift(regkit.Regularizer):
            def modify_graph(self, outputs):
                for name, z in regkit.select_outputs(outputs, self.pattern or "out:out"):
                    outputs[name + "-before"] = z
                    outputs[name] = z + np.asarray(amount, FLOAT)

        return Shift

    clean = net.predict(X)
    for amount in (1, 2):
        regkit.register(shift_by(amount), "shift", replace=True)
        np.testing.assert_allclose(net.predict(X, shift=1) - clean, amount, rtol=1e-5)


def test_a_default_reduction_is_for_those_that_accept_it(installed):
    class Choosy(regkit.Regularizer):
        def __init__(self, pattern=None, weight=0.0, reduction="max"):
            super().__init__(pattern, weight)
            self.reduction = self.checked_choice("reduction", reduction, ("max", "min"))

        def loss(self, outputs):
            return abs(outputs["hid1:out"]).max()

    regkit.register(Choosy, "choosy")
    net = theanets.Regressor([4, 7, 5, 3], rng=13)
    assert loss_value(net, choosy=0.5) > loss_value(net)
    with regkit_theanets.installed("batch"):
        assert np.isfinite(loss_value(net, group_lasso=0.1))


def test_a_class_with_a_required_argument_gets_the_default_reduction_too(net):
    class Power(regkit.Regularizer):
        def __init__(self, exponent, pattern=None, weight=0.0, reduction="sum"):
            super().__init__(pattern, weight)
            self.exponent = exponent
            self.reduction = self.checked_choice("reduction", reduction, self.REDUCTIONS)

        def loss(self, outputs):
            return regkit.graph.reduced_sum(abs(outputs["hid1:out"]) ** self.exponent, self.reduction)

    regkit.register(Power, "power")
    expected = np.mean(outputs_of(net)["hid1:out"].astype("float64") ** 2)
    added = loss_value(net, power=dict(weight=1, exponent=2)) - loss_value(net)
    assert added == pytest.approx(expected, rel=1e-9 if FLOAT == "float64" else 1e-4)


def test_a_reduction_that_there_is_not_is_refused():
    with pytest.raises(regkit.OptionError, match="install got reduction='max'; accepted: 'mean', 'sum', 'batch', None"):
        regkit_theanets.install("max")


def test_an_inner_with_block_leaves_the_outer_installation():
    try:
        regkit_theanets.install("sum")
        with regkit_theanets.installed("mean"):
            assert theanets.regularizers.from_kwargs.reduction == "mean"
        assert theanets.regularizers.from_kwargs.reduction == "sum"
    finally:
        regkit_theanets.uninstall()


def test_keywords_count_beside_regularizers_given_as_objects(net):
    given = regkit.build(hidden_l1=1)
    both = loss_value(net, regularizers=[given], weight_l2=0.5) - loss_value(net, regularizers=[given])
    assert both == pytest.approx(loss_value(net, weight_l2=0.5) - loss_value(net), rel=1e-3)


def test_a_name_in_regularizers_and_in_the_keywords_is_an_error_as_in_build(net):
    with pytest.raises(regkit.OptionError) as error:
        net.loss(regularizers={"hidden_l1": 0.1}, hidden_l1=0.2)
    assert str(error.value) == "'hidden_l1' is in regularizers and in the keywords. Give it once"


@pytest.mark.parametrize("given", [["hidden_l1"], [{"hidden_l1": 1}], 3])
def test_regularizers_that_are_none_are_refused(net, given):
    with pytest.raises(regkit.OptionError, match="accepted: a mapping of keywords, or regularizers and sets of them"):
        net.loss(regularizers=given)


def test_the_seed_of_theanets_rng_is_that_of_the_noise(installed):
    def noisy(rng):
        net = theanets.Regressor([4, 7, 5, 3], rng=13)
        return net.predict(X, hidden_noise=1, rng=rng)

    np.testing.assert_array_equal(noisy(np.int64(5)), noisy(5))
    assert (noisy(5) != noisy(6)).any()


def test_any_other_regularizer_is_a_keyword_too(net):
    class HiddenMax(regkit.Regularizer):
        def loss(self, outputs):
            ((_, z),) = regkit.select_outputs(outputs, self.pattern or "hid1:out")
            return abs(z).max()

    regkit.register(HiddenMax, "hidden_max")
    largest = np.abs(net.feed_forward(X)["hid1:out"]).max()
    assert loss_value(net, hidden_max=2) - loss_value(net) == pytest.approx(2 * largest, rel=1e-4)


def test_regularizers_may_be_handed_over_as_objects(net):
    mine = regkit.build(hidden_l1=dict(weight=1, pattern="hid1:out"))
    theirs = theanets.regularizers.HiddenL1("hid1:out", weight=1.0)
    expected = np.abs(net.feed_forward(X)["hid1:out"])
    added = {
        name: loss_value(net, regularizers=given) - loss_value(net)
        for name, given in {"set": mine, "member": [mine[0]], "theirs": [theirs]}.items()
    }
    assert added["set"] == added["member"] == pytest.approx(expected.sum(), rel=1e-4)
    assert added["theirs"] == pytest.approx(expected.mean(), rel=1e-4)
    assert loss_value(net, regularizers={"hidden_l1": 0.5}) == pytest.approx(loss_value(net, hidden_l1=0.5))


def test_each_regularizer_logs_its_line(net, caplog):
    with caplog.at_level(logging.INFO, logger="regkit"):
        net.loss(hidden_sparsity=dict(weight=0.1, pattern="hid2:out"), weight_l2=0.5)
    assert [record.getMessage() for record in caplog.records if record.name == "regkit"] == [
        "regularizer: 0.1 * HiddenL1(hid2:out) [hidden_sparsity, reduction=mean]",
        "regularizer: 0.5 * WeightL2(all parameters of two or more axes) [weight_l2, reduction=mean, by=gradient]",
    ]


def test_a_keyword_that_is_nearly_an_alias_warns_with_the_suggestion(net):
    with pytest.warns(UserWarning, match="hiden_sparsity.*hidden_sparsity"):
        net.loss(hiden_sparsity=0.1)


@pytest.mark.parametrize("method", ["loss", "predict"])
@pytest.mark.parametrize("alias", ["hidden_l1", "weight_l2", "noise"])
def test_a_pattern_that_matches_nothing_is_an_error_that_says_what_there_is(net, method, alias):
    arguments = (X,) if method == "predict" else ()
    there = "hid1.w" if alias == "weight_l2" else "hid1:out"
    with pytest.raises(regkit.NoMatchError, match=f"'hid9:out' matches none of the .*{there}"):
        getattr(net, method)(*arguments, **{alias: dict(weight=0.1, pattern="hid9:out")})


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        (dict(hidden_dropout=1), regkit.OptionError, "of at least 0 and below 1"),
        (dict(dropout={"hid1:out": 1.5}), regkit.OptionError, "of at least 0 and below 1"),
        (dict(noise={"hid1:out": -1}), regkit.OptionError, "weight=-1; accepted: a finite real number of at least 0"),
        (dict(recurrent_state=0.1), regkit.GraphError, "'hid1:out' .2 axes.*has no time axis"),
        (dict(contractive=dict(weight=1, wrt="nothing")), regkit.NoMatchError, "wrt: pattern 'nothing' matches none"),
        (dict(hidden_l1=dict(weight=1, patern="hid1:out")), regkit.OptionError, "Did you mean 'pattern'"),
    ],
)
def test_what_makes_no_sense_is_an_error(net, keywords, error, message):
    with pytest.raises(error, match=message):
        net.loss(**keywords)


def test_after_uninstalling_theanets_is_as_it_was():
    before = theanets.regularizers.from_kwargs
    with regkit_theanets.installed():
        assert theanets.regularizers.from_kwargs is not before
        regkit_theanets.install("sum")
    assert theanets.regularizers.from_kwargs is before
    net = theanets.Regressor([4, 7, 5, 3])
    assert type(theanets.regularizers.from_kwargs(net, hidden_l1=0.1)[0]) is theanets.regularizers.HiddenL1
    assert not hasattr(__import__("theano.sandbox.rng_mrg").sandbox.rng_mrg, "MRG_RandomStreams")
    assert "climate" not in sys.modules
    assert hasattr(collections, "Callable") == (sys.version_info < (3, 10))


@pytest.mark.subprocess
@pytest.mark.parametrize(
    ("missing", "said"),
    [
        (
            "theanets",
            "ImportError: theanets is not installed. What works: Python 3.9, in a checkout of regkit: pip install "
            "'.[theano]' click six, then pip install --no-deps theanets==",
        ),
        ("downhill", "ImportError: theanets needs 'downhill', which is not installed. What works: "),
        ("theano", "ImportError: theanets needs theano-pymc, which cannot be imported: "),
    ],
)
def test_what_is_missing_is_named_with_the_pins_that_work(missing, said):
    program = f"import sys; sys.modules[{missing!r}] = None; import regkit_theanets; regkit_theanets.install()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1].startswith(said)
