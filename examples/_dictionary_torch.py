"""What `sparse_dictionary` trains, in PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import regkit_torch
import torch

import regkit

NAME = "torch"

torch.set_num_threads(1)  # matrices of this size gain nothing by more


def trained_network(images: np.ndarray, classes: np.ndarray, units: int, steps: int) -> dict[str, np.ndarray]:
    """Train a classifier with one hidden layer of ReLU units; return its parameters."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(images.shape[1], units), torch.nn.ReLU(), torch.nn.Linear(units, 10))
    x, y = torch.tensor(images, dtype=torch.float32), torch.tensor(classes)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3, weight_decay=1e-4)
    for _ in range(steps):
        batch = torch.randint(len(x), (128,))
        _descend(optimizer, torch.nn.functional.cross_entropy(network(x[batch]), y[batch]))
    (w1, b1), (w2, b2) = ([p.detach().numpy().T for p in layer.parameters()] for layer in (network[0], network[2]))
    return {"w1": w1, "b1": b1, "w2": w2, "b2": b2}


class Dictionary(torch.nn.Module):
    """A sparse autoencoder: codes are of ReLU units, and each direction that is added up has length 1."""

    def __init__(self, inputs: int, features: int) -> None:
        super().__init__()
        directions = torch.nn.functional.normalize(torch.randn(features, inputs), dim=1)
        self.directions = torch.nn.Parameter(directions)
        self.encoder = torch.nn.Linear(inputs, features)
        self.encoder.weight.data = directions.clone()
        self.encoder.bias.data.zero_()
        self.offset = torch.nn.Parameter(torch.zeros(inputs))
        self.codes = torch.nn.ReLU()

    def forward(self, z: Any) -> Any:
        codes = self.codes(self.encoder(z - self.offset))
        return codes @ torch.nn.functional.normalize(self.directions, dim=1) + self.offset


def trained_dictionary(
    activations: np.ndarray, features: int, steps: int, regs: regkit.RegularizerSet
) -> dict[str, np.ndarray]:
    """Train a dictionary with a set of regularizers, whose pattern is that of the codes; return its parameters."""
    torch.manual_seed(1)
    z = torch.tensor(activations, dtype=torch.float32)
    dictionary = Dictionary(z.shape[1], features)
    optimizer = torch.optim.Adam(dictionary.parameters(), 2e-3)
    with regkit_torch.watch(dictionary, regs) as run:
        for _ in range(steps):
            batch = z[torch.randint(len(z), (256,))]
            error = ((dictionary(batch) - batch) ** 2).sum(dim=1).mean()
            _descend(optimizer, error + run.loss())
    with torch.no_grad():
        found = {
            "encoder": dictionary.encoder.weight.T,
            "bias": dictionary.encoder.bias,
            "directions": torch.nn.functional.normalize(dictionary.directions, dim=1),
            "offset": dictionary.offset,
        }
        return {name: value.numpy() for name, value in found.items()}


def _descend(optimizer: torch.optim.Optimizer, loss: Any) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
