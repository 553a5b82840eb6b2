"""Norms of a network's parameters, as regkit regularizers: of elements, of slices, of matrices; and steps on them."""

from __future__ import annotations

TYPE_CHECKING = False  # a type checker takes it for true
if TYPE_CHECKING:
    from ._elements import ElasticNet, WeightL1, WeightL2
    from ._matrices import WeightOrthogonal, WeightSpectral
    from ._slices import GroupLasso, WeightMaxNorm, WeightUnitNorm
    from ._steps import DecoupledDecay, WeightDistance, WeightL0, WeightNonnegative

MODULES = {
    "DecoupledDecay": "_steps",
    "ElasticNet": "_elements",
    "GroupLasso": "_slices",
    "WeightDistance": "_steps",
    "WeightL0": "_steps",
    "WeightL1": "_elements",
    "WeightL2": "_elements",
    "WeightMaxNorm": "_slices",
    "WeightNonnegative": "_steps",
    "WeightOrthogonal": "_matrices",
    "WeightSpectral": "_matrices",
    "WeightUnitNorm": "_slices",
}
__all__ = [
    "DecoupledDecay",
    "ElasticNet",
    "GroupLasso",
    "WeightDistance",
    "WeightL0",
    "WeightL1",
    "WeightL2",
    "WeightMaxNorm",
    "WeightNonnegative",
    "WeightOrthogonal",
    "WeightSpectral",
    "WeightUnitNorm",
]
__version__ = "0.3.0"


def __getattr__(name: str) -> object:
    """Load a class when it is first asked for: one alias is not to pay for the import of all."""
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{MODULES[name]}"), name)
    globals()[name] = value
    return value
