"""The contracts between services, the node that hosts them and the fronts that serve clients.

A service knows neither sockets nor encodings. Requests are plain method calls that return values or raise
`ServiceError`; events are records pushed to the `Listener` that asked for them. The native socket and any other front
are encodings of these same calls: no rule of a service lives in a front.
"""

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Protocol

from totemd.ids import NodeId, RingId
from totemd.totem.api import ConfigurationChanged
from totemd.wire.groups import Buffer


class ServiceId(IntEnum):
    """Service ids on the wire (protocol/, chapter "Services")."""

    CMAP = 0
    CFG = 1
    CPG = 2
    QUORUM = 3
    PLOAD = 4
    VOTEQUORUM = 5
    CHANGES = 32


class Listener(Protocol):
    """Somebody on this node who receives a service's events. Compared by identity."""

    def push(self, event: object) -> None:
        """Take one event, in order. Must not call back into the service."""


class Host(Protocol):
    """What the node offers to its services."""

    @property
    def nodeid(self) -> NodeId: ...

    @property
    def now(self) -> float:
        """Time of the input being handled: seconds of a clock that never goes back."""

    @property
    def sync_in_progress(self) -> bool:
        """True from a configuration change until synchronization has completed (and before the first)."""

    def multicast(self, message: bytes, *, safe: bool = False) -> bool:
        """Queue a service message (16-byte header included) for the total order; False: the queue is full now."""

    def set_timer(self, name: str, delay_s: float, action: Callable[[], None]) -> None:
        """Run `action` once after `delay_s`; a second call with the same name replaces the first."""

    def cancel_timer(self, name: str) -> None:
        """Forget the timer; no error if there is none."""

    def log(self, level: str, text: str) -> None:
        """Write a log line; `level` is a syslog priority's name: debug, info, notice, warning, err, crit."""

    def persist(self, name: str, data: bytes) -> None:
        """Write the small file `name` in the state directory atomically; not waited for."""

    def shut_down(self, reason: str, *, status: int = 0, at_once: bool = False) -> None:
        """End the daemon: with a clean leave, or `at_once` without a word to the ring."""

    def request_reload(self, done: Callable[[str | None], None]) -> None:
        """Have the configuration file read again; `done(None)` after it took effect, else `done(error text)`."""

    def reopen_logs(self) -> None:
        """Have the log file closed and opened anew; not waited for."""


class BatchHost(Host, Protocol):
    """What it offers to a service that has many messages at once."""

    def multicast_all(self, heads: Sequence[bytes], data: Sequence[Buffer], *, fill: bool) -> int:
        """Queue service messages of one kind, each a head and data, in agreed order; how many of them, from the first
        on; none while the ring synchronizes. Without `fill` it leaves some room in the queue. What stopped it is told
        by `multicast` of the next."""


class Service(Protocol):
    """A service as the node sees it. Its messages are whole, 16-byte header included."""

    @property
    def service_id(self) -> int: ...

    def receive(self, function: int, sender: NodeId, message: bytes) -> None:
        """A message at its place in the total order (own ones too). Raises BadPacket when it is not valid."""

    def configuration_changed(self, change: ConfigurationChanged) -> None:
        """A transitional or regular configuration; before synchronization."""

    def sync_init(self, transitional: tuple[NodeId, ...], members: tuple[NodeId, ...], ring: RingId) -> None: ...

    def sync_process(self) -> bool: ...

    def sync_activate(self) -> None: ...

    def sync_abort(self) -> None: ...
