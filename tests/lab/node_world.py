"""Whole nodes in a virtual world: production `Node` objects, a clock, disks and a network that misbehaves by one seed.

The network loses, doubles, delays and so reorders packets, which cross it as bytes; hosts read what has arrived in one
turn, as the daemon does, and may be paused; a ring number is durable only after the disk has answered, and whatever the
node wants done after it waits until then. A host's process in the cpg group records what it hears, in order, together
with the configurations between.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random
from typing import Any, TypeAlias

from totemd.config import load
from totemd.config.model import Configuration
from totemd.errors import ServiceError
from totemd.ids import NodeId, RingId
from totemd.limits import MESSAGE_SIZE_MAX
from totemd.node import Node
from totemd.node.effects import Exit, NodeEffect
from totemd.services.cpg import CpgDelivered, CpgMembershipChanged
from totemd.totem.api import ConfigurationChanged, ConfigurationKind
from totemd.totem.core import State
from totemd.totem.effects import Broadcast, PersistRingSeq, Unicast
from totemd.wire.packets import PacketType

GROUP = b"histories"
BATCH_MAX = 256
SOCKET_BUFFER_BYTES = 1024 * 1024

MessageId: TypeAlias = tuple[int, int]
"""The life that sent it, and its number there."""


def address(nodeid: NodeId) -> str:
    return f"10.0.0.{nodeid}"


@lru_cache(maxsize=256)
def configuration(count: int, nodeid: NodeId, totem: str = "", quorum: str = "") -> Configuration:
    """Node `nodeid` of `count`, with short timeouts."""
    nodes = "".join(f"node {{\n ring0_addr: {address(i)}\n nodeid: {i}\n}}\n" for i in range(1, count + 1))
    text = (
        f"totem {{\n version: 2\n cluster_name: world\n transport: udp\n token: 300\n token_coefficient: 0\n{totem}}}\n"
        f"nodelist {{\n{nodes}}}\nquorum {{\n provider: corosync_votequorum\n{quorum}}}\n"
    )
    return load(text, file="world", resolve=lambda name, version: [name], local_addresses=[address(nodeid)])


@dataclass
class Heard:
    """A message that the process heard, and the group's members at that place."""

    ident: MessageId
    safe: bool
    members: frozenset[tuple[NodeId, int]]


@dataclass
class Joined:
    """The process's own join has been delivered: from here on it hears the group."""


History: TypeAlias = list[ConfigurationChanged | Heard | Joined]


class Life:
    """One run of a node's daemon, from start to crash or leave."""

    def __init__(self, world: World, nodeid: NodeId, number: int) -> None:
        self.world = world
        self.nodeid = nodeid
        self.number = number
        self.born = world.now
        self.alive = True
        self.exit: Exit | None = None
        self.history: History = []
        self.accepted: list[MessageId] = []
        self.own_heard = 0
        self.fresh: set[bytes] = set()
        self.installed: dict[RingId, float] = {}
        self.transitional = True
        self.members: frozenset[tuple[NodeId, int]] = frozenset()
        self.tokens: deque[tuple[bytes, str]] = deque()
        self.inbox: deque[tuple[bytes, str]] = deque()
        self.inbox_bytes = 0
        self.busy_until = 0.0
        self.turn_at = float("inf")
        self.persisting = False
        self.pending: deque[NodeEffect] = deque()
        self.node = Node(
            configuration(world.count, nodeid, world.totem, world.quorum),
            stored_ring_seq=world.disk.get(nodeid, 0),
            tracked_expected_votes=None,
            incarnation=str(number),
            own_uid=0,
            random=Random(f"{world.seed} {number}").random,
            emit=self.emit,
            now=world.now,
        )
        self.node.subscribe_membership(self)

    # What the node wants done

    def emit(self, effect: NodeEffect) -> None:
        if self.persisting:
            self.pending.append(effect)
        else:
            self._perform(effect)

    def _perform(self, effect: NodeEffect) -> None:
        world = self.world
        if isinstance(effect, Unicast):
            world.transmit(self.nodeid, effect.nodeid, effect.data)
        elif isinstance(effect, Broadcast):
            for nodeid in range(1, world.count + 1):
                if nodeid != self.nodeid:
                    world.transmit(self.nodeid, nodeid, effect.data)
        elif isinstance(effect, PersistRingSeq):
            self.persisting = True
            seq = effect.seq
            slow = world.random.random() < 0.02
            delay = world.random.uniform(0.02, 0.2) if slow else world.random.uniform(0.0001, 0.003)
            world.at(world.now + delay, lambda: self._persisted(seq))
        elif isinstance(effect, Exit):
            self.exit = effect
            self.alive = False

    def _persisted(self, seq: int) -> None:
        if not self.alive:
            # The crash came between the wish and the disk's answer: it may be there or not.
            if self.world.lives[self.nodeid] is self and self.world.random.random() < 0.5:
                self.world.disk[self.nodeid] = seq
            return
        self.world.disk[self.nodeid] = seq
        self.persisting = False
        while self.pending and not self.persisting:
            self._perform(self.pending.popleft())

    # What the node is told

    def arrive(self, data: bytes, source: str) -> None:
        if not self.alive:
            return
        if self.world.one_socket or data[3:4] not in (b"\x00", b"\x04"):
            if self.inbox_bytes + len(data) > SOCKET_BUFFER_BYTES:
                return
            self.inbox.append((data, source))
            self.inbox_bytes += len(data)
        elif len(self.tokens) < 1000:
            self.tokens.append((data, source))
        self.plan(max(self.world.now, self.busy_until))

    def plan(self, at: float) -> None:
        if at < self.turn_at:
            self.turn_at = at
            self.world.at(at, lambda: self._turn(at))

    def _turn(self, planned: float) -> None:
        world = self.world
        if not self.alive or planned != self.turn_at:
            return
        if world.now < self.busy_until:
            self.turn_at = float("inf")
            self.plan(self.busy_until)
            return
        self.turn_at = float("inf")
        datagrams, exhausted = self._receive()
        if datagrams:
            self.node.receive_datagrams(datagrams, world.now, exhausted=exhausted)
        if self.node.next_deadline() <= world.now:
            self.node.handle_timer(world.now)
        self.busy_until = max(self.busy_until, world.now + world.random.uniform(0.00001, 0.0001))
        self.wake()

    def wake(self) -> None:
        """Plan the next turn."""
        if self.alive:
            at = self.world.now if self.inbox or self.tokens else self.node.next_deadline()
            if at != float("inf"):
                self.plan(max(at, self.world.now, self.busy_until))

    def _receive(self) -> tuple[list[tuple[bytes, str]], bool]:
        """As the daemon's transport does it."""
        datagrams = []
        if self.tokens:
            datagrams.append(self.tokens.popleft())
            data = datagrams[0][0]
            counts = int.from_bytes(data[13:17], "little")
            if len(data) >= 17 and data[3] == PacketType.ORF_TOKEN and self.node.has_all_up_to(counts):
                return datagrams, False
        for _ in range(min(BATCH_MAX, len(self.inbox))):
            datagrams.append(self.inbox.popleft())
            self.inbox_bytes -= len(datagrams[-1][0])
        return datagrams, not self.inbox

    # What the process does and hears

    def work(self) -> None:
        """Join the group when there is none, else perhaps send; try again some time later."""
        world = self.world
        if not self.alive:
            return
        if world.now >= self.busy_until:
            try:
                if not self.joined:
                    self.node.now = world.now
                    self.node.cpg.join(self, GROUP, self.number)
                elif world.sending:
                    for _ in range(world.random.choice((1, 1, 1, 5, 20))):
                        self._send()
            except ServiceError:
                pass
            self.wake()
        world.at(world.now + world.random.expovariate(1 / world.pace_s), self.work)

    @property
    def joined(self) -> bool:
        return self.node.cpg.state(self).value != "unjoined"

    def _send(self) -> None:
        random = self.world.random
        size = random.choice(self.world.sizes)
        safe = random.random() < self.world.safe_share
        ident = (self.number, len(self.accepted))
        head = b"%d %d %d " % (*ident, safe)
        self.node.now = self.world.now
        self.node.cpg.multicast(self, head + bytes(max(0, random.randrange(1, size + 1) - len(head))), safe=safe)
        self.accepted.append(ident)

    def push(self, event: object) -> None:
        if self.world.hostile:
            if isinstance(event, CpgDelivered):
                self.fresh.add(event.data)
        elif isinstance(event, ConfigurationChanged):
            self.history.append(event)
            self.transitional = event.kind is ConfigurationKind.TRANSITIONAL
            if not self.transitional:
                assert event.ring not in self.installed, f"{event.ring} installed twice"
                self.installed[event.ring] = self.world.now
        elif isinstance(event, CpgDelivered):
            life, count, safe = map(int, event.data.split(b" ", 3)[:3])
            assert event.pid == life
            heard = Heard((life, count), bool(safe), self.members)
            self.history.append(heard)
            self.own_heard += life == self.number
            if safe and not self.transitional:
                self.world.check_safe(self, heard)
        elif isinstance(event, CpgMembershipChanged):
            self.members = frozenset((member.nodeid, member.pid) for member in event.members)
            if any(change.nodeid == self.nodeid and change.pid == self.number for change in event.joined):
                self.history.append(Joined())

    @property
    def heard(self) -> list[MessageId]:
        return [entry.ident for entry in self.history if isinstance(entry, Heard)]

    # The end of a life

    def crash(self) -> None:
        self.alive = False

    def leave(self) -> None:
        self.node.leave(self.world.now)


@dataclass
class World:
    """The nodes' surroundings."""

    count: int
    seed: int = 0
    loss: float = 0.0
    doubles: float = 0.0
    late: float = 0.0
    """Share of packets that are delayed by up to 20 ms."""
    one_socket: bool = False
    """As with transport udpu: tokens and messages come in the order in which they arrived."""
    totem: str = ""
    quorum: str = ""
    sizes: tuple[int, ...] = (30, 30, 300, 3000)
    safe_share: float = 0.25
    pace_s: float = 0.05
    sending: bool = True

    now: float = 0.0
    disk: dict[NodeId, int] = field(default_factory=dict)
    component: dict[NodeId, int] = field(default_factory=dict)
    deaf: dict[tuple[NodeId, NodeId], float] = field(default_factory=dict)
    """Share of packets lost from one node to another."""
    hostile: bool = False
    """Messages may be forged: what is heard proves nothing then."""
    tamper: Callable[[NodeId, NodeId, bytes], bytes | None] | None = None
    """Makes of a packet on its way another one, which arrives as well."""
    all_lives: list[Life] = field(default_factory=list)
    lives: dict[NodeId, Life] = field(default_factory=dict)
    peaks: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._event_count = 0

    def at(self, time: float, action: Callable[[], None]) -> None:
        """Have `action` done at `time`."""
        self._event_count += 1
        heapq.heappush(self._events, (time, self._event_count, action))

    def start(self, nodeid: NodeId) -> None:
        """A new life of a node."""
        former = self.lives.get(nodeid)
        assert former is None or not former.alive
        life = Life(self, nodeid, len(self.all_lives) + 1)
        self.all_lives.append(life)
        self.lives[nodeid] = life
        life.node.start(self.now)
        life.wake()
        life.work()

    def transmit(self, source: NodeId, target: NodeId, data: bytes) -> None:
        """A packet on its way, or not."""
        random = self.random
        if self.component.get(source, 0) != self.component.get(target, 0):
            return
        if random.random() < self.deaf.get((source, target), self.loss):
            return
        if self.tamper is not None:
            changed = self.tamper(source, target, data)
            if changed is not None:
                self._deliver(source, target, changed)
        self._deliver(source, target, data)
        if random.random() < self.doubles:
            self._deliver(source, target, data)

    def _deliver(self, source: NodeId, target: NodeId, data: bytes) -> None:
        delay = self.random.uniform(0.0002, 0.0008)
        if self.random.random() < self.late:
            delay += self.random.uniform(0.0, 0.02)
        self.at(self.now + delay, lambda: self._arrive(source, target, data))

    def _arrive(self, source: NodeId, target: NodeId, data: bytes) -> None:
        life = self.lives.get(target)
        if life is not None:
            life.arrive(data, address(source))

    def run(self, duration_s: float, until: Callable[[], bool] | None = None) -> bool:
        """Let time pass, at most `duration_s`; True as soon as `until` holds (looked at every 10 ms)."""
        end = self.now + duration_s
        look_at = self.now
        while self._events and self._events[0][0] <= end:
            time, _, action = heapq.heappop(self._events)
            self.now = max(self.now, time)
            action()
            if self.now >= look_at:
                look_at = self.now + 0.01
                self.check_bounds()
                if until is not None and until():
                    return True
        self.now = end
        return until is not None and until()

    # Faults

    def pause(self, nodeid: NodeId, duration_s: float) -> None:
        """The host does nothing for a while; packets wait in its sockets."""
        life = self.lives[nodeid]
        life.busy_until = max(life.busy_until, self.now + duration_s)

    def restart(self, nodeid: NodeId, after_s: float) -> None:
        """Start the node again some time later, if it is dead then."""

        def again() -> None:
            if not self.lives[nodeid].alive:
                self.start(nodeid)

        self.at(self.now + after_s, again)

    # Observations

    @property
    def living(self) -> list[Life]:
        return [life for life in self.lives.values() if life.alive]

    def whole(self) -> bool:
        """Whether all living nodes are in one ring that has synchronized."""
        living = self.living
        members = tuple(sorted(life.nodeid for life in living))
        return len({life.node.ring.ring for life in living}) == 1 and all(
            life.node.ring.state is State.OPERATIONAL
            and life.node.ring.members == members
            and not life.node.synchronizing
            for life in living
        )

    def settled(self) -> bool:
        """Whether, besides, everybody has heard all that living senders got accepted."""
        if not self.whole():
            return False
        for life in self.living:
            if not life.joined:
                return False
            if life.own_heard != len(life.accepted):
                return False
        return True

    def quorate_sides(self) -> set[tuple[NodeId, ...]]:
        """The memberships that claim quorum now."""
        return {life.node.ring.members for life in self.living if life.node.quorum.get_quorate()}

    def check_safe(self, life: Life, heard: Heard) -> None:
        """A SAFE message is delivered in a regular configuration: all its members must have it, or be dead."""
        core = life.node.ring.core
        ring, seq = core.old_ring, core.high_delivered
        for nodeid in core.memb:
            other = self.lives[nodeid]
            if not other.alive or other.born > life.installed[ring]:
                continue
            theirs = other.node.ring.core
            if theirs.old_ring == ring:
                aru = theirs.old_aru if theirs.saved else theirs.aru
                assert aru >= seq, f"SAFE {heard.ident} at {life.nodeid} in {ring}: {nodeid} has only {aru} of {seq}"
            else:
                assert ring in other.installed, f"SAFE in {ring} at {life.nodeid}, which {nodeid} never installed"

    def check_bounds(self) -> None:
        """Nothing grows without bound."""
        for life in self.living:
            core = life.node.ring.core
            for name, value, bound in (
                ("window", len(core.window), 16384),
                ("recovery window", len(core.recovery_window), 16384),
                ("recovery queue", len(core.recovery_queue), 16384),
                # one message more, of which a part was sent on a ring that ended
                ("queue", len(core.queue), core.queue_max + MESSAGE_SIZE_MAX // core.payload_size + 64),
                ("transitional queue", len(core.transitional_queue), core.queue_max),
                ("miss counts", len(core.miss_counts), 16384),
                ("proc", len(core.proc), self.count),
                ("failed", len(core.failed), self.count),
                ("newcomers", len(core.newcomers), self.count),
                ("loopback", len(core.loopback), 256),
                ("requests for send", life.node.groups._held_bytes, 2 << 20),
            ):
                if value > self.peaks.get(name, -1):
                    self.peaks[name] = value
                    assert value <= bound, f"{name} of node {life.nodeid}: {value}"


def check_histories(world: World, lives: list[Life] | None = None) -> None:
    """All safety properties over everything that all lives have heard so far."""
    lives = world.all_lives if lives is None else lives
    _check_rings(world)
    places: list[dict[MessageId, int]] = []
    for life in lives:
        heard = life.heard
        place = {ident: index for index, ident in enumerate(heard)}
        assert len(place) == len(heard), f"life {life.number} of node {life.nodeid} heard a message twice"
        places.append(place)
    epochs = [_epochs(life.history) for life in lives]
    for index, first in enumerate(lives):
        for other in range(index + 1, len(lives)):
            second = lives[other]
            if first.nodeid == second.nodeid:
                continue
            common = places[index].keys() & places[other].keys()
            in_first = sorted(common, key=places[index].__getitem__)
            in_second = sorted(common, key=places[other].__getitem__)
            assert in_first == in_second, f"lives {first.number} and {second.number}: different orders"
            _check_synchrony(first, second, epochs[index], epochs[other])


def _check_rings(world: World) -> None:
    last: dict[NodeId, int] = {}
    members: dict[RingId, tuple[NodeId, ...]] = {}
    for life in world.all_lives:
        for entry in life.history:
            if isinstance(entry, ConfigurationChanged) and entry.kind is ConfigurationKind.REGULAR:
                assert entry.ring.seq > last.get(life.nodeid, 0), f"node {life.nodeid}: ring {entry.ring} is not new"
                last[life.nodeid] = entry.ring.seq
                assert members.setdefault(entry.ring, entry.members) == entry.members


@dataclass
class _Epoch:
    """What was heard from one regular configuration to the next."""

    following: RingId | None = None
    from_start: bool = False
    regular: list[Heard] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)


def _epochs(history: History) -> dict[RingId, _Epoch]:
    result: dict[RingId, _Epoch] = {}
    epoch = _Epoch()
    joined = transitional = False
    for entry in history:
        if isinstance(entry, Joined):
            joined = True
        elif isinstance(entry, Heard):
            epoch.heard.append(entry)
            if not transitional:
                epoch.regular.append(entry)
        elif entry.kind is ConfigurationKind.TRANSITIONAL:
            transitional = True
        else:
            epoch.following = entry.ring
            epoch = result[entry.ring] = _Epoch(from_start=joined)
            transitional = False
    return result


def _check_synchrony(first: Life, second: Life, a: dict[RingId, _Epoch], b: dict[RingId, _Epoch]) -> None:
    for ring in a.keys() & b.keys():
        one, two = a[ring], b[ring]
        where = f"lives {first.number} and {second.number} (nodes {first.nodeid}, {second.nodeid}) in {ring}"
        views = {heard.ident: heard.members for heard in one.heard}
        for heard in two.heard:
            assert views.get(heard.ident, heard.members) == heard.members, f"{where}: views differ at {heard.ident}"
        if one.following is not None and one.following == two.following:
            left, right = [h.ident for h in one.heard], [h.ident for h in two.heard]
            if one.from_start and two.from_start:
                assert left == right, f"{where} go on together: {_difference(left, right)}"
            else:
                short, long = sorted((left, right), key=len)
                assert not short or long[-len(short) :] == short, f"{where}: {_difference(left, right)}"
        for mine, theirs, whose in ((one, two, second), (two, one, first)):
            # What one delivered as SAFE in the regular configuration, every member that goes on delivers.
            if theirs.following is not None and theirs.from_start:
                known = {heard.ident for heard in theirs.heard}
                lacking = [h.ident for h in mine.regular if h.safe and h.ident not in known]
                assert not lacking, f"{where}: life {whose.number} lacks the SAFE {lacking[:5]}"


def _difference(left: list[Any], right: list[Any]) -> str:
    only_left, only_right = set(left) - set(right), set(right) - set(left)
    return f"only the first: {sorted(only_left)[:6]}, only the second: {sorted(only_right)[:6]}"
