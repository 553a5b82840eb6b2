"""Options of regularizers, and whether they are what they were."""

from __future__ import annotations

from types import MemberDescriptorType
from typing import Any
from weakref import ref

import numpy as np
import torch


def equal(before: Any, now: Any) -> bool:
    """Tell whether what was kept of options is equal to what they are, or to what else was kept."""
    try:
        return bool(before == now)
    except (ValueError, RuntimeError):  # other arrays than NumPy's, of which one is another than before
        return False


def _slots(regularizer: Any) -> list[str]:
    """Names of attributes that are not in ``__dict__``."""
    every = (vars(one).items() for one in type(regularizer).__mro__)
    return [name for some in every for name, value in some if isinstance(value, MemberDescriptorType)]


def has_only_dict(regularizer: Any) -> bool:
    """Tell whether ``vars`` gives all attributes of a regularizer."""
    return hasattr(regularizer, "__dict__") and not _slots(regularizer)


def options_of(regularizer: Any) -> dict[str, Any]:
    """Return the attributes of a regularizer, also those that its class has slots for."""
    slots = {name: getattr(regularizer, name) for name in _slots(regularizer) if hasattr(regularizer, name)}
    return {**getattr(regularizer, "__dict__", {}), **slots}


def kept(value: Any) -> Any:
    """Return what stands for an option later: equal to it as long as nothing in it was set or changed in place."""
    if isinstance(value, dict):
        return {key: kept(one) for key, one in value.items()}
    if isinstance(value, list):
        return [kept(one) for one in value]
    if isinstance(value, tuple):
        return tuple([kept(one) for one in value])
    if isinstance(value, set):
        return set(value)
    if isinstance(value, np.ndarray):
        return _Array(value)
    if isinstance(value, torch.Tensor):
        return _Tensor(value)
    return _Module(value) if isinstance(value, torch.nn.Module) else value


class _Array:
    """A copy of an array of NumPy."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array.copy()

    def __eq__(self, other: Any) -> bool:
        array, other = self.array, other.array if isinstance(other, _Array) else other
        if not isinstance(other, np.ndarray) or array.dtype != other.dtype or array.shape != other.shape:
            return False
        return np.array_equal(array, other) or array.tobytes() == other.tobytes()  # NaN is in the same places

    __hash__ = None  # type: ignore[assignment]  # as lists have none


class _Tensor:
    """A tensor and its count of changes in place."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor
        self.version = _version(tensor)

    def __eq__(self, other: Any) -> bool:
        if isinstance(other, _Tensor):
            return self.tensor is other.tensor and self.version == other.version
        return self.tensor is other and self.version == _version(other)

    __hash__ = None  # type: ignore[assignment]


def _version(tensor: torch.Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


class _Module:
    """A module, which is not kept alive: plans belong to a model, and would keep it if they held it."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.module = ref(module)

    def __eq__(self, other: Any) -> bool:
        module = self.module()
        return module is not None and module is (other.module() if isinstance(other, _Module) else other)

    __hash__ = None  # type: ignore[assignment]
