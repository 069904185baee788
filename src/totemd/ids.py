"""Identifiers that every layer shares: node ids and ring ids (protocol/, chapter "Packets")."""

from typing import TypeAlias

from totemd.record import record

NodeId: TypeAlias = int
"""A node's 32-bit identity in the ring; 0 stands for nobody (or the quorum device in votequorum)."""


@record
class RingId:
    """A configuration's identity: the representative that made it and its 64-bit sequence number."""

    rep: NodeId
    seq: int

    def __str__(self) -> str:
        """The form that corosync 3.1's tools print: both numbers in hexadecimal."""
        return f"{self.rep:x}.{self.seq:x}"


NO_RING = RingId(0, 0)
"""Matches no ring that ever existed: sequence numbers start at 1."""
