"""A model's modules and parameters by their names, and what a set looks at in a model of that form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .naming import module_paths, params_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from .members import Members


#: Of a model, the modules that each of its modules has, and the names of all parameters.
Contents = tuple[list[dict[str, Any]], list[str]]


def form_of(model: torch.nn.Module) -> tuple[list[torch.nn.Module], dict[int, int], list[Any], Contents]:
    """Return a model's modules, each once, their places by ids, their form, and their contents.

    The form is all names, and what is shared: two models of one form have modules of the same paths in the same places.
    A watch for each step looks at it anew each time, so this does not go through ``named_modules``, which takes several
    times as long.
    """
    modules = [model]
    places = {id(model): 0}
    form: list[Any] = []
    contents: Contents = ([], [])
    for module in modules:  # which grows
        children, params = module._modules, module._parameters
        contents[0].append(children.copy() if children else _NONE)
        if not children and not params:
            form.append(None)
            continue
        row: list[Any] = [name for name, param in params.items() if param is not None]
        contents[1].extend(row)
        for name, child in children.items():
            if child is not None:
                place = places.setdefault(id(child), len(modules))
                if place == len(modules):
                    modules.append(child)
                row.append((name, place))
        form.append(row)
    return modules, places, form, contents


_NONE: dict[str, Any] = {}


def have_contents(modules: list[torch.nn.Module], contents: Contents) -> bool:
    """Tell whether modules still have the modules and the names of parameters that they had.

    Each loss of a watch asks that; it takes a third of the time of `form_of`.
    """
    children, names = contents
    return [one._modules for one in modules] == children and names == [
        name for one in modules for name, param in one._parameters.items() if param is not None
    ]


class Layout:
    """What a set looks at in a model of a form.

    Attributes
    ----------
    paths : list of str
        Of all modules but the model itself.
    watched : list of (str, int)
        The paths of modules that a member may look at, and their places in the list of `form_of`.
    layers : list of (str, str, list of str)
        Of each module, the name and the role of its layer, and the names of the parameters that it has itself.
    params : dict of str to (int, str)
        By their full names, the module that has them and what it calls them.
    looks : object
        What of the members all this depends on.
    unmatched : list of (str, str)
        Members with globs that match nothing of these, so that only a tap can.
    """

    def __init__(self, model: torch.nn.Module, places: Mapping[int, int], members: Members) -> None:
        found = module_paths(model)
        self.looks = members.looks
        self.paths = [path for path, _ in found if path]
        members.check_patterns(self.paths, "Give it one, a glob for paths of modules")
        self.watched = [(path, places[id(module)]) for path, module in found if path and members.may_read(path)]
        self.layers: list[tuple[str, str | None, list[str]]] = [
            (path or "model", "hidden", list(params_of(path, module))) for path, module in found
        ]
        self.params = {
            name: (places[id(module)], name.rpartition(".")[2])
            for path, module in found
            for name in params_of(path, module)
        }
        self.unmatched = members.unmatched(self.paths, list(self.params))
