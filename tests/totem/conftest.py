"""A cluster of production rings over a virtual clock; packets cross it as bytes and may get lost."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import pytest

from totemd.config.model import TotemParameters
from totemd.ids import NodeId
from totemd.totem.api import ConfigurationChanged
from totemd.totem.core import State
from totemd.totem.effects import Broadcast, PersistRingSeq, RingEffect, Unicast
from totemd.totem.ring import Ring
from totemd.wire.packets import decode_packet

SHORT = TotemParameters(
    token_timeout_s=1.0,
    token_retransmit_timeout_s=0.238,
    token_hold_timeout_s=0.18,
    consensus_timeout_s=1.2,
)


@dataclass
class Member:
    """One node: its ring, and everything it handed up."""

    cluster: Cluster
    nodeid: NodeId
    stored_seq: int = 0
    log: list[object] = field(default_factory=list)
    synchronize: bool = True
    alive: bool = False
    effects: list[RingEffect] = field(default_factory=list)
    ring: Ring = field(init=False)

    def start(self) -> None:
        """A (new) life, with what the disk holds."""
        rng = Random(f"{self.nodeid} {self.cluster.now}")
        self.effects = []
        self.ring = Ring(self.nodeid, self.cluster.parameters, self.stored_seq, self, rng.random, self.effects.append)
        self.log = []
        self.alive = True
        self.ring.start(self.cluster.now)
        self.cluster.perform(self)

    def send(self, payload: bytes, *, safe: bool = False) -> bool:
        """Submit one packet."""
        accepted = self.ring.submit(payload, safe)
        self.cluster.perform(self)
        return accepted

    def packet_delivered(self, sender: NodeId, payload: bytes) -> None:
        self.log.append((sender, payload))

    def configuration_changed(self, change: ConfigurationChanged) -> None:
        self.log.append(change)

    def token_received(self) -> None: ...

    def token_sent(self) -> None:
        if self.synchronize and self.ring.state is State.OPERATIONAL and self.ring.core.waiting_trans_ack:
            self.ring.synchronized()

    def waits_for_token(self) -> bool:
        return self.ring.core.waiting_trans_ack

    def switch_reassembly(self) -> None: ...

    @property
    def messages(self) -> list[tuple[NodeId, bytes]]:
        """What was delivered, without the configurations."""
        return [entry for entry in self.log if isinstance(entry, tuple)]


class Cluster:
    """Nodes, a clock and a network that delays and loses packets at random, by one seed."""

    def __init__(self, nodes: int, *, seed: int = 0, loss: float = 0.0, parameters: TotemParameters = SHORT) -> None:
        self.now = 0.0
        self.random = Random(seed)
        self.loss = loss
        self.parameters = parameters
        self.component: dict[NodeId, int] = {}
        self.drop: Callable[[NodeId, NodeId, bytes], bool] = lambda source, target, data: False
        self.members = {nodeid: Member(self, nodeid) for nodeid in range(1, nodes + 1)}
        self._queue: list[tuple[float, int, NodeId, NodeId, bytes]] = []
        self._count = 0

    def start(self, *nodes: NodeId) -> None:
        """Start some nodes, or all."""
        for nodeid in nodes or self.members:
            self.members[nodeid].start()

    def crash(self, nodeid: NodeId) -> None:
        """Kill a node."""
        self.members[nodeid].alive = False

    def partition(self, *components: tuple[NodeId, ...]) -> None:
        """Split the network; none: heal it."""
        self.component = {nodeid: index for index, part in enumerate(components) for nodeid in part}

    def perform(self, member: Member) -> None:
        """Carry a node's effects out, in order."""
        effects = member.effects[:]
        member.effects.clear()
        for effect in effects:
            self._effect(member, effect)

    def _effect(self, member: Member, effect: RingEffect) -> None:
        if isinstance(effect, Broadcast):
            for nodeid in self.members:
                if nodeid != member.nodeid:
                    self._send(member.nodeid, nodeid, effect.data)
        elif isinstance(effect, Unicast):
            self._send(member.nodeid, effect.nodeid, effect.data)
        elif isinstance(effect, PersistRingSeq):
            member.stored_seq = effect.seq

    def _send(self, source: NodeId, target: NodeId, data: bytes) -> None:
        if self.component.get(source, 0) != self.component.get(target, 0):
            return
        if self.random.random() < self.loss or self.drop(source, target, data):
            return
        self._count += 1
        delay = self.random.uniform(0.00005, 0.0004)
        heapq.heappush(self._queue, (self.now + delay, self._count, source, target, data))

    def run(self, duration_s: float, until: Callable[[], bool] | None = None) -> bool:
        """Let time pass, at most `duration_s`; True as soon as `until` holds."""
        end = self.now + duration_s
        while True:
            if until is not None and until():
                return True
            alive = [member for member in self.members.values() if member.alive]
            deadline, _, nodeid = min(
                ((member.ring.next_deadline(), member.nodeid, member.nodeid) for member in alive),
                default=(end, 0, 0),
            )
            packet_at = self._queue[0][0] if self._queue else end
            if min(deadline, packet_at) >= end:
                self.now = end
                return until is not None and until()
            if deadline <= packet_at:
                self.now = max(self.now, deadline)
                self.members[nodeid].ring.handle_timer(self.now)
                self.perform(self.members[nodeid])
            else:
                at, _, source, target, data = heapq.heappop(self._queue)
                self.now = max(self.now, at)
                member = self.members[target]
                if member.alive:
                    datagrams = [(data, str(source))]
                    if not member.ring.receive_plain_token(
                        data, source, self.now
                    ) and not member.ring.receive_plain_messages(datagrams, 0, int, self.now):
                        member.ring.receive(decode_packet(data), self.now)
                    self.perform(member)

    def formed(self, *nodes: NodeId) -> bool:
        """Whether these nodes (default: all that live) are in one operational ring."""
        wanted = nodes or tuple(nodeid for nodeid, member in self.members.items() if member.alive)
        rings = {self.members[nodeid].ring.ring for nodeid in wanted}
        return len(rings) == 1 and all(
            self.members[nodeid].ring.state is State.OPERATIONAL and self.members[nodeid].ring.members == wanted
            for nodeid in wanted
        )


@pytest.fixture
def make_cluster() -> type[Cluster]:
    """The class, for tests that choose size, seed and loss."""
    return Cluster
