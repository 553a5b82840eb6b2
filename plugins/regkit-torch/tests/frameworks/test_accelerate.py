"""accelerate: DDP, fully_shard and accumulation have the parameters of one loop by hand."""

from __future__ import annotations

import json
import socket
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import accelerate
import pytest
import torch
from torch import nn

HERE = Path(__file__).parent
spec = spec_from_file_location("shard_accelerate", HERE / "shard_accelerate.py")
shard = module_from_spec(spec)
spec.loader.exec_module(shard)

pytestmark = pytest.mark.filterwarnings("ignore")


def by_hand():
    """Parameters after a step with the mean gradient of two batches."""
    net = shard.network()
    for x, y in shard.batches():
        hidden = 0.3 * (torch.tanh(net[0](x)) ** 2).sum() / len(x)
        weights = 0.1 * (net[0].weight.abs().sum() + net[2].weight.abs().sum()) / 2
        ((nn.functional.mse_loss(net(x), y) + hidden + weights) / 2).backward()
    torch.optim.SGD(net.parameters(), lr=0.1).step()
    return list(net.parameters())


def test_accumulation_counts_once():
    found = shard.train(accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2), shard.batches())
    for one, expected in zip(found, by_hand()):
        torch.testing.assert_close(torch.tensor(one), expected.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["ddp", "fsdp2"])
def test_two_processes_have_the_step_of_one(kind, two_processes, tmp_path):
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    environments = [
        {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        for rank in ("0", "1")
    ]
    two_processes(HERE / "shard_accelerate.py", tmp_path, kind, environments=environments)
    for one, expected in zip(json.loads((tmp_path / f"{kind}.json").read_text()), by_hand()):
        torch.testing.assert_close(torch.tensor(one), expected.detach(), rtol=1e-5, atol=1e-6)
