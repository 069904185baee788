"""Where fuzzing of the libraries' sockets starts: every request as a good client sends it, and the ways of a ring."""

import struct
from collections.abc import Iterator

from chunking import chunk
from library_targets import (
    CHUNK,
    CLIENT_DATA,
    CLIENT_HEADER,
    CUT_DATA,
    CUT_HEADER,
    PUT,
    RAW_REQUEST,
    RELEASE,
    SECOND,
    STALLED,
    TAKE,
    TOKEN,
)
from totemd.qb import ring
from totemd.qb.services import QB_SERVICES

_GROUP = struct.pack("=I4x128s", 1, b"g")
_MULTICAST = struct.pack("=8xI4xI4x", 2, 5) + b"hello"
_PATH = b"/dev/shm/corosync_zerocopy-x".ljust(128, b"\0")


def _name(key: bytes) -> bytes:
    return struct.pack("=H6x256s", len(key), key)


def _device(name: bytes = b"Qdevice") -> bytes:
    return name.ljust(255, b"\0")


_KEY = _name(b"user.x")
_BODIES: dict[str, dict[int, bytes]] = {
    "cfg": {
        2: struct.pack("=I4xH256s6x", 9, 3, b"why"),
        3: struct.pack("=I", 0),
        4: struct.pack("=I", 1),
        5: struct.pack("=I", 1),
        9: struct.pack("=I4xI", 1, 1),
    },
    "cmap": {
        0: _KEY + struct.pack("=QB7xI", 4, 6, 5),
        1: _KEY,
        2: _KEY + struct.pack("=Q", 64),
        3: _KEY + struct.pack("=i4x", 1),
        4: _name(b"totem."),
        5: struct.pack("=Q", 1),
        6: struct.pack("=Q", 1),
        7: _name(b"") + struct.pack("=i4xQ", 15, 7),
        8: struct.pack("=Q", 2),
        9: struct.pack("=i4x", 1),
    },
    "cpg": {
        0: _GROUP + struct.pack("=I4xI4x", 7, 1),
        1: _GROUP + struct.pack("=I4x", 7),
        2: _MULTICAST,
        3: _GROUP,
        5: _GROUP + struct.pack("=I4x", 3),
        6: struct.pack("=Q", 1),
        7: struct.pack("=Q", 1),
        9: struct.pack("=Q", 4096) + _PATH,
        10: struct.pack("=QQ", 1, 4096),
        11: struct.pack("=Q", 1),
        12: struct.pack("=8xI4xI4xI4xI4x", 2, 5, 10, 1) + b"hello",
    },
    "quorum": {1: struct.pack("=I4x", 3), 4: struct.pack("=I4x", 1)},
    "votequorum": {
        0: struct.pack("=I", 1),
        1: struct.pack("=I", 1),
        2: struct.pack("=II", 1, 1),
        3: struct.pack("=QI", 5, 3),
        5: _device(),
        6: _device(),
        7: _device() + _device(b"other"),
        8: _device() + struct.pack("=xi4xI4xQ", 1, 1, 4),
        9: _device() + struct.pack("=xI", 1),
    },
}


def library_requests() -> Iterator[tuple[str, bytes]]:
    """Each service's requests one by one, all in their order, and with a client that does not read."""
    for number, service in enumerate(QB_SERVICES.values()):
        asked = [bytes([ident]) + _BODIES[service.name].get(ident, b"") for ident in range(service.functions)]
        for ident, content in enumerate(asked):
            first = chunk(number | TOKEN, asked[0]) if ident else b""
            again = chunk(number | SECOND | TOKEN, content)
            yield f"{service.name} {ident}", first + chunk(number | TOKEN, content) + again
        yield f"{service.name} all", b"".join(chunk(number | TOKEN, content) for content in asked)
        yield f"{service.name} stalled", b"".join(chunk(number | STALLED | TOKEN, content) for content in asked * 2)
    yield "raw", chunk(RAW_REQUEST, b"") + chunk(RAW_REQUEST, struct.pack("=i4xi4x", -3, 16))


def library_handshakes() -> Iterator[tuple[str, bytes]]:
    """What a client says first."""
    for wanted in (0, 12328, 1048576, 2**32 - 1):
        yield f"wants {wanted}", struct.pack("=i4xi4xI4x", -1, 24, wanted)
    yield "another message", struct.pack("=i4xi4xI4x", -2, 24, 0)


def library_rings() -> Iterator[tuple[str, bytes]]:
    """Messages round and round, memory that lies, and files that end."""
    take = chunk(TAKE, b"") + chunk(RELEASE, b"")
    yield "round", (chunk(CHUNK, bytes(700)) + take) * 9
    yield "full", chunk(PUT, struct.pack("<H", 1000)) * 5 + chunk(CLIENT_HEADER, struct.pack("<HI", 4, 200))
    count = chunk(CLIENT_HEADER, struct.pack("<HI", ring.SEMAPHORE, 2**32 - 1))
    yield "no mark", count + take
    mark = chunk(CLIENT_DATA, struct.pack("<HII", 0, 2**32 - 1, ring.CHUNK_COMMITTED))
    yield "long", count + mark + take
    yield "words", chunk(PUT, struct.pack("<H", 4000)) * 2 + chunk(CLIENT_HEADER, struct.pack("<HI", 4, 2**31))
    for name, cut in (("data", CUT_DATA), ("header", CUT_HEADER)):
        yield f"{name} is cut", chunk(CHUNK, bytes(700)) + chunk(cut, b"\x04\0") + take + chunk(PUT, b"\xff\x0f") * 2
