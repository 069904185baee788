"""What is on the wire of a sealed ring, and what becomes of everything else that is there."""

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealed_nodes import CLUSTER_ID, Air, SealedNode, pair
from totemd.seal import OVERHEAD_BYTES, SUITES, KeyRing, new_key
from totemd.seal.datagram import HEADER_SIZE, NONCE_AT, Header, Kind, decode_header, encode_header
from totemd.seal.suite import Suite
from totemd.seal.window import WINDOW_SIZE, Window

packets = st.binary(max_size=200)


def refuses(node: SealedNode, datagram: bytes, reason: str | None = None, now: float = 0.0) -> None:
    """It is dropped, counted once, and nothing is answered."""
    before = node.dropped
    counted = node.seal.counters[reason] if reason else 0
    assert not node.receive(datagram, now)
    assert node.dropped == before + 1
    if reason:
        assert node.seal.counters[reason] == counted + 1
    assert node.take() == []


@pytest.mark.parametrize("suite", SUITES)
@given(data=st.binary(max_size=2000))
@settings(max_examples=20)
def test_what_is_sealed_is_opened(suite: str, data: bytes) -> None:
    air, first, second = pair(suite=suite)
    datagram = air.say(first, data)
    assert second.heard == [(1, data)]
    assert len(datagram) == len(data) + OVERHEAD_BYTES == len(data) + first.seal.overhead_bytes


def test_nothing_of_a_packet_is_readable() -> None:
    air, first, _ = pair()
    packet = b"a secret of the ring " * 20
    datagram = air.say(first, packet)
    assert not any(packet[at : at + 4] in datagram for at in range(len(packet) - 4))
    assert b"n1" not in b"".join(data[HEADER_SIZE:] for data in air.sent)


@pytest.mark.parametrize("suite", ["aes256", "chacha20"])
def test_every_flipped_bit_is_noticed(suite: str) -> None:
    """Of a ring packet and of each message of the handshake."""
    air, first, second = pair(suite=suite)
    ring = first.seal.seal(b"a packet of the ring")
    for datagram in [*air.sent, ring]:
        sender = decode_header(datagram).sender
        receiver = second if sender == 1 else first
        for place in range(len(datagram) * 8):
            changed = bytearray(datagram)
            changed[place // 8] ^= 1 << place % 8
            refuses(receiver, bytes(changed))
    assert second.receive(ring, 0.0)


@given(data=packets, cut=st.integers(1, 300), more=st.binary(min_size=1, max_size=40))
def test_truncated_and_extended_datagrams_are_noticed(data: bytes, cut: int, more: bytes) -> None:
    _, first, second = pair()
    datagram = first.seal.seal(data)
    refuses(second, datagram[: -min(cut, len(datagram))])
    refuses(second, datagram + more, "forged or damaged")
    refuses(second, more + datagram)
    assert second.receive(datagram, 0.0)


@given(st.binary(max_size=150))
def test_foreign_bytes_are_dropped_and_counted(data: bytes) -> None:
    _, first, second = pair()
    refuses(second, data)
    head = first.seal.seal(b"")[:HEADER_SIZE]
    refuses(second, head + data)
    refuses(second, data[:20] + head)


def test_a_packet_of_corosync_is_not_sealed() -> None:
    _, _, second = pair()
    refuses(second, bytes.fromhex("70c00300") + bytes(60), "not sealed")
    refuses(second, bytes.fromhex("ffff0300") + bytes(60), "not sealed")


def forged(node: SealedNode, key_of: Callable[[Suite], tuple[int, bytes]], **other: object) -> bytes:
    """A datagram made with the cluster's key, but with a session's key that `key_of` chooses."""
    suite = Suite("aes256", CLUSTER_ID)
    key = node.seal.keys.sending
    nodeid, session = key_of(suite)
    fields = {"kind": Kind.RING, "key_ident": key.ident, "sender": nodeid, "session": session, "counter": 1000} | other
    header = encode_header(Header(**fields))  # type: ignore[arg-type]  # the test replaces single fields
    return header + suite.session(key, nodeid, session).encrypt(header[NONCE_AT:], b"packet", header)


def test_a_session_cannot_speak_as_another_node_or_session() -> None:
    _, first, second = pair()
    assert second.receive(forged(first, lambda _: (1, first.session)), 0.0)
    refuses(second, forged(first, lambda _: (3, first.session), sender=1), "forged or damaged")
    refuses(second, forged(first, lambda _: (1, bytes(16)), session=first.session), "forged or damaged")
    refuses(second, forged(first, lambda _: (1, first.session), sender=3), "forged or damaged")


def test_a_sender_exchanged_for_another_member_is_noticed() -> None:
    air, first, second = pair()
    third = air.node(3)
    datagram = first.seal.seal(b"packet")
    swapped = datagram[:9] + (3).to_bytes(4, "little") + datagram[13:]
    refuses(second, swapped, "forged or damaged")
    refuses(second, datagram[:9] + (3).to_bytes(4, "little") + third.session + datagram[29:], "forged or damaged")
    refuses(second, third.seal.seal(b"x")[:HEADER_SIZE] + datagram[HEADER_SIZE:], "forged or damaged")


def test_what_is_for_one_node_is_not_opened_by_another() -> None:
    """A token that somebody on the wire sends on to a second member would be two tokens."""
    air, first, second = pair()
    third = air.node(3)
    token = first.seal.seal(b"token", 2)
    refuses(third, token, "forged or damaged")
    assert second.receive(token, 0.0)
    refuses(second, first.seal.seal(b"token", 3), "forged or damaged")
    assert first.seal.send_control(2, b"body")
    ((target, body),) = first.take()
    assert target == 2
    refuses(third, body, "forged or damaged")
    second.receive(body, 0.0)
    assert second.bodies == [(1, b"body")]


def test_what_is_for_one_node_cannot_become_something_for_all() -> None:
    _, first, second = pair()
    for to in (None, 2):
        datagram = first.seal.seal(b"\x01", to)
        for kind in Kind:
            if kind != datagram[4]:
                refuses(second, datagram[:4] + bytes((kind,)) + datagram[5:], "forged or damaged")
        assert second.receive(datagram, 0.0)


def test_a_packet_cannot_become_a_control_message() -> None:
    _, first, second = pair()
    datagram = first.seal.seal(b"\x01")
    refuses(second, datagram[:4] + bytes((Kind.CONTROL,)) + datagram[5:], "forged or damaged")


def test_another_cluster_with_the_same_key_is_not_heard() -> None:
    _, _, second = pair()
    other = SealedNode(1, Random(5), cluster_id=bytes(16))
    other.seal.start(0.0)
    for _, datagram in other.take():
        refuses(second, datagram, "forged or damaged")
    refuses(second, other.seal.seal(b"packet"), "forged or damaged")


@pytest.mark.parametrize("suite", ["aes128", "aes192", "chacha20"])
def test_another_cipher_with_the_same_key_is_not_heard(suite: str) -> None:
    _, _, second = pair()
    other = SealedNode(1, Random(5), suite=suite)
    refuses(second, other.seal.seal(b"packet"), "forged or damaged")


def test_another_key_is_not_heard() -> None:
    _, _, second = pair()
    other = SealedNode(1, Random(5), keys=KeyRing(new_key(Random(6).randbytes)))
    refuses(second, other.seal.seal(b"packet"), "unknown key")


def test_what_comes_back_to_its_sender_is_dropped() -> None:
    air, first, _ = pair()
    refuses(first, first.seal.seal(b"packet"), "own packet")
    own = [data for data in air.sent if decode_header(data).sender == 1]
    assert len(own) >= 3
    for datagram in own:
        refuses(first, datagram, "own packet")


def test_another_boot_with_the_own_node_id_is_dropped() -> None:
    _, first, _ = pair()
    refuses(first, SealedNode(1, Random(5)).seal.seal(b"packet"), "own node id")


@given(st.lists(packets, min_size=1, max_size=8), st.randoms(use_true_random=False))
@settings(max_examples=30)
def test_each_packet_counts_once_in_whatever_order(data: list[bytes], random: Random) -> None:
    _, first, second = pair()
    datagrams = [first.seal.seal(one) for one in data] * 3
    random.shuffle(datagrams)
    for datagram in datagrams:
        second.receive(datagram, 0.0)
    assert sorted(second.heard) == sorted((1, one) for one in data)
    assert second.seal.counters["replayed"] == 2 * len(data)


def test_a_whole_recording_played_again_changes_nothing() -> None:
    air, first, second = pair()
    for number in range(50):
        air.say(first, b"%d" % number)
        air.say(second, b"%d" % number)
    heard = [list(node.heard) for node in air.nodes]
    for datagram in air.sent:
        for node in air.nodes:
            node.receive(datagram, air.now)
            assert node.take() == []
    assert [node.heard for node in air.nodes] == heard


def test_a_recording_of_an_old_session_is_worth_nothing() -> None:
    """Played to the others, and to the node itself, after it has started again; and again after they have, too."""
    air, first, second = pair()
    for number in range(20):
        air.say(first, b"%d" % number)
    recording = list(air.sent)
    air.nodes.remove(first)
    again = air.node(1)
    air.wait(1.0)
    air.say(again, b"hello")
    assert second.seal.admitted(1)
    fresh = second.heard[-1]
    assert fresh == (1, b"hello")
    _play(air, recording)
    assert second.heard[-1] == fresh
    assert again.heard == []
    air.nodes.remove(second)
    second = air.node(2)
    air.wait(1.0)
    _play(air, recording)
    assert second.heard == []
    air.say(again, b"still here")
    assert second.heard == [(1, b"still here")]


def _play(air: Air, recording: list[bytes]) -> None:
    for datagram in recording:
        air.wait(0.02)
        for node in air.nodes:
            node.receive(datagram, air.now)
        air.settle()
    air.wait(1.0)


@given(st.integers(0, 1 << 40), st.lists(st.integers(-WINDOW_SIZE - 5, WINDOW_SIZE + 5), max_size=60))
def test_the_window_takes_each_counter_once_and_none_too_old(start: int, steps: list[int]) -> None:
    window = Window(start)
    taken: set[int] = set()
    at = start
    for step in steps:
        at = max(0, at + step)
        highest = max(taken, default=start)
        expected = at > start and at not in taken and at > highest - WINDOW_SIZE
        assert window.take(at) == expected
        if expected:
            taken.add(at)


def test_a_late_packet_still_counts_within_the_window() -> None:
    _, first, second = pair()
    datagrams = [first.seal.seal(b"%d" % number) for number in range(WINDOW_SIZE + 1)]
    assert second.receive(datagrams[-1], 0.0)
    refuses(second, datagrams[0], "replayed")
    assert second.receive(datagrams[1], 0.0)
