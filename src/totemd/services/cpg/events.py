"""What the cpg service tells its clients (protocol/, chapter "Services", section cpg)."""

from totemd.ids import NodeId, RingId
from totemd.record import record
from totemd.wire.cpg import CpgFragment, CpgReason


@record
class CpgMember:
    """A process that is in a group."""

    nodeid: NodeId
    pid: int


@record
class CpgChange:
    """A process that came or went, and why."""

    nodeid: NodeId
    pid: int
    reason: CpgReason


@record
class CpgGroup:
    """A group and its members, ascending by node and pid."""

    group: bytes
    members: tuple[CpgMember, ...]


@record
class CpgDelivered:
    """A message to a group, at its place in the total order."""

    group: bytes
    nodeid: NodeId
    pid: int
    data: bytes


@record
class CpgPartialDelivered:
    """A fragment of a message of `total` bytes; the client puts the fragments of one sender together."""

    group: bytes
    nodeid: NodeId
    pid: int
    kind: CpgFragment
    total: int
    data: bytes


@record
class CpgMembershipChanged:
    """A group's new members, ascending; those who left are in `left` only, also when it is the listener itself."""

    group: bytes
    members: tuple[CpgMember, ...]
    joined: tuple[CpgChange, ...]
    left: tuple[CpgChange, ...]


@record
class TotemConfigurationChanged:
    """A new ring of nodes, after synchronization: every group's membership is up to date."""

    ring: RingId
    members: tuple[NodeId, ...]
