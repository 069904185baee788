"""Sessions, challenges and rotations over a network that loses, delays, repeats and plays old recordings."""

from __future__ import annotations

from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sealed_nodes import KEY, SealedNode
from totemd.ids import NodeId
from totemd.seal import KeyRing, new_key
from totemd.seal.datagram import HEADER_SIZE

NODES = (1, 2, 3)
nodeids = st.sampled_from(NODES)


class Boot(SealedNode):
    """One boot, numbered by the step at which it began."""

    def __init__(self, nodeid: NodeId, random: Random, keys: KeyRing, step: int) -> None:
        super().__init__(nodeid, random, keys=keys)
        self.step = step


class BadNetwork(RuleBasedStateMachine):
    """Three nodes, restarted at will; each packet of the ring says which boot said it, and when."""

    def __init__(self) -> None:
        super().__init__()
        self.random = Random(1)
        self.now = 0.0
        self.step = 0
        self.keys = KeyRing(KEY)
        self.phase = dict.fromkeys(NODES, 0)
        self.under_way: list[tuple[NodeId, NodeId | None, bytes]] = []
        self.recorded: list[tuple[NodeId, NodeId | None, bytes]] = []
        self.nonces: set[bytes] = set()
        self.nodes: dict[NodeId, Boot] = {}
        for nodeid in NODES:
            self._boot(nodeid)

    # What happens

    def _boot(self, nodeid: NodeId) -> None:
        self.step += 1
        old = self.nodes.get(nodeid)
        self.nodes[nodeid] = Boot(nodeid, self.random, self.keys if old is None else old.seal.keys, self.step)
        self.nodes[nodeid].seal.start(self.now)
        self._collect()

    def _collect(self) -> None:
        for node in self.nodes.values():
            for target, data in node.take():
                self._send(node.nodeid, target, data)

    def _send(self, source: NodeId, target: NodeId | None, data: bytes) -> None:
        """What is on the wire; no key is used with a nonce twice, ever."""
        assert data[5:HEADER_SIZE] not in self.nonces
        self.nonces.add(data[5:HEADER_SIZE])
        for nodeid in NODES:
            if nodeid != source and target in (None, nodeid):
                self.under_way.append((source, nodeid, data))
                self.recorded.append((source, nodeid, data))

    def _say(self, nodeid: NodeId, to: NodeId | None = None) -> None:
        self.step += 1
        node = self.nodes[nodeid]
        target = to if to != nodeid else None
        self._send(nodeid, target, node.seal.seal(b"%d %d %d" % (node.step, self.step, target or 0), target))

    def _deliver(self, datagram: tuple[NodeId, NodeId | None, bytes]) -> None:
        _, target, data = datagram
        assert target is not None
        node = self.nodes[target]
        if node.receive(data, self.now):
            self._check_heard(node)
        self._collect()

    def _check_heard(self, node: Boot) -> None:
        sender, data = node.heard[-1]
        boot, step, target = map(int, data.split())
        assert target in (0, node.nodeid), "not for this node"
        assert (sender, data) not in node.heard[:-1], "a packet counted twice"
        assert step > node.step, "said before the receiver began"
        boots = [int(heard.split()[0]) for who, heard in node.heard if who == sender]
        assert boots == sorted(boots), "an old session came back"
        assert boot <= self.nodes[sender].step

    @rule(nodeid=nodeids)
    def restart(self, nodeid: NodeId) -> None:
        self._boot(nodeid)

    @rule(nodeid=nodeids, to=st.sampled_from((None, *NODES)))
    def say(self, nodeid: NodeId, to: NodeId | None) -> None:
        self._say(nodeid, to)

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def deliver_some(self, data: st.DataObject) -> None:
        """In another order than they were sent."""
        for _ in range(data.draw(st.integers(1, 6))):
            if self.under_way:
                self._deliver(self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1))))

    @precondition(lambda self: self.under_way)
    @rule()
    def deliver_all(self) -> None:
        self._settle()

    @precondition(lambda self: self.under_way)
    @rule(share=st.sampled_from((0.2, 0.5, 1.0)), seed=st.integers(0, 9))
    def lose(self, share: float, seed: int) -> None:
        lottery = Random(seed)
        self.under_way = [datagram for datagram in self.under_way if lottery.random() > share]

    @precondition(lambda self: self.recorded)
    @rule(data=st.data())
    def play_a_recording(self, data: st.DataObject) -> None:
        """Any datagrams of the past, to anybody."""
        for _ in range(data.draw(st.integers(1, 8))):
            source, _, datagram = self.recorded[data.draw(st.integers(0, len(self.recorded) - 1))]
            self._deliver((source, data.draw(nodeids), datagram))

    @rule(source=nodeids, victim=nodeids, kept=st.integers(1, 4))
    def play_all_of_a_node(self, source: NodeId, victim: NodeId, kept: int) -> None:
        """All that it has ever sent, or every second, third, fourth datagram of it, in order."""
        for datagram in [one for one in self.recorded if one[0] == source][-200::kept]:
            self._deliver((source, victim, datagram[2]))

    @rule(seconds=st.sampled_from((0.01, 0.07, 0.3, 1.1, 3.0)))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        for node in self.nodes.values():
            if node.seal.next_deadline() <= self.now:
                node.seal.handle_timer(self.now)
        self._collect()

    @rule(nodeid=nodeids)
    def go_on_with_the_rotation(self, nodeid: NodeId) -> None:
        """Accept, send, settle; nobody goes ahead before the others have done the step before."""
        if self.phase[nodeid] > min(self.phase.values()):
            return
        if not any(phase > self.phase[nodeid] for phase in self.phase.values()) and self.phase[nodeid] % 3 == 0:
            self.coming = new_key(self.random.randbytes)
        self.phase[nodeid] += 1
        seal = self.nodes[nodeid].seal
        if self.phase[nodeid] % 3 == 1:
            seal.accept_key(self.coming)
        elif self.phase[nodeid] % 3 == 2:
            seal.set_keys(seal.keys.sending_with(self.coming))
        else:
            seal.set_keys(seal.keys.settled())
        self._collect()

    # What must hold

    @invariant()
    def nothing_grows(self) -> None:
        for node in self.nodes.values():
            assert len(node.seal._handshake.peers) <= len(NODES)
            assert len(node.seal._openers) <= 4 * len(NODES)
            assert len(node.seal.counters) < 20

    def _settle(self) -> None:
        for _ in range(2000):
            if not self.under_way:
                return
            self._deliver(self.under_way.pop(0))
        raise AssertionError("they talk for ever")

    def teardown(self) -> None:
        """Once nothing is lost any more, all hear all, soon."""
        for _ in range(30):
            self.wait(0.1)
            for nodeid in NODES:
                self._say(nodeid)
            self._settle()
        for node in self.nodes.values():
            last = {who: int(data.split()[0]) for who, data in node.heard}
            assert last == {nodeid: other.step for nodeid, other in self.nodes.items() if other is not node}


TestBadNetwork = BadNetwork.TestCase
TestBadNetwork.settings = settings(max_examples=60, stateful_step_count=40)
