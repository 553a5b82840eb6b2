"""The promises of a penalty of special numbers: zeros, large ones, none at all, those of half precision."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ._checks import EVERYWHERE, check
from ._network import Network
from ._subject import NotApplicable, Subject

LARGE = np.float32(1e18)
#: How near the losses of float16 and of float32 have to be, relative to the larger.
HALF_PRECISION = 1e-2

#: The activation for special values, whatever the network has, so that inputs and parameters determine outputs.
SPECIAL = "linear"


@check("penalty_is_finite", on=EVERYWHERE)
def penalty_and_gradient_are_finite_with_a_dead_unit(subject: Subject, library: Any) -> None:
    """Where one unit of each layer is zero for all examples, penalty and gradient are finite numbers."""
    values = _special_values(subject)
    for value in values.values():
        value[..., 0] = 0
    _assert_finite(subject, library, values, "where one unit of each layer is always 0")


@check("penalty_is_finite", on=EVERYWHERE)
def penalty_and_gradient_are_finite_at_zero(subject: Subject, library: Any) -> None:
    """Where all outputs and parameters are zero, penalty and gradient are finite numbers."""
    values = {name: np.zeros_like(value) for name, value in _special_values(subject).items()}
    _assert_finite(subject, library, values, "where all outputs and parameters are 0")


@check("penalty_is_finite", on=EVERYWHERE)
def penalty_and_gradient_are_finite_for_large_numbers(subject: Subject, library: Any) -> None:
    """Where outputs, or parameters, are about 1e18 in float32, penalty and gradient are finite numbers."""
    usual = _special_values(subject)
    if subject.network.activation == "sigmoid":
        raise NotApplicable("the outputs of sigmoid units are between 0 and 1")
    handed_on = {name: np.eye(*value.shape, dtype=value.dtype) for name, value in usual.items() if name.endswith(".w")}
    outputs = {**usual, **handed_on, "in:out": usual["in:out"] * LARGE}
    by = [name for name in usual if name not in handed_on]  # a product with outputs is larger, whatever the penalty
    _assert_finite(subject, library, outputs, "where outputs are about 1e18 in float32", by)
    usual["in:out"][..., 0] = 0  # which meets the large ones, so that outputs do not change
    usual["hid1.w"][0] *= LARGE
    _assert_finite(subject, library, usual, "where some parameters are about 1e18 in float32")


@check("penalty_is_finite", on=EVERYWHERE)
def penalty_and_gradient_are_finite_without_examples(subject: Subject, library: Any) -> None:
    """Where there are no examples, penalty and gradient are finite numbers."""
    values = _special_values(subject)
    values["in:out"] = values["in:out"][:0]
    _assert_finite(subject, library, values, "where there are no examples")


@check("penalty_is_finite", on=EVERYWHERE)
def penalty_of_float16_is_that_of_float32(subject: Subject, library: Any) -> None:
    """The set's loss of float16 outputs of 256 to 512, or parameters of 64 to 128, is that of the same in float32."""
    usual = _special_values(subject)
    handed_on = {name: np.eye(*value.shape, dtype=value.dtype) for name, value in usual.items() if name.endswith(".w")}
    zeros = {name: np.zeros_like(value) for name, value in usual.items()}
    examples = np.concatenate([usual["in:out"]] * 200)
    if subject.network.activation != "sigmoid":
        examples = _moderate(examples, 256)
    of_outputs = {**zeros, **handed_on, "in:out": examples}
    of_parameters = {**zeros, **{name: _moderate(usual[name], 64) for name in handed_on}}
    network = Network(SPECIAL, subject.network.axes)

    def build(inputs: dict[str, Any]) -> list[Any]:
        return [subject.set_of(subject.make()).loss(*network.connect(inputs, library.tensor_module))]

    half, single = (library.compiled(build, network.values(dtype)) for dtype in ("float16", "float32"))
    for what, values in (("outputs", of_outputs), ("parameters", of_parameters)):
        rounded = {name: value.astype("float16") for name, value in values.items()}
        (found,), (expected,) = half(rounded), single({name: z.astype("float32") for name, z in rounded.items()})
        if not np.allclose(found, expected, rtol=HALF_PRECISION, atol=HALF_PRECISION * 1e-3, equal_nan=True):
            raise AssertionError(
                f"the loss of float16 {what} is {found}, and {expected} of the same numbers in float32. "
                "regkit.graph.widened makes room for squares, sums and counts"
            )
        if np.asarray(found).dtype.itemsize < 4:
            raise AssertionError(f"the loss of float16 {what} is of {found.dtype}; expected float32 or wider")


def _moderate(values: np.ndarray, size: float) -> np.ndarray:
    """Return numbers from a size to twice that, with the signs of others.

    float16, which ends at 65,504, has room for these numbers. It has none for the squares of outputs, for the sum of a
    thousand outputs, and for the sum of the squares of parameters.
    """
    moderate: np.ndarray = np.copysign(size + size * abs(values) / abs(values).max(), values)
    return moderate


def _special_values(subject: Subject) -> dict[str, np.ndarray]:
    """Return values from which special ones are made: outputs of a sigmoid network are between 0 and 1 here, too."""
    subject.needs_penalty()
    values = subject.network.values("float32")
    if subject.network.activation == "sigmoid":
        for name, value in values.items():
            if name.endswith(".w"):
                values[name] = abs(value) / abs(value).sum(axis=0)
            else:
                values[name] = np.zeros_like(value) if name.endswith(".b") else 1 / (1 + np.exp(-value))
    return values


def _assert_finite(
    subject: Subject, library: Any, values: dict[str, np.ndarray], where: str, by: list[str] | None = None
) -> None:
    """Raise if the penalty of linear units, or its gradient by some of their values, is not finite."""
    network = Network(SPECIAL, subject.network.axes)
    function = subject.compiled(library, "float32", gradients=True, network=network)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # NumPy's, of numbers that are reported below
        penalty, *gradients = function(values)
    if not np.isfinite(penalty):
        raise AssertionError(f"{where} the penalty is {penalty}")
    for name, gradient in zip(values, gradients):
        if (by is None or name in by) and not np.isfinite(gradient).all():
            wrong = gradient[~np.isfinite(gradient)][0]
            raise AssertionError(f"{where} the penalty is {penalty}, and its gradient by {name} has {wrong}")
