"""Codecs of group packets, group headers and the two messages of synchronization.

The vectors are payloads that corosync 3.1.7 multicast in a ring of three nodes.
"""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from totemd.errors import BadPacket
from totemd.ids import RingId
from totemd.limits import SYNC_SERVICES_MAX
from totemd.wire.groups import (
    GROUP_NAMES_MAX,
    GroupPacket,
    decode_group_message,
    decode_group_packet,
    encode_group_message,
    encode_group_packet,
)
from totemd.wire.sync import (
    Barrier,
    ServiceBuild,
    decode_barrier,
    decode_service_build,
    decode_sync,
    encode_barrier,
    encode_service_build,
)

RING_9 = RingId(1, 9)

NODEINFO_TWICE_AND_BARRIER = bytes.fromhex(
    "000000000000030025002500280001000100610000050000000000200000000000000001000000010000000300000000000000010001006100"
    "000500000000002000000000000000000000000000000000000000000000000100040073796e63000000000000000020000000000000000100"
    "0000090000000000000000000000"
)
SERVICE_BUILD = bytes.fromhex(
    "000000000000010030020100040073796e63010000000000000028020000000000000100000009000000000000000000000004000000000000"
    "00000000000200000003000000050000"
).ljust(570, b"\0")
TAIL_OF_A_FRAGMENT = bytes.fromhex("0000000000490100") + struct.pack("<H", 389) + bytes(389)

u8 = st.integers(0, 255)
pieces_of_messages = st.lists(st.binary(max_size=60), min_size=1, max_size=140)
ring_ids = st.builds(RingId, st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1))
i32 = st.integers(-(2**31), 2**31 - 1)


def test_captured_packet_with_three_messages() -> None:
    packet = decode_group_packet(NODEINFO_TWICE_AND_BARRIER)
    assert (packet.fragmented, packet.continuation) == (0, 0)
    assert [len(piece) for piece in packet.pieces] == [37, 37, 40]
    names = [decode_group_message(piece)[0] for piece in packet.pieces]
    assert names == [(b"a",), (b"a",), (b"sync",)]
    assert decode_sync(decode_group_message(packet.pieces[2])[1]) == Barrier(RING_9)
    assert encode_group_packet(0, 0, packet.pieces) == NODEINFO_TWICE_AND_BARRIER


def test_captured_service_build() -> None:
    (message,) = decode_group_packet(SERVICE_BUILD).pieces
    names, body = decode_group_message(message)
    build = ServiceBuild(RING_9, (0, 2, 3, 5))
    assert (names, decode_sync(body)) == ((b"sync",), build)
    assert encode_group_packet(0, 0, [encode_group_message(b"sync", encode_service_build(build))]) == SERVICE_BUILD


def test_captured_last_packet_of_a_large_message() -> None:
    assert decode_group_packet(TAIL_OF_A_FRAGMENT) == GroupPacket(0, 73, [bytes(389)])


@pytest.mark.parametrize("vector", [NODEINFO_TWICE_AND_BARRIER, SERVICE_BUILD, TAIL_OF_A_FRAGMENT])
def test_packet_of_any_other_length_is_refused(vector: bytes) -> None:
    for size in range(len(vector)):
        with pytest.raises(BadPacket):
            decode_group_packet(vector[:size])
    with pytest.raises(BadPacket):
        decode_group_packet(vector + b"\0")


@given(u8, u8, pieces_of_messages)
def test_packets_survive_encoding(fragmented: int, continuation: int, pieces: list[bytes]) -> None:
    payload = encode_group_packet(fragmented, continuation, pieces)
    assert decode_group_packet(payload) == GroupPacket(fragmented, continuation, pieces)
    assert len(payload) == 8 + 2 * len(pieces) + sum(map(len, pieces))


def test_packet_without_pieces_is_refused() -> None:
    with pytest.raises(BadPacket, match="empty"):
        decode_group_packet(bytes(8))


def test_packet_of_many_empty_pieces() -> None:
    payload = encode_group_packet(0, 0, [b""] * 30000)
    assert decode_group_packet(payload).pieces == [b""] * 30000


@given(st.binary(max_size=80))
def test_garbage_is_refused_or_understood(data: bytes) -> None:
    try:
        packet = decode_group_packet(data)
    except BadPacket:
        return
    assert encode_group_packet(packet.fragmented, packet.continuation, packet.pieces)[4:] == data[4:]


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_group_message_survives_encoding(name: bytes, body: bytes) -> None:
    assert decode_group_message(encode_group_message(name, body)) == ((name,), body)


def test_group_header_is_the_one_on_the_wire() -> None:
    assert encode_group_message(b"a", b"BODY") == b"\x01\x00\x01\x00aBODY"
    assert encode_group_message(b"sync", b"") == b"\x01\x00\x04\x00sync"


def test_message_for_several_groups() -> None:
    assert decode_group_message(b"\x03\x00\x01\x00\x00\x00\x02\x00abcBODY") == ((b"a", b"", b"bc"), b"BODY")


@pytest.mark.parametrize("size", range(8))
def test_truncated_group_header_is_refused(size: int) -> None:
    with pytest.raises(BadPacket):
        decode_group_message(encode_group_message(b"sync", b"")[:size])


@pytest.mark.parametrize("count", [0, GROUP_NAMES_MAX + 1, 0xFFFF])
def test_absurd_number_of_groups_is_refused(count: int) -> None:
    with pytest.raises(BadPacket, match="count"):
        decode_group_message(struct.pack("<H", count) + bytes(200_000))


@given(st.binary(max_size=60))
def test_group_message_garbage(data: bytes) -> None:
    try:
        names, body = decode_group_message(data)
    except BadPacket:
        return
    assert len(data) == 2 + sum(2 + len(name) for name in names) + len(body)


@given(ring_ids, st.lists(i32, max_size=SYNC_SERVICES_MAX).map(tuple))
def test_service_build_survives_encoding(ring: RingId, services: tuple[int, ...]) -> None:
    build = ServiceBuild(ring, services)
    body = encode_service_build(build)
    assert len(body) == 552
    assert decode_service_build(body) == decode_sync(body) == build


@given(ring_ids)
def test_barrier_survives_encoding(ring: RingId) -> None:
    body = encode_barrier(Barrier(ring))
    assert len(body) == 32
    assert decode_barrier(body) == decode_sync(body) == Barrier(ring)


@pytest.mark.parametrize("body", [encode_barrier(Barrier(RING_9)), encode_service_build(ServiceBuild(RING_9, (1, 2)))])
def test_truncated_sync_message_is_refused(body: bytes) -> None:
    for size in range(len(body)):
        with pytest.raises(BadPacket):
            decode_sync(body[:size])


@pytest.mark.parametrize("count", [-1, 129, 2**31 - 1])
def test_absurd_service_count_is_refused(count: int) -> None:
    body = bytearray(encode_service_build(ServiceBuild(RING_9, ())))
    struct.pack_into("<i", body, 32, count)
    with pytest.raises(BadPacket, match="count"):
        decode_sync(bytes(body))


def test_sync_message_of_unknown_kind_is_refused() -> None:
    body = b"\2" + encode_service_build(ServiceBuild(RING_9, ()))[1:]
    for decode in (decode_sync, decode_barrier, decode_service_build):
        with pytest.raises(BadPacket, match="id"):
            decode(body)


def test_too_many_services_are_our_own_mistake() -> None:
    with pytest.raises(ValueError, match="129"):
        encode_service_build(ServiceBuild(RING_9, tuple(range(129))))


@given(st.binary(max_size=600))
def test_sync_garbage(data: bytes) -> None:
    try:
        message = decode_sync(data)
    except BadPacket:
        return
    assert isinstance(message, Barrier | ServiceBuild)
