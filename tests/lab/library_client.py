"""A client of one of corosync's own libraries at a front, without a library, a ring of bytes or a socket."""

from collections.abc import Sequence
from struct import Struct

from ipc_world import ROOT
from totemd.errors import Code, ServiceError
from totemd.ipc.ports import Credentials
from totemd.ipc.services import Services
from totemd.qb.api import QbService

REQUEST = Struct("=i4xi4x")
RESPONSE = Struct("=i4xi4xi4x")


class LibraryClient:
    """Both ends of a connection: it is the front's port, and asks it as libqb would."""

    def __init__(self, services: Services, service: QbService, credentials: Credentials = ROOT) -> None:
        self.credentials = credentials
        self.later: list[bytes] = []
        """Responses that came after their request had been handled."""
        self._events: list[bytes] = []
        self._service = service
        self.front = service.make(services, self)

    def respond(self, message: bytes) -> None:
        self.later.append(message)

    def send_event(self, message: bytes) -> None:
        ident, size, _ = RESPONSE.unpack_from(message)
        assert size == len(message), (ident, size, len(message))
        self._events.append(message)

    def send_events(self, messages: Sequence[bytes]) -> None:
        for message in messages:
            self.send_event(message)

    def take(self) -> list[bytes]:
        """Events since the last time."""
        events, self._events = self._events, []
        return events

    def ask(self, function: int, fields: bytes = b"", *, header: int = REQUEST.size) -> bytes | None:
        """Send a request, its header (padded to `header` bytes) made here. Returns the response."""
        size = header + len(fields)
        message = REQUEST.pack(function, size).ljust(header, b"\0") + fields
        try:
            response = self.front.handle(function, message)
        except ServiceError as error:
            response = RESPONSE.pack(0, RESPONSE.size, error.code)
        if response is not None:
            assert RESPONSE.unpack_from(response)[1] == len(response)
        return None if function in self._service.unanswered else response

    def result(self, function: int, fields: bytes = b"", *, header: int = REQUEST.size) -> tuple[int, Code]:
        """The response's id and code."""
        response = self.ask(function, fields, header=header)
        assert response is not None
        ident, _, code = RESPONSE.unpack_from(response)
        return ident, Code(code)
