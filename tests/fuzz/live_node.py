"""A production node in the middle of its life, and what its peers say to it: the ground on which packets are fuzzed.

Three nodes meet once, in memory and without chance; what each received is kept. A fuzzing run gives a fresh node a
part of that, so that it stands in any phase from its start to a busy ring, and goes on with packets of its own making.
What comes next in the record fits a node in that phase, so the record can be continued, and changed here and there.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Callable
from functools import lru_cache
from itertools import count
from random import Random

from small_configuration import small_configuration
from totemd.config.model import Configuration
from totemd.errors import ServiceError
from totemd.ids import NodeId
from totemd.limits import REASSEMBLY_SIZE_MAX, SEQUENCE_WINDOW
from totemd.node import Node
from totemd.node.effects import Exit, NodeEffect
from totemd.totem.effects import Broadcast, Unicast

NODES = 3

_HOP_S = 0.0003


def address(nodeid: NodeId) -> str:
    return f"10.0.0.{nodeid}"


@lru_cache(maxsize=8)
def configuration(nodeid: NodeId, nodes: int) -> Configuration:
    everybody = [address(each) for each in range(1, nodes + 1)]
    return small_configuration(*everybody, local=address(nodeid), totem="token: 300\ntoken_coefficient: 0")


class Host:
    """One node and the effects that it has asked for since they were last taken."""

    def __init__(self, nodeid: NodeId, nodes: int, now: float = 0.0) -> None:
        self.effects: list[NodeEffect] = []
        self.exited = False
        self.node = Node(
            configuration(nodeid, nodes),
            stored_ring_seq=0,
            tracked_expected_votes=None,
            incarnation="f",
            own_uid=0,
            random=Random(nodeid).random,
            emit=self.effects.append,
            now=now,
        )

    def take(self) -> list[NodeEffect]:
        effects, self.effects[:] = self.effects[:], []
        self.exited = self.exited or any(isinstance(effect, Exit) for effect in effects)
        return effects


Step = Callable[[Node], None]
"""Something that happened to a node, to be done again to another one."""


class _Listener:
    def push(self, event: object) -> None:
        pass


class _Meeting:
    """The nodes' first second, in which each joins a group and sends."""

    def __init__(self) -> None:
        self.hosts = {nodeid: Host(nodeid, NODES) for nodeid in range(1, NODES + 1)}
        self.steps: dict[NodeId, list[tuple[float, Step]]] = {nodeid: [] for nodeid in self.hosts}
        self.datagrams: dict[NodeId, list[tuple[bytes, str]]] = {nodeid: [] for nodeid in self.hosts}
        self.received_at: dict[NodeId, list[int]] = {nodeid: [] for nodeid in self.hosts}
        """After how many steps each datagram came."""
        self._queue: list[tuple[float, int, NodeId, Step]] = []
        self._number = count()

    def at(self, time: float, nodeid: NodeId, step: Step) -> None:
        heapq.heappush(self._queue, (time, next(self._number), nodeid, step))

    def run(self, until: float) -> None:
        now = 0.0
        while True:
            deadline, nodeid = min((host.node.next_deadline(), nodeid) for nodeid, host in self.hosts.items())
            packet_at = self._queue[0][0] if self._queue else until
            if min(deadline, packet_at) >= until:
                return
            if deadline <= packet_at:
                now = max(now, deadline)
                self.do(now, nodeid, lambda node, now=now: node.handle_timer(now))  # type: ignore[misc]
            else:
                time, _, nodeid, step = heapq.heappop(self._queue)
                now = max(now, time)
                self.do(now, nodeid, step)

    def do(self, now: float, nodeid: NodeId, step: Step) -> None:
        host = self.hosts[nodeid]
        self.steps[nodeid].append((now, step))
        host.node.now = now
        step(host.node)
        for effect in host.take():
            if isinstance(effect, Unicast):
                self.send(now, nodeid, effect.nodeid, effect.data)
            elif isinstance(effect, Broadcast):
                for target in self.hosts:
                    if target != nodeid:
                        self.send(now, nodeid, target, effect.data)

    def send(self, now: float, source: NodeId, target: NodeId, data: bytes) -> None:
        at = now + _HOP_S
        datagram = (data, address(source))

        def arrive(node: Node) -> None:
            if node is self.hosts[target].node:
                self.datagrams[target].append(datagram)
                self.received_at[target].append(len(self.steps[target]))
            node.receive_datagrams([datagram], node.now)

        self.at(at, target, arrive)


def _start(node: Node) -> None:
    node.start(node.now)


def _join(node: Node) -> None:
    node.cpg.join(_Listener(), b"fuzz", 100 + node.nodeid)


def _send(size: int, safe: bool) -> Step:
    def step(node: Node) -> None:
        listener = _Listener()
        try:
            node.cpg.join(listener, b"talk%d" % size, 7)
            node.cpg.multicast(listener, bytes(size), safe=safe)
        except ServiceError:
            pass

    return step


@lru_cache(maxsize=1)
def meeting() -> _Meeting:
    """The recorded beginning."""
    result = _Meeting()
    for nodeid in result.hosts:
        result.at(0.0001 * nodeid, nodeid, _start)
        result.at(0.1 + 0.001 * nodeid, nodeid, _join)
        result.at(0.12 + 0.001 * nodeid, nodeid, _send(300, nodeid == 1))
        result.at(0.13 + 0.0005 * nodeid, nodeid, _send(4000, nodeid == 2))
    result.run(0.16)
    return result


def node_in_phase(nodeid: NodeId, share: float) -> tuple[Host, float, int]:
    """A node that has gone through that share of the recorded beginning; the time it is there; and the number of the
    datagram that came next."""
    steps = meeting().steps[nodeid]
    count = max(1, round(share * len(steps)))
    host = Host(nodeid, NODES)
    now = 0.0
    for now, step in steps[:count]:
        host.node.now = now
        step(host.node)
    host.take()
    return host, now, bisect_right(meeting().received_at[nodeid], count)


def lone_node() -> tuple[Host, float]:
    """The only node of a cluster, synchronized."""
    host = Host(1, 1)
    host.node.start(0.0)
    now = settle(host, 0.0)
    for _ in range(100):
        if not host.node.synchronizing:
            break
        now = settle(host, max(now, host.node.next_deadline()))
    assert not host.node.synchronizing
    return host, now


def settle(host: Host, now: float) -> float:
    """Let a lone node's token go round until nothing more happens at once."""
    for _ in range(200):
        deadline = host.node.next_deadline()
        if deadline > now + 0.02:
            break
        now = max(now, deadline)
        host.node.handle_timer(now)
    host.take()
    return now


def check_bounds(node: Node) -> None:
    """Nothing in a node grows without bound, whatever it is sent."""
    core = node.ring.core
    held = {
        "window": (len(core.window), SEQUENCE_WINDOW),
        "recovery window": (len(core.recovery_window), SEQUENCE_WINDOW),
        "recovery queue": (len(core.recovery_queue), SEQUENCE_WINDOW),
        "send queue": (len(core.queue), core.queue_max + 64),
        "transitional queue": (len(core.transitional_queue), core.queue_max),
        "miss counts": (len(core.miss_counts), SEQUENCE_WINDOW),
        "requests in vain": (len(core.unserved), 30),
        "proc": (len(core.proc), NODES),
        "failed": (len(core.failed), NODES),
        "newcomers": (len(core.newcomers), NODES),
        "loopback": (len(core.loopback), 256),
        "unfinished messages": (node.groups.statistics().get("unfinished_bytes", 0), 2 * NODES * REASSEMBLY_SIZE_MAX),
        "reasons of drops": (len(node.gate.dropped), 100),
    }
    for what, (value, bound) in held.items():
        if value > bound:
            raise AssertionError(f"{what}: {value}, the bound is {bound}")
