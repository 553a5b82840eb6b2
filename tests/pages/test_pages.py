"""The pages: programs of the README and of the integrators' page, run as they stand, and what else they state.

Those for graph libraries are written for PyTensor. The others have the same names, so each lane runs them with its own.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

import regkit
from blocks import ROOT, Block, all_blocks, blocks, programs, ran

#: The section of the integrators' page whose programs need no graph library.
HOST = "a-host-of-your-own"


@pytest.fixture
def run(lib, monkeypatch):
    def run(*code: Block) -> dict:
        scope: dict = {"__name__": "page"}
        for block in code:
            replace(block, text=re.sub(r"\bpytensor\b", lib.name, block.text)).run(scope)
        ran(code)
        return scope

    # theano-pymc and Aesara keep the mode that they first compiled in
    monkeypatch.setattr(lib.module.compile.mode, "instantiated_default_mode", None, raising=False)
    monkeypatch.setattr(lib.module.config, "mode", "FAST_COMPILE")
    with lib.float_type("float64"):
        yield run


def program_with(name: str) -> Block:
    """The README's program that imports a module."""
    (program,) = (block for block in programs("README.md") if re.search(rf"^import .*\b{name}\b", block.text, re.M))
    return program


@pytest.mark.framework("torch")
@pytest.mark.framework("regkit_torch")
@pytest.mark.framework("sklearn")
def test_the_readmes_program_for_pytorch_prints_the_shares_that_stand_there():
    program = program_with("regkit_torch")
    program.run({})
    ran([program])


def test_the_readmes_program_for_a_graph_library_prints_the_penalty_that_stands_there(run):
    run(program_with("pytensor"))


def test_the_readmes_lines_to_install_are_among_those_of_the_page_that_lanes_follow():
    lines = {line.partition("#")[0].strip() for line in commands("docs/install.md")}
    assert lines >= {line.partition("#")[0].strip() for line in commands("README.md") if line.startswith("pip ")}
    ran(block for block in blocks("README.md", "sh") if "pip install" in block.text)


def test_lines_to_install_stand_on_one_page_and_in_the_tutorial():
    pages = {block.page for block in all_blocks() if "plugins/standard.txt" in block.text}
    assert pages == {"README.md", "docs/install.md", "docs/tutorial.md"}


def commands(page: str) -> list[str]:
    """The shell commands of a page."""
    return [line for block in blocks(page, "sh") for line in block.text.splitlines()]


def test_the_first_screen_of_the_readme_is_45_lines_and_its_links_are_words():
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    assert page.partition("\n\n## ")[0].count("\n") < 45
    assert re.findall(r"\[[^\]]*[./][^\]]*\]\(", page) == []


def test_a_program_that_prints_something_else_than_its_comment_states_is_found():
    program = Block("page.md", 1, "python", "", "", "for i in range(2):\n    print(i / 2)  # 0 / 2 → 0.0 → 0.5\n")
    program.run({})
    with pytest.raises(AssertionError, match=r"page.md block 1 .* prints .*0\.5.* and states .*0\.6"):
        replace(program, text=program.text.replace("0.5", "0.6")).run({})


def test_every_program_of_the_integrators_page_runs_in_its_order(run):
    scope = run(*(block for block in programs("docs/integrators.md") if block.section != HOST))
    data = scope["data"]
    assert scope["predict"](data).shape == data.shape
    assert scope["step"](data) != scope["step"](data)


@pytest.fixture
def host():
    """The names of the integrators' page that its host has."""
    scope: dict = {}
    code = [block for block in programs("docs/integrators.md") if block.section == HOST]
    for block in code:
        block.run(scope)
    ran(code)
    return scope


def test_the_host_of_the_integrators_page_adds_penalties_and_leaves_the_network_as_it_was(host):
    net, x = host["net"], np.array([[1.0, 2.0], [3.0, 4.0]])
    with host["watch"](net, regkit.build(hidden_l1=dict(weight=1, pattern="hid1"))) as run:
        first = net(x)
        assert run.loss() == 5 + 11
        net(x[:1])
        net(x[1:])
        assert run.loss() == (5 + 11) / 2
    assert net.pass_through is None
    np.testing.assert_array_equal(net(x), first)


@pytest.mark.parametrize("train", [True, False])
def test_the_host_of_the_integrators_page_has_dropout_in_training_alone(host, train):
    net, x = host["net"], np.ones((100, 2))
    regs = regkit.build(dropout=dict(weight=0.5, pattern="hid1"), weight_l2=1)
    with host["watch"](net, regs, train=train) as run:
        assert len(np.unique(net(x))) == (2 if train else 1)
        assert run.loss() == 8


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        (
            dict(hidden_l1=1),
            regkit.OptionError,
            "hidden_l1: HiddenL1 needs a pattern. A network does not define which ",
        ),
        (
            dict(hidden_l1=dict(weight=1, pattern=["hid1", "hid2"])),
            regkit.NoMatchError,
            "hidden_l1: pattern 'hid2' matches none of the layers: hid1, out; and none of the parameters: w1, w2",
        ),
        (
            dict(weight_l2=dict(weight=1, pattern="w3")),
            regkit.NoMatchError,
            "weight_l2: pattern 'w3' matches none of the layers: hid1, out; and none of the parameters: w1, w2",
        ),
        (
            dict(weight_nonnegative=1),
            regkit.GraphError,
            "weight_nonnegative acts on parameters after an optimizer's step, and this host does not see the optimizer",
        ),
    ],
)
def test_the_host_of_the_integrators_page_refuses_what_it_cannot_do(host, options, error, words):
    with pytest.raises(error, match=re.escape(words)), host["watch"](host["net"], regkit.build(options)):
        pass


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
