"""What votequorum tells its callers: events pushed to listeners, and replies."""

from enum import IntFlag

from totemd.ids import NodeId, RingId
from totemd.record import record
from totemd.services.votequorum.electorate import VoterState


class InfoFlag(IntFlag):
    """Flags of `NodeInfoReply`, numbered as in corosync's client protocol. The first six are this node's options and
    verdict, the last four the asked node's quorum device."""

    TWO_NODE = 1
    QUORATE = 2
    WAIT_FOR_ALL = 4
    LAST_MAN_STANDING = 8
    AUTO_TIE_BREAKER = 16
    ALLOW_DOWNSCALE = 32
    QDEVICE_REGISTERED = 64
    QDEVICE_ALIVE = 128
    QDEVICE_CAST_VOTE = 256
    QDEVICE_MASTER_WINS = 512


FLAG_WORDS: tuple[tuple[InfoFlag, str], ...] = (
    (InfoFlag.TWO_NODE, "2Node"),
    (InfoFlag.QUORATE, "Quorate"),
    (InfoFlag.WAIT_FOR_ALL, "WaitForAll"),
    (InfoFlag.LAST_MAN_STANDING, "LastManStanding"),
    (InfoFlag.AUTO_TIE_BREAKER, "AutoTieBreaker"),
    (InfoFlag.ALLOW_DOWNSCALE, "AllowDownscale"),
    (InfoFlag.QDEVICE_REGISTERED, "Qdevice"),
)
"""The words that status prints, in its order."""


@record
class NodeStanding:
    """A node that was ever seen; node 0 is the quorum device registered on this node."""

    nodeid: NodeId
    state: VoterState
    votes: int


@record
class QuorumChanged:
    """Event: the verdict, after every synchronization and whenever it flips; all nodes ever seen, ascending."""

    quorate: bool
    nodes: tuple[NodeStanding, ...]


@record
class ExpectedVotesChanged:
    """Event: this node now expects so many votes."""

    expected_votes: int


@record
class NodelistChanged:
    """Event: the members of a new configuration, ascending, before the verdict on it."""

    ring: RingId
    nodes: tuple[NodeId, ...]


@record
class NodeInfoReply:
    """Votes and quorum as this node sees them, with the standing of one node."""

    nodeid: NodeId
    state: VoterState
    votes: int
    expected_votes: int
    highest_expected: int
    total_votes: int
    quorum: int
    flags: InfoFlag
    qdevice_votes: int
    qdevice_name: bytes
