"""Services of several nodes over an order made in memory, one step at a time.

Every component of the cluster is a ring: a node's turn takes a message from its queue and delivers it to all nodes of
the component at once. As in the real thing a node has two queues, one for the time of synchronization; what is left in
that one when a round is aborted comes out first in the next round.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Generic, Protocol, TypeVar

from totemd.ids import NO_RING, NodeId, RingId
from totemd.services.base import Service
from totemd.totem.api import ConfigurationChanged, ConfigurationKind
from totemd.wire.groups import Buffer
from totemd.wire.service import decode_service_header


class Recorder:
    """A listener that keeps everything."""

    def __init__(self) -> None:
        self.events: list[object] = []

    def push(self, event: object) -> None:
        self.events.append(event)

    def take(self) -> list[object]:
        """What came since the last time."""
        taken, self.events = self.events, []
        return taken


class FakeHost:
    """A node as its services see it."""

    def __init__(self, nodeid: NodeId) -> None:
        self._nodeid = nodeid
        self.now = 0.0
        self.syncing = True
        self.room = 1_000_000
        """How many messages a queue takes."""
        self.queue: list[bytes] = []
        self.sync_queue: list[bytes] = []
        self.safe: list[bool] = []
        self.timers: dict[str, tuple[float, Callable[[], None]]] = {}
        self.logs: list[tuple[str, str]] = []
        self.shutdowns: list[tuple[str, int, bool]] = []
        self.reloads: list[Callable[[str | None], None]] = []
        self.logs_reopened = 0

    @property
    def nodeid(self) -> NodeId:
        return self._nodeid

    @property
    def sync_in_progress(self) -> bool:
        return self.syncing

    def multicast(self, message: bytes, *, safe: bool = False) -> bool:
        queue = self.sync_queue if self.syncing else self.queue
        if len(queue) >= self.room:
            return False
        assert decode_service_header(message).size == len(message)
        queue.append(message)
        self.safe.append(safe)
        return True

    def multicast_all(self, heads: Sequence[bytes], data: Sequence[Buffer], *, fill: bool) -> int:
        count = 0
        if self.syncing:
            return 0
        for head, piece in zip(heads, data, strict=True):
            if not self.multicast(head + piece):
                break
            count += 1
        return count

    def set_timer(self, name: str, delay_s: float, action: Callable[[], None]) -> None:
        self.timers[name] = (delay_s, action)

    def cancel_timer(self, name: str) -> None:
        self.timers.pop(name, None)

    def fire(self, name: str) -> None:
        """The timer's time has come."""
        self.timers.pop(name)[1]()

    def log(self, level: str, text: str) -> None:
        self.logs.append((level, text))

    def persist(self, name: str, data: bytes) -> None:
        raise AssertionError("nothing to persist here")

    def shut_down(self, reason: str, *, status: int = 0, at_once: bool = False) -> None:
        self.shutdowns.append((reason, status, at_once))

    def request_reload(self, done: Callable[[str | None], None]) -> None:
        self.reloads.append(done)

    def reopen_logs(self) -> None:
        self.logs_reopened += 1


class Retrying(Service, Protocol):
    """A service that remembers what it could not queue."""

    def retry_pending(self) -> bool: ...


S = TypeVar("S", bound=Retrying)


class ClusterNode(Generic[S]):
    """One node: its host, its service, and where it stands in the current round."""

    def __init__(self, nodeid: NodeId, service: Callable[[FakeHost], S]) -> None:
        self.nodeid = nodeid
        self.host = FakeHost(nodeid)
        self.service = service(self.host)
        self.ring = NO_RING
        self.members: frozenset[NodeId] = frozenset()
        self.processed = False
        self.path: tuple[RingId, ...] = ()
        """Rings since the last completed round, that one first."""


class ServiceCluster(Generic[S]):
    """Nodes 1 to `size`, each at first alone and without a ring."""

    def __init__(self, size: int, service: Callable[[FakeHost], S]) -> None:
        self._make = service
        self.nodes = {nodeid: ClusterNode(nodeid, service) for nodeid in range(1, size + 1)}
        self._rings = 0
        self.paths: dict[tuple[NodeId, RingId], tuple[RingId, ...]] = {}
        """For each node and ring that completed: the rings from the one that completed before it up to this one."""

    def restart(self, nodeid: NodeId) -> None:
        """The node crashes and starts again with nothing; its ring goes on without noticing until the next form()."""
        self.nodes[nodeid] = ClusterNode(nodeid, self._make)

    def form(self, *components: set[NodeId], last_words: int = 0) -> None:
        """Each component becomes a ring; nodes that are in none stay as they are. Synchronization begins.

        Before that each node gets so many messages of its old ring through to those that stay with it, and no others.
        """
        for component in components:
            for nodeid in sorted(component):
                node = self.nodes[nodeid]
                for _ in range(0 if node.host.syncing else min(last_words, len(node.host.queue))):
                    self._deliver(node, node.host.queue.pop(0), among=component)
        for component in components:
            self._rings += 1
            self._form_ring(frozenset(component), RingId(min(component), self._rings))

    def _form_ring(self, members: frozenset[NodeId], ring: RingId) -> None:
        nodes = [self.nodes[nodeid] for nodeid in sorted(members)]
        before = {node.nodeid: (node.ring, node.members) for node in nodes}
        for node in nodes:
            old_ring, old_members = before[node.nodeid]
            stay = tuple(other.nodeid for other in nodes if old_ring != NO_RING and before[other.nodeid][0] == old_ring)
            left = tuple(sorted(old_members - set(stay)))
            joined = tuple(sorted(members - set(stay)))
            if node.host.syncing and old_ring != NO_RING:
                node.service.sync_abort()
            node.host.syncing = True
            node.ring, node.members, node.processed = ring, members, False
            node.path += (ring,)
            for change in (
                ConfigurationChanged(ConfigurationKind.TRANSITIONAL, ring, stay, (), left, "test"),
                ConfigurationChanged(ConfigurationKind.REGULAR, ring, tuple(sorted(members)), joined, (), "test"),
            ):
                node.service.configuration_changed(change)
            node.service.sync_init(stay, tuple(sorted(members)), ring)

    def turn(self, nodeid: NodeId) -> bool:
        """The token is at the node: it sends one message, or takes a step of synchronization. False: nothing to do."""
        node = self.nodes[nodeid]
        if node.ring == NO_RING:
            return False
        queue = node.host.sync_queue if node.host.syncing else node.host.queue
        if queue:
            self._deliver(node, queue.pop(0))
            self._retry(node)
            return True
        if not node.host.syncing:
            return self._retry(node)
        if not node.processed:
            node.processed = node.service.sync_process()
            return True
        return self._try_activate(node)

    def _retry(self, node: ClusterNode[S]) -> bool:
        if node.host.syncing:
            return False
        before = len(node.host.queue)
        node.service.retry_pending()
        return len(node.host.queue) > before

    def _deliver(self, sender: ClusterNode[S], message: bytes, among: Collection[NodeId] | None = None) -> None:
        header = decode_service_header(message)
        for nodeid in sorted(sender.members if among is None else sender.members & frozenset(among)):
            node = self.nodes[nodeid]
            if node.ring == sender.ring:
                assert header.service == node.service.service_id
                node.service.receive(header.function, sender.nodeid, message)

    def _try_activate(self, node: ClusterNode[S]) -> bool:
        nodes = [self.nodes[nodeid] for nodeid in sorted(node.members)]
        if any(other.ring != node.ring or not other.processed or other.host.sync_queue for other in nodes):
            return False
        for other in nodes:
            other.service.sync_activate()
        for other in nodes:
            other.host.syncing = False
            self.paths[other.nodeid, other.ring] = other.path
            other.path = (other.ring,)
            other.service.retry_pending()
        return True

    def settle(self) -> None:
        """Take turns until nobody has anything to do."""
        busy = True
        while busy:
            busy = False
            for nodeid in self.nodes:
                busy |= self.turn(nodeid)
