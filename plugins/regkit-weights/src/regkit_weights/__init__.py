"""Norms of a network's parameters, as regkit regularizers: of elements, of slices, of matrices."""

from __future__ import annotations

TYPE_CHECKING = False  # a type checker takes it for true
if TYPE_CHECKING:
    from .elements import ElasticNet, WeightL1, WeightL2
    from .matrices import WeightOrthogonal, WeightSpectral
    from .slices import GroupLasso, WeightMaxNorm

MODULES = {
    "ElasticNet": "elements",
    "GroupLasso": "slices",
    "WeightL1": "elements",
    "WeightL2": "elements",
    "WeightMaxNorm": "slices",
    "WeightOrthogonal": "matrices",
    "WeightSpectral": "matrices",
}
__all__ = ["ElasticNet", "GroupLasso", "WeightL1", "WeightL2", "WeightMaxNorm", "WeightOrthogonal", "WeightSpectral"]
__version__ = "0.3.0"


def __getattr__(name: str) -> object:
    """Load a class when it is first asked for: one alias is not to pay for the import of all."""
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{MODULES[name]}"), name)
    globals()[name] = value
    return value
