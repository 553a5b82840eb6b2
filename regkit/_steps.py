"""Parameters after an optimizer's step: as a dict of arrays, or as the updates of a graph library."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ._engines import common_engine, engine_of
from ._layers import check_layers, named_params
from ._messages import warn
from ._values import as_python_number
from .errors import GraphError, OptionError

Change = Callable[[dict[str, Any], Any, Sequence[Any]], dict[str, Any]]

ACCEPTED = (
    "a dict of names to arrays, or the updates of a graph library: pairs of a shared variable and its new value, or a "
    "dict of them"
)


def stepped(params: Any, rate: Any, layers: Sequence[Any], change: Change) -> Any:
    """Return parameters or updates with the changes of regularizers, in the form in which they came.

    Parameters
    ----------
    params : dict of str to array, sequence of pairs, or dict of variables
    rate : number or scalar expression
    layers : sequence of Layer
    change : callable
        Returns changed values of named parameters: called with the values, the rate and the layers.
    """
    check_layers(layers)
    _check_rate(rate)
    if isinstance(params, Mapping) and all(isinstance(name, str) for name in params):
        values = dict(params)
        common_engine(values.items())
        return change(values, rate, layers)
    pairs = list(params.items()) if isinstance(params, Mapping) else params
    if not isinstance(pairs, (list, tuple)) or not all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
        raise OptionError(f"after_step got params={params!r}; accepted: {ACCEPTED}")
    updated = _with_changes(pairs, rate, layers, change)
    return type(params)(updated)


def _with_changes(
    pairs: Sequence[tuple[Any, Any]], rate: Any, layers: Sequence[Any], change: Change
) -> list[tuple[Any, Any]]:
    """Return updates in which the new values of the layers' parameters are changed.

    Parameters without an update, which are not trained, count as those of the penalty do, and stay.
    """
    new_values = {id(variable): value for variable, value in pairs}
    names: dict[int, str] = {}
    values: dict[str, Any] = {}
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
    changed = change(values, rate, layers)
    return [(variable, changed[names[id(variable)]] if id(variable) in names else value) for variable, value in pairs]


def _check_rate(rate: Any) -> None:
    number = as_python_number(rate)
    if number is None and engine_of(rate) is not None and getattr(rate, "ndim", 0) == 0:
        return
    if number is None or not 0 <= number < float("inf"):
        raise OptionError(
            f"after_step got rate={rate!r}; accepted: a finite number of at least 0, or a scalar of a library"
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
        by = getattr(member.regularizer, "by", None)
        if by == "projection":
            projected = member.name
        elif by == "proximal" and projected:
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
            "after_step was never called, so it has no effect. Call regs.after_step(params, rate) after each "
            "step, or the after_step of regkit_torch, regkit_jax or regkit_tensorflow"
        )
        for member in members:
            member.memory.stepped = True  # which is said once
