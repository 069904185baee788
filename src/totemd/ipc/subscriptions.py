"""What a request leaves behind on a session: a listener whose events carry the request's id.

A service pushes records to it synchronously, and it queues them in the chapter's shapes at once. It never calls a
service from within `push`.
"""

from typing import TYPE_CHECKING, Final, Protocol

from totemd.ids import NodeId
from totemd.ipc.events import cmap_map, deliver_head, deliver_prefix, fragment_map, members_map
from totemd.ipc.frames import frame_head
from totemd.limits import FRAME_SIZE_MAX
from totemd.services.cmap import Cmap, CmapChanged, Statistics
from totemd.services.cpg import (
    CpgDelivered,
    CpgMembershipChanged,
    CpgPartialDelivered,
    CpgRun,
    McastHead,
)
from totemd.wire.cpg import MCAST_OVERHEAD

if TYPE_CHECKING:
    from totemd.ipc.session import Session

JOINED_BYTES_MAX: Final = 16384
"""Up to here it is cheaper to copy an encoded message once more than to write two chunks."""


class Subscription(Protocol):
    """Something that `untrack`, `cpg_leave` or the end of the connection ends."""

    def disconnect(self) -> None:
        """Stop hearing; the client is gone, or wants no more of it."""


class GroupSubscription:
    """A process in a group: what the cpg service calls an endpoint."""

    def __init__(self, session: "Session", ident: int, group: bytes, pid: int) -> None:
        self._session = session
        self._ident = ident
        self.group = group
        self._self = (session.services.node.nodeid, pid)
        self._prefix = deliver_prefix(ident)

    def push(self, event: object) -> None:
        """Queue a service event; after the own departure there are no more of them."""
        if type(event) is CpgDelivered:
            self._deliver(event)
        elif type(event) is CpgMembershipChanged:
            self._session.event(self._ident, "members", members_map(event))
            if any((change.nodeid, change.pid) == self._self for change in event.left):
                self._session.end_group(self._ident, self)
        elif type(event) is CpgPartialDelivered:
            self._session.event(self._ident, "fragment", fragment_map(event))

    def push_run(self, run: CpgRun) -> None:
        """Queue the events of messages that came together."""
        if run.heads[0].size > JOINED_BYTES_MAX:
            for event in run.events():
                self._deliver(event)
            return
        parts = []
        last, begin = None, b""
        for head, body in zip(run.heads, run.bodies, strict=True):
            if head is not last:
                last, begin = head, self._beginning(head, run.nodeid)
            parts.append(begin)
            parts.append(body[MCAST_OVERHEAD:])
        self._session.send_chunks(b"".join(parts))

    def _beginning(self, head: McastHead, nodeid: NodeId) -> bytes:
        """What precedes the data in a frame."""
        if not head.mapped:
            head.mapped = deliver_head(head.group, nodeid, head.pid, head.size)
        return frame_head(len(self._prefix) + len(head.mapped) + head.size) + self._prefix + head.mapped

    def disconnect(self) -> None:
        """The process is gone: it leaves its group."""
        self._session.services.cpg.disconnect(self)

    def _deliver(self, event: CpgDelivered) -> None:
        encoded = self._session.services.deliver_encoder.encode(event)
        size_bytes = len(self._prefix) + len(encoded)
        if size_bytes > FRAME_SIZE_MAX:
            self._session.close(f"a message of {len(event.data)} bytes does not fit into a frame")
            return
        head = frame_head(size_bytes) + self._prefix
        if size_bytes <= JOINED_BYTES_MAX:
            self._session.send_chunks(head + encoded)
        else:
            self._session.send_chunks(head, encoded)


class CmapSubscription:
    """A tracker of keys."""

    def __init__(self, session: "Session", ident: int, tracked: Cmap | Statistics) -> None:
        self._session = session
        self._ident = ident
        self._tracked = tracked

    def push(self, event: object) -> None:
        """Queue a change of a key."""
        if type(event) is CmapChanged:
            self._session.event(self._ident, "cmap", cmap_map(event))

    def disconnect(self) -> None:
        """Track no more."""
        self._tracked.disconnect(self)


class ShutdownCaller:
    """What the cfg service knows a session as when it asks for a shutdown."""

    def push(self, event: object) -> None:
        """Take no notice: only clients that track are asked about shutdowns."""
