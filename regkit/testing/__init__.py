"""Checks of a regularizer, for plugin authors.

>>> import regkit.testing
>>> report = regkit.testing.check_regularizer("hidden_l1", libraries=[])
>>> report.counts()["numpy"]["failed"]
0

`check_regularizer` runs every check on every library that is installed and has an engine, and on NumPy; `pytest_checks`
makes a test of each. `CHECKS` has the checks: their names are sentences, and their docstrings describe them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ._checks import CHECKS
from ._laboratory import Laboratory, installed_libraries
from ._network import Network
from ._report import Report
from ._run import Conformance, pytest_checks
from ._subject import Subject, selected

# in the order in which the checks run
from . import _class_checks, _penalty_checks, _number_checks, _graph_checks, _step_checks  # isort: skip  # noqa: F401

__all__ = [
    "CHECKS",
    "Laboratory",
    "Network",
    "Report",
    "check_regularizer",
    "installed_libraries",
    "pytest_checks",
    "selected",
]


def check_regularizer(
    regularizer: type | str,
    *,
    aliases: Sequence[str] | None = None,
    options: Mapping[str, Any] | None = None,
    twin: Callable[[Any, Any, Any], Any] | None = None,
    network: Network | None = None,
    expected_failures: Mapping[str, str] | None = None,
    libraries: Sequence[str] | None = None,
) -> Report:
    """Check that a regularizer keeps every promise, on every library that is installed and on NumPy.

    Parameters
    ----------
    regularizer : class or str
        The class, or one of its aliases.
    aliases : sequence of str, optional
        The aliases that have to resolve to the class; by default those that installed distributions declare for it.
        ``()`` if it has none.
    options : mapping, optional
        Constructor arguments to try it with, besides the weight. For arrays in the shapes of the network's parameters,
        use `Network.values`.
    twin : callable, optional
        ``twin(regularizer, layers, outputs)`` returns the penalty, computed with NumPy from arrays; `selected` returns
        the arrays that the pattern selects.
    network : Network, optional
        The network that it is tried on, for another activation or number of axes.
    expected_failures : mapping of str to str, optional
        Why a check fails, by the check's name, or by ``"<library>-<check>"`` for only one library.
    libraries : sequence of str, optional
        The libraries to run on besides NumPy, by the names of their engines; by default all that are installed.

    Returns
    -------
    Report

    Raises
    ------
    AssertionError
        If any check fails. The message is the whole report: the failed checks with reasons and places, the number of
        checks that were not reached because of these, and the checks that do not apply.
    OptionError
        If it is not a regularizer, or an expected failure does not name a check or has no reason.

    Examples
    --------
    >>> import regkit.testing
    >>> print(regkit.testing.check_regularizer("hidden_l1", libraries=[]))
    hidden_l1 (regkit_hidden_l1:HiddenL1): keeps every promise
      class     13 passed
      numpy     ...
    """
    subject = Subject(regularizer, aliases=aliases, options=options, twin=twin, network=network)
    report = Conformance(subject, expected_failures, libraries).report()
    if not report.passed:
        raise AssertionError(str(report))
    return report
