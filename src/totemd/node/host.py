"""What the node offers to its services (`services.base.Host`)."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from totemd.ids import NodeId
from totemd.node.effects import PersistFile, ReopenLogs
from totemd.totem.effects import Log
from totemd.wire.groups import SERVICE_GROUP, Buffer

if TYPE_CHECKING:
    from totemd.node.node import Node


class ServiceHost:
    """One per service, so that its log lines carry its name."""

    def __init__(self, node: "Node", subsystem: str) -> None:
        self._node = node
        self._subsystem = subsystem

    @property
    def nodeid(self) -> NodeId:
        return self._node.nodeid

    @property
    def now(self) -> float:
        return self._node.now

    @property
    def sync_in_progress(self) -> bool:
        return self._node.sync_in_progress

    def multicast(self, message: bytes, *, safe: bool = False) -> bool:
        # What a service says while it is asked for its state is part of synchronization; all else waits for its end.
        node = self._node
        accepted = node.groups.multicast(SERVICE_GROUP, message, safe=safe, after_sync=not node.sync.collecting)
        if accepted:
            node.traffic.sent(message)
        else:
            node.refused = True
        return accepted

    def multicast_all(self, heads: Sequence[bytes], data: Sequence[Buffer], *, fill: bool) -> int:
        node = self._node
        count = node.groups.multicast_all(heads, data, fill=fill)
        if count:
            node.traffic.sent(heads[0], count)
        return count

    def set_timer(self, name: str, delay_s: float, action: Callable[[], None]) -> None:
        self._node.timers.set(f"{self._subsystem} {name}", self._node.now + delay_s, action)

    def cancel_timer(self, name: str) -> None:
        self._node.timers.cancel(f"{self._subsystem} {name}")

    def log(self, level: str, text: str) -> None:
        self._node.emit(Log(level, self._subsystem, text))

    def persist(self, name: str, data: bytes) -> None:
        self._node.emit(PersistFile(name, data))

    def shut_down(self, reason: str, *, status: int = 0, at_once: bool = False) -> None:
        self._node.shut_down(reason, status=status, at_once=at_once)

    def request_reload(self, done: Callable[[str | None], None]) -> None:
        self._node.request_reload(done)

    def reopen_logs(self) -> None:
        self._node.emit(ReopenLogs())
