"""regkit: neural-network regularizers as plugins.

>>> import regkit
>>> regs = regkit.build(hidden_sparsity=dict(weight=0.1, pattern="hid3:out"))
>>> print(regs)
build(hidden_sparsity=dict(weight=0.1, pattern='hid3:out'))

Importing regkit imports neither NumPy nor pluggy nor a graph library: these come with the first graph.
"""

from __future__ import annotations

from ._build import available, build, load, refresh, register, split
from ._layers import Layer, select_layers
from ._regularizer import Regularizer
from ._selection import select_outputs, select_params
from ._sets import RegularizerSet
from ._weights import Live
from .errors import (
    AliasConflictError,
    GraphError,
    HookSignatureError,
    NoMatchError,
    OptionError,
    PluginLoadError,
    RegkitError,
    UnknownAliasError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import graph as graph
    from . import hosts as hosts
    from . import schedules as schedules
    from . import testing as testing
    from ._driver import Regularized as Regularized
    from ._hooks import hookimpl as hookimpl
    from ._terms import Term as Term

__version__ = "0.3.0"

__all__ = [
    "AliasConflictError",
    "GraphError",
    "HookSignatureError",
    "Layer",
    "Live",
    "NoMatchError",
    "OptionError",
    "PluginLoadError",
    "RegkitError",
    "Regularized",
    "Regularizer",
    "RegularizerSet",
    "Term",
    "UnknownAliasError",
    "__version__",
    "available",
    "build",
    "graph",
    "hookimpl",
    "hosts",
    "load",
    "refresh",
    "register",
    "schedules",
    "select_layers",
    "select_outputs",
    "select_params",
    "split",
    "testing",
]

#: Names that `build` does not need, by their modules; most of these import NumPy or pluggy.
_LATER = {
    "Regularized": "_driver",
    "Term": "_terms",
    "graph": "",
    "hookimpl": "_hooks",
    "hosts": "",
    "schedules": "",
    "testing": "",
}


if not TYPE_CHECKING:  # with it, a type checker would accept any name

    def __getattr__(name: str) -> object:
        if name not in _LATER:
            raise AttributeError(f"module 'regkit' has no attribute {name!r}")
        from importlib import import_module

        module = import_module(f"{__name__}.{_LATER[name] or name}")
        value = globals()[name] = getattr(module, name) if _LATER[name] else module
        return value
