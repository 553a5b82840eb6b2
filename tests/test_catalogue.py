"""The page of all aliases says what there is."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

import regkit

PAGE = Path(__file__).parents[1] / "docs" / "catalogue.md"
ROWS = [
    re.split(r"(?<!\\)\|", line)[1:-1] for line in PAGE.read_text(encoding="utf-8").splitlines() if line[:3] == "| `"
]
LISTED = {alias: row for row in ROWS for alias in re.findall(r"`(\w+)`", row[0])}


def installed():
    claims = regkit.available().items()
    return [alias for alias, (claim, *_) in claims if claim.distribution.startswith("regkit-")]


def test_every_alias_is_on_the_page_once():
    assert Counter(alias for row in ROWS for alias in re.findall(r"`(\w+)`", row[0])) == Counter(installed())


def test_aliases_share_a_row_if_they_share_a_penalty():
    rows = {}
    for alias in installed():
        (claim,) = regkit.available()[alias]
        rows.setdefault(claim.target, set()).add(LISTED[alias][0])
    assert all(len(shared) == 1 for shared in rows.values())


@pytest.mark.parametrize("alias", sorted(LISTED))
def test_the_reductions_of_the_page_are_those_that_are_accepted(alias):
    accepted = []
    for reduction in ("sum", "mean", "batch"):
        try:
            regkit.build({alias: {"weight": 0.1, "reduction": reduction}})
        except regkit.OptionError:
            continue
        accepted.append(reduction)
    assert LISTED[alias][3].strip() == (", ".join(accepted) or "none")


@pytest.mark.parametrize("alias", sorted(LISTED))
def test_the_source_on_the_page_is_a_reference_of_the_class(alias):
    references = regkit.load(alias).__doc__.partition("References\n")[2].partition("Examples\n")[0]
    for source in LISTED[alias][4].split(";"):
        author = re.match(r"\s*([\w-]+)", source).group(1)
        year = re.search(r"\d{4}", source)
        assert author in references
        assert year is None or year.group() in references
