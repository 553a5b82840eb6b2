"""What is searched: options of `regkit.build` in which distributions stand for values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.trial import Trial as OptunaTrial

import regkit

Params = Mapping[str, Any]

#: What stands beside the arguments of an alias and says whether it is there at all.
USED = "used"


@dataclass(frozen=True)
class Parameter:
    """One distribution of a space: its name for Optuna, whose argument it is, and whether it is a live weight."""

    name: str
    member: str
    argument: str
    distribution: BaseDistribution

    @property
    def live(self) -> bool:
        """Whether trials that differ in it alone share a compilation: weights that are numbers, whichever."""
        return self.argument == "weight" and _numbers(self.distribution)

    def suggest(self, trial: OptunaTrial) -> Any:
        """Return the value that Optuna suggests."""
        one = self.distribution
        if isinstance(one, FloatDistribution):
            return trial.suggest_float(self.name, one.low, one.high, step=one.step, log=one.log)
        if isinstance(one, IntDistribution):
            return trial.suggest_int(self.name, one.low, one.high, step=one.step, log=one.log)
        return trial.suggest_categorical(self.name, one.choices)

    def extremes(self) -> tuple[Any, ...]:
        """Return the values that are tried before a search: every choice, or both ends."""
        one = self.distribution
        return one.choices if isinstance(one, CategoricalDistribution) else (one.low, one.high)


class Space:
    """A space: its parameters by name, and what trials with values for them are to build.

    Parameters
    ----------
    options : mapping of str to value
        As `regkit.build` takes them, with distributions of Optuna in the place of values.

    Raises
    ------
    regkit.RegkitError
        If an alias is unknown, or an argument does not take what its distribution may give.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        if not isinstance(options, Mapping) or not options:
            raise regkit.OptionError(
                f"the space is {options!r}; accepted: a mapping of aliases to values, some of them distributions"
            )
        self._members = {alias: _members(alias, value) for alias, value in options.items()}
        self.parameters = {
            one.name: one for members in self._members.values() for member in members for one in _parameters(*member)
        }
        if not self.parameters:
            raise regkit.OptionError(
                "the space has no distribution, so there is nothing to search. Give one, such as "
                "FloatDistribution(1e-3, 1, log=True) for a weight"
            )
        self._check()

    @property
    def has_one_structure(self) -> bool:
        """Whether all trials share one compilation."""
        return all(one.live for one in self.parameters.values())

    def suggest(self, trial: OptunaTrial) -> dict[str, Any]:
        """Return a trial's parameters, those that it has already and those that Optuna suggests now.

        Parameters of an alias that is not used are not asked for.
        """
        found: dict[str, Any] = {}
        for name in self._needed(found):
            found[name] = self.parameters[name].suggest(trial)
        return found

    def is_complete(self, params: Params) -> bool:
        """Tell whether there is a value for each parameter that is needed beside the others."""
        return all(name in params for name in self._needed(params))

    def structure(self, params: Params) -> str:
        """Return what trials that share a compilation have in common."""
        named = {name: value for name, value in params.items() if not self.parameters[name].live}
        return json.dumps(named, sort_keys=True)

    def weights(self, params: Params) -> dict[str, float]:
        """Return the live weights among a trial's parameters, by the names of their members."""
        return {self.parameters[name].member: value for name, value in params.items() if self.parameters[name].live}

    def options(self, params: Params, lives: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return what `regkit.build` takes for a trial.

        Parameters
        ----------
        params : mapping of str to value
        lives : mapping of str to Live, optional
            What stands for live weights, by the names of their members; by default their values.
        """
        built = {}
        for alias, members in self._members.items():
            values = [self._value(name, arguments, params, lives) for name, arguments in members]
            values = [value for value in values if value is not None]
            if values:
                built[alias] = values[0] if len(members) == 1 else values
        return built

    def written(self) -> dict[str, Any]:
        """Return the space as JSON has it: two searches are one if this is the same."""
        return {
            alias: {
                name: {
                    argument: {"distribution": json.loads(distribution_to_json(value))}
                    if isinstance(value, BaseDistribution)
                    else value
                    for argument, value in arguments.items()
                }
                for name, arguments in members
            }
            for alias, members in self._members.items()
        }

    def _needed(self, params: Params) -> Iterator[str]:
        """Yield the names of parameters in order, without those of aliases that are not used."""
        for members in self._members.values():
            for name, arguments in members:
                own = [one.name for one in _parameters(name, arguments)]
                switch = f"{name}.{USED}"
                if switch in own:
                    yield switch
                    if not params.get(switch):
                        continue
                    own.remove(switch)
                yield from own

    def _value(self, name: str, arguments: Mapping[str, Any], params: Params, lives: Any) -> Any:
        """The mapping that one member is built from; None if it is not used."""
        made = {}
        for argument, given in arguments.items():
            parameter = self.parameters.get(f"{name}.{argument}")
            if parameter is None:
                made[argument] = given
            elif argument == USED:
                if not params[parameter.name]:
                    return None
            elif lives is not None and parameter.live:
                made[argument] = lives[name]
            else:
                made[argument] = params[parameter.name]
        return None if made.get("weight", 0) is None else made

    def _check(self) -> None:
        """Try every distribution's extremes, the others at their first, before anything is compiled for them."""
        first = {name: _first(one) for name, one in self.parameters.items()}
        regkit.build(self.options(first))
        for name, parameter in self.parameters.items():
            for value in parameter.extremes():
                try:
                    regkit.build(self.options({**first, name: value}))
                except regkit.RegkitError as error:
                    raise regkit.OptionError(
                        f"{name} may become {value!r} by its distribution, {parameter.distribution}: {error}"
                    ) from None


def _first(parameter: Parameter) -> Any:
    return True if parameter.argument == USED else parameter.extremes()[0]


def _numbers(distribution: BaseDistribution) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return all(isinstance(one, Real) and not isinstance(one, bool) for one in distribution.choices)
    return True


def _members(alias: Any, value: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return the regularizers of an alias: the name of each in a set, and its arguments."""
    if not isinstance(alias, str):
        raise regkit.OptionError(f"the space has the alias {alias!r}; accepted: names")
    cls = regkit.load(alias)
    values = value if isinstance(value, (list, tuple)) else [value]
    if not values:
        raise regkit.OptionError(f"the space has an empty list for {alias!r}; accepted: one value or more")
    return [
        (f"{alias}[{number}]" if number else alias, _arguments(alias, one, cls)) for number, one in enumerate(values)
    ]


def _arguments(alias: str, value: Any, cls: type) -> dict[str, Any]:
    arguments = dict(value) if isinstance(value, Mapping) else {"weight": value}
    for argument, given in arguments.items():
        if isinstance(given, BaseDistribution):
            if argument == USED and set(_choices(given)) != {True, False}:
                raise regkit.OptionError(f"{alias}.{USED} is {given}; accepted: CategoricalDistribution([True, False])")
            continue
        try:
            json.dumps(given, allow_nan=False)
        except (TypeError, ValueError):
            raise regkit.OptionError(
                f"the space has {argument}={given!r} for {alias!r}; accepted: distributions of Optuna, and what JSON "
                "has a form for: a search is told from another by its space, and goes to other machines"
            ) from None
    return arguments


def _choices(distribution: BaseDistribution) -> tuple[Any, ...]:
    return distribution.choices if isinstance(distribution, CategoricalDistribution) else ()


def _parameters(member: str, arguments: Mapping[str, Any]) -> Iterator[Parameter]:
    for argument, given in arguments.items():
        if isinstance(given, BaseDistribution):
            yield Parameter(f"{member}.{argument}", member, argument, given)
