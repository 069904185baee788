"""What an mcast carries, and what each message in it begins with (protocol/, chapter "Groups").

    payload = group packet = 8-byte header, lengths of the pieces, pieces
    message = group header (names of the groups it is for), body

A piece is a whole message, or a part of one: the first piece continues the sender's previous packet when
`continuation` is not 0, the last piece goes on in the sender's next packet when `fragmented` is not 0.
"""

from collections.abc import Sequence
from functools import lru_cache
from struct import Struct
from typing import Final, TypeAlias

from totemd.errors import BadPacket
from totemd.record import record

SERVICE_GROUP: Final = b"a"
"""Messages of the services."""
SYNC_GROUP: Final = b"sync"
"""Messages of synchronization."""

GROUP_NAMES_MAX: Final = 16
"""Groups that one message may name; real nodes always name one."""

GROUP_PACKET_HEADER_SIZE: Final = 8
PIECE_OVERHEAD: Final = 2
"""Bytes that every piece costs in the table of lengths."""

Buffer: TypeAlias = bytes | memoryview

# version and type, always 0 and never looked at by a receiver; fragmented, continuation, number of pieces; lengths
_PACKET: Final = tuple(Struct(f"<hhBBH{count}H") for count in range(129))
_HEADER: Final = _PACKET[0]
_ONE: Final = _PACKET[1]
_ONE_SIZE: Final = _ONE.size
_LENGTHS: Final = tuple(Struct(f"<{count}H") for count in range(129))
_NAME: Final = Struct("<HH")
_U16: Final = Struct("<H")


@record
class GroupPacket:
    """The pieces of one packet. At least one; parts of messages only where the two numbers say so."""

    fragmented: int
    continuation: int
    pieces: list[bytes]


def decode_group_packet(payload: bytes) -> GroupPacket:
    """Read the payload of an mcast; BadPacket unless the lengths add up to exactly its size."""
    size = len(payload)
    if size < GROUP_PACKET_HEADER_SIZE:
        raise BadPacket("group packet truncated", f"{size} bytes")
    _, _, fragmented, continuation, count = _HEADER.unpack_from(payload)
    start = GROUP_PACKET_HEADER_SIZE + PIECE_OVERHEAD * count
    if size < start:
        raise BadPacket("group packet truncated", f"{size} bytes for {count} pieces")
    if count == 0:
        raise BadPacket("group packet empty")
    table = _LENGTHS[count] if count < len(_LENGTHS) else Struct(f"<{count}H")
    pieces = []
    for length in table.unpack_from(payload, GROUP_PACKET_HEADER_SIZE):
        end = start + length
        pieces.append(payload[start:end])
        start = end
    if start != size:
        raise BadPacket("group packet length", f"{size} bytes, its pieces say {start}")
    return GroupPacket(fragmented, continuation, pieces)


def whole_bodies(payload: bytes, header: bytes) -> list[bytes] | None:
    """The bodies of the messages in a packet that has whole messages only, each with this group header; None for every
    other packet, be it valid or not."""
    size = len(payload)
    if size < GROUP_PACKET_HEADER_SIZE:
        return None
    _, _, fragmented, continuation, count = _HEADER.unpack_from(payload)
    start = GROUP_PACKET_HEADER_SIZE + PIECE_OVERHEAD * count
    if fragmented or continuation or not 0 < count < len(_LENGTHS) or size < start:
        return None
    header_size = len(header)
    bodies = []
    for length in _LENGTHS[count].unpack_from(payload, GROUP_PACKET_HEADER_SIZE):
        if length < header_size or not payload.startswith(header, start):
            return None
        end = start + length
        bodies.append(payload[start + header_size : end])
        start = end
    return bodies if start == size else None


def middle_part(payload: bytes) -> tuple[int, int, memoryview] | None:
    """`fragmented`, `continuation` and the only piece of a packet that is nothing but the middle of a message; None for
    every other packet, be it valid or not."""
    if len(payload) <= _ONE_SIZE:
        return None
    _, _, fragmented, continuation, count, length = _ONE.unpack_from(payload)
    if count != 1 or not fragmented or not continuation or length != len(payload) - _ONE_SIZE:
        return None
    return fragmented, continuation, memoryview(payload)[_ONE_SIZE:]


def encode_part(fragmented: int, continuation: int, piece: Buffer) -> bytes:
    """The payload with this one piece."""
    return b"".join((_ONE.pack(0, 0, fragmented, continuation, 1, len(piece)), piece))


def encode_group_packet(fragmented: int, continuation: int, pieces: Sequence[Buffer]) -> bytes:
    """The payload with these pieces, none longer than 65535 bytes."""
    count = len(pieces)
    header = _PACKET[count] if count < len(_PACKET) else Struct(f"<hhBBH{count}H")
    return b"".join((header.pack(0, 0, fragmented, continuation, count, *map(len, pieces)), *pieces))


@lru_cache(maxsize=64)
def group_header(name: bytes) -> bytes:
    """The header of a message for the one group `name`."""
    return _NAME.pack(1, len(name)) + name


def encode_group_message(name: bytes, body: bytes) -> bytes:
    """The message with `body` for the group `name`."""
    return group_header(name) + body


def decode_group_message(message: bytes) -> tuple[tuple[bytes, ...], bytes]:
    """Split a message into the groups it is for and its body; BadPacket if the group header is not valid."""
    size = len(message)
    if size < _U16.size:
        raise BadPacket("group header truncated", f"{size} bytes")
    (count,) = _U16.unpack_from(message)
    if not 1 <= count <= GROUP_NAMES_MAX:
        raise BadPacket("group header count", f"{count} groups")
    start = _U16.size + PIECE_OVERHEAD * count
    if size < start:
        raise BadPacket("group header truncated", f"{size} bytes for {count} groups")
    names = []
    for length in _LENGTHS[count].unpack_from(message, _U16.size):
        names.append(message[start : start + length])
        start += length
    if size < start:
        raise BadPacket("group header truncated", f"{size} bytes, its names end at {start}")
    return tuple(names), message[start:]
