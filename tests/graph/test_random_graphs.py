"""Random graphs: what `apply` makes of a finished one is what NumPy computes with the changes in place.

Each lane has 100 of its own. ``REGKIT_GRAPHS=10000 pytest tests/graph/test_random_graphs.py`` makes 10,000, from the
number ``REGKIT_FIRST_GRAPH`` on; a failure names the graph.
"""

from __future__ import annotations

import importlib.util
import os
import random
from zlib import crc32

import numpy as np
import pytest

import regkit

OF_THE_LANE = crc32(os.environ.get("REGKIT_LANE", "").encode()) % 10**6
FIRST = int(os.environ.get("REGKIT_FIRST_GRAPH", OF_THE_LANE))
GRAPHS = range(FIRST, FIRST + int(os.environ.get("REGKIT_GRAPHS", "100")))
TOGETHER = 20  # graphs to a compiled function
ROOTS = ("x", "y", "w")
DATA = {
    "x": np.array([[0.3, -0.7], [0.5, 0.9]]),
    "y": np.array([[-0.2, 0.4], [1.1, -0.6]]),
    "w": np.array([[0.8, -0.3], [0.1, 0.5]]),
}


class Doubled(regkit.Regularizer):
    """Makes 2z + 1 of z."""

    def modify_graph(self, outputs):
        for name, z in regkit.select_outputs(outputs, self.pattern):
            outputs[name] = doubled(z)


def doubled(z):
    return z * 2.0 + 1.0


class Arrays:
    """The operations on NumPy arrays."""

    tanh, sin = np.tanh, np.sin

    def scan(self, step, rows, start, passed):
        state, states = start[0], []
        for row in rows:
            state = step(row, state, *passed)
            states.append(state)
        return np.stack(states)

    def rows(self, step, rows):
        return np.stack([step(row) for row in rows])

    def ifelse(self, condition, yes, no):
        return yes if condition else no

    def block(self, inputs, result):
        return result

    def block_of_its_own(self, function, given):
        return function(given)


class Symbolic:
    """The same operations as graphs of a library."""

    def __init__(self, lib):
        self.lib = lib
        self.roots = [lib.tensor(name) for name in ROOTS]
        self.tanh, self.sin = lib.tensor_module.tanh, lib.tensor_module.sin
        vm = importlib.import_module(f"{lib.name}.link.vm").VMLinker(use_cloop=False, c_thunks=False)
        self.mode = lib.module.compile.mode.Mode(linker=vm, optimizer=None)
        self._block = importlib.import_module(f"{lib.name}.compile.builders").OpFromGraph
        # PyTensor from 3.3 on runs what stands within nodes as it runs the whole, and has ifelse elsewhere
        self._inside = {"mode": self.mode}
        place = f"{lib.name}.ifelse"
        if importlib.util.find_spec(f"{lib.name}.conditional"):
            self._inside, place = {}, f"{lib.name}.conditional.op"
        self.ifelse = importlib.import_module(place).ifelse

    def scan(self, step, rows, start, passed):
        return self.lib.scan(
            step, sequences=[rows], outputs_info=[start[0]], non_sequences=list(passed), **self._inside
        )

    def rows(self, step, rows):
        return self.lib.scan(step, sequences=[rows], **self._inside)

    def block(self, inputs, result):
        return self._block(list(inputs), [result], on_unused_input="ignore", **self._inside)(*inputs)

    def block_of_its_own(self, function, given):
        inside = given.type()
        return self._block([inside], [function(inside)], **self._inside)(given)


def squashed(backend, step):
    """A step's state, kept small."""
    return lambda *of_step: backend.tanh(step(*of_step)) * 0.9


OPERATIONS = {
    "tanh": lambda b, roots, z: b.tanh(z) * 1.5,
    "add": lambda b, roots, z, u: z + u * 0.5,
    "multiply": lambda b, roots, z, u: z * b.sin(u),
    "dot": lambda b, roots, z, u: z.dot(u) * 0.5,
    "reverse": lambda b, roots, z: z[::-1] + z[0] * 0.25,
    "column": lambda b, roots, z, u: z.sum(axis=1, keepdims=True) * 0.3 + u,
    "scalar": lambda b, roots, z, u: z - u.sum() * 0.1,
    "ifelse": lambda b, roots, z, u, v: b.ifelse((z.sum() > u.sum()), u * 0.7, v * 0.8),
    "closing": lambda b, roots, z, u, v: b.scan(
        squashed(b, lambda row, state: row * 0.5 + state * 0.3 + u.sum() * 0.1 + v[1]), z, u, ()
    ),
    "passing": lambda b, roots, z, u, v: b.scan(
        squashed(b, lambda row, state, given: row * 0.5 + state * 0.3 + given.sum() * 0.1), z, v, (u,)
    ),
    "both": lambda b, roots, z, u, v: b.scan(
        squashed(b, lambda row, state, given: row + state * 0.3 + given[0] * 0.1 + v.sum() * 0.2 + u[1]), z, v, (u,)
    ),
    "nested": lambda b, roots, z, u, v: b.rows(
        lambda row: row * 0.2 + b.rows(lambda one: one * 0.5 + u.sum() * 0.1, v)[0], z
    ),
    "block": lambda b, roots, z, u: b.block(roots, z * 0.6 + u * 0.3),
    "block of its own": lambda b, roots, z: b.block_of_its_own(lambda inside: b.sin(inside * 3.0) * 0.7, z),
    "scan of a block": lambda b, roots, z, u: b.rows(
        lambda row, *given: row + b.block(roots, u * 0.4)[0],
        z,
    ),
    "block of a scan": lambda b, roots, z, u: b.block(roots, b.rows(lambda row: row * 0.3 + u.sum() * 0.1, z)),
}
COSTLY = ("closing", "passing", "both", "nested", "scan of a block", "block of a scan")


def random_program(rng):
    """Instructions on what came before, none of them twice, and the names that some of the values have."""
    plain = [operation for operation in OPERATIONS if operation not in COSTLY]
    program = []
    costly = rng.randint(0, 2)
    while len(program) < rng.randint(5, 12):
        operation = rng.choice(COSTLY if costly and rng.random() < 0.3 else plain)
        costly -= operation in COSTLY
        arguments = OPERATIONS[operation].__code__.co_argcount - 2
        instruction = (operation, *(rng.randrange(len(ROOTS) + len(program)) for _ in range(arguments)))
        if instruction not in program:
            program.append(instruction)
    values = range(len(ROOTS) + len(program))
    named = rng.sample(values, rng.randint(2, len(values)))
    changed = rng.sample(named, rng.randint(1, len(named)))
    return program, named, changed


def run(backend, roots, program, changed):
    """The values of roots and instructions, of which some are changed in place, and the sum of all."""
    values = [doubled(root) if i in changed else root for i, root in enumerate(roots)]
    for i, (operation, *arguments) in enumerate(program, start=len(roots)):
        value = OPERATIONS[operation](backend, roots, *(values[argument] for argument in arguments))
        values.append(doubled(value) if i in changed else value)
    return values, sum(values[1:], values[0])


@pytest.mark.slow
def test_apply_gives_what_numpy_computes_with_the_changes_in_place(lib):
    symbolic = Symbolic(lib)
    for start in range(0, len(GRAPHS), TOGETHER):
        expressions, expected = [], []
        for number in GRAPHS[start : start + TOGETHER]:
            program, named, changed = random_program(random.Random(number))
            values, whole = run(symbolic, symbolic.roots, program, ())
            outputs = {f"v{i}": values[i] for i in named}
            outputs["whole"] = whole
            try:
                applied = regkit.build(a=Doubled([f"v{i}" for i in changed], 1)).apply(outputs)
            except regkit.GraphError as error:
                raise AssertionError(f"graph {number}: {program}, {named}, {changed}") from error
            assert list(applied) == list(outputs)
            expressions += applied.values()
            arrays, whole = run(Arrays(), [DATA[name] for name in ROOTS], program, changed)
            expected += [(number, name, arrays[i]) for name, i in zip(applied, named)] + [(number, "whole", whole)]
        function = lib.module.function(symbolic.roots, expressions, mode=symbolic.mode, on_unused_input="ignore")
        for (number, name, value), computed in zip(expected, function(*(DATA[name] for name in ROOTS))):
            np.testing.assert_allclose(computed, value, rtol=1e-9, atol=1e-12, err_msg=f"graph {number}: {name}")
