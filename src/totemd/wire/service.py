"""The 16-byte header of every service and synchronization message (protocol/, chapter "Services").

`id` is service << 16 | function; both fields sit on 8-byte boundaries; `size` counts the whole message.
"""

from struct import Struct
from typing import Final

from totemd.errors import BadPacket
from totemd.record import record

_HEADER: Final = Struct("<i4xi4x")
SERVICE_HEADER_SIZE: Final = _HEADER.size


@record
class ServiceHeader:
    """Who a message is for, and how long it says it is (receivers go by the real length)."""

    service: int
    function: int
    size: int


def encode_service_header(service: int, function: int, size: int) -> bytes:
    """The header of a message of `size` bytes, header included."""
    return _HEADER.pack(service << 16 | function, size)


def decode_service_header(message: bytes) -> ServiceHeader:
    """Read the header at the front of `message`; BadPacket if it is shorter."""
    if len(message) < SERVICE_HEADER_SIZE:
        raise BadPacket("service header truncated", f"{len(message)} bytes")
    ident, size = _HEADER.unpack_from(message)
    return ServiceHeader((ident >> 16) & 0xFFFF, ident & 0xFFFF, size)
