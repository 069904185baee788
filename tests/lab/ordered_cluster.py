"""A tiny model of a totally ordered cluster: it writes the history of a cluster that keeps every promise.

Rings are made and ended by hand or by draws; in a ring messages get numbers, and each member delivers them in that
order up to a place of its own. What lives go on together from one ring to the next agree on is decided by the model,
so the histories are right by construction and know nothing of how a real ring comes to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from totemd.ids import NodeId, RingId
from totemd.sim.history import (
    Accepted,
    Calm,
    Configured,
    Delivered,
    End,
    Ended,
    Event,
    GroupChanged,
    History,
    LifeId,
    MessageId,
    Process,
    QuorumChanged,
    Started,
    Synchronized,
)
from totemd.totem.api import ConfigurationKind


@dataclass
class Member:
    """One life."""

    node: NodeId
    life: LifeId
    ring: Ring | None = None
    position: int = 0
    """How much of its ring's order it has delivered."""
    view: frozenset[Process] = frozenset()
    joined: bool = False
    """It hears the group."""
    entered: bool = False
    """Its join is in some ring's order, and no leave after it: it may multicast."""
    sent: int = 0

    @property
    def process(self) -> Process:
        return self.node, self.life


@dataclass
class Ring:
    """A ring and its order: messages, and joins and leaves of processes."""

    ident: RingId
    members: tuple[NodeId, ...]
    order: list[Accepted | tuple[Process, str]] = field(default_factory=list)
    safe_to: int = 0
    """Members that live on deliver so much of the order at least: somebody has delivered a SAFE message in it."""
    closed: bool = False
    """A member has gone to another ring: nothing more becomes safe."""


class OrderedCluster:
    """Writes `history`."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.history: History = []
        self.now = 0.0
        self.alive: dict[NodeId, Member] = {}
        self._lives = 0
        self._seq = 0
        self._stored: dict[NodeId, int] = {}

    def note(self, event: Event) -> None:
        self.history.append(event)

    def tick(self) -> float:
        """Time passes with each event."""
        self.now = round(self.now + 0.01, 2)
        return self.now

    def start(self, node: NodeId) -> Member:
        """A daemon starts; its process joins the group as soon as it is in a ring."""
        self._lives += 1
        member = self.alive[node] = Member(node, self._lives)
        self.note(Started(self.tick(), node, member.life, self._stored.get(node, 0)))
        return member

    def crash(self, node: NodeId, how: End = End.CRASH) -> None:
        """A daemon ends."""
        member = self.alive.pop(node)
        self.note(Ended(self.tick(), node, member.life, how, "the model wants it"))

    def send(self, node: NodeId, *, safe: bool = False) -> None:
        """A process in the group gets a message accepted; it has its place in the order at once."""
        member = self.alive[node]
        assert member.ring is not None
        assert member.entered
        event = Accepted(self.tick(), node, member.life, (member.life, member.sent), safe)
        member.sent += 1
        self.note(event)
        member.ring.order.append(event)

    def part(self, node: NodeId) -> None:
        """A process leaves the group."""
        self._enter(self.alive[node], False)

    def join(self, node: NodeId) -> None:
        """A process joins the group."""
        self._enter(self.alive[node], True)

    def deliver(self, node: NodeId, count: int | None = None) -> None:
        """A member delivers the next of its ring's order: all that it may, or at most `count`."""
        member = self.alive[node]
        ring = member.ring
        assert ring is not None
        end = len(ring.order) if count is None else min(len(ring.order), member.position + count)
        while member.position < end:
            entry = ring.order[member.position]
            if isinstance(entry, Accepted) and entry.safe and member.position >= ring.safe_to:
                if ring.closed:
                    return
                ring.safe_to = member.position + 1
            self._deliver(member, entry)

    def form(self, nodes: Iterable[NodeId]) -> Ring:
        """The living `nodes` form a ring: who comes together has delivered the same by then."""
        members = tuple(sorted(nodes))
        self._seq += 4
        ring = Ring(RingId(members[0], self._seq), members)
        before = {node: self.alive[node].ring for node in members}
        companions = {node: tuple(n for n in members if _same(before[n], before[node])) for node in members}
        ends = {node: max((self._end(self.alive[n]) for n in companions[node]), default=0) for node in members}
        for node in members:
            self._stored[node] = self._seq
            self._install(self.alive[node], ring, companions[node], ends[node])
        for node in members:
            self._synchronize(self.alive[node], ring)
        for node in members:
            if not self.alive[node].entered and not self.alive[node].sent:
                self.join(node)
        return ring

    def calm(self) -> None:
        """All who live are in one ring in the end, and deliver everything."""
        self.note(Calm(self.tick(), tuple(sorted(self.alive))))
        self.form(self.alive)
        for node in sorted(self.alive):
            self.deliver(node)

    # How it is done

    def _enter(self, member: Member, entered: bool) -> None:
        assert member.ring is not None
        assert member.entered is not entered
        member.entered = entered
        member.ring.order.append((member.process, "join" if entered else "leave"))

    def _end(self, member: Member) -> int:
        """How much of its ring's order a life delivers at least: what is safe, and its own."""
        if member.ring is None:
            return 0
        own = (i for i, entry in enumerate(member.ring.order, 1) if _whose(entry) == member.process)
        return max(member.position, member.ring.safe_to, *own, 0)

    def _install(self, member: Member, ring: Ring, together: tuple[NodeId, ...], end: int) -> None:
        """The two configurations, and between them what is left of the old order."""
        old = member.ring
        left = () if old is None else tuple(node for node in old.members if node not in together)
        transitional = () if old is None else together
        self._configured(member, ConfigurationKind.TRANSITIONAL, ring, transitional, (), left)
        if old is not None:
            old.closed = True
            while member.position < end:
                self._deliver(member, old.order[member.position])
        joined = tuple(node for node in ring.members if node not in transitional)
        self._configured(member, ConfigurationKind.REGULAR, ring, ring.members, joined, ())
        member.ring, member.position = ring, 0

    def _configured(
        self,
        member: Member,
        kind: ConfigurationKind,
        ring: Ring,
        members: tuple[NodeId, ...],
        joined: tuple[NodeId, ...],
        left: tuple[NodeId, ...],
    ) -> None:
        self.note(Configured(self.tick(), member.node, member.life, kind, ring.ident, members, joined, left))

    def _synchronize(self, member: Member, ring: Ring) -> None:
        view = frozenset(self.alive[node].process for node in ring.members if self.alive[node].joined)
        if member.joined:
            down = tuple(sorted((*process, "nodedown") for process in member.view - view))
            up = tuple(sorted((*process, "nodeup") for process in view - member.view))
            if down:
                self._view(member, member.view & view, (), down)
            if up:
                self._view(member, view, up, ())
        member.view = view
        quorate = len(ring.members) > self.size // 2
        self.note(QuorumChanged(self.tick(), member.node, member.life, quorate, ring.ident, ring.members))
        self.note(Synchronized(self.tick(), member.node, member.life, ring.ident))

    def _view(
        self,
        member: Member,
        view: frozenset[Process],
        joined: tuple[tuple[NodeId, int, str], ...],
        left: tuple[tuple[NodeId, int, str], ...],
    ) -> None:
        self.note(GroupChanged(self.tick(), member.node, member.life, tuple(sorted(view)), joined, left))

    def _deliver(self, member: Member, entry: Accepted | tuple[Process, str]) -> None:
        member.position += 1
        if isinstance(entry, Accepted):
            if member.joined:
                sender = (entry.node, entry.life)
                digest = digest_of(entry.message)
                self.note(Delivered(self.tick(), member.node, member.life, entry.message, sender, entry.safe, digest))
            return
        process, word = entry
        own = process == member.process
        if word == "join":
            member.view |= {process}
            member.joined = member.joined or own
            if member.joined:
                self._view(member, member.view, ((*process, word),), ())
        else:
            member.view -= {process}
            if member.joined:
                self._view(member, member.view, (), ((*process, word),))
            member.joined = member.joined and not own


def digest_of(message: MessageId) -> bytes:
    """What stands for a message's bytes."""
    return b"%d %d" % message


def _whose(entry: Accepted | tuple[Process, str]) -> Process:
    return (entry.node, entry.life) if isinstance(entry, Accepted) else entry[0]


def _same(one: Ring | None, other: Ring | None) -> bool:
    return one is not None and one is other
