"""What pages state of numbers is so: sums in comments, tables of programs, figures that two pages have."""

from __future__ import annotations

import doctest
import re
import runpy
from pathlib import Path

import pytest

from blocks import ROOT, all_blocks

#: A comment that is a sum, such as ``# 0.03 * (1 + 3) / 2``.
SUM = re.compile(r"# ([-+*/(). \d]*\d [-+*/] [-+*/(). \d]*)(?= → |\n|\Z)")
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def sums(text: str) -> list[tuple[str, str]]:
    """The sums in comments of a block, with what is printed there."""
    if text.startswith(">>> "):
        examples = doctest.DocTestParser().get_examples(text)
        return [(found[1], one.want) for one in examples for found in SUM.finditer(one.source)]
    return [(found[1], text[found.end() :].partition("\n")[0]) for found in SUM.finditer(text)]


def agrees(written: str, printed: str) -> bool:
    """Whether a sum comes to one of the numbers that are printed, as far as their digits go."""
    value = eval(written)  # digits and signs
    return any(abs(float(one) - value) <= 0.5001 * 10 ** -len(one.partition(".")[2]) for one in NUMBER.findall(printed))


def test_sums_in_comments_come_to_what_is_printed():
    found = [(str(block), *one) for block in all_blocks() if block.kind == "python" for one in sums(block.text)]
    assert [one for one in found if not agrees(*one[1:])] == []
    assert len(found) > 2


def test_a_sum_that_comes_to_something_else_is_found():
    assert sums(">>> print(f(x))  # 0.5 * (1 + 3) / 2\n1.0\n") == [("0.5 * (1 + 3) / 2", "1.0\n")]
    assert agrees("0.5 * (1 + 3) / 2", "1.0\n")
    assert not agrees("0.5 * (1 + 3) / 2", "1.1\n")


def rows(page: str, heading: str) -> list[list[str]]:
    """The rows of the first table below a heading, without the first one."""
    text = (ROOT / page).read_text(encoding="utf-8").partition(f"\n{heading}\n")[2]
    table = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)[0]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]


@pytest.mark.parametrize("page", ["docs/torch.md", "docs/jax.md"])
def test_ratios_that_a_page_repeats_are_those_of_the_page_on_performance(page):
    section = (ROOT / page).read_text(encoding="utf-8").partition("## What it costs\n")[2].partition("\n## ")[0]
    measured = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    repeated = re.findall(r"\b\d\.\d\d\b", section)
    assert len(repeated) > 2
    assert [ratio for ratio in repeated if ratio not in re.findall(r"\b\d\.\d\d\b", measured)] == []


@pytest.mark.framework("sklearn")
def test_the_table_of_exact_zeros_is_what_its_program_prints(monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT / "examples")
    names = runpy.run_path(str(Path(ROOT, "examples", "exact_zeros.py")))
    scope = names["compare_digits"].__globals__
    monkeypatch.setitem(scope, "libraries", lambda: {"numpy": names["in_numpy"]})  # the program compares the others
    names["compare_digits"]()
    printed = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    stated = rows("docs/examples.md", "## Pixels that a network does without")
    assert [[weight, zeros, right] for weight, _, zeros, right, _ in printed] == stated
