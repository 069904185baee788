"""The groups layer between a ring with two send queues and an upper layer that ends synchronization by barriers."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from groups_world import (
    NODES,
    PAYLOAD_SIZE,
    QUEUE_SIZE,
    QueueRing,
    Recorder,
    change,
    layer,
    loop_back,
    synchronized_layer,
    transitional,
)
from totemd.groups.api import QueueLevel
from totemd.groups.layer import HELD_BYTES_MAX, Groups
from totemd.groups.packing import PAYLOAD_SIZE_MIN
from totemd.ids import NodeId
from totemd.limits import MESSAGE_SIZE_MAX
from totemd.totem.api import ConfigurationChanged, ConfigurationKind
from totemd.wire.groups import decode_group_packet, encode_group_message, encode_group_packet


def test_small_messages_wait_for_the_token_and_share_a_packet() -> None:
    groups, ring, upper = synchronized_layer()
    assert groups.multicast(b"a", b"one")
    assert groups.multicast(b"sync", b"two")
    assert not ring.queue
    assert ring.tokens_requested == 2
    groups.token_received()
    assert [len(decode_group_packet(payload).pieces) for payload, _ in ring.queue] == [2]
    loop_back(groups, ring)
    assert upper.messages == [(b"a", 1, b"one"), (b"sync", 1, b"two")]
    groups.token_received()
    assert not ring.queue


def test_safe_and_agreed_messages_travel_in_packets_of_their_own() -> None:
    groups, ring, _ = synchronized_layer()
    for safe in (False, False, True, True, False):
        assert groups.multicast(b"a", b"x", safe=safe)
    groups.token_received()
    assert [(len(decode_group_packet(payload).pieces), safe) for payload, safe in ring.queue] == [
        (2, False),
        (2, True),
        (1, False),
    ]


@pytest.mark.parametrize("size", [0, 1, 1395, 1396, 100_000, MESSAGE_SIZE_MAX])
def test_a_message_of_any_size_goes_round(size: int) -> None:
    groups, ring, upper = synchronized_layer()
    body = bytes(range(256)) * (size // 256 + 1)
    assert groups.multicast(b"a", body[:size])
    groups.token_received()
    loop_back(groups, ring)
    assert upper.messages == [(b"a", 1, body[:size])]


def test_longer_messages_are_the_callers_mistake() -> None:
    groups, _, _ = synchronized_layer()
    with pytest.raises(ValueError, match="1048577"):
        groups.multicast(b"a", bytes(MESSAGE_SIZE_MAX + 1))


@given(
    st.integers(3, 40),
    st.lists(st.tuples(st.integers(0, 600), st.booleans(), st.booleans()), max_size=40),
    st.integers(PAYLOAD_SIZE_MIN, 150),
)
def test_messages_are_taken_whole_or_not_at_all(
    capacity: int, items: list[tuple[int, bool, bool]], payload_size: int
) -> None:
    groups, ring, upper = synchronized_layer(capacity, payload_size)
    accepted = []
    for number, (size, safe, token) in enumerate(items):
        body = bytes([number]) * size
        free = ring.send_queue_free
        if groups.multicast(b"a", body, safe=safe):
            accepted.append((b"a", 1, body))
        else:
            assert free - 2 < (size + 5) // (payload_size - 24) + 1
        if token:
            groups.token_received()
    assert groups.stats.messages_refused == len(items) - len(accepted)
    groups.token_received()
    loop_back(groups, ring)
    assert upper.messages == accepted


def test_change_of_configuration_flushes_into_the_old_queue() -> None:
    """Even what the layers above multicast when they are told: the ring switches afterwards."""

    class Talker(Recorder):
        def configuration_changed(self, change: ConfigurationChanged) -> None:
            assert groups.multicast(b"a", bytes(3000))
            assert groups.multicast(b"a", b"behind")

    ring = QueueRing()
    groups = Groups(ring, Talker(), PAYLOAD_SIZE)
    groups.synchronization_completed()
    groups.multicast(b"a", b"before")
    groups.configuration_changed(transitional())
    assert [decode_group_packet(payload).fragmented for payload, _ in ring.queues[False]] == [0, 1, 2, 0, 0]
    ring.waiting = True
    groups.token_received()
    assert not ring.queues[True]


def test_end_of_synchronization_leaves_nothing_in_the_transitional_queue() -> None:
    groups, ring, _ = layer()
    assert groups.multicast(b"a", b"said while the last barrier was under way")
    groups.synchronization_completed()
    groups.token_received()
    assert (len(ring.queues[True]), len(ring.queues[False])) == (0, 1)


def test_full_regular_queue_keeps_messages_and_their_order() -> None:
    groups, ring, upper = layer(capacity=4)
    ring.queues[False].extend([(encode_group_packet(0, 0, [b"\1\0\1\0aold"]), False)] * 4)
    assert groups.multicast(b"a", b"packed")
    assert groups.multicast(b"a", b"held", after_sync=True)
    groups.synchronization_completed()
    groups.token_received()
    assert not groups.multicast(b"a", b"refused")
    loop_back(groups, ring)
    groups.token_received()
    loop_back(groups, ring)
    assert [body for _, _, body in upper.messages] == [b"old"] * 4 + [b"packed", b"held"]


def test_held_messages_are_bounded_and_survive_another_change() -> None:
    groups, ring, upper = layer()
    body = bytes(MESSAGE_SIZE_MAX // 2)
    taken = 0
    while groups.multicast(b"a", body, after_sync=True):
        taken += 1
    assert taken == HELD_BYTES_MAX // (len(body) + 5)
    groups.configuration_changed(transitional())
    groups.token_received()
    assert not ring.queues[True]
    groups.synchronization_completed()
    while ring.queue:
        loop_back(groups, ring)
        groups.token_received()
    assert [len(body) for _, _, body in upper.messages] == [len(body)] * taken


def test_after_synchronization_nothing_is_held() -> None:
    groups, _, _ = synchronized_layer()
    groups.multicast(b"a", b"x", after_sync=True)
    assert (groups.stats.messages_held, groups.stats.messages_sent) == (0, 1)
    groups.configuration_changed(transitional())
    groups.multicast(b"a", b"x", after_sync=True)
    assert (groups.stats.messages_held, groups.stats.messages_sent) == (1, 1)


def test_half_sent_message_is_sent_again_as_a_whole_after_synchronization() -> None:
    groups, ring, upper = synchronized_layer()
    newcomer = Recorder()
    theirs = Groups(QueueRing(), newcomer, PAYLOAD_SIZE)
    assert groups.multicast(b"a", bytes(3000))
    old = ring.take(2)
    groups.packet_delivered(1, old[0])
    groups.configuration_changed(transitional())
    ring.waiting = True
    groups.packet_delivered(1, old[1])
    groups.switch_reassembly()
    groups.configuration_changed(change(ConfigurationKind.REGULAR, 5))
    assert groups.multicast(b"sync", bytes(2000))
    for payload in ring.take(QUEUE_SIZE):
        groups.packet_delivered(1, payload)
        theirs.packet_delivered(1, payload)
    assert [len(body) for _, _, body in upper.messages] == [2000]
    groups.synchronization_completed()
    theirs.synchronization_completed()
    for payload in ring.take(QUEUE_SIZE):
        groups.packet_delivered(1, payload)
        theirs.packet_delivered(1, payload)
    assert [len(body) for _, _, body in upper.messages] == [2000, 3000]
    assert newcomer.messages == upper.messages


def test_nodes_that_left_are_heard_to_the_end_and_start_anew() -> None:
    groups, _, upper = synchronized_layer()
    head = encode_group_packet(1, 0, [b"\1\0\1\0ahead"])
    groups.packet_delivered(2, head)
    groups.configuration_changed(transitional(left=(2,)))
    groups.packet_delivered(2, encode_group_packet(0, 1, [b"tail"]))
    groups.packet_delivered(2, head)
    groups.switch_reassembly()
    groups.synchronization_completed()
    groups.packet_delivered(2, encode_group_packet(0, 1, [b"tail", b"\1\0\1\0anew"]))
    assert upper.messages == [(b"a", 2, b"headtail"), (b"a", 2, b"new")]
    assert upper.changes == [transitional(left=(2,))]


def test_bad_input_is_counted_and_the_rest_delivered() -> None:
    groups, _, upper = synchronized_layer()
    groups.packet_delivered(9, b"short")
    messages = [
        b"",
        b"\0\0",
        encode_group_message(b"ykd", b"x"),
        b"\1\0\1\0abad",
        b"\2\0\1\0\1\0aatwice",
        b"\1\0\1\0aok",
    ]
    groups.packet_delivered(9, encode_group_packet(0, 0, messages))
    assert upper.messages == [(b"a", 9, b"twice"), (b"a", 9, b"ok")]
    counters = groups.statistics()
    assert {name: count for name, count in counters.items() if name.startswith("dropped.") and count} == {
        "dropped.group packet truncated": 1,
        "dropped.group header truncated": 1,
        "dropped.group header count": 1,
        "dropped.unknown group": 1,
        "dropped.body bad": 1,
    }
    assert (counters["packets_delivered"], counters["messages_delivered"]) == (2, 3)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 4), st.binary(max_size=60))))
def test_any_packets_are_taken(packets: list[tuple[int, bytes]]) -> None:
    groups, _, _ = synchronized_layer()
    for sender, payload in packets:
        groups.packet_delivered(sender, payload)
    assert groups.stats.packets_delivered == len(packets)


def test_queue_level_has_hysteresis() -> None:
    groups, ring, _ = synchronized_layer()

    def level(used_percent: float) -> QueueLevel:
        ring.queue.clear()
        ring.queue.extend([(b"", False)] * int(QUEUE_SIZE * used_percent / 100))
        return groups.queue_level

    rising = [level(percent) for percent in (0, 35, 45, 55, 65, 72, 80, 100)]
    assert rising == [0, 0, 1, 1, 2, 2, 3, 3]
    falling = [level(percent) for percent in (72, 65, 55, 45, 35, 20, 0)]
    assert falling == [3, 2, 2, 1, 1, 0, 0]
    assert [level(percent) for percent in (90, 10, 73)] == [QueueLevel.CRITICAL, QueueLevel.LOW, QueueLevel.HIGH]


def test_ring_that_has_left_takes_nothing_and_nothing_breaks() -> None:
    class LeftRing(QueueRing):
        def submit(self, payload: bytes, safe: bool, goes_on: bool) -> bool:
            return False

    groups = Groups(LeftRing(), Recorder(), PAYLOAD_SIZE)
    groups.multicast(b"a", bytes(3000))
    groups.multicast(b"a", b"x")
    groups.token_received()
    assert (groups.stats.packets_sent, groups.stats.packets_refused) == (0, 4)


def test_token_sent_is_passed_on() -> None:
    groups, _, upper = layer()
    groups.token_sent()
    assert upper.tokens_sent == 1


class Member:
    """A node whose synchronization is a state and one barrier; it ends with the barriers of all."""

    def __init__(self, nodeid: NodeId) -> None:
        self.nodeid = nodeid
        self.ring = QueueRing(12)
        self.groups = Groups(self.ring, self, 64)
        self.delivered: list[tuple[NodeId, bytes]] = []
        self.position = 0
        self.seq = 0
        self.synchronized = False
        self.barriers: set[NodeId] = set()
        self.to_say: list[bytes] = []

    def message_delivered(self, group: bytes, sender: NodeId, body: bytes) -> None:
        self.delivered.append((sender, body))
        if group == b"sync" and body == b"%d" % self.seq:
            self.barriers.add(sender)
            if self.barriers == set(NODES):
                assert not self.ring.queues[True], "nothing may be stuck"
                self.synchronized = True
                self.groups.synchronization_completed()

    def messages_delivered(self, sender: NodeId, bodies: list[bytes]) -> bool:
        return False

    def configuration_changed(self, change: ConfigurationChanged) -> None:
        if change.kind is ConfigurationKind.REGULAR:
            self.seq, self.synchronized, self.barriers = change.ring.seq, False, set()
            self.to_say = [b"state of %d in ring %d" % (self.nodeid, self.seq) + bytes(100), b"%d" % self.seq]

    def waits_for_token(self) -> bool:
        return True

    def token_sent(self) -> None:
        while self.to_say and self.groups.multicast(b"sync", self.to_say[0]):
            del self.to_say[0]

    def install(self, seq: int, rest: list[tuple[NodeId, bytes]]) -> None:
        """What a ring does when it is installed; `rest`: what of the old ring comes after the change."""
        self.groups.configuration_changed(transitional(seq))
        self.ring.waiting = True
        for sender, payload in rest:
            self.groups.packet_delivered(sender, payload)
        self.groups.switch_reassembly()
        self.groups.configuration_changed(change(ConfigurationKind.REGULAR, seq))
        self.position = 0


class ChangingRing(RuleBasedStateMachine):
    """Whatever changes when, all members deliver the same, and of each sender all it sent, in order.

    Members fall behind as they like, and rings are installed in the middle of messages and of synchronization.
    """

    def __init__(self) -> None:
        super().__init__()
        self.members = {nodeid: Member(nodeid) for nodeid in NODES}
        self.order: list[tuple[NodeId, bytes]] = []
        self.seq = 1
        self.sent: dict[NodeId, list[bytes]] = {nodeid: [] for nodeid in NODES}
        for member in self.members.values():
            member.install(1, [])

    @rule(nodeid=st.sampled_from(NODES), size=st.integers(0, 300), safe=st.booleans())
    def send(self, nodeid: NodeId, size: int, safe: bool) -> None:
        body = b"%d" % len(self.sent[nodeid]) + b"." * size + b"from %d" % nodeid
        if self.members[nodeid].groups.multicast(b"a", body, safe=safe, after_sync=True):
            self.sent[nodeid].append(body)

    @rule(nodeid=st.sampled_from(NODES), packets=st.integers(0, 4))
    def token(self, nodeid: NodeId, packets: int) -> None:
        member = self.members[nodeid]
        member.groups.token_received()
        self.order.extend((nodeid, payload) for payload in member.ring.take(packets))
        member.groups.token_sent()

    @rule(nodeid=st.sampled_from(NODES), packets=st.integers(1, 10))
    def deliver(self, nodeid: NodeId, packets: int) -> None:
        member = self.members[nodeid]
        for sender, payload in self.order[member.position : member.position + packets]:
            member.position += 1
            member.groups.packet_delivered(sender, payload)

    @rule()
    def calm(self) -> None:
        """Time enough for synchronization to end."""
        for _ in range(12):
            for nodeid in NODES:
                self.token(nodeid, 3)
            for nodeid in NODES:
                self.deliver(nodeid, 100)

    @rule(at=st.integers(0, 100))
    def install(self, at: int) -> None:
        self.seq += 4
        before = len(self.order) * at // 100
        for nodeid, member in self.members.items():
            self.deliver(nodeid, max(0, before - member.position))
            member.install(self.seq, self.order[member.position :])
        self.order = []

    def teardown(self) -> None:
        for _ in range(60):
            for nodeid in NODES:
                self.token(nodeid, 12)
            for nodeid in NODES:
                self.deliver(nodeid, 1000)
        first = self.members[1].delivered
        for member in self.members.values():
            assert member.synchronized
            assert member.delivered == first
            assert member.groups.reassembly.stats.unknown_tails == 0
            assert [body for _, body in first if body.endswith(b"from %d" % member.nodeid)] == self.sent[member.nodeid]


TestChangingRing = ChangingRing.TestCase
TestChangingRing.settings = settings(max_examples=60, stateful_step_count=50)
