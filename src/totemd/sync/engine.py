"""Service synchronization after a membership change (protocol/, chapter "Synchronization").

    IDLE --transitional--> WAITING --regular--> BUILD --all builds--> PROCESS --own barrier sent--> BARRIER
                                                                         ^                             |
                                                                         '--- all barriers: activate --+--> IDLE
                                                                              and next service       after the last
    BUILD, PROCESS, BARRIER --transitional--> WAITING: the round is over without a result

All members say which services they have (SERVICE_BUILD); then, service by service of the union in ascending order (the
replicated configuration first), each member multicasts its state and, when it has, a BARRIER. A member that does not
have a service sends just the barrier. When the barriers of all are delivered, so are the states of all, on every
member: the service is activated.

Everything happens at the delivery of messages, so at the same place of the total order on every member, except that a
member multicasts its state in its own time: after it has sent the token.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Final

from totemd.errors import BadPacket
from totemd.ids import NodeId, RingId
from totemd.limits import SYNC_SERVICES_MAX
from totemd.sync.api import Synchronizable
from totemd.totem.api import ConfigurationChanged, ConfigurationKind
from totemd.wire.sync import Barrier, ServiceBuild, decode_sync, encode_barrier, encode_service_build

_NAMES: Final = {0: "cmap", 1: "cfg", 2: "cpg", 3: "quorum", 4: "pload", 5: "votequorum", 32: "changes"}

FIRST_SERVICE: Final = 32
"""The replicated configuration, which real nodes do not have: members agree on it before they count votes by it."""


class _Phase(Enum):
    IDLE = "idle"
    WAITING = "waiting"
    BUILD = "build"
    PROCESS = "process"
    BARRIER = "barrier"


_IDLE: Final = _Phase.IDLE
_WAITING: Final = _Phase.WAITING
_BUILD: Final = _Phase.BUILD
_PROCESS: Final = _Phase.PROCESS
_BARRIER: Final = _Phase.BARRIER


@dataclass(slots=True)
class SyncStats:
    """Counters since the start."""

    started: int = 0
    completed: int = 0
    aborted: int = 0
    """Rounds ended by another configuration change."""
    strays: int = 0
    """Messages of other rings, of nodes that are no members, or out of place."""
    malformed: int = 0


def service_name(service_id: int) -> str:
    """The service's name for people."""
    return _NAMES.get(service_id, f"service {service_id}")


class SyncEngine:
    """One node's part in synchronization.

    `send` multicasts a body to the group "sync", False if the queue is full (the engine tries again after the next
    token); `request_token` asks that a token on hold come round; `completed` is called with the ring when the last
    service of the round has been activated; `log` takes the name of a syslog priority and a text.
    """

    def __init__(
        self,
        services: Iterable[Synchronizable],
        nodeid: NodeId,
        send: Callable[[bytes], bool],
        request_token: Callable[[], None],
        completed: Callable[[RingId], None],
        log: Callable[[str, str], None],
    ) -> None:
        self.stats = SyncStats()
        self.collecting = False
        """True while a service is asked for its state: what it multicasts now belongs to the round."""
        self._services = {service.service_id: service for service in services}
        self._nodeid = nodeid
        self._send = send
        self._request_token = request_token
        self._completed = completed
        self._log = log
        self._phase = _IDLE
        self._ring: RingId | None = None
        self._transitional: tuple[NodeId, ...] = ()
        self._members: frozenset[NodeId] = frozenset()
        self._received: set[NodeId] = set()
        self._union: set[int] = set()
        self._order: tuple[int, ...] = ()
        self._index = 0
        self._unsent: bytes | None = None

    @property
    def phase(self) -> str:
        """For people: "idle", "waiting" (for the regular configuration), "build", "process cpg", "barrier cpg" ..."""
        name: str = self._phase.value
        if self._phase in (_PROCESS, _BARRIER):
            return f"{name} {service_name(self._order[self._index])}"
        return name

    @property
    def in_progress(self) -> bool:
        """True from a configuration change until the round that follows it is complete."""
        return self._phase is not _IDLE

    @property
    def missing(self) -> tuple[NodeId, ...]:
        """The members whose SERVICE_BUILD or BARRIER is awaited, ascending."""
        return tuple(sorted(self._members - self._received)) if self._phase in (_BUILD, _PROCESS, _BARRIER) else ()

    # Inputs

    def configuration_changed(self, change: ConfigurationChanged) -> None:
        """End the current round; a regular configuration begins the next."""
        self._abort()
        if change.kind is ConfigurationKind.TRANSITIONAL:
            self._transitional = change.members
            self._phase = _WAITING
        else:
            self._start(change)

    def message_received(self, sender: NodeId, body: bytes) -> None:
        """A message of the group "sync" at its place in the total order. Never raises on account of its content."""
        try:
            message = decode_sync(body)
        except BadPacket as error:
            self.stats.malformed += 1
            self._log("debug", f"sync: message of node {sender} ignored: {error}")
            return
        if message.ring != self._ring or sender not in self._members:
            self.stats.strays += 1
        elif isinstance(message, ServiceBuild):
            self._build_received(sender, message)
        else:
            self._barrier_received(sender, message)

    def token_sent(self) -> None:
        """Send what the queue did not take, or let the current service multicast its state."""
        if self._unsent is not None:
            self._send_unsent()
        elif self._phase is _PROCESS:
            self._process()

    # The round

    def _abort(self) -> None:
        phase = self._phase
        self._phase = _WAITING
        self._ring = None
        self._unsent = None
        if phase in (_BUILD, _PROCESS, _BARRIER):
            self.stats.aborted += 1
        if phase in (_PROCESS, _BARRIER):
            service = self._services.get(self._order[self._index])
            if service is not None:
                service.sync_abort()

    def _start(self, change: ConfigurationChanged) -> None:
        if self._nodeid not in change.members:
            raise ValueError(f"configuration {change.ring} of {change.members} lacks this node, {self._nodeid}")
        self.stats.started += 1
        self._ring = change.ring
        self._members = frozenset(change.members)
        self._received.clear()
        own = tuple(sorted(self._services))
        self._union = set(own)
        self._order = ()
        self._index = 0
        self._phase = _BUILD
        self._submit(encode_service_build(ServiceBuild(change.ring, own)))
        transitional = tuple(node for node in self._transitional if node in self._members)
        with self._collecting():
            for ident in own:
                self._services[ident].sync_init(transitional, change.members, change.ring)

    def _build_received(self, sender: NodeId, message: ServiceBuild) -> None:
        if self._phase is not _BUILD:
            self.stats.strays += 1
            return
        self._union.update(message.services)
        if not self._all_received(sender):
            return
        # All members have the same union now, so they cut the same off. Peers list at most 64 different ids.
        ordered = sorted(self._union, key=lambda ident: (ident != FIRST_SERVICE, ident))
        self._order = tuple(ordered[:SYNC_SERVICES_MAX])
        if len(self._union) > len(self._order):
            self._log("warning", f"sync: {len(self._union)} services announced, {SYNC_SERVICES_MAX} are synchronized")
        self._next_service()

    def _barrier_received(self, sender: NodeId, message: Barrier) -> None:
        if self._phase not in (_PROCESS, _BARRIER):
            self.stats.strays += 1
            return
        if not self._all_received(sender):
            return
        # Whoever has all barriers goes on, ready or not: so do all others at this place of the order.
        self._unsent = None
        service = self._services.get(self._order[self._index])
        if service is not None:
            service.sync_activate()
        self._index += 1
        self._next_service()

    def _all_received(self, sender: NodeId) -> bool:
        self._received.add(sender)
        if len(self._received) < len(self._members):
            return False
        self._received.clear()
        return True

    def _next_service(self) -> None:
        if self._index < len(self._order):
            self._phase = _PROCESS
            self._request_token()
            return
        ring = self._ring
        assert ring is not None
        self._phase = _IDLE
        self._ring = None
        self.stats.completed += 1
        self._log("notice", f"Completed service synchronization of ring {ring}, ready to provide service")
        self._completed(ring)

    def _process(self) -> None:
        ring = self._ring
        assert ring is not None
        service = self._services.get(self._order[self._index])
        if service is not None:
            with self._collecting():
                done = service.sync_process()
            if not done:
                # It waits for room in a full queue, and then the token is not parked, or for somebody outside of the
                # ring (a quorum device), and then a token that were hurried would only heat the machine.
                return
        self._phase = _BARRIER
        self._submit(encode_barrier(Barrier(ring)))

    def _submit(self, body: bytes) -> None:
        self._unsent = body
        self._send_unsent()

    def _send_unsent(self) -> None:
        assert self._unsent is not None
        if self._send(self._unsent):
            self._unsent = None
        else:
            self._request_token()

    @contextmanager
    def _collecting(self) -> Iterator[None]:
        self.collecting = True
        try:
            yield
        finally:
            self.collecting = False
