"""Frames of the native socket: a u32 big-endian length, then one msgpack map (protocol/, chapter "Native socket").

Both ends use this module. `FrameDecoder` takes bytes as they come, in any pieces, and holds at most one unfinished
frame plus what was fed last; containers are bounded and extension types are refused, so that a frame cannot make it
build much more than its size. A peer whose bytes are no frame cannot be followed any further: `BadFrame` is final.
"""

from collections.abc import Mapping
from struct import Struct
from typing import Any, Final, TypeAlias

import msgpack

from totemd.errors import BadFrame
from totemd.limits import FRAME_SIZE_MAX
from totemd.record import record

Frame: TypeAlias = dict[str, Any]

_LENGTH: Final = Struct(">I")
LENGTH_SIZE: Final = _LENGTH.size

_pack: Final = msgpack.packb
_unpack: Final = msgpack.unpackb


@record
class FrameBounds:
    """What one frame may hold, besides its size in bytes. Entries are counted per array or map."""

    array_entries_max: int
    map_entries_max: int


REQUEST_BOUNDS: Final = FrameBounds(array_entries_max=0, map_entries_max=16)
"""No request has a list. msgpack reserves memory for every announced entry, at up to 1024 levels of nesting."""

REPLY_BOUNDS: Final = FrameBounds(array_entries_max=FRAME_SIZE_MAX, map_entries_max=FRAME_SIZE_MAX)
"""For the client, which trusts its daemon."""


class FrameDecoder:
    """Bytes in, frames out. After a `BadFrame` every further call raises it again."""

    def __init__(self, bounds: FrameBounds = REQUEST_BOUNDS) -> None:
        self._bounds = bounds
        self._buffer = bytearray()
        self._start = 0
        self._broken: str | None = None

    @property
    def buffered_bytes(self) -> int:
        """Bytes that were fed and not yet returned as frames."""
        return len(self._buffer) - self._start

    @property
    def has_frame(self) -> bool:
        """True if `take` would return a frame, or raise."""
        if self._broken is not None:
            return True
        available = self.buffered_bytes - LENGTH_SIZE
        if available < 0:
            return False
        length = self._next_length()
        return not 0 < length <= FRAME_SIZE_MAX or available >= length

    def feed(self, data: bytes) -> list[Frame]:
        """Add `data` and return all frames that are complete; BadFrame for the first that is none."""
        self.append(data)
        frames = []
        while (frame := self.take()) is not None:
            frames.append(frame)
        return frames

    def append(self, data: bytes) -> None:
        """Add `data` without decoding anything."""
        if self._start:
            del self._buffer[: self._start]
            self._start = 0
        self._buffer += data

    def take(self) -> Frame | None:
        """Decode the next frame, or None if it is not complete; BadFrame if it is none."""
        if self._broken is not None:
            raise BadFrame(self._broken)
        available = self.buffered_bytes - LENGTH_SIZE
        if available < 0:
            return None
        length = self._next_length()
        if not 0 < length <= FRAME_SIZE_MAX:
            raise self._break(f"a frame of {length} bytes is announced; 1 to {FRAME_SIZE_MAX} are allowed")
        if available < length:
            return None
        begin = self._start + LENGTH_SIZE
        self._start = end = begin + length
        body = bytes(memoryview(self._buffer)[begin:end])
        if end == len(self._buffer):
            self._buffer.clear()
            self._start = 0
        return self._decode(body)

    def _next_length(self) -> int:
        length: int = _LENGTH.unpack_from(self._buffer, self._start)[0]
        return length

    def _decode(self, body: bytes) -> Frame:
        try:
            frame = _unpack(
                body,
                max_array_len=self._bounds.array_entries_max,
                max_map_len=self._bounds.map_entries_max,
                max_ext_len=0,
            )
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            text = str(error) or type(error).__name__
        else:
            if isinstance(frame, dict):
                if all(type(key) is str for key in frame):
                    return frame
                text = "its keys must be strings"
            else:
                text = f"it must be a map, not {type(frame).__name__}"
        raise self._break(f"the frame is not valid msgpack for this socket: {text}")

    def _break(self, text: str) -> BadFrame:
        self._broken = text
        self._buffer.clear()
        self._start = 0
        return BadFrame(text)


def encode_frame(frame: Mapping[str, object]) -> bytes:
    """Length and map as bytes; BadFrame if that is more than FRAME_SIZE_MAX."""
    body: bytes = _pack(frame)
    if len(body) > FRAME_SIZE_MAX:
        raise BadFrame(f"the frame would have {len(body)} bytes; at most {FRAME_SIZE_MAX} are allowed")
    return _LENGTH.pack(len(body)) + body


def frame_head(size_bytes: int) -> bytes:
    """What precedes an encoded map of `size_bytes`, at most FRAME_SIZE_MAX."""
    return _LENGTH.pack(size_bytes)
