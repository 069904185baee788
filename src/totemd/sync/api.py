"""What a service must offer to take part in synchronization (protocol/, chapter "Synchronization")."""

from typing import Protocol

from totemd.ids import NodeId, RingId


class Synchronizable(Protocol):
    """Called by the sync engine, in ascending order of `service_id`, once per regular configuration."""

    @property
    def service_id(self) -> int: ...

    def sync_init(self, transitional: tuple[NodeId, ...], members: tuple[NodeId, ...], ring: RingId) -> None:
        """A round begins: drop whatever an aborted round left. `transitional` is a subset of `members`."""

    def sync_process(self) -> bool:
        """Multicast this node's state. False: not done (queue full, or waiting): call again after the next token."""

    def sync_activate(self) -> None:
        """Every member's state has been delivered: make it so, and notify."""

    def sync_abort(self) -> None:
        """The configuration changed again before the round ended."""
