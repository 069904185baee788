"""What the ring gives upward: packets in one agreed order, and the configurations between them.

The ring calls its `Upper` synchronously, in the order of the protocol, so that everything above it happens at the same
place in the total order on every node (protocol/, chapters "Ordering" and "Recovery").
"""

from enum import Enum
from typing import Protocol

from totemd.ids import NodeId, RingId
from totemd.record import record


class ConfigurationKind(Enum):
    """A membership change comes as a transitional, then a regular configuration."""

    TRANSITIONAL = "transitional"
    REGULAR = "regular"


@record
class ConfigurationChanged:
    """A new configuration, members ascending. Both kinds carry the ring id of the new regular configuration."""

    kind: ConfigurationKind
    ring: RingId
    members: tuple[NodeId, ...]
    joined: tuple[NodeId, ...]
    left: tuple[NodeId, ...]
    reason: str
    """Why the membership was renewed, in words for people ("node 3 left", "token lost; node 2 did not answer")."""


class Upper(Protocol):
    """The layer above the ring."""

    def packet_delivered(self, sender: NodeId, payload: bytes) -> None:
        """The next packet of the total order."""

    def configuration_changed(self, change: ConfigurationChanged) -> None:
        """The configuration changes at this place of the total order."""

    def token_received(self) -> None:
        """A valid token is here: flush what is being packed into the send queue now."""

    def token_sent(self) -> None:
        """The token went on (or was parked): a step of synchronization may run."""

    def waits_for_token(self) -> bool:
        """Whether `token_received` or `token_sent` would do anything."""

    def switch_reassembly(self) -> None:
        """The old ring's last packets are delivered; from here until sync completes the transitional set is used."""
