"""Messages that are packed, or delivered, together: the same comes out as one by one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groups_world import PAYLOAD_SIZE, loop_back, synchronized_layer
from totemd.groups.packing import FRAGMENT_NUMBER_MAX, PAYLOAD_SIZE_MIN, Packer
from totemd.limits import REASSEMBLY_SIZE_MAX
from totemd.wire.groups import (
    SERVICE_GROUP,
    encode_group_message,
    encode_group_packet,
    encode_part,
    whole_bodies,
)

bodies = st.one_of(st.just(b""), st.just(b"bad"), st.binary(max_size=30), st.integers(0, 4000).map(bytes))
pieces = st.one_of(
    bodies.map(lambda body: encode_group_message(SERVICE_GROUP, body)),
    bodies.map(lambda body: encode_group_message(b"sync", body)),
    st.binary(max_size=12),
)
numbers = st.sampled_from((0, 0, 0, 1, 2, FRAGMENT_NUMBER_MAX))
packets = st.one_of(
    st.builds(encode_group_packet, numbers, numbers, st.lists(pieces, max_size=5)),
    st.builds(encode_part, numbers, numbers, pieces),
    st.binary(max_size=40),
)


@given(heard=st.lists(st.tuples(st.integers(1, 3), packets, st.integers(-2, 2)), max_size=30))
def test_any_packets_are_delivered_alike(heard: list[tuple[int, bytes, int]]) -> None:
    (one, _, by_one), (many, _, by_many) = synchronized_layer(), synchronized_layer()
    by_many.takes_many = True
    for sender, payload, cut in heard:
        data = payload[:cut] if cut < 0 else payload + bytes(cut)
        one.packet_delivered(sender, data)
        many.packet_delivered(sender, data)
    assert by_many.messages == by_one.messages
    assert many.statistics() == one.statistics()


@given(
    messages=st.lists(st.tuples(st.binary(max_size=300), st.integers(0, 5000)), max_size=20),
    capacity=st.integers(3, 40),
    fill=st.booleans(),
)
def test_a_batch_is_queued_as_one_by_one(messages: list[tuple[bytes, int]], capacity: int, fill: bool) -> None:
    (one, ring, by_one), (many, other, by_many) = synchronized_layer(capacity), synchronized_layer(capacity)
    count = 0
    for head, size in messages:
        if not one.multicast(SERVICE_GROUP, head + bytes(size)):
            break
        count += 1
    heads, data = [head for head, _ in messages], [memoryview(bytes(size)) for _, size in messages]
    queued = many.multicast_all(heads, data, fill=fill)
    assert queued == count if fill else queued <= count
    for head, piece in zip(heads[queued:count], data[queued:count], strict=True):
        assert many.multicast(SERVICE_GROUP, head + piece)
    for groups, queue in ((one, ring), (many, other)):
        groups.token_received()
        loop_back(groups, queue)
    assert by_many.messages == by_one.messages
    assert many.stats.messages_sent == one.stats.messages_sent
    assert many.stats.packets_sent == one.stats.packets_sent


@given(head=st.binary(max_size=300), data=st.binary(max_size=300), payload_size=st.integers(PAYLOAD_SIZE_MIN, 400))
def test_where_a_message_is_divided_makes_no_difference(head: bytes, data: bytes, payload_size: int) -> None:
    parts, whole = Packer(payload_size), Packer(payload_size)
    if head or data:
        divided = [*parts.add(head, memoryview(data), False), parts.flush()]
        assert divided == [*whole.add(b"", head + data, False), whole.flush()]


def test_an_endless_message_ends_at_the_limit() -> None:
    groups, _, upper = synchronized_layer()
    part = bytes(PAYLOAD_SIZE)
    number = 0
    for _ in range(2 * REASSEMBLY_SIZE_MAX // PAYLOAD_SIZE):
        following = number % FRAGMENT_NUMBER_MAX + 1
        groups.packet_delivered(2, encode_part(following, number, part))
        assert groups.reassembly.unfinished_bytes <= REASSEMBLY_SIZE_MAX
        number = following
    assert groups.reassembly.stats.too_long == 1
    groups.packet_delivered(2, encode_group_packet(0, 0, [encode_group_message(SERVICE_GROUP, b"whole")]))
    assert upper.messages == [(SERVICE_GROUP, 2, b"whole")]


@pytest.mark.parametrize("length", [0, 4])
def test_a_piece_shorter_than_its_header_is_no_message(length: int) -> None:
    """Whatever the next piece begins with."""
    header = encode_group_message(SERVICE_GROUP, b"")
    payload = encode_group_packet(0, 0, [header[:length], header[length:] + header])
    assert whole_bodies(payload, header) is None
