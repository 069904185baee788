"""The node's part of the statistics map: stats.srp (the ring), stats.pg (its send queue) and stats.schedmiss.

Keys and types are corosync's (cmap_keys(7)). What totemd does not measure stays 0, as it does there most of the time.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from math import inf
from typing import TYPE_CHECKING, Final

from totemd.config.model import CmapEntry, CmapType
from totemd.services.cmap import Statistics
from totemd.totem.stats import RingStats

if TYPE_CHECKING:
    from totemd.node.node import Node

RING_PREFIX: Final = "stats.srp."
QUEUE_PREFIX: Final = "stats.pg."
PAUSES_PREFIX: Final = "stats.schedmiss."

PAUSES_MAX: Final = 10
"""Pauses that are remembered."""

FIREWALL_GATHERS: Final = 3
"""So many fruitless searches for members in a row are taken for a firewall or a dead interface."""

_DIRECT_TOKEN: Final = (
    *("token_ask_tx", "token_ask_rx", "token_loan_tx", "token_loan_rx", "token_return_rx"),
    *("direct_mcast_tx", "laps"),
)
_NOT_CORE: Final = frozenset(
    ("retransmits_requested", "duplicate_tokens", "implausible_tokens", "continuous_gather", *_DIRECT_TOKEN)
)
_UNMEASURED: Final = ("mtt_rx_token", "avg_token_workload", "avg_backlog_calc", "continuous_sendmsg_failures")


class RingSource:
    """stats.srp."""

    def __init__(self, node: "Node") -> None:
        self._node = node
        self._before: dict[str, int] = {}
        """The counters when they were cleared; `totemctl stats` goes on counting."""

    def names(self) -> Iterable[str]:
        return sorted(self._read())

    def find(self, key: str) -> CmapEntry | None:
        return self._read().get(key)

    def clear(self) -> None:
        self._before = self._counters()

    def _counters(self) -> dict[str, int]:
        counters = self._node.ring.stats.as_dict()
        counters["rx_msg_dropped"] = sum(self._node.gate.dropped.values())
        return {name: count for name, count in counters.items() if name not in _NOT_CORE}

    def _read(self) -> Mapping[str, CmapEntry]:
        stats: RingStats = self._node.ring.stats
        values = {
            name: CmapEntry(CmapType.U64, count - self._before.get(name, 0)) for name, count in self._counters().items()
        }
        values["time_since_token_last_received"] = CmapEntry(CmapType.U64, self._token_age_ms())
        values["continuous_gather"] = CmapEntry(CmapType.U32, stats.continuous_gather)
        blocked = stats.continuous_gather > FIREWALL_GATHERS
        values["firewall_enabled_or_nic_failure"] = CmapEntry(CmapType.U8, int(blocked))
        for name in _UNMEASURED:
            values[name] = CmapEntry(CmapType.U32, 0)
        return {f"{RING_PREFIX}{name}": entry for name, entry in values.items()}

    def _token_age_ms(self) -> int:
        core = self._node.ring.core
        if core.token_deadline == inf:  # there is no token now
            return 0
        came_at = core.token_deadline - core.parameters.token_timeout_s
        return max(int((self._node.now - came_at) * 1000), 0)


class QueueSource:
    """stats.pg: room in the send queue."""

    def __init__(self, node: "Node") -> None:
        self._node = node

    def names(self) -> Iterable[str]:
        return sorted(self._read())

    def find(self, key: str) -> CmapEntry | None:
        return self._read().get(key)

    def clear(self) -> None:
        """Nothing is counted."""

    def _read(self) -> Mapping[str, CmapEntry]:
        return {
            f"{QUEUE_PREFIX}msg_queue_avail": CmapEntry(CmapType.U32, self._node.ring.send_queue_free),
            f"{QUEUE_PREFIX}msg_reserved": CmapEntry(CmapType.U32, 0),
        }


class PausesSource:
    """stats.schedmiss: when this process was last kept from running, the newest first."""

    def __init__(self, statistics: Statistics) -> None:
        self._statistics = statistics
        self._pauses: deque[tuple[int, float]] = deque(maxlen=PAUSES_MAX)

    def add(self, at_ms: int, late_ms: float) -> None:
        """Remember a pause that ended at `at_ms` by the time of day, where that is known."""
        known = set(self.names())
        self._pauses.appendleft((at_ms, late_ms))
        self._statistics.came([name for name in self.names() if name not in known])

    def names(self) -> Iterable[str]:
        return sorted(self._read())

    def find(self, key: str) -> CmapEntry | None:
        return self._read().get(key)

    def clear(self) -> None:
        self._pauses.clear()

    def _read(self) -> Mapping[str, CmapEntry]:
        values = {}
        for number, (at_ms, late_ms) in enumerate(self._pauses):
            values[f"{PAUSES_PREFIX}{number}.timestamp"] = CmapEntry(CmapType.U64, at_ms)
            values[f"{PAUSES_PREFIX}{number}.delay"] = CmapEntry(CmapType.FLOAT, late_ms)
        return values


def add_sources(node: "Node") -> PausesSource:
    """Have all of it answered for the node; gives what pauses are to be told."""
    statistics = node.cmap.statistics
    pauses = PausesSource(statistics)
    statistics.add_source(RING_PREFIX, RingSource(node), cleared_by="totem")
    statistics.add_source(QUEUE_PREFIX, QueueSource(node), cleared_by="totem")
    statistics.add_source(PAUSES_PREFIX, pauses, cleared_by="schedmiss")
    return pauses
