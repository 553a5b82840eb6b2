"""Parameters after an optimizer's step: as a dict of arrays, or as the updates of a graph library."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ._engines import common_engine, engine_of
from ._layers import check_layers, named_params
from ._messages import listed, warn
from ._values import as_python_number
from .errors import GraphError, OptionError

#: Returns changed values of named parameters: called with the values, the rate and the divisors.
Change = Callable[[dict[str, Any], Any, dict[str, Any]], dict[str, Any]]

ACCEPTED = (
    "a dict of names to arrays, or the updates of a graph library: a list of pairs of a shared variable and its new "
    "value, or a dict of them"
)


def stepped(params: Any, rate: Any, layers: Sequence[Any], divisors: Any, change: Change) -> Any:
    """Return parameters or updates with the changes of regularizers, in the form in which they came.

    Parameters
    ----------
    params : dict of str to array, sequence of pairs, or dict of variables
    rate : number, scalar expression, or dict of str to those
    layers : sequence of Layer
    divisors : dict of str to array, or None
    change : callable
    """
    check_layers(layers)
    if isinstance(params, Mapping) and all(isinstance(name, str) for name in params):
        if not params:
            raise OptionError("after_step got no parameters; accepted: all parameters of the network")
        common_engine(params.items())
        first: dict[int, str] = {}  # an array under two names, such as a tied weight, counts once and steps once
        names = {name: first.setdefault(id(value), name) for name, value in params.items()}
        rate, divisors = _by_first_name("rate", rate, names), _by_first_name("divisors", divisors, names)
        changed = _with_rates({name: params[name] for name in first.values()}, rate, divisors, change)
        return {name: changed[one] for name, one in names.items()}
    pairs = list(params.items()) if isinstance(params, Mapping) else params
    if not isinstance(pairs, (list, tuple)) or not all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
        raise OptionError(f"after_step got params={params!r}; accepted: {ACCEPTED}")
    new_values = {id(variable): value for variable, value in pairs}
    known: dict[int, str] = {}
    values = {}
    for layer in layers:
        for name, variable in named_params(layer):
            if id(variable) not in known:
                known[id(variable)] = name
                values[name] = new_values.get(id(variable), variable)
    if not any(variable in known for variable in new_values):
        raise GraphError(
            "after_step got updates of which none is of a parameter of the layers. Pass layers, whose parameters are "
            "the variables that are updated: updates alone do not distinguish parameters from an optimizer's state"
        )
    changed = _with_rates(values, rate, divisors, change)
    # those without an update, which are not trained, count as those of the penalty do, and stay
    return type(params)(
        [(variable, changed[known[id(variable)]] if id(variable) in known else value) for variable, value in pairs]
    )


def _by_first_name(argument: str, given: Any, names: Mapping[str, str]) -> Any:
    """Return a mapping of what parameters have, in which those with several names go by their first.

    Raises
    ------
    OptionError
        If a parameter has one number under one name and another under another.
    """
    if not isinstance(given, Mapping):
        return given
    found: dict[Any, Any] = {}
    for name, one in given.items():
        first = found.setdefault(names.get(name, name), one)
        if None not in (as_python_number(first), as_python_number(one)) and not _same_number(first, one):
            raise OptionError(
                f"after_step got {argument}={first!r} and {argument}={one!r} for one array, which is "
                f"{names[name]!r} and {name!r}; accepted: one"
            )
    return found


def _with_rates(values: dict[str, Any], rate: Any, divisors: Any, change: Change) -> dict[str, Any]:
    """Return values changed with each rate, of which each parameter takes that of its own rate.

    So all parameters count in each. A parameter without a rate stays.
    """
    divisors = _checked_divisors(divisors, values)
    if not isinstance(rate, Mapping):
        _check_rate(rate)
        return change(values, rate, divisors)
    _check_names("rate", rate, values)
    result = dict(values)
    for one in _distinct(rate.values()):
        _check_rate(one)
        changed = change(values, one, divisors)
        mine = [name for name, its in rate.items() if its is one or _same_number(its, one)]
        result.update({name: changed[name] for name in mine})
    return result


def _distinct(rates: Iterable[Any]) -> list[Any]:
    found: list[Any] = []
    for rate in rates:
        if not any(rate is other or _same_number(rate, other) for other in found):
            found.append(rate)
    return found


def _same_number(one: Any, other: Any) -> bool:
    number = as_python_number(one)
    return number is not None and number == as_python_number(other)


def _check_rate(rate: Any) -> None:
    number = as_python_number(rate)
    if number is None and engine_of(rate) is not None and getattr(rate, "ndim", 0) == 0:
        return
    if number is None or not 0 <= number < float("inf"):
        raise OptionError(
            f"after_step got rate={rate!r}; accepted: a finite number of at least 0, a scalar of a library, or a dict "
            "of names of parameters to those"
        )


def _checked_divisors(divisors: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    if divisors is None:
        return {}
    if not isinstance(divisors, Mapping):
        raise OptionError(f"after_step got divisors={divisors!r}; accepted: a dict of names of parameters to arrays")
    _check_names("divisors", divisors, values)
    common_engine([*values.items(), *divisors.items()])
    for name, divisor in divisors.items():
        if divisor.ndim != values[name].ndim or _lengths(divisor) != _lengths(values[name]):
            raise OptionError(
                f"after_step got a divisor of {_described(divisor)} for parameter {name!r} of "
                f"{_described(values[name])}; accepted: an array of the parameter's shape"
            )
    return dict(divisors)


def _lengths(array: Any) -> tuple[int, ...] | None:
    """Return the shape of an array; None of an expression, whose shape is one too."""
    shape = array.shape
    known = isinstance(shape, tuple) and all(isinstance(length, int) for length in shape)
    return tuple(shape) if known else None


def _described(array: Any) -> str:
    shape = _lengths(array)
    return f"{array.ndim} axes" if shape is None else f"shape {shape}"


def _check_names(argument: str, given: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    unknown = [name for name in given if not isinstance(name, str) or name not in values]
    if unknown:
        raise OptionError(
            f"after_step got {argument} for {listed(map(repr, unknown))}; accepted: the full names of parameters, "
            f"{listed(map(repr, values))}"
        )


def check_changes(owner: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Raise if a hook has taken a parameter away, added one, changed integers, or a dtype or the number of axes."""
    for name in (*before, *after):
        if name not in after or name not in before:
            what = "took away" if name not in after else "added"
            raise GraphError(f"{owner}: after_step {what} {name!r}; it changes the values of the parameters there are")
        old, new = before[name], after[name]
        if new is old:
            continue
        if str(old.dtype).startswith(("int", "uint", "bool")):
            raise GraphError(
                f"{owner}: parameter {name!r} is of {old.dtype}, which a step would round. Give floats, or a pattern "
                "that does not match it"
            )
        if (str(new.dtype), new.ndim) != (str(old.dtype), old.ndim):
            raise GraphError(
                f"{owner}: after_step changed {name!r} from {old.dtype}, {old.ndim} axes, to {new.dtype}, {new.ndim}. "
                "regkit.graph.cast gives the amount the dtype of a parameter"
            )


def warn_of_order(members: Iterable[Any]) -> None:
    """Warn, once, of a proximal step after a projection, whose bound it breaks."""
    projected = ""
    for member in members:
        if getattr(member.regularizer, "by", None) == "projection":
            projected = member.name
        elif member.is_proximal and projected:
            if member.memory.is_late:
                return
            member.memory.is_late = True
            warn(
                f"{member.name} is a proximal step after the projection {projected}, and moves parameters off what the "
                "projection holds. Write the projection last"
            )
            return


def count_loss(waiting: Sequence[Any]) -> None:
    """Warn at the second loss of members whose step never came."""
    for member in waiting:
        member.memory.losses += 1
    warn_without_step([member for member in waiting if member.memory.losses > 1])


def warn_without_step(members: Sequence[Any]) -> None:
    """Warn of members that change parameters after a step, where losses came and no step."""
    names = [member.name for member in members]
    if names:
        warn(
            f"{', '.join(names)} {'change' if len(names) > 1 else 'changes'} parameters after an optimizer's step, and "
            "after_step was never called, so it has no effect. Call regs.after_step(params, rate) after each step, or "
            "the after_step of regkit_jax or regkit_tensorflow; in regkit_torch give watch the optimizer"
        )
        for member in members:
            member.memory.stepped = True  # which is said once


def warn_of_schedules(members: Iterable[Any], losses: int) -> None:
    """Warn, from the second loss on, of members whose weight is a schedule that nothing moved."""
    still = [one for one in members if getattr(getattr(one.regularizer, "weight", None), "is_still", False)]
    for member in still:
        member.memory.still += losses
    late = [member for member in still if member.memory.still > 1]
    if late:
        warn(
            f"{', '.join(member.name for member in late)}: the weight follows the step, and nothing moved it, so it "
            "has the value of step 0. In regkit_torch give watch the optimizer; elsewhere call regs.step() after each "
            "step of the optimizer"
        )
        for member in late:
            member.memory.still = -float("inf")  # which is said once
