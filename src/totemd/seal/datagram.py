"""The outside of a sealed datagram (chapter "Sealed datagrams", section "The datagram"). Little-endian."""

from enum import IntEnum
from struct import Struct
from typing import Final

from totemd.errors import BadPacket
from totemd.ids import NodeId
from totemd.record import record

MAGIC: Final = b"tSD\x01"
"""Neither byte order of a ring packet begins so, nor does corosync 2's."""
_HEADER: Final = Struct("<4sB4sI16sQ")
_PREFIX: Final = Struct("<4sB4sI16s")
HEADER_SIZE: Final = _HEADER.size
PREFIX_SIZE: Final = _PREFIX.size
"""What all datagrams of one session, key and kind have in common: the header but for the counter."""
NONCE_AT: Final = 25
"""The nonce is the last 12 bytes of the header: four of the session, which its key has anyway, and the counter."""
TAG_SIZE: Final = 16
OVERHEAD_BYTES: Final = HEADER_SIZE + TAG_SIZE
SESSION_SIZE: Final = 16


class Kind(IntEnum):
    """Header byte 4: what the ciphertext is, and for whom: a packet of the ring, or a message between seals
    (`totemd.seal.messages`); for all, or for one node, whose id is bound into the key."""

    RING = 1
    CONTROL = 2
    RING_TO_ONE = 3
    CONTROL_TO_ONE = 4

    @property
    def is_control(self) -> bool:
        """Whether it is a message between seals."""
        return self in (Kind.CONTROL, Kind.CONTROL_TO_ONE)

    @property
    def to_one(self) -> bool:
        """Whether it is for one node alone."""
        return self in (Kind.RING_TO_ONE, Kind.CONTROL_TO_ONE)


@record
class Header:
    """What stands in the clear. Nothing of it is true before the datagram has been opened."""

    kind: Kind
    key_ident: bytes
    sender: NodeId
    session: bytes
    counter: int


def encode_prefix(kind: Kind, key_ident: bytes, sender: NodeId, session: bytes) -> bytes:
    """The header without the counter."""
    return _PREFIX.pack(MAGIC, kind, key_ident, sender, session)


def encode_header(header: Header) -> bytes:
    """The bytes in front of the ciphertext."""
    return _HEADER.pack(MAGIC, header.kind, header.key_ident, header.sender, header.session, header.counter)


def decode_header(data: bytes) -> Header:
    """The header of a sealed datagram. BadPacket if it is none, or shorter than an empty one."""
    if data[: len(MAGIC)] != MAGIC:
        raise BadPacket("not sealed", f"starts with {data[:4].hex()}")
    if len(data) < OVERHEAD_BYTES:
        raise BadPacket("sealed datagram truncated", f"{len(data)} bytes")
    _, kind, key_ident, sender, session, counter = _HEADER.unpack_from(data)
    if not Kind.RING <= kind <= Kind.CONTROL_TO_ONE:
        raise BadPacket("unknown kind of sealed datagram", str(kind))
    return Header(Kind(kind), key_ident, sender, session, counter)
