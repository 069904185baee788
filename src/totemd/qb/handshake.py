"""The first bytes of a connection: what a client asks, and where the answer says the rest goes on."""

from enum import IntEnum
from struct import Struct
from typing import Final

from totemd.errors import BadRing
from totemd.limits import MESSAGE_SIZE_MAX

AUTHENTICATE: Final = -1
DISCONNECT: Final = -3
"""Message ids that are the transport's own."""

_REQUEST: Final = Struct("=i4xi4xI4x")
REQUEST_SIZE: Final = _REQUEST.size
_REPLY: Final = Struct("=i4xi4xi4xiIQ4096s4096s4096s")
REPLY_SIZE: Final = _REPLY.size
"""Also the least size of messages."""


class ConnectionType(IntEnum):
    """How messages go to and fro after the handshake."""

    SOCKET = 0
    SHARED_MEMORY = 1


def decode_request(data: bytes) -> int:
    """The size of messages that the client asks for, bytes, brought into our bounds. BadRing: not a client of libqb."""
    ident, size, wanted = _REQUEST.unpack(data)
    if ident != AUTHENTICATE or size != REQUEST_SIZE:
        raise BadRing(f"the connection begins with message {ident} of {size} bytes")
    message_max: int = wanted
    return min(max(message_max, REPLY_SIZE), MESSAGE_SIZE_MAX)


def accept(kind: ConnectionType, message_max: int, connection: int, *paths: str) -> bytes:
    """The answer to a client that is let in; three paths as the connection's type needs them."""
    request, response, event = (path.encode() for path in paths)
    return _REPLY.pack(AUTHENTICATE, REPLY_SIZE, 0, kind, message_max, connection, request, response, event)


def refuse(error: int) -> bytes:
    """The answer to a client that is not let in: `error` is a positive errno(3)."""
    return _REPLY.pack(AUTHENTICATE, REPLY_SIZE, -error, 0, 0, 0, b"", b"", b"")
