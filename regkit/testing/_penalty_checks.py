"""The promises of a penalty, on every library. All are tried on a network that nothing has changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._engines import library as library_of
from .._layers import Layer
from .._weights import Live
from ..errors import NoMatchError, OptionError
from ._checks import EVERYWHERE, GRAPHS, check
from ._network import named
from ._subject import ONE_LAYER, NotApplicable, Subject, named_parameters

DTYPES = ("float64", "float32")
#: Weights that some classes, or all, refuse.
OTHER_WEIGHTS = (1.0, 1.5, -1.0, float("nan"))
#: How near two values of a dtype have to be, relative to the larger.
TOLERANCE = {"float64": 1e-9, "float32": 2e-4}


@check("pattern_selects_what_the_class_states", on=EVERYWHERE)
def penalty_is_a_scalar(subject: Subject, library: Any) -> None:
    """The loss hook returns an expression of the outputs' library without axes."""
    subject.needs_penalty()
    penalty, outputs, _ = subject.tried(library, subject.network.values())
    if penalty is None:
        raise AssertionError(f"loss returned None for the outputs {', '.join(outputs)}, so nothing of it can be proven")
    if library_of(penalty) != library.name:
        raise AssertionError(f"loss returned an expression of {library_of(penalty)} for outputs of {library.name}")
    if penalty.ndim != 0:
        raise AssertionError(f"loss returned an array of {penalty.ndim} axes, and has to return a scalar")


@check("penalty_is_a_scalar", on=EVERYWHERE)
def loss_leaves_the_outputs_alone(subject: Subject, library: Any) -> None:
    """The loss hook changes no array of an output or a parameter in place."""
    subject.needs_penalty()
    if not library.changes_in_place:
        raise NotApplicable(f"nothing changes an expression of {library.name} in place")
    inputs, layers, outputs = subject.graph(library, subject.network.values())
    arrays = {**outputs, **inputs}
    before = {name: array.copy() for name, array in arrays.items()}
    subject.penalty(subject.make(), layers, outputs)
    changed = [name for name, array in arrays.items() if not np.array_equal(array, before[name])]
    if changed:
        raise AssertionError(f"loss changed the arrays of {', '.join(changed)}. Only modify_graph changes outputs")


@check("penalty_is_a_scalar", on=EVERYWHERE)
def penalty_is_finite(subject: Subject, library: Any) -> None:
    """The penalty is a finite number."""
    subject.needs_penalty()
    for dtype in DTYPES:
        (value,) = subject.compiled(library, dtype)(subject.network.values(dtype))
        if not np.isfinite(value):
            raise AssertionError(f"the penalty of {dtype} outputs is {value}. Network has other activations to try")


@check("penalty_is_a_scalar", on=EVERYWHERE)
def penalty_has_the_dtype_of_the_outputs(subject: Subject, library: Any) -> None:
    """Outputs of float32 give a penalty of float32, also where floatX is float64; float64 likewise."""
    subject.needs_penalty()
    for dtype in DTYPES:
        with library.float_type("float64" if dtype == "float32" else "float32"):
            penalty, _, _ = subject.tried(library, subject.network.values(dtype))
        if str(penalty.dtype) != dtype:
            raise AssertionError(
                f"outputs of {dtype} give a penalty of {penalty.dtype}. "
                "regkit.graph.cast gives numbers and counts the dtype of an expression"
            )


@check("penalty_is_finite", on=EVERYWHERE)
def penalty_is_deterministic(subject: Subject, library: Any) -> None:
    """Two regularizers with the same options, and the same seed if they take one, give the same penalty."""
    subject.needs_penalty()
    values = subject.network.values()
    again = library.compiled(subject.penalty_of(library), values)
    (first,), (second,) = subject.compiled(library)(values), again(values)
    if first != second:
        raise AssertionError(f"two regularizers with the same options gave {first} and {second}")


@check("penalty_is_deterministic", on=EVERYWHERE)
def penalty_is_that_of_the_graph_given(subject: Subject, library: Any) -> None:
    """A regularizer that has seen one graph gives the penalty of the next, and keeps nothing of the first."""
    subject.needs_penalty()
    first, second = (subject.network.values() for _ in range(2))
    second["in:out"] = second["in:out"] * 0.5 + 0.2
    for name in [name for name in second if name.endswith(".w")]:
        second[name] = second[name] * 0.5 + 0.2
    regularizer = subject.make()
    subject.tried(library, first, regularizer)
    second_graph = "of a second graph the same regularizer gave"
    try:
        (found,) = library.compiled(subject.penalty_of(library, regularizer), second)(second)
    except Exception as error:  # each library has its own for an input that is missing
        raise AssertionError(
            f"{second_graph} an expression that cannot be computed there: {type(error).__name__}: {error}"
        ) from error
    (expected,) = subject.compiled(library)(second)
    if found != expected:
        raise AssertionError(f"{second_graph} {found}, and a new one gives {expected}. Keep nothing of a graph")


@check("penalty_is_deterministic", on=EVERYWHERE)
def unmatched_outputs_do_not_count(subject: Subject, library: Any) -> None:
    """The penalty of one layer does not change with the outputs and parameters of others, except the input."""
    subject.needs_penalty()
    subject.needs("pattern")
    values = subject.network.values()

    def build(inputs: dict[str, Any]) -> Any:
        layers, outputs = subject.network.connect(inputs, library.tensor_module)
        others = ("hid1:out", "out:out")
        outputs = {name: z * 0.5 + 0.2 if name in others else z for name, z in outputs.items()}
        layers = [_with_other_params(layer) for layer in layers]
        return subject.penalty(subject.make(pattern=ONE_LAYER), layers, outputs)

    penalties = [
        function(values)[0]
        for function in (subject.compiled(library, pattern=ONE_LAYER), library.compiled(build, values))
    ]
    if penalties[0] != penalties[1]:
        raise AssertionError(
            f"with pattern={ONE_LAYER!r} the penalty went from {penalties[0]} to {penalties[1]} "
            "when outputs and parameters of other layers changed"
        )


def _with_other_params(layer: Layer) -> Layer:
    if layer.output_name.startswith("hid2"):
        return layer
    params = zip(layer.param_names, layer.params)
    return Layer(layer.output_name, {name: named(name, param * 0.5 + 0.2) for name, param in params})


@check("penalty_is_a_scalar", on=EVERYWHERE)
def nothing_matched_is_an_error(subject: Subject, library: Any) -> None:
    """A pattern that matches nothing is a NoMatchError of the set."""
    subject.needs("pattern")
    pattern = "no such output or parameter"
    regularizers = subject.set_of(subject.make(pattern=pattern))
    try:
        _, layers, outputs = subject.graph(library, subject.network.values(), regularizers)
        result = regularizers.loss(layers, outputs)
        if regularizers.changes_params:
            result = regularizers.after_step(named_parameters(layers), 1, layers)
    except NoMatchError:
        return
    raise AssertionError(f"with pattern={pattern!r} the set returned {result}; expected a NoMatchError")


@check("penalty_is_finite", on=EVERYWHERE)
def loss_is_linear_in_the_weight(subject: Subject, library: Any) -> None:
    """The set's loss is the weight times its loss for a weight of 1: the hook itself does not use the weight."""
    subject.needs_penalty()
    subject.needs("weight")
    weights = (0.25, 0.5, 0.75)
    values = subject.network.values()

    def build(inputs: dict[str, Any]) -> list[Any]:
        layers, outputs = subject.network.connect(inputs, library.tensor_module)
        return [subject.set_of(subject.make(weight=weight)).loss(layers, outputs) for weight in weights]

    losses = library.compiled(build, values)(values)
    for weight, loss in zip(weights, losses):
        expected = losses[1] * weight / weights[1]
        if not _near(loss, expected):
            raise AssertionError(
                f"weights {weights} gave losses {', '.join(map(str, losses))}, not in the same ratio. "
                "loss returns the penalty without the weight"
            )


@check("loss_is_linear_in_the_weight", on=GRAPHS)
def weight_may_be_live(subject: Subject, library: Any) -> None:
    """A compiled function follows a Live or a shared scalar as weight; a Live refuses values that a weight refuses."""
    subject.needs("weight")
    live, shared = Live(0.25), library.shared(np.asarray(0.25))
    weights = [live] if shared is None else [live, shared]
    sets = [subject.set_of(subject.make(weight=weight)) for weight in weights]
    for weight in OTHER_WEIGHTS:
        if _refused(subject.make, weight=weight) != _refused(live.set, weight):
            raise AssertionError(
                f"the weight {weight} is refused by the constructor or by a Live, and not by both. "
                "weight_below of the class is the limit of its weights"
            )
    live.set(0.25)
    if not subject.has("loss"):
        return
    values = subject.network.values()

    def build(inputs: dict[str, Any]) -> list[Any]:
        graph = subject.network.connect(inputs, library.tensor_module)
        return [regularizers.loss(*graph) for regularizers in sets]

    function = library.compiled(build, values)
    before = function(values)
    live.set(0.75)
    if shared is not None:
        shared.set_value(np.asarray(0.75))
    for kind, one, other in zip(("Live", "shared"), before, function(values)):
        if not _near(other, 3 * one):
            raise AssertionError(f"a {kind} weight went from 0.25 to 0.75 and the loss from {one} to {other}")


def _refused(use: Callable[..., Any], *arguments: Any, **named_arguments: Any) -> bool:
    try:
        use(*arguments, **named_arguments)
    except OptionError:
        return True
    return False


@check("penalty_is_deterministic", on=EVERYWHERE)
def penalty_equals_the_numpy_twin(subject: Subject, library: Any) -> None:
    """The penalty equals that of the author's NumPy twin for the same numbers."""
    subject.needs_penalty()
    if subject.twin is None:
        raise NotApplicable("no NumPy twin was given")
    for pattern in (None, ONE_LAYER) if subject.takes("pattern") else (None,):
        for dtype in DTYPES:
            regularizer = subject.make(**({} if pattern is None else {"pattern": pattern}))
            expected = subject.twin_value(regularizer, dtype)
            (value,) = subject.compiled(library, dtype, pattern=pattern)(subject.network.values(dtype))
            if not _near(value, expected, dtype):
                raise AssertionError(f"{regularizer!r} of {dtype} outputs gave {value} where the twin gave {expected}")


@check("penalty_is_deterministic", on=GRAPHS)
def gradient_agrees_with_finite_differences(subject: Subject, library: Any) -> None:
    """The gradient by the input and by all parameters is that of small steps in both directions."""
    subject.needs_gradient()
    values = subject.network.values()
    function = subject.compiled(library)
    _, *found = subject.compiled(library, gradients=True)(values)
    step = 1e-6
    for (name, value), gradient in zip(values.items(), found):
        expected = np.empty_like(value)
        for index in np.ndindex(value.shape):
            ends = []
            for moved in (value[index] + step, value[index] - step):
                at = value.copy()
                at[index] = moved
                ends.append(function({**values, name: at})[0])
            expected[index] = (ends[0] - ends[1]) / (2 * step)
        scale = max(1.0, float(np.abs(expected).max()))
        worst = np.unravel_index(np.abs(gradient - expected).argmax(), expected.shape)
        if not abs(gradient[worst] - expected[worst]) <= 1e-5 * scale:
            raise AssertionError(
                f"the gradient by {name}[{', '.join(map(str, worst))}] is {gradient[worst]:.6g}, "
                f"and finite differences give {expected[worst]:.6g}"
            )


@check("gradient_agrees_with_finite_differences", on=GRAPHS)
def gradient_is_not_zero_everywhere(subject: Subject, library: Any) -> None:
    """Some input or parameter changes the penalty: a gradient of zeros trains nothing."""
    subject.needs_gradient()
    _, *gradients = subject.compiled(library, gradients=True)(subject.network.values())
    if not any(gradient.any() for gradient in gradients):
        raise AssertionError(
            "the gradient by the input and by all parameters is zero everywhere, so the penalty trains nothing. "
            "round, sign, floor and comparisons have no other"
        )


@check("gradient_is_not_zero_everywhere", on=GRAPHS, costly=True)
def penalty_is_the_same_in_the_default_mode(subject: Subject, library: Any) -> None:
    """Penalty and gradient are the same in the library's default mode, and in Python without rewrites."""
    subject.needs_penalty()
    values = subject.network.values()
    # compiling costs seconds: the penalty of one layer, and one gradient that leads through all that it is made of
    one_layer: dict[str, Any] = {"pattern": ONE_LAYER} if subject.takes("pattern") else {}
    penalty = subject.penalty_of(library, **one_layer)
    plain, *gradients = library.compiled(penalty, values, list(values))(values)
    by = next((name for name in ("hid2.w", "in:out") if gradients[list(values).index(name)].any()), "hid1.w")
    default = library.compiled(penalty, values, [by], default_mode=True)(values)
    if not _near(plain, default[0]):
        raise AssertionError(f"the penalty is {plain} as it stands, and {default[0]} in {library.name}'s default mode")
    if not np.allclose(gradients[list(values).index(by)], default[1], rtol=1e-6, atol=1e-9):
        raise AssertionError(f"the gradient by {by} differs in {library.name}'s default mode")


def _near(value: Any, expected: Any, dtype: str = "float64") -> bool:
    return bool(np.allclose(value, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * 1e-3))
