"""Driving the hooks of a set of regularizers beside pluggy's own call of as many plugins, with hooks that do nothing.

What a set does besides calling: it keeps the user's order, tells whose each result is, checks the outputs and the
layers, remembers which pattern matched, and weighs and sums the penalties.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pluggy
from _ratios import Row, arguments, in_turns, ratios, show
from building import seconds_of

import regkit

OUTPUTS = {name: np.ones((2, 3)) for name in ("in:out", "hid1:out", "hid2:out", "out:out")}
LAYERS = [regkit.Layer(name) for name in OUTPUTS]
PENALTY = np.float64(1.0)
OURS = "a set's call"

specification = pluggy.HookspecMarker("bare")
implementation = pluggy.HookimplMarker("bare")


class Specifications:
    """The hooks, as pluggy would have them."""

    @specification
    def modify_graph(self, outputs, layers):
        """Change one layer's outputs."""

    @specification
    def loss(self, layers, outputs):
        """Return the penalty."""

    @specification
    def log(self):
        """Log a line."""


class Plugin:
    """What pluggy calls."""

    @implementation
    def modify_graph(self, outputs, layers):
        """Do nothing."""

    @implementation
    def loss(self, layers, outputs):
        """Return a penalty that costs nothing."""
        return PENALTY

    @implementation
    def log(self):
        """Do nothing."""


class Quiet(regkit.Regularizer):
    """What regkit calls."""

    def modify_graph(self, outputs, layers):
        """Do nothing."""

    def loss(self, layers, outputs):
        """Return a penalty that costs nothing."""
        return PENALTY

    def log(self):
        """Do nothing."""


def measure(number: int, rounds: int) -> list[Row]:
    """Return the rows of one number R of regularizers."""
    manager = pluggy.PluginManager("bare")
    manager.add_hookspecs(Specifications)
    for _ in range(number):
        manager.register(Plugin())
    regs = regkit.build(quiet=[Quiet("hid1:*", weight=0.1) for _ in range(number)])
    hook = manager.hook
    pairs: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "log": (hook.log, regs.log),
        "modify_graph": (
            lambda: hook.modify_graph(outputs=OUTPUTS, layers=LAYERS),
            lambda: regs.modify_graph(OUTPUTS, LAYERS),
        ),
        "loss": (lambda: hook.loss(layers=LAYERS, outputs=OUTPUTS), lambda: regs.loss(LAYERS, OUTPUTS)),
    }
    rows = []
    for name, (bare, ours) in pairs.items():
        ours()  # registers
        times = in_turns({"pluggy's call": seconds_of(bare), OURS: seconds_of(ours)}, rounds)
        notes = {OURS: f"{1e6 * sorted(times[OURS])[rounds // 2]:.0f} us"}
        rows += ratios("hooks", f"{name}, R={number}", times, "pluggy's call", notes)
    return rows


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__, rounds=15)
    rows = [row for number in (1, 4, 16) for row in measure(number, options.rounds)]
    show("Driving a set's hooks, to pluggy's own call of as many plugins", rows, options.into)


if __name__ == "__main__":
    main()
