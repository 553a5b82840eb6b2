"""The table of docs/steps.md is what its program prints."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_table_of_the_page_is_what_the_program_prints(capsys):
    runpy.run_path(str(ROOT / "examples" / "penalty_or_step.py"), run_name="__main__")
    printed = capsys.readouterr().out
    section = (ROOT / "docs" / "steps.md").read_text(encoding="utf-8").partition("## What each does")[2]
    section = section.partition("\n## ")[0]
    assert "".join(re.findall(r"^\|.*\n", section, re.M)) == printed
    assert printed.count("3 of 3, exact") == 3
