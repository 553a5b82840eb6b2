"""The state of every alias: ok, in conflict, or broken and why. Told without importing plugins, or by doing so."""

from __future__ import annotations

import ast
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from typing import NamedTuple

from ..discovery import class_of, installed, registered
from ..discovery.claims import Claim
from ..errors import RegkitError
from ..registry import available
from .terminal import plugins_print_elsewhere

#: The states in which something is wrong.
WRONG = ("conflict", "broken")


class State(NamedTuple):
    """One claim of an alias and what is wrong with it."""

    alias: str | None  # None where the metadata could not be read
    claim: Claim | None
    places: list[str]
    state: str  # ok, registered here, hidden by what is registered here, conflict, broken
    why: str

    @property
    def whose(self) -> str:
        """Name and version of the distribution."""
        return "" if self.claim is None or self.claim.distribution is None else " ".join(map(str, self.claim[:2]))


def states(importing: bool) -> list[State]:
    """Return the state of each claim of each alias, then what could not be read at all."""
    problems = {alias: _problem(alias) for alias in available()} if importing else {}
    found = []
    for alias, claims in available().items():  # which may be others by now: plugins may register classes
        conflict = len({claim.target for claim in claims}) > 1
        for claim in claims:
            why = ""
            if alias in registered:
                state = "registered here" if claim.distribution is None else "hidden"
            elif conflict:
                state, why = "conflict", _problem(alias)  # known without importing any of them
            else:
                why = problems.get(alias, "") if importing else problem_without_import(claim.target)
                state = "broken" if why else "ok"
            found.append(State(alias, claim, installed().places(claim, alias), state, why))
    return found + [State(None, None, [], "broken", problem) for problem in installed().problems]


def _problem(alias: str) -> str:
    """What regkit says of an alias when it is asked for."""
    try:
        with plugins_print_elsewhere():
            class_of(alias)
    except RegkitError as error:
        return str(error)
    return ""


def problem_without_import(target: str) -> str:
    """Return what is wrong with an entry point as far as its source tells; an empty string if nothing is to be seen.

    Looks for the module, reads it, and looks for what it imports at its top and for the name of the class. What goes
    wrong only while it runs is not seen.
    """
    module, _, attribute = target.partition(":")
    if not module or not attribute:
        return f"{target!r} names no class, which is written module:Class"
    spec = _find(module)
    if spec is None:
        return f"there is no module {module!r}"
    read = getattr(spec.loader, "get_data", None)  # which folders and zip files have
    if read is None or not spec.origin or not spec.origin.endswith(".py"):
        return ""  # an extension module, for example: nothing to read
    try:
        tree = ast.parse(read(spec.origin))
    except (OSError, SyntaxError, ValueError) as error:
        return f"{type(error).__name__} in {spec.origin}: {error}"
    for name in _imported(tree):
        if not is_there(name):
            return f"{module} imports {name!r}, which is not installed"
    if attribute.partition(".")[0] not in _bound(tree) and not {"*", "__getattr__"} & _bound(tree):
        return f"{module} defines no {attribute!r}"
    return ""


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
