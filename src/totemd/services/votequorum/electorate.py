"""The values the quorum arithmetic works on: one immutable picture of everything that decides about quorum.

`Electorate` is what one node knows: who votes with how much, in which configuration, and what it remembers of
earlier ones. The functions of `arithmetic` and `rules` take one and return the next; they never change it.
"""

from dataclasses import replace
from enum import IntEnum

from totemd.config.model import QuorumSettings
from totemd.ids import NodeId
from totemd.limits import PROCESSOR_COUNT_MAX
from totemd.record import record
from totemd.wire.votequorum import NODE_FIRST


class VoterState(IntEnum):
    """What a node is to the quorum, numbered as in corosync's client protocol."""

    MEMBER = 1
    DEAD = 2
    LEAVING = 3


@record
class Voter:
    """A node that was ever seen. Its votes count while it is MEMBER."""

    nodeid: NodeId
    state: VoterState
    votes: int
    expected_votes: int
    flags: int


@record
class Electorate:
    """All that one node knows about votes. Build the first with `first_electorate`."""

    settings: QuorumSettings
    own_nodeid: NodeId
    voters: tuple[Voter, ...]
    """Every node ever seen (at most PROCESSOR_COUNT_MAX), ascending by id; this node is always among them."""
    members: tuple[NodeId, ...]
    """The configuration that is in force, or being synchronized."""
    activated: tuple[NodeId, ...]
    """The configuration that was synchronized last."""
    previous: tuple[NodeId, ...]
    """The one that was activated before `members`."""
    synchronizing: bool = False
    """Not all members' NODEINFO of this configuration may be known."""
    quorum: int = 0
    """Votes that are needed. Not cut to 8 bits as in corosync 3.1.7, where 256 needed votes become none."""
    quorate: bool = False
    waiting_for_all: bool = False
    """wait_for_all, and not all were seen at once since the start or since quorum was lost."""
    expected_barrier: int = 0
    """allow_downscale never goes below: expected_votes as configured, or as set by the operator later."""
    tracked_expected: int = 0
    """expected_votes_tracking: the highest expected_votes ever seen, kept on disk; 0 without tracking."""
    last_quorate: tuple[NodeId, ...] = ()
    """Who was there when this node was quorate last: the tie breaker must not forget them."""
    lowest: NodeId = 0
    highest: NodeId = 0
    """Lowest and highest member when this node last saw a majority; 0: never."""
    last_man_standing: bool = False
    """The option, until a node with more than one vote is seen."""
    device_votes: int = 0

    @property
    def own(self) -> Voter:
        """This node's own entry."""
        voter = self.voter(self.own_nodeid)
        assert voter is not None
        return voter

    def voter(self, nodeid: NodeId) -> Voter | None:
        """The entry of `nodeid`, if it was ever seen."""
        return next((voter for voter in self.voters if voter.nodeid == nodeid), None)

    def present(self) -> list[Voter]:
        """The voters that count now, ascending."""
        return [voter for voter in self.voters if voter.state is VoterState.MEMBER]

    def with_voter(self, changed: Voter) -> "Electorate":
        """The same with `changed` in its place, new or not. A full table forgets its first dead node, or stays."""
        others = [voter for voter in self.voters if voter.nodeid != changed.nodeid]
        if len(others) >= PROCESSOR_COUNT_MAX:
            dead = next((voter for voter in others if voter.state is VoterState.DEAD), None)
            if dead is None:
                return self
            others.remove(dead)
        voters = sorted([*others, changed], key=lambda voter: voter.nodeid)
        return replace(self, voters=tuple(voters))

    def with_own(self, *, votes: int | None = None, expected_votes: int | None = None) -> "Electorate":
        """The same with this node's own votes or expected votes changed."""
        own = self.own
        if votes is not None:
            own = replace(own, votes=votes)
        if expected_votes is not None:
            own = replace(own, expected_votes=expected_votes)
        return self.with_voter(own)

    def with_own_flags(self, *, set_: int = 0, clear: int = 0) -> "Electorate":
        """The same with bits of this node's own flags set and cleared."""
        own = self.own
        return self.with_voter(replace(own, flags=own.flags & ~clear | set_))


def first_electorate(settings: QuorumSettings, own_nodeid: NodeId, tracked_expected: int = 0) -> Electorate:
    """A node that has just started and knows only itself; `tracked_expected` is what ev_tracking held (0: nothing)."""
    expected = max(settings.expected_votes, tracked_expected) if settings.expected_votes_tracking else 0
    own = Voter(
        nodeid=own_nodeid,
        state=VoterState.MEMBER,
        votes=settings.votes,
        expected_votes=expected or settings.expected_votes,
        flags=NODE_FIRST,
    )
    return Electorate(
        settings=settings,
        own_nodeid=own_nodeid,
        voters=(own,),
        members=(own_nodeid,),
        activated=(own_nodeid,),
        previous=(),
        waiting_for_all=settings.wait_for_all,
        expected_barrier=settings.expected_votes,
        tracked_expected=tracked_expected if settings.expected_votes_tracking else 0,
        last_man_standing=settings.last_man_standing and settings.votes <= 1,
        device_votes=configured_device_votes(settings),
    )


def configured_device_votes(settings: QuorumSettings) -> int:
    """Votes of the quorum device; 0 without one."""
    return settings.device_votes if settings.device_model is not None else 0
