"""Reassembly, fed by our packer and by the packing rules of corosync 3.1.7 as the specification gives them."""

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from totemd.errors import BadPacket
from totemd.groups.packing import PAYLOAD_SIZE_MIN, Packer
from totemd.groups.reassembly import Reassembly
from totemd.limits import PROCESSOR_COUNT_MAX, REASSEMBLY_SIZE_MAX
from totemd.wire.groups import decode_group_packet, encode_group_packet

SENDER = 7


class CorosyncSender:
    """How corosync packs: densely, a message's tail shares its packet with what follows."""

    def __init__(self, payload_size: int) -> None:
        self.size = payload_size
        self.closed: list[bytes] = []
        self.open = b""
        self.next_number = 1
        self.continuation = 0

    def add(self, parts: list[bytes]) -> list[bytes]:
        """Pack a message given in parts (group header and body pieces)."""
        payloads = []
        room = self.size - 8 - 2 * (len(self.closed) + 1)
        parts = [part for part in parts if part]
        for position, part in enumerate(parts):
            rest = part
            while rest:
                used = sum(map(len, self.closed)) + len(self.open)
                if len(part) + used < room - 2:
                    self.open += rest
                    self.next_number = 1
                    break
                count = min(len(rest), room - used)
                self.open += rest[:count]
                rest = rest[count:]
                fragmented = 0
                if rest or position < len(parts) - 1:
                    fragmented = self.next_number or 1
                    self.next_number = (fragmented + 1) % 256
                payloads.append(encode_group_packet(fragmented, self.continuation, [*self.closed, self.open]))
                self.continuation = fragmented
                self.closed, self.open = [], b""
                room = self.size - 8 - 2
        if self.open:
            self.closed.append(self.open)
            self.open = b""
        return payloads

    def flush(self) -> list[bytes]:
        if not self.closed:
            return []
        payload = encode_group_packet(0, self.continuation, self.closed)
        self.closed, self.continuation = [], 0
        return [payload]


def numbered(number: int, size: int) -> bytes:
    return (number.to_bytes(4, "big") * (size // 4 + 1))[-size:]


def receive_all(reassembly: Reassembly, payloads: list[bytes], sender: int = SENDER) -> list[bytes]:
    return [message for payload in payloads for message in reassembly.receive(sender, payload)]


def starting_in(payloads: list[bytes]) -> int:
    packets = [decode_group_packet(payload) for payload in payloads]
    return sum(len(packet.pieces) - bool(packet.continuation) for packet in packets)


# parts of a message, and whether the token comes after it
corosync_messages = st.lists(st.tuples(st.lists(st.integers(0, 250), min_size=1, max_size=3), st.booleans()))


def corosync_stream(items: list[tuple[list[int], bool]], payload_size: int) -> tuple[list[bytes], list[bytes]]:
    """The messages that result, and corosync's packets for them."""
    sender = CorosyncSender(payload_size)
    messages, payloads = [], []
    for number, (sizes, flush) in enumerate(items):
        parts = [b"\1\0\1\0a", *(numbered(number, size) if size else b"" for size in sizes)]
        messages.append(b"".join(parts))
        payloads += sender.add(parts)
        if flush:
            payloads += sender.flush()
    return messages, payloads + sender.flush()


@given(corosync_messages, st.integers(40, 150))
def test_corosync_is_understood(items: list[tuple[list[int], bool]], payload_size: int) -> None:
    messages, payloads = corosync_stream(items, payload_size)
    reassembly = Reassembly()
    assert receive_all(reassembly, payloads) == messages
    assert reassembly.unfinished_bytes == 0


@given(corosync_messages, st.integers(40, 150), st.data())
def test_late_joiner_delivers_every_message_that_starts_later(
    items: list[tuple[list[int], bool]], payload_size: int, data: st.DataObject
) -> None:
    messages, payloads = corosync_stream(items, payload_size)
    first = data.draw(st.integers(0, len(payloads)))
    assert receive_all(Reassembly(), payloads[first:]) == messages[starting_in(payloads[:first]) :]


@settings(max_examples=15)
@given(
    st.lists(
        st.tuples(st.one_of(st.integers(1, 3000), st.integers(1, 1024 * 1024 + 5)), st.booleans(), st.booleans()),
        max_size=8,
    ),
    st.data(),
)
def test_packing_and_reassembly_at_the_default_size(items: list[tuple[int, bool, bool]], data: st.DataObject) -> None:
    packer = Packer(1410)
    messages = [numbered(number, size) for number, (size, _, _) in enumerate(items)]
    payloads = []
    for message, (_, safe, flush) in zip(messages, items, strict=True):
        payloads += [payload.data for payload in packer.add(b"", message, safe)]
        if flush and (last := packer.flush()):
            payloads.append(last.data)
    if last := packer.flush():
        payloads.append(last.data)
    assert receive_all(Reassembly(), payloads) == messages
    first = data.draw(st.integers(0, len(payloads)))
    assert receive_all(Reassembly(), payloads[first:]) == messages[starting_in(payloads[:first]) :]


def test_late_joiner_keeps_what_is_packed_around_a_tail() -> None:
    reassembly = Reassembly()
    assert reassembly.receive(SENDER, encode_group_packet(5, 4, [b"middle"])) == []
    assert reassembly.receive(SENDER, encode_group_packet(1, 5, [b"tail", b"whole", b"head, "])) == [b"whole"]
    assert reassembly.receive(SENDER, encode_group_packet(0, 1, [b"and tail"])) == [b"head, and tail"]
    assert reassembly.stats.unknown_tails == 2


def test_unfinished_message_is_given_up_when_the_sender_begins_anew() -> None:
    reassembly = Reassembly()
    reassembly.receive(SENDER, encode_group_packet(1, 0, [b"lost"]))
    assert reassembly.receive(SENDER, encode_group_packet(1, 0, [b"whole", b"head"])) == [b"whole"]
    assert reassembly.receive(SENDER, encode_group_packet(0, 2, [b"tail of another", b"next"])) == [b"next"]
    assert (reassembly.stats.unfinished, reassembly.stats.unknown_tails) == (2, 1)
    assert reassembly.unfinished_bytes == 0


def test_each_set_has_its_own_unfinished_message() -> None:
    reassembly = Reassembly()
    assert reassembly.transitional
    reassembly.switch(transitional=False)
    reassembly.receive(SENDER, encode_group_packet(1, 0, [b"application "]))
    reassembly.switch(transitional=True)
    reassembly.receive(SENDER, encode_group_packet(1, 0, [b"state "]))
    assert reassembly.receive(SENDER, encode_group_packet(0, 1, [b"of a service"])) == [b"state of a service"]
    reassembly.switch(transitional=False)
    assert reassembly.receive(SENDER, encode_group_packet(0, 1, [b"message"])) == [b"application message"]


def test_a_node_that_left_starts_anew_in_both_sets() -> None:
    reassembly = Reassembly()
    for transitional in (True, False):
        reassembly.switch(transitional=transitional)
        for sender in (SENDER, 8):
            reassembly.receive(sender, encode_group_packet(1, 0, [b"head "]))
    reassembly.forget([SENDER, 99])
    for transitional in (True, False):
        reassembly.switch(transitional=transitional)
        assert receive_all(reassembly, [encode_group_packet(0, 1, [b"tail", b"new"])]) == [b"new"]
        assert receive_all(reassembly, [encode_group_packet(0, 1, [b"tail"])], 8) == [b"head tail"]


def test_endless_message_is_dropped_at_the_limit_and_memory_is_freed() -> None:
    reassembly = Reassembly()
    piece = bytes(60_000)
    number = 0
    for _ in range(60):
        following = number % 255 + 1
        assert reassembly.receive(SENDER, encode_group_packet(following, number, [piece])) == []
        assert reassembly.unfinished_bytes <= REASSEMBLY_SIZE_MAX
        number = following
    assert reassembly.stats.too_long == 1
    assert reassembly.receive(SENDER, encode_group_packet(0, number, [b"end", b"next"])) == [b"next"]
    assert reassembly.unfinished_bytes == 0


def test_message_at_the_limit_is_delivered() -> None:
    reassembly = Reassembly()
    half = bytes(REASSEMBLY_SIZE_MAX // 2 // 20)
    number = 0
    for _ in range(39):
        following = number % 255 + 1
        reassembly.receive(SENDER, encode_group_packet(following, number, [half]))
        number = following
    rest = bytes(REASSEMBLY_SIZE_MAX - 39 * len(half))
    assert reassembly.receive(SENDER, encode_group_packet(0, number, [rest])) == [bytes(REASSEMBLY_SIZE_MAX)]


def test_number_of_senders_is_bounded() -> None:
    reassembly = Reassembly()
    for sender in range(PROCESSOR_COUNT_MAX + 50):
        assert reassembly.receive(sender, encode_group_packet(1, 0, [b"whole", b"head"])) == [b"whole"]
    assert reassembly.stats.too_many_senders == 50
    assert reassembly.unfinished_bytes == 4 * PROCESSOR_COUNT_MAX
    assert reassembly.receive(0, encode_group_packet(2, 1, [b""])) == []
    assert reassembly.receive(0, encode_group_packet(0, 2, [b"!"])) == [b"head!"]
    assert reassembly.receive(PROCESSOR_COUNT_MAX + 1, encode_group_packet(0, 1, [b"!", b"new"])) == [b"new"]


def test_bad_packet_changes_nothing() -> None:
    reassembly = Reassembly()
    reassembly.receive(SENDER, encode_group_packet(1, 0, [b"head "]))
    tail = encode_group_packet(0, 1, [b"tail"])
    for wrong in (tail[:-1], tail + b"x", b"", bytes(8)):
        with pytest.raises(BadPacket):
            reassembly.receive(SENDER, wrong)
    assert reassembly.receive(SENDER, tail) == [b"head tail"]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.lists(st.binary(max_size=5), max_size=4))))
def test_any_packets_are_taken(packets: list[tuple[int, int, list[bytes]]]) -> None:
    reassembly = Reassembly()
    given_bytes = 0
    for fragmented, continuation, pieces in packets:
        payload = encode_group_packet(fragmented, continuation, pieces)
        given_bytes += sum(map(len, pieces))
        try:
            messages = reassembly.receive(SENDER, payload)
        except BadPacket:
            continue
        given_bytes -= sum(map(len, messages))
        assert 0 <= reassembly.unfinished_bytes <= given_bytes


class TwoQueues(RuleBasedStateMachine):
    """Two senders with two queues each, an old member and one that joins: every switch of queues loses nothing.

    Senders and receivers switch together here, as they do in the total order.
    """

    SENDERS = (1, 2)

    def __init__(self) -> None:
        super().__init__()
        self.transitional = True
        self.packers = {sender: Packer(PAYLOAD_SIZE_MIN) for sender in self.SENDERS}
        self.queues: dict[tuple[int, bool], deque[bytes]] = {
            (sender, transitional): deque() for sender in self.SENDERS for transitional in (True, False)
        }
        self.expected: dict[tuple[int, bool], deque[bytes]] = {key: deque() for key in self.queues}
        self.in_packer: dict[int, list[bytes]] = {sender: [] for sender in self.SENDERS}
        self.member = Reassembly()
        self.joiner: Reassembly | None = None
        self.unknown: dict[tuple[int, bool], int] = {}
        self.count = 0

    def queue(self, sender: int, payloads: list[bytes]) -> None:
        self.queues[sender, self.transitional].extend(payloads)

    @rule(sender=st.sampled_from(SENDERS), size=st.integers(1, 200), safe=st.booleans())
    def send(self, sender: int, size: int, safe: bool) -> None:
        self.count += 1
        message = numbered(self.count, size + 3)
        self.in_packer[sender].append(message)
        payloads = self.packers[sender].add(b"", message, safe)
        self.queue(sender, [payload.data for payload in payloads])
        completed = starting_in([payload.data for payload in payloads])
        self.expected[sender, self.transitional].extend(self.in_packer[sender][:completed])
        del self.in_packer[sender][:completed]

    @rule(sender=st.sampled_from(SENDERS))
    def flush(self, sender: int) -> None:
        last = self.packers[sender].flush()
        self.queue(sender, [last.data] if last else [])
        self.expected[sender, self.transitional].extend(self.in_packer[sender])
        self.in_packer[sender].clear()

    @rule(sender=st.sampled_from(SENDERS), packets=st.integers(1, 5))
    def deliver(self, sender: int, packets: int) -> None:
        queue = self.queues[sender, self.transitional]
        expected = self.expected[sender, self.transitional]
        for _ in range(min(packets, len(queue))):
            payload = queue.popleft()
            messages = self.member.receive(sender, payload)
            assert messages == [expected.popleft() for _ in messages]
            if self.joiner:
                self.deliver_to_joiner(self.joiner, sender, payload, messages)

    def deliver_to_joiner(self, joiner: Reassembly, sender: int, payload: bytes, messages: list[bytes]) -> None:
        """It gets what the member gets, except the one message of this queue that had begun when it joined."""
        continued = decode_group_packet(payload).continuation
        unknown = self.unknown.get((sender, self.transitional), 0)
        got = joiner.receive(sender, payload)
        if continued and unknown and messages:
            assert got == messages[1:]
            self.unknown[sender, self.transitional] = 0
        else:
            assert got == messages

    @rule()
    def switch(self) -> None:
        self.transitional = not self.transitional
        for reassembly in (self.member, self.joiner):
            if reassembly:
                reassembly.switch(transitional=self.transitional)

    @rule()
    def join(self) -> None:
        self.joiner = Reassembly()
        self.joiner.switch(transitional=self.transitional)
        self.unknown = {
            key: int(bool(queue) and decode_group_packet(queue[0]).continuation != 0)
            for key, queue in self.queues.items()
        }

    @invariant()
    def nothing_is_kept_for_nothing(self) -> None:
        if not any(self.queues.values()):
            assert self.member.unfinished_bytes == 0


TestTwoQueues = TwoQueues.TestCase
TestTwoQueues.settings = settings(max_examples=60, stateful_step_count=40)
