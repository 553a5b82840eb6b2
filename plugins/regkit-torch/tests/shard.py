"""One of two processes of DistributedDataParallel: its shard's gradients into a file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import regkit_torch
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import regkit


def network():
    """Return the same network in every process."""
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)).double()


def batch():
    """Return the whole batch."""
    return torch.tensor(np.random.default_rng(1).normal(size=(8, 4)))


def regularizers(reduction):
    """Return a penalty of outputs with a reduction, and one of weights."""
    return regkit.build(hidden_l2=dict(weight=0.3, pattern="1", reduction=reduction), weight_l2=0.1)


def gradients(model, x, reduction):
    """Return gradients of a mean over examples with the penalties."""
    with regkit_torch.watch(model, regularizers(reduction)) as run:
        (model(x).sum(axis=1).mean() + run.loss()).backward()
    return [param.grad.tolist() for param in model.parameters()]


if __name__ == "__main__":
    rank, folder = int(sys.argv[1]), sys.argv[2]
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    found = {name: gradients(DistributedDataParallel(network()), batch()[rank::2], name) for name in ("batch", "sum")}
    if rank == 0:
        Path(folder, "found.json").write_text(json.dumps(found))
    dist.destroy_process_group()
