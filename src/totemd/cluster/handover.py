"""What one node hands over to another one that was away, in boxes that only the two can make and read.

The record of the committed version and the present key ring are packed, compressed and cut into parts, each in a box
of its own (`totemd.cluster.boxes`). In a cluster whose nodes have no keys of their own there are no boxes, and the keys
of the ring are not handed over (protocol/, chapter "Replicated configuration", section "Catching up").
"""

import zlib
from collections.abc import Callable
from struct import Struct
from typing import Final

import msgpack

from totemd.cluster.boxes import BOX_DATA_MAX, open_box, seal_box
from totemd.cluster.identity import Identity
from totemd.errors import BadPacket
from totemd.record import record

PARCEL_SIZE_MAX: Final = 1024 * 1024
"""Bytes of all that travels; a record with boxes for 384 nodes has a fifth of it."""

HANDOVER_SIZE_MAX: Final = 4 * 1024 * 1024
"""Bytes that it unpacks to."""

_PLAIN: Final = b"\0"
_BOXED: Final = b"\1"
_LENGTH: Final = Struct("<I")


@record
class Handover:
    """`record` is as the service "changes" makes it; `key_ring` None: the keys stay."""

    record: bytes
    key_ring: bytes | None


def wrap(
    handed: Handover,
    identity: Identity | None,
    recipient_public_key: bytes | None,
    context: bytes,
    random_bytes: Callable[[int], bytes],
) -> bytes:
    """The bytes to send to the owner of the key. BadPacket if the key is none, ValueError if it is too much."""
    if identity is None or recipient_public_key is None:
        return _bounded(_PLAIN + _pack(Handover(handed.record, None)))
    data = _pack(handed)
    parts = [data[start : start + BOX_DATA_MAX] for start in range(0, len(data), BOX_DATA_MAX)]
    wrapped = [_BOXED]
    for number, part in enumerate(parts):
        its_context = _context(context, number, number == len(parts) - 1)
        box = seal_box(identity, recipient_public_key, part, its_context, random_bytes)
        wrapped += [_LENGTH.pack(len(box)), box]
    return _bounded(b"".join(wrapped))


def unwrap(parcel: bytes, identity: Identity | None, sender_public_key: bytes | None, context: bytes) -> Handover:
    """What `wrap` of the owner of that key put in. BadPacket if it is somebody else's, for something else or damaged,
    or if it is open although this node has a key."""
    if identity is None:
        if parcel[:1] != _PLAIN:
            raise BadPacket("bad handover", "boxed for a node that has no key")
        return _unpack(parcel[1:])
    if parcel[:1] != _BOXED or sender_public_key is None:
        raise BadPacket("bad handover", "not sealed by the node's own key")
    parts: list[bytes] = []
    at = 1
    while at < len(parcel):
        if at + _LENGTH.size > len(parcel):
            raise BadPacket("bad handover", "cut off")
        (size,) = _LENGTH.unpack_from(parcel, at)
        at += _LENGTH.size
        box, at = parcel[at : at + size], at + size
        parts.append(open_box(identity, sender_public_key, box, _context(context, len(parts), at >= len(parcel))))
    return _unpack(b"".join(parts))


def _context(context: bytes, number: int, last: bool) -> bytes:
    """Of one part: parts of one parcel in another order, or fewer of them, do not open."""
    return context + number.to_bytes(4, "little") + bytes((last,))


def _bounded(parcel: bytes) -> bytes:
    if len(parcel) > PARCEL_SIZE_MAX:
        raise ValueError(f"{len(parcel)} bytes to hand over; at most {PARCEL_SIZE_MAX} are possible")
    return parcel


def _pack(handed: Handover) -> bytes:
    fields: bytes = msgpack.packb([handed.record, handed.key_ring])
    return zlib.compress(fields)


def _unpack(data: bytes) -> Handover:
    try:
        inflater = zlib.decompressobj()
        fields = inflater.decompress(data, HANDOVER_SIZE_MAX)
        if not inflater.eof:
            raise BadPacket("bad handover", f"more than {HANDOVER_SIZE_MAX} bytes, or cut off")
        match msgpack.unpackb(fields, max_array_len=2, max_map_len=0):
            case [bytes(handed), bytes() | None as key_ring]:
                return Handover(handed, key_ring)
    except (zlib.error, ValueError, RecursionError, msgpack.exceptions.ExtraData, msgpack.exceptions.UnpackException):
        pass
    raise BadPacket("bad handover", "not what a node hands over")
