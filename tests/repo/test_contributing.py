"""CONTRIBUTING.md: what it adds as examples does what it says."""

from __future__ import annotations

import importlib
import re
import sys
import textwrap

from blocks import ROOT
from regkit.testing import CHECKS
from regkit.testing import _penalty_checks as of_penalties
from regkit.testing._run import Conformance
from regkit.testing._subject import Subject

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # which pytest brings

PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def examples(kind):
    """The blocks of a kind within the steps."""
    found = re.findall(rf"^   ```{kind}\n(.*?)^   ```$", PAGE, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(block) for block in found]


def test_the_check_that_the_page_adds_is_the_only_one_that_catches_its_wrong_regularizer(installed, monkeypatch):
    installed("wrong_regularizers")
    check, wrong = examples("py")
    before = dict(CHECKS)
    try:
        exec(check, dict(vars(of_penalties)))
        (added,) = CHECKS.keys() - before.keys()
        scope = dict(vars(importlib.import_module("acme_wrong")))
        exec(wrong, scope)
        (cls,) = (one for one, name in scope["WRONG"].items() if name == added)
        outcomes = list(Conformance(Subject(cls, aliases=()), libraries=[]).outcomes())
    finally:
        CHECKS.clear()
        CHECKS.update(before)
    failed = [outcome for outcome in outcomes if outcome.status == "failed" and outcome.where == "numpy"]
    assert [outcome.check for outcome in failed] == [added]
    assert re.match(r"the penalty is -\d+.*; expected at least 0$", failed[0].reason)


def test_the_lane_that_the_page_adds_has_fields_that_lanes_have():
    (row,) = tomllib.loads(examples("toml")[0])["lane"]
    rows = (ROOT / "lanes.toml").read_text(encoding="utf-8")
    assert row.keys() <= set(re.findall(r"^#   ([a-z_]+) ", rows, re.MULTILINE))
    assert row["name"] not in {lane["name"] for lane in tomllib.loads(rows)["lane"]}
    assert row["name"] in PAGE.partition("2. Run it")[2]


def test_the_page_counts_the_wrong_regularizers_that_there_are_and_the_added_one():
    wrong = (ROOT / "tests/installed/wrong_regularizers/acme_wrong.py").read_text(encoding="utf-8")
    count = len(re.findall(r"^@wrong\(", wrong, re.MULTILINE)) + 1
    counted = f"{count} of {count} wrong regularizers caught, {count} of them first by the check meant for them"
    assert counted in " ".join(PAGE.split())
