"""The pages: programs of the README and of the integrators' page, run as they stand, and what else is said there.

The programs are written for PyTensor. The other libraries have the same names, so each lane runs them with its own.
"""

from __future__ import annotations

import re

import numpy as np
import pytest

import regkit
from blocks import Block, blocks, programs, ran


@pytest.fixture
def run(lib, monkeypatch):
    def run(*code) -> dict:
        scope: dict = {"__name__": "page"}
        for block in code:
            exec(re.sub(r"\bpytensor\b", lib.name, block.text), scope)
        ran(code)
        return scope

    # theano-pymc and Aesara keep the mode that they first compiled in
    monkeypatch.setattr(lib.module.compile.mode, "instantiated_default_mode", None, raising=False)
    monkeypatch.setattr(lib.module.config, "mode", "FAST_COMPILE")
    with lib.float_type("float64"):
        yield run


def test_the_first_program_of_the_readme_trains_and_predicts_without_dropout(run):
    scope = run(programs("README.md")[0])
    assert np.mean(scope["costs"][-10:]) < 0.8 * np.mean(scope["costs"][:10])
    data, predict = scope["data"], scope["predict"]
    np.testing.assert_array_equal(predict(data), predict(data))
    hidden = np.maximum(data @ scope["w1"].get_value(), 0)
    np.testing.assert_allclose(predict(data), hidden @ scope["w2"].get_value(), rtol=1e-10)


def program_with(name: str) -> Block:
    """The README's program that imports a module."""
    (program,) = (block for block in programs("README.md") if f"import {name}\n" in block.text)
    return program


@pytest.mark.framework("jax")
@pytest.mark.framework("regkit_jax")
def test_the_readmes_program_for_jax_has_the_penalty_always_and_dropout_with_a_key_alone():
    import jax

    program = program_with("regkit_jax")
    scope: dict = {}
    exec(program.text, scope)
    rng = np.random.default_rng(0)
    w1, w2, x = rng.normal(size=(20, 50)) / 5, rng.normal(size=(50, 20)) / 5, rng.normal(size=(200, 20))
    value, gradients = scope["cost"]({"w1": w1, "w2": w2}, x)
    hidden = np.maximum(x @ w1, 0)
    expected = ((hidden @ w2 - x) ** 2).sum(axis=1).mean() + 0.1 * hidden.sum() / len(x)
    assert value == pytest.approx(expected, rel=1e-5)
    assert {name: gradient.shape for name, gradient in gradients.items()} == {"w1": w1.shape, "w2": w2.shape}
    noisy = [float(scope["cost"]({"w1": w1, "w2": w2}, x, jax.random.key(seed))[0]) for seed in (0, 0, 1)]
    assert noisy[0] == noisy[1] != noisy[2]
    ran([program])


@pytest.mark.framework("torch")
@pytest.mark.framework("regkit_torch")
def test_the_readmes_program_for_pytorch_trains_a_model_that_predicts_without_dropout():
    program = program_with("regkit_torch")
    scope: dict = {}
    exec(program.text, scope)
    model, x = scope["model"].eval(), scope["x"]
    assert float(scope["loss"].detach()) < float((x**2).sum(axis=1).mean())
    assert (model(x) == model(x)).all()
    ran([program])


def test_every_program_of_the_integrators_page_runs_in_its_order(run):
    scope = run(*programs("docs/integrators.md"))
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


@pytest.mark.framework("pymc")
def test_the_fragment_of_the_integrators_page_that_is_for_pymc_adds_what_it_says():
    import pymc as pm
    import pytensor.tensor as pt
    import regkit_pymc

    (fragment,) = (block for block in blocks("docs/integrators.md", "py") if "pm.Model()" in block.text)
    x = np.random.default_rng(0).normal(size=(3, 2))
    scope = {"pm": pm, "pt": pt, "regkit_pymc": regkit_pymc, "x": x}
    with pm.Model() as model:
        exec(fragment.text.replace("pm.Model()", "model"), {**scope, "model": model})
    w1 = np.arange(8.0).reshape(2, 4) / 10
    added = model.compile_logp(sum=True)({"w1": w1})
    assert added == pytest.approx(-0.1 * (1 / (1 + np.exp(-x @ w1))).sum() - 0.2 * (w1**2).sum())
    ran([fragment])
