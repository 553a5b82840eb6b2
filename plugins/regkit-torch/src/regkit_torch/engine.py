"""The engine of torch, which regkit finds by a tensor."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

import regkit
from regkit.graph import Engine

from ._arrays import Expression, Recording, call, created, name_of, torch_dtype
from ._functions import FUNCTIONS

_functorch: Any = torch._C._functorch  # which has no public counterpart

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Torch(Engine):
    """Tensors of torch; hooks get them as expressions that behave like NumPy's arrays."""

    name = "torch"
    wraps = True

    def owns(self, value: Any) -> bool:
        return isinstance(value, (Expression, torch.Tensor))

    def wrap(self, array: Any) -> Any:
        return array if isinstance(array, Expression) else Expression(array)

    def unwrap(self, expression: Any) -> Any:
        return expression.value if isinstance(expression, Expression) else expression

    def native(self, hook: Callable[..., Any], arguments: Sequence[Any]) -> Any:
        """Call a hook with tensors: one call of the recording, which runs the hook again in each step."""
        given = [
            list(argument.values()) if isinstance(argument, Mapping) else _params(argument) for argument in arguments
        ]
        keys: list[Any] = []

        def native(*lists: list[Any]) -> tuple[Any, ...]:
            taken = [_with_tensors(*each) for each in zip(arguments, lists)]
            before = [dict(one) if isinstance(one, dict) else {} for one in taken]
            returned = hook(*taken)
            results = returned if isinstance(returned, Mapping) else {None: returned}
            changes = [
                (i, name, value)
                for i, (one, old) in enumerate(zip(taken, before))
                for name, value in (one.items() if isinstance(one, dict) else ())
                if old.get(name) is not value
            ]
            keys[:] = list(results), [(i, name) for i, name, _ in changes]
            return *results.values(), *(value for _, _, value in changes)

        every = call(native, *given)
        names, changed = keys
        parts = [None if one is None else call(operator.getitem, every, i) for i, one in enumerate(every.value)]
        for (i, name), part in zip(changed, parts[len(names) :]):
            arguments[i][name] = part
        return parts[0] if names == [None] else dict(zip(names, parts))

    def eager(self, expression: Any) -> bool:
        return getattr(expression, "recording", None) is None and not _is_batched(self.unwrap(expression))

    def described(self, expression: Any) -> str:
        return f"shape {self.wrap(expression).present_shape}"

    def unfit(self, expression: Any) -> str:
        tensor = self.unwrap(expression)
        if isinstance(tensor, torch.Tensor) and tensor.layout != torch.strided:
            return f"layout {tensor.layout}"
        dtype = str(self.wrap(expression).dtype)
        return "complex numbers" if dtype.startswith("complex") else ""

    def float_type(self) -> str:
        return name_of(torch.get_default_dtype())

    def functions(self) -> Any:
        return FUNCTIONS

    def constant(self, value: float, dtype: str) -> Any:
        return FUNCTIONS.full((), value, dtype)

    def cast(self, expression: Any, dtype: str) -> Any:
        return self.wrap(expression).astype(dtype)

    def held(self, expression: Any) -> Any:
        return call(torch.Tensor.detach, self.wrap(expression))

    def gradient(self, cost: Any, wrt: Sequence[Any]) -> Sequence[Any]:
        found = call(_gradients, self.wrap(cost), *(self.wrap(one) for one in wrt))
        return [call(operator.getitem, found, i) for i in range(len(wrt))]

    def jacobian(self, vector: Any, wrt: Any) -> Any:
        return call(_jacobian, self.wrap(vector), self.wrap(wrt))

    def draw(self, distribution: str, like: Any, seed: Any) -> tuple[Any, list[tuple[Any, Any]]]:
        expression = self.wrap(like)
        dtype = torch_dtype(expression.dtype)
        keywords = {
            "dtype": dtype if dtype.is_floating_point else torch.get_default_dtype(),
            "device": expression.value.device,
        }
        recording = Recording.current()
        if recording is not None and recording.global_draws:
            function = {"normal": torch.randn, "uniform": torch.rand}[distribution]
            return created(function, (expression.shape,), keywords), []
        number = int(seed.generate_state(1, "uint64")[0])
        return created(_seeded, (distribution, number, expression.shape), keywords), []

    def live(self, weight: regkit.Live, like: Any) -> Any:
        recording = Recording.current()
        return weight.value if recording is None else recording.live(weight)

    def value_of(self, scalar: Any) -> float:
        return float(self.unwrap(scalar))

    def laboratory(self) -> Any:
        from ._laboratory import Laboratory

        return Laboratory()


def _params(argument: Any) -> list[Any]:
    """Return the parameters of layers; anything else as it is, in a list."""
    return [list(layer.params) for layer in argument] if isinstance(argument, (list, tuple)) else [argument]


def _with_tensors(argument: Any, tensors: list[Any]) -> Any:
    """Return an argument of a hook with tensors in place of expressions."""
    if isinstance(argument, Mapping):
        return dict(zip(argument, tensors))
    if not isinstance(argument, (list, tuple)):
        return tensors[0]
    return [
        regkit.Layer(layer.output_name, dict(zip(layer.param_names, params)), role=layer.role)
        for layer, params in zip(argument, tensors)
    ]


def _is_batched(tensor: torch.Tensor) -> bool:
    """Return whether `torch.func.vmap` holds several values as one tensor, below the levels of `torch.func.grad`."""
    while _functorch.is_functorch_wrapped_tensor(tensor):
        if _functorch.is_batchedtensor(tensor):
            return True
        tensor = _functorch.get_unwrapped(tensor)
    return False


def _seeded(distribution: str, seed: int, shape: Any, *, dtype: torch.dtype, device: Any) -> torch.Tensor:
    """Return draws of a generator that nothing else draws from."""
    generator = torch.Generator(device).manual_seed(seed)
    function = {"normal": torch.randn, "uniform": torch.rand}[distribution]
    return function(shape, generator=generator, dtype=dtype, device=device)


def _gradients(cost: torch.Tensor, *wrt: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return the derivatives of a scalar by each of several tensors."""
    for tensor in wrt:
        if not tensor.requires_grad:
            raise regkit.GraphError(
                f"a tensor of shape {tuple(tensor.shape)} that is differentiated by does not require gradients. Call "
                "its requires_grad_() before the model computes with it"
            )
    found = torch.autograd.grad(cost, wrt, create_graph=True, allow_unused=True) if cost.requires_grad else [None]
    if any(gradient is None for gradient in found):
        raise regkit.GraphError(
            f"a tensor of shape {tuple(cost.shape)} does not depend on what it is differentiated by, so it has no "
            "gradient there"
        )
    return tuple(found)


def _jacobian(vector: torch.Tensor, wrt: torch.Tensor) -> torch.Tensor:
    """Return the derivatives of each element of a vector, along a first axis."""
    _gradients(vector.sum(), wrt)  # raises the error if there are none
    if not len(vector):
        return wrt.new_zeros((0, *wrt.shape))
    each = (torch.autograd.grad(one, wrt, create_graph=True, materialize_grads=True)[0] for one in vector)
    return torch.stack(list(each))


ENGINE = Torch()
Expression.regkit_engine = ENGINE
