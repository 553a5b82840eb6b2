"""torch as regkit uses it: the engine that arrays of torch are found to belong to."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import torch

import regkit
from regkit.graph import Engine

from .derivatives import derivatives, rows
from .dtypes import name_of, torch_dtype
from .expression import Expression, applied, call
from .functions import FUNCTIONS
from .recording import Recording
from .rewriting import IMPURE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Whether draws are those of torch's global generator here, as they are in a `Run`.
_global: ContextVar[bool] = ContextVar("global", default=False)


@contextmanager
def global_draws() -> Iterator[None]:
    """Draw from torch's global generator.

    Activation checkpointing runs a forward again in the backward, with the state that this generator had; draws of
    another one would be other numbers, and the gradients wrong.
    """
    token = _global.set(True)
    try:
        yield
    finally:
        _global.reset(token)


class Torch(Engine):
    """Tensors of torch, of which hooks see expressions that behave as NumPy's arrays do."""

    name = "torch"
    wraps = True

    def owns(self, value: Any) -> bool:
        return isinstance(value, (Expression, torch.Tensor))

    def wrap(self, array: Any) -> Any:
        return array if isinstance(array, Expression) else Expression(array)

    def unwrap(self, expression: Any) -> Any:
        return expression.value if isinstance(expression, Expression) else expression

    def eager(self, expression: Any) -> bool:
        return getattr(expression, "recording", None) is None

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
        return derivatives(self.wrap(cost), [self.wrap(one) for one in wrt])

    def jacobian(self, vector: Any, wrt: Any) -> Any:
        return rows(self.wrap(vector), self.wrap(wrt))

    def draw(self, distribution: str, like: Any, seed: Any) -> tuple[Any, list[tuple[Any, Any]]]:
        expression = self.wrap(like)
        dtype = torch_dtype(expression.dtype)
        how = {"dtype": dtype if dtype.is_floating_point else torch.get_default_dtype(), "device": _device(expression)}
        if _global.get():
            function = {"normal": torch.randn, "uniform": torch.rand}[distribution]
            return _made_beside(expression, function, (expression.shape,), how), []
        number = int(seed.generate_state(1, "uint64")[0])
        return _made_beside(expression, seeded, (distribution, number, expression.shape), how), []

    def live(self, weight: regkit.Live, like: Any) -> Any:
        recording = Recording.running()
        return weight.value if recording is None else recording.live(weight)

    def value_of(self, scalar: Any) -> float:
        return float(self.unwrap(scalar))

    def laboratory(self) -> Any:
        from .laboratory import Laboratory

        return Laboratory()


def seeded(distribution: str, seed: int, shape: Any, *, dtype: torch.dtype, device: Any) -> torch.Tensor:
    """Return draws of a generator that nothing else draws from."""
    generator = torch.Generator(device).manual_seed(seed)
    function = {"normal": torch.randn, "uniform": torch.rand}[distribution]
    return function(shape, generator=generator, dtype=dtype, device=device)


IMPURE.add(seeded)


def _device(expression: Expression) -> torch.device:
    return expression.value.device


def _made_beside(expression: Expression, function: Any, arguments: Any, keywords: Any) -> Expression:
    """What a function makes, recorded where an expression is."""
    if expression.recording is None:
        return applied(function, arguments, keywords)
    return expression.recording.made(function, arguments, keywords)


ENGINE = Torch()
Expression.regkit_engine = ENGINE
