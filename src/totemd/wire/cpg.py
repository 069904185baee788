"""Messages between the cpg services of the nodes (protocol/, chapter "Services", section cpg).

Whole messages, the 16-byte service header included; a join list's header has 24 bytes, the last eight unused. Group
names are byte strings of at most CPG_NAME_MAX bytes. `decode_mcast` and `encode_mcast` are on the hot path.
"""

from enum import IntEnum
from struct import Struct
from typing import Final

from totemd.errors import BadPacket
from totemd.ids import NodeId
from totemd.limits import CPG_NAME_MAX, MESSAGE_SIZE_MAX, PROCESSOR_COUNT_MAX
from totemd.record import record

_SERVICE: Final = 2 << 16


class CpgFunction(IntEnum):
    """What a cpg message is about."""

    PROC_JOIN = 0
    PROC_LEAVE = 1
    JOIN_LIST = 2
    MCAST = 3
    DOWN_LIST_OLD = 4
    DOWN_LIST = 5
    PARTIAL_MCAST = 6


class CpgReason(IntEnum):
    """Why a process is, or is no longer, a member of a group."""

    UNDEFINED = 0
    JOIN = 1
    LEAVE = 2
    NODE_DOWN = 3
    NODE_UP = 4
    PROC_DOWN = 5


class CpgFragment(IntEnum):
    """Which part of a client-fragmented message a partial mcast carries."""

    FIRST = 1
    CONTINUED = 2
    LAST = 3


@record
class ProcChange:
    """A process joins or leaves a group. `reason` is a CpgReason's number (any, when a peer sent it)."""

    group: bytes
    pid: int
    reason: int


@record
class JoinListEntry:
    """One process of the sender and a group that it is in."""

    pid: int
    group: bytes


@record
class JoinList:
    """Processes of the sender; all join lists of one sender in one round of synchronization add up."""

    entries: tuple[JoinListEntry, ...]


@record
class DownList:
    """Nodes that the sender has lost since its last synchronization; for the log only."""

    old_members: int
    left: tuple[NodeId, ...]


@record
class Mcast:
    """A client's message. `nodeid` and `cookie` are the sender's own note; receivers go by the ring's sender."""

    group: bytes
    pid: int
    nodeid: NodeId
    cookie: int
    payload: bytes


@record
class PartialMcast:
    """A fragment of a client's message of `total` bytes; `kind` is a CpgFragment's number."""

    group: bytes
    pid: int
    kind: int
    total: int
    nodeid: NodeId
    cookie: int
    payload: bytes


# header: id, size; group name: length, bytes; then the fields, each on an 8-byte boundary
_PROC_CHANGE: Final = Struct("<i4xi4xI4x128sI4xI4x")
_MCAST: Final = Struct("<i4xi4xI4x128sI4xI4xI4xQ")
_PARTIAL: Final = Struct("<i4xi4xI4x128sI4xI4xI4xI4xI4xQ")
_JOIN_LIST_HEADER: Final = Struct("<i4xi4x8x")
_JOIN_LIST_ENTRY: Final = Struct("<I4xI4x128s")
_DOWN_LIST_HEADER: Final = Struct("<i4xi4xI4xI4x")
_DOWN_LIST_SIZE: Final = _DOWN_LIST_HEADER.size + 4 * PROCESSOR_COUNT_MAX
_DOWN_LIST_OLD_SIZE: Final = 1560

MCAST_OVERHEAD: Final = _MCAST.size
"""Bytes in front of an mcast's payload."""

PARTIAL_MCAST_OVERHEAD: Final = _PARTIAL.size
"""Bytes in front of a partial mcast's payload."""


_MCAST_IDENT: Final = (_SERVICE | 3).to_bytes(4, "little")


def _name(length: int, padded: bytes) -> bytes:
    if length > CPG_NAME_MAX:
        raise BadPacket("cpg group name too long", f"{length} bytes")
    return padded[:length]


def _encode_proc_change(function: int, change: ProcChange) -> bytes:
    return _PROC_CHANGE.pack(
        _SERVICE | function, _PROC_CHANGE.size, len(change.group), change.group, change.pid, change.reason
    )


def _decode_proc_change(data: bytes) -> ProcChange:
    if len(data) < _PROC_CHANGE.size:
        raise BadPacket("cpg process change truncated", f"{len(data)} bytes")
    _, _, length, name, pid, reason = _PROC_CHANGE.unpack_from(data)
    return ProcChange(_name(length, name), pid, reason)


def encode_proc_join(change: ProcChange) -> bytes:
    """A process joins a group."""
    return _encode_proc_change(CpgFunction.PROC_JOIN, change)


def decode_proc_join(data: bytes) -> ProcChange:
    """Read a process's join; BadPacket if it is not valid."""
    return _decode_proc_change(data)


def encode_proc_leave(change: ProcChange) -> bytes:
    """A process leaves a group, or is gone."""
    return _encode_proc_change(CpgFunction.PROC_LEAVE, change)


def decode_proc_leave(data: bytes) -> ProcChange:
    """Read a process's leave; BadPacket if it is not valid."""
    return _decode_proc_change(data)


def encode_join_list(joins: JoinList) -> bytes:
    """The processes of this node; the caller keeps the list below MESSAGE_SIZE_MAX."""
    size = _JOIN_LIST_HEADER.size + _JOIN_LIST_ENTRY.size * len(joins.entries)
    parts = [_JOIN_LIST_HEADER.pack(_SERVICE | CpgFunction.JOIN_LIST, size)]
    parts += [_JOIN_LIST_ENTRY.pack(entry.pid, len(entry.group), entry.group) for entry in joins.entries]
    return b"".join(parts)


def decode_join_list(data: bytes) -> JoinList:
    """Read a join list; its header's size counts the entries. BadPacket if it is not valid."""
    if len(data) < _JOIN_LIST_HEADER.size:
        raise BadPacket("cpg join list truncated", f"{len(data)} bytes")
    _, size = _JOIN_LIST_HEADER.unpack_from(data)
    if not _JOIN_LIST_HEADER.size <= size <= len(data):
        raise BadPacket("cpg join list truncated", f"{len(data)} bytes of {size}")
    body = memoryview(data)[_JOIN_LIST_HEADER.size : size]
    if len(body) % _JOIN_LIST_ENTRY.size:
        raise BadPacket("cpg join list size", f"{size} bytes")
    return JoinList(
        tuple(JoinListEntry(pid, _name(length, name)) for pid, length, name in _JOIN_LIST_ENTRY.iter_unpack(body))
    )


def encode_down_list(down: DownList) -> bytes:
    """The nodes that this node has lost, PROCESSOR_COUNT_MAX at most."""
    header = _DOWN_LIST_HEADER.pack(_SERVICE | CpgFunction.DOWN_LIST, _DOWN_LIST_SIZE, down.old_members, len(down.left))
    return (header + b"".join(nodeid.to_bytes(4, "little") for nodeid in down.left)).ljust(_DOWN_LIST_SIZE, b"\0")


def decode_down_list(data: bytes) -> DownList:
    """Read a down list; BadPacket if it is not valid."""
    if len(data) < _DOWN_LIST_SIZE:
        raise BadPacket("cpg down list truncated", f"{len(data)} bytes")
    _, _, old_members, count = _DOWN_LIST_HEADER.unpack_from(data)
    if count > PROCESSOR_COUNT_MAX:
        raise BadPacket("cpg down list count", str(count))
    left = Struct(f"<{count}I").unpack_from(data, _DOWN_LIST_HEADER.size)
    return DownList(old_members, left)


def decode_down_list_old(data: bytes) -> None:
    """Check the down list of corosync before 3.0, which carries nothing that anybody uses; BadPacket if truncated."""
    if len(data) < _DOWN_LIST_OLD_SIZE:
        raise BadPacket("cpg old down list truncated", f"{len(data)} bytes")


def encode_mcast(message: Mcast) -> bytes:
    """A client's message; the caller keeps the payload at CPG_DATA_MAX bytes at most."""
    payload = message.payload
    group = message.group
    return (
        _MCAST.pack(
            _SERVICE | 3,
            MCAST_OVERHEAD + len(payload),
            len(group),
            group,
            len(payload),
            message.pid,
            message.nodeid,
            message.cookie,
        )
        + payload
    )


def decode_mcast(data: bytes) -> Mcast:
    """Read a client's message; BadPacket if it is not valid."""
    if len(data) < MCAST_OVERHEAD:
        raise BadPacket("cpg mcast truncated", f"{len(data)} bytes")
    _, _, length, name, size, pid, nodeid, cookie = _MCAST.unpack_from(data)
    end = MCAST_OVERHEAD + size
    if end > len(data):
        raise BadPacket("cpg mcast truncated", f"{len(data)} bytes of {end}")
    if length > CPG_NAME_MAX:
        raise BadPacket("cpg group name too long", f"{length} bytes")
    return Mcast(name[:length], pid, nodeid, cookie, data[MCAST_OVERHEAD:end])


def is_mcast(data: bytes) -> bool:
    """Whether a service message is a client's message."""
    return data.startswith(_MCAST_IDENT)


def encode_mcast_head(group: bytes, pid: int, nodeid: NodeId, size: int) -> bytes:
    """What precedes a payload of `size` bytes; the cookie is 0."""
    return _MCAST.pack(_SERVICE | 3, MCAST_OVERHEAD + size, len(group), group, size, pid, nodeid, 0)


def read_mcast_head(head: bytes) -> tuple[bytes, int, int]:
    """Group, pid and payload's size; BadPacket if it is not valid."""
    if len(head) < MCAST_OVERHEAD:
        raise BadPacket("cpg mcast truncated", f"{len(head)} bytes")
    _, _, length, name, size, pid, _, _ = _MCAST.unpack_from(head)
    return _name(length, name), pid, size


def encode_partial_mcast(message: PartialMcast) -> bytes:
    """A fragment of a client's message; the caller keeps the fragment at CPG_DATA_MAX bytes at most."""
    payload = message.payload
    return (
        _PARTIAL.pack(
            _SERVICE | CpgFunction.PARTIAL_MCAST,
            PARTIAL_MCAST_OVERHEAD + len(payload),
            len(message.group),
            message.group,
            message.total,
            len(payload),
            message.pid,
            message.kind,
            message.nodeid,
            message.cookie,
        )
        + payload
    )


def decode_partial_mcast(data: bytes) -> PartialMcast:
    """Read a fragment of a client's message; BadPacket if it is not valid."""
    if len(data) < PARTIAL_MCAST_OVERHEAD:
        raise BadPacket("cpg partial mcast truncated", f"{len(data)} bytes")
    _, _, length, name, total, size, pid, kind, nodeid, cookie = _PARTIAL.unpack_from(data)
    end = PARTIAL_MCAST_OVERHEAD + size
    if end > len(data):
        raise BadPacket("cpg partial mcast truncated", f"{len(data)} bytes of {end}")
    if not CpgFragment.FIRST <= kind <= CpgFragment.LAST:
        raise BadPacket("cpg partial mcast kind", str(kind))
    return PartialMcast(_name(length, name), pid, kind, total, nodeid, cookie, data[PARTIAL_MCAST_OVERHEAD:end])


assert MESSAGE_SIZE_MAX + PARTIAL_MCAST_OVERHEAD < 1 << 31, "sizes fit the signed header field"
