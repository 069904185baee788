"""The synchronization engine alone, and several of them on a bus that keeps one order."""

from collections import deque
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from totemd.ids import NodeId, RingId
from totemd.limits import SYNC_SERVICES_MAX
from totemd.sync.engine import SyncEngine
from totemd.totem.api import ConfigurationChanged, ConfigurationKind
from totemd.wire.sync import Barrier, ServiceBuild, decode_sync, encode_barrier, encode_service_build

RING = RingId(1, 9)
CPG, VOTEQUORUM = 2, 5


def transitional(ring: RingId, members: tuple[NodeId, ...]) -> ConfigurationChanged:
    return ConfigurationChanged(ConfigurationKind.TRANSITIONAL, ring, members, (), (), "test")


def regular(ring: RingId, members: tuple[NodeId, ...]) -> ConfigurationChanged:
    return ConfigurationChanged(ConfigurationKind.REGULAR, ring, members, (), (), "test")


class NotedService:
    """Writes every call into a list that services share."""

    def __init__(self, service_id: int, calls: list[str], name: str) -> None:
        self._id = service_id
        self._calls = calls
        self._name = name
        self.refusals = 0
        self.initialised: tuple[tuple[NodeId, ...], tuple[NodeId, ...], RingId] | None = None
        self.engine: SyncEngine | None = None

    @property
    def service_id(self) -> int:
        return self._id

    def _note(self, call: str, *, collecting: bool) -> None:
        self._calls.append(f"{call} {self._name}")
        assert self.engine is None or self.engine.collecting is collecting

    def sync_init(self, transitional: tuple[NodeId, ...], members: tuple[NodeId, ...], ring: RingId) -> None:
        self._note("init", collecting=True)
        self.initialised = (transitional, members, ring)

    def sync_process(self) -> bool:
        self._note("process", collecting=True)
        self.refusals -= 1
        return self.refusals < 0

    def sync_activate(self) -> None:
        self._note("activate", collecting=False)

    def sync_abort(self) -> None:
        self._note("abort", collecting=False)


class Bench:
    """Node 1 of a ring of 1, 2 and 3, with cpg and votequorum; the others' messages are made by hand."""

    MEMBERS = (1, 2, 3)

    def __init__(self, *services: int) -> None:
        self.calls: list[str] = []
        self.sent: list[bytes] = []
        self.queue_full = False
        self.tokens_requested = 0
        self.completed: list[RingId] = []
        self.logged: list[tuple[str, str]] = []
        names = {CPG: "cpg", VOTEQUORUM: "votequorum"}
        self.services = [NotedService(ident, self.calls, names[ident]) for ident in services or (VOTEQUORUM, CPG)]
        self.engine = SyncEngine(
            self.services,
            1,
            self.send,
            self.request_token,
            self.completed.append,
            lambda *line: self.logged.append(line),
        )
        for service in self.services:
            service.engine = self.engine

    def send(self, body: bytes) -> bool:
        if not self.queue_full:
            self.sent.append(body)
        return not self.queue_full

    def request_token(self) -> None:
        self.tokens_requested += 1

    def start(self, ring: RingId = RING) -> None:
        self.engine.configuration_changed(transitional(ring, (1,)))
        self.engine.configuration_changed(regular(ring, self.MEMBERS))

    def builds(self, *services: int, ring: RingId = RING) -> None:
        for sender in self.MEMBERS:
            self.engine.message_received(sender, encode_service_build(ServiceBuild(ring, services)))

    def barriers(self, *senders: NodeId, ring: RingId = RING) -> None:
        for sender in senders or self.MEMBERS:
            self.engine.message_received(sender, encode_barrier(Barrier(ring)))

    def sent_messages(self) -> list[Barrier | ServiceBuild]:
        return [decode_sync(body) for body in self.sent]


def test_a_whole_round() -> None:
    bench = Bench()
    engine = bench.engine
    assert (engine.phase, engine.in_progress) == ("idle", False)
    engine.configuration_changed(transitional(RING, (1, 3)))
    assert (engine.phase, engine.in_progress) == ("waiting", True)
    engine.configuration_changed(regular(RING, (1, 2, 3)))
    assert (engine.phase, engine.missing) == ("build", (1, 2, 3))
    assert bench.calls == ["init cpg", "init votequorum"]
    assert bench.services[0].initialised == ((1, 3), (1, 2, 3), RING)
    bench.builds(CPG, VOTEQUORUM)
    assert engine.phase == "process cpg"
    engine.token_sent()
    assert engine.phase == "barrier cpg"
    engine.token_sent()
    bench.barriers(3, 1)
    assert engine.missing == (2,)
    bench.barriers(2)
    assert engine.phase == "process votequorum"
    engine.token_sent()
    assert (engine.phase, bench.completed) == ("barrier votequorum", [])
    bench.barriers()
    assert (engine.phase, engine.in_progress) == ("idle", False)
    assert len(engine.missing) == 0
    assert bench.completed == [RING]
    assert bench.calls[2:] == ["process cpg", "activate cpg", "process votequorum", "activate votequorum"]
    assert bench.sent_messages() == [ServiceBuild(RING, (CPG, VOTEQUORUM)), Barrier(RING), Barrier(RING)]
    assert bench.tokens_requested == 2
    assert any("Completed service synchronization" in text for _, text in bench.logged)


def test_services_that_only_others_have_get_a_barrier_too() -> None:
    bench = Bench(CPG)
    bench.start()
    bench.builds(0, 2, 3, 5, 700, -4)
    phases = []
    while bench.engine.in_progress:
        phases.append(bench.engine.phase)
        bench.engine.token_sent()
        bench.barriers()
    names = ("service -4", "cmap", "cpg", "quorum", "votequorum", "service 700")
    assert phases == [f"process {name}" for name in names]
    assert bench.sent_messages()[1:] == [Barrier(RING)] * 6
    assert bench.calls == ["init cpg", "process cpg", "activate cpg"]


def test_without_any_service_the_builds_suffice() -> None:
    completed: list[RingId] = []
    engine = SyncEngine([], 1, lambda body: True, lambda: None, completed.append, lambda level, text: None)
    engine.configuration_changed(regular(RING, (1,)))
    engine.message_received(1, encode_service_build(ServiceBuild(RING, ())))
    assert completed == [RING]


def test_unready_service_is_asked_again_after_each_token_but_hurries_none() -> None:
    bench = Bench(CPG)
    bench.start()
    bench.builds(CPG)
    bench.services[0].refusals = 2
    for _ in range(3):
        assert bench.engine.phase == "process cpg"
        bench.engine.token_sent()
    assert bench.engine.phase == "barrier cpg"
    assert bench.calls.count("process cpg") == 3
    assert bench.tokens_requested == 1


def test_full_queue_delays_build_and_barrier_but_does_not_repeat_the_state() -> None:
    bench = Bench(CPG)
    bench.queue_full = True
    bench.start()
    bench.engine.token_sent()
    bench.queue_full = False
    bench.engine.token_sent()
    bench.engine.token_sent()
    assert len(bench.sent) == 1
    bench.builds(CPG)
    bench.queue_full = True
    for _ in range(3):
        bench.engine.token_sent()
    bench.queue_full = False
    for _ in range(3):
        bench.engine.token_sent()
    assert bench.sent_messages() == [ServiceBuild(RING, (CPG,)), Barrier(RING)]
    assert bench.calls.count("process cpg") == 1


@pytest.mark.parametrize(
    ("steps", "aborted"),
    [
        (0, []),
        (1, ["abort cpg"]),
        (2, ["abort cpg"]),
        (3, ["abort votequorum"]),
        (4, ["abort votequorum"]),
        (5, []),
    ],
)
def test_abort_reaches_the_current_service_once(steps: int, aborted: list[str]) -> None:
    """Also one that waits for barriers, so that what it has collected does not leak into the next round."""
    bench = Bench()
    bench.start()
    engine = bench.engine
    actions = [lambda: bench.builds(2, 5), engine.token_sent, bench.barriers, engine.token_sent, bench.barriers]
    for action in actions[:steps]:
        action()
    bench.calls.clear()
    following = RingId(1, 13)
    bench.start(following)
    assert bench.calls == [*aborted, "init cpg", "init votequorum"]
    assert engine.stats.aborted == (steps < 5)
    bench.builds(CPG, VOTEQUORUM, ring=RING)
    bench.barriers(ring=RING)
    assert engine.phase == "build"
    assert engine.stats.strays == 6


def test_unsent_message_of_an_aborted_round_is_forgotten() -> None:
    bench = Bench(CPG)
    bench.queue_full = True
    bench.start()
    bench.engine.configuration_changed(transitional(RingId(1, 13), (1,)))
    bench.queue_full = False
    bench.engine.token_sent()
    assert bench.sent == []


def test_messages_out_of_place_are_counted_and_ignored() -> None:
    bench = Bench(CPG)
    bench.barriers()
    bench.builds(CPG)
    bench.start()
    bench.barriers()
    for stranger in (0, 4, 2**32 - 1):
        bench.engine.message_received(stranger, encode_service_build(ServiceBuild(RING, (CPG,))))
    assert (bench.engine.phase, bench.engine.missing) == ("build", (1, 2, 3))
    bench.builds(CPG)
    bench.builds(CPG, 99)
    bench.engine.token_sent()
    bench.barriers(2, 2, 4, 2, 3)
    assert bench.engine.missing == (1,)
    bench.barriers(1)
    assert bench.completed == [RING]
    bench.barriers()
    assert bench.engine.stats.strays == 6 + 3 + 3 + 3 + 1 + 3


def test_forged_barrier_in_our_name_takes_us_along_with_the_others() -> None:
    bench = Bench()
    bench.start()
    bench.builds(CPG, VOTEQUORUM)
    bench.queue_full = True
    bench.engine.token_sent()
    bench.barriers()
    bench.queue_full = False
    assert bench.engine.phase == "process votequorum"
    bench.engine.token_sent()
    assert bench.calls[-1] == "process votequorum"


def test_absurd_number_of_services_is_cut_to_the_same_list_everywhere() -> None:
    bench = Bench(CPG)
    bench.start()
    for sender in (1, 2, 3):
        ids = tuple(range(sender * 1000, sender * 1000 + SYNC_SERVICES_MAX))
        bench.engine.message_received(sender, encode_service_build(ServiceBuild(RING, ids)))
    rounds = 0
    while bench.engine.in_progress:
        bench.engine.token_sent()
        bench.barriers()
        rounds += 1
    assert rounds == SYNC_SERVICES_MAX
    assert any(level == "warning" for level, _ in bench.logged)


def test_malformed_messages_are_counted() -> None:
    bench = Bench()
    bench.start()
    for body in (b"", bytes(31), b"\7" + bytes(600), encode_service_build(ServiceBuild(RING, ()))[:-1]):
        bench.engine.message_received(2, body)
    assert bench.engine.stats.malformed == 4
    assert bench.engine.phase == "build"


def test_configuration_without_this_node_is_a_defect_below() -> None:
    bench = Bench()
    with pytest.raises(ValueError, match="lacks this node"):
        bench.engine.configuration_changed(regular(RING, (2, 3)))


@given(st.lists(st.tuples(st.integers(0, 4), st.one_of(st.binary(max_size=600), st.integers(0, 5)))))
def test_any_messages_are_taken(messages: list[tuple[NodeId, bytes | int]]) -> None:
    bench = Bench()
    bench.start()
    for sender, message in messages:
        if message == 0:
            bench.engine.token_sent()
        elif message == 1:
            bench.start()
        elif message in (2, 3):
            bench.barriers(sender)
        elif isinstance(message, int):
            bench.engine.message_received(sender, encode_service_build(ServiceBuild(RING, (message,))))
        else:
            bench.engine.message_received(sender, message)
    assert bench.engine.phase


class State(NamedTuple):
    """A service's state on the bus."""

    service: int
    ring: RingId


class BusService:
    """Multicasts one state per round; checks that all members' states are there when it is activated."""

    def __init__(self, node: "BusNode", service_id: int) -> None:
        self._node = node
        self._id = service_id
        self.collected: set[NodeId] = set()
        self.step = "activate"

    @property
    def service_id(self) -> int:
        return self._id

    def sync_init(self, transitional: tuple[NodeId, ...], members: tuple[NodeId, ...], ring: RingId) -> None:
        assert ring == self._node.ring
        assert set(transitional) <= set(members)
        self.step = "init"
        self.collected.clear()

    def sync_process(self) -> bool:
        assert self.step == "init"
        if not self._node.put(State(self._id, self._node.ring)):
            return False
        self.step = "process"
        return True

    def sync_activate(self) -> None:
        assert self.step == "process"
        self.step = "activate"
        world = self._node.world
        assert self.collected == {
            one for one in world.members[self._node.ring] if self._id in world.nodes[one].services
        }

    def sync_abort(self) -> None:
        assert self.step in ("init", "process")
        self.step = "abort"


class BusNode:
    """An engine with its services, its send queue, and its place in the order of its ring."""

    def __init__(self, world: "Bus", nodeid: NodeId, services: tuple[int, ...]) -> None:
        self.world = world
        self.nodeid = nodeid
        self.services = {ident: BusService(self, ident) for ident in services}
        self.engine = SyncEngine(
            self.services.values(), nodeid, self.put, lambda: None, self.round_completed, lambda level, text: None
        )
        self.queue: deque[State | bytes] = deque()
        self.position = 0
        self.ring = RingId(nodeid, 0)
        self.completed: RingId | None = None
        self.pending: RingId | None = None

    def put(self, message: State | bytes) -> bool:
        if len(self.queue) >= 3:
            return False
        self.queue.append(message)
        return True

    def round_completed(self, ring: RingId) -> None:
        assert ring == self.ring
        assert self.world.installed[ring] == set(self.world.members[ring]), "a member never had this configuration"
        assert all(service.step == "activate" for service in self.services.values())
        self.completed = ring

    def deliver(self, count: int) -> None:
        for sender, message in self.world.orders[self.ring][self.position : self.position + count]:
            self.position += 1
            if isinstance(message, bytes):
                self.engine.message_received(sender, message)
            elif message.ring == self.ring and message.service in self.services:
                self.services[message.service].collected.add(sender)

    def install(self, before: int) -> None:
        """Move on to the pending ring; so many messages of the old one come before the change, the rest behind."""
        ring = self.pending
        if ring is None:
            return
        self.pending = None
        old = self.ring
        together = tuple(one for one in self.world.members[ring] if self.world.nodes[one].ring == old)
        self.deliver(before)
        self.engine.configuration_changed(transitional(ring, together))
        self.deliver(len(self.world.orders[old]))
        self.ring, self.position = ring, 0
        self.world.installed[ring].add(self.nodeid)
        self.engine.configuration_changed(regular(ring, self.world.members[ring]))


class Bus(RuleBasedStateMachine):
    """Rings come and go in the middle of rounds; nodes lag; whatever happened, the last ring synchronizes."""

    SERVICES = ((0, 2, 3, 5), (2, 5), (2, 3, 9), ())
    NODES = st.sampled_from(range(1, len(SERVICES) + 1))

    def __init__(self) -> None:
        super().__init__()
        self.seq = 1
        self.orders: dict[RingId, list[tuple[NodeId, State | bytes]]] = {}
        self.members: dict[RingId, tuple[NodeId, ...]] = {}
        self.installed: dict[RingId, set[NodeId]] = {}
        self.nodes = {nodeid: BusNode(self, nodeid, services) for nodeid, services in enumerate(self.SERVICES, 1)}
        for node in self.nodes.values():
            self.orders[node.ring] = []
            self.propose({node.nodeid})
            node.install(0)

    def propose(self, members: set[NodeId]) -> None:
        self.seq += 4
        ring = RingId(min(members), self.seq)
        self.orders[ring] = []
        self.members[ring] = tuple(sorted(members))
        self.installed[ring] = set()
        for nodeid in members:
            self.nodes[nodeid].pending = ring

    @rule(members=st.sets(NODES, min_size=1))
    def change(self, members: set[NodeId]) -> None:
        self.propose(members)

    @rule(nodeid=NODES, before=st.integers(0, 10))
    def install(self, nodeid: NodeId, before: int) -> None:
        self.nodes[nodeid].install(before)

    @rule(nodeid=NODES, messages=st.integers(0, 3))
    def token(self, nodeid: NodeId, messages: int) -> None:
        node = self.nodes[nodeid]
        for _ in range(min(messages, len(node.queue))):
            self.orders[node.ring].append((nodeid, node.queue.popleft()))
        node.engine.token_sent()

    @rule(nodeid=NODES, messages=st.integers(1, 20))
    def deliver(self, nodeid: NodeId, messages: int) -> None:
        self.nodes[nodeid].deliver(messages)

    @rule()
    def calm(self) -> None:
        for _ in range(4):
            for nodeid in self.nodes:
                self.token(nodeid, 3)
            for nodeid in self.nodes:
                self.deliver(nodeid, 100)

    @rule()
    def install_everywhere(self) -> None:
        for nodeid in self.nodes:
            self.install(nodeid, 100)

    def teardown(self) -> None:
        self.propose(set(self.nodes))
        final = self.nodes[1].pending
        for nodeid in self.nodes:
            if nodeid > 1:
                self.install(nodeid, 100)
        for _ in range(8):
            self.calm()
        assert not any(node.completed == final for node in self.nodes.values()), "node 1 has not installed it"
        self.install(1, 100)
        for _ in range(8):
            self.calm()
        for node in self.nodes.values():
            assert (node.completed, node.engine.phase) == (final, "idle")


TestBus = Bus.TestCase
TestBus.settings = settings(max_examples=80, stateful_step_count=50)
