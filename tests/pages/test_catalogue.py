"""docs/catalogue.md is what its program makes of the classes, and what it says of numbers is so."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest

import regkit

pytest.importorskip("regkit.cli._equations", reason="the command line is not installed")

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def catalogue():
    spec = importlib.util.spec_from_file_location("make_catalogue", DOCS / "make_catalogue.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_its_program_writes(catalogue):
    page = (DOCS / "catalogue.md").read_text(encoding="utf-8")
    assert page == catalogue.page(page.partition(catalogue.MARK)[0])


def test_every_alias_that_the_page_speaks_of_is_installed():
    by_hand = (DOCS / "catalogue.md").read_text(encoding="utf-8").partition("<!--")[0]
    taken = re.findall(r"^\|[^|]*\|([^|]*)\|", by_hand, re.M)
    assert {name for cell in taken for name in re.findall("`([a-z0-9]+_[a-z0-9_]+)`", cell)} <= set(regkit.available())


def test_every_alias_of_the_extra_plugins_has_a_place_on_the_page():
    extra = re.search(r"^plugins = \[(.*?)\]", (DOCS.parent / "pyproject.toml").read_text(), re.M | re.S)[1]
    ours = set(re.findall(r'"(regkit-[a-z0-9-]+)', extra))
    aliases = {alias for alias, claims in regkit.available().items() if {claim.distribution for claim in claims} & ours}
    headings = re.findall("^### (.*)$", (DOCS / "catalogue.md").read_text(encoding="utf-8"), re.M)
    assert {alias for heading in headings for alias in re.findall("`(.*?)`", heading)} == aliases


def test_every_picture_of_a_card_is_there_and_has_a_card():
    shown = re.findall(r"\(cards/(.*?\.png)\)", (DOCS / "catalogue.md").read_text(encoding="utf-8"))
    assert set(shown) == {path.name for path in (DOCS / "cards").glob("*.png")}
    assert {(DOCS / "cards" / name).read_bytes()[:8] for name in shown} == {b"\x89PNG\r\n\x1a\n"}


@pytest.mark.framework("torch")
@pytest.mark.framework("regkit_torch")
@pytest.mark.framework("sklearn")
def test_the_numbers_of_the_cards_come_out_again(catalogue):
    stated = json.loads(catalogue.NUMBERS.read_text(encoding="utf-8"))
    assert set(stated) == {"relu", "sigmoid", "rnn", *catalogue.TRIED}
    again = {name: catalogue.numbers(name) for name in ("relu", "hidden_l1", "hidden_topk", "weight_l1", "group_lasso")}
    for name, numbers in again.items():
        assert numbers == pytest.approx(stated[name], abs=0.005), name


def test_the_weight_that_stands_for_a_decay_elsewhere_is_half_of_it_for_each_matrix():
    decay, matrices = 0.1, {"a.w": np.array([[1.0, 2.0]]), "b.w": np.array([[3.0], [4.0]])}
    halved = decay / 2 * (1 + 4 + 9 + 16)
    weight = len(matrices) * decay / 2
    assert regkit.build(weight_decay=weight).loss([regkit.Layer("h", matrices)], {}) == pytest.approx(halved)


@pytest.mark.parametrize(("alias", "changed"), [("dropout", "in hid out"), ("hidden_dropout", "hid")])
def test_dropout_without_a_pattern_changes_input_and_output_and_hidden_dropout_does_not(alias, changed):
    given = {name: np.ones((2, 50)) for name in ("in", "hid", "out")}
    outputs, layers = {}, [regkit.Layer(name) for name in given]
    regs = regkit.build({alias: 0.5})
    for name, z in given.items():
        of_layer = {name: z}
        regs.modify_graph(of_layer, layers)
        outputs[name] = of_layer[name]
    assert [name for name in given if (outputs[name] != given[name]).any()] == changed.split()
