"""Penalties of a network's activations, as regkit regularizers: of elements, and of units over a batch."""

from __future__ import annotations

TYPE_CHECKING = False  # a type checker takes it for true
if TYPE_CHECKING:
    from .elements import HiddenHoyer, HiddenL2, HiddenVariation
    from .units import HiddenDecorrelation, HiddenKL

__all__ = ["HiddenDecorrelation", "HiddenHoyer", "HiddenKL", "HiddenL2", "HiddenVariation"]
__version__ = "0.3.0"

OF_UNITS = ("HiddenDecorrelation", "HiddenKL")


def __getattr__(name: str) -> object:
    """Load a class when it is first asked for: one alias is not to pay for the import of all."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{'units' if name in OF_UNITS else 'elements'}"), name)
    globals()[name] = value
    return value
