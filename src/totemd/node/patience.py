"""How long a synchronization may stand still before the ring is made anew."""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from totemd.node.node import Node

SYNC_PATIENCE_S: Final = 60.0
SYNC_PATIENCE_TOKEN_TIMEOUTS: Final = 10
SYNC_PATIENCE_DEVICE_TIMEOUTS: Final = 2
"""A synchronization that gets no further for all of them so long, while the token goes round, never will: a message of
it is not what its sender multicast, or a member does not answer. Then the ring is made anew. (A node that has a quorum
device may rightly take as long as the device may, device.sync_timeout; half a minute if nothing is configured.)"""

_TIMER: Final = "synchronization"


class SyncPatience:
    """Looks from time to time whether the synchronization under way gets further."""

    def __init__(self, node: "Node") -> None:
        self._node = node
        self._progress: object = None

    def watch(self) -> None:
        """A synchronization has begun, or the one under way gets more time."""
        node = self._node
        if node.ended:
            return
        configuration = node.configuration
        patience_s = max(
            SYNC_PATIENCE_S,
            SYNC_PATIENCE_TOKEN_TIMEOUTS * configuration.totem.token_timeout_s,
            SYNC_PATIENCE_DEVICE_TIMEOUTS * configuration.quorum.device_sync_timeout_s,
        )
        self._progress = self._now()
        node.timers.set(_TIMER, node.now + patience_s, self._check)

    def end(self) -> None:
        """It has completed."""
        self._node.timers.cancel(_TIMER)

    def _now(self) -> object:
        sync = self._node.sync
        return sync.stats.started, sync.phase, sync.missing

    def _check(self) -> None:
        node = self._node
        if self._progress == self._now():
            waits_for = ", ".join(map(str, node.sync.missing))
            node.log("warning", "SYNC", f"synchronization gets no further (node {waits_for} is awaited)")
            node.ring.gather_again("synchronization got no further", node.now)
        self.watch()
