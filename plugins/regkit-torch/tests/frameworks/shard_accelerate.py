"""One of two processes of accelerate: the gradients of its shard, with DDP or FSDP2 and accumulation, into a file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import accelerate
import regkit_torch
import torch
from torch import nn

import regkit


def network():
    """Return the same network in every process."""
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1))


def regularizers():
    """Return a mean over examples of outputs, and a penalty of weights."""
    return regkit.build(hidden_l2=dict(weight=0.3, reduction="batch"), weight_l1=0.1)


def train(accelerator, batches):
    """Return the parameters after a step of accumulated batches."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model, optimizer = accelerator.prepare(model, optimizer)
    with regkit_torch.watch(model, regularizers()) as run:
        for x, y in batches:
            with accelerator.accumulate(model):
                loss = nn.functional.mse_loss(model(x), y) + run.loss()
                accelerator.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
    return [(one.full_tensor() if hasattr(one, "full_tensor") else one).tolist() for one in model.parameters()]


def batches():
    """Return two batches of eight examples."""
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(8, 4, generator=generator), torch.randn(8, 1, generator=generator)) for _ in range(2)]


def main(rank, folder, kind):
    """Write what is found into a file."""
    plugin = None
    if kind == "fsdp2":
        plugin = accelerate.FullyShardedDataParallelPlugin(fsdp_version=2, auto_wrap_policy="no_wrap")
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2, fsdp_plugin=plugin)
    assert accelerator.num_processes == 2
    assert accelerator.is_fsdp2 == (kind == "fsdp2")
    found = train(accelerator, [(x[rank::2], y[rank::2]) for x, y in batches()])
    if rank == 0:
        Path(folder, f"{kind}.json").write_text(json.dumps(found))
    accelerator.end_training()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
