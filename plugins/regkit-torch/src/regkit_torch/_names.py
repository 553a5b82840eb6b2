"""Names of outputs and parameters of a model."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.nn.utils.rnn import PackedSequence

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

#: torch.compile puts this into the paths of modules that it compiles.
COMPILED = "_orig_mod"

#: DistributedDataParallel and others put this before paths.
WRAPPED = "module"


def module_paths(model: torch.nn.Module) -> list[tuple[str, torch.nn.Module]]:
    """Return the modules of a model by their paths, without the prefixes of wrappers; each once."""
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
    """The path of the model within wrappers: a wrapper has one child, of one of two names, and no parameters."""
    parts: list[str] = []
    while True:
        children = dict(model.named_children())
        (name,) = children if len(children) == 1 else ("",)
        if name not in (COMPILED, WRAPPED) or model._parameters:
            return ".".join(parts)
        parts.append(name)
        model = children[name]


def params_of(path: str, module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return the parameters of a module by their full names, without its children's."""
    prefix = f"{path}." if path else ""
    return {f"{prefix}{name}": param for name, param in module._parameters.items() if param is not None}


def named_outputs(path: str, output: Any) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a module's output by names: ``lstm:0``, ``lstm:1:0``; a tensor by the module's path.

    The part that is a packed sequence, as of an LSTM, is its data.
    """
    if isinstance(output, PackedSequence):
        output = output.data
    parts = parts_of(output)
    if parts is None:
        yield path, output
    else:
        for key, part in parts:
            if part is not None:
                yield from named_outputs(f"{path}:{key}", part)


def with_outputs(path: str, output: Any, changed: Mapping[str, Any]) -> Any:
    """Return the output of a module with the parts that have a new value by their names."""
    if isinstance(output, PackedSequence):
        data = changed.get(path, output.data)
        return output if data is output.data else output._replace(data=data)
    parts = parts_of(output)
    if parts is None:
        return changed.get(path, output)
    values = [(key, with_outputs(f"{path}:{key}", part, changed)) for key, part in parts]
    if all(value is part for (_, value), (_, part) in zip(values, parts)):
        return output
    copied: Any
    if isinstance(output, Mapping):
        copied = copy.copy(output)
        for key, value in values:
            copied[key] = value  # a mapping that modules return is a dict
        return copied
    if dataclasses.is_dataclass(output):
        copied = copy.copy(output)
        for key, value in values:
            object.__setattr__(copied, key, value)  # also of a frozen one
        return copied
    plain = [value for _, value in values]
    return type(output)(*plain) if hasattr(output, "_fields") else type(output)(plain)


def parts_of(output: Any) -> list[tuple[Any, Any]] | None:
    """Return the parts of an output that is a tuple, a list, a mapping or a dataclass, with their keys."""
    if isinstance(output, Mapping):
        return list(output.items())
    if isinstance(output, (tuple, list)):
        return list(enumerate(output))
    if dataclasses.is_dataclass(output) and not isinstance(output, type):
        return [(field.name, getattr(output, field.name)) for field in dataclasses.fields(output)]
    return None


def table_of_modules(found: Iterable[tuple[str, torch.nn.Module]]) -> str:
    """Return the paths of modules with their classes, a line for each."""
    rows = [(path, type(module).__name__) for path, module in found if path]
    width = max((len(path) for path, _ in rows), default=0)
    return "\n".join(f"  {path.ljust(width)}  {cls}" for path, cls in rows) or "  no modules"


# The table of names


class Named(NamedTuple):
    """An output or a parameter of a model.

    Attributes
    ----------
    name : str
        The name that patterns match.
    kind : {"output", "parameter"}
    cls : str
        The class of the module that it is of.
    shape : tuple of int
    zeros : float
        The share of elements that are zero.
    pattern : str
        A glob for it and for those at the same place in the repeated parts of the model.
    """

    name: str
    kind: str
    cls: str
    shape: tuple[int, ...]
    zeros: float
    pattern: str


class Table(list[Named]):
    """Rows of `Named`, written as a table."""

    def __str__(self) -> str:
        head = ("name", "kind", "class", "shape", "zeros", "pattern")
        rows = [
            head,
            *((*row[:3], "x".join(map(str, row.shape)) or "()", f"{row.zeros:.2f}", row.pattern) for row in self),
        ]
        widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
        return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)

    __repr__ = __str__


def names(model: torch.nn.Module, *inputs: Any, **keywords: Any) -> Table:
    """Run a model once, and return its outputs and parameters by the names that patterns match.

    Parameters
    ----------
    model : torch.nn.Module
        It runs in eval mode, without gradients.
    *inputs, **keywords
        The arguments that it is called with.

    Returns
    -------
    list of Named
        Rows with ``name``, ``kind``, ``cls``, ``shape``, ``zeros`` and ``pattern``, printed as a table. The pattern
        selects the same part of all blocks: it is the name with ``*`` for numbers, if that matches outputs, or
        parameters, of modules of only one class. For a vector it is the name, since globs of weights leave vectors out.
        Outputs of modules that did not run have no rows.

    Examples
    --------
    >>> import regkit_torch, torch
    >>> blocks = (torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.ReLU()) for _ in range(2))
    >>> model = torch.nn.Sequential(*blocks)
    >>> for parameter in model.parameters():
    ...     _ = torch.nn.init.eye_(parameter)
    >>> regkit_torch.names(model, torch.tensor([[1.0, -1.0]]))
    name        kind       class       shape  zeros  pattern
    0.0         output     Linear      1x2    0.00   *.0
    0.1         output     ReLU        1x2    0.50   *.1
    0           output     Sequential  1x2    0.50   0
    1.0         output     Linear      1x2    0.50   *.0
    1.1         output     ReLU        1x2    0.50   *.1
    1           output     Sequential  1x2    0.50   1
    0.0.weight  parameter  Linear      2x2    0.50   *.*.weight
    1.0.weight  parameter  Linear      2x2    0.50   *.*.weight
    """
    found: list[tuple[str, str, str, torch.Tensor]] = []

    def seen(path: str) -> Any:
        def hook(module: torch.nn.Module, _: Any, output: Any) -> None:
            for name, part in named_outputs(path, output):
                if isinstance(part, torch.Tensor) and part.is_floating_point():
                    found.append((name, "output", type(module).__name__, part))

        return hook

    every = module_paths(model)
    first = dict(reversed(every))  # a compiled module has the path of its wrapper
    trained = [module for _, module in every if module.training]
    handles = [module.register_forward_hook(seen(path)) for path, module in first.items() if path]
    try:
        model.eval()
        with torch.no_grad():
            model(*inputs, **keywords)
    finally:
        for handle in handles:
            handle.remove()
        for module in trained:
            module.training = True
    for path, module in every:
        weights = params_of(path, module).items()
        found += [(name, "parameter", type(module).__name__, param) for name, param in weights]
    return Table(
        Named(
            name,
            kind,
            cls,
            tuple(tensor.shape),
            _zeros(tensor),
            name if kind == "parameter" and tensor.dim() < 2 else pattern_of(name, kind, cls, found),
        )
        for name, kind, cls, tensor in {(row[0], row[1]): row for row in found}.values()
    )


def _zeros(tensor: torch.Tensor) -> float:
    return float((tensor == 0).double().mean()) if tensor.numel() else 0.0


def pattern_of(name: str, kind: str, cls: str, found: Iterable[Sequence[Any]]) -> str:
    """Return a glob for a name and for those that differ in numbers: with ``*`` if it matches no other class.

    `found` has the name, the kind and the class of each output and parameter.
    """
    path, _, rest = name.partition(":")
    parts = path.split(".")
    last = len(parts) - 1 if kind == "output" else len(parts)
    glob = ".".join("*" if part.isdigit() and i < last else part for i, part in enumerate(parts))
    glob += f":{rest}" if rest else ""
    classes = {row[2] for row in found if row[1] == kind and fnmatchcase(row[0], glob)}
    return glob if classes == {cls} else name
