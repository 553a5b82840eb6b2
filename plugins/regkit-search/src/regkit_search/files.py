"""The file of a search, in TOML: what `run` takes, read and checked, each mistake told with the key that it is in."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler

import regkit

from .searching import aims_of
from .spaces import Space

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: The keys of a distribution. A table in the place of an argument's value is always one.
NUMBERS, CHOICES = ("low", "high", "log", "step", "integer"), "choices"

EXAMPLE = "{ low = 1e-3, high = 1, log = true } or { choices = [...] }"


@dataclass(frozen=True)
class SearchFile:
    """What the file of a search says; without a value, what `run` has by default."""

    path: Path
    prepare: str
    space: Mapping[str, Any]
    aims: Mapping[str, list[str]]  #: by direction
    trials: int | None
    seed: int
    storage: str
    name: str | None
    client: str | None
    workers: int | None
    sampler: BaseSampler | None
    pruner: BasePruner | None


def read(path: Path) -> SearchFile:
    """Return what the file of a search says.

    Raises
    ------
    regkit.OptionError
        If it cannot be read, or a key or a value is not accepted. Nothing that it names is imported yet.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise regkit.OptionError(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise regkit.OptionError(f"{path} is not TOML: {error}") from error
    try:
        return _checked(path, found)
    except regkit.RegkitError as error:
        raise regkit.OptionError(f"{path}: {error}") from error


def _checked(path: Path, found: Mapping[str, Any]) -> SearchFile:
    _known_keys("", found, KEYS)
    for key in ("prepare", "space"):
        if key not in found:
            raise regkit.OptionError(f"{key} is missing; accepted: {KEYS[key][1]}")
    for key, value in found.items():
        is_accepted, accepted = KEYS[key]
        if not is_accepted(value):
            raise regkit.OptionError(f"{key} is {value!r}; accepted: {accepted}")
    if {"client", "workers"} <= found.keys():
        raise regkit.OptionError("client and workers are both there. Give client for a cluster that runs already")
    aims = {direction: _names(found.get(direction, [])) for direction in ("minimize", "maximize")}
    aims_of(**aims)
    space = {alias: _of_alias(f"space.{alias}", value) for alias, value in found["space"].items()}
    try:
        Space(space)
    except regkit.RegkitError as error:
        raise regkit.OptionError(f"space: {error}") from error
    storage = found.get("storage", path.with_suffix(".db").name)
    return SearchFile(
        path=path,
        prepare=found["prepare"],
        space=space,
        aims=aims,
        trials=found.get("trials"),
        seed=found.get("seed", 0),
        storage=storage if "://" in storage else str(path.parent / Path(storage).expanduser()),
        name=found.get("name"),
        client=found.get("client"),
        workers=found.get("workers"),
        sampler=_of_optuna("sampler", found.get("sampler"), BaseSampler),
        pruner=_of_optuna("pruner", found.get("pruner"), BasePruner),
    )


def _known_keys(where: str, found: Iterable[str], known: Iterable[str]) -> None:
    """Raise if a key is not known, with the one that was probably meant."""
    known = list(known)
    for key in found:
        if key not in known:
            near = next(iter(get_close_matches(key, known, 1, 0.6)), None)
            meant = f" Did you mean {near!r}?" if near else ""
            raise regkit.OptionError(f"{where}{key} is not a key.{meant} Accepted: {', '.join(known)}")


def _names(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


# The space


def _of_alias(where: str, value: Any) -> Any:
    """An alias' value: a distribution of its weight, arguments, or what `regkit.build` takes; several in a list."""
    if isinstance(value, list):
        return [_of_alias(f"{where}[{number}]", one) for number, one in enumerate(value)]
    if isinstance(value, dict):
        if value and value.keys() <= {*NUMBERS, CHOICES}:
            return _distribution(where, value)
        return {argument: _of_argument(f"{where}.{argument}", one) for argument, one in value.items()}
    return _plain(where, value)


def _of_argument(where: str, value: Any) -> Any:
    return _distribution(where, value) if isinstance(value, dict) else _plain(where, value)


def _plain(where: str, value: Any) -> Any:
    """A value that stands for itself, in lists as well."""
    if isinstance(value, list):
        return [_plain(where, one) for one in value]
    if not isinstance(value, (str, int, float)):
        kind = "a table" if isinstance(value, dict) else f"of type {type(value).__name__}"
        raise regkit.OptionError(f"{where} is {kind}; accepted: numbers, words, true, false, lists of them, {EXAMPLE}")
    return value


def _distribution(where: str, table: Mapping[str, Any]) -> BaseDistribution:
    """What a table stands for. Numbers are floats unless ``integer`` is true: ``high = 1`` means what 1.0 does."""
    _known_keys(f"{where}.", table, (*NUMBERS, CHOICES))
    try:
        if CHOICES in table:
            if len(table) > 1 or not _are_choices(table[CHOICES]):
                raise ValueError("choices takes a list of numbers, words, true and false, and stands alone")
            return CategoricalDistribution(table[CHOICES])
        integer = table.get("integer", False)
        for key, value in table.items():
            wanted = (bool,) if key in ("log", "integer") else (int,) if integer else (int, float)
            if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
                takes = "true or false" if bool in wanted else "an integer" if integer else "a number"
                raise ValueError(f"{key} takes {takes}")
            if not math.isfinite(value):
                raise ValueError(f"{key} takes a number that is not infinite")
        for key in ("low", "high"):
            if key not in table:
                raise ValueError(f"{key} is missing")
        given = {key: table[key] for key in ("log", "step") if key in table}
        made: Callable[..., BaseDistribution] = IntDistribution if integer else FloatDistribution
        return made(table["low"], table["high"], **given)
    except ValueError as error:
        raise regkit.OptionError(f"{where} is {dict(table)!r}: {error}; accepted: {EXAMPLE}") from error


def _are_choices(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, (str, int, float)) for one in value)


# Samplers and pruners


def _of_optuna(key: str, given: Any, base: type) -> Any:
    """The sampler or pruner that a word or a table names, with its arguments; those may be of the same kind."""
    if given is None:
        return None
    table = {"name": given} if isinstance(given, str) else dict(given)
    name = table.pop("name", None)
    module = optuna.samplers if base is BaseSampler else optuna.pruners
    names = [one for one in module.__all__ if _is_one(getattr(module, one), base)]
    if name not in names:
        near = next(iter(get_close_matches(str(name), names, 1, 0.4)), None)
        meant = f" Did you mean {near!r}?" if near else ""
        raise regkit.OptionError(f"{key} is {given!r}, which names no {key}.{meant} Accepted: {', '.join(names)}")
    arguments = {
        argument: _of_optuna(key, value, base) if isinstance(value, dict) and "name" in value else value
        for argument, value in table.items()
    }
    try:
        return getattr(module, name)(**arguments)
    except Exception as error:  # whatever a constructor of Optuna's says no with
        raise regkit.OptionError(f"{key} is {given!r}: {type(error).__name__}: {error}") from error


def _is_one(found: Any, base: type) -> bool:
    return isinstance(found, type) and issubclass(found, base) and found is not base


# Which keys there are


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _are_words(value: Any) -> bool:
    return _is_word(value) or (isinstance(value, list) and all(map(_is_word, value)))


def _is_target(value: Any) -> bool:
    module, colon, function = value.partition(":") if isinstance(value, str) else ("", "", "")
    return bool(colon) and all(part.isidentifier() for part in [*module.split("."), *function.split(".")])


def _is_named(value: Any) -> bool:
    return _is_word(value) or isinstance(value, dict)


def _at_least(low: int) -> tuple[Callable[[Any], bool], str]:
    return lambda value: type(value) is int and value >= low, f"an integer of at least {low}"


KEYS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "prepare": (_is_target, 'module:function, such as "my_network:prepare"'),
    "minimize": (_are_words, "a name of what evaluate returns, or a list of them"),
    "maximize": (_are_words, "a name of what evaluate returns, or a list of them"),
    "trials": _at_least(1),
    "seed": _at_least(0),
    "storage": (_is_word, "a file, or a URL of Optuna's"),
    "name": (_is_word, "a name of the study"),
    "client": (_is_word, 'the address of a Dask scheduler, such as "tcp://scheduler:8786"'),
    "workers": _at_least(1),
    "sampler": (_is_named, 'a class of optuna.samplers, or { name = "...", its arguments }'),
    "pruner": (_is_named, 'a class of optuna.pruners, or { name = "...", its arguments }'),
    "space": (lambda value: isinstance(value, dict), "a table of aliases"),
}
