"""stats.ipcs: how many clients there are, and a block of keys for each connection of a library (cmap_keys(7)).

A block's name has the service's number, the client's process id and a number of the connection's own; corosync-notifyd
takes them apart. Blocks that come and go are told to who tracks the prefix.
"""

from collections.abc import Callable, Iterable
from itertools import count
from typing import Final

from totemd.config.model import CmapEntry, CmapType
from totemd.qb.session import QbSession
from totemd.record import record
from totemd.services.cmap import Statistics

PREFIX: Final = "stats.ipcs."
_ACTIVE: Final = f"{PREFIX}global.active"
_CLOSED: Final = f"{PREFIX}global.closed"

Read = Callable[[QbSession], int]

_NUMBERS: Final[dict[str, tuple[CmapType, Read]]] = {
    "queueing": (CmapType.I32, lambda session: int(session.queued_events > 0)),
    "queued": (CmapType.U32, lambda session: session.queued_events),
    "invalid_request": (CmapType.U64, lambda session: session.counters.invalid),
    "overload": (CmapType.U64, lambda session: session.counters.overload),
    "sent": (CmapType.U32, lambda session: session.counters.sent & 0xFFFFFFFF),
    "requests": (CmapType.U64, lambda session: session.counters.requests),
    "responses": (CmapType.U64, lambda session: session.counters.responses),
    "dispatched": (CmapType.U64, lambda session: session.counters.dispatched),
    "send_retries": (CmapType.U64, lambda session: session.counters.retries),
    "recv_retries": (CmapType.U64, lambda session: 0),
    "flow_control": (CmapType.U32, lambda session: session.flow),
    "flow_control_count": (CmapType.U64, lambda session: session.counters.flow_control_count),
}
_NAME: Final = "procname"
_FIELDS: Final = (*list(_NUMBERS)[:5], _NAME, *list(_NUMBERS)[5:])
"""In the order in which trackers are told."""


@record
class _Block:
    name: str
    session: QbSession
    process_name: str

    def names(self) -> Iterable[str]:
        return (f"{self.name}.{field}" for field in _FIELDS)


class ConnectionsSource:
    """Knows the connections by the names of their blocks."""

    def __init__(self, statistics: Statistics) -> None:
        self._statistics = statistics
        self._numbers = count(1)
        self._blocks: dict[str, _Block] = {}
        self._by_session: dict[QbSession, _Block] = {}
        self._closed = 0
        statistics.add_source(PREFIX, self, cleared_by="ipc")

    def opened(self, session: QbSession, process_name: str) -> None:
        """A connection is there; `process_name` is what the kernel calls the client's program."""
        pid = session.credentials.pid
        name = f"{PREFIX}service{int(session.service.service_id)}.{pid}.0x{next(self._numbers):x}"
        block = _Block(name, session, process_name)
        self._blocks[name] = self._by_session[session] = block
        self._statistics.came(block.names())

    def closing(self, session: QbSession) -> None:
        """A connection goes."""
        block = self._by_session.pop(session)
        self._statistics.goes(block.names())
        del self._blocks[block.name]
        self._closed += 1

    def names(self) -> Iterable[str]:
        """All keys, in order."""
        yield _ACTIVE
        yield _CLOSED
        for name in sorted(self._blocks):
            yield from (f"{name}.{field}" for field in sorted(_FIELDS))

    def find(self, key: str) -> CmapEntry | None:
        """A key's value now."""
        if key == _ACTIVE:
            return CmapEntry(CmapType.U64, len(self._blocks))
        if key == _CLOSED:
            return CmapEntry(CmapType.U64, self._closed)
        name, _, field = key.rpartition(".")
        block = self._blocks.get(name)
        if block is None:
            return None
        if field == _NAME:
            return CmapEntry(CmapType.STRING, block.process_name)
        number = _NUMBERS.get(field)
        return None if number is None else CmapEntry(number[0], number[1](block.session))

    def clear(self) -> None:
        """Count from nothing."""
        self._closed = 0
        for block in self._blocks.values():
            block.session.counters.clear()
