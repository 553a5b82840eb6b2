"""Which draws are independent of each other, and which are the same: those of sets, their members and their graphs."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import regkit
from regkit.graph import random_stream

ZEROS = np.zeros((40, 50))


class Noisy(regkit.Regularizer):
    """Adds standard normal noise to each output, with one seed for all of them."""

    def modify_graph(self, outputs):
        for name, z in list(outputs.items()):
            outputs[name] = z + random_stream(z, 1).normal(z)


class Loud(regkit.Regularizer):
    """Doubles the outputs, and draws nothing."""

    def modify_graph(self, outputs):
        for name, z in list(outputs.items()):
            outputs[name] = 2 * z


class Nested(regkit.Regularizer):
    """Has another set change the outputs; a new one each time, or always the same."""

    def __init__(self, pattern=None, weight=0.0, inner=None):
        super().__init__(pattern, weight)
        self.inner = inner

    def modify_graph(self, outputs):
        (self.inner or regkit.build(noisy=Noisy())).modify_graph(outputs)


def changed(regs, z=ZEROS, name="hid"):
    """What a set makes of one output."""
    outputs = {name: z}
    regs.modify_graph(outputs)
    return outputs[name]


def independent(*draws):
    """Tell whether no two of several draws go together: 2,000 of them correlate by 0.02 at random."""
    correlations = np.corrcoef([np.ravel(one) for one in draws]) - np.eye(len(draws))
    return abs(correlations).max() < 0.12


def deviation(draws):
    return pytest.approx(np.std(draws), rel=0.08)


def test_members_that_are_equal_in_all_draw_different_numbers():
    assert np.sqrt(2) == deviation(changed(regkit.build(noisy=[Noisy(), Noisy()])))  # of the same draws twice: 2
    assert np.sqrt(2) == deviation(changed(regkit.build(a=Noisy(), b=Noisy())))
    assert np.sqrt(5) == deviation(changed(regkit.build(a=Noisy(), between=Loud(), b=Noisy())))  # 3 likewise


def test_one_regularizer_that_is_in_a_set_twice_draws_twice():
    noisy = Noisy()
    assert np.sqrt(2) == deviation(changed(regkit.build(a=noisy, b=noisy)))


def test_two_outputs_of_one_name_have_different_draws():
    regs = regkit.build(noisy=Noisy())
    assert independent(changed(regs), changed(regs))


def test_every_step_of_a_loop_over_arrays_has_draws_of_its_own():
    regs = regkit.build(noisy=Noisy())
    assert independent(*(changed(regs) for _ in range(8)))


def test_scalars_of_numpy_have_draws_of_their_own_too():
    regs = regkit.build(noisy=[Noisy(), Noisy()])
    assert np.sqrt(2) == deviation([changed(regs, np.float64(0)) for _ in range(2000)])


def test_each_graph_that_a_set_changes_has_draws_of_its_own(lib):
    regs = regkit.build(noisy=Noisy())
    first, second = (lib.evaluate(changed(regs, lib.tensor("z")), z=ZEROS) for _ in range(2))
    assert independent(first, second)


def test_a_set_that_is_made_anew_repeats_the_draws_of_the_first():
    def three_of(regs):
        return [changed(regs) for _ in range(3)]

    regs = regkit.build(noisy=[Noisy(), Noisy()])
    first = three_of(regs)
    again = [regkit.build(noisy=[Noisy(), Noisy()]), copy.copy(regs), copy.deepcopy(regs)]
    for one in (*again, pickle.loads(pickle.dumps(regs))):
        np.testing.assert_array_equal(three_of(one), first)


def test_what_else_is_in_a_set_or_in_a_graph_changes_no_draws():
    alone = changed(regkit.build(noisy=Noisy()))
    beside = regkit.build(zero=Loud(), noisy=Noisy())
    np.testing.assert_array_equal(changed(beside, name="hid"), alone)


def test_a_finished_graph_gets_the_draws_that_it_would_have_had_while_it_was_built(lib):
    z = lib.tensor("z")
    built, finished = changed(regkit.build(noisy=Noisy()), z), regkit.build(noisy=Noisy()).apply({"hid": z})["hid"]
    np.testing.assert_array_equal(lib.evaluate(built, z=ZEROS), lib.evaluate(finished, z=ZEROS))


@pytest.mark.parametrize("inner", [None, regkit.build(noisy=Noisy())])
def test_a_set_within_a_hook_has_draws_of_its_own_each_time(inner):
    regs = regkit.build(nested=[Nested(inner=inner), Nested(inner=inner)])
    assert np.sqrt(2) == deviation(changed(regs))
    assert independent(changed(regs), changed(regs))


def test_a_hook_that_no_set_calls_repeats_its_draws():
    first, second = {"hid": ZEROS}, {"hid": ZEROS}
    Noisy().modify_graph(first)
    changed(regkit.build(noisy=Noisy()))  # leaves nothing behind
    Noisy().modify_graph(second)
    np.testing.assert_array_equal(first["hid"], second["hid"])


def test_a_hook_that_fails_leaves_nothing_behind():
    class Failing(regkit.Regularizer):
        """Fails."""

        def modify_graph(self, outputs):
            raise ValueError("not today")

    before = random_stream(ZEROS, 1).normal(ZEROS)
    with pytest.raises(ValueError, match="not today"):
        changed(regkit.build(failing=Failing()))
    np.testing.assert_array_equal(random_stream(ZEROS, 1).normal(ZEROS), before)


def test_threads_that_share_a_set_draw_different_numbers():
    regs = regkit.build(noisy=Noisy())
    changed(regs)
    with ThreadPoolExecutor(8) as threads:
        draws = list(threads.map(lambda _: float(changed(regs, np.float64(0))), range(400)))
    assert len(set(draws)) == 400
