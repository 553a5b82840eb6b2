"""Penalties of a network's activations, as regkit regularizers, and changes that make activations sparse."""

from __future__ import annotations

TYPE_CHECKING = False  # a type checker takes it for true
if TYPE_CHECKING:
    from ._changes import HiddenThreshold, HiddenTopk
    from ._elements import HiddenHoyer, HiddenL2, HiddenVariation
    from ._units import HiddenDecorrelation, HiddenKL

MODULES = {
    "HiddenDecorrelation": "_units",
    "HiddenHoyer": "_elements",
    "HiddenKL": "_units",
    "HiddenL2": "_elements",
    "HiddenThreshold": "_changes",
    "HiddenTopk": "_changes",
    "HiddenVariation": "_elements",
}
__all__ = [
    "HiddenDecorrelation",
    "HiddenHoyer",
    "HiddenKL",
    "HiddenL2",
    "HiddenThreshold",
    "HiddenTopk",
    "HiddenVariation",
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
