"""The arithmetic of quorum: an electorate in, the next electorate out; votequorum(5) and protocol/, chapter "Services".

Let E be the expected votes and S the sum of all nodes' votes. Quorum is E/2 + 1 (integer division), or the majority
of the votes present if that is more. Without options, with the same E >= S on every node, two components can never be
quorate at once, whatever splits, merges, crashes and restarts happen. What each departure from that gives up:

    what                     two components may both be quorate when
    E < S                    nodes that have not met since their start (total votes raise E in memory only; with
                             expected_votes_tracking the raised E survives the restart) form components of E/2 + 1
    expected votes or        the operator lowers E, or changes a node's votes, in one component while another one
    votes set at run time    exists: the others never hear of it until they merge
    two_node                 two components of one or two nodes each exist: each is quorate with a single vote. Fencing
                             must decide. wait_for_all (the default with it) demands that all votes were present once
                             since the start, so that nodes that start apart stay inquorate
    auto_tie_breaker         wait_for_all is off, and membership changed more than once: a node that was cut off earlier
                             remembers an older breaker (restarted, it has none, and with a list of nodes each half may
                             believe in its own), and may find stragglers to make up a half. One split of a quorate
                             component is safe: of two equal halves one has the breaker, and a half that is short of
                             E/2 (odd E) stays inquorate if the absent could be quorate. With wait_for_all it is safe
                             in any history in which no votes change, because who lost quorum waits for all
    last_man_standing        nodes that were cut off before E was lowered (they still believe in the old E) merge
                             with later losers, which makes an old majority, also with wait_for_all. Safe as long as
                             components only shrink, and whoever was cut off returns to the quorate component
    allow_downscale          as last_man_standing; who was cut off when somebody else left cleanly is no longer
                             expected, nor is who left and comes back elsewhere. E is lowered by clean exits, by
                             the number of nodes, and never below the configured value
    expected_votes_tracking  gives up nothing
    wait_for_all             gives up nothing, unless cancelled by the operator
    quorum device            the device, which votes for one component at a time, is trusted; likewise master_wins

Five things are stricter than in corosync 3.1; a peer notices at most a node that stays inquorate longer:

- A clean exit lowers E only in a component that is quorate; else two minorities could both shrink themselves quorate.
- The tie breaker counts the votes of the absent, not only the nodes.
- The tie breaker remembers who was present when this node was last quorate, not only the previous configuration.
- The verdict is made anew when a configuration begins, before NODEINFO is sent (see `rules.enter_configuration`).
- wait_for_all ends by the word of a quorate node only when a round is complete (see `rules.activate_configuration`).

Quorum is not cut to eight bits.
"""

from dataclasses import replace

from totemd.config.model import TieBreaker
from totemd.ids import NodeId
from totemd.record import record
from totemd.services.votequorum.electorate import Electorate, Voter
from totemd.wire.votequorum import (
    NODE_QDEVICE_CAST_VOTE,
    NODE_QDEVICE_MASTER_WINS,
    NODE_QUORATE,
    NODE_WAITING_FOR_ALL,
    U32_MAX,
)


@record
class Tally:
    """What is present: votes (with the quorum device's if it cast its vote), nodes, and the highest expected votes."""

    votes: int
    nodes: int
    highest_expected: int


def tally(electorate: Electorate) -> Tally:
    """Count the members' votes; a quorum device that casts its vote for this node counts as one more node."""
    present = electorate.present()
    votes = sum(voter.votes for voter in present)
    nodes = len(present)
    if electorate.own.flags & NODE_QDEVICE_CAST_VOTE:
        votes += electorate.device_votes
        nodes += 1
    return Tally(votes, nodes, max((voter.expected_votes for voter in present), default=0))


def calculate_quorum(electorate: Electorate, *, allow_decrease: bool, max_expected: int = 0) -> int:
    """Votes needed for quorum. `max_expected` > 0 replaces the expected votes of the members.

    Quorum never falls unless `allow_decrease`: a node must not become quorate by forgetting others.
    """
    count = tally(electorate)
    expected = max_expected or count.highest_expected
    quorum = max((expected + 2) // 2, (count.votes + 2) // 2)
    if not allow_decrease:
        quorum = max(quorum, electorate.quorum)
    if electorate.settings.two_node and count.nodes <= 2:
        return 1
    return quorum


def recalculate(electorate: Electorate, *, allow_decrease: bool = False, by_current_nodes: bool = False) -> Electorate:
    """Expected votes, quorum and the verdict anew. `by_current_nodes`: expect no more than the nodes present."""
    present = electorate.present()
    votes = sum(voter.votes for voter in present) + electorate.device_votes
    if votes > electorate.own.expected_votes:
        electorate = electorate.with_own(expected_votes=votes)
    if electorate.settings.expected_votes_tracking:
        tracked = max(electorate.tracked_expected, electorate.own.expected_votes)
        electorate = replace(electorate, tracked_expected=tracked)
    max_expected = 0
    if by_current_nodes:
        max_expected = len(present) + (electorate.device_votes > 0)
    least = max_expected
    if by_current_nodes and electorate.settings.allow_downscale and allow_decrease:
        # Quorum stays above the barrier; what peers are told to expect does not, as with corosync.
        least = max(max_expected, electorate.expected_barrier)
    quorum = calculate_quorum(electorate, allow_decrease=allow_decrease, max_expected=least)
    if max_expected:
        electorate = expect(electorate, max_expected)
    return are_we_quorate(replace(electorate, quorum=quorum))


def expect(electorate: Electorate, expected_votes: int) -> Electorate:
    """Let every member, this node included, expect this many votes."""
    members = {present.nodeid for present in electorate.present()} | {electorate.own_nodeid}
    voters = tuple(
        replace(voter, expected_votes=expected_votes) if voter.nodeid in members else voter
        for voter in electorate.voters
    )
    return replace(electorate, voters=voters)


def are_we_quorate(electorate: Electorate) -> Electorate:
    """The verdict, and what follows from it for wait_for_all and for the next tie."""
    count = tally(electorate)
    settings = electorate.settings
    if settings.wait_for_all and electorate.waiting_for_all and count.votes != electorate.own.expected_votes:
        return _with_verdict(electorate, False)
    majority = electorate.quorum <= count.votes
    if majority:
        present = electorate.present()
        lowest, highest = (present[0].nodeid, present[-1].nodeid) if present else (0, 0)
        electorate = replace(electorate, lowest=lowest, highest=highest)
    quorate = majority or _wins_tie(electorate, count) or _device_master_is_here(electorate)
    return _with_verdict(electorate, quorate)


def _with_verdict(electorate: Electorate, quorate: bool) -> Electorate:
    electorate = replace(electorate, quorate=quorate, waiting_for_all=electorate.settings.wait_for_all and not quorate)
    if quorate:
        electorate = replace(electorate, last_quorate=tuple(voter.nodeid for voter in electorate.present()))
    return with_own_verdict_flags(electorate)


def with_own_verdict_flags(electorate: Electorate) -> Electorate:
    """The same with the flags that this node announces made true to `quorate` and `waiting_for_all`."""
    flags = (NODE_QUORATE if electorate.quorate else 0) | (NODE_WAITING_FOR_ALL if electorate.waiting_for_all else 0)
    if electorate.own.flags & (NODE_QUORATE | NODE_WAITING_FOR_ALL) == flags:
        return electorate
    return electorate.with_own_flags(set_=flags, clear=NODE_QUORATE | NODE_WAITING_FOR_ALL)


def _wins_tie(electorate: Electorate, count: Tally) -> bool:
    """Whether this is the half that auto_tie_breaker keeps alive."""
    if electorate.settings.tie_breaker is TieBreaker.NONE or count.votes != electorate.own.expected_votes // 2:
        return False
    absent = _absent(electorate)
    votes_by_id = {voter.nodeid: voter.votes for voter in electorate.voters}
    absent_votes = sum(votes_by_id.get(nodeid, 1) for nodeid in absent)
    if max(len(absent), absent_votes) >= electorate.quorum:
        return False  # they may be quorate without any tie breaker
    return has_tie_breaker(electorate)


def _absent(electorate: Electorate) -> set[NodeId]:
    return (set(electorate.previous) | set(electorate.last_quorate)) - set(electorate.members)


def has_tie_breaker(electorate: Electorate) -> bool:
    """Whether the node that decides ties is here; for a list, the first that was present before the split decides."""
    match electorate.settings.tie_breaker:
        case TieBreaker.NONE:
            return False
        case TieBreaker.LOWEST:
            return _is_present(electorate, electorate.lowest)
        case TieBreaker.HIGHEST:
            return _is_present(electorate, electorate.highest)
        case TieBreaker.LIST:
            absent = _absent(electorate)
            for nodeid in electorate.settings.tie_breaker_nodes:
                if nodeid in electorate.members:
                    return True
                if nodeid in absent:
                    return False
            return False


def _is_present(electorate: Electorate, nodeid: NodeId) -> bool:
    return nodeid != 0 and any(voter.nodeid == nodeid for voter in electorate.present())


def _device_master_is_here(electorate: Electorate) -> bool:
    if not electorate.own.flags & NODE_QDEVICE_MASTER_WINS:
        return False
    both = NODE_QDEVICE_MASTER_WINS | NODE_QDEVICE_CAST_VOTE
    return any(_has(voter, both) for voter in electorate.present())


def _has(voter: Voter, flags: int) -> bool:
    return voter.flags & flags == flags


def may_expect(electorate: Electorate, expected_votes: int) -> bool:
    """Whether the operator may set the expected votes to this: not below the votes present, nor so high that a
    quorate cluster would lose quorum by it."""
    votes = tally(electorate).votes
    if expected_votes < max(votes, 1):
        return False
    quorum = calculate_quorum(electorate, allow_decrease=True, max_expected=expected_votes)
    return not (electorate.quorate and quorum > votes)


def may_give_device(electorate: Electorate, votes: int) -> bool:
    """Whether the operator may give the quorum device so many votes: not if a quorate cluster would lose quorum."""
    then = recalculate(replace(electorate, device_votes=votes), allow_decrease=True)
    return then.own.expected_votes <= U32_MAX and (then.quorate or not electorate.quorate)


def may_have_votes(electorate: Electorate, changed: Voter) -> bool:
    """Whether the operator may give a node the votes of `changed`: quorum must stay within reach of those present, and
    all votes in the 32 bits in which peers add them up."""
    then = electorate.with_voter(changed)
    quorum = calculate_quorum(then, allow_decrease=True)
    return tally(then).votes // 2 <= quorum <= tally(then).votes <= U32_MAX
