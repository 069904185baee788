"""What is handled many at a time comes out as if it had been handled one by one, whatever it is."""

from collections.abc import Sequence
from struct import Struct
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from live_node import Host, lone_node, settle
from ring_memory import Count, Memory
from totemd.errors import BadRing
from totemd.groups.api import QueueLevel
from totemd.ipc.ports import Credentials
from totemd.qb import cpg_messages, ring
from totemd.qb.cpg import SERVICE
from totemd.qb.ring import RingReader, RingWriter
from totemd.qb.session import QbSession

SIZE = 8192
"""Bytes of a small ring's data."""
MESSAGE_MAX = 6000


class Reading:
    """A reader of a ring, and what has come of it."""

    def __init__(self, data: Memory) -> None:
        self.header = Memory(bytes(ring.HEADER_SIZE), ring.HEADER_SIZE)
        self.semaphore = Count()
        self.reader = RingReader(self.header, data, self.semaphore, SIZE, MESSAGE_MAX)
        self.found: list[bytes] = []
        self.broken = False

    def one_by_one(self) -> None:
        try:
            while (message := self.reader.take()) is not None:
                self.found.append(message)
            self.reader.release()
        except BadRing:
            self.broken = True

    def many(self, count: int, back: int) -> None:
        """Up to `count` at a time, of which up to `back` are put back each time."""
        try:
            while messages := self.reader.take_many(count):
                keep = max(1, len(messages) - back)
                self.reader.put_back(messages[keep:])
                self.found += messages[:keep]
            self.reader.release()
        except BadRing:
            self.broken = True


sizes = st.one_of(st.integers(0, 60), st.integers(0, MESSAGE_MAX), st.just(1100))
batches = st.lists(st.lists(sizes, max_size=12), min_size=1, max_size=12)


@given(
    batches=batches,
    count=st.integers(1, 40),
    back=st.integers(0, 3),
    spoil=st.none() | st.tuples(st.integers(0, 11), st.integers(0, SIZE - 1), st.integers(0, 255)),
)
def test_taking_many_gives_what_taking_one_gives(
    batches: list[list[int]], count: int, back: int, spoil: tuple[int, int, int] | None
) -> None:
    data = Memory(bytes(SIZE), SIZE)
    single, many = Reading(data), Reading(data)
    writer = RingWriter(single.header, data, single.semaphore, SIZE)
    written: list[bytes] = []
    for number, batch in enumerate(batches):
        before = single.semaphore.count
        for size in batch:
            message = bytes([len(written) & 255]) * size
            if writer.put(message):
                written.append(message)
        many.semaphore.post(single.semaphore.count - before)
        if spoil is not None and number == spoil[0]:
            data.content[spoil[1]] = spoil[2]
        single.one_by_one()
        many.many(count, back)
        assert many.found == single.found
        assert many.broken == single.broken
        if single.broken:
            break
        assert many.header.content[ring.READ_PLACE :] == single.header.content[ring.READ_PLACE :]
        assert many.semaphore.count == single.semaphore.count == 0
    if spoil is None:
        assert single.found == written


@given(batches=batches, read=st.lists(st.integers(0, 12), max_size=12))
def test_writing_many_leaves_what_writing_one_leaves(batches: list[list[int]], read: list[int]) -> None:
    files = [(Memory(bytes(ring.HEADER_SIZE), ring.HEADER_SIZE), Memory(bytes(SIZE), SIZE), Count()) for _ in range(2)]
    writers = [RingWriter(*each, SIZE) for each in files]
    readers = [RingReader(*each, SIZE, MESSAGE_MAX) for each in files]
    for number, batch in enumerate(batches):
        messages = [bytes([number, index]) * (size // 2) for index, size in enumerate(batch)]
        one_by_one = 0
        for message in messages:
            if not writers[0].write(message):
                break
            one_by_one += 1
        assert writers[1].write_all(messages) == one_by_one
        for writer in writers:
            writer.announce()
        for reader in readers:
            reader.take_many((read[number : number + 1] or [0])[0])
            reader.release()
        assert files[0][0].content == files[1][0].content
        assert files[0][1].content == files[1][1].content
        assert files[0][2].count == files[1][2].count


# -- requests and deliveries of a whole node -------------------------------------------------------------------------

REQUEST: Final = Struct("=i4xi4xi4xI4xI4x")
MULTICAST, LOCAL_GET = 2, 4


class Link:
    """A client that has room for so many events, and counts them."""

    message_max = 1 << 20

    def __init__(self, room: int) -> None:
        self.room = room
        self.got: list[bytes] = []

    def put_response(self, message: bytes) -> bool:
        self.got.append(message)
        return True

    def put_event(self, message: bytes) -> bool:
        if self.room <= 0:
            return False
        self.room -= 1
        self.got.append(message)
        return True

    def put_events(self, messages: Sequence[bytes]) -> int:
        for count, message in enumerate(messages):
            if not self.put_event(message):
                return count
        return len(messages)

    def set_flow(self, word: int) -> None:
        self.got.append(b"flow %d" % word)


class Client:
    """A process of one node that is in a group."""

    def __init__(self, room: int, *, joins: bool) -> None:
        self.host, self.now = lone_node()
        self.link = Link(room)
        self.session: QbSession = self.host.node.qb.open(SERVICE, Credentials(7, 0, 0), self.link)
        if joins:
            self.session.receive(_join(b"group", 7))
            self.settle()
            assert self.host.node.cpg.members(b"group")

    def settle(self) -> None:
        self.now = settle(self.host, self.now + 0.5)
        self.session.flush()

    @property
    def state(self) -> object:
        """All that must be the same."""
        session, node = self.session, self.host.node
        counters = {name: getattr(session.counters, name) for name in session.counters.__slots__}
        return self.link.got, session.holds, session.closing, counters, node.groups.statistics(), _traffic(self.host)


def _traffic(host: Host) -> object:
    return {key: entry.value for key, entry in host.node.traffic.entries().items()}


def _join(group: bytes, pid: int) -> bytes:
    body = cpg_messages.JOIN.pack(len(group), group, pid, 0)[16:]
    return Struct("=i4xi4x").pack(0, 16 + len(body)) + body


def _multicast(size: int, guarantee: int, lie: int, ident: int, data_lie: int) -> bytes:
    return REQUEST.pack(ident, max(0, REQUEST.size + size + lie), 0, guarantee, max(0, size + data_lie)) + b"d" * size


requests = st.lists(
    st.one_of(
        st.builds(
            _multicast,
            st.one_of(st.just(64), st.integers(0, 3000)),
            st.sampled_from((0, 2, 2, 2, 3)),
            st.just(0) | st.sampled_from((0, 0, -1, 1, -100)),
            st.just(MULTICAST) | st.sampled_from((MULTICAST, LOCAL_GET, 99, -1)),
            st.just(0) | st.sampled_from((0, 0, -1, 1, 1 << 20)),
        ),
        st.binary(max_size=50),
    ),
    max_size=40,
)


@settings(max_examples=60)
@given(rounds=st.lists(requests, min_size=1, max_size=4), room=st.integers(0, 60), joins=st.booleans())
def test_requests_together_are_served_as_one_by_one(rounds: list[list[bytes]], room: int, joins: bool) -> None:
    single, many = Client(room, joins=joins), Client(room, joins=joins)
    for together in rounds:
        handled = 0
        for message in together:
            if not single.session.accepts:
                break
            single.session.receive(message)
            handled += 1
        assert (many.session.receive_all(together) if many.session.accepts else 0) == handled
        single.settle()
        many.settle()
        assert many.state == single.state


@pytest.mark.parametrize("size", [1000, 100_000])
def test_a_full_queue_stops_both_at_the_same_message(size: int) -> None:
    single, many = Client(100_000, joins=True), Client(100_000, joins=True)
    message = _multicast(size, 2, 0, MULTICAST, 0)
    count = 0
    while single.session.accepts:
        assert count < 10_000
        single.session.receive(message)
        count += 1
    assert many.session.receive_all([message] * (count + 50)) == count
    assert single.host.node.groups.queue_level is many.host.node.groups.queue_level is QueueLevel.CRITICAL
    assert single.session.holds
    assert many.state == single.state
