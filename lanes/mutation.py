"""Changes files of the core in small ways, runs tests on each change, and names those that no test noticed.

    python lanes/mutation.py FILE... [--count 150] [--seed 0]

Places are drawn, and for each one of the changes that cosmic-ray knows. Those in lanes/survivors.toml are no failure.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import cache_from_source
from pathlib import Path
from typing import NamedTuple

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

sys.path.insert(0, str(Path(__file__).parent.parent))  # where the package of this file is
from lanes import HERE, STANDARD, tomllib

TESTS = (
    "tests/core",
    "tests/graph",
    "tests/conformance",
    "tests/cli",
    *(f"plugins/{path.name}/tests" for path in STANDARD),
)
PYTEST = (sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider")
TIMEOUT = 300  # seconds: a change that makes a loop endless is noticed too


class Change(NamedTuple):
    """One changed line of a file, and the whole text with it."""

    file: str
    line: int
    was: str
    now: str
    text: str


class _Evaluated(ast.NodeTransformer):
    """Code without annotations, which are not evaluated."""

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AnnAssign:
        node.annotation = ast.Constant(None)
        return node


def _evaluated(text: str) -> str:
    return ast.dump(_Evaluated().visit(ast.parse(text)))


def changes(file: str, draw: random.Random) -> Iterator[Change]:
    """Give one change for each place of a file where there are any, in the order of the places."""
    text = (HERE / file).read_text(encoding="utf-8")
    tree = get_ast(text)
    places: dict[tuple[int, int], list[tuple[str, int]]] = {}
    for name in operator_names():
        if not get_operator(name).arguments():
            found = (start for node in ast_nodes(tree) for start, _ in get_operator(name)().mutation_positions(node))
            for number, start in enumerate(found):
                places.setdefault(start, []).append((name, number))
    for (line, _), known in sorted(places.items()):
        name, number = draw.choice(known)
        changed = mutate_code(text, get_operator(name)(), number)
        try:
            differs = _evaluated(changed) != _evaluated(text)
        except SyntaxError:
            continue
        if differs:
            lines = list(difflib.ndiff(text.splitlines(), changed.splitlines()))
            was, now = (" ".join(one[2:].strip() for one in lines if one.startswith(sign)) for sign in "-+")
            yield Change(file, line, was, now, changed)


def copies(count: int, folder: Path) -> queue.Queue[Path]:
    """Make copies of what the tests need, each of which one process changes and tests at a time."""
    made: queue.Queue[Path] = queue.Queue()
    ignored = shutil.ignore_patterns(".*", "__pycache__", "_build", "dist", "output")
    for number in range(count):
        made.put(Path(shutil.copytree(HERE, folder / str(number), ignore=ignored)))
    return made


def failure(copy: Path) -> str:
    """What pytest prints if a test fails in a copy; empty if all pass, those that start processes last."""
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    for chosen in ("not slow and not subprocess", "not slow and subprocess"):
        command = [*PYTEST, "-m", chosen, *TESTS]
        try:
            done = subprocess.run(
                command, cwd=copy, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=TIMEOUT
            )
        except subprocess.TimeoutExpired:
            return f"no end within {TIMEOUT} s"
        if done.returncode:
            return done.stdout.decode()
    return ""


def survives(change: Change, idle: queue.Queue[Path]) -> bool:
    """Whether all tests pass in spite of a change."""
    copy = idle.get()
    file = copy / change.file
    before = file.read_text(encoding="utf-8")
    try:
        file.write_text(change.text, encoding="utf-8")
        Path(cache_from_source(str(file))).unlink(missing_ok=True)  # which is told by the second and the size
        return not failure(copy)
    finally:
        file.write_text(before, encoding="utf-8")
        Path(cache_from_source(str(file))).unlink(missing_ok=True)
        idle.put(copy)


def main() -> None:
    """Draw, try and report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--count", type=int, default=150, help="how many changes are tried")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    found = [change for file in options.files for change in changes(file, draw)]
    drawn = sorted(draw.sample(found, min(options.count, len(found))))
    explained = tomllib.loads((HERE / "lanes" / "survivors.toml").read_text(encoding="utf-8")).get("survivor", [])
    known = {(one["file"], one["was"], one["now"]) for one in explained}
    began, at_once = time.monotonic(), os.cpu_count() or 1
    print(f"{len(drawn)} of {len(found)} places in {len(options.files)} files, {at_once} at a time", flush=True)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(at_once) as pool:
        idle = copies(at_once, Path(folder))
        failures = "".join(pool.map(failure, list(idle.queue)))
        if failures:
            sys.exit(f"{failures}\nA test fails on the core as it is")
        left = []
        for number, (change, alive) in enumerate(zip(drawn, pool.map(lambda one: survives(one, idle), drawn)), 1):
            fate = "killed"
            if alive:
                fate = "explained" if (change.file, change.was, change.now) in known else "SURVIVES"
            print(f"{number:4} {fate:9} {change.file}:{change.line}: {change.was}  ->  {change.now}", flush=True)
            left += [change] * (fate == "SURVIVES")
    minutes = (time.monotonic() - began) / 60
    print(
        f"{len(left)} of {len(drawn)} changes survive, in {minutes:.0f} minutes. Write a test that fails for each, or"
    )
    print("explain in lanes/survivors.toml why it changes nothing that anybody can see.")
    sys.exit(bool(left))


if __name__ == "__main__":
    main()
