"""Showing the outputs of a model's layers to regularizers, for one computation of the model."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

import keras

from .layers import find_paths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def watched(model: Any, show: Callable[[str, Any], Any]) -> Iterator[None]:
    """Have each layer of a model give what `show` makes of its name and its output.

    Layers are Python objects that look up their own `call` each time, so it is put into the layer's own attributes and
    taken out again. What Keras does around it, masks and activity regularizers, is done with the changed output.
    """
    with ExitStack() as stack:
        # what is computed within a checkpoint cannot be used outside, so layers are rematerialized, the model is not
        stack.enter_context(_own_attribute(model, "_remat_mode", None))
        for path, layer in find_paths(model).items():
            # of a rematerialized layer, what it gives is shown and not what is within its checkpoint
            attribute = "call" if getattr(layer, "_remat_mode", None) is None else "rematerialized_call"
            original = getattr(layer, attribute)
            around = _showing if attribute == "call" else _showing_what_it_returns
            stack.enter_context(_own_attribute(layer, attribute, around(original, path, show)))
        yield


def _showing(call: Callable[..., Any], path: str, show: Callable[[str, Any], Any]) -> Callable[..., Any]:
    @wraps(call)
    def shown(*args: Any, **kwargs: Any) -> Any:
        return each_output(path, call(*args, **kwargs), show)

    return shown


def _showing_what_it_returns(
    make: Callable[..., Any], path: str, show: Callable[[str, Any], Any]
) -> Callable[..., Any]:
    @wraps(make)
    def making(*args: Any, **kwargs: Any) -> Any:
        return _showing(make(*args, **kwargs), path, show)

    return making


_ABSENT = object()


@contextmanager
def _own_attribute(layer: Any, name: str, value: Any) -> Iterator[None]:
    attributes = vars(layer)  # past what Keras and torch do when an attribute of a layer is set
    before = attributes.get(name, _ABSENT)
    attributes[name] = value
    try:
        yield
    finally:
        if before is _ABSENT:
            del attributes[name]
        else:
            attributes[name] = before


def each_output(name: str, output: Any, show: Callable[[str, Any], Any]) -> Any:
    """Return what a layer gave with `show` applied to each part of it: of several, ``lstm:0`` is the first."""
    if isinstance(output, dict):
        return type(output)({key: each_output(f"{name}:{key}", part, show) for key, part in output.items()})
    if isinstance(output, (list, tuple)):
        parts = [each_output(f"{name}:{i}", part, show) for i, part in enumerate(output)]
        return type(output)(*parts) if hasattr(output, "_fields") else type(output)(parts)
    return show(name, output)


def is_float(value: Any) -> bool:
    """Tell whether a value is an array of floats of the backend, and not one that only stands for it."""
    if not keras.ops.is_tensor(value) or isinstance(value, keras.KerasTensor):
        return False
    return "float" in keras.backend.standardize_dtype(value.dtype)
