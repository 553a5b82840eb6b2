"""The promises of a step after the optimizer's: proximal operators, projections, and others."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._layers import Layer
from .._regularizer import implemented
from ..errors import OptionError
from ._checks import EVERYWHERE, GRAPHS, check
from ._subject import ONE_LAYER, NotApplicable, Subject

RATES = (0.02, 0.5, 4.0)
#: How far perturbations go.
SIZES = (1e-3, 0.03, 1.0)
EXAMPLES = 40


def _stepping(subject: Subject, **changes: Any) -> Any:
    """Return a regularizer that acts after a step: by what it can act by beside its gradient, if it has the choice."""
    if not subject.has("after_step"):
        raise NotApplicable("it has no after_step hook")
    if not subject.takes("by") or "by" in subject.options:
        return subject.make(**changes)
    for by in ("proximal", "projection"):
        try:
            return subject.make(by=by, **changes)
        except OptionError:
            continue
    return subject.make(**changes)


def _acts_by(subject: Subject, by: str) -> None:
    if getattr(_stepping(subject), "by", None) != by:
        raise NotApplicable(f"it does not act by a {by.replace('proximal', 'proximal step')}")


def _params(subject: Subject, dtype: str = "float64") -> dict[str, np.ndarray]:
    return {name: value for name, value in subject.network.values(dtype).items() if name != "in:out"}


def _stepped(subject: Subject, regularizer: Any, params: dict[str, Any], rate: Any) -> dict[str, Any]:
    found: dict[str, Any] = subject.set_of(regularizer).after_step(params, rate)
    return found


@check("pattern_selects_what_the_class_states", on=EVERYWHERE)
def step_keeps_names_and_types(subject: Subject, library: Any) -> None:
    """A step keeps the names, dtypes and numbers of axes of parameters, in float32 and float64."""
    for dtype in ("float64", "float32"):
        params = library.inputs(_params(subject, dtype))
        found = _stepped(subject, _stepping(subject), params, 0.5)
        for name, before in params.items():
            after = found[name]
            if (str(after.dtype), after.ndim) != (str(before.dtype), before.ndim):
                raise AssertionError(
                    f"parameter {name!r} of {before.dtype} and {before.ndim} axes became {after.dtype} and {after.ndim}"
                )


@check("step_keeps_names_and_types", on=EVERYWHERE)
def only_matched_parameters_step(subject: Subject, library: Any) -> None:
    """A pattern that matches one layer changes parameters of that layer, and none of others."""
    subject.needs("pattern")
    values = _params(subject)
    moved = _moved(subject, library, values)
    others = sorted(name for name in moved if not name.startswith("hid2"))
    if others:
        raise AssertionError(f"with pattern={ONE_LAYER!r} it changed {', '.join(others)}")
    if not moved:
        raise AssertionError(f"with pattern={ONE_LAYER!r} and a step of {RATES[-1]} it changed no parameter")


def _moved(subject: Subject, library: Any, values: dict[str, np.ndarray]) -> set[str]:
    names = list(values)

    def build(inputs: dict[str, Any]) -> list[Any]:
        found = _stepped(subject, _stepping(subject, pattern=ONE_LAYER), inputs, RATES[-1])
        return [found[name] for name in names]

    found = library.compiled(build, values)(values)
    return {name for name, after in zip(names, found) if not np.array_equal(after, values[name])}


@check("only_matched_parameters_step", on=EVERYWHERE)
def step_of_zero_changes_nothing(subject: Subject, library: Any) -> None:
    """A step of size 0 leaves parameters as they are, unless it is a projection."""
    regularizer = _stepping(subject)
    if getattr(regularizer, "by", None) == "projection":
        raise NotApplicable("a projection holds at any step size")
    params = _params(subject)
    found = library.compiled(lambda inputs: list(_stepped(subject, regularizer, inputs, 0.0).values()), params)(params)
    for (name, before), after in zip(params.items(), found):
        if not np.array_equal(before, after):
            raise AssertionError(f"a step of size 0 changed parameter {name!r}")


@check("only_matched_parameters_step", on=GRAPHS)
def step_is_that_of_arrays(subject: Subject, library: Any) -> None:
    """A step gives what it gives for NumPy's arrays, exact zeros included."""
    params = _params(subject)
    regularizer = _stepping(subject)
    for rate in RATES:
        expected = _stepped(subject, regularizer, dict(params), rate)

        def build(inputs: dict[str, Any], rate: float = rate) -> list[Any]:
            return list(_stepped(subject, regularizer, inputs, rate).values())

        for name, found in zip(params, library.compiled(build, params)(params)):
            if not np.allclose(found, expected[name], rtol=1e-9, atol=1e-12):
                raise AssertionError(f"a step of size {rate} makes another {name!r} than of arrays")
            if not np.array_equal(found == 0, expected[name] == 0):
                raise AssertionError(f"a step of size {rate} makes other zeros of {name!r} than of arrays")


@check("step_is_that_of_arrays", on=GRAPHS)
def step_takes_a_symbolic_rate(subject: Subject, library: Any) -> None:
    """A step whose rate is an expression of float64 is that of the number, and leaves float32 as it is."""
    params, regularizer = _params(subject, "float32"), _stepping(subject)
    types = {name: str(value.dtype) for name, value in params.items()}

    def build(inputs: dict[str, Any]) -> list[Any]:
        found = _stepped(subject, regularizer, {name: inputs[name] for name in params}, inputs["rate"])
        for name, after in found.items():
            if str(after.dtype) != types[name]:
                raise AssertionError(f"by a rate of float64, parameter {name!r} of {types[name]} became {after.dtype}")
        return list(found.values())

    function = library.compiled(build, {**params, "rate": np.asarray(RATES[0])})
    for rate in (*RATES, *RATES):  # a function that is called on may be compiled then
        expected = _stepped(subject, regularizer, dict(params), rate)
        for name, found in zip(params, function({**params, "rate": np.asarray(rate)})):
            if not np.allclose(found, expected[name], rtol=1e-5, atol=1e-6):
                raise AssertionError(
                    f"with a rate that is an expression, {rate} as its value makes another {name!r} than the number. "
                    "A hook does not branch on the amount"
                )


@check("only_matched_parameters_step", on=GRAPHS)
def proximal_penalty_has_no_gradient(subject: Subject, library: Any) -> None:
    """The penalty of a proximal step has no gradient, by which it would count a second time."""
    _acts_by(subject, "proximal")
    subject.needs_penalty()
    params, regularizer = _params(subject), _stepping(subject)

    def build(inputs: dict[str, Any]) -> Any:
        return subject.penalty(regularizer, [Layer("all", inputs)], {})

    _, *gradients = library.compiled(build, params, list(params))(params)
    for name, gradient in zip(params, gradients):
        if np.any(gradient):
            raise AssertionError(
                f"the penalty has a gradient by {name!r}, so it acts by that and by the step. Return "
                "regkit.graph.held(penalty)"
            )


@check("step_of_zero_changes_nothing", on=EVERYWHERE)
def proximal_step_minimizes(subject: Subject, library: Any) -> None:
    r"""A proximal step is the minimum of amount · penalty + ½‖v − w‖²: no perturbation of it has a lower value."""
    _acts_by(subject, "proximal")
    _on_arrays(library)
    regularizer = _stepping(subject)
    rng = np.random.default_rng(0)
    params = _params(subject)
    for rate in RATES:
        found = _stepped(subject, regularizer, dict(params), rate)
        least = _objective(subject, regularizer, found, params, rate)
        for moved in _perturbed(found, rng):
            value = _objective(subject, regularizer, moved, params, rate)
            if value < least - 1e-9 * max(1.0, abs(least)):
                raise AssertionError(
                    f"after a step of size {rate}, amount * penalty + |v - w|^2 / 2 is {least:.9g}, and {value:.9g} "
                    "beside it. The operator is that of the penalty as it is defined, the mean over parameters included"
                )


@check("proximal_step_minimizes", on=EVERYWHERE)
def proximal_step_takes_divisors(subject: Subject, library: Any) -> None:
    r"""With divisors d, it is the minimum of amount · penalty + ½ Σ d (v − w)²; where it takes them."""
    _acts_by(subject, "proximal")
    _on_arrays(library)
    regularizer = _stepping(subject)
    if "divisors" not in implemented(type(regularizer))["after_step"]:
        raise NotApplicable("its step takes no divisors")
    rng, params = np.random.default_rng(3), _params(subject)
    divisors = {name: rng.uniform(0.3, 3, size=value.shape) for name, value in params.items()}
    for rate in RATES:
        found = subject.set_of(regularizer).after_step(dict(params), rate, divisors=divisors)
        least = _objective(subject, regularizer, found, params, rate, divisors)
        for moved in _perturbed(found, rng):
            value = _objective(subject, regularizer, moved, params, rate, divisors)
            if value < least - 1e-9 * max(1.0, abs(least)):
                raise AssertionError(
                    f"after a step of size {rate} with divisors d, amount * penalty + sum(d * (v - w)^2) / 2 is "
                    f"{least:.9g}, and {value:.9g} beside it. The amount of each element is divided by its divisor"
                )


def _objective(
    subject: Subject,
    regularizer: Any,
    moved: dict[str, Any],
    params: dict[str, Any],
    rate: float,
    divisors: dict[str, Any] | None = None,
) -> float:
    regularizers = subject.set_of(regularizer)
    squares = {name: (moved[name] - params[name]) ** 2 for name in params}
    distance = sum(float((square * divisors[name] if divisors else square).sum()) for name, square in squares.items())
    loss = regularizers._hooks.terms([Layer("all", moved)], {"in:out": np.ones(1)})
    return rate * float(sum(term.weighted for term in loss)) + distance / 2


def _perturbed(params: dict[str, Any], rng: Any) -> Any:
    """Yield parameters moved at random, all at once and in one element, and with elements set to 0."""
    for size in SIZES:
        for _ in range(EXAMPLES):
            yield {name: value + size * rng.normal(size=value.shape) for name, value in params.items()}
            name = list(params)[rng.integers(len(params))]
            element = tuple(rng.integers(length) for length in params[name].shape)
            for change in (size, -size, -params[name][element]):
                one = params[name].copy()
                one[element] += change
                yield {**params, name: one}


@check("proximal_step_minimizes", on=EVERYWHERE)
def proximal_step_does_not_expand(subject: Subject, library: Any) -> None:
    """Two parameters are no further from each other after a proximal step than before, as for convex penalties."""
    _acts_by(subject, "proximal")
    _on_arrays(library)
    regularizer, rng, params = _stepping(subject), np.random.default_rng(1), _params(subject)
    for rate in RATES:
        for _ in range(EXAMPLES):
            others = {name: value + 0.3 * rng.normal(size=value.shape) for name, value in params.items()}
            before = _distance(params, others)
            after = _distance(*(_stepped(subject, regularizer, dict(one), rate) for one in (params, others)))
            if after > before * (1 + 1e-9):
                raise AssertionError(f"a step of size {rate} took parameters from a distance of {before} to {after}")


@check("only_matched_parameters_step", on=EVERYWHERE)
def projection_is_the_nearest_point_of_its_set(subject: Subject, library: Any) -> None:
    """A projection of a projection changes nothing, and no other projected point is nearer to the parameters."""
    _acts_by(subject, "projection")
    _on_arrays(library)
    regularizer, rng, params = _stepping(subject), np.random.default_rng(2), _params(subject)
    once = _stepped(subject, regularizer, dict(params), 0.5)
    again = _stepped(subject, regularizer, dict(once), 0.5)
    if not all(np.allclose(once[name], again[name], rtol=1e-12, atol=1e-14) for name in params):
        raise AssertionError("a projection of what is projected changes it")
    nearest = _distance(params, once)
    for moved in _perturbed(params, rng):
        distance = _distance(params, _stepped(subject, regularizer, moved, 0.5))
        if distance < nearest * (1 - 1e-9):
            raise AssertionError(f"the projection is at a distance of {nearest}, and another point at {distance}")


def _distance(first: dict[str, Any], second: dict[str, Any]) -> float:
    return float(np.sqrt(sum(((first[name] - second[name]) ** 2).sum() for name in first)))


def _on_arrays(library: Any) -> None:
    if library.name != "numpy":
        raise NotApplicable("it is checked on arrays, and that steps are those of arrays")
