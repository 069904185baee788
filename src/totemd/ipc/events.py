"""Records of the ring and the services in the shapes of protocol/, chapter "Native socket"."""

from typing import Final

import msgpack

from totemd.config.model import CmapEntry, CmapType
from totemd.ids import NodeId, RingId
from totemd.services.cmap import CmapChanged, TrackKind
from totemd.services.cpg import (
    CpgChange,
    CpgDelivered,
    CpgFragment,
    CpgMember,
    CpgMembershipChanged,
    CpgPartialDelivered,
    CpgReason,
)
from totemd.totem.api import ConfigurationChanged

_pack: Final = msgpack.packb

CMAP_TYPE_WORDS: Final = {
    CmapType.I8: "i8",
    CmapType.U8: "u8",
    CmapType.I16: "i16",
    CmapType.U16: "u16",
    CmapType.I32: "i32",
    CmapType.U32: "u32",
    CmapType.I64: "i64",
    CmapType.U64: "u64",
    CmapType.FLOAT: "flt",
    CmapType.DOUBLE: "dbl",
    CmapType.STRING: "str",
    CmapType.BINARY: "bin",
}
"""The words of corosync-cmapctl(8)."""

CMAP_TYPES: Final = {word: kind for kind, word in CMAP_TYPE_WORDS.items()}


_CMAP_EVENT_WORDS: Final = {TrackKind.ADD: "add", TrackKind.MODIFY: "modify", TrackKind.DELETE: "delete"}

_REASON_WORDS: Final = {
    CpgReason.UNDEFINED: "undefined",
    CpgReason.JOIN: "join",
    CpgReason.LEAVE: "leave",
    CpgReason.NODE_DOWN: "nodedown",
    CpgReason.NODE_UP: "nodeup",
    CpgReason.PROC_DOWN: "procdown",
}

_FRAGMENT_WORDS: Final = {CpgFragment.FIRST: "first", CpgFragment.CONTINUED: "continued", CpgFragment.LAST: "last"}


def ring_map(ring: RingId) -> dict[str, object]:
    """A ring id: its two numbers, and the form that people know from corosync's tools."""
    return {"rep": ring.rep, "seq": ring.seq, "id": str(ring)}


def membership_map(change: ConfigurationChanged) -> dict[str, object]:
    """Event "membership", and part of the reply to `track`."""
    return {
        "kind": change.kind.value,
        "ring": ring_map(change.ring),
        "members": change.members,
        "joined": change.joined,
        "left": change.left,
        "reason": change.reason,
    }


def entry_map(entry: CmapEntry) -> dict[str, object]:
    """A typed value of the cmap."""
    return {"type": CMAP_TYPE_WORDS[entry.type], "value": entry.value}


def cmap_map(event: CmapChanged) -> dict[str, object]:
    """Event "cmap"."""
    return {
        "event": _CMAP_EVENT_WORDS[event.kind],
        "key": event.key,
        "new": None if event.new is None else entry_map(event.new),
        "old": None if event.old is None else entry_map(event.old),
    }


def member_map(member: CpgMember) -> dict[str, object]:
    """A process in a group."""
    return {"nodeid": member.nodeid, "pid": member.pid}


def members_map(event: CpgMembershipChanged) -> dict[str, object]:
    """Event "members"."""
    return {
        "group": event.group,
        "members": [member_map(member) for member in event.members],
        "joined": [_change_map(change) for change in event.joined],
        "left": [_change_map(change) for change in event.left],
    }


def _change_map(change: CpgChange) -> dict[str, object]:
    return {"nodeid": change.nodeid, "pid": change.pid, "reason": _REASON_WORDS[change.reason]}


def fragment_map(event: CpgPartialDelivered) -> dict[str, object]:
    """Event "fragment": a part of a message that its sender (a client of libcpg) found too big for one."""
    return {
        "group": event.group,
        "nodeid": event.nodeid,
        "pid": event.pid,
        "part": _FRAGMENT_WORDS[event.kind],
        "total": event.total,
        "data": event.data,
    }


class DeliverEncoder:
    """Event "deliver", whose data is encoded once however many local processes are in the group.

    A service pushes one and the same record to all of them one after the other, so remembering the last one is enough.
    """

    def __init__(self) -> None:
        self._last: CpgDelivered | None = None
        self._encoded = b""

    def encode(self, event: CpgDelivered) -> bytes:
        """The encoded value of "data"."""
        if event is not self._last:
            self._encoded = _pack({"group": event.group, "nodeid": event.nodeid, "pid": event.pid, "data": event.data})
            self._last = event
        return self._encoded


def deliver_head(group: bytes, nodeid: NodeId, pid: int, size_bytes: int) -> bytes:
    """The same value up to its data's bytes, of which there are so many."""
    whole: bytes = _pack({"group": group, "nodeid": nodeid, "pid": pid, "data": bytes(size_bytes)})
    return whole[: len(whole) - size_bytes]


def deliver_prefix(ident: int) -> bytes:
    """The encoded map of a "deliver" event of the subscription `ident`, up to the value of "data"."""
    whole: bytes = _pack({"event": "deliver", "of": ident, "data": None})
    return whole[:-1]
