"""What a regularizer's class promises, and what it states of its pattern."""

from __future__ import annotations

import doctest
import functools
import json
import logging
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from .._build import construct, load
from .._constructor import REQUIRED, all_options, constructor_arguments, plain
from .._engines import LIBRARIES, PROVIDED_BY, declared
from .._hooks import Adapter
from .._members import Member
from .._regularizer import implemented
from ..errors import OptionError
from ._checks import CLASS, EVERYWHERE, check
from ._subject import Changes, NotApplicable, Subject, named_parameters, without_derivatives

#: Sections of numpydoc that a stranger needs.
SECTIONS = ("Parameters", "References", "Examples")

#: Patterns that match one output and no parameter of `Network`, and parameters and no output.
PATTERNS = {"outputs": "hid2:*", "params": "hid2.*"}
OTHER = {"outputs": "params", "params": "outputs"}
IN_WORDS = {"outputs": "outputs", "params": "parameters"}

BAD_WEIGHTS = (-1, float("nan"), float("inf"), "0.1", True, None, np.ones(2))


@check(on=CLASS)
def hook_arguments_are_right(subject: Subject) -> None:
    """Every hook takes the arguments that regkit passes, or fewer."""
    implemented(subject.cls)


@check("hook_arguments_are_right", on=CLASS)
def constructor_works(subject: Subject) -> None:
    """The constructor takes the options that the checks are given."""
    arguments, _ = constructor_arguments(subject.cls)
    missing = [name for name, default in arguments.items() if default is REQUIRED and name not in subject.options]
    if not {"weight", "seed"}.issuperset(missing):
        raise AssertionError(
            f"it needs {', '.join(missing)}, which the checks cannot make up. Give options= to regkit.testing, or "
            "--options to `regkit check`; parameters have the shapes of regkit.testing.Network().values()"
        )
    regularizer = subject.make()
    for name, value in subject.options.items():
        if subject.is_subclass and not hasattr(regularizer, name):
            raise AssertionError(f"the option {name}={value!r} is not stored under its name")


@check("hook_arguments_are_right", on=CLASS)
def aliases_resolve_to_the_class(subject: Subject) -> None:
    """Every alias resolves to the class."""
    if not subject.aliases:
        if subject.aliases_are_given:
            raise NotApplicable("aliases=() was given")
        raise AssertionError(
            "no installed alias names this class. Install its distribution, or give aliases=() if it has none"
        )
    for alias in subject.aliases:
        found = load(alias)
        if found is not subject.cls:
            raise AssertionError(f"alias {alias!r} resolves to {found!r}, not to {subject.cls!r}")


@check("constructor_works", on=CLASS)
def scalar_equals_mapping(subject: Subject) -> None:
    """A number means the same as a mapping with that weight, and is stored as it is."""
    subject.needs("weight")
    try:
        scalar, mapping = (construct(subject.name, subject.cls, value) for value in (0.3, {"weight": 0.3}))
    except OptionError as error:
        if not subject.options:
            raise
        raise NotApplicable(f"a number cannot make one: {error}") from error
    if scalar.weight != 0.3:
        raise AssertionError(f"given the number 0.3 it stores weight={scalar.weight!r}")
    _same_options(scalar, mapping, "from a number and from a mapping")


@check("constructor_works", on=CLASS)
def unknown_option_is_rejected(subject: Subject) -> None:
    """An option that the constructor does not have is an error that names it."""
    given = {**subject.options, "no_such_option": 1}
    try:
        made = construct(subject.name, subject.cls, given)
    except OptionError as error:
        if "no_such_option" not in str(error):
            raise AssertionError(f"the error does not name the option no_such_option: {error}") from error
    else:
        raise AssertionError(f"the option no_such_option=1 was taken in silence, for {made!r}")


@check("constructor_works", on=CLASS)
def bad_weight_is_rejected(subject: Subject) -> None:
    """A weight that is not a finite number of at least 0 is an OptionError of the constructor itself."""
    subject.needs("weight")
    for weight in BAD_WEIGHTS:
        try:
            subject.make(weight=weight)
        except OptionError:
            continue
        raise AssertionError(f"{subject.cls.__name__}(weight={weight!r}) was made; expected an OptionError")


@check("constructor_works", on=CLASS)
def repr_round_trips(subject: Subject) -> None:
    """The repr is a call that makes the same regularizer; arrays are written in full and have NumPy's names."""
    if not subject.is_subclass:
        raise NotApplicable("it is not a subclass of regkit.Regularizer, which brings the repr")
    regularizer = subject.make()
    with np.printoptions(threshold=sys.maxsize, floatmode="unique"):
        written = repr(regularizer)
    scope = {**vars(np), **vars(sys.modules[subject.cls.__module__]), "np": np, subject.cls.__name__: subject.cls}
    _same_options(regularizer, eval(written, scope), f"after its repr, {written},")


@check("constructor_works", on=CLASS)
def config_round_trips(subject: Subject) -> None:
    """Its options can be written down as JSON and make the same regularizer again."""
    if not subject.is_subclass:
        raise NotApplicable("it is not a subclass of regkit.Regularizer, whose arguments are stored under their names")
    regularizer = subject.make()
    config = {name: plain(value) for name, value in all_options(regularizer).items()}
    again = construct(subject.name, subject.cls, json.loads(json.dumps(config)))
    _same_options(regularizer, again, "from its config")


@check("constructor_works", on=CLASS)
def pickles(subject: Subject) -> None:
    """It can be pickled, and comes back the same."""
    if subject.cls.__module__ == "__main__" or "<locals>" in subject.cls.__qualname__:
        raise NotApplicable("its class is in no importable module, where pickle would find it")
    regularizer = subject.make()
    _same_options(regularizer, pickle.loads(pickle.dumps(regularizer)), "after pickling")


@check("constructor_works", on=CLASS)
def log_is_one_record(subject: Subject) -> None:
    """The log hook makes one record of one line."""
    if not subject.has("log"):
        raise NotApplicable("it has no log hook")
    records: list[logging.LogRecord] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    handler, root = Collector(), logging.getLogger()
    level, loggers = root.level, [logging.getLogger("regkit")]
    levels = [logger.level for logger in loggers]
    root.addHandler(handler)
    try:
        for logger in (root, *loggers):
            logger.setLevel(logging.DEBUG)
        subject.set_of(subject.make()).log()
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        for logger, before in zip(loggers, levels):
            logger.setLevel(before)
    lines = [line for record in records for line in record.getMessage().splitlines()]
    if len(records) != 1 or len(lines) != 1:
        raise AssertionError(f"log made {len(records)} records of {len(lines)} lines; expected one of one: {lines}")


@check("hook_arguments_are_right", on=CLASS)
def import_loads_no_graph_library(subject: Subject) -> None:
    """Importing the module of the class, in a fresh process, imports no graph library and no engine's library."""
    module = subject.cls.__module__
    if module == "__main__":
        raise NotApplicable("its class is in no importable module")
    file = getattr(sys.modules[module], "__file__", None)
    loaded = sorted(
        _loaded_by(module, Path(file).stat().st_mtime if file else 0, tuple(sys.path))
        & {*LIBRARIES, *PROVIDED_BY, *declared()}
    )
    if loaded:
        raise AssertionError(
            f"importing {module} imports {', '.join(loaded)}. Reach it through regkit.graph, in the hooks"
        )


@functools.lru_cache
def _loaded_by(module: str, _written: float, path: tuple[str, ...]) -> frozenset[str]:
    """Return the modules that importing a module imports. Classes of one file share the process that finds out."""
    program = f"import sys; sys.path[:] = {list(path)!r}; import {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"import {module} fails in a fresh process: {(done.stderr.splitlines() or [''])[-1]}")
    return frozenset(done.stdout.split())


@check("hook_arguments_are_right", on=CLASS)
def docstring_has_its_sections(subject: Subject) -> None:
    """The docstring of the class has the equation, the parameters, the source and an example."""
    text = _docstring(subject)
    missing = [name for name in SECTIONS if not re.search(rf"^\s*{name}\n\s*-+$", text, re.MULTILINE)]
    if missing:
        raise AssertionError(f"the docstring has no section {', '.join(missing)}. numpydoc describes their form")
    undescribed = [
        name for name in constructor_arguments(subject.cls)[0] if not re.search(rf"^\s*.*\b{name}\b.* : ", text, re.M)
    ]
    if undescribed:
        raise AssertionError(f"the section Parameters does not describe {', '.join(undescribed)}")
    if subject.has("loss") and ":math:" not in text and ".. math::" not in text:
        raise AssertionError("the docstring has no equation of the penalty, as :math:`...` or .. math::")


@check("docstring_has_its_sections", on=CLASS)
def docstring_example_runs(subject: Subject) -> None:
    """The example in the docstring gives the output that it shows."""
    scope = {**vars(sys.modules[subject.cls.__module__]), subject.cls.__name__: subject.cls}
    examples = doctest.DocTestParser().get_doctest(_docstring(subject), scope, subject.cls.__name__, None, None)
    if not examples.examples:
        raise AssertionError("the section Examples has no line that begins with >>>")
    differences: list[str] = []
    doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS).run(examples, out=differences.append)
    if differences:
        raise AssertionError("".join(differences))


def _docstring(subject: Subject) -> str:
    if sys.flags.optimize >= 2:
        raise NotApplicable("python -OO takes docstrings away")
    text = vars(subject.cls).get("__doc__")
    if not text:
        raise AssertionError("the class has no docstring of its own")
    return str(text)


def _same_options(first: Any, second: Any, how: str) -> None:
    """Raise if two regularizers differ in class or in what they store of their constructor's arguments."""
    if type(first) is not type(second):
        raise AssertionError(f"{how} it is {second!r}, where {first!r} was expected")
    names = [name for name in constructor_arguments(type(first))[0] if hasattr(first, name)]
    for name in names:
        one, other = getattr(first, name), getattr(second, name, "<not stored>")
        if plain(one) != plain(other):
            raise AssertionError(f"{how} it has {name}={other!r}, where {one!r} was expected")


@check("constructor_works", on=EVERYWHERE)
def pattern_selects_what_the_class_states(subject: Subject, library: Any) -> None:
    """The pattern selects outputs or parameters, as the attribute `selects` of the class states."""
    subject.needs("pattern")
    if not subject.is_subclass and not hasattr(subject.cls, "selects"):
        raise NotApplicable("it is not a subclass of regkit.Regularizer, and has no selects")
    stated = getattr(subject.cls, "selects", None)
    if stated not in (*PATTERNS, None):
        raise AssertionError(f"{subject.cls.__name__}.selects is {stated!r}; accepted: 'outputs', 'params', None")
    working = [kind for kind in PATTERNS if _works(subject, library, kind, kind if stated else None)]
    if len(working) == 1 and working != [stated]:
        (found,) = working
        raise AssertionError(
            f"{subject.cls.__name__}.selects is {stated!r}, and its pattern selects {IN_WORDS[found]}: "
            f"{PATTERNS[found]!r} works and {PATTERNS[OTHER[found]]!r} does not. Set selects = {found!r} in the class"
        )


def _works(subject: Subject, library: Any, kind: str, shown: str | None) -> bool:
    """Return whether hooks find what a pattern of outputs, or of parameters, matches.

    They are given the outputs that they would get if the class stated the selection `shown`.
    """
    member = Member(subject.name, subject.make(pattern=PATTERNS[kind]))
    member.selects, member.globs = shown, (PATTERNS[kind],)
    hooks = Adapter(member)
    values = subject.network.values()

    def build(inputs: dict[str, Any]) -> bool:
        if subject.has("modify_graph"):
            changes = Changes(hooks)
            subject.network.connect(inputs, library.tensor_module, changes)
            if changes.of:
                return True
        layers, outputs = subject.network.connect(inputs, library.tensor_module)
        if member.changes_params:
            params = named_parameters(layers)
            before = dict(params)
            hooks.after_step(params, 1, layers, {})
            return any(params[name] is not before[name] for name in before)
        return subject.has("loss") and hasattr(hooks.loss(layers, outputs)[1], "ndim")

    try:
        return bool(library.built(build, values))
    except Exception as error:  # a check of its own reports it
        if without_derivatives(error, library):
            raise
        return False
