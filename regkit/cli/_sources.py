"""What the source of a plugin tells, read and parsed without importing it."""

from __future__ import annotations

import ast
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec

from .._messages import first_sentence

#: How many modules are read for one class: its entry point's, one that this imports it from, and so on.
HOPS = 4


def problem_without_import(target: str, kind: str = "Class") -> str:
    """Return what is wrong with an entry point as far as its source tells; an empty string if nothing is to be seen.

    Looks for the module, reads it, and looks for what it imports at its top and for the name of the class, or of what
    else is of the kind. What goes wrong only while it runs is not seen.
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
        return f"{module} defines no {attribute!r}"
    return ""


def sentence_without_import(target: str) -> str:
    """Return the first sentence of the docstring of an entry point's class or function; an empty string without one.

    Where the module imports it, as from a module of its own package, the other module is read.
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
    """From where a module imports a name: how many packages up, the module there, the name there."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return node.level, node.module or "", alias.name
    return None


def _parsed(spec: ModuleSpec) -> ast.Module | None:
    """The source of a module; None where there is nothing to read, as of an extension module."""
    read = getattr(spec.loader, "get_data", None)  # which folders and zip files have
    if read is None or not spec.origin or not spec.origin.endswith(".py"):
        return None
    source: bytes = read(spec.origin)
    return ast.parse(source)


def is_there(module: str) -> bool:
    """Tell whether a module could be imported, without importing it."""
    try:
        return find_spec(module) is not None
    except ValueError:  # it is imported and does not say from where, as `__main__` of a script
        return True
    except ImportError:  # a finder of somebody else's
        return False


def _find(module: str) -> ModuleSpec | None:
    """Find a module without importing the packages it is in."""
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
    """The packages that a module imports whatever happens: in its top-level statements."""
    names = []
    for node in tree.body:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.append(node.module)
    return [name.partition(".")[0] for name in names]


def _bound(tree: ast.Module) -> set[str]:
    """The names that a module may bind, also within its top-level ifs and trys."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names
