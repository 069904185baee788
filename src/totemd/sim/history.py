"""What happened in a cluster, as seen from outside its nodes: the one input of all checkers.

The simulator records it in virtual time, the chaos runner from the clients of real daemons; the checkers do not know
the difference. Events stand in the order of their time; of one life, in the order in which it saw them.
"""

from enum import Enum
from typing import TypeAlias

from totemd.ids import NodeId, RingId
from totemd.record import record
from totemd.totem.api import ConfigurationKind

LifeId: TypeAlias = int
"""One run of one node's daemon, unique in a history. A restarted node is another process to virtual synchrony."""

Process: TypeAlias = tuple[NodeId, int]
"""A member of a process group: node and pid. The simulator gives a life's only process the life's id as its pid."""

MessageId: TypeAlias = tuple[LifeId, int]
"""The life that multicast it, and its number there, from 0."""


class End(Enum):
    """How a life ended."""

    CRASH = "crash"
    LEAVE = "leave"
    EXIT = "exit"
    """By the daemon's own decision, with a reason (it was killed by a peer, its disk failed ...)."""


@record
class Started:
    """A daemon starts. `stored_ring_seq` is what its disk holds, where known."""

    time: float
    node: NodeId
    life: LifeId
    stored_ring_seq: int | None


@record
class Ended:
    """A daemon ended; nothing of this life follows."""

    time: float
    node: NodeId
    life: LifeId
    how: End
    reason: str


@record
class Configured:
    """A transitional or regular configuration was delivered."""

    time: float
    node: NodeId
    life: LifeId
    kind: ConfigurationKind
    ring: RingId
    members: tuple[NodeId, ...]
    joined: tuple[NodeId, ...]
    left: tuple[NodeId, ...]


@record
class Synchronized:
    """The services of all members of `ring` agree."""

    time: float
    node: NodeId
    life: LifeId
    ring: RingId


@record
class Accepted:
    """The daemon took a message to be multicast to the group."""

    time: float
    node: NodeId
    life: LifeId
    message: MessageId
    safe: bool


@record
class Delivered:
    """A message was delivered to this life's process in the group. `digest` is of the bytes that arrived."""

    time: float
    node: NodeId
    life: LifeId
    message: MessageId
    sender: Process
    safe: bool
    digest: bytes


@record
class GroupChanged:
    """The group's view changed, at this place among the deliveries."""

    time: float
    node: NodeId
    life: LifeId
    members: tuple[Process, ...]
    joined: tuple[tuple[NodeId, int, str], ...]
    """With the reason's word: join, nodeup."""
    left: tuple[tuple[NodeId, int, str], ...]
    """With the reason's word: leave, nodedown, procdown."""


@record
class QuorumChanged:
    """What this node says of quorum from here on."""

    time: float
    node: NodeId
    life: LifeId
    quorate: bool
    ring: RingId
    members: tuple[NodeId, ...]


@record
class VersionInForce:
    """A version of the replicated configuration is in force from here on. `committed` and so on are of the last
    version that this node knows to be decided: the same, but while it has gone back from it."""

    time: float
    node: NodeId
    life: LifeId
    version: int
    ident: bytes
    committed: int
    committed_ident: bytes
    committed_base: int


@record
class ChangeAnswered:
    """The client that proposed a change is told what became of it: accepted, refused, or undecided."""

    time: float
    node: NodeId
    life: LifeId
    ident: bytes
    version: int
    word: str


@record
class Calm:
    """From here on nothing fails: liveness counts from this moment, for these nodes."""

    time: float
    nodes: tuple[NodeId, ...]


@record
class Measured:
    """How much a queue, a buffer or the whole daemon holds, and how much it may."""

    time: float
    node: NodeId
    life: LifeId
    name: str
    amount: int
    bound: int


Event: TypeAlias = (
    Started
    | Ended
    | Configured
    | Synchronized
    | Accepted
    | Delivered
    | GroupChanged
    | QuorumChanged
    | VersionInForce
    | ChangeAnswered
    | Calm
    | Measured
)

History: TypeAlias = list[Event]


@record
class Violation:
    """A promise that a history breaks."""

    property: str
    """The checker's name."""
    anchor: str
    """The sentence of the specification, for example "ORD-20"."""
    text: str
    time: float


@record
class Limits:
    """What a history's cluster is allowed, for checkers that depend on it."""

    quorum_gives_up: str = ""
    """Non-empty: a quorum option is on that may let two components be quorate; says which."""
    settle_s: float = 60.0
    """After Calm, within this all is one ring and delivered."""
