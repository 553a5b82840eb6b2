"""Two processes of DistributedDataParallel and of fully_shard, each with half of the batch, against one with all."""

from __future__ import annotations

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
import torch

pytestmark = [pytest.mark.slow, pytest.mark.subprocess]

HERE = Path(__file__).parent
spec = spec_from_file_location("shard", HERE / "shard.py")
shard = module_from_spec(spec)
spec.loader.exec_module(shard)


@pytest.fixture(scope="module")
def found(two_processes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    two_processes(HERE / "shard.py", folder)
    return json.loads((folder / "found.json").read_text())


def test_a_mean_over_the_batch_has_the_gradient_of_one_process(found):
    expected = shard.gradients(shard.network(), shard.batch(), "batch")
    for one, other in zip(found["batch"], expected):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-15)


def test_a_sum_over_the_batch_has_half_of_it_with_two_processes(found):
    expected = shard.gradients(shard.network(), shard.batch(), "sum")
    model = shard.network()
    (0.3 * (torch.tanh(model[0](shard.batch())) ** 2).sum()).backward()  # of which two shards have half
    for one, other, param in zip(found["sum"], expected, model.parameters()):
        penalty = 0 if param.grad is None else param.grad.numpy()
        np.testing.assert_allclose(one, np.array(other) - penalty / 2, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("step", ["first", "second"])
def test_fully_sharded_gradients_of_activations_and_weights_are_those_of_one_process_in_each_step(found, step):
    expected = shard.gradients(shard.network(), shard.batch(), "batch")
    for one, other in zip(found[f"fsdp {step}"], expected):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("alias", shard.OF_WEIGHTS)
def test_fully_sharded_weights_have_the_loss_and_the_gradients_of_whole_ones(found, alias, before):
    expected = shard.gradients_of_weights(shard.network(), alias, before)
    for one, other in zip(found[f"{alias} {before}"], expected):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


def test_a_fully_sharded_weight_has_the_gradient_by_hand(found):
    model = shard.network()
    (model(shard.batch()).mean() + 0.5 * ((model[0].weight ** 2).sum() + (model[2].weight ** 2).sum()) / 2).backward()
    for one, param in zip(found["weight_l2 False"][1:], model.parameters()):
        np.testing.assert_allclose(one, param.grad, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("which", shard.STEPS)
def test_steps_of_fully_sharded_weights_are_those_of_whole_ones(found, which):
    for one, other in zip(found[which], shard.stepped(shard.network(), which)):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
        np.testing.assert_array_equal(np.equal(one, 0), np.equal(other, 0))


def test_a_target_follows_the_whole_batch(found):
    np.testing.assert_allclose(found["target"], shard.weight_of_a_target(shard.batch()), rtol=1e-6)
