"""The groups layer between a ring with two send queues and an upper layer that takes notes."""

from collections import deque

from totemd.errors import BadPacket
from totemd.groups.layer import Groups
from totemd.ids import NodeId, RingId
from totemd.limits import SEND_QUEUE_BYTES
from totemd.totem.api import ConfigurationChanged, ConfigurationKind
from totemd.wire.groups import SERVICE_GROUP, decode_group_packet

PAYLOAD_SIZE = 1410
QUEUE_SIZE = SEND_QUEUE_BYTES // PAYLOAD_SIZE
NODES = (1, 2, 3)


class QueueRing:
    """The ring's two send queues; nothing leaves them but by `take`."""

    def __init__(self, capacity: int = QUEUE_SIZE) -> None:
        self.capacity = capacity
        self.waiting = True
        self.queues: dict[bool, deque[tuple[bytes, bool]]] = {True: deque(), False: deque()}
        self.tokens_requested = 0
        self.started: list[tuple[bytes, bool]] = []

    @property
    def queue(self) -> deque[tuple[bytes, bool]]:
        return self.queues[self.waiting]

    @property
    def send_queue_free(self) -> int:
        return self.capacity - len(self.queue)

    def submit(self, payload: bytes, safe: bool, goes_on: bool) -> bool:
        assert goes_on == (decode_group_packet(payload).fragmented > 0)
        if self.send_queue_free <= 0:
            return False
        self.queue.append((payload, safe))
        return True

    def restart_unfinished(self, preface: bytes) -> None:
        if self.started:
            self.queue.extendleft(reversed([(preface, False), *self.started]))
            self.started = []

    def synchronized(self) -> None:
        self.waiting = False

    def request_token(self) -> None:
        self.tokens_requested += 1

    def take(self, count: int) -> list[bytes]:
        taken = [self.queue.popleft() for _ in range(min(count, len(self.queue)))]
        for packet in taken:
            self.started = [*self.started, packet] if decode_group_packet(packet[0]).fragmented else []
        return [payload for payload, _ in taken]


class Recorder:
    """An upper layer that notes what it is told."""

    def __init__(self) -> None:
        self.messages: list[tuple[bytes, NodeId, bytes]] = []
        self.changes: list[ConfigurationChanged] = []
        self.tokens_sent = 0
        self.takes_many = False

    def message_delivered(self, group: bytes, sender: NodeId, body: bytes) -> None:
        if body == b"bad":
            raise BadPacket("body bad")
        self.messages.append((group, sender, body))

    def messages_delivered(self, sender: NodeId, bodies: list[bytes]) -> bool:
        if not self.takes_many or b"bad" in bodies:
            return False
        self.messages += [(SERVICE_GROUP, sender, body) for body in bodies]
        return True

    def configuration_changed(self, change: ConfigurationChanged) -> None:
        self.changes.append(change)

    def waits_for_token(self) -> bool:
        return True

    def token_sent(self) -> None:
        self.tokens_sent += 1


def change(kind: ConfigurationKind, seq: int, left: tuple[NodeId, ...] = ()) -> ConfigurationChanged:
    return ConfigurationChanged(kind, RingId(1, seq), NODES, (), left, "test")


def transitional(seq: int = 5, left: tuple[NodeId, ...] = ()) -> ConfigurationChanged:
    return change(ConfigurationKind.TRANSITIONAL, seq, left)


def layer(capacity: int = QUEUE_SIZE, payload_size: int = PAYLOAD_SIZE) -> tuple[Groups, QueueRing, Recorder]:
    ring, upper = QueueRing(capacity), Recorder()
    return Groups(ring, upper, payload_size), ring, upper


def synchronized_layer(
    capacity: int = QUEUE_SIZE, payload_size: int = PAYLOAD_SIZE
) -> tuple[Groups, QueueRing, Recorder]:
    groups, ring, upper = layer(capacity, payload_size)
    groups.synchronization_completed()
    return groups, ring, upper


def loop_back(groups: Groups, ring: QueueRing) -> None:
    for payload in ring.take(QUEUE_SIZE):
        groups.packet_delivered(1, payload)
