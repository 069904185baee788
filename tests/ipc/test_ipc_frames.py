"""Frames: what was encoded comes back in any chunking; everything else is a BadFrame and nothing worse."""

import struct
from itertools import pairwise
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from totemd.errors import BadFrame
from totemd.ipc.frames import LENGTH_SIZE, REPLY_BOUNDS, Frame, FrameDecoder, encode_frame
from totemd.limits import FRAME_SIZE_MAX

SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=20) | st.binary(max_size=50)
FRAMES = st.dictionaries(
    st.text(max_size=10), SCALARS | st.dictionaries(st.text(max_size=5), SCALARS, max_size=8), max_size=8
)


def chunked(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def framed(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


@given(st.lists(FRAMES, max_size=5), st.lists(st.integers(0, 2000), max_size=10))
def test_frames_survive_any_chunking(frames: list[Frame], cuts: list[int]) -> None:
    decoder = FrameDecoder()
    decoded: list[Frame] = []
    for chunk in chunked(b"".join(map(encode_frame, frames)), cuts):
        decoded += decoder.feed(chunk)
    assert decoded == frames
    assert decoder.buffered_bytes == 0
    assert not decoder.has_frame


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5), st.booleans())
def test_arbitrary_bytes_decode_or_are_bad_frames(data: bytes, cuts: list[int], framing: bool) -> None:
    decoder = FrameDecoder()
    errors: set[str] = set()
    for chunk in chunked(framed(data) if framing else data, cuts):
        try:
            frames = decoder.feed(chunk)
        except BadFrame as error:
            errors.add(str(error))
        else:
            assert not errors, "a broken stream stays broken"
            assert all(type(key) is str for frame in frames for key in frame)
    assert len(errors) <= 1
    assert "" not in errors


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "a frame of 0 bytes"),
        (b"\x01", "must be a map, not int"),
        (msgpack.packb([1]), "max_array_len"),
        (msgpack.packb([]), "must be a map, not list"),
        (b"\x81\x01\x01", "map key"),
        (b"\x81\xc4\x01a\x01", "keys must be strings"),
        (b"\x81\xa1\xff\x01", "utf-8"),
        (b"\x81\xa1a", "incomplete"),
        (b"\x80\x80", "(extra|trailing)"),
        (b"\xc1", "FormatError"),
        (b"\x81\xa1a\xd4\x05\x00", "max_ext_len"),
        (b"\x81\xa1a\xd6\xff\x00\x00\x00\x00", "max_ext_len"),
        (b"\x81\xa1a\xdd\x00\x10\x00\x00", "max_array_len"),
        (b"\x81\xa1a\xdf\x00\x10\x00\x00", "max_map_len"),
        (b"\x81\xa1a" * 3000 + b"\xc0", "StackError"),
    ],
)
def test_what_is_no_request_frame_is_refused_for_good(body: bytes, text: str) -> None:
    decoder = FrameDecoder()
    with pytest.raises(BadFrame, match="(?i)" + text):
        decoder.feed(framed(body))
    assert decoder.has_frame, "the error is still there to be taken"
    with pytest.raises(BadFrame, match="(?i)" + text):
        decoder.feed(encode_frame({"a": 1}))


def test_a_length_above_the_limit_is_refused_before_its_bytes_arrive() -> None:
    decoder = FrameDecoder()
    with pytest.raises(BadFrame, match=f"{FRAME_SIZE_MAX + 1} bytes is announced; 1 to {FRAME_SIZE_MAX} are allowed"):
        decoder.feed(struct.pack(">I", FRAME_SIZE_MAX + 1))


def test_the_largest_frame_passes_and_one_byte_more_does_not() -> None:
    overhead = len(encode_frame({"a": b"x" * 70000})) - 70000 - LENGTH_SIZE
    largest: dict[str, Any] = {"a": b"x" * (FRAME_SIZE_MAX - overhead)}
    assert FrameDecoder().feed(encode_frame(largest)) == [largest]
    with pytest.raises(BadFrame, match=f"{FRAME_SIZE_MAX + 1} bytes"):
        encode_frame({"a": b"x" * (FRAME_SIZE_MAX - overhead + 1)})


def test_replies_may_hold_long_lists() -> None:
    reply = {"ok": list(range(100_000))}
    assert FrameDecoder(REPLY_BOUNDS).feed(encode_frame(reply)) == [reply]


def test_take_gives_one_frame_at_a_time() -> None:
    decoder = FrameDecoder()
    decoder.append(encode_frame({"a": 1}) + encode_frame({"b": 2}) + b"\x00")
    assert decoder.has_frame
    assert decoder.take() == {"a": 1}
    assert decoder.has_frame
    assert decoder.take() == {"b": 2}
    assert not decoder.has_frame
    assert decoder.take() is None
    assert decoder.buffered_bytes == 1
