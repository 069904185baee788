"""What a service's front and the connection that it serves are to each other.

A connection belongs to one service and one client. It checks what every request has in common, hands the rest to the
front, and carries responses and events to the client; the front knows the service's messages and nothing of rings,
sockets or flow control.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from totemd.ipc.ports import Credentials
from totemd.ipc.services import Services
from totemd.record import record


class Port(Protocol):
    """A connection, as its front sees it."""

    @property
    def credentials(self) -> Credentials:
        """Who the client is, as the kernel says."""

    def respond(self, message: bytes) -> None:
        """Answer a request that `handle` has left open. Nothing happens if the client is gone by now."""

    def send_event(self, message: bytes) -> None:
        """Queue an event behind all that was queued before. A client that leaves too much unread is cut off."""

    def send_events(self, messages: Sequence[bytes]) -> None:
        """The same for many events."""


class Front(Protocol):
    """One connection's state of one service. Also the `services.base.Listener` of that service, where it has events."""

    def handle(self, function: int, message: bytes) -> bytes | None:
        """Serve a whole request, header included; its id, `function`, is one of the service's and its header's size is
        the message's. Returns the response, or None if there is none (yet: `Port.respond`). A request that is too short
        for its fields is answered with INVALID_PARAM. ServiceError: the connection makes a bare response of it."""

    def close(self) -> None:
        """The client is gone, or cut off: forget it everywhere. Called once."""


HandleBatch: TypeAlias = Callable[[Sequence[bytes], int], int]
"""The method `handle_batch` of a front that can serve some requests many at a time: from the one with the given index
on, whole but unchecked; gives how many. It stops before the first that it does not serve so, or that is not all right:
that one goes the usual way. None of them has a response. They are under flow control: none is served while those are
refused."""


@record
class QbService:
    """One of the services that have a socket of their own."""

    name: str
    """Of the abstract socket."""
    service_id: int
    functions: int
    """Request ids are less than this."""
    flow_controlled: frozenset[int]
    """Requests that are refused with TRY_AGAIN while the ring synchronizes or its queue is full."""
    unanswered: frozenset[int]
    """Requests that never have a response."""
    make: Callable[[Services, Port], Front]
