"""Noise at every layer of a deep network: what one layer costs to build in a network of L, to one in a network of 50.

1 is linear in the depth. ``modify_graph`` changes the network while it is built, ``apply`` once it is finished; nothing
is compiled.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable

import numpy as np
from _ratios import Row, arguments, in_turns, installed_library, ratios, show

import regkit

SHALLOW = 50
DEPTHS = (160, 500)


def seconds_of_a_layer(depth: int, call: str) -> Callable[[], float]:
    """Return what builds a network, and tells how long that took for each of its layers."""
    name = installed_library()
    library, tt = importlib.import_module(name), importlib.import_module(f"{name}.tensor")
    weights = library.shared(np.eye(4))
    layers = [regkit.Layer("in:out"), *(regkit.Layer(f"hid{i}:out") for i in range(depth))]

    def measured() -> float:
        regs = regkit.build(noise=dict(weight=0.1, pattern="hid*"))
        began = time.perf_counter()
        current = tt.matrix("x", dtype="float64")
        outputs = {"in:out": current}
        for layer in layers[1:]:
            of_layer = {layer.output_name: tt.tanh(current.dot(weights))}
            if call == "modify_graph":
                regs.modify_graph(of_layer, layers)
            current = of_layer[layer.output_name]
            outputs.update(of_layer)
        if call == "apply":
            regs.apply(outputs, layers)
        return (time.perf_counter() - began) / depth

    return measured


def measure(call: str, rounds: int) -> list[Row]:
    """Return the rows of one call."""
    contestants = {f"L={depth}": seconds_of_a_layer(depth, call) for depth in (SHALLOW, *DEPTHS)}
    contestants[f"L={SHALLOW}"]()  # imports
    times = in_turns(contestants, rounds)
    notes = {f"L={depth}": f"{depth * sorted(times[f'L={depth}'])[rounds // 2]:.1f} s in all" for depth in DEPTHS}
    return ratios("depth", f"{installed_library()}, {call}", times, f"L={SHALLOW}", notes)


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__, rounds=5)
    rows = [row for call in ("modify_graph", "apply") for row in measure(call, options.rounds)]
    show("A layer with noise, to one in a network of 50", rows, options.into)


if __name__ == "__main__":
    main()
