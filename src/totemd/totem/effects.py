"""What the ring wants done, in this order. The order is the safety argument: `PersistRingSeq` stands before the packet
that claims the ring (protocol/, chapter "Membership")."""

from typing import TypeAlias

from totemd.ids import NodeId
from totemd.record import record


@record
class Broadcast:
    """Send `data` to every other node: one multicast, or one unicast for each nodelist entry but ourselves."""

    data: bytes


@record
class Unicast:
    """Send `data` (a token) to one other node."""

    nodeid: NodeId
    data: bytes


@record
class PersistRingSeq:
    """Make `seq` durable before any later effect is performed. An `emit` that cannot do so at once returns True, and
    the ring is told by `effects_performed` when this and all effects behind it are done."""

    seq: int


@record
class Log:
    """A line for people; `level` is a syslog priority's name."""

    level: str
    subsystem: str
    text: str


RingEffect: TypeAlias = Broadcast | Unicast | PersistRingSeq | Log
