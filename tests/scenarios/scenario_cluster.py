"""A small cluster without chance: every packet takes the same time, arrives in the order in which it was sent, and is
lost only by a rule. Of rings alone, or of whole nodes, one process on each in a group."""

from __future__ import annotations

import heapq
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from math import inf
from random import Random

from totemd.config import load
from totemd.config.model import Configuration
from totemd.ids import NodeId
from totemd.node import Node
from totemd.node.effects import Exit, NodeEffect, PersistFile
from totemd.services.cpg import CpgDelivered, EndpointState
from totemd.services.quorum import MODEL_NOTIFICATION, QuorumNotification
from totemd.services.votequorum.service import decode_ev_tracking
from totemd.sim.render import configuration_line, datagram_line
from totemd.totem.api import ConfigurationChanged
from totemd.totem.core import Core, State
from totemd.totem.effects import Broadcast, PersistRingSeq, Unicast
from totemd.totem.ring import Ring
from totemd.wire.packets import Mcast, PacketType, decode_packet

HOP_S = 0.0005
GROUP = b"scenario"
EV_TRACKING = "ev_tracking"

WORDS = {
    "token": PacketType.ORF_TOKEN,
    "mcast": PacketType.MCAST,
    "merge": PacketType.MERGE_DETECT,
    "join": PacketType.JOIN,
    "commit": PacketType.COMMIT_TOKEN,
    "cancel": PacketType.HOLD_CANCEL,
}
"""Kinds of packets, as transcripts name them."""


def address(nodeid: NodeId) -> str:
    return f"10.0.0.{nodeid}"


@lru_cache(maxsize=64)
def configuration(nodeid: NodeId, nodes: int, quorum: str, totem: str) -> Configuration:
    """Node `nodeid` of `nodes`; token timeout 1 s, consensus 1.2 s."""
    listed = "".join(f"node {{\n ring0_addr: {address(i)}\n nodeid: {i}\n}}\n" for i in range(1, nodes + 1))
    text = (
        f"totem {{\n version: 2\n cluster_name: s\n transport: udp\n token: 1000\n token_coefficient: 0\n"
        f" direct_token: no\n{totem}\n}}\n"
        f"nodelist {{\n{listed}}}\nquorum {{\n provider: corosync_votequorum\n{quorum}\n}}\n"
    )
    return load(text, file="scenario", resolve=lambda name, version: [], local_addresses=[address(nodeid)])


@dataclass
class Loss:
    """A rule: such packets do not arrive; `left` of them, or all."""

    kind: str
    source: NodeId | None
    target: NodeId | None
    seq: int | None
    left: float = inf

    def takes(self, source: NodeId, target: NodeId, data: bytes) -> bool:
        if self.left <= 0 or self.source not in (None, source) or self.target not in (None, target):
            return False
        if self.kind != "all" and data[3] != WORDS[self.kind]:
            return False
        if self.seq is not None:
            packet = decode_packet(data)
            if not isinstance(packet, Mcast) or packet.seq != self.seq:
                return False
        self.left -= 1
        return True


class Member(ABC):
    """One node's life, and what it says of it: lines for the transcript."""

    core: Core

    def __init__(self, cluster: Cluster, nodeid: NodeId) -> None:
        self.cluster = cluster
        self.nodeid = nodeid
        self.alive = True
        self.effects: list[NodeEffect] = []
        self.delivered: list[str] = []

    @abstractmethod
    def start(self) -> None:
        """Begin."""

    @abstractmethod
    def receive(self, data: bytes, source: NodeId) -> None:
        """A datagram."""

    @abstractmethod
    def handle_timer(self) -> None:
        """Do what is due."""

    @abstractmethod
    def next_deadline(self) -> float:
        """When that is."""

    @abstractmethod
    def send(self, text: str, *, safe: bool) -> None:
        """Multicast; ServiceError if that is refused."""

    @abstractmethod
    def leave(self) -> None:
        """Stop with a goodbye."""

    @property
    def whole_node(self) -> Node | None:
        """The node, if it is more than a ring."""
        return None

    def say(self, text: str) -> None:
        self.cluster.say(f"n{self.nodeid} {text}")

    @abstractmethod
    def settled_down(self) -> None:
        """All that the last input brought is done."""

    def heard(self, sender: NodeId, data: bytes) -> None:
        text = data.decode("utf-8", "replace")
        self.delivered.append(f"{sender}:{text}")
        self.say(f"delivered {sender}:{text}")


class RingMember(Member):
    """A ring alone; it is synchronized as soon as it is installed."""

    def __init__(self, cluster: Cluster, nodeid: NodeId) -> None:
        super().__init__(cluster, nodeid)
        totem = configuration(nodeid, cluster.nodes, "", cluster.totem).totem
        stored = cluster.disk.get(nodeid, 0)
        self.ring = Ring(nodeid, totem, stored, self, Random(nodeid).random, self.effects.append)
        self.core = self.ring.core

    def start(self) -> None:
        self.ring.start(self.cluster.now)

    def receive(self, data: bytes, source: NodeId) -> None:
        self.ring.receive(decode_packet(data), self.cluster.now)

    def handle_timer(self) -> None:
        self.ring.handle_timer(self.cluster.now)

    def next_deadline(self) -> float:
        return self.ring.next_deadline()

    def send(self, text: str, *, safe: bool) -> None:
        if not self.ring.submit(text.encode(), safe):
            self.say("the send queue is full")

    def leave(self) -> None:
        self.ring.leave(self.cluster.now)
        self.alive = False

    def settled_down(self) -> None: ...

    # What the ring calls

    def packet_delivered(self, sender: NodeId, payload: bytes) -> None:
        self.heard(sender, payload)

    def configuration_changed(self, change: ConfigurationChanged) -> None:
        self.say(configuration_line(change))

    def token_received(self) -> None: ...

    def token_sent(self) -> None:
        if self.ring.state is State.OPERATIONAL and self.core.waiting_trans_ack:
            self.ring.synchronized()

    def waits_for_token(self) -> bool:
        return self.ring.core.waiting_trans_ack

    def switch_reassembly(self) -> None: ...


class NodeMember(Member):
    """A whole node with a process in a group."""

    def __init__(self, cluster: Cluster, nodeid: NodeId) -> None:
        super().__init__(cluster, nodeid)
        tracked = cluster.files.get((nodeid, EV_TRACKING))
        self.node = Node(
            configuration(nodeid, cluster.nodes, cluster.quorum, cluster.totem),
            stored_ring_seq=cluster.disk.get(nodeid, 0),
            tracked_expected_votes=None if tracked is None else decode_ev_tracking(tracked),
            incarnation="s",
            own_uid=0,
            random=Random(nodeid).random,
            emit=self.effects.append,
            now=cluster.now,
        )
        self.core = self.node.ring.core
        self._verdict: QuorumNotification | None = None

    @property
    def whole_node(self) -> Node:
        return self.node

    def start(self) -> None:
        self.node.subscribe_membership(self)
        self.node.quorum.track_start(self, MODEL_NOTIFICATION, current=False, changes=True)
        self.node.start(self.cluster.now)

    def receive(self, data: bytes, source: NodeId) -> None:
        self.node.receive_datagrams([(data, address(source))], self.cluster.now)

    def handle_timer(self) -> None:
        self.node.handle_timer(self.cluster.now)

    def next_deadline(self) -> float:
        return self.node.next_deadline()

    def send(self, text: str, *, safe: bool) -> None:
        self.node.now = self.cluster.now
        self.node.cpg.multicast(self, text.encode(), safe=safe)

    def leave(self) -> None:
        self.node.leave(self.cluster.now)

    def settled_down(self) -> None:
        """Join the group as soon as that is possible."""
        if self.node.cpg.state(self) is EndpointState.UNJOINED and not self.node.sync_in_progress:
            self.node.now = self.cluster.now
            self.node.cpg.join(self, GROUP, self.nodeid)

    def push(self, event: object) -> None:
        """What the node tells its clients."""
        if isinstance(event, ConfigurationChanged):
            self.say(configuration_line(event))
        elif isinstance(event, CpgDelivered):
            self.heard(event.nodeid, event.data)
        elif isinstance(event, QuorumNotification) and event != self._verdict:
            self._verdict = event
            members = ",".join(map(str, event.members))
            self.say(f"{'quorate' if event.quorate else 'not quorate'} members={members}")


class Cluster:
    """The nodes and what is between them."""

    def __init__(self, nodes: int, *, rings: bool, quorum: str, totem: str, say: Callable[[str], None]) -> None:
        self.nodes = nodes
        self.rings = rings
        self.quorum = quorum
        self.totem = totem
        self.say = say
        self.now = 0.0
        self.trace = False
        self.members: dict[NodeId, Member] = {}
        self.disk: dict[NodeId, int] = {}
        self.files: dict[tuple[NodeId, str], bytes] = {}
        self.component: dict[NodeId, int] = {}
        self.losses: list[Loss] = []
        self.paused: set[NodeId] = set()
        self._flying: list[tuple[float, int, NodeId, NodeId, bytes]] = []
        self._numbers: Iterator[int] = count()

    def start(self, nodeid: NodeId) -> None:
        member: Member = RingMember(self, nodeid) if self.rings else NodeMember(self, nodeid)
        self.members[nodeid] = member
        member.start()
        self.perform(member)

    def living(self) -> list[Member]:
        return [member for _, member in sorted(self.members.items()) if member.alive]

    def perform(self, member: Member) -> list[NodeEffect]:
        """Carry out what a node wants done; gives it, too."""
        if member.alive:
            member.settled_down()
        effects, member.effects[:] = member.effects[:], []
        for effect in effects:
            if isinstance(effect, Broadcast):
                for target in range(1, self.nodes + 1):
                    if target != member.nodeid:
                        self._send(member.nodeid, target, effect.data)
            elif isinstance(effect, Unicast):
                self._send(member.nodeid, effect.nodeid, effect.data)
            elif isinstance(effect, PersistRingSeq):
                self.disk[member.nodeid] = effect.seq
            elif isinstance(effect, PersistFile):
                self.files[member.nodeid, effect.name] = effect.data
            elif isinstance(effect, Exit):
                member.alive = False
                member.say(f"exit {effect.status}: {effect.reason}")
        return effects

    def _send(self, source: NodeId, target: NodeId, data: bytes) -> None:
        heapq.heappush(self._flying, (self.now + HOP_S, next(self._numbers), source, target, data))

    def step(self, end: float = inf) -> bool:
        """The next packet or timer, if it is due before `end`."""
        awake = [member for member in self.living() if member.nodeid not in self.paused]
        deadline, nodeid = min(((each.next_deadline(), each.nodeid) for each in awake), default=(inf, 0))
        packet_at = self._flying[0][0] if self._flying else inf
        if min(deadline, packet_at) >= end:
            self.now = max(self.now, end)
            return False
        if deadline < packet_at:
            self.now = max(self.now, deadline)
            self.members[nodeid].handle_timer()
            self.perform(self.members[nodeid])
        else:
            at, _, source, target, data = heapq.heappop(self._flying)
            self.now = max(self.now, at)
            self._arrive(source, target, data)
        return True

    def _arrive(self, source: NodeId, target: NodeId, data: bytes) -> None:
        member = self.members.get(target)
        if member is None or not member.alive or target in self.paused:
            return
        if self.component.get(source, 0) != self.component.get(target, 0):
            return
        lost = any(loss.takes(source, target, data) for loss in self.losses)
        if self.trace:
            self.say(f"{source}>{target} {'LOST ' if lost else ''}{datagram_line(data)}")
        if not lost:
            member.receive(data, source)
            self.perform(member)

    def run(self, duration_s: float, until: Callable[[], bool]) -> bool:
        """Let time pass; True as soon as `until` holds."""
        end = self.now + duration_s
        while not until():
            if not self.step(end):
                return until()
        return True

    def formed(self, nodes: tuple[NodeId, ...]) -> bool:
        """Whether these nodes are one ring, installed by all and synchronized."""
        members = [self.members[nodeid] for nodeid in nodes if nodeid in self.members]
        return len(members) == len(nodes) and all(self._is_in(member, nodes) for member in members)

    def _is_in(self, member: Member, nodes: tuple[NodeId, ...]) -> bool:
        core, node = member.core, member.whole_node
        if core.state is not State.OPERATIONAL or core.memb != nodes or not core.settled:
            return False
        if core.ring != self.members[nodes[0]].core.ring:
            return False
        return not core.waiting_trans_ack if node is None else not node.synchronizing
