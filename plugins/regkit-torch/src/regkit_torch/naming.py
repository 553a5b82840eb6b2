"""What outputs of modules and parameters are called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Before what it compiles, torch.compile puts this into paths.
COMPILED = "_orig_mod"

#: Before what it wraps, DistributedDataParallel and others put this.
WRAPPED = "module"


def module_paths(model: torch.nn.Module) -> list[tuple[str, torch.nn.Module]]:
    """Return the modules of a model by their paths, without what wrappers put before them; each once."""
    prefix = _wrapper(model)
    found = []
    for full, module in model.named_modules():
        if full == prefix or f"{full}.".startswith(f"{prefix}."):
            path = full[len(prefix) :].lstrip(".")
        elif not prefix or prefix.startswith(full):
            path = "" if prefix else full
        else:
            path = full
        found.append((".".join(part for part in path.split(".") if part != COMPILED), module))
    return found


def _wrapper(model: torch.nn.Module) -> str:
    """The path of what wrappers are around: a wrapper has one child, which is called so, and nothing of its own."""
    parts: list[str] = []
    while True:
        children = dict(model.named_children())
        (name,) = children if len(children) == 1 else ("",)
        if name not in (COMPILED, WRAPPED) or model._parameters:
            return ".".join(parts)
        parts.append(name)
        model = children[name]


def params_of(path: str, module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return the parameters that a module has itself by their full names."""
    prefix = f"{path}." if path else ""
    return {f"{prefix}{name}": param for name, param in module._parameters.items() if param is not None}


def named_outputs(path: str, output: Any) -> Iterator[tuple[str, Any]]:
    """Yield what a module gave by names: ``lstm:0``, ``lstm:1:0``; a tensor, or None in its place, by its path."""
    parts = _parts(output)
    if parts is None:
        yield path, output
    else:
        for key, part in parts:
            if part is not None:
                yield from named_outputs(f"{path}:{key}", part)


def with_outputs(path: str, output: Any, changed: Mapping[str, Any]) -> Any:
    """Return what a module gave with what has become of its outputs by their names."""
    parts = _parts(output)
    if parts is None:
        return changed.get(path, output)
    values = [(key, with_outputs(f"{path}:{key}", part, changed)) for key, part in parts]
    if all(value is part for (_, value), (_, part) in zip(values, parts)):
        return output
    if isinstance(output, Mapping):
        copied = type(output)(output)  # type: ignore[call-arg]  # as mappings are copied
        for key, value in values:
            copied[key] = value  # type: ignore[index]  # a mapping that modules give is a dict
        return copied
    plain = [value for _, value in values]
    return type(output)(*plain) if hasattr(output, "_fields") else type(output)(plain)


def _parts(output: Any) -> list[tuple[Any, Any]] | None:
    """The parts of an output that is a tuple, a list or a mapping, with their keys."""
    if isinstance(output, Mapping):
        return list(output.items())
    return list(enumerate(output)) if isinstance(output, (tuple, list)) else None
