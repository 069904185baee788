"""One frame of the native socket: a big-endian length and a msgpack map (chapter "Native socket")."""

from typing import Any

import msgpack
from construct import Adapter, Bytes, Check, Int32ub, Struct, this

FRAME_SIZE_MAX = 1024 * 1024 + 65536


class _MsgpackMap(Adapter):  # type: ignore[misc]  # construct has no types
    """Bytes to the map that they encode, and back."""

    def _decode(self, obj: bytes, context: Any, path: str) -> dict[str, Any]:
        value = msgpack.unpackb(obj, raw=False, strict_map_key=True)
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise ValueError("a frame holds one map with text keys")
        return value

    def _encode(self, obj: dict[str, Any], context: Any, path: str) -> bytes:
        packed: bytes = msgpack.packb(obj, use_bin_type=True)
        return packed


FRAME = Struct("length" / Int32ub, Check(this.length <= FRAME_SIZE_MAX), "body" / _MsgpackMap(Bytes(this.length)))
"""To build one without counting bytes use `build_frame`."""


def parse_frame(data: bytes) -> dict[str, Any]:
    """The map in the first frame of `data`; raises construct's, msgpack's or ValueError on anything else."""
    body: dict[str, Any] = FRAME.parse(data).body
    return body


def build_frame(body: dict[str, Any]) -> bytes:
    """The frame that carries `body`."""
    packed: bytes = msgpack.packb(body, use_bin_type=True)
    length: bytes = Int32ub.build(len(packed))
    return length + packed
