"""Dtypes under NumPy's names, and what NumPy's arrays and tensors are as each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import regkit


def name_of(dtype: torch.dtype) -> str:
    """Return NumPy's name of a dtype of torch."""
    return str(dtype).partition(".")[2]


def torch_dtype(dtype: Any) -> torch.dtype:
    """Return the dtype of torch for a name, or for one of NumPy's or of torch's own."""
    if isinstance(dtype, torch.dtype):
        return dtype
    name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype):
        raise regkit.GraphError(f"torch has no dtype {name!r}")
    return found


def tensor_of(array: Any) -> torch.Tensor:
    """Return a tensor with a copy of an array's elements, those of bfloat16 too."""
    if str(array.dtype) == "bfloat16":
        return torch.tensor(np.asarray(array, "float32")).to(torch.bfloat16)
    return torch.tensor(np.asarray(array))


def numpy_of(tensor: Any) -> Any:
    """Return the elements of a tensor as an array; bfloat16, which NumPy does not know, as float32."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
