"""What a penalty promises, on every library. All are tried on a network that nothing has changed."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import NoMatchError
from ...graph.libraries import library as library_of
from ...matching import Layer
from ..network import named
from ..running import EVERYWHERE, GRAPHS, check
from ..subject import ONE_LAYER, NotApplicable, Subject

DTYPES = ("float64", "float32")
#: How near two values of a dtype have to be, relative to the larger.
TOLERANCE = {"float64": 1e-9, "float32": 2e-4}


@check("constructor_works", on=EVERYWHERE)
def penalty_is_a_scalar(subject: Subject, library: Any) -> None:
    """The loss hook gives an expression of the outputs' library without axes."""
    subject.needs_penalty()
    _, layers, outputs = subject.graph(library, subject.network.values())
    penalty = subject.penalty(subject.make(), layers, outputs)
    if penalty is None:
        raise AssertionError(f"loss returned None for the outputs {', '.join(outputs)}, so nothing of it can be proven")
    if library_of(penalty) != library.name:
        raise AssertionError(f"loss returned an expression of {library_of(penalty)} for outputs of {library.name}")
    if penalty.ndim != 0:
        raise AssertionError(f"loss returned an array of {penalty.ndim} axes, and has to return a scalar")


@check("penalty_is_a_scalar", on=EVERYWHERE)
def loss_leaves_the_outputs_alone(subject: Subject, library: Any) -> None:
    """The loss hook reads the outputs and changes none: those after it see the same."""
    subject.needs_penalty()
    _, layers, outputs = subject.graph(library, subject.network.values())
    before = dict(outputs)
    arrays = {name: z.copy() for name, z in outputs.items()} if library.name == "numpy" else {}
    subject.penalty(subject.make(), layers, outputs)
    changed = [name for name in {**before, **outputs} if outputs.get(name) is not before.get(name)]
    changed += [name for name, array in arrays.items() if not np.array_equal(array, before[name])]
    if changed:
        raise AssertionError(f"loss changed the outputs {', '.join(changed)}. What changes them is modify_graph")


@check("penalty_is_a_scalar", on=EVERYWHERE)
def penalty_is_finite(subject: Subject, library: Any) -> None:
    """The penalty is a finite number."""
    subject.needs_penalty()
    for dtype in DTYPES:
        value = subject.penalty_value(library, subject.make(), dtype)
        if not np.isfinite(value):
            raise AssertionError(f"the penalty of {dtype} outputs is {value}. Network has other activations to try")


@check("penalty_is_a_scalar", on=EVERYWHERE)
def penalty_has_the_dtype_of_the_outputs(subject: Subject, library: Any) -> None:
    """Outputs of float32 give a penalty of float32, also where floatX is float64; float64 likewise."""
    subject.needs_penalty()
    for dtype in DTYPES:
        with library.float_type("float64" if dtype == "float32" else "float32"):
            _, layers, outputs = subject.graph(library, subject.network.values(dtype))
            penalty = subject.penalty(subject.make(), layers, outputs)
        if str(penalty.dtype) != dtype:
            raise AssertionError(
                f"outputs of {dtype} give a penalty of {penalty.dtype}. "
                "regkit.graph.cast gives numbers and counts the dtype of an expression"
            )


@check("penalty_is_finite", on=EVERYWHERE)
def penalty_is_deterministic(subject: Subject, library: Any) -> None:
    """Two regularizers with the same options, and the same seed if they take one, give the same penalty."""
    subject.needs_penalty()
    first, second = (subject.penalty_value(library, subject.make()) for _ in range(2))
    if first != second:
        raise AssertionError(f"two regularizers with the same options gave {first} and {second}")


@check("penalty_is_deterministic", on=EVERYWHERE)
def unmatched_outputs_do_not_count(subject: Subject, library: Any) -> None:
    """The penalty of one layer stays as it is when the outputs and parameters of others change, but for the input."""
    subject.needs_penalty()
    subject.needs("pattern")
    values = subject.network.values()
    penalties = []
    for changed in (False, True):
        inputs, layers, outputs = subject.graph(library, values)
        if changed:
            others = ("hid1:out", "out:out")
            outputs = {name: z * 0.5 + 0.2 if name in others else z for name, z in outputs.items()}
            layers = [_with_other_params(layer) for layer in layers]
        penalty = subject.penalty(subject.make(pattern=ONE_LAYER), layers, outputs)
        penalties.append(library.values(inputs, penalty, values))
    if penalties[0] != penalties[1]:
        raise AssertionError(
            f"with pattern={ONE_LAYER!r} the penalty went from {penalties[0]} to {penalties[1]} "
            "when outputs and parameters of other layers changed"
        )


def _with_other_params(layer: Layer) -> Layer:
    if layer.output_name.startswith("hid2"):
        return layer
    return Layer(layer.output_name, [named(param.name, param * 0.5 + 0.2) for param in layer.params])


@check("constructor_works", on=EVERYWHERE)
def nothing_matched_is_an_error(subject: Subject, library: Any) -> None:
    """A pattern that matches nothing is a NoMatchError of the set."""
    subject.needs("pattern")
    pattern = "no such output or parameter"
    regularizers = subject.set_of(subject.make(pattern=pattern))
    try:
        _, layers, outputs = subject.graph(library, subject.network.values(), regularizers)
        result = regularizers.loss(layers, outputs)
    except NoMatchError:
        return
    raise AssertionError(f"with pattern={pattern!r} the set's loss was {result}; expected a NoMatchError")


@check("penalty_is_finite", on=EVERYWHERE)
def loss_is_linear_in_the_weight(subject: Subject, library: Any) -> None:
    """The set's loss is the weight times what it is for a weight of 1: the hook does not weigh."""
    subject.needs_penalty()
    subject.needs("weight")
    weights = (0.25, 0.5, 0.75)
    values = subject.network.values()
    losses = []
    for weight in weights:
        inputs, layers, outputs = subject.graph(library, values)
        loss = subject.set_of(subject.make(weight=weight)).loss(layers, outputs)
        losses.append(library.values(inputs, loss, values))
    for weight, loss in zip(weights, losses):
        expected = losses[1] * weight / weights[1]
        if not _near(loss, expected):
            raise AssertionError(
                f"weights {weights} gave losses {', '.join(map(str, losses))}, not in the same ratio. "
                "loss returns the penalty without the weight"
            )


@check("loss_is_linear_in_the_weight", on=GRAPHS)
def weight_may_be_live(subject: Subject, library: Any) -> None:
    """A shared scalar as weight changes what a compiled function gives, without another compilation."""
    subject.needs("weight")
    values = subject.network.values()
    weight = library.shared(np.asarray(0.25))
    regularizers = subject.set_of(subject.make(weight=weight))
    inputs, layers, outputs = subject.graph(library, values, regularizers if not subject.has("loss") else None)
    if not subject.has("loss"):
        return
    function = library.function(list(inputs.values()), regularizers.loss(layers, outputs), rewrites=False)
    before = function(*values.values())
    weight.set_value(np.asarray(0.75))
    after = function(*values.values())
    if not _near(after, 3 * before):
        raise AssertionError(f"a shared weight went from 0.25 to 0.75 and the loss from {before} to {after}")


@check("penalty_is_deterministic", on=EVERYWHERE)
def penalty_equals_the_numpy_twin(subject: Subject, library: Any) -> None:
    """The penalty equals what the author's NumPy twin makes of the same numbers."""
    subject.needs_penalty()
    if subject.twin is None:
        raise NotApplicable("no NumPy twin was given")
    patterns = [{}, {"pattern": ONE_LAYER}] if subject.takes("pattern") else [{}]
    for changes in patterns:
        for dtype in DTYPES:
            regularizer = subject.make(**changes)
            expected = subject.twin_value(regularizer, dtype)
            value = subject.penalty_value(library, regularizer, dtype)
            if not _near(value, expected, dtype):
                raise AssertionError(f"{regularizer!r} of {dtype} outputs gave {value} where the twin gave {expected}")


@check("penalty_is_deterministic", on=GRAPHS)
def gradient_agrees_with_finite_differences(subject: Subject, library: Any) -> None:
    """The gradient by the input and by all parameters is what small steps in both directions say."""
    subject.needs_penalty()
    values = subject.network.values()
    function, gradients = _compiled(subject, library, list(values))
    found = gradients(*values.values())
    step = 1e-6
    for (name, value), gradient in zip(values.items(), found):
        expected = np.empty_like(value)
        for index in np.ndindex(value.shape):
            ends = []
            for moved in (value[index] + step, value[index] - step):
                at = value.copy()
                at[index] = moved
                ends.append(function(*{**values, name: at}.values()))
            expected[index] = (ends[0] - ends[1]) / (2 * step)
        scale = max(1.0, float(np.abs(expected).max()))
        worst = np.unravel_index(np.abs(gradient - expected).argmax(), expected.shape)
        if not abs(gradient[worst] - expected[worst]) <= 1e-5 * scale:
            raise AssertionError(
                f"the gradient by {name}[{', '.join(map(str, worst))}] is {gradient[worst]:.6g}, "
                f"and finite differences give {expected[worst]:.6g}"
            )


def _compiled(subject: Subject, library: Any, by: list[str], **how: Any) -> tuple[Any, Any]:
    """Compile the penalty, and its gradient by some of the inputs, as functions of all inputs."""
    inputs, layers, outputs = subject.graph(library, subject.network.values())
    penalty = subject.penalty(subject.make(), layers, outputs)
    gradients = library.grad(penalty, [inputs[name] for name in by], disconnected_inputs="ignore")
    how = how or {"rewrites": False}
    arguments = list(inputs.values())
    return library.function(arguments, penalty, **how), library.function(arguments, gradients, **how)


@check("penalty_is_deterministic", "gradient_agrees_with_finite_differences", on=GRAPHS)
def penalty_is_the_same_in_the_default_mode(subject: Subject, library: Any) -> None:
    """Penalty and gradient, compiled and rewritten as users have it, are those of the graph as it stands in Python."""
    subject.needs_penalty()
    values = subject.network.values()
    by = ["in:out", "hid2.w"]  # one of each kind: compiling costs seconds
    plain, default = (_compiled(subject, library, by, **how) for how in ({}, {"default_mode": True}))
    first, second = plain[0](*values.values()), default[0](*values.values())
    if not _near(first, second):
        raise AssertionError(f"the penalty is {first} as it stands, and {second} in {library.name}'s default mode")
    for name, one, other in zip(by, plain[1](*values.values()), default[1](*values.values())):
        if not np.allclose(one, other, rtol=1e-6, atol=1e-9):
            raise AssertionError(f"the gradient by {name} differs in {library.name}'s default mode")


def _near(value: Any, expected: Any, dtype: str = "float64") -> bool:
    return bool(np.allclose(value, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * 1e-3))
