"""Two processes of DistributedDataParallel, each with half of the batch, against one with the whole."""

from __future__ import annotations

import json
import subprocess
import sys
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
def found(tmp_path_factory):
    if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
        pytest.skip("this build of torch has no gloo")
    folder = tmp_path_factory.mktemp("shards")
    command = [sys.executable, str(HERE / "shard.py")]
    every = [
        subprocess.Popen([*command, str(rank), str(folder)], stderr=subprocess.PIPE, text=True) for rank in range(2)
    ]
    try:
        for process in every:
            _, said = process.communicate(timeout=120)
            assert process.returncode == 0, said
    finally:
        for process in every:
            process.kill()
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
