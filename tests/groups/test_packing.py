"""The packer, judged by the receiver's rules of corosync 3.1.7 as the specification gives them."""

from collections.abc import Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from totemd.groups.packing import PAYLOAD_SIZE_MAX, PAYLOAD_SIZE_MIN, Packer, Payload
from totemd.limits import REASSEMBLY_SIZE_MAX
from totemd.wire.groups import decode_group_packet, encode_group_packet

DEFAULT_PAYLOAD_SIZE = 1410


class CorosyncReceiver:
    """How corosync puts one sender's messages together, with its odd rules: chapter "Groups", section on receivers."""

    def __init__(self) -> None:
        self.partial = b""
        self.last_fragmented = 0
        self.throwing_away = False

    def receive(self, payload: bytes) -> list[bytes]:
        packet = decode_group_packet(payload)
        assert len(self.partial) + len(payload) < REASSEMBLY_SIZE_MAX, "corosync aborts"
        delivered: list[bytes] = []
        if self.throwing_away:
            if packet.fragmented in (0, 1):
                self.throwing_away = False
                self.partial = b""
        elif packet.continuation != self.last_fragmented:
            self.throwing_away = True
        else:
            self.last_fragmented = packet.fragmented
            pieces = [self.partial + packet.pieces[0], *packet.pieces[1:]]
            self.partial = pieces.pop() if packet.fragmented else b""
            delivered = pieces
        if packet.fragmented == 0:
            self.partial, self.last_fragmented, self.throwing_away = b"", 0, False
        return delivered


def pack(messages: Iterable[tuple[bytes, bool, bool]], payload_size: int) -> list[Payload]:
    """Pack (message, safe, flush afterwards) and flush at the end."""
    packer = Packer(payload_size)
    payloads = []
    for message, safe, flush in messages:
        payloads += packer.add(b"", message, safe)
        if flush and (last := packer.flush()):
            payloads.append(last)
    last = packer.flush()
    return [*payloads, last] if last else payloads


def message(number: int, size: int) -> bytes:
    """`size` bytes (at least 1) that differ from those of other numbers."""
    return (number.to_bytes(4, "big") * (size // 4 + 1))[-size:]


small_sizes = st.integers(1, 400)
sequences = st.lists(st.tuples(small_sizes, st.booleans(), st.booleans()), max_size=30).map(
    lambda items: [(message(number, size), safe, flush) for number, (size, safe, flush) in enumerate(items)]
)
payload_sizes = st.integers(PAYLOAD_SIZE_MIN, 200)


@given(sequences, payload_sizes)
def test_corosync_delivers_everything_in_order(messages: list[tuple[bytes, bool, bool]], payload_size: int) -> None:
    receiver = CorosyncReceiver()
    delivered = [one for payload in pack(messages, payload_size) for one in receiver.receive(payload.data)]
    assert delivered == [message for message, _, _ in messages]


@given(sequences, payload_sizes, st.data())
def test_corosync_that_joins_late_delivers_every_message_that_starts_later(
    messages: list[tuple[bytes, bool, bool]], payload_size: int, data: st.DataObject
) -> None:
    payloads = pack(messages, payload_size)
    first = data.draw(st.integers(0, len(payloads)))
    receiver = CorosyncReceiver()
    delivered = [one for payload in payloads[first:] for one in receiver.receive(payload.data)]
    starts = 0
    for payload in payloads[:first]:
        packet = decode_group_packet(payload.data)
        starts += len(packet.pieces) - bool(packet.continuation)
    assert delivered == [message for message, _, _ in messages][starts:]


@given(sequences, payload_sizes, st.data())
def test_corosync_delivers_once_what_is_sent_again(
    messages: list[tuple[bytes, bool, bool]], payload_size: int, data: st.DataObject
) -> None:
    payloads = pack(messages, payload_size)
    end = data.draw(st.integers(0, len(payloads)))
    started = end
    while started and payloads[started - 1].goes_on:
        started -= 1
    receiver, late = CorosyncReceiver(), CorosyncReceiver()
    delivered = [one for payload in payloads[:end] for one in receiver.receive(payload.data)]
    before = len(delivered)
    restart = encode_group_packet(0, 0, [b"for nobody"])
    again = [restart, *(payload.data for payload in payloads[started:])] if started < end else []
    for payload in again or [payload.data for payload in payloads[end:]]:
        delivered += [one for one in receiver.receive(payload) if one != b"for nobody"]
    assert delivered == [message for message, _, _ in messages]
    from_there = [one for payload in payloads[started:] for one in late.receive(payload.data)]
    assert from_there == delivered[before:]


@given(sequences, payload_sizes)
def test_guarantees_are_kept_and_never_share_a_packet(
    messages: list[tuple[bytes, bool, bool]], payload_size: int
) -> None:
    receiver = CorosyncReceiver()
    delivered = [(one, p.safe) for p in pack(messages, payload_size) for one in receiver.receive(p.data)]
    assert delivered == [(message, safe) for message, safe, _ in messages]


@given(sequences, payload_sizes)
def test_packets_keep_the_format(messages: list[tuple[bytes, bool, bool]], payload_size: int) -> None:
    previous = 0
    for payload in pack(messages, payload_size):
        assert len(payload.data) <= payload_size
        packet = decode_group_packet(payload.data)
        assert packet.continuation == previous
        assert all(packet.pieces)
        assert payload.goes_on == bool(packet.fragmented)
        if packet.continuation or packet.fragmented:
            assert len(packet.pieces) == 1, "a cut message has its packets to itself"
        if packet.fragmented:
            assert packet.fragmented == packet.continuation % 255 + 1
            assert len(payload.data) == payload_size, "a cut packet is full"
        previous = packet.fragmented
    assert previous == 0


@given(sequences, payload_sizes)
def test_packer_holds_no_part_of_a_message(messages: list[tuple[bytes, bool, bool]], payload_size: int) -> None:
    packer = Packer(payload_size)
    receiver = CorosyncReceiver()
    count = 0
    for number, (one, safe, _) in enumerate(messages, 1):
        for payload in packer.add(b"", one, safe):
            count += len(receiver.receive(payload.data))
        assert receiver.partial == b""
        waiting = number - count
        assert packer.empty == (waiting == 0)
    last = packer.flush()
    assert packer.empty
    assert packer.flush() is None
    assert (count + (len(decode_group_packet(last.data).pieces) if last else 0)) == len(messages)


@given(sequences, st.integers(1, 5000), st.booleans(), payload_sizes)
@example([(b"x", False, False)], 1400 - 9, True, DEFAULT_PAYLOAD_SIZE)
def test_need_is_never_underestimated(
    before: list[tuple[bytes, bool, bool]], size: int, safe: bool, payload_size: int
) -> None:
    packer = Packer(payload_size)
    for one, one_safe, _ in before:
        packer.add(b"", one, one_safe)
    made = len(packer.add(b"", bytes(size), safe)) + (packer.flush() is not None)
    assert made <= packer.packets_needed(size)
    # the rule by which corosync admits a message, and the ring's users do
    assert packer.packets_needed(size) <= size // (payload_size - 24) + 2


def test_messages_that_fit_are_not_cut() -> None:
    packer = Packer(DEFAULT_PAYLOAD_SIZE)
    assert packer.add(b"", bytes(700), False) == []
    (first,) = packer.add(b"", bytes(1400), False)
    assert len(first.data) == 8 + 2 + 700
    last = packer.flush()
    assert last is not None
    assert len(last.data) == DEFAULT_PAYLOAD_SIZE


def test_fragment_numbers_wrap_without_zero() -> None:
    payloads = pack([(bytes(1400 * 300), False, False)], DEFAULT_PAYLOAD_SIZE)
    numbers = [decode_group_packet(payload.data).fragmented for payload in payloads]
    assert numbers == [*range(1, 256), *range(1, 45), 0]


@pytest.mark.parametrize(("size", "packets"), [(1, 1), (1400, 1), (1401, 2), (102_589, 74), (1024 * 1024 + 8, 749)])
def test_number_of_packets_at_the_default_size(size: int, packets: int) -> None:
    payloads = pack([(message(7, size), False, False)], DEFAULT_PAYLOAD_SIZE)
    assert len(payloads) == packets
    receiver = CorosyncReceiver()
    assert [one for payload in payloads for one in receiver.receive(payload.data)] == [message(7, size)]


def test_a_large_message_shares_no_packet() -> None:
    payloads = pack([(b"small", False, False), (bytes(2000), False, False), (b"x", False, False)], DEFAULT_PAYLOAD_SIZE)
    sizes = [[len(piece) for piece in decode_group_packet(payload.data).pieces] for payload in payloads]
    assert sizes == [[5], [1400], [600], [1]]
    assert [payload.goes_on for payload in payloads] == [False, True, False, False]


def test_mistakes_of_the_caller() -> None:
    with pytest.raises(ValueError, match="group header"):
        Packer(DEFAULT_PAYLOAD_SIZE).add(b"", b"", False)
    for size in (0, PAYLOAD_SIZE_MIN - 1, PAYLOAD_SIZE_MAX + 1):
        with pytest.raises(ValueError, match="payload size"):
            Packer(size)
