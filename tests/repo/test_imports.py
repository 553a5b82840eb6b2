"""Imports run one way, those inside functions too, and plugins import public modules of regkit alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = [ROOT / "regkit", *sorted(path for path in ROOT.glob("plugins/*/src/*") if (path / "__init__.py").exists())]
PUBLIC = {"regkit", "regkit.errors", "regkit.graph", "regkit.hosts", "regkit.schedules", "regkit.testing"}


def modules(package: Path) -> dict[str, Path]:
    found = {}
    for path in package.rglob("*.py"):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports of a module, but for those that only type checkers see."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from (found for other in node.orelse for found in imports(ast.Module([other], [])))
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        else:
            yield from imports(node)


def imported(name: str, path: Path) -> set[str]:
    """The names that a module imports, in full: of ``from a import b`` both ``a`` and ``a.b``."""
    found = set()
    for node in imports(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
            continue
        package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
        start = package[: len(package) - node.level + 1] if node.level else []
        module = ".".join([*start, *([node.module] if node.module else [])])
        found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return found


def edges(package: Path) -> dict[str, set[str]]:
    """Which modules of a package each of them imports. ``from . import b`` imports b, and not the package."""
    there = modules(package)
    found = {}
    for name, path in there.items():
        all_of_it = imported(name, path) & there.keys()
        found[name] = {one for one in all_of_it if one != name and not any(o.startswith(f"{one}.") for o in all_of_it)}
    return found


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The modules of a circle; none if there is no circle."""
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for other in sorted(graph[name]):
            found = walk(other, [*path, name])
            if found:
                return found
        done.add(name)
        return []

    return next(filter(None, (walk(name, []) for name in sorted(graph))), [])


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_imports_of_a_package_make_no_circle(package):
    assert circle(edges(package)) == []


def test_a_circle_is_found_also_where_it_goes_through_a_function(tmp_path):
    package = tmp_path / "acme"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "a.py").write_text("from . import b\n")
    (package / "b.py").write_text("def late():\n    from .c import name\n")
    (package / "c.py").write_text("import acme.a\n")
    assert circle(edges(package)) == ["acme.a", "acme.b", "acme.c", "acme.a"]
    (package / "c.py").write_text("if TYPE_CHECKING:\n    import acme.a\n")
    assert circle(edges(package)) == []


def dotted(node: ast.AST) -> str:
    """``regkit.graph.cast`` for that attribute; an empty string for what is no attribute of a name."""
    if isinstance(node, ast.Name):
        return node.id
    value = dotted(node.value) if isinstance(node, ast.Attribute) else ""
    return f"{value}.{node.attr}" if value else ""


@pytest.mark.parametrize("package", PACKAGES[1:], ids=lambda path: path.name)
def test_plugins_import_public_modules_of_regkit_and_no_private_name(package):
    wrong = {}
    for name, path in modules(package).items():
        ours = {one for one in imported(name, path) if one.partition(".")[0] == "regkit"}
        nested = {
            one for one in ours if one.rpartition(".")[0] in PUBLIC and not one.rpartition(".")[2].startswith("_")
        }
        tree = ast.parse(path.read_text(encoding="utf-8"))
        private = {
            name
            for name in map(dotted, ast.walk(tree))
            if name.startswith("regkit.") and "._" in name.replace(".__", "")
        }
        if ours - PUBLIC - nested or private:
            wrong[name] = sorted((ours - PUBLIC - nested) | private)
    assert wrong == {}


def test_private_modules_of_the_core_begin_with_an_underscore():
    public = {"regkit.cli", "regkit.errors", "regkit.graph", "regkit.hosts", "regkit.schedules", "regkit.testing"}
    names = modules(ROOT / "regkit").keys() - {"regkit", "regkit.__main__", "regkit._template"}
    assert {name for name in names if not any(part.startswith("_") for part in name.split("."))} == public
