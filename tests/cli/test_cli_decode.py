"""`totemctl decode`: every captured packet decodes; hostile captures end in clear words."""

import gzip
import io
import json
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from totemd.cli.decode import DecodedPacket, decode_input, has_error, json_line, render, run
from totemd.cli.pcap import FRAGMENTED_DATAGRAMS_MAX, Datagram, parse_datagrams
from totemd.errors import OperatorError
from totemd_protocol.describe import describe, jsonable

CAPTURES = sorted((Path(__file__).parents[1] / "captures").glob("*.pcap.gz"))
RING = next(path for path in CAPTURES if path.name == "ring.pcap.gz")
RECOVERY = next(path for path in CAPTURES if path.name == "recovery.pcap.gz")

JOIN_HEX = "70c00303 00 02000000 00000000 02000000 01000000 00000000 0100000000000000 02000000"
JOIN = bytes.fromhex(JOIN_HEX)


def _text_of(source: str, *, as_json: bool = False, limit: int | None = None) -> tuple[int, str]:
    out = io.StringIO()
    status = run(source, as_json=as_json, limit=limit, out=out)
    return status, out.getvalue()


# --- captures of real nodes ---


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.name)
def test_every_packet_of_every_capture_decodes(path: Path) -> None:
    packets = list(decode_input(str(path)))
    assert len(packets) > 100
    for packet in packets:
        assert not has_error(packet.description), (packet.frame, packet.description)
        assert render(packet).count("\n") >= 1
        assert json.loads(json_line(packet))["frame"] == packet.frame


def test_kinds_in_a_capture() -> None:
    kinds = Counter(packet.description["kind"] for packet in decode_input(str(RING)))
    assert kinds == {
        "join": 212, "mcast": 335, "orf_token": 1996, "merge_detect": 54, "commit_token": 32, "hold_cancel": 7,
        "leave": 4,
    }  # fmt: skip


def test_a_recovery_message_in_two_ip_fragments_is_whole() -> None:
    packet = next(p for p in decode_input(str(RECOVERY)) if p.description.get("encapsulated"))
    assert packet.size == 1500
    inner = packet.description["inner"]
    assert (inner["kind"], inner["nodeid"], inner["seq"], inner["ring"]) == ("mcast", 2, 470, {"rep": 1, "seq": 9})
    assert packet.description["ring"] == {"rep": 1, "seq": 0xD}


def test_text_names_what_the_numbers_mean() -> None:
    status, text = _text_of(str(RING), limit=9)
    lines = text.splitlines()
    assert status == 0
    assert lines[0] == "#1  0.000000 s  10.78.0.1:5404 > 239.255.78.1:5405  37 bytes"
    assert any("ring 1.5  guarantee 0 (agreed)" in line for line in lines)
    assert any("votequorum_nodeinfo" in line and "flags 8 (first)" in line for line in lines)
    assert any("service_build" in line and "services [0 2 3 5]" in line for line in lines)


def test_limit_counts_packets() -> None:
    assert len(_text_of(str(RING), as_json=True, limit=3)[1].splitlines()) == 3
    assert _text_of(str(RING), limit=0) == (0, "")


# --- hexadecimal ---


@pytest.mark.parametrize("text", [JOIN_HEX, JOIN_HEX.replace(" ", ":"), "0x" + JOIN.hex(), JOIN.hex().upper() + "\n"])
def test_hexadecimal_in_usual_spellings(text: str) -> None:
    (packet,) = decode_input(text)
    assert packet.size == 37
    assert packet.description["kind"] == "join"
    assert packet.description["proc_list"] == [2]


@pytest.mark.parametrize("text", ["no-such-file.pcap", "70c", "zz", "", "  "])
def test_neither_file_nor_hexadecimal(text: str) -> None:
    with pytest.raises(OperatorError):
        list(decode_input(text))


def test_a_bad_packet_is_shown_and_sets_the_status() -> None:
    status, text = _text_of(JOIN.hex()[:-2])
    assert status == 1
    assert "error" in text
    assert "join" in text


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "shorter than a header"),
        (JOIN[:12], "shorter than a header"),
        (b"\xc0\x70" + JOIN[2:], "big-endian"),
        (b"\xff\xff" + JOIN[2:], "magic number"),
        (JOIN[:2] + b"\x04" + JOIN[3:], "version 4"),
        (JOIN[:3] + b"\x06" + JOIN[4:], "packet type 6"),
        (JOIN[:17] + b"\xff\xff\xff\xff" + JOIN[21:], "join"),
    ],
)
def test_errors_say_what_is_wrong(data: bytes, words: str) -> None:
    error = describe(data)["error"]
    assert words in error["reason"]
    assert "\n" not in error["reason"]
    assert error["size"] == len(data)


# --- hostile bytes ---


def _samples() -> list[bytes]:
    by_kind: dict[str, bytes] = {}
    for path in CAPTURES:
        for datagram in _datagrams(path):
            description = describe(datagram.payload)
            pieces = description.get("packed", {}).get("pieces", [])
            kind = description["kind"] + ",".join(piece.get("message", {}).get("kind", "") for piece in pieces)
            by_kind.setdefault(kind, datagram.payload)
    return list(by_kind.values())


def _datagrams(path: Path) -> Iterator[Datagram]:
    return parse_datagrams(gzip.decompress(path.read_bytes()), path.name)


SAMPLES = _samples()


def _render_all(description: dict[str, Any]) -> None:
    render(DecodedPacket(1, 0.0, "a", "b", 0, description))
    json.dumps(jsonable(description))


@given(st.binary(max_size=200), st.sampled_from([b"", *(b"\x70\xc0\x03" + bytes([kind]) for kind in range(6))]))
def test_any_bytes_give_a_description(data: bytes, front: bytes) -> None:
    _render_all(describe(front + data))


@given(st.sampled_from(SAMPLES), st.lists(st.tuples(st.integers(0, 1499), st.integers(0, 255)), max_size=6))
def test_mutated_packets_give_a_description(sample: bytes, changes: list[tuple[int, int]]) -> None:
    data = bytearray(sample)
    for offset, value in changes:
        data[offset % len(data)] = value
    _render_all(describe(bytes(data)))


SMALL_CAPTURE = gzip.decompress(RECOVERY.read_bytes())[:12000]


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, 11999), st.integers(0, 255)), max_size=20), st.integers(0, 12000))
def test_mutated_captures_end_or_say_why(changes: list[tuple[int, int]], size: int) -> None:
    data = bytearray(SMALL_CAPTURE)
    for offset, value in changes:
        data[offset] = value
    with suppress(OperatorError):
        for datagram in parse_datagrams(bytes(data[:size])):
            assert len(datagram.payload) <= 65535


# --- forms of captures ---


def _capture(link_type: int, *frames: bytes, order: str = "<", magic: int = 0xA1B2C3D4) -> bytes:
    result = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, link_type)
    for number, frame in enumerate(frames):
        result += struct.pack(order + "IIII", 10 + number, 500, len(frame), len(frame)) + frame
    return result


def _udp(payload: bytes) -> bytes:
    return struct.pack(">HHHH", 5404, 5405, 8 + len(payload), 0) + payload


def _ipv4(data: bytes, *, ident: int = 1, offset: int = 0, more: bool = False, protocol: int = 17) -> bytes:
    flags = (0x2000 if more else 0) | offset // 8
    addresses = bytes([10, 0, 0, 1, 10, 0, 0, 2])
    return struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(data), ident, flags, 64, protocol, 0) + addresses + data


def _ipv6(data: bytes, following: int = 17) -> bytes:
    addresses = bytes(15) + b"\x01" + bytes(15) + b"\x02"
    return struct.pack(">IHBB", 6 << 28, len(data), following, 64) + addresses + data


ETHERNET = bytes(12)
IPV4_FRAME = _ipv4(_udp(JOIN))


@pytest.mark.parametrize(
    ("link_type", "frame"),
    [
        (1, ETHERNET + b"\x08\x00" + IPV4_FRAME),
        (1, ETHERNET + b"\x81\x00\x00\x07\x08\x00" + IPV4_FRAME),
        (1, ETHERNET + b"\x86\xdd" + _ipv6(_udp(JOIN))),
        (1, ETHERNET + b"\x86\xdd" + _ipv6(b"\x11\x00" + bytes(6) + _udp(JOIN), following=0)),
        (12, IPV4_FRAME),
        (101, IPV4_FRAME),
        (101, _ipv6(_udp(JOIN))),
        (113, bytes(14) + b"\x08\x00" + IPV4_FRAME),
        (276, b"\x08\x00" + bytes(18) + IPV4_FRAME),
    ],
)
def test_link_types(link_type: int, frame: bytes) -> None:
    for order in "<>":
        (datagram,) = parse_datagrams(_capture(link_type, frame, order=order))
        assert datagram.payload == JOIN
        assert (datagram.source_port, datagram.destination_port) == (5404, 5405)
        assert datagram.time_s == pytest.approx(10.0005)


def test_nanosecond_captures() -> None:
    (datagram,) = parse_datagrams(_capture(101, IPV4_FRAME, magic=0xA1B23C4D))
    assert datagram.time_s == pytest.approx(10.0000005)


def test_frames_that_are_not_udp_are_skipped_but_counted() -> None:
    frames = [ETHERNET + b"\x08\x06" + bytes(28), ETHERNET + b"\x08\x00" + IPV4_FRAME, b"", b"\x00" * 14]
    (datagram,) = parse_datagrams(_capture(1, *frames))
    assert datagram.frame == 2


def test_ipv4_fragments_in_any_order() -> None:
    payload = bytes(range(256)) * 12
    data = _udp(payload)
    parts = [
        _ipv4(data[0:1480], more=True),
        _ipv4(data[1480:2960], offset=1480, more=True),
        _ipv4(data[2960:], offset=2960),
    ]
    for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2)):
        (datagram,) = parse_datagrams(_capture(101, *(parts[index] for index in order)))
        assert datagram.payload == payload
        assert datagram.frame == 3


def test_fragments_with_a_hole_are_never_a_datagram() -> None:
    data = _udp(bytes(3000))
    overlapping = [
        _ipv4(data[0:1480], more=True),
        _ipv4(data[:1496], offset=8, more=True),
        _ipv4(b"x" * 60, offset=2960),
    ]
    assert list(parse_datagrams(_capture(101, *overlapping))) == []


def test_unfinished_fragments_are_bounded() -> None:
    data = _udp(bytes(2000))
    head, tail = data[:1480], data[1480:]
    flood = [_ipv4(head, ident=ident, more=True) for ident in range(FRAGMENTED_DATAGRAMS_MAX + 1)]
    capture = _capture(101, *flood, _ipv4(tail, ident=0, offset=1480), _ipv4(tail, ident=7, offset=1480))
    assert [datagram.frame for datagram in parse_datagrams(capture)] == [FRAGMENTED_DATAGRAMS_MAX + 3]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "neither a pcap file"),
        (b"hello world, this is text", "neither a pcap file"),
        (b"\x0a\x0d\x0d\x0a" + bytes(40), "pcapng"),
        (b"\xd4\xc3\xb2\xa1\x02", "file header"),
        (_capture(127), "link type 127"),
        (_capture(1)[:24] + bytes(7), "header of frame 1"),
        (_capture(1, bytes(60))[:-1], "inside frame 1"),
        (_capture(1) + struct.pack("<IIII", 0, 0, 1 << 30, 1 << 30), "1073741824 bytes"),
        (_capture(1), "no UDP datagram"),
        (gzip.compress(_capture(1, bytes(600)), mtime=0)[:-9], "gzip data is damaged"),
        (b"\x1f\x8b\x08garbage", "gzip data is damaged"),
    ],
)
def test_bad_files_are_refused_in_clear_words(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "capture.pcap"
    path.write_bytes(content)
    with pytest.raises(OperatorError, match=words):
        _text_of(str(path))


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="cannot be read"):
        _text_of(str(tmp_path))
