"""Runs the checks: each once, after those that it depends on; and the form of pytest."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import OptionError
from ._checks import CHECKS, CLASS, EVERYWHERE, GRAPHS, Check
from ._laboratory import checked_names, installed_libraries, laboratory
from ._report import EXPECTED, FAILED, NOT_APPLICABLE, NOT_REACHED, PASSED, Outcome, Report
from ._subject import NotApplicable, Subject, without_derivatives


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
        """Run an expensive check once per class, however many sets of options are tried.

        Parameters
        ----------
        done : dict
            Shared by them: for each costly check of a class, the name of the one that did it.
        name : str
            The name of this one, for the reports of the others.
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
        """Return the outcome of a check, which runs now if it has not run yet."""
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
            with np.errstate(all="ignore"):  # other checks are about finite numbers
                if check.on == CLASS:
                    check.run(self.subject)
                else:
                    library = self._library(where)
                    if check.on == GRAPHS and not library.gradients:
                        raise NotApplicable(f"{where} has no gradients")
                    with library.running():
                        check.run(self.subject, library)
        except NotApplicable as because:
            return Outcome(where, check.name, NOT_APPLICABLE, str(because))
        except (Exception, SystemExit) as error:  # whatever a plugin does
            if without_derivatives(error, self._libraries.get(where)):
                reason = f"its hooks ask for a derivative, and {where} has none: {error}"
                return Outcome(where, check.name, NOT_APPLICABLE, reason)
            if expected:
                return Outcome(where, check.name, EXPECTED, expected, error)
            kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
            at = self.subject.place(error, check.hook)
            return Outcome(where, check.name, FAILED, f"{kind}{str(error).strip()}", error, at)
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
                    "`regkit doctor` gives the remedy"
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
    skip; each with its reason. A failure names file and line of the author's code; ``--tb=long`` shows the traceback.
    Where a class is tried with several options, the check of the library's default mode, which takes long to compile,
    runs only in the first test. The last test, ``report``, prints how many checks ran where, and fails if one was left
    out without a reason.

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
    reported: set[str] = set()  # failures that a test has reported

    @pytest.mark.parametrize("check", [*conformance.ids(), REPORT], ids=[*ids, REPORT])
    def test(check: Any, request: Any) -> None:
        stash = request.config.stash
        conformance.share(stash.setdefault(_done(), {}), request.node.nodeid.partition("[")[0])
        if check == REPORT:
            report = conformance.report()
            _print(request.config.pluginmanager, str(report))
            unexplained = [
                outcome.id for outcome in report.outcomes if outcome.status == NOT_APPLICABLE and not outcome.reason
            ]
            if unexplained:
                raise AssertionError(f"without a reason: {', '.join(unexplained)}")
            if any(outcome.status == FAILED and outcome.id not in reported for outcome in report.outcomes):
                pytest.fail(str(report), pytrace=False)
            return
        outcome = conformance.outcome(*check)
        if outcome.status == FAILED:
            reported.add(outcome.id)
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
    """Return the dict of a run of pytest: which test did a costly check of which class."""
    import pytest

    return pytest.StashKey[dict[Any, str]]()


def _print(plugins: Any, text: str) -> None:
    """Print on the terminal, in spite of pytest's capture of output; some runs of pytest have neither."""
    terminal, capture = plugins.getplugin("terminalreporter"), plugins.getplugin("capturemanager")
    if terminal is not None and capture is not None:
        with capture.global_and_fixture_disabled():
            terminal.ensure_newline()
            terminal.write_line(text)
