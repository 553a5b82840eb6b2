"""Every promise of every regularizer of ours, on JAX: what the plugins' own tests ask of graph libraries."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import regkit
import regkit.testing

PLUGINS = Path(__file__).parents[2]
HOSTS = {"regkit-theanets"}  # whose aliases are theanets' and come with theano-pymc


def asked_for(path: Path) -> list[tuple[Any, dict[str, Any]]]:
    """What a module of tests gives to `pytest_checks`: options, NumPy twins, networks, what is expected to fail."""
    calls = []
    usual = regkit.testing.pytest_checks
    regkit.testing.pytest_checks = lambda regularizer, **given: calls.append((regularizer, given))
    try:
        spec = importlib.util.spec_from_file_location(f"promises_of_{path.stem}", path)
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    finally:
        regkit.testing.pytest_checks = usual
    return calls


MODULES = [path for path in sorted(PLUGINS.glob("regkit-*/tests/test_*.py")) if "pytest_checks(" in path.read_text()]
TRIED = [one for path in MODULES if path != Path(__file__) and path.parts[-3] not in HOSTS for one in asked_for(path)]

for number, (regularizer, given) in enumerate(TRIED):
    name = regularizer if isinstance(regularizer, str) else regularizer.__name__
    of_jax = regkit.testing.pytest_checks(regularizer, **{**given, "libraries": ["jax"]})
    globals()[f"test_promises_{number}_of_{name}"] = of_jax


def test_every_regularizer_that_is_installed_is_tried():
    tried = {regkit.load(one) if isinstance(one, str) else one for one, _ in TRIED}
    assert {regkit.load(alias) for alias in regkit.available()} == tried
