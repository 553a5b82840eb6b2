"""The programs in tests/typing, which type checkers read: they use every public name, and do what they say."""

from __future__ import annotations

import ast
import runpy
from pathlib import Path

import pytest

import regkit
import regkit.testing

PROGRAMS = sorted((Path(__file__).parents[1] / "typing").glob("*.py"))


def used(module: str) -> set[str]:
    """The names of a module that the programs use, written as `regkit.graph.cast`."""
    nodes = [node for program in PROGRAMS for node in ast.walk(ast.parse(program.read_text(encoding="utf-8")))]
    attributes = [node for node in nodes if isinstance(node, ast.Attribute)]
    return {node.attr for node in attributes if ast.unparse(node.value) == module}


@pytest.mark.parametrize("module", [regkit, regkit.graph, regkit.testing], ids=lambda module: module.__name__)
def test_the_programs_for_type_checkers_use_every_public_name(module):
    missing = set(module.__all__) - used(module.__name__)
    assert missing == set(), f"use them in a program of tests/typing, as those who need them do: {sorted(missing)}"


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_the_programs_for_type_checkers_do_what_they_say(program):
    runpy.run_path(str(program), run_name="__main__")
