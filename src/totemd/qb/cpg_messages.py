"""Layouts of cpg's library messages (protocol/, chapter "Library messages", section cpg).

Sizes, counts and offsets are in bytes. Everything that a client sends is checked by the front; what is encoded here
comes from the service.
"""

from collections.abc import Callable, Sequence
from enum import IntEnum
from struct import Struct
from typing import Any, Final

from totemd.errors import Code, ServiceError
from totemd.ids import NodeId
from totemd.limits import CPG_NAME_MAX
from totemd.qb.codec import RESPONSE_HEADER, response, ring_id
from totemd.services.cpg import (
    CpgChange,
    CpgDelivered,
    CpgMember,
    CpgMembershipChanged,
    CpgPartialDelivered,
    CpgRun,
    McastHead,
    TotemConfigurationChanged,
)
from totemd.wire.cpg import MCAST_OVERHEAD


class CpgRequest(IntEnum):
    """Ids of requests [LIB-301]."""

    JOIN = 0
    LEAVE = 1
    MULTICAST = 2
    MEMBERSHIP = 3
    LOCAL_GET = 4
    ITERATION_INITIALIZE = 5
    ITERATION_NEXT = 6
    ITERATION_FINALIZE = 7
    FINALIZE = 8
    ZERO_COPY_ALLOCATE = 9
    ZERO_COPY_FREE = 10
    ZERO_COPY_EXECUTE = 11
    PARTIAL_MULTICAST = 12


class CpgEvent(IntEnum):
    """Ids of events [LIB-302]."""

    MEMBERSHIP_CHANGED = 4
    DELIVERED = 5
    CONFIGURATION_CHANGED = 13
    PARTIAL_DELIVERED = 17


class IterationType(IntEnum):
    """What an iteration goes over."""

    NAMES = 1
    ONE_GROUP = 2
    ALL = 3


FLAG_INITIAL_CONFIGURATION: Final = 1
"""Of a join: have the ring's members sent after it."""
GUARANTEE_SAFE: Final = 3
"""Of a multicast; 0 (none), 1 (fifo) and 2 (agreed) are all served in agreed order."""

SMALL: Final = 2048
"""Up to so many bytes it is cheaper to copy data once more than to speak of a part of it."""

LIST_MAX: Final = 128
"""Entries of every list that a client is sent: libcpg copies them into arrays of this size without looking."""

# Requests, headers skipped. A group's name is its length and 128 bytes.
JOIN: Final = Struct("=16xI4x128sI4xI4x")
LEAVE: Final = Struct("=16xI4x128sI4x")
MEMBERSHIP: Final = Struct("=16xI4x128s")
ITERATION_INITIALIZE: Final = Struct("=16xI4x128sI4x")
HANDLE: Final = Struct("=16xQ")
ZERO_COPY_ALLOCATE: Final = Struct("=16xQ128s")
ZERO_COPY_FREE: Final = Struct("=16xQQ")
# These two have a response's header.
MULTICAST: Final = Struct("=24xI4xI4x")
WHOLE_MULTICAST: Final = Struct("=i4xi12xI4xI4x")
"""A multicast with its header: id, size of the message, guarantee, bytes of data."""
PARTIAL_MULTICAST: Final = Struct("=24xI4xI4xI4xI4x")

_ADDRESS: Final = Struct("=I4xI4xI4x")
_MEMBERSHIP_SIZE: Final = 32 + 384 * _ADDRESS.size
_ITERATION_ENTRY: Final = Struct("=I4x128sII")
_U32: Final = Struct("=I")
_U64: Final = Struct("=Q")
_MEMBERSHIP_CHANGED: Final = Struct("=i4xi4xi4xI4x128sI4xI4xI4x")
_DELIVERED: Final = Struct("=i4xi4xi4xI4x128sI4xI4xI4x")
_PARTIAL_DELIVERED: Final = Struct("=i4xi4xi4xI4x128sI4xI4xI4xI4xI4x")

_OK: Final = int(Code.OK)
_DELIVERED_ID: Final = int(CpgEvent.DELIVERED)


def group_name(length: int, padded: bytes) -> bytes:
    """A group's name out of its field. ServiceError NAME_TOO_LONG."""
    if length > CPG_NAME_MAX:
        raise ServiceError(Code.NAME_TOO_LONG, f"a group's name has at most {CPG_NAME_MAX} bytes, not {length}")
    return padded[:length]


def membership_response(ident: int, members: Sequence[CpgMember]) -> bytes:
    """The reply to MEMBERSHIP, always of the same size; the reasons in it are not set."""
    shown = members[:LIST_MAX]
    body = _U32.pack(len(shown)) + bytes(4) + b"".join(_ADDRESS.pack(m.nodeid, m.pid, 0) for m in shown)
    return response(ident, body=body.ljust(_MEMBERSHIP_SIZE - RESPONSE_HEADER.size, b"\0"))


def local_response(ident: int, nodeid: NodeId) -> bytes:
    """The reply to LOCAL_GET."""
    return response(ident, body=_U32.pack(nodeid) + bytes(4))


def handle_response(ident: int, handle: int) -> bytes:
    """The reply to ITERATION_INITIALIZE."""
    return response(ident, body=_U64.pack(handle))


def entry_response(ident: int, group: bytes, nodeid: NodeId, pid: int) -> bytes:
    """The reply to ITERATION_NEXT. Its last two fields are not on 8-byte boundaries."""
    return response(ident, body=_ITERATION_ENTRY.pack(len(group), group, nodeid, pid))


def membership_changed(event: CpgMembershipChanged) -> bytes:
    """Who is in the group now, who has left it and who has joined it."""
    members, left, joined = event.members[:LIST_MAX], event.left[:LIST_MAX], event.joined[:LIST_MAX]
    size = _MEMBERSHIP_CHANGED.size + _ADDRESS.size * (len(members) + len(left) + len(joined))
    head = _MEMBERSHIP_CHANGED.pack(
        CpgEvent.MEMBERSHIP_CHANGED, size, Code.OK, len(event.group), event.group, len(members), len(joined), len(left)
    )
    present = [_ADDRESS.pack(member.nodeid, member.pid, 0) for member in members]
    return b"".join((head, *present, *map(_change, left), *map(_change, joined)))


def _change(change: CpgChange) -> bytes:
    return _ADDRESS.pack(change.nodeid, change.pid, change.reason)


def delivered(event: CpgDelivered) -> bytes:
    """A message."""
    group, data = event.group, event.data
    count = len(data)
    return (
        _DELIVERED.pack(_DELIVERED_ID, _DELIVERED.size + count, _OK, len(group), group, count, event.nodeid, event.pid)
        + data
    )


def delivered_run(run: CpgRun) -> list[bytes]:
    """Messages that came together: an event for each. They are encoded once, however many clients are told of them."""
    if not run.encoded:
        last, start = None, b""
        for head, body in zip(run.heads, run.bodies, strict=True):
            if head is not last:
                last, start = head, head.encoded or _delivered_head(head, run.nodeid)
            data = body[MCAST_OVERHEAD:] if head.size <= SMALL else memoryview(body)[MCAST_OVERHEAD:]
            run.encoded.append(start + data)
    return run.encoded


def _delivered_head(head: McastHead, nodeid: NodeId) -> bytes:
    """What precedes the data in an event, to be remembered. A head is of messages of one node."""
    group, size = head.group, head.size
    head.encoded = _DELIVERED.pack(
        _DELIVERED_ID, _DELIVERED.size + size, _OK, len(group), group, size, nodeid, head.pid
    )
    return head.encoded


def partial_delivered(event: CpgPartialDelivered) -> bytes:
    """A fragment of a message."""
    group, data = event.group, event.data
    return (
        _PARTIAL_DELIVERED.pack(
            CpgEvent.PARTIAL_DELIVERED,
            _PARTIAL_DELIVERED.size + len(data),
            Code.OK,
            len(group),
            group,
            event.total,
            len(data),
            event.nodeid,
            event.pid,
            event.kind,
        )
        + data
    )


def configuration_changed(event: TotemConfigurationChanged) -> bytes:
    """The ring's members. The list begins in the header's last four bytes, so that four bytes trail it."""
    members = event.members[:LIST_MAX]
    body = ring_id(event.ring) + Struct(f"={len(members) + 1}I4x").pack(len(members), *members)
    return response(CpgEvent.CONFIGURATION_CHANGED, body=body)


_ENCODINGS: Final[dict[type, Callable[[Any], bytes]]] = {
    CpgDelivered: delivered,
    CpgPartialDelivered: partial_delivered,
    CpgMembershipChanged: membership_changed,
    TotemConfigurationChanged: configuration_changed,
}


class EventEncoder:
    """Encodes each event once, however many local connections are told of it.

    The service pushes one and the same record to all of them one after the other: remembering the last one is enough.
    """

    def __init__(self) -> None:
        self._last: object = None
        self._encoded: bytes | None = None

    def encode(self, event: object) -> bytes | None:
        """The event's bytes; None if it is not for clients of libcpg."""
        if event is not self._last:
            encoding = _ENCODINGS.get(type(event))
            self._encoded = None if encoding is None else encoding(event)
            self._last = event
        return self._encoded
