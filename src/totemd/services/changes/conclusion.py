"""A synchronization's exchange of what the members have, and what follows from it (protocol/, chapter "Replicated
configuration"). Every member draws the same conclusions, because it draws them from the same messages.
"""

from totemd.ids import NodeId
from totemd.record import record
from totemd.wire.changes import FLAG_CONFIRMED, FLAG_FIRM, FLAG_REVERTED, NO_IDENT, State


@record
class Conclusion:
    """What all members have after the round, and what is left to decide."""

    version: int
    ident: bytes
    confirmed: bool
    reverted: bool
    highest: int
    holder: NodeId
    """The lowest member that has all of it; it hands it to those who lack it."""
    lacking: frozenset[NodeId]
    doubtful: bytes | None
    """The change that may have been decided on and must be decided again, if there is one."""
    doubtful_holders: tuple[NodeId, ...]
    firm: bool
    """It really may have been; else it can be refused."""
    conflict: bool
    """Members have different contents of one version: quorum was given up by an option or an operator."""


def conclude(states: dict[NodeId, State]) -> Conclusion:
    """What follows from the states of all members. The latest committed version wins, and a confirmed one over one
    that somebody went back from; then what was accepted last as its successor is in doubt."""
    latest = max(state.version for state in states.values())
    of_latest = {nodeid: state for nodeid, state in states.items() if state.version == latest}
    ident = max((bool(s.flags & FLAG_CONFIRMED), _votes(of_latest, s.ident), s.ident) for s in of_latest.values())[2]
    holding = {nodeid: state for nodeid, state in of_latest.items() if state.ident == ident}
    confirmed = any(state.flags & FLAG_CONFIRMED for state in holding.values())
    reverted = not confirmed and any(state.flags & FLAG_REVERTED for state in holding.values())
    flags = FLAG_CONFIRMED if confirmed else FLAG_REVERTED if reverted else 0
    mask = FLAG_CONFIRMED | FLAG_REVERTED
    whole = [nodeid for nodeid, state in holding.items() if state.flags & mask == flags]
    doubtful, holders, firm = _in_doubt(holding)
    return Conclusion(
        version=latest,
        ident=ident,
        confirmed=confirmed,
        reverted=reverted,
        highest=max(max(state.highest, state.version) for state in states.values()),
        holder=min(whole),
        lacking=frozenset(states) - frozenset(whole),
        doubtful=doubtful,
        doubtful_holders=holders,
        firm=firm,
        conflict=len({state.digest for state in of_latest.values()}) > 1,
    )


def _votes(states: dict[NodeId, State], ident: bytes) -> int:
    return sum(state.ident == ident for state in states.values())


def _in_doubt(states: dict[NodeId, State]) -> tuple[bytes | None, tuple[NodeId, ...], bool]:
    """The change that was accepted last, who has it, and whether it may have been decided on: then every member of the
    ring of that attempt accepted it, or it was in doubt before that already."""
    accepted = {nodeid: state for nodeid, state in states.items() if state.accepted_seq}
    if not accepted:
        return None, (), False
    place = max(_place(state) for state in accepted.values())
    last = {nodeid: state for nodeid, state in accepted.items() if _place(state) == place}
    ident = min(state.accepted_ident for state in last.values())
    if ident == NO_IDENT:
        return None, (), False
    one = last[min(last)]
    there = [nodeid for nodeid in one.accepted_members if nodeid in states]
    firm = bool(one.flags & FLAG_FIRM) or all(nodeid in last for nodeid in there)
    return ident, tuple(sorted(last)), firm


def _place(state: State) -> tuple[int, int]:
    return state.accepted_seq, state.accepted_number
