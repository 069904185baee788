"""What the gate lets in, and the one reason for each datagram that it does not."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from small_configuration import small_configuration
from totemd.errors import BadPacket
from totemd.ids import NO_RING, RingId
from totemd.node.gate import RING_SEQ_MAX, SEALED, Gate
from totemd.seal.datagram import MAGIC
from totemd.wire.packets import (
    ORDINARY,
    CommitEntry,
    CommitToken,
    HoldCancel,
    Join,
    Mcast,
    MergeDetect,
    OrfToken,
    encode_commit_token,
    encode_hold_cancel,
    encode_join,
    encode_mcast,
    encode_merge_detect,
    encode_orf_token,
)

FIRST, SECOND, THIRD = "10.0.0.1", "10.0.0.2", "10.0.0.3"
STRANGER = "10.0.0.9"
RING = RingId(1, 8)
HEADER = bytes.fromhex("70c003")

TOKEN = OrfToken(2, 0, 7, 3, 7, 0, RING, 0, 0, 0, ((RING, 5),))
MCAST = encode_mcast(2, ORDINARY, 7, 0, RING, 0, b"payload")
MERGE = MergeDetect(2, 2, RING)
JOIN = Join(2, 2, 8, (1, 2, 3), (3,))
LEAVE = Join(0, 2, 8, (1, 3), (2,))
COMMIT = CommitToken(2, 1, RingId(1, 12), 1, (1, 2), (CommitEntry(RING, 7, 7, 1), CommitEntry(NO_RING, 0, 0, 0)))
CANCEL = HoldCancel(2, RING)

VALID = {
    "token": encode_orf_token(TOKEN),
    "message": MCAST,
    "merge detect": encode_merge_detect(MERGE),
    "join": encode_join(JOIN),
    "leave": encode_join(LEAVE),
    "commit token": encode_commit_token(COMMIT),
    "hold cancel": encode_hold_cancel(CANCEL),
}

UNLISTED_SOURCE = "source address is not in the nodelist"
UNLISTED = "node is not in the nodelist"
NAMES_UNLISTED = "names a node that is not in the nodelist"
WRONG_SOURCE = "node id does not belong to the source address"

REASONS = frozenset(
    [
        UNLISTED_SOURCE,
        UNLISTED,
        NAMES_UNLISTED,
        WRONG_SOURCE,
        "message with two senders",
        "join with two senders",
        "join without its sender",
        "absurd ring number",
        "shorter than a header",
        "sealed, but the ring is open here (secauth, crypto_cipher)",
        "not a ring packet",
        "big-endian peer",
        "corosync 2 peer",
        "wrong version",
        "unknown packet type",
        "token truncated",
        "token retransmit list too long",
        "mcast truncated",
        "merge detect truncated",
        "hold cancel truncated",
        "join truncated",
        "join lists too long",
        "commit token truncated",
        "commit token counts",
        "commit token members not ascending",
        "announcement truncated",
        "ask truncated",
        "loan truncated",
        "loan with an unknown wish",
        "taken truncated",
    ]
)


def make_gate(totem: str = "") -> Gate:
    return Gate(1, small_configuration(FIRST, SECOND, THIRD, totem=totem))


GATE = make_gate()
OPEN_GATE = make_gate("block_unlisted_ips: no")


def refused(data: bytes, source: str, gate: Gate = GATE) -> str:
    with pytest.raises(BadPacket) as caught:
        gate.admit(data, source)
    return caught.value.reason


@pytest.mark.parametrize("name", VALID)
def test_valid_packet_of_the_node_it_names_is_let_in(name: str) -> None:
    assert GATE.admit(VALID[name], SECOND) is not None


@pytest.mark.parametrize("name", VALID)
def test_stranger_is_refused_unless_the_configuration_lets_strangers_in(name: str) -> None:
    assert refused(VALID[name], STRANGER) == UNLISTED_SOURCE
    assert OPEN_GATE.admit(VALID[name], STRANGER) is not None


@pytest.mark.parametrize("name", sorted(VALID.keys() - {"message"}))
def test_nobody_speaks_for_another_node(name: str) -> None:
    assert refused(VALID[name], THIRD) == WRONG_SOURCE


def test_message_may_be_sent_again_by_anybody() -> None:
    packet = GATE.admit(MCAST, THIRD)
    assert isinstance(packet, Mcast)
    assert packet.system_from == 2


@pytest.mark.parametrize("source", [FIRST, STRANGER])
def test_own_echo_is_no_packet_and_no_error(source: str) -> None:
    own = encode_mcast(1, ORDINARY, 7, 0, RING, 0, b"")
    assert OPEN_GATE.admit(own, source) is None
    assert refused(encode_orf_token(replace(TOKEN, sender=1)), SECOND) == WRONG_SOURCE


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "shorter than a header"),
        (b"GET / HTTP/1.1", "not a ring packet"),
        (bytes.fromhex("c070") + bytes(20), "big-endian peer"),
        (bytes.fromhex("ffff") + bytes(20), "corosync 2 peer"),
        (bytes.fromhex("70c004") + bytes(20), "wrong version"),
        (HEADER + b"\x06" + bytes(20), "unknown packet type"),
        (HEADER + b"\x00" + bytes(9), "token truncated"),
        (HEADER + b"\x01" + bytes(9), "mcast truncated"),
        (HEADER + b"\x02" + bytes(9), "merge detect truncated"),
        (HEADER + b"\x03" + bytes(9), "join truncated"),
        (HEADER + b"\x04" + bytes(9), "commit token truncated"),
        (HEADER + b"\x05" + bytes(9), "hold cancel truncated"),
        (encode_orf_token(replace(TOKEN, rtr_list=((RING, 5),) * 31)), "token retransmit list too long"),
        (encode_join(replace(JOIN, proc_list=tuple(range(385)))), "join lists too long"),
        (encode_commit_token(replace(COMMIT, memb_index=3)), "commit token counts"),
        (encode_commit_token(replace(COMMIT, members=(2, 1))), "commit token members not ascending"),
        (encode_hold_cancel(replace(CANCEL, sender=9)), UNLISTED),
        (MCAST[:5] + b"\x03" + MCAST[6:], "message with two senders"),
        (encode_join(replace(JOIN, sender=3)), "join with two senders"),
        (encode_join(replace(JOIN, proc_list=(1, 3))), "join without its sender"),
        (encode_join(replace(JOIN, ring_seq=RING_SEQ_MAX)), "absurd ring number"),
        (encode_join(replace(JOIN, proc_list=(1, 2, 9))), NAMES_UNLISTED),
        (encode_commit_token(replace(COMMIT, ring=RingId(1, RING_SEQ_MAX))), "absurd ring number"),
        (encode_commit_token(replace(COMMIT, members=(1, 9))), NAMES_UNLISTED),
    ],
)
def test_reason_of_a_refusal(data: bytes, reason: str) -> None:
    assert reason in REASONS
    assert refused(data, SECOND) == reason


def test_nodelist_read_again_counts_at_once() -> None:
    gate = make_gate()
    gate.configure(small_configuration(FIRST, SECOND, THIRD, STRANGER))
    assert gate.admit(encode_hold_cancel(HoldCancel(4, RING)), STRANGER) is not None
    gate.configure(small_configuration(FIRST))
    assert refused(VALID["token"], SECOND, gate) == UNLISTED_SOURCE


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid packet with some bytes changed, cut or lengthened."""
    data = bytearray(draw(st.sampled_from(sorted(VALID.values()))))
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))]) + draw(st.binary(max_size=40))


sources = st.one_of(st.sampled_from([FIRST, SECOND, THIRD, STRANGER, "fe80::1", ""]), st.text(max_size=20))


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(HEADER.__add__), mutated()), sources)
def test_anything_is_let_in_or_refused_for_a_known_reason(data: bytes, source: str) -> None:
    """Reasons are counters' names: they must be few, whatever is sent."""
    for gate in (GATE, OPEN_GATE):
        reason, packet = None, None
        try:
            packet = gate.admit(data, source)
        except BadPacket as error:
            reason = error.reason
        assert reason is None or reason in REASONS
        assert packet is None or gate is OPEN_GATE or source in (FIRST, SECOND, THIRD)


def test_sealed_datagrams_have_a_reason_of_their_own() -> None:
    gate = Gate(1, small_configuration(FIRST, SECOND, THIRD))
    assert SEALED == MAGIC
    with pytest.raises(BadPacket, match="sealed, but the ring is open here"):
        gate.admit(MAGIC + bytes(100), SECOND)
