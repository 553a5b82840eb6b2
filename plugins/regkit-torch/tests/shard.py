"""One of two processes of DistributedDataParallel and of fully_shard: its shard's gradients into a file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import regkit_torch
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard
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
    return [whole(param.grad) for param in model.parameters()]


#: Penalties of weights: of elements, of slices, of matrices.
OF_WEIGHTS = ("weight_l1", "weight_l2", "elastic_net", "group_lasso", "weight_max_norm", "weight_orthogonal")


def sharded():
    """Return the network with parameters that both processes have a part of."""
    model = network()
    fully_shard(model[0])
    return fully_shard(model)


def gradients_of_weights(model, alias, before):
    """Return the loss and the gradients of a penalty of weights beside a model's loss, in the second of two steps."""
    with regkit_torch.watch(model, regkit.build(**{alias: 0.5})) as run:
        for _ in range(2):
            model.zero_grad()
            loss = run.loss() if before else None
            out = model(batch()).mean()
            loss = loss if before else run.loss()
            assert type(loss) is torch.Tensor
            (out + loss).backward()
    return [loss.item(), *(whole(param.grad) for param in model.parameters())]


#: What acts after a step: the optimizer, and the regularizer.
STEPS = {
    "weight_l1 SGD": {"weight": 0.3, "by": "proximal"},
    "weight_l1 Adam": {"weight": 0.3, "by": "proximal"},
    "elastic_net AdamW": {"weight": 0.3, "by": "proximal"},
    "group_lasso SGD": {"weight": 0.3, "by": "proximal"},
    "weight_l0 Adam": {"weight": 0.01},
    "weight_max_norm Adam": {"weight": 1, "c": 0.3, "by": "projection"},
    "weight_unit_norm SGD": {"weight": 1},
    "weight_nonnegative SGD": {"weight": 1},
    "decoupled_decay Adam": {"weight": 0.3},
}


def stepped(model, which):
    """Return the parameters after three steps of an optimizer, after each of which a regularizer acts."""
    alias, kind = which.split()
    optimizer = getattr(torch.optim, kind)(model.parameters(), lr=0.1, **{"momentum": 0.5} if kind == "SGD" else {})
    with regkit_torch.watch(model, regkit.build({alias: STEPS[which]}), optimizer=optimizer) as run:
        for _ in range(3):
            optimizer.zero_grad()
            (model(batch()).mean() + run.loss()).backward()
            optimizer.step()
    return [whole(param.detach()) for param in model.parameters()]


def weight_of_a_target(x):
    """Return a weight that follows the share of zeros, of which each process has another."""
    model = nn.Sequential(network()[0], nn.ReLU(), network()[2])
    model = DistributedDataParallel(model) if dist.is_initialized() else model
    regs = regkit.build(hidden_l1=dict(weight=regkit.schedules.Target("zeros", 0.9, start=0.1), reduction="mean"))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with regkit_torch.watch(model, regs, optimizer=optimizer) as run:
        for _ in range(3):
            optimizer.zero_grad()
            (model(x).mean() + run.loss()).backward()
            optimizer.step()
    return regs.live()["hidden_l1"]


def whole(gradient):
    """Return all elements, as lists."""
    return (gradient.full_tensor() if hasattr(gradient, "full_tensor") else gradient).tolist()


def main(rank, folder):
    """Write what is found into a file."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    x = batch()[rank::2]
    found = {name: gradients(DistributedDataParallel(network()), x, name) for name in ("batch", "sum")}
    model = sharded()
    for step in ("first", "second"):
        model.zero_grad()
        found[f"fsdp {step}"] = gradients(model, x, "batch")
    for alias in OF_WEIGHTS:
        for before in (True, False):
            found[f"{alias} {before}"] = gradients_of_weights(sharded(), alias, before)
    found.update({which: stepped(sharded(), which) for which in STEPS})
    found["target"] = weight_of_a_target(x)
    if rank == 0:
        Path(folder, "found.json").write_text(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
