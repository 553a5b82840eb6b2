"""One regularizer in the places that Keras has for regularizers: the activity of a layer, or a weight."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import keras

import regkit
from regkit import hosts

from ._backends import backend
from ._training import plain_errors

#: The name of the one tensor there is.
NAME = "tensor"

#: What a pattern selects, and the place for it.
_PLACES = {"outputs": ("outputs", "activity_regularizer"), "params": ("weights", "kernel_regularizer")}


def regularizer(alias: str, value: Any) -> Regularizer:
    r"""Return a regularizer for ``activity_regularizer=``, ``kernel_regularizer=`` and the like of a layer of Keras.

    The layer's loss is :math:`w \, p(z)`, the weight times the penalty of one output or weight, of which the mean over
    :math:`\Omega` is then a mean over one. Keras adds up those of several layers, where `regkit_keras.Model` takes
    their mean. Keras divides the penalty of an activity by the length of the batch; that is undone, so that
    ``reduction`` has the same meaning everywhere.

    Parameters
    ----------
    alias : str
        An alias whose penalty is of one output or one weight, such as ``"hidden_l1"`` or ``"weight_l2"``.
    value : number or mapping
        The weight or the options, as `regkit.build` takes them, without a pattern.

    Returns
    -------
    keras.regularizers.Regularizer
        It is saved and cloned with its layer.

    Raises
    ------
    regkit.OptionError
        If the value is not accepted, has a pattern or a live weight.
    regkit.GraphError
        If it changes outputs or parameters, or its penalty is of more than one tensor; where it is called, if aliases
        of outputs are given to a weight, or those of weights to an activity.

    Examples
    --------
    >>> import keras, numpy, regkit_keras
    >>> l1 = regkit_keras.regularizer("hidden_l1", dict(weight=0.1, reduction="batch"))
    >>> layer = keras.layers.Dense(3, kernel_initializer="ones", activity_regularizer=l1)
    >>> _ = layer(numpy.ones((8, 2), "float32"))  # 3 units, each of them 2
    >>> print(f"{keras.ops.convert_to_numpy(layer.losses[0]):.4f}")
    0.6000
    """
    return Regularizer(alias, value)


@keras.saving.register_keras_serializable(package="regkit_keras")
class Regularizer(keras.regularizers.Regularizer):
    """A regularizer of one tensor; `regularizer` makes it."""

    def __init__(self, alias: str, options: Any) -> None:
        self.alias = alias
        self.options = _options(alias, options)
        self._regs = regkit.build({alias: {**self.options, "pattern": NAME}})
        self._selects = str(hosts.members(self._regs, "regularizer")[0].selects)
        self._backend = backend()
        self._loss = self._backend.uncompiled(self._weighted)

    def __repr__(self) -> str:
        return f"regularizer({self.alias!r}, {self.options!r})"

    def __call__(self, x: Any) -> Any:
        """Return the weighted penalty of a tensor or variable: times the examples, if Keras divides by them."""
        return self._loss(x)

    def _weighted(self, x: Any) -> Any:
        is_activity = not isinstance(x, keras.Variable) and _is_in_a_layer()
        if is_activity != (self._selects == "outputs"):
            what, place = _PLACES[self._selects]
            got = "an activity" if is_activity else "a weight"
            with plain_errors():
                raise regkit.GraphError(
                    f"{self.alias} penalizes {what}, and was called for {got}. Give it to a layer as {place}"
                )
        tensor = keras.ops.convert_to_tensor(x.value if isinstance(x, keras.Variable) else x)
        with plain_errors():
            weighted = self._penalty(tensor)
        if is_activity and len(tensor.shape):
            length = keras.ops.shape(tensor)[0]
            weighted = weighted * (length if isinstance(length, int) else keras.ops.cast(length, weighted.dtype))
        return weighted

    def _penalty(self, tensor: Any) -> Any:
        layers = [regkit.Layer(NAME, {NAME: tensor})] if self._selects == "params" else []
        run = self._backend.run(self._regs, layers, None, None, None)
        if not layers:
            run.tap(NAME, tensor)
        return run.loss()

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` takes."""
        return {"alias": self.alias, "options": self.options}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Regularizer:
        """Return a regularizer from what `get_config` gave."""
        return cls(config["alias"], config["options"])


def _options(alias: str, value: Any) -> dict[str, Any]:
    """Return the options of an alias as they are saved; raise if its penalty is not of one tensor."""
    regs = regkit.build({alias: value})
    members = hosts.members(regs, "regularizer")
    if len(members) != 1:
        raise regkit.OptionError(f"regularizer got {alias}={value!r}; accepted: a number or a mapping of options")
    (member,) = members
    name, instead = member.name, "Use regkit_keras.Model"
    if member.globs is not None:
        raise regkit.OptionError(f"{name}: the layer it is given to takes the place of a pattern. Leave out pattern")
    if regs.live():
        raise regkit.OptionError(f"{name}: a live weight cannot change in a step that is compiled. {instead}")
    if member.changes_graph or member.changes_params:
        what = "outputs" if member.changes_graph else "parameters after an optimizer's step"
        raise regkit.GraphError(f"{name} changes {what}, and a layer's regularizer has a penalty alone. {instead}")
    # a derivative by an input, and arrays for parameters by their names, are of more than the tensor
    others = hasattr(member.regularizer, "wrt") or any(
        isinstance(one, Mapping) for one in vars(member.regularizer).values()
    )
    if not member.penalizes or member.selects not in _PLACES or others:
        raise regkit.GraphError(f"{name}: the penalty is not a function of one tensor. {instead}")
    return regs.config()[alias]  # type: ignore[no-any-return]


@cache
def _outsider() -> keras.Layer:
    """Return a layer that is in no model."""
    return keras.layers.Layer()


def _is_in_a_layer() -> bool:
    """Return whether a layer is being called: then Keras asks for the penalty of an activity."""
    layer = _outsider()
    inside = layer._get_call_context().entry_layer is not layer
    layer._maybe_reset_call_context()
    return inside
