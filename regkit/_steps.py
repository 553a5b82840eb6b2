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
    "a dict of names to arrays, or the updates of a graph library: pairs of a shared variable and its new value, or a "
    "dict of them"
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
        values = dict(params)
        common_engine(values.items())
        return _with_rates(values, rate, divisors, change)
    pairs = list(params.items()) if isinstance(params, Mapping) else params
    if not isinstance(pairs, (list, tuple)) or not all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
        raise OptionError(f"after_step got params={params!r}; accepted: {ACCEPTED}")
    new_values = {id(variable): value for variable, value in pairs}
    names: dict[int, str] = {}
    values = {}
    for layer in layers:
        for name, variable in named_params(layer):
            if id(variable) not in names:
                names[id(variable)] = name
                values[name] = new_values.get(id(variable), variable)
    if not any(variable in names for variable in new_values):
        raise GraphError(
            "after_step got updates of which none is of a parameter of the layers. Pass layers, whose parameters are "
            "the variables that are updated: updates alone do not distinguish parameters from an optimizer's state"
        )
    changed = _with_rates(values, rate, divisors, change)
    # those without an update, which are not trained, count as those of the penalty do, and stay
    return type(params)(
        [(variable, changed[names[id(variable)]] if id(variable) in names else value) for variable, value in pairs]
    )


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
        result.update({name: changed[name] for name, its in rate.items() if its is one or _same_number(its, one)})
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
        if divisor.ndim != values[name].ndim:
            raise OptionError(
                f"after_step got a divisor of {divisor.ndim} axes for parameter {name!r} of {values[name].ndim}; "
                "accepted: an array of the parameter's shape"
            )
    return dict(divisors)


def _check_names(argument: str, given: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    unknown = [name for name in given if name not in values]
    if unknown:
        raise OptionError(
            f"after_step got {argument} for {listed(map(str, unknown))}; the parameters are {listed(values)}"
        )


def check_changes(owner: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Raise if a hook has taken a parameter away, added one, or changed a dtype or the number of axes."""
    for name in (*before, *after):
        if name not in after or name not in before:
            what = "took away" if name not in after else "added"
            raise GraphError(f"{owner}: after_step {what} {name!r}; it changes the values of the parameters there are")
        old, new = before[name], after[name]
        if new is not old and (str(new.dtype), new.ndim) != (str(old.dtype), old.ndim):
            raise GraphError(
                f"{owner}: after_step changed {name!r} from {old.dtype}, {old.ndim} axes, to {new.dtype}, {new.ndim}. "
                "regkit.graph.cast gives the amount the dtype of a parameter"
            )


def warn_of_order(members: Sequence[Any]) -> None:
    """Warn of a proximal step after a projection, whose bound it breaks."""
    projected = ""
    for member in members:
        if getattr(member.regularizer, "by", None) == "projection":
            projected = member.name
        elif member.is_proximal and projected:
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
