"""Spiking networks of snntorch: penalties of spikes and of membranes over the steps of time, against sums by hand."""

from __future__ import annotations

import pytest
import regkit_torch
import snntorch
import torch
from snntorch import surrogate, utils

import regkit

BETA, STEPS, SLOPE = 0.9, 5, 25
X = 3 * torch.rand(6, 4, generator=torch.Generator().manual_seed(1))


def leaky(**options):
    return snntorch.Leaky(beta=BETA, spike_grad=surrogate.fast_sigmoid(slope=SLOPE), **options)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.lif1 = torch.nn.Linear(4, 8), leaky()
        self.fc2, self.lif2 = torch.nn.Linear(8, 3), leaky()

    def forward(self, x):
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        spikes = []
        for _ in range(STEPS):
            spk1, mem1 = self.lif1(self.fc1(x), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            spikes.append(spk2)
        return torch.stack(spikes)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net()


def first_layer(linear):
    """Return spikes and membranes of the first layer in each step, by the equations of a leaky neuron."""
    current = X @ linear.weight.T + linear.bias
    membrane, spikes, membranes = torch.zeros(6, 8), [], []
    for _ in range(STEPS):
        reset = (membrane.detach() > 1).float()  # of a threshold of 1, which is subtracted
        membrane = BETA * membrane + current - reset
        over = membrane - 1
        slope = 1 / (SLOPE * over.detach().abs() + 1) ** 2  # of the surrogate
        spikes.append((over > 0).float() + slope * (over - over.detach()))
        membranes.append(membrane)
    return spikes, membranes


@pytest.mark.parametrize(("pattern", "which"), [("lif1:0", 0), ("lif1:1", 1)])
def test_spikes_and_membranes_of_all_steps_have_the_penalty_and_the_gradient_by_hand(net, pattern, which):
    with regkit_torch.watch(net, regkit.build(hidden_l1=dict(weight=0.5, pattern=pattern))) as run:
        for _ in range(2):
            net(X)
            loss = run.loss()
            expected = 0.5 * sum(z.abs().sum() for z in first_layer(net.fc1)[which]) / STEPS
            assert expected > 0
            torch.testing.assert_close(loss, expected)
            (found,) = torch.autograd.grad(loss, [net.fc1.weight])
            (wanted,) = torch.autograd.grad(expected, [net.fc1.weight])
            torch.testing.assert_close(found, wanted)


def test_a_network_without_a_pattern_and_one_with_the_name_of_a_pair_are_errors_that_name_the_parts(net):
    with pytest.raises(regkit.OptionError, match=r"(?s)hidden_l1: HiddenL1 needs a pattern.*lif1 +Leaky"):
        regkit_torch.watch(net, regkit.build(hidden_l1=0.5)).__enter__()
    with regkit_torch.watch(net, regkit.build(hidden_l1=dict(weight=0.5, pattern="lif1"))) as run:
        net(X)
        with pytest.raises(regkit.NoMatchError, match="pattern 'lif1' matches none of the outputs: lif1:0, lif1:1"):
            run.loss()


def test_a_network_that_is_called_in_each_step_needs_a_watch_of_all_forwards():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 8), leaky(init_hidden=True), torch.nn.Linear(8, 3))
    regs = regkit.build(hidden_l1=dict(weight=0.5, pattern="1"))
    with regkit_torch.watch(net, regs) as run:
        for _ in range(STEPS):
            net(X)
        with pytest.raises(regkit.GraphError, match=r"there were 5 forwards.*of all time steps.*forwards='all'"):
            run.loss()
    utils.reset(net)
    with regkit_torch.watch(net, regs, forwards="all") as run:
        for _ in range(STEPS):
            net(X)
        loss = run.loss()
    torch.testing.assert_close(loss, 0.5 * sum(z.sum() for z in first_layer(net[0])[0]) / STEPS)
