"""What regularizers cost beside a model of PyTorch: against the same penalties by hand, and in a whole training step.

Penalties are computed and differentiated by one model's outputs; the whole step has the forward, the loss, the backward
and the optimizer, eager, compiled, and with another batch size each time. A forward of 334 modules that are all watched
is compared with one of modules that are not. Before anything is timed, losses and gradients are compared with those by
hand.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import regkit_torch
import torch
from _ratios import Row, arguments, in_turns, ratios, show
from torch import nn

import regkit

BY_HAND, OURS, OPENED = "by hand", "regkit", "regkit, watch opened in each step"
HOOKED = "a hook that does nothing on each module"
WEIGHT = 0.01
#: Calls in a row that are timed as one.
CALLS, STEPS = 100, 20


def network(layers: int, units: int) -> nn.Sequential:
    """Return layers with tanh, always with the same parameters."""
    torch.manual_seed(0)
    return nn.Sequential(*(part for _ in range(layers) for part in (nn.Linear(units, units), nn.Tanh())))


def regularizers(layers: int) -> regkit.RegularizerSet:
    """Return one regularizer for each activation."""
    return regkit.build(hidden_l2=[dict(weight=WEIGHT, pattern=str(2 * i + 1)) for i in range(layers)])


def penalties(count: int) -> dict[str, Callable[[], Any]]:
    """Return a function for each contestant: the penalties of given outputs, and their gradients."""
    outputs = {str(2 * i + 1): torch.randn(32, 64, requires_grad=True) for i in range(count)}
    run = regkit_torch.Run(regularizers(count))

    def by_hand() -> Any:
        first, *others = (WEIGHT * (z * z).sum() for z in outputs.values())
        loss = sum(others, first)  # from 0 on it would be one addition more
        return loss, torch.autograd.grad(loss, list(outputs.values()))

    def ours() -> Any:
        for name, z in outputs.items():
            run.tap(name, z)
        loss = run.loss()
        return loss, torch.autograd.grad(loss, list(outputs.values()))

    return {BY_HAND: by_hand, OURS: ours}


def steps(layers: int) -> dict[str, Callable[[], Any]]:
    """Return a function for each contestant: a step of its own model, which gives the loss and the gradients."""
    x = torch.randn(64, 256, generator=torch.Generator().manual_seed(1))
    found = {}
    for contestant, step in ((BY_HAND, _step_by_hand), (OURS, _step_of_ours), (OPENED, _step_that_opens)):
        model = network(layers, 256)
        found[contestant] = step(model, torch.optim.SGD(model.parameters(), lr=1e-4), x)
    return found


def _step_by_hand(model: nn.Sequential, optimizer: Any, given: Any) -> Callable[[], Any]:
    def step() -> Any:
        x = given if isinstance(given, torch.Tensor) else next(given)
        z, penalties = x, []
        for part in model:
            z = part(z)
            if isinstance(part, nn.Tanh):
                penalties.append(WEIGHT * (z * z).sum())
        return _finished(sum(penalties, ((z - x) ** 2).mean()), model, optimizer)

    return step


def _step_of_ours(model: nn.Sequential, optimizer: Any, given: Any) -> Callable[[], Any]:
    run = regkit_torch.watch(model, regularizers(len(model) // 2)).__enter__()  # open as long as the model lives

    def step() -> Any:
        x = given if isinstance(given, torch.Tensor) else next(given)
        return _finished(((model(x) - x) ** 2).mean() + run.loss(), model, optimizer)

    return step


def _step_that_opens(model: nn.Sequential, optimizer: Any, x: torch.Tensor) -> Callable[[], Any]:
    regs = regularizers(len(model) // 2)

    def step() -> Any:
        with regkit_torch.watch(model, regs) as run:
            return _finished(((model(x) - x) ** 2).mean() + run.loss(), model, optimizer)

    return step


def compiled_steps(layers: int) -> dict[str, Callable[[], Any]]:
    """Return a function for each contestant: a step with a compiled model, and penalties within it by hand, or ours."""
    x = torch.randn(64, 256, generator=torch.Generator().manual_seed(1))
    by_hand, ours = network(layers, 256), network(layers, 256)
    whole, first = torch.compile(_with_penalties(by_hand)), torch.compile(ours)
    optimizers = [torch.optim.SGD(model.parameters(), lr=1e-4) for model in (by_hand, ours)]
    run = regkit_torch.watch(first, regularizers(layers)).__enter__()

    def step_by_hand() -> Any:
        z, penalty = whole(x)
        return _finished(((z - x) ** 2).mean() + penalty, by_hand, optimizers[0])

    def step_of_ours() -> Any:
        return _finished(((first(x) - x) ** 2).mean() + run.loss(), ours, optimizers[1])

    return {BY_HAND: step_by_hand, OURS: step_of_ours}


def steps_compiled_as_a_whole(layers: int) -> dict[str, Callable[[], Any]]:
    """Return a function for each contestant: a step of which forward and loss are compiled together."""
    x = torch.randn(64, 256, generator=torch.Generator().manual_seed(1))
    by_hand, ours = network(layers, 256), network(layers, 256)
    optimizers = [torch.optim.SGD(model.parameters(), lr=1e-4) for model in (by_hand, ours)]
    with_penalties = _with_penalties(by_hand)
    run = regkit_torch.watch(ours, regularizers(layers)).__enter__()

    @torch.compile
    def loss_by_hand() -> torch.Tensor:
        z, penalty = with_penalties(x)
        return ((z - x) ** 2).mean() + penalty

    @torch.compile
    def loss_of_ours() -> torch.Tensor:
        return ((ours(x) - x) ** 2).mean() + run.loss()

    return {
        BY_HAND: lambda: _finished(loss_by_hand(), by_hand, optimizers[0]),
        OURS: lambda: _finished(loss_of_ours(), ours, optimizers[1]),
    }


def _with_penalties(model: nn.Sequential) -> Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    def forward(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        penalties = []
        for part in model:
            z = part(z)
            if isinstance(part, nn.Tanh):
                penalties.append(WEIGHT * (z * z).sum())
        first, *others = penalties
        return z, sum(others, first)

    return forward


def steps_of_new_shapes(layers: int) -> dict[str, Callable[[], Any]]:
    """Return a function for each contestant: a step with another number of examples than the one before."""
    found = {}
    for contestant, step in ((BY_HAND, _step_by_hand), (OURS, _step_of_ours)):
        model = network(layers, 256)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
        inputs = itertools.cycle([torch.full((rows, 256), 0.1) for rows in range(32, 96)])
        found[contestant] = step(model, optimizer, inputs)
    return found


def forwards(blocks: int) -> dict[str, Callable[[], Any]]:
    """Return a function for each contestant: a forward of so many blocks of two modules, all of which are watched."""
    found: dict[str, Callable[[], Any]] = {}
    x = torch.randn(32, 64, generator=torch.Generator().manual_seed(1))
    for contestant in (BY_HAND, HOOKED, OURS):
        torch.manual_seed(0)
        model = nn.Sequential(*(nn.Sequential(nn.Linear(64, 64), nn.Tanh()) for _ in range(blocks)))
        run: Any = None
        if contestant == HOOKED:
            for module in model.modules():
                module.register_forward_hook(lambda *_: None)
        elif contestant == OURS:
            run = regkit_torch.watch(model, regkit.build(hidden_l2=dict(weight=WEIGHT, pattern="*"))).__enter__()

        def forward(model: nn.Module = model, run: Any = run) -> Any:
            out = model(x)
            if run is not None:
                run.discard()
            return out, []

        found[contestant] = forward
    return found


def _finished(loss: torch.Tensor, model: nn.Sequential, optimizer: Any) -> Any:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss, [param.grad for param in model.parameters()]


def timed(function: Callable[[], Any], calls: int) -> Callable[[], float]:
    """Return what measures the processor's time of some calls, which other work on the machine does not add to."""

    def measure() -> float:
        start = time.process_time()
        for _ in range(calls):
            function()
        return time.process_time() - start

    return measure


def compared(case: str, contestants: dict[str, Callable[[], Any]], calls: int, rounds: int) -> list[Row]:
    """Check that contestants compute the same, and return the ratio of their times."""
    for _ in range(2):  # the first records, the second calls a plan
        expected, *others = (contestant() for contestant in contestants.values())
        for found in others:
            torch.testing.assert_close([found[0], *found[1]], [expected[0], *expected[1]])
    times = in_turns({name: timed(function, calls) for name, function in contestants.items()}, rounds)
    hand = sorted(times[BY_HAND])[rounds // 2] / calls
    return ratios("torch_step", case, times, BY_HAND, {OURS: f"by hand {1e6 * hand:.0f} µs"})


def main() -> None:
    """Measure each case, and show the table."""
    options = arguments(__doc__, 30)
    torch.set_num_threads(1)
    rows = []
    for count in (1, 4, 16):
        rows += compared(f"penalties, forward and backward: {count}", penalties(count), CALLS, options.rounds)
    for layers in (3, 16):
        rows += compared(f"a training step, {layers} regularizers", steps(layers), STEPS, options.rounds)
    rows += compared("a step with a compiled model, 3 regularizers", compiled_steps(3), STEPS, options.rounds)
    rows += compared("a step compiled as a whole", steps_compiled_as_a_whole(3), STEPS, options.rounds)
    rows += compared("a step of new shapes, 3 regularizers", steps_of_new_shapes(3), STEPS, options.rounds)
    rows += compared("a forward of 334 modules", forwards(111), STEPS, options.rounds)
    show(f"torch {torch.__version__}, one thread", rows, options.into)


if __name__ == "__main__":
    main()
