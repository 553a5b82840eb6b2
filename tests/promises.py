"""What the plugins' own tests ask of the conformance kit, to be asked of another engine."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import regkit
import regkit.testing

PLUGINS = Path(__file__).parents[1] / "plugins"
#: The distributions with regularizers that run on every engine.
STANDARD = ("activations", "contractive", "hidden-l1", "noise", "recurrent", "weights")


def asked_for(path: Path) -> list[tuple[Any, dict[str, Any]]]:
    """What a module of tests gives to `pytest_checks`: options, NumPy twins, networks, what is expected to fail."""
    calls: list[tuple[Any, dict[str, Any]]] = []
    usual = regkit.testing.pytest_checks
    regkit.testing.pytest_checks = lambda regularizer, **given: calls.append((regularizer, given))
    try:
        spec = importlib.util.spec_from_file_location(f"promises_of_{path.stem}", path)
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    finally:
        regkit.testing.pytest_checks = usual
    return calls


def every_call() -> list[tuple[Any, dict[str, Any]]]:
    """What the tests of all standard plugins give to `pytest_checks`."""
    files = [path for name in STANDARD for path in sorted((PLUGINS / f"regkit-{name}" / "tests").glob("test_*.py"))]
    return [call for path in files if "pytest_checks(" in path.read_text(encoding="utf-8") for call in asked_for(path)]


def checks_on(library: str) -> dict[str, Any]:
    """Tests by their names: every promise of every regularizer of ours, on a library; and that none is left out."""
    calls = every_call()
    tests = {}
    for number, (regularizer, given) in enumerate(calls):
        name = regularizer if isinstance(regularizer, str) else regularizer.__name__
        tests[f"test_promises_{number}_of_{name}"] = regkit.testing.pytest_checks(
            regularizer, **{**given, "libraries": [library]}
        )

    def none_is_left_out() -> None:
        tried = {regkit.load(one) if isinstance(one, str) else one for one, _ in calls}
        assert {regkit.load(alias) for alias in regkit.available()} == tried

    return {**tests, "test_every_regularizer_that_is_installed_is_tried": none_is_left_out}
