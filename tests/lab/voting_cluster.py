"""The quorum and votequorum services of several nodes over an order made in memory.

`form` makes rings of the given components and synchronizes them as the protocol demands; `settle` delivers what
the nodes have queued since, in turns. Messages reach all nodes of a component at once and in one order.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

from service_cluster import FakeHost, Recorder
from totemd.config.model import QuorumSettings
from totemd.ids import NodeId, RingId
from totemd.services.quorum import MODEL_MEMBERSHIP, Quorum
from totemd.services.votequorum.service import EV_TRACKING_FILE, VoteQuorum, decode_ev_tracking
from totemd.wire.service import decode_service_header


class VotingHost(FakeHost):
    """A host that keeps what is persisted."""

    def __init__(self, nodeid: NodeId, files: dict[str, bytes]) -> None:
        super().__init__(nodeid)
        self.files = files

    def persist(self, name: str, data: bytes) -> None:
        self.files[name] = data

    def fire_if_set(self, name: str) -> None:
        if name in self.timers:
            self.fire(name)


class VotingNode:
    """One running node, with one listener on both services."""

    def __init__(self, nodeid: NodeId, settings: QuorumSettings, files: dict[str, bytes]) -> None:
        self.nodeid = nodeid
        self.host = VotingHost(nodeid, files)
        self.quorum = Quorum(self.host, has_provider=True)
        saved = files.get(EV_TRACKING_FILE)
        self.votes = VoteQuorum(
            self.host,
            settings,
            quorum_changed=self.quorum.provider_changed,
            tracked_expected=None if saved is None else decode_ev_tracking(saved),
        )
        self.events = Recorder()
        self.quorum.track_start(self.events, MODEL_MEMBERSHIP, current=False, changes=True)
        self.votes.track_start(self.events, current=False, changes=True)
        self.members: tuple[NodeId, ...] = ()
        self.votes.start()

    @property
    def quorate(self) -> bool:
        return self.quorum.get_quorate()


class VotingCluster:
    """Nodes 1 to `size`, all down until they are in a component that is formed."""

    def __init__(
        self, size: int, settings: QuorumSettings | None = None, votes: dict[NodeId, int] | None = None
    ) -> None:
        self.size = size
        self.node_votes = {nodeid: (votes or {}).get(nodeid, 1) for nodeid in range(1, size + 1)}
        self.settings = settings or QuorumSettings(expected_votes=sum(self.node_votes.values()))
        self.files: dict[NodeId, dict[str, bytes]] = {nodeid: {} for nodeid in self.node_votes}
        self.nodes: dict[NodeId, VotingNode] = {}
        self._seq = 0

    def __getitem__(self, nodeid: NodeId) -> VotingNode:
        return self.nodes[nodeid]

    def form(self, *components: Iterable[NodeId]) -> None:
        """Each component becomes a synchronized ring; who is in none crashes, who was down starts."""
        sets = [tuple(sorted(component)) for component in components]
        alive = {nodeid for component in sets for nodeid in component}
        for nodeid in set(self.nodes) - alive:
            del self.nodes[nodeid]
        for nodeid in sorted(alive - set(self.nodes)):
            settings = replace(self.settings, votes=self.node_votes[nodeid])
            self.nodes[nodeid] = VotingNode(nodeid, settings, self.files[nodeid])
        for component in sets:
            self.begin(component)
            self.finish(component)

    def begin(self, component: tuple[NodeId, ...]) -> RingId:
        """The ring's configuration, and sync_init of both services on all."""
        self._seq += 4
        ring = RingId(component[0], self._seq)
        for node in self._nodes(component):
            transitional = tuple(n for n in component if n in node.members) or (node.nodeid,)
            node.host.syncing = True
            node.quorum.sync_init(transitional, component, ring)
            node.votes.sync_init(transitional, component, ring)
            node.members = component
        return ring

    def finish(self, component: tuple[NodeId, ...]) -> None:
        """Process, barrier and activation, service by service; then what waited."""
        nodes = self._nodes(component)
        for node in nodes:
            assert node.quorum.sync_process()
        for node in nodes:
            node.quorum.sync_activate()
        waiting = list(nodes)
        for _ in range(100):
            waiting = [node for node in waiting if not node.votes.sync_process()]
            self._deliver(nodes, lambda host: host.sync_queue)
            if not waiting:
                break
        assert not waiting, "synchronization does not end"
        for node in nodes:
            node.votes.sync_activate()
        for node in nodes:
            node.host.syncing = False
        self.settle()

    def settle(self) -> None:
        """Deliver until nobody has anything to say."""
        for component in {node.members for node in self.nodes.values()}:
            self._deliver(self._nodes(component), lambda host: host.queue)

    def quorate(self) -> list[NodeId]:
        return [nodeid for nodeid, node in sorted(self.nodes.items()) if node.quorate]

    def fire(self, name: str, *nodeids: NodeId) -> None:
        """The timer's time has come on these nodes (on all, if none is named), where it is set."""
        for nodeid in nodeids or tuple(self.nodes):
            self.nodes[nodeid].host.fire_if_set(name)
        self.settle()

    def forget_events(self) -> None:
        for node in self.nodes.values():
            node.events.take()

    def _nodes(self, component: Iterable[NodeId]) -> list[VotingNode]:
        return [self.nodes[nodeid] for nodeid in component if nodeid in self.nodes]

    @staticmethod
    def _deliver(nodes: list[VotingNode], queue: Callable[[VotingHost], list[bytes]]) -> None:
        while any(queue(node.host) for node in nodes):
            for sender in nodes:
                if queue(sender.host):
                    message = queue(sender.host).pop(0)
                    function = decode_service_header(message).function
                    for node in nodes:
                        node.votes.receive(function, sender.nodeid, message)
