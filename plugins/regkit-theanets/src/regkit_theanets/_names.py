"""The names that theanets 0.7.3 and downhill 0.4 expect of other packages and that these have no longer."""

from __future__ import annotations

import collections
import collections.abc
import importlib
import logging
import sys
import types
from typing import Any

PINS = (
    "What works: Python 3.9, in a checkout of regkit: pip install '.[theano]' click six, "
    "then pip install --no-deps theanets==0.7.3 downhill==0.4.0"
)

#: What was supplied: (module or package, name), in the order in which it was.
_supplied: list[tuple[Any, str]] = []


def import_theanets() -> Any:
    """Import theanets with what it needs; ImportError with the pins that work if that is not to be had."""
    try:
        rng_mrg: Any = importlib.import_module("theano.sandbox.rng_mrg")
    except Exception as error:  # theano fails in many ways where NumPy is too new for it
        raise ImportError(f"theanets needs theano-pymc, which cannot be imported: {error}. {PINS}") from error
    if hasattr(rng_mrg, "MRG_RandomStream"):
        _supply(rng_mrg, "MRG_RandomStreams", rng_mrg.MRG_RandomStream)
    _supply(collections, "Callable", collections.abc.Callable)
    climate = sys.modules.get("climate")
    ours = None if hasattr(climate, "get_logger") else _climate()
    if ours is not None:
        sys.modules["climate"] = ours
    try:
        return importlib.import_module("theanets")
    except ModuleNotFoundError as error:
        if error.name == "theanets":
            raise ImportError(f"theanets is not installed. {PINS}") from error
        raise ImportError(f"theanets needs {error.name!r}, which is not installed. {PINS}") from error
    except Exception as error:  # whatever its packages do with versions they do not know
        raise ImportError(f"theanets cannot be imported: {type(error).__name__}: {error}. {PINS}") from error
    finally:
        if ours is not None:  # only the import needs it; what else is called climate is not our business
            sys.modules.pop("climate", None)
            if climate is not None:
                sys.modules["climate"] = climate


def take_names_away() -> None:
    """Take away what was supplied."""
    while _supplied:
        module, name = _supplied.pop()
        if name in vars(module):
            delattr(module, name)


def _supply(module: Any, name: str, value: object) -> None:
    if name not in vars(module):  # not hasattr: Python 3.9 has collections.Callable, and warns of it
        setattr(module, name, value)
        _supplied.append((module, name))


def _climate() -> types.ModuleType | None:
    """A stand-in for the module climate, unless one with `get_logger` is installed."""
    try:
        if hasattr(importlib.import_module("climate"), "get_logger"):
            return None
    except Exception:  # an unrelated package has the name today, and may do anything
        pass
    stand_in: Any = types.ModuleType("climate")
    stand_in.get_logger = logging.getLogger
    return stand_in
