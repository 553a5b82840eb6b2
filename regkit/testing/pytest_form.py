"""The checks as pytest tests, one for each."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .running import EXPECTED, FAILED, NOT_APPLICABLE, NOT_REACHED, Conformance
from .subject import Subject

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
