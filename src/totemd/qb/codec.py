"""Headers of libqb's messages, and what all services' messages share (protocol/, chapter "Library messages").

Integers are those of the machine: the messages never leave it.
"""

from struct import Struct
from typing import Final

from totemd.errors import Code
from totemd.ids import RingId

REQUEST_HEADER: Final = Struct("=i4xi4x")
"""id, size of the whole message."""
RESPONSE_HEADER: Final = Struct("=i4xi4xi4x")
"""id, size of the whole message, a `Code`; events have this header too."""
RING_ID: Final = Struct("=I4xQ")
"""The representative's node id and the ring's number."""


def response(ident: int, code: Code = Code.OK, body: bytes = b"") -> bytes:
    """A response or an event with its fields behind the header."""
    return RESPONSE_HEADER.pack(ident, RESPONSE_HEADER.size + len(body), code) + body


def ring_id(ring: RingId) -> bytes:
    """A ring id as a field of 16 bytes."""
    return RING_ID.pack(ring.rep, ring.seq)
