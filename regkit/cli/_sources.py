"""Reads and parses the source of a plugin, which is not imported."""

from __future__ import annotations

import ast
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec

from .._discovery.wording import shadowing
from .._messages import first_sentence

#: How many modules are read for one class: that of the entry point, the one from which this imports it, and so on.
HOPS = 4


def problem_without_import(target: str, kind: str = "Class") -> str:
    """Return why the object of an entry point cannot be imported; an empty string if its source shows no reason.

    There has to be a module that can be parsed, that defines the name, and whose imports at its top are installed.
    Errors that only running the module shows are not found. `kind` is the word for the object.
    """
    module, _, attribute = target.partition(":")
    if not module or not attribute:
        return f"{target!r} names no {kind.lower()}, which is written module:{kind}"
    spec = _find(module)
    if spec is None:
        return f"there is no module {module!r}"
    try:
        tree = _parsed(spec)
    except (OSError, SyntaxError, ValueError) as error:
        return f"{type(error).__name__} in {spec.origin}: {error}"
    if tree is None:
        return ""
    for name in _imported(tree):
        if not is_there(name):
            return f"{module} imports {name!r}, which is not installed"
    if attribute.partition(".")[0] not in _bound(tree) and not {"*", "__getattr__"} & _bound(tree):
        wrong_file = shadowing(module)
        return f"{module} defines no {attribute!r}{f'. {wrong_file}' if wrong_file else ''}"
    return ""


def file_without_import(target: str) -> str:
    """Return the file of an entry point's module; an empty string if there is none."""
    spec = _find(target.partition(":")[0])
    return (spec and spec.origin) or ""


def sentence_without_import(target: str) -> str:
    """Return the first sentence of the docstring of an entry point's class or function, or an empty string.

    If the module imports the class, the module that defines it is read.
    """
    module, _, name = target.partition(":")
    for _ in range(HOPS):
        spec = _find(module)
        try:
            tree = spec and _parsed(spec)
        except (OSError, SyntaxError, ValueError):
            return ""
        if not tree or spec is None:
            return ""
        for node in ast.walk(tree):
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == name:
                return first_sentence(ast.get_docstring(node))
        origin = _imported_from(tree, name)
        if origin is None:
            return ""
        level, source, name = origin
        if level:
            package = module if spec.submodule_search_locations is not None else module.rpartition(".")[0]
            parts = package.split(".")
            source = ".".join([*parts[: len(parts) - level + 1], *([source] if source else [])])
        module = source
    return ""


def _imported_from(tree: ast.Module, name: str) -> tuple[int, str, str] | None:
    """Return from where a module imports a name: the level of a relative import, the other module, the name there."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return node.level, node.module or "", alias.name
    return None


def _parsed(spec: ModuleSpec) -> ast.Module | None:
    """Return the syntax tree of a module; None if it has no source, as an extension module."""
    read = getattr(spec.loader, "get_data", None)  # loaders of folders and zip files have it
    if read is None or not spec.origin or not spec.origin.endswith(".py"):
        return None
    source: bytes = read(spec.origin)
    return ast.parse(source)


def is_there(module: str) -> bool:
    """Return whether a module is found, without importing it."""
    try:
        return find_spec(module) is not None
    except ValueError:  # it is imported and has no spec, as `__main__` of a script
        return True
    except ImportError:  # of a third party's finder
        return False


def _find(module: str) -> ModuleSpec | None:
    """Find a module without importing its packages."""
    top, *rest = module.split(".")
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        return None
    name = top
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        name = f"{name}.{part}"
        spec = PathFinder.find_spec(name, spec.submodule_search_locations)
    return spec


def _imported(tree: ast.Module) -> list[str]:
    """Return the packages that a module always imports: those of its top-level statements."""
    names = []
    for node in tree.body:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.append(node.module)
    return [name.partition(".")[0] for name in names]


def _bound(tree: ast.Module) -> set[str]:
    """Return the names that a module may bind, also within if and try."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names
