"""The one local process of a simulated node: it is in a process group, multicasts, and writes the history."""

from hashlib import blake2b
from struct import Struct
from typing import TYPE_CHECKING, Final

from totemd.errors import Code, ServiceError
from totemd.ipc.ports import Synchronized as RingSynchronized
from totemd.services.cpg import CpgDelivered, CpgMembershipChanged, EndpointState
from totemd.services.quorum import MODEL_NOTIFICATION, QuorumNotification
from totemd.sim.history import Accepted, Configured, Delivered, GroupChanged, QuorumChanged, Synchronized
from totemd.totem.api import ConfigurationChanged
from totemd.wire.cpg import CpgReason

if TYPE_CHECKING:
    from totemd.sim.life import Life

GROUP: Final = b"simulation"
RETRY_S: Final = 0.05
"""After how long a refused join is tried again."""

_HEAD: Final = Struct("<HIB")
_WORDS: Final = {
    CpgReason.JOIN: "join",
    CpgReason.LEAVE: "leave",
    CpgReason.NODE_DOWN: "nodedown",
    CpgReason.NODE_UP: "nodeup",
    CpgReason.PROC_DOWN: "procdown",
}


class Process:
    """A listener of the node, and its pid is the life's number. A message begins with its identity, so the shortest
    has seven bytes."""

    def __init__(self, life: "Life") -> None:
        self._life = life
        self.wants_in = True
        self.accepted = 0
        self.own_heard = 0
        self._retrying = False

    def connect(self) -> None:
        """Listen to everything, from the first moment on."""
        node = self._life.node
        node.subscribe_membership(self)
        node.quorum.track_start(self, MODEL_NOTIFICATION, current=True, changes=True)

    @property
    def joined(self) -> bool:
        """Whether it may hear the group."""
        return self._life.node.cpg.state(self) is EndpointState.JOIN_COMPLETED

    @property
    def settled(self) -> bool:
        """Whether it is where it wants to be and has heard all that it sent."""
        return self.joined == self.wants_in and self.own_heard == self.accepted

    def join(self) -> None:
        """Join the group, now or as soon as it can be done."""
        self.wants_in = True
        self._pursue()

    def part(self) -> None:
        """Leave the group, now or as soon as it can be done."""
        self.wants_in = False
        self._pursue()

    def _pursue(self) -> None:
        life = self._life
        if not life.alive or self._retrying or self.joined == self.wants_in:
            return
        if life.host.busy_until > life.world.now:
            life.world.at(life.host.free_at(life.world.now), self._pursue)
            return
        try:
            if self.wants_in:
                life.call(lambda: life.node.cpg.join(self, GROUP, life.number))
            else:
                life.call(lambda: life.node.cpg.leave(self))
        except ServiceError as error:
            if error.code in (Code.TRY_AGAIN, Code.BUSY):
                self._retrying = True
                life.world.at(life.world.now + RETRY_S, self._retry)

    def _retry(self) -> None:
        self._retrying = False
        self._pursue()

    def send(self, count: int, size: int, safe: bool) -> None:
        """Multicast until the node refuses."""
        life = self._life
        for _ in range(count):
            number = self.accepted
            head = _HEAD.pack(life.number, number, safe)
            data = head + bytes(((number * 31 + life.number) & 0xFF,)) * (size - len(head))
            try:
                life.call(lambda data=data: life.node.cpg.multicast(self, data, safe=safe))  # type: ignore[misc]
            except ServiceError:
                return
            if not life.alive:
                return
            self.accepted += 1
            life.note(Accepted(life.world.now, life.nodeid, life.number, (life.number, number), safe))

    def push(self, event: object) -> None:
        """What the node says."""
        life = self._life
        if not life.alive:
            return
        now, nodeid, number = life.world.now, life.nodeid, life.number
        if isinstance(event, CpgDelivered):
            sender, count, safe = _HEAD.unpack_from(event.data)
            self.own_heard += sender == number
            digest = blake2b(event.data, digest_size=8).digest()
            life.note(Delivered(now, nodeid, number, (sender, count), (event.nodeid, event.pid), bool(safe), digest))
        elif isinstance(event, CpgMembershipChanged):
            members = tuple((member.nodeid, member.pid) for member in event.members)
            joined = tuple((c.nodeid, c.pid, _WORDS.get(c.reason, "undefined")) for c in event.joined)
            left = tuple((c.nodeid, c.pid, _WORDS.get(c.reason, "undefined")) for c in event.left)
            life.note(GroupChanged(now, nodeid, number, members, joined, left))
            life.world.at(now, self._pursue)
        elif isinstance(event, ConfigurationChanged):
            life.note(Configured(now, nodeid, number, event.kind, event.ring, event.members, event.joined, event.left))
        elif isinstance(event, RingSynchronized):
            life.note(Synchronized(now, nodeid, number, event.ring))
            life.world.at(now, self._pursue)
        elif isinstance(event, QuorumNotification):
            life.note(QuorumChanged(now, nodeid, number, event.quorate, event.ring, event.members))
