"""Runs the checks: their order, their dependences, the report, and the form of pytest."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from traceback import format_exception
from typing import Any, NamedTuple

import numpy as np

from ..errors import OptionError
from ._laboratory import checked_names, installed_libraries, laboratory
from ._subject import NotApplicable, Subject

PASSED = "passed"
FAILED = "failed"
EXPECTED = "expected failure"
NOT_APPLICABLE = "not applicable"
NOT_REACHED = "not reached"
STATUSES = (PASSED, FAILED, EXPECTED, NOT_APPLICABLE, NOT_REACHED)

#: Where a check runs: once, as it needs no graph; on every library, NumPy included; on those that have graphs.
CLASS = "class"
EVERYWHERE = "everywhere"
GRAPHS = "graphs"

#: Which hook the checks of a module try.
HOOKS = {"_penalty_checks": "loss", "_graph_checks": "modify_graph"}


@dataclass(frozen=True)
class Check:
    """One promise that a regularizer keeps.

    Attributes
    ----------
    name : str
        Its id.
    run : callable
        Called with the subject, and with the library unless it is of the class; it raises if the promise is broken.
    on : {"class", "everywhere", "graphs"}
        Where it runs: once, on every library, or on those whose expressions are more than their values.
    after : tuple of str
        The checks without which it would make no sense.
    hook : str
        The hook that it tries; empty if it is about the class.
    costly : bool
        Whether one set of options is enough where a class is tried with several.
    """

    name: str
    run: Callable[..., None]
    on: str
    after: tuple[str, ...]
    hook: str = ""
    costly: bool = False


#: Every check by its name, in the order in which they run.
CHECKS: dict[str, Check] = {}


def check(*after: str, on: str, costly: bool = False) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function a check, to run after those that it depends on."""

    def add(function: Callable[..., None]) -> Callable[..., None]:
        assert set(after) <= CHECKS.keys(), f"{function.__name__} depends on a check that comes later or never"
        hook = HOOKS.get(function.__module__.rpartition(".")[2], "")
        CHECKS[function.__name__] = Check(function.__name__, function, on, after, hook, costly)
        return function

    return add


class Outcome(NamedTuple):
    """What became of one check.

    Attributes
    ----------
    where : str
        The library that it ran on; ``"class"`` for what needs no graph.
    check : str
        Its name.
    status : str
        ``"passed"``, ``"failed"``, ``"expected failure"``, ``"not applicable"`` or ``"not reached"``.
    reason : str
        Why, for all but the passed.
    error : Exception or None
        What was raised.
    at : str
        File and line of the author's code that a failure is about.
    root : str
        The id of the failed check because of which this one was not reached.
    """

    where: str
    check: str
    status: str
    reason: str = ""
    error: BaseException | None = None
    at: str = ""
    root: str = ""

    @property
    def id(self) -> str:
        """Where and check in one word: ``theano-gradient_agrees_with_finite_differences``."""
        return f"{self.where}-{self.check}"


class Report:
    """What became of all checks; its text is for people.

    Attributes
    ----------
    outcomes : list of Outcome
    """

    def __init__(self, subject: str, outcomes: list[Outcome]) -> None:
        self.subject = subject
        self.outcomes = outcomes

    @property
    def passed(self) -> bool:
        """Whether no check failed, and so none was left unreached."""
        return not any(outcome.status in (FAILED, NOT_REACHED) for outcome in self.outcomes)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return how many checks came to which status, by where they ran."""
        counts: dict[str, dict[str, int]] = {}
        for outcome in self.outcomes:
            row = counts.setdefault(outcome.where, dict.fromkeys(STATUSES, 0))
            row[outcome.status] += 1
        return counts

    def __str__(self) -> str:
        return self.text()

    def text(self, *, traceback: bool = False) -> str:
        """Return the report in words; with tracebacks, and with all that was not reached, if asked."""
        lines = [f"{self.subject}: {'keeps every promise' if self.passed else 'breaks a promise'}"]
        for where, row in self.counts().items():
            counted = ", ".join(f"{count} {status}" for status, count in row.items() if count or status == PASSED)
            lines.append(f"  {where:<9} {counted}")
        for status in (FAILED, EXPECTED, NOT_APPLICABLE):
            together: dict[tuple[str, str], list[Outcome]] = {}
            for outcome in self.outcomes:
                if outcome.status == status:
                    together.setdefault((outcome.reason, outcome.at), []).append(outcome)
            for (reason, at), outcomes in together.items():
                ids = [outcome.id for outcome in outcomes]
                which = f"{len(ids)} checks" if status == NOT_APPLICABLE and len(ids) > 2 else ", ".join(ids)
                lines.append(f"{status}: {which}: {reason}")
                if at:
                    lines.append(f"  at {at}")
                if traceback and outcomes[0].error is not None:
                    lines += format_exception(None, outcomes[0].error, outcomes[0].error.__traceback__)
                lines += self._not_reached(ids, traceback)
        return "\n".join(lines)

    def _not_reached(self, failed: list[str], names: bool) -> list[str]:
        ids = [outcome.id for outcome in self.outcomes if outcome.root in failed]
        if not ids:
            return []
        one = len(ids) == 1
        which = f": {', '.join(ids)}" if names else ""
        return [
            f"  {len(ids)} check{'' if one else 's'} that depend{'s' if one else ''} on it "
            f"{'was' if one else 'were'} not reached{which}"
        ]


class Conformance:
    """The checks of one regularizer, each run once, when it is asked for or when another depends on it."""

    def __init__(
        self,
        subject: Subject,
        expected_failures: Mapping[str, str] | None = None,
        libraries: Sequence[str] | None = None,
    ) -> None:
        self.subject = subject
        if expected_failures is not None and not isinstance(expected_failures, Mapping):
            raise OptionError(f"expected_failures is {expected_failures!r}; accepted: a mapping of checks to reasons")
        self._expected = dict(expected_failures or {})
        names = ["numpy", *(installed_libraries() if libraries is None else checked_names(libraries))]
        self._libraries: dict[str, Any] = dict.fromkeys(name for name in names)
        self._outcomes: dict[tuple[str, str], Outcome] = {}
        self._done: dict[Any, str] = {}
        self._name = ""
        self._beyond: dict[tuple[str, str], str] = {}  # what depends on an expected failure, and on which
        known = {check for _, check in self.ids()} | {f"{where}-{check}" for where, check in self.ids()}
        for name, reason in self._expected.items():
            if name not in known:
                raise OptionError(
                    f"expected_failures names {name!r}, which is not a check. The checks: {', '.join(CHECKS)}"
                )
            if not isinstance(reason, str) or not reason.strip():
                raise OptionError(f"expected_failures[{name!r}] is {reason!r}; accepted: the reason, in words")

    def share(self, done: dict[Any, str], name: str) -> None:
        """Leave a costly check to whichever of several tries of one class, in one run, comes to it first.

        Parameters
        ----------
        done : dict
            What they share: which costly check of which class was done by which of them.
        name : str
            What this one is called in the report of the others.
        """
        self._done, self._name = done, name

    def ids(self) -> list[tuple[str, str]]:
        """Return where and name of every check, in order."""
        ids = []
        for where in (CLASS, *self._libraries):
            kinds = {CLASS: (CLASS,), "numpy": (EVERYWHERE,)}.get(where, (EVERYWHERE, GRAPHS))
            ids += [(where, check.name) for check in CHECKS.values() if check.on in kinds]
        return ids

    def outcomes(self) -> Iterator[Outcome]:
        """Run the checks one after the other."""
        for where, name in self.ids():
            yield self.outcome(where, name)

    def report(self) -> Report:
        """Run what has not run yet and return the report."""
        return Report(repr(self.subject), list(self.outcomes()))

    def outcome(self, where: str, name: str) -> Outcome:
        """Return what became of a check, which runs now if it has not run yet."""
        key = (where, name)
        if key not in self._outcomes:
            done = (self.subject.cls, where, name)
            if done in self._done:
                self._outcomes[key] = Outcome(where, name, NOT_APPLICABLE, f"done by {self._done[done]}")
            else:
                self._outcomes[key] = self._run(where, CHECKS[name])
                if CHECKS[name].costly and self._outcomes[key].status in (PASSED, FAILED, EXPECTED):
                    self._done[done] = self._name
        return self._outcomes[key]

    def _run(self, where: str, check: Check) -> Outcome:
        for name in check.after:
            earlier = self.outcome(CLASS if CHECKS[name].on == CLASS else where, name)
            if earlier.status in (FAILED, NOT_REACHED):
                root = earlier.root or earlier.id
                return Outcome(where, check.name, NOT_REACHED, f"it depends on {root}, which failed", root=root)
            if earlier.status == EXPECTED:
                reason = f"it depends on {earlier.id}, which is expected to fail: {earlier.reason}"
                self._beyond[where, check.name] = reason
            elif (where, name) in self._beyond:
                self._beyond[where, check.name] = self._beyond[where, name]
            if (where, check.name) in self._beyond:
                return Outcome(where, check.name, NOT_APPLICABLE, self._beyond[where, check.name])
        expected = self._expected.get(f"{where}-{check.name}") or self._expected.get(check.name)
        try:
            with np.errstate(all="ignore"):  # what is not finite has a check of its own
                if check.on == CLASS:
                    check.run(self.subject)
                else:
                    library = self._library(where)
                    if check.on == GRAPHS and not library.gradients:
                        raise NotApplicable(f"{where} has no gradients")
                    with library.running():
                        check.run(self.subject, library)
        except NotApplicable as said:
            return Outcome(where, check.name, NOT_APPLICABLE, str(said))
        except (Exception, SystemExit) as error:  # whatever a plugin does
            if expected:
                return Outcome(where, check.name, EXPECTED, expected, error)
            said_by = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
            at = self.subject.place(error, check.hook)
            return Outcome(where, check.name, FAILED, f"{said_by}{str(error).strip()}", error, at)
        if expected:
            reason = f"it passes, and was declared to fail: {expected}. Take the declaration out"
            return Outcome(where, check.name, FAILED, reason)
        return Outcome(where, check.name, PASSED)

    def _library(self, name: str) -> Any:
        if self._libraries[name] is None:
            try:
                self._libraries[name] = laboratory(name)
            except (Exception, SystemExit) as error:
                raise AssertionError(
                    f"{name} is installed and cannot be imported: {type(error).__name__}: {error}. "
                    "`regkit doctor` says what to do"
                ) from error
        return self._libraries[name]


# The checks as pytest tests


REPORT = "report"


def pytest_checks(
    regularizer: Any,
    *,
    expected_failures: Mapping[str, str] | None = None,
    libraries: Sequence[str] | None = None,
    **subject: Any,
) -> Callable[..., None]:
    """Return a test function that pytest runs once for each check; parameters are those of `check_regularizer`.

    A check that is expected to fail is an xfail; one that has nothing to check, or depends on one that failed, is a
    skip; each with its reason. A failure tells file and line of the author's code; ``--tb=long`` tells all the rest.
    Where a class is tried with several options, the check of the library's default mode, which compiles for long, is
    left to whichever test comes to it first. The last test, ``report``, prints how many checks ran where, and fails if
    one was left out without a reason.

    Examples
    --------
    In a test module::

        from acme_tv import AcmeTv
        import regkit.testing

        test_acme_tv = regkit.testing.pytest_checks(AcmeTv, twin=lambda self, layers, outputs: ...)
    """
    import pytest

    conformance = Conformance(Subject(regularizer, **subject), expected_failures, libraries)
    ids = [f"{where}-{check}" for where, check in conformance.ids()]
    told: set[str] = set()  # the failures that a test of their own has told

    @pytest.mark.parametrize("check", [*conformance.ids(), REPORT], ids=[*ids, REPORT])
    def test(check: Any, request: Any) -> None:
        stash = request.config.stash
        conformance.share(stash.setdefault(_done(), {}), request.node.nodeid.partition("[")[0])
        if check == REPORT:
            report = conformance.report()
            _print(request.config.pluginmanager, str(report))
            unsaid = [
                outcome.id for outcome in report.outcomes if outcome.status == NOT_APPLICABLE and not outcome.reason
            ]
            if unsaid:
                raise AssertionError(f"without a reason: {', '.join(unsaid)}")
            if any(outcome.status == FAILED and outcome.id not in told for outcome in report.outcomes):
                pytest.fail(str(report), pytrace=False)
            return
        outcome = conformance.outcome(*check)
        if outcome.status == FAILED:
            told.add(outcome.id)
            text = f"{outcome.id}: {outcome.reason}" + (f"\n  at {outcome.at}" if outcome.at else "")
            if request.config.getoption("tbstyle") == "long":
                raise AssertionError(text) from outcome.error
            pytest.fail(text, pytrace=False)
        if outcome.status == EXPECTED:
            pytest.xfail(outcome.reason)
        if outcome.status == NOT_REACHED:
            pytest.skip(f"not reached: {outcome.reason}")
        if outcome.status == NOT_APPLICABLE and outcome.reason:
            pytest.skip(outcome.reason)

    result: Callable[..., None] = test
    return result


@functools.cache
def _done() -> Any:
    """Where a run of pytest keeps which test did a costly check of which class."""
    import pytest

    return pytest.StashKey[dict[Any, str]]()


def _print(plugins: Any, text: str) -> None:
    """Print on the terminal, past the capture of output; some runs of pytest have neither."""
    terminal, capture = plugins.getplugin("terminalreporter"), plugins.getplugin("capturemanager")
    if terminal is not None and capture is not None:
        with capture.global_and_fixture_disabled():
            terminal.ensure_newline()
            terminal.write_line(text)
