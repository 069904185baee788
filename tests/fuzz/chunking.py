"""How an input that is more than one message is cut."""

import struct
from collections.abc import Iterator


def chunks(data: bytes, most: int = 256) -> Iterator[tuple[int, bytes]]:
    """(kind, bytes): a byte of kind, two of length, that many bytes or what is left."""
    start = 0
    for _ in range(most):
        if start + 3 > len(data):
            return
        kind, length = struct.unpack_from("<BH", data, start)
        yield kind, data[start + 3 : start + 3 + length]
        start += 3 + length


def chunk(kind: int, data: bytes) -> bytes:
    """One chunk; `data` has at most 65535 bytes."""
    return struct.pack("<BH", kind, len(data)) + data
