"""Parts of Keras that are not public: there is no other way, so what may change is named where it has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras

import regkit

if TYPE_CHECKING:
    from collections.abc import Iterable

#: What all of this was tested with.
TESTED = "3.14.0 and 3.15.1"

#: What a layer has: its place in models, the layers within it, its rematerialization, and how it takes its arguments.
OF_LAYERS = (
    "_inbound_nodes",
    "_flatten_layers",
    "_remat_mode",
    "rematerialized_call",
    "_get_call_context",
    "_maybe_reset_call_context",
    "_convert_input_args",
    "_allow_non_tensor_positional_args",
)
#: Where a symbolic tensor comes from.
OF_TENSORS = ("_keras_history",)


def check_parts(layer: keras.Layer, tensors: Iterable[Any]) -> None:
    """Look at what is relied on later, some of which would be missed in silence.

    Raises
    ------
    regkit.PluginLoadError
        If a layer, or a symbolic tensor of a model, does not have one of these.
    """
    missing = [f"keras.Layer.{name}" for name in OF_LAYERS if not hasattr(layer, name)]
    missing += [
        f"keras.KerasTensor.{name}" for name in OF_TENSORS if not all(hasattr(tensor, name) for tensor in tensors)
    ]
    if missing:
        are = "is" if len(missing) == 1 else "are"
        raise regkit.PluginLoadError(
            f"regkit_keras does not work with Keras {keras.__version__}: {', '.join(missing)} {are} not there. It was "
            f"tested with Keras {TESTED}. Install one of them, or a later regkit-keras"
        )
