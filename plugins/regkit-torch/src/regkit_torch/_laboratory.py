"""torch as the conformance kit uses it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import regkit.testing

from ._arrays import Expression, Recording, numpy_of, tensor_of, torch_dtype
from ._functions import FUNCTIONS
from ._plans import Plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    Values = Mapping[str, np.ndarray]


class Laboratory(regkit.testing.Laboratory):
    """Tensors as they are; the default mode is the plan that a `regkit_torch.Run` would make."""

    name = "torch"
    tensor_module = FUNCTIONS

    @contextmanager
    def float_type(self, dtype: str) -> Iterator[None]:
        """Set torch's default dtype for a while."""
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch_dtype(dtype))
        try:
            yield
        finally:
            torch.set_default_dtype(before)

    def inputs(self, values: Values) -> dict[str, Any]:
        """Return an expression for each of several values, by its name, which can be differentiated by."""
        return {name: Expression(tensor) for name, tensor in _tensors(values).items()}

    def shared(self, value: Any) -> Any:
        """Return a tensor without axes, with ``set_value``."""
        tensor = torch.tensor(float(value), dtype=torch.float64)
        tensor.set_value = lambda number: tensor.fill_(float(number))
        return tensor

    def compiled(
        self,
        build: Callable[[dict[str, Any]], Any],
        like: Values,
        by: Sequence[str] = (),
        *,
        default_mode: bool = False,
    ) -> Callable[[Values], list[Any]]:
        """Return a function that builds anew for each of its calls, or that calls a plan."""
        compute = _planned(build, like) if default_mode else lambda tensors: _results(build, tensors)

        def function(values: Values) -> list[Any]:
            tensors = _tensors(values)
            results = list(compute(tensors))
            if by:
                results += _gradients(results[0], [tensors[name] for name in by])
            return [numpy_of(result) for result in results]

        return function

    def values(self, inputs: Mapping[str, Any], outputs: Any, values: Values) -> Any:
        """Return the values that outputs have."""
        if isinstance(outputs, (list, tuple)):
            return [numpy_of(output.value) for output in outputs]
        return numpy_of(outputs.value)


def _tensors(values: Values) -> dict[str, torch.Tensor]:
    return {name: tensor_of(value).requires_grad_("float" in str(value.dtype)) for name, value in values.items()}


def _results(build: Callable[[dict[str, Any]], Any], tensors: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    built = build({name: Expression(tensor) for name, tensor in tensors.items()})
    return [expression.value for expression in (built if isinstance(built, list) else [built])]


def _planned(build: Callable[[dict[str, Any]], Any], like: Values) -> Callable[[dict[str, torch.Tensor]], Any]:
    """Return a function that calls the plan that is recorded for the shapes and dtypes of some values."""
    with Recording(torch.get_default_device()) as recording:
        built = build({name: recording.output(name, one) for name, one in _tensors(like).items()})
    plan = Plan(recording, built if isinstance(built, list) else [built])
    return lambda tensors: plan.call(*[tensors[name] for name in plan.outputs])


def _gradients(result: torch.Tensor, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    if not result.requires_grad:
        return [torch.zeros_like(tensor) for tensor in tensors]
    return list(torch.autograd.grad(result, tensors, materialize_grads=True))
