"""Whatever happens: in the end all nodes agree who is in which group, and those who were together saw the same."""

from collections.abc import Iterator
from contextlib import suppress
from typing import TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st

from service_cluster import Recorder, ServiceCluster
from totemd.errors import ServiceError
from totemd.ids import NodeId, RingId
from totemd.services.cpg import Cpg, CpgMembershipChanged, EndpointState, TotemConfigurationChanged

SIZE = 4
GROUPS = (b"a", b"b")
EVERYBODY = set(range(1, SIZE + 1))

Step: TypeAlias = tuple[str, int, int]

nodeids = st.integers(1, SIZE)
clients = st.integers(0, 40)
# two bits of the number say in which component a node is; the other number is how many last words the old rings have
forms = st.tuples(st.just("form"), st.just(0) | st.integers(0, 4**SIZE - 1), st.integers(0, 3))
turns = st.tuples(st.just("turns"), st.integers(1, 12), st.just(0))
client_steps = st.tuples(st.sampled_from(["leave", "disconnect", "disconnect", "say", "say"]), clients, st.just(0))
steps = st.one_of(
    st.tuples(st.just("join"), nodeids, st.integers(0, 7)),
    client_steps,
    client_steps,
    st.tuples(st.just("turn"), nodeids, st.integers(1, 12)),
    turns,
    turns,
    st.tuples(st.just("settle"), st.just(0), st.just(0)),
    forms,
    forms,
    st.tuples(st.just("room"), nodeids, st.sampled_from([0, 1, 2, 1000])),
    st.tuples(st.sampled_from(["restart", "settle", "settle", "settle"]), nodeids, st.just(0)),
)


class Client(Recorder):
    """A process in a group, or on its way there."""

    def __init__(self, nodeid: NodeId, cpg: Cpg, group: bytes, pid: int) -> None:
        super().__init__()
        self.nodeid = nodeid
        self.cpg = cpg
        self.group = group
        self.pid = pid
        self.connected = True

    def rounds(self) -> Iterator[tuple[RingId, list[object]]]:
        """What it saw between two rings, when it was in the group all the time, with the ring at the end."""
        since: int | None = None
        joined = False
        for index, event in enumerate(self.events):
            if isinstance(event, CpgMembershipChanged):
                joined = joined or any((it.nodeid, it.pid) == (self.nodeid, self.pid) for it in event.joined)
            if isinstance(event, TotemConfigurationChanged):
                if since is not None:
                    yield event.ring, self.events[since + 1 : index]
                since = index if joined else None


class History:
    """A cluster and its clients, as the steps take them."""

    def __init__(self) -> None:
        self.cluster = ServiceCluster(SIZE, Cpg)
        self.clients: list[Client] = []

    def take(self, step: Step) -> None:
        with suppress(ServiceError):
            getattr(self, step[0])(step[1], step[2])

    def join(self, nodeid: NodeId, which: int) -> None:
        client = Client(nodeid, self.cluster.nodes[nodeid].service, GROUPS[which % 2], which // 2)
        client.cpg.join(client, client.group, client.pid)
        self.clients.append(client)

    def _client(self, index: int) -> Client | None:
        return self.clients[index % len(self.clients)] if self.clients else None

    def leave(self, index: int, _: int) -> None:
        if client := self._client(index):
            client.cpg.leave(client)

    def disconnect(self, index: int, _: int) -> None:
        if client := self._client(index):
            client.cpg.disconnect(client)
            client.connected = False

    def say(self, index: int, _: int) -> None:
        if client := self._client(index):
            client.cpg.multicast(client, b"%d" % len(client.events))

    def turn(self, nodeid: NodeId, times: int) -> None:
        for _ in range(times):
            self.cluster.turn(nodeid)

    def turns(self, times: int, _: int) -> None:
        for _ in range(times):
            for nodeid in EVERYBODY:
                self.cluster.turn(nodeid)

    def settle(self, _: int, __: int) -> None:
        for node in self.cluster.nodes.values():
            node.host.room = 1000
        self.cluster.settle()

    def room(self, nodeid: NodeId, room: int) -> None:
        self.cluster.nodes[nodeid].host.room = room

    def restart(self, nodeid: NodeId, _: int) -> None:
        self.cluster.restart(nodeid)
        self.clients = [client for client in self.clients if client.nodeid != nodeid]

    def form(self, places: int, last_words: int) -> None:
        components: dict[int, set[NodeId]] = {}
        for nodeid in EVERYBODY:
            components.setdefault(places >> 2 * (nodeid - 1) & 3, set()).add(nodeid)
        self.cluster.form(*components.values(), last_words=last_words)

    def heal(self) -> None:
        self.cluster.form(EVERYBODY)
        self.settle(0, 0)

    def check_tables(self) -> None:
        """Every node of a whole ring has the truth: exactly the ring's clients that are there and did not leave."""
        nodes = self.cluster.nodes
        for node in nodes.values():
            if node.host.syncing or any(nodes[other].ring != node.ring for other in node.members):
                continue
            truth = {
                (client.group, client.nodeid, client.pid)
                for client in self.clients
                if client.nodeid in node.members
                and client.connected
                and client.cpg.state(client) is not EndpointState.UNJOINED
            }
            table = node.service.groups()
            assert {(group.group, it.nodeid, it.pid) for group in table for it in group.members} == truth


@settings(deadline=None, max_examples=300)
@given(st.lists(steps, min_size=25, max_size=80))
def test_all_agree_in_the_end_and_saw_the_same_on_the_way(story: list[Step]) -> None:
    history = History()
    history.heal()
    for nodeid in EVERYBODY:
        history.join(nodeid, 0)
        history.join(nodeid, 1)
    for step in story:
        history.take(step)
    history.settle(0, 0)
    history.check_tables()
    history.heal()
    history.check_tables()
    for client in history.clients:
        assert client.cpg.state(client) in (EndpointState.UNJOINED, EndpointState.JOIN_COMPLETED)

    # those who went from one ring to the next together saw the same events of their group in the same order
    seen: dict[tuple[bytes, tuple[RingId, ...]], list[object]] = {}
    for client in history.clients:
        for ring, events in client.rounds():
            path = history.cluster.paths[client.nodeid, ring]
            assert seen.setdefault((client.group, path), events) == events

    # each membership is the one before it, less those who left, and those who joined
    for client in history.clients:
        last: set[tuple[NodeId, int]] | None = None
        for event in client.events:
            if isinstance(event, CpgMembershipChanged):
                members = {(it.nodeid, it.pid) for it in event.members}
                joined = {(it.nodeid, it.pid) for it in event.joined}
                left = {(it.nodeid, it.pid) for it in event.left}
                assert joined <= members
                assert not left & members
                assert last is None or members == (last - left) | joined
                last = members
