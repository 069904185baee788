"""Shapes that several packets share (protocol/, chapter "Packets", notation and shared pieces). Little-endian."""

from typing import Any

from construct import (
    Bytes,
    Check,
    Construct,
    ExprAdapter,
    FixedSized,
    GreedyBytes,
    Int16ul,
    Int32sl,
    Int32ul,
    Int64ul,
    NullTerminated,
    Padding,
    Rebuild,
    Struct,
    len_,
    this,
)

PROCESSOR_COUNT_MAX = 384
RETRANSMIT_ENTRIES_MAX = 30

RING_ID = Struct("rep" / Int32ul, "seq" / Int64ul)
"""12 bytes, packed."""

SOURCE = Struct("nodeid" / Int32ul, Padding(4), "connection" / Int64ul)
"""16 bytes: who asked, and a cookie that means something to that node only."""


def aligned(field: Construct, size: int) -> tuple[Construct, Construct]:
    """A field of `size` bytes on an 8-byte boundary, and the zero padding behind it."""
    return field, Padding(8 - size)


def counted_name(length: Construct, capacity: int) -> Construct:
    """A name: its length on 8 bytes, then `capacity` bytes of which only the first `length` mean something."""
    shape = Struct(
        "length" / Rebuild(length, len_(this.value)),
        Padding(8 - length.sizeof()),
        Check(this.length <= capacity),
        "value" / Bytes(this.length),
        Padding(lambda context: capacity - context.length),
    )
    return ExprAdapter(shape, lambda parsed, _: parsed.value, lambda value, _: {"value": value})


def c_string(capacity: int) -> Construct:
    """Text that ends at its first NUL in a field of `capacity` bytes."""
    return FixedSized(capacity, NullTerminated(GreedyBytes, require=False))


CPG_NAME = counted_name(Int32ul, 128)
"""136 bytes: a process group's name. Any bytes, NUL included."""

NAME = counted_name(Int16ul, 256)
"""264 bytes: a cmap key or a reason for people."""


def message_header(ident: int) -> tuple[Any, ...]:
    """The 16-byte header of service and sync messages: id, then the size of the whole message."""
    return (
        "id" / Int32sl,
        Check(this.id == ident),
        Padding(4),
        "size" / Int32sl,
        Padding(4),
    )
