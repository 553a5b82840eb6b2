"""The outcomes of checks, and the report of them in words."""

from __future__ import annotations

from traceback import format_exception
from typing import NamedTuple

PASSED = "passed"
FAILED = "failed"
EXPECTED = "expected failure"
NOT_APPLICABLE = "not applicable"
NOT_REACHED = "not reached"
STATUSES = (PASSED, FAILED, EXPECTED, NOT_APPLICABLE, NOT_REACHED)


class Outcome(NamedTuple):
    """The outcome of one check.

    Attributes
    ----------
    where : str
        The library that it ran on; ``"class"`` for what needs no graph.
    check : str
        Its name.
    status : str
        ``"passed"``, ``"failed"``, ``"expected failure"``, ``"not applicable"`` or ``"not reached"``.
    reason : str
        Why, unless it passed.
    error : Exception or None
        The exception that was raised.
    at : str
        The file and line of the author's code to which a failure belongs.
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
    """The outcomes of all checks; its text is for people.

    Attributes
    ----------
    outcomes : list
        One for each check, with the attributes ``where`` (``"class"`` or a library), ``check``, ``status``, ``reason``,
        ``error`` and ``at`` (file and line of the author's code).
    """

    def __init__(self, subject: str, outcomes: list[Outcome]) -> None:
        self.subject = subject
        self.outcomes = outcomes

    @property
    def passed(self) -> bool:
        """Whether no check failed, and so none was left unreached."""
        return not any(outcome.status in (FAILED, NOT_REACHED) for outcome in self.outcomes)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the number of checks of each status, by where they ran."""
        counts: dict[str, dict[str, int]] = {}
        for outcome in self.outcomes:
            row = counts.setdefault(outcome.where, dict.fromkeys(STATUSES, 0))
            row[outcome.status] += 1
        return counts

    def __str__(self) -> str:
        return self.text()

    def text(self, *, traceback: bool = False) -> str:
        """Return the report in words; with tracebacks, and with the checks that were not reached, if requested."""
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
