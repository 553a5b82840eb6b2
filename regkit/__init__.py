"""regkit: neural-network regularizers as plugins.

>>> import regkit
>>> regs = regkit.build(hidden_sparsity=dict(weight=0.1, pattern="hid3:out"))
>>> print(regs)
build(hidden_sparsity=dict(weight=0.1, pattern='hid3:out'))

Every public name is here and is loaded on first use (PEP 562), so that importing regkit costs next to nothing.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import graph as graph
    from . import testing as testing
    from .errors import AliasConflictError as AliasConflictError
    from .errors import GraphError as GraphError
    from .errors import HookSignatureError as HookSignatureError
    from .errors import NoMatchError as NoMatchError
    from .errors import OptionError as OptionError
    from .errors import PluginLoadError as PluginLoadError
    from .errors import RegkitError as RegkitError
    from .errors import UnknownAliasError as UnknownAliasError
    from .hooks.adapters import hookimpl as hookimpl
    from .hooks.driver import Regularized as Regularized
    from .hooks.penalties import Term as Term
    from .layers import Layer as Layer
    from .layers import select_layers as select_layers
    from .live import Live as Live
    from .matching import select_outputs as select_outputs
    from .matching import select_params as select_params
    from .registry import available as available
    from .registry import load as load
    from .registry import refresh as refresh
    from .registry import register as register
    from .registry import split as split
    from .regularizer import Regularizer as Regularizer
    from .regularizers import RegularizerSet as RegularizerSet
    from .regularizers import build as build

__version__ = "0.2.0"

_HOME = {
    "build": "regularizers",
    "split": "registry",
    "load": "registry",
    "available": "registry",
    "refresh": "registry",
    "register": "registry",
    "Regularizer": "regularizer",
    "RegularizerSet": "regularizers",
    "Regularized": "hooks.driver",
    "Live": "live",
    "Term": "hooks.penalties",
    "Layer": "layers",
    "select_layers": "layers",
    "select_outputs": "matching",
    "select_params": "matching",
    "hookimpl": "hooks.adapters",
    "RegkitError": "errors",
    "UnknownAliasError": "errors",
    "AliasConflictError": "errors",
    "PluginLoadError": "errors",
    "HookSignatureError": "errors",
    "OptionError": "errors",
    "NoMatchError": "errors",
    "GraphError": "errors",
}
_MODULES = ("graph", "testing")

__all__ = [*_HOME, *_MODULES, "__version__"]  # noqa: PLE0604 - every name in the table is a string


if not TYPE_CHECKING:  # a checker would take every name for one of ours

    def __getattr__(name: str) -> object:
        if name in _HOME:
            value: object = getattr(_load(_HOME[name]), name)
        elif name in _MODULES:
            value = _load(name)
        else:
            raise AttributeError(f"module 'regkit' has no attribute {name!r}")
        globals()[name] = value
        return value


def _load(module: str) -> object:
    import sys

    name = f"{__name__}.{module}"
    __import__(name)  # importlib.import_module without importing importlib
    return sys.modules[name]


def __dir__() -> "list[str]":
    return sorted(__all__)
