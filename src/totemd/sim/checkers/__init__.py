"""One checker for each property that the protocol promises (protocol/, chapter "Proof").

A checker reads a history, whoever recorded it, and finds where the promise is broken. All of them need time in
proportion to the length of the history; what they need to know of it they say themselves. A checker that lacks
something, as in the record of a client that came late, checks less, and never finds what is not wrong.
"""

from typing import Final

from totemd.sim.checkers import configurations, groups, liveness, messages, order, quorum, synchrony, versions
from totemd.sim.checkers.checker import Checker
from totemd.sim.checkers.chronicle import read
from totemd.sim.history import History, Limits, Violation

__all__ = ["ALL", "Checker", "check", "check_all"]

ALL: Final[tuple[Checker, ...]] = (
    Checker("integrity", "ORD-28", messages.integrity),
    Checker("self-delivery", "ORD-29", messages.self_delivery),
    Checker("agreed order", "ORD-30", order.agreed_order),
    Checker("no gaps", "ORD-31", order.no_gaps),
    Checker("one configuration", "REC-18", order.one_configuration),
    Checker("virtual synchrony", "REC-14", synchrony.virtual_synchrony),
    Checker("safe delivery", "REC-15", synchrony.safe_delivery),
    Checker("transitional first", "REC-19", configurations.transitional_first),
    Checker("transitional members", "REC-20", configurations.transitional_members),
    Checker("ring ids grow", "MEM-23", configurations.ring_ids_grow),
    Checker("one membership", "MEM-24", configurations.one_membership),
    Checker("synchronized service", "SYN-13", synchrony.synchronized_service),
    Checker("views follow", "CPG-7", groups.views_follow),
    Checker("same views", "CPG-8", groups.same_views),
    Checker("reasons", "CPG-9", groups.reasons),
    Checker("one quorate", "VQ-13", quorum.one_quorate),
    Checker("verdict in ring", "VQ-14", quorum.verdict_in_ring),
    Checker("one history", "CHG-20", versions.one_history),
    Checker("one version", "CHG-21", versions.one_version),
    Checker("answers hold", "CHG-22", versions.answers_hold),
    Checker("one ring", "MEM-25", liveness.one_ring),
    Checker("all delivered", "ORD-32", liveness.all_delivered),
    Checker("bounds", "GRP-19", liveness.bounds),
)

FINDINGS_MAX: Final = 20
"""Of one checker in one history: one mistake early in a history has many followers."""


def check(checkers: tuple[Checker, ...], history: History, limits: Limits) -> list[Violation]:
    """Where a history breaks what these checkers check, the earliest first; at most FINDINGS_MAX for each of them."""
    chronicle = read(history)
    violations: list[Violation] = []
    for checker in checkers:
        for count, (text, time) in enumerate(checker.find(chronicle, limits), 1):
            violations.append(Violation(checker.name, checker.anchor, text, time))
            if count == FINDINGS_MAX:
                break
    return sorted(violations, key=lambda violation: violation.time)


def check_all(history: History, limits: Limits) -> list[Violation]:
    """Where a history breaks any promise, the earliest first."""
    return check(ALL, history, limits)
