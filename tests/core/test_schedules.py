"""Weights that follow the step: their values, what moves them, how they are written, what they refuse."""

from __future__ import annotations

import copy
import json
import math
import pickle
import warnings

import numpy as np
import pytest
from samples import Share

import regkit
from regkit.schedules import Cosine, Linear, Steps, Target, Warmup

try:
    import tomllib
except ModuleNotFoundError:  # before Python 3.11: pip has the same in it
    from pip._vendor import tomli as tomllib

Z = np.array([[1.0, -3.0]])  # an L1 norm of 4

#: Each with steps and the values that it has there, worked by hand.
VALUES = [
    (Warmup(0.1, 1000), {0: 0, 250: 0.025, 500: 0.05, 1000: 0.1, 5000: 0.1}),
    (Linear(0.4, 0.1, 100), {0: 0.4, 50: 0.25, 100: 0.1, 200: 0.1}),
    (Cosine(0.4, 0.2, 100), {0: 0.4, 25: 0.3 + 0.1 / math.sqrt(2), 50: 0.3, 100: 0.2, 200: 0.2}),
    (Steps({10: 0.5, "20": 0.25, 15: 0}), {0: 0, 9: 0, 10: 0.5, 14: 0.5, 15: 0, 20: 0.25, 99: 0.25}),
]
CONFIGS = [
    {"schedule": "warmup", "to": 0.1, "steps": 1000},
    {"schedule": "linear", "start": 0.4, "to": 0.1, "steps": 100},
    {"schedule": "cosine", "start": 0.4, "to": 0.2, "steps": 100},
    {"schedule": "steps", "weights": {"10": 0.5, "15": 0, "20": 0.25}},
    {
        "schedule": "target",
        "metric": "zeros",
        "value": 0.9,
        "start": 1.0,
        "gain": 0.1,
        "low": 0.5,
        "high": 2.0,
    },
]


def target(**options):
    return Target("zeros", 0.9, **{"start": 1.0, "gain": 0.1, "low": 0.5, "high": 2.0, **options})


def l1(weight):
    return regkit.build(hidden_l1=dict(weight=weight, pattern="hid"))


# Values


@pytest.mark.parametrize(("schedule", "values"), VALUES, ids=lambda value: type(value).__name__)
def test_the_values_at_steps_are_those_of_the_formula(schedule, values):
    regs = l1(schedule)
    for step, expected in values.items():
        regs.step(step)
        assert schedule.value == pytest.approx(expected, abs=1e-12)
        assert regs.live() == {"hidden_l1": schedule.value}
        assert regs.loss({"hid": Z}) == pytest.approx(4 * expected, abs=1e-12)
        assert regs.live(step) == regs.live(np.int64(step)) == regs.live()


@pytest.mark.parametrize("schedule", [Warmup(0.3, 7), Linear(0.1, 0.3, 7), Cosine(0.1, 0.3, 7)])
def test_the_last_value_is_exactly_the_one_that_was_given(schedule):
    l1(schedule).step(7)
    assert schedule.value == 0.3


def test_without_a_number_a_step_adds_one_and_the_first_is_0():
    regs = l1(Warmup(1.0, 4))
    found = []
    for _ in range(6):
        found.append(regs.live()["hidden_l1"])
        regs.step()
    assert found == [0, 0.25, 0.5, 0.75, 1, 1]


def test_a_schedule_that_members_share_moves_once_a_step():
    weight = Warmup(1.0, 4)
    regs = regkit.build(hidden_l1=[dict(weight=weight, pattern="hid"), dict(weight=weight, pattern="h*")])
    regs.step()
    assert regs.live() == {"hidden_l1": 0.25, "hidden_l1[1]": 0.25}


def test_a_step_leaves_other_weights_as_they_are():
    regs = regkit.build(hidden_l1=regkit.Live(0.5), weight_l2=0.1)
    regs.step(3)
    assert regs.live() == regs.live(step=7) == {"hidden_l1": 0.5}


def test_a_compiled_function_follows_the_step_without_compiling_again(lib):
    regs, z = l1(Warmup(0.5, 10)), lib.tensor("z", "float32")
    loss = regs.loss({"hid": z})
    assert loss.dtype == "float32"
    function = lib.function([z], loss)
    for step, expected in ((0, 0), (5, 1), (10, 2)):
        regs.step(step)
        assert function(Z.astype("float32")) == expected


@pytest.mark.parametrize(("schedule", "values"), VALUES, ids=lambda value: type(value).__name__)
def test_a_symbolic_step_gives_expressions_of_its_library(lib, floatX, schedule, values):
    step = lib.tensor("step", "int32", ndim=0)
    (found,) = l1(schedule).live(step).values()
    assert found.dtype == floatX
    function = lib.function([step], found)
    for number, expected in values.items():
        assert function(np.asarray(number, "int32")) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("n", [-1, 1.5, "3", True])
def test_a_step_that_is_no_number_of_steps_is_refused(n):
    with pytest.raises(regkit.OptionError, match="step got n=.*; accepted: an integer of at least 0$"):
        l1(Warmup(1.0, 4)).step(n)


# A metric that is to have a value


def test_a_target_multiplies_the_weight_by_the_exponential_of_gain_times_error():
    weight = target()
    regs = l1(weight)
    regs.step(metrics={"hidden_l1.zeros": 0.4})
    assert weight.value == pytest.approx(math.exp(0.1 * 0.5))
    regs.step(metrics={"hidden_l1.zeros": np.float32(1)})
    assert weight.value == pytest.approx(math.exp(0.1 * 0.4))
    before = weight.value
    regs.step(metrics={"hidden_l1.zeros": 0.9})
    assert weight.value == before


def test_a_target_stays_within_its_bounds():
    weight = target(gain=1e4)
    regs = l1(weight)
    regs.step(metrics={"hidden_l1.zeros": 0})
    assert weight.value == 2
    regs.step(metrics={"hidden_l1.zeros": 1})
    assert weight.value == 0.5


def test_a_target_gets_there():
    weight = Target("zeros", 0.93, start=0.01, gain=0.2)
    regs = regkit.build(hidden_l1=dict(weight=weight, pattern="hid"))
    z = np.random.default_rng(0).exponential(size=(1000, 10))
    for _ in range(300):  # a layer that is the proximal operator of its penalty
        sparse = np.maximum(0, z - weight.value)
        regs.step(metrics=regs.metrics({"hid": sparse}))
    assert (sparse == 0).mean() == pytest.approx(0.93, abs=0.002)
    assert weight.value == pytest.approx(-math.log(1 - 0.93), rel=0.05)  # a quantile of the exponential distribution


def test_a_metric_that_falls_with_the_weight_takes_a_negative_gain():
    weight = Target("l0", 3, start=1.0, gain=-0.1)
    l1(weight).step(metrics={"hidden_l1.l0": 5})
    assert weight.value == pytest.approx(math.exp(0.2))


def test_a_target_follows_any_metric_by_its_full_name_and_that_of_its_member_first():
    own, other = target(), Target("accuracy", 0.9, start=1.0, gain=0.1)
    regs = regkit.build(hidden_l1=[dict(weight=own, pattern="hid"), dict(weight=other, pattern="hid")])
    regs.step(metrics={"hidden_l1.zeros": 0.9, "zeros": 0.0, "accuracy": 0.8})
    assert (own.value, other.value) == (1, pytest.approx(math.exp(0.01)))


def test_a_target_takes_metrics_of_a_graph_library_that_have_a_value(lib):
    weight = target()
    l1(weight).step(metrics={"hidden_l1.zeros": lib.shared(np.asarray(0.4))})
    assert weight.value == pytest.approx(math.exp(0.05))


def test_a_metric_that_is_missing_or_no_number_is_an_error_that_names_it():
    regs = l1(target())
    with pytest.raises(regkit.NoMatchError) as missing:
        regs.step(metrics={"hidden_l1.l0": 1, "accuracy": 0.5})
    assert str(missing.value) == (
        "hidden_l1: its weight follows the metric 'zeros', and the metrics have no 'hidden_l1.zeros'; they have: "
        "hidden_l1.l0, accuracy"
    )
    with pytest.raises(regkit.OptionError, match="hidden_l1: the metric 'hidden_l1.zeros' is nan; accepted: a finite"):
        regs.step(metrics={"hidden_l1.zeros": float("nan")})


def test_a_target_without_metrics_warns_at_the_second_step_and_once():
    regs = l1(target())
    assert regs.needs_metrics
    assert not l1(Warmup(0.1, 10)).needs_metrics
    regs.step()
    with pytest.warns(UserWarning, match="hidden_l1: its weight, Target.*, has had two steps without metrics"):
        regs.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        regs.step()
        measured = l1(target())
        measured.step(metrics={"hidden_l1.zeros": 0.9})
        measured.step()
        measured.step()


# How they are written


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config["schedule"])
def test_a_config_has_the_schedule_and_build_takes_it_back_from_json(config):
    regs = regkit.build({"hidden_l1": {"weight": config}})
    regs.step(12)
    written = json.loads(json.dumps(regs.config()))
    assert written == {"hidden_l1": {"weight": config, "reduction": "sum"}}
    assert regkit.build(written).config() == written
    assert regkit.build(written).live() == regkit.build(hidden_l1={"weight": config}).live()


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config["schedule"])
def test_a_config_is_the_same_from_toml(config):
    items = ", ".join(f"{key} = {json.dumps(value)}" for key, value in config.items() if key != "weights")
    steps = ", ".join(f"{key} = {value}" for key, value in config.get("weights", {}).items())
    items += f", weights = {{ {steps} }}" if steps else ""
    read = tomllib.loads(f"hidden_l1 = {{ weight = {{ {items} }} }}")
    assert regkit.build(read).config() == {"hidden_l1": {"weight": config, "reduction": "sum"}}


def test_a_repr_reads_like_the_call():
    weights = [Warmup(0.1, 1000), Steps({20: 0.1, "5": 1})]
    assert repr(regkit.build(hidden_l1=weights)) == (
        "build(hidden_l1=[Warmup(to=0.1, steps=1000), Steps(weights={5: 1, 20: 0.1})])"
    )


def test_the_log_and_the_table_show_the_present_value_and_the_schedule(caplog):
    regs = regkit.build(hidden_l1=Warmup(0.3, 3))
    regs.step()
    with caplog.at_level("INFO"):
        regs.log()
    assert caplog.messages == [
        "regularizer: 0.1 (Warmup(to=0.3, steps=3)) * HiddenL1(all hidden layers) [hidden_l1, reduction=sum]"
    ]
    assert "<td>0.1 (Warmup(to=0.3, steps=3))</td>" in regs._repr_html_()


def test_sets_with_equal_schedules_are_two_and_one_schedule_makes_them_equal():
    weight = Warmup(0.1, 10)
    assert regkit.build(hidden_l1=weight) == regkit.build(hidden_l1=weight)
    assert regkit.build(hidden_l1=weight) != regkit.build(hidden_l1=Warmup(0.1, 10))


def test_copies_share_a_schedule_and_an_unpickled_one_goes_on_by_itself():
    for weight in (Warmup(1.0, 4), target()):
        regs = l1(weight)
        regs.step(2, metrics={"hidden_l1.zeros": 0.4})
        before = weight.value
        assert copy.deepcopy(regs)[0].weight is weight
        other = pickle.loads(pickle.dumps(regs))
        assert (other[0].weight.value, repr(other)) == (before, repr(regs))
        other.step(metrics={"hidden_l1.zeros": 0.4})
        assert other[0].weight.value > before == weight.value
        regs.step(metrics={"hidden_l1.zeros": 0.4})
        assert other[0].weight.value == weight.value


# What is refused


@pytest.mark.parametrize(
    "weight",
    [Warmup(1.5, 10), Linear(0.1, 1, 10), Cosine(1.0, 0.1, 10), Steps({0: 0.1, 9: 2}), Target("zeros", 0.5)],
    ids=lambda weight: type(weight).__name__,
)
def test_a_limit_holds_for_every_value_and_is_checked_when_built(weight):
    with pytest.raises(regkit.OptionError, match=r"Share got weight=.*, which can become .*; accepted: .* and below 1"):
        Share(weight=weight)
    with pytest.raises(regkit.OptionError, match="Dropout got weight="):
        regkit.build(hidden_dropout=weight)
    assert l1(weight).live()


def test_a_schedule_below_the_limit_is_accepted():
    assert Share(weight=Warmup(0.5, 10)).weight.value == 0
    assert Share(weight=Target("zeros", 0.5, high=0.9)).weight.value == 0.1


def test_a_schedule_cannot_be_set():
    weight = Warmup(0.1, 10)
    with pytest.raises(regkit.OptionError) as error:
        weight.set(0.5)
    assert str(error.value) == (
        "Warmup(to=0.1, steps=10) has the value of its step, so it cannot be set. Call regs.step(n)"
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Warmup(-1, 10), "Warmup got to=-1; accepted: a finite real number of at least 0"),
        (lambda: Warmup(0.1, 0), "Warmup got steps=0; accepted: an integer of at least 1"),
        (lambda: Warmup(0.1, 1.5), "Warmup got steps=1.5; accepted: an integer of at least 1"),
        (lambda: Warmup(0.1, float("inf")), "Warmup got steps=inf; accepted: an integer of at least 1"),
        (lambda: Linear("0", 1, 10), "Linear got start='0'; accepted: a finite real number of at least 0"),
        (lambda: Cosine(0, float("nan"), 10), "Cosine got to=nan; accepted: a finite real number of at least 0"),
        (lambda: Steps({}), "Steps got weights={}; accepted: a mapping of steps to weights"),
        (lambda: Steps([1, 2]), "Steps got weights=[1, 2]; accepted: a mapping of steps to weights"),
        (lambda: Steps({-1: 1}), "Steps got the step -1; accepted: different integers of at least 0"),
        (lambda: Steps({"soon": 1}), "Steps got the step 'soon'; accepted: different integers of at least 0"),
        (lambda: Steps({1: 1, "1": 2}), "Steps got the step '1'; accepted: different integers of at least 0"),
        (lambda: Steps({1: -1}), "Steps got weights[1]=-1; accepted: a finite real number of at least 0"),
        (lambda: Target("", 1), "Target got metric=''; accepted: the name of a metric, such as 'zeros'"),
        (lambda: Target("zeros", None), "Target got value=None; accepted: a finite real number"),
        (
            lambda: Target("zeros", 1, gain=0),
            "Target got gain=0, by which the weight would never change; accepted: any other number",
        ),
        (
            lambda: Target("zeros", 1, start=0),
            "Target got start=0, low=1e-06, high=1000.0; accepted: 0 < low <= start <= high",
        ),
        (
            lambda: regkit.build(hidden_l1={"weight": {"schedule": "warmpu", "to": 1}}),
            "alias 'hidden_l1': HiddenL1 got weight={'schedule': 'warmpu', 'to': 1}; accepted, of mappings: a schedule "
            "such as {'schedule': 'warmup', 'to': 0.1, 'steps': 1000}. Did you mean 'warmup'? Schedules: warmup, "
            "linear, cosine, steps, target",
        ),
        (
            lambda: regkit.build(hidden_l1={"weight": {"to": 1}}),
            "alias 'hidden_l1': HiddenL1 got weight={'to': 1}; accepted, of mappings: a schedule such as {'schedule': "
            "'warmup', 'to': 0.1, 'steps': 1000}. Schedules: warmup, linear, cosine, steps, target",
        ),
        (
            lambda: regkit.build(hidden_l1={"weight": {"schedule": "warmup", "to": 1}}),
            "alias 'hidden_l1': Warmup needs the argument 'steps'. Accepted: to, steps",
        ),
    ],
)
def test_an_argument_that_is_not_accepted_is_named(make, message):
    with pytest.raises(regkit.OptionError) as error:
        make()
    assert str(error.value) == message
