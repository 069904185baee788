"""A doctor's findings, and how they are shown."""

from collections.abc import Iterable
from typing import Final

from totemd.record import record

OK: Final = "ok"
ADVICE: Final = "advice"
"""Works, and could be better or safer."""
PROBLEM: Final = "PROBLEM"
UNKNOWN: Final = "unknown"
"""Could not be checked; the text says why."""


@record
class Finding:
    """One line: a verdict on one thing, and what to do about it."""

    verdict: str
    check: str
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        remedy = f"\n{'':<25}-> {self.remedy}" if self.remedy else ""
        return f"{self.verdict:<8} {self.check:<15} {self.text}{remedy}"


def ok(check: str, text: str) -> Finding:
    """As it should be."""
    return Finding(OK, check, text)


def advice(check: str, text: str, remedy: str) -> Finding:
    """It works, and could be better or safer."""
    return Finding(ADVICE, check, text, remedy)


def problem(check: str, text: str, remedy: str) -> Finding:
    """What does not work, and what to do."""
    return Finding(PROBLEM, check, text, remedy)


def unknown(check: str, text: str, remedy: str = "") -> Finding:
    """What could not be checked, and why."""
    return Finding(UNKNOWN, check, text, remedy)


def summary(findings: Iterable[Finding]) -> str:
    """The last line."""
    verdicts = [finding.verdict for finding in findings]
    counts = (f"{verdicts.count(verdict)} {verdict}" for verdict in (OK, ADVICE, PROBLEM, UNKNOWN))
    return ", ".join(counts)
