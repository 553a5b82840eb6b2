"""A weight that changes while a network trains: what it accepts, who shares it, what it is in a graph."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from regkit_hidden_l1 import HiddenL1
from samples import Share

import regkit

PENALTY = np.array([[1.0, -3.0]])  # an L1 norm of 4


def loss_of(regs, dtype="float64"):
    return regs.loss([], {"hid": PENALTY.astype(dtype)})


def test_setting_it_changes_the_next_loss_of_arrays():
    weight = regkit.Live(0.5)
    regs = regkit.build(hidden_l1=dict(weight=weight, pattern="hid"))
    assert loss_of(regs) == 2
    weight.set(0.25)
    assert (loss_of(regs), weight.value) == (1, 0.25)
    assert loss_of(regs, "float32").dtype == "float32"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_setting_it_changes_the_next_call_of_a_compiled_function_and_no_dtype(lib, dtype):
    weight = regkit.Live(0.5)
    z = lib.tensor("z", dtype)
    loss = regkit.build(hidden_l1=dict(weight=weight, pattern="hid")).loss([], {"hid": z})
    assert loss.dtype == dtype
    step = lib.function([z], loss)
    assert step(PENALTY.astype(dtype)) == 2
    weight.set(0.25)
    assert step(PENALTY.astype(dtype)) == 1


def test_it_is_one_shared_variable_of_a_library_whoever_asks(lib):
    weight = regkit.Live(0.5)
    like = lib.tensor("z")
    users = [HiddenL1("hid", weight), HiddenL1("hid", weight)]
    first, second = (regkit.graph.weight(user, like) for user in users)
    assert first is second
    weight.set(1)
    assert first.get_value() == 1


@pytest.mark.parametrize("value", [-3, float("nan"), float("inf"), True, "0.1", None, np.ones(2)])
def test_it_refuses_what_a_weight_refuses_and_keeps_its_value(value):
    weight = regkit.Live(0.5)
    with pytest.raises(regkit.OptionError, match="Live got weight=.*; accepted: a finite real number of at least 0$"):
        weight.set(value)
    with pytest.raises(regkit.OptionError, match="Live got weight="):
        regkit.Live(value)
    assert weight.value == 0.5


def test_it_remembers_the_limit_of_each_regularizer_that_uses_it():
    weight = regkit.Live(0.5)
    regkit.build(hidden_l1=dict(weight=weight, pattern="hid"), share=Share(weight=weight))
    with pytest.raises(
        regkit.OptionError, match="Share got weight=1.5; accepted: a finite real number of at least 0 and"
    ):
        weight.set(1.5)
    assert weight.value == 0.5
    with pytest.raises(regkit.OptionError, match="Share got weight=1; accepted: .* and below 1"):
        Share(weight=1)
    with pytest.raises(regkit.OptionError, match="Share got weight=2"):
        Share(weight=regkit.Live(2))


def test_of_two_classes_of_one_name_the_lower_limit_holds():
    weight = regkit.Live(0.25)
    half = type("Share", (Share,), {"weight_below": 0.5})
    regkit.build(share=Share(weight=weight), half=half(weight=weight))
    with pytest.raises(regkit.OptionError, match="Share got weight=0.75; accepted: .* and below 0.5$"):
        weight.set(0.75)
    assert weight.value == 0.25


def test_a_weight_that_is_assigned_later_has_the_limit_too():
    weight = regkit.Live(0.5)
    regularizer = Share(weight=0.1)
    regularizer.weight = weight
    regkit.build(share=regularizer).loss([], {"hid": PENALTY})
    with pytest.raises(regkit.OptionError, match="Share got weight=3"):
        weight.set(3)


def test_a_live_weight_does_not_become_a_number_by_itself():
    z = np.ones(3, "float32")
    for use in (float, lambda live: np.asarray(live, "float64"), lambda live: regkit.graph.cast(live, "float64")):
        with pytest.raises(regkit.GraphError, match=r"regkit.graph.weight\(self, like\)"):
            use(regkit.Live(0.5))
    assert regkit.graph.weight(regkit.Regularizer(weight=regkit.Live(0.5)), z) == 0.5


def test_copies_of_a_set_share_it_and_a_pickled_one_does_not():
    weight = regkit.Live(0.5)
    regs = regkit.build(share=Share(weight=weight))
    for again in (copy.copy(regs), copy.deepcopy(regs)):
        assert again[0].weight is weight
    other = pickle.loads(pickle.dumps(weight))
    other.set(0.25)
    assert (weight.value, other.value) == (0.5, 0.25)
    with pytest.raises(regkit.OptionError, match="Share got weight=3"):
        other.set(3)


def test_it_is_written_down_with_its_present_value_and_shown_in_the_log(caplog):
    weight = regkit.Live(np.float32(0.1))
    regs = regkit.build(hidden_l1=weight, weight_l2=1)
    weight.set(0.3)
    assert regs.config()["hidden_l1"] == {"weight": 0.3, "reduction": "sum"}
    assert repr(regs) == "build(hidden_l1=Live(0.3), weight_l2=1)"
    assert regs.live() == {"hidden_l1": 0.3}
    with caplog.at_level("INFO"):
        regs.log()
    assert caplog.messages[0] == "regularizer: 0.3 (live) * HiddenL1(all hidden layers) [hidden_l1, reduction=sum]"


def test_a_term_has_it_for_its_weight():
    weight = regkit.Live(0.5)
    (term,) = regkit.build(hidden_l1=dict(weight=weight, pattern="hid")).terms([], {"hid": PENALTY})
    assert term.weight is weight
    assert (term.penalty, term.weighted) == (4, 2)


def test_one_live_serves_a_graph_library_and_arrays(lib):
    weight = regkit.Live(0.5)
    regs = regkit.build(hidden_l1=dict(weight=weight, pattern="hid"))
    assert lib.evaluate(regs.loss([], {"hid": lib.tensor("z")}), z=PENALTY) == 2
    assert loss_of(regs) == 2
