"""The two sides of the groups layer: the ring below it and the node above it (protocol/, chapter "Groups")."""

from enum import IntEnum
from typing import Protocol

from totemd.ids import NodeId
from totemd.totem.api import ConfigurationChanged


class RingPort(Protocol):
    """What the groups layer asks of the ring.

    The ring has two send queues: the transitional one, from the start and from every installation of a ring until
    `synchronized()`, and the regular one. It calls the upper layer's `configuration_changed` with the transitional
    configuration while `submit` still goes to the queue in use before.
    """

    @property
    def send_queue_free(self) -> int:
        """Packets that the send queue in use still takes."""

    def submit(self, payload: bytes, safe: bool, goes_on: bool) -> bool:
        """Put a packet into the send queue in use; False if it is full, or the ring has been left for good.

        `goes_on`: the next packet continues its message.
        """

    def restart_unfinished(self, preface: bytes) -> None:
        """If a message of the send queue in use has been sent in part, send it from its first packet on again, with the
        packet `preface` before it."""

    def synchronized(self) -> None:
        """Synchronization has completed: use the regular send queue."""

    def request_token(self) -> None:
        """There is something to send: a token that is being held should come round now."""


class GroupsUpper(Protocol):
    """What the groups layer calls, always at the same place in the total order on every node."""

    def message_delivered(self, group: bytes, sender: NodeId, body: bytes) -> None:
        """A message for `group`. A BadPacket that it raises is counted; the messages behind are delivered."""

    def messages_delivered(self, sender: NodeId, bodies: list[bytes]) -> bool:
        """All messages of one packet, for SERVICE_GROUP. False: nothing has been done with them, and each is given to
        `message_delivered`."""

    def configuration_changed(self, change: ConfigurationChanged) -> None:
        """A transitional or regular configuration."""

    def token_sent(self) -> None:
        """The token went on: a step of synchronization may run."""

    def waits_for_token(self) -> bool:
        """Whether `token_sent` would do anything."""


class QueueLevel(IntEnum):
    """How full the send queue is, as corosync's rate limiter counts it."""

    LOW = 0
    GOOD = 1
    HIGH = 2
    CRITICAL = 3
