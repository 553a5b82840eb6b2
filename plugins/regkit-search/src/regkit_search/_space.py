"""The space of a search: options of `regkit.build` and further parameters, with distributions of Optuna as values."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from numbers import Real
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, distribution_to_json
from optuna.trial import Trial as OptunaTrial

import regkit

Params = Mapping[str, Any]

#: The columns of a table of trials beside parameters and measures.
COLUMNS = ("number", "state", "failure")

#: Names that begin so are not for measures.
RESERVED = "regkit:"

#: The name beside the arguments of an alias whose value decides whether the alias is used.
USED = "used"


@dataclass(frozen=True)
class Parameter:
    """One distribution, and the regularizer and argument it belongs to, if any."""

    distribution: BaseDistribution
    member: str = ""
    argument: str = ""

    @property
    def live(self) -> bool:
        """Whether it is a weight with numbers for values, which changes without a new compilation."""
        choices = getattr(self.distribution, "choices", ())  # other distributions are of numbers
        return self.argument == "weight" and all(isinstance(one, Real) and not isinstance(one, bool) for one in choices)

    @property
    def structural(self) -> bool:
        """Whether another value needs another compilation."""
        return bool(self.member) and not self.live

    def extremes(self) -> tuple[Any, ...]:
        """Return every choice, or both ends."""
        one: Any = self.distribution
        return tuple(one.choices) if isinstance(one, CategoricalDistribution) else (one.low, one.high)


class Space:
    """The parameters of a search by name, and the options for `regkit.build` that follow from their values.

    The arguments are ``space`` and ``parameters`` of `run`.
    """

    def __init__(self, options: Mapping[str, Any], parameters: Mapping[str, BaseDistribution] | None = None) -> None:
        if not isinstance(options, Mapping) or not (options or parameters):
            raise regkit.OptionError(
                f"the space is {options!r}; accepted: a mapping of aliases to values, some of them distributions"
            )
        #: The alias of each regularizer, its name in a set, and its arguments.
        self._members = [member for alias, value in options.items() for member in _members(alias, value)]
        self._own = dict(parameters or {})
        self.parameters = {
            f"{name}.{argument}": Parameter(given, name, argument)
            for _, name, arguments in self._members
            for argument, given in arguments.items()
            if isinstance(given, BaseDistribution)
        }
        for name, distribution in self._own.items():
            is_free = isinstance(name, str) and name not in (*COLUMNS, *self.parameters)
            if not is_free or not isinstance(distribution, BaseDistribution):
                raise regkit.OptionError(
                    f"parameters has {name!r}: {distribution!r}; accepted: distributions of Optuna, such as "
                    "FloatDistribution(1e-4, 1, log=True), under names that the space does not have, and not "
                    "number, state or failure"
                )
            self.parameters[name] = Parameter(distribution)
        if not self.parameters:
            raise regkit.OptionError(
                "the space has no distribution, so there is nothing to search. Give one, such as "
                "FloatDistribution(1e-3, 1, log=True) for a weight"
            )
        self._check()

    def suggest(self, trial: OptunaTrial) -> dict[str, Any]:
        """Return the values of a trial's parameters. An alias that is not used has no other parameters."""
        found: dict[str, Any] = {}
        for name in self._needed(found):
            found[name] = trial._suggest(name, self.parameters[name].distribution)
        return found

    def is_complete(self, params: Params) -> bool:
        """Return whether every parameter that the others need has a value, and nothing else has one."""
        return set(self._needed(params)) == set(params)

    def enqueued(self, params: Any) -> dict[str, Any]:
        """Return parameters as plain values; raise `regkit.OptionError` unless the space has them and their values."""
        if not isinstance(params, Mapping):
            raise regkit.OptionError(f"enqueue has {params!r}; accepted: mappings of names of parameters to values")
        plain = {}
        for name, value in params.items():
            if name not in self.parameters:
                raise regkit.OptionError(
                    f"enqueue has {name!r}, which is no parameter.{did_you_mean(name, self.parameters)} Parameters: "
                    f"{', '.join(self.parameters)}"
                )
            distribution = self.parameters[name].distribution
            try:
                internal = distribution.to_internal_repr(value)
                accepted = distribution._contains(internal)
            except ValueError:
                accepted = False
            if not accepted:
                raise regkit.OptionError(f"enqueue has {name}={value!r}; accepted: a value of {distribution}")
            plain[name] = distribution.to_external_repr(internal)
        return plain

    def structure(self, params: Params) -> str:
        """Return a text that trials have in common if they share a compilation."""
        named = {name: value for name, value in params.items() if self.parameters[name].structural}
        return json.dumps(named, sort_keys=True)

    def weights(self, params: Params) -> dict[str, float]:
        """Return the live weights of a trial, by the names of their regularizers."""
        return {self.parameters[name].member: value for name, value in params.items() if self.parameters[name].live}

    def options(self, params: Params, lives: Mapping[str, regkit.Live] | None = None) -> dict[str, Any]:
        """Return the options for `regkit.build`, with these objects for live weights, or with their values."""
        built: dict[str, list[Any]] = {}
        for alias, name, arguments in self._members:
            value = {argument: params.get(f"{name}.{argument}", given) for argument, given in arguments.items()}
            if value.pop(USED, True) and value.get("weight", 0) is not None:
                live = {"weight": lives[name]} if lives and name in lives else {}
                built.setdefault(alias, []).append({**value, **live})
        return {alias: values[0] if len(values) == 1 else values for alias, values in built.items()}

    def written(self) -> dict[str, Any]:
        """Return the space in a form for JSON. Equal forms are the same search."""
        space = {name: arguments for _, name, arguments in self._members}
        every = {"space": space, **({"parameters": self._own} if self._own else {})}
        as_written = json.dumps(every, default=lambda one: {"distribution": json.loads(distribution_to_json(one))})
        return dict(json.loads(as_written))

    def _needed(self, params: Params) -> Iterator[str]:
        """Yield the names of parameters, without those of aliases that are not used."""
        for _, name, arguments in self._members:
            switch = f"{name}.{USED}"
            names = [one for one in (f"{name}.{argument}" for argument in arguments) if one in self.parameters]
            for one in sorted(names, key=lambda one: one != switch):  # the switch first
                yield one
                if one == switch and not params.get(switch):
                    break
        yield from self._own

    def _check(self) -> None:
        """Build with both ends or all choices of each distribution, the other parameters at their first value."""
        first = {name: one.argument == USED or one.extremes()[0] for name, one in self.parameters.items()}
        regkit.build(self.options(first))
        for name, parameter in self.parameters.items():
            for value in parameter.extremes() if parameter.member else ():
                try:
                    regkit.build(self.options({**first, name: value}))
                except regkit.RegkitError as error:
                    raise regkit.OptionError(
                        f"{name} may become {value!r} by its distribution, {parameter.distribution}: {error}"
                    ) from None


def did_you_mean(name: Any, names: Collection[str]) -> str:
    """Return the question whether the most similar name is meant; an empty string if none is similar."""
    near = get_close_matches(str(name), names, 1)
    return f" Did you mean {near[0]!r}?" if near else ""


def _members(alias: Any, value: Any) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the regularizers of an alias: the alias, the name of each in a set, and its arguments."""
    if not isinstance(alias, str):
        raise regkit.OptionError(f"the space has the alias {alias!r}; accepted: names")
    regkit.load(alias)
    values = value if isinstance(value, (list, tuple)) else [value]
    if not values:
        raise regkit.OptionError(f"the space has an empty list for {alias!r}; accepted: one value or more")
    for number, one in enumerate(values):
        arguments = dict(one) if isinstance(one, Mapping) else {"weight": one}
        for argument, given in arguments.items():
            _check_argument(alias, argument, given)
        yield alias, f"{alias}[{number}]" if number else alias, arguments


def _check_argument(alias: str, argument: str, given: Any) -> None:
    if isinstance(given, BaseDistribution):
        if argument == USED and set(getattr(given, "choices", ())) != {True, False}:
            raise regkit.OptionError(f"{alias}.{USED} is {given}; accepted: CategoricalDistribution([True, False])")
        return
    try:
        json.dumps(given, allow_nan=False)
    except (TypeError, ValueError):
        raise regkit.OptionError(
            f"the space has {argument}={given!r} for {alias!r}; accepted: distributions of Optuna, and values that "
            "JSON can hold, because the space is stored and sent to other machines"
        ) from None
