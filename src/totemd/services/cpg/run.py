"""Many messages at once: what makes the way of small messages short.

A process's messages of one size begin with the same bytes, so what those say is found out once and remembered; and
messages of one node to one group that come in one packet are given to local clients together, as a run.
"""

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from totemd.errors import BadPacket
from totemd.ids import NodeId
from totemd.services.cpg.events import CpgDelivered
from totemd.wire.cpg import MCAST_OVERHEAD, is_mcast, read_mcast_head

HEADS_MAX: Final = 1024
"""Heads that are remembered; there is one for each sending process and size."""


class McastHead:
    """What the bytes in front of a message's data say."""

    __slots__ = ("encoded", "group", "mapped", "pid", "size")

    def __init__(self, group: bytes, pid: int, size: int) -> None:
        self.group = group
        self.pid = pid
        self.size = size
        """Of the data, bytes."""
        self.encoded = b""
        self.mapped = b""
        """Whatever the front for libcpg, and that of the native socket, make of it, to be remembered beside it."""


class McastHeads:
    """Heads by sender and bytes."""

    def __init__(self) -> None:
        self._heads: dict[tuple[NodeId, bytes], McastHead] = {}
        self._last: McastHead | None = None
        self._last_sender: NodeId = 0
        self._last_bytes = b""

    def read(self, sender: NodeId, bodies: Sequence[bytes]) -> list[McastHead] | None:
        """The heads of messages that are nothing but a head and its data; None if any is anything else."""
        head, head_bytes = self._last, self._last_bytes
        if sender != self._last_sender:
            head = None
        heads = []
        for body in bodies:
            if head is None or not body.startswith(head_bytes):
                head_bytes = body[:MCAST_OVERHEAD]
                head = self._heads.get((sender, head_bytes)) or self._learn(sender, head_bytes)
                if head is None:
                    return None
                self._last, self._last_sender, self._last_bytes = head, sender, head_bytes
            if len(body) - MCAST_OVERHEAD != head.size:
                return None
            heads.append(head)
        return heads

    def _learn(self, sender: NodeId, head_bytes: bytes) -> McastHead | None:
        if not is_mcast(head_bytes):
            return None
        try:
            head = McastHead(*read_mcast_head(head_bytes))
        except BadPacket:
            return None
        if len(self._heads) >= HEADS_MAX:
            self._heads.clear()
        self._heads[sender, head_bytes] = head
        return head


class CpgRun:
    """Messages of one node to one group that came together, in their order."""

    __slots__ = ("bodies", "encoded", "heads", "nodeid")

    def __init__(self, nodeid: NodeId, heads: Sequence[McastHead], bodies: Sequence[bytes]) -> None:
        """At least one of each; `bodies` are whole cpg messages."""
        self.nodeid = nodeid
        self.heads = heads
        self.bodies = bodies
        self.encoded: list[bytes] = []
        """Whatever the front for libcpg makes of it, once for all its clients."""

    def events(self) -> list[CpgDelivered]:
        """The same messages, one by one."""
        return [
            CpgDelivered(head.group, self.nodeid, head.pid, body[MCAST_OVERHEAD:])
            for head, body in zip(self.heads, self.bodies, strict=True)
        ]


TakeRun: TypeAlias = Callable[[CpgRun], None]
"""The method `push_run` of a listener that takes runs, too; others are pushed the events of a run. It must not call
back into the service."""
