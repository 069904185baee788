"""What the messages and events of votequorum do to an electorate (protocol/, chapter "Services"); pure functions.

Every node applies the same messages in the same order, so that members of one configuration decide alike.
"""

from collections.abc import Mapping
from dataclasses import replace

from totemd.config.model import QuorumSettings, TieBreaker
from totemd.ids import NodeId
from totemd.services.votequorum.arithmetic import (
    expect,
    has_tie_breaker,
    recalculate,
    with_own_verdict_flags,
)
from totemd.services.votequorum.electorate import Electorate, Voter, VoterState, configured_device_votes
from totemd.wire.votequorum import (
    DEVICE_NODEID,
    NODE_FIRST,
    NODE_LEAVING,
    NODE_QUORATE,
    NODE_WAITING_FOR_ALL,
    RECONFIGURE_CANCEL_WAIT_FOR_ALL,
    RECONFIGURE_EXPECTED_VOTES,
    RECONFIGURE_FORCED,
    RECONFIGURE_NODE_VOTES,
    NodeInfo,
    Reconfigure,
)


def enter_configuration(electorate: Electorate, members: tuple[NodeId, ...]) -> Electorate:
    """A configuration begins: who is not in it is dead.

    The verdict is made anew at once. So the NODEINFO that is sent next says what is true of the nodes that stayed, and
    a node that comes from a lost majority cannot pass its stale quorum on to those that it meets.
    """
    here = {electorate.own_nodeid, *members}
    voters = tuple(
        voter if voter.nodeid in here or voter.state is VoterState.DEAD else replace(voter, state=VoterState.DEAD)
        for voter in electorate.voters
    )
    electorate = replace(electorate, voters=voters, members=members, previous=electorate.activated, synchronizing=True)
    if len(members) > 1:
        electorate = electorate.with_own_flags(clear=NODE_FIRST)
    return recalculate(electorate)


def activate_configuration(electorate: Electorate) -> Electorate:
    """Every member's NODEINFO has been applied.

    Only now may the quorate end this node's waiting: what they said earlier in the round may be left over from a round
    that was aborted, when they still were in a larger component.
    """
    electorate = replace(electorate, activated=electorate.members, synchronizing=False)
    others = (voter for voter in electorate.present() if voter.nodeid != electorate.own_nodeid)
    if any(_needs_no_waiting(voter.flags) for voter in others):
        electorate = _stop_waiting(electorate)
    return recalculate(electorate)


def opens_window(electorate: Electorate) -> bool:
    """Whether the change to the current members starts last_man_standing_window anew."""
    if not electorate.last_man_standing:
        return False
    somebody_left = bool(set(electorate.previous) - set(electorate.members))
    count = len(electorate.members)
    if count >= electorate.quorum and somebody_left:
        return True
    breaks_ties = electorate.settings.tie_breaker is not TieBreaker.NONE
    return count <= electorate.quorum and breaks_ties and has_tie_breaker(electorate)


def window_expired(electorate: Electorate) -> Electorate:
    """last_man_standing_window is over: a quorate component now expects only the nodes it has."""
    if not (electorate.last_man_standing and electorate.quorate):
        return electorate
    return recalculate(electorate, allow_decrease=True, by_current_nodes=True)


def apply_nodeinfo(electorate: Electorate, sender: NodeId, info: NodeInfo) -> Electorate:
    """NODEINFO at its place in the total order."""
    if info.nodeid == DEVICE_NODEID:
        return _apply_device_info(electorate, sender, info)
    before = electorate.voter(info.nodeid)
    own = info.nodeid == electorate.own_nodeid
    says_quorate = bool(info.flags & NODE_QUORATE)
    # A node's view of itself is newer than what it sent; only others can lead it to quorum.
    follow = says_quorate and not own and not electorate.quorate
    if follow:
        electorate = electorate.with_own(expected_votes=info.expected_votes)
    heeded = says_quorate or electorate.settings.expected_votes_tracking
    leaving = bool(info.flags & NODE_LEAVING)
    now = Voter(
        nodeid=info.nodeid,
        state=VoterState.LEAVING if leaving else VoterState.MEMBER,
        votes=electorate.own.votes if own else info.votes,
        expected_votes=info.expected_votes if heeded and not own else electorate.own.expected_votes,
        flags=electorate.own.flags if own else info.flags,
    )
    electorate = electorate.with_voter(now)
    if info.votes > 1 and electorate.last_man_standing:
        electorate = replace(electorate, last_man_standing=False)
    if own or now != before or info.flags & NODE_FIRST:
        downscale = leaving and electorate.settings.allow_downscale and electorate.quorate
        electorate = recalculate(electorate, allow_decrease=follow or downscale, by_current_nodes=downscale)
    if not own and not electorate.synchronizing and _needs_no_waiting(info.flags):
        electorate = _stop_waiting(electorate)
    return electorate


def _apply_device_info(electorate: Electorate, sender: NodeId, info: NodeInfo) -> Electorate:
    voter = electorate.voter(sender)
    sender_quorate = voter is not None and bool(voter.flags & NODE_QUORATE)
    votes = max(electorate.device_votes, info.votes)
    if sender_quorate and not electorate.quorate:
        votes = info.votes
    if votes == electorate.device_votes:
        return electorate
    return recalculate(replace(electorate, device_votes=votes))


def apply_reconfigure(electorate: Electorate, change: Reconfigure) -> Electorate:
    """RECONFIGURE at its place in the total order; unknown nodes and parameters change nothing."""
    match change.param:
        case p if p == RECONFIGURE_EXPECTED_VOTES:
            return _expect(electorate, change.value)
        case p if p == RECONFIGURE_FORCED and change.nodeid:
            return _expect(electorate, change.nodeid)
        case p if p == RECONFIGURE_NODE_VOTES and change.nodeid == DEVICE_NODEID:
            return recalculate(replace(electorate, device_votes=change.value), allow_decrease=True)
        case p if p == RECONFIGURE_NODE_VOTES:
            voter = electorate.voter(change.nodeid)
            if voter is None:
                return electorate
            return recalculate(electorate.with_voter(replace(voter, votes=change.value)), allow_decrease=True)
        case p if p == RECONFIGURE_CANCEL_WAIT_FOR_ALL:
            return recalculate(_stop_waiting(electorate))
        case _:
            return electorate


def _expect(electorate: Electorate, votes: int) -> Electorate:
    electorate = replace(expect(electorate, votes), expected_barrier=votes)
    if electorate.settings.expected_votes_tracking:
        electorate = electorate.with_own(expected_votes=max(votes, electorate.tracked_expected))
    return recalculate(electorate, allow_decrease=True)


def _needs_no_waiting(flags: int) -> bool:
    return flags & (NODE_QUORATE | NODE_WAITING_FOR_ALL) == NODE_QUORATE


def _stop_waiting(electorate: Electorate) -> Electorate:
    return with_own_verdict_flags(replace(electorate, waiting_for_all=False))


def apply_listed(
    electorate: Electorate, settings: QuorumSettings, votes: Mapping[NodeId, int], *, keeps_expected: bool
) -> Electorate:
    """A replicated configuration, which all nodes put in force at one place in the total order: the options as
    `apply_settings` does it, and `votes` of all listed nodes and the expected votes at once, so that nobody's quorum
    depends on whose votes are heard of first. `keeps_expected`: those of before go on, as they are forced, say."""
    electorate = apply_settings(electorate, settings)
    for voter in electorate.voters:
        electorate = electorate.with_voter(replace(voter, votes=votes.get(voter.nodeid, 0)))
    if not keeps_expected:
        return _expect(electorate, settings.expected_votes)
    return recalculate(electorate, allow_decrease=True)


def apply_settings(electorate: Electorate, settings: QuorumSettings) -> Electorate:
    """A reload: of the options only two_node, wait_for_all as it follows two_node, and the device may change.

    Votes and expected votes change by RECONFIGURE, at one place in the total order.
    """
    old = electorate.settings
    follows = old.wait_for_all == old.two_node and settings.wait_for_all == settings.two_node
    merged = replace(
        old,
        votes=settings.votes,
        expected_votes=settings.expected_votes,
        two_node=settings.two_node,
        wait_for_all=settings.wait_for_all if follows else old.wait_for_all,
        device_model=settings.device_model,
        device_votes=settings.device_votes,
        device_timeout_s=settings.device_timeout_s,
        device_sync_timeout_s=settings.device_sync_timeout_s,
    )
    # A quorate cluster must not begin to wait because an option was switched on.
    waiting = merged.wait_for_all and (electorate.waiting_for_all or not electorate.quorate)
    electorate = replace(
        electorate, settings=merged, waiting_for_all=waiting, device_votes=configured_device_votes(merged)
    )
    return with_own_verdict_flags(electorate)
