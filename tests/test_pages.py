"""The programs of the README and of the integrators' page, run as they stand.

The pages are written for PyTensor. The other libraries have the same names, so each lane runs them with its own.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import regkit

ROOT = Path(__file__).parent.parent


def blocks(page: str) -> list[str]:
    """The Python blocks of a page that are programs and not sessions."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [block for block in found if not block.startswith(">>>")]


@pytest.fixture
def run(lib):
    def run(*code: str) -> dict:
        scope: dict = {"__name__": "page"}
        for block in code:
            exec(re.sub(r"\bpytensor\b", lib.name, block), scope)
        return scope

    with lib.float_type("float64"):
        mode = lib.module.config.mode
        lib.module.config.mode = "FAST_COMPILE"
        yield run
        lib.module.config.mode = mode


def test_the_first_program_of_the_readme_trains_and_predicts_without_dropout(run):
    (program,) = blocks("README.md")
    scope = run(program)
    assert np.mean(scope["costs"][-10:]) < 0.8 * np.mean(scope["costs"][:10])
    data, predict = scope["data"], scope["predict"]
    np.testing.assert_array_equal(predict(data), predict(data))
    hidden = np.maximum(data @ scope["w1"].get_value(), 0)
    np.testing.assert_allclose(predict(data), hidden @ scope["w2"].get_value(), rtol=1e-10)


def test_every_program_of_the_integrators_page_runs_in_its_order(run):
    scope = run(*blocks("docs/integrators.md"))
    data = scope["data"]
    assert scope["predict"](data).shape == data.shape
    assert scope["step"](data) != scope["step"](data)


def test_the_state_of_a_compiled_functions_draws_can_be_saved_and_restored(lib):
    x = lib.tensor("x")
    noisy = regkit.build(noise=dict(weight=1, pattern="x")).apply({"x": x})["x"]
    draw = lib.function([x], noisy)
    zeros = np.zeros((2, 3))
    draw(zeros)
    saved = [(variable, variable.get_value()) for variable in draw.get_shared()]
    first = draw(zeros)
    assert (draw(zeros) != first).any()
    for variable, state in saved:
        variable.set_value(state)
    np.testing.assert_array_equal(draw(zeros), first)
