"""One client of corosync's libraries, from handshake to end, without a socket and without shared memory.

    shell: whole request --> receive() --> admission --> front --> services
                                                           |
    shell: Link.put_response, Link.put_event <-- queues <--+

Responses and events are written at once as long as nothing is queued; what finds no room waits here, up to a bound.
A session that cannot go on has `closing` set and stands in `QbSessions.with_work`; the shell then closes the connection
and calls `closed`, never from within a service's push (protocol/, chapter "libqb sockets").
"""

from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

from totemd.errors import BadRing, Code, ServiceError
from totemd.ipc.backlog import Account
from totemd.ipc.ports import Credentials
from totemd.ipc.services import Services
from totemd.qb.api import HandleBatch, QbService
from totemd.qb.codec import REQUEST_HEADER, response
from totemd.qb.handshake import DISCONNECT
from totemd.services.base import ServiceId

RUN: Final = 0
HOLD: Final = 2
"""Flow words: requests may be sent; multicasts may not, and others will wait. (1 would stop all requests: unused.)"""

FLUSH_MAX: Final = 64
"""Messages written by one `flush`: a ring that was emptied has room for tens of thousands."""

_REFUSED: Final = 0
"""Id of a response that refuses a request before its service sees it."""


class Link(Protocol):
    """How messages get to the client. BadRing: it cannot go on."""

    @property
    def message_max(self) -> int:
        """Longest message that the client takes, bytes."""

    def put_response(self, message: bytes) -> bool:
        """False: there is no room now."""

    def put_event(self, message: bytes) -> bool:
        """False: there is no room now."""

    def put_events(self, messages: Sequence[bytes]) -> int:
        """How many of them, from the first on, there was room for."""

    def set_flow(self, word: int) -> None:
        """Tell the client what it may send."""


class Counters:
    """Of one connection, for the statistics that are published."""

    __slots__ = ("dispatched", "flow_control_count", "invalid", "overload", "requests", "responses", "retries", "sent")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Count from nothing."""
        self.requests = 0
        self.responses = 0
        self.dispatched = 0
        """Events queued for the client, whether written or not."""
        self.sent = 0
        """Events written."""
        self.retries = 0
        """Events that found no room at first."""
        self.overload = 0
        """Requests refused, or kept waiting, because the ring takes no messages now."""
        self.invalid = 0
        self.flow_control_count = 0
        """How often the client was told to hold."""


class Room(Protocol):
    """What a session must know of the node."""

    @property
    def queue_ready(self) -> bool:
        """False while multicasts are refused: the ring synchronizes, or its queue is nearly full."""


class QbSession:
    """The daemon's side of one connection; the `Port` of its front."""

    def __init__(
        self,
        service: QbService,
        services: Services,
        credentials: Credentials,
        link: Link,
        room: Room,
        with_work: dict["QbSession", None],
    ) -> None:
        """`with_work`: where sessions put themselves that have something queued, held or to be closed."""
        self.service = service
        self.counters = Counters()
        self.flow = RUN
        self.closing: str | None = None
        """Why the connection is to be closed; "" if the client wants it so."""
        self._account = Account(services.backlog, credentials.uid, self.cut)
        self.goes_on = False
        """Whether the last `flush` stopped at its bound, and not for want of room."""
        self._credentials = credentials
        self._link = link
        self._room = room
        self._with_work = with_work
        self._functions = service.functions
        self._flow_controlled = service.flow_controlled
        self._held: bytes | None = None
        self._responses: deque[bytes] = deque()
        self._events: deque[bytes] = deque()
        self._front = service.make(services, self)
        self._handle = self._front.handle
        self._handle_batch: HandleBatch | None = getattr(self._front, "handle_batch", None)

    # -- the shell's side --------------------------------------------------------------------------------------------

    @property
    def accepts(self) -> bool:
        """Whether the next request may be given to `receive`."""
        return self.flow == RUN and self._held is None and self.closing is None

    @property
    def holds(self) -> bool:
        """Whether a multicast waits until the ring takes it."""
        return self._held is not None

    @property
    def has_queued(self) -> bool:
        """Whether `flush` has something to write."""
        return bool(self._responses or self._events)

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait for room."""
        return self._account.queued_bytes

    @property
    def queued_events(self) -> int:
        """Events that wait for room."""
        return len(self._events)

    def receive(self, message: bytes) -> None:
        """Handle a request; while `accepts`."""
        counters = self.counters
        counters.requests += 1
        if len(message) < REQUEST_HEADER.size:
            return self.cut(f"a request of {len(message)} bytes has no header")
        ident, size = REQUEST_HEADER.unpack_from(message)
        if size != len(message):
            if not REQUEST_HEADER.size <= size < len(message):
                return self._refuse_invalid(ident)
            message = message[:size]
        if not 0 <= ident < self._functions:
            return self._refuse_invalid(ident)
        return self._serve(ident, message)

    def receive_all(self, messages: Sequence[bytes]) -> int:
        """Handle requests as far as they are accepted; how many that were. To be called while `accepts`."""
        handle_batch = self._handle_batch
        done, end = 0, len(messages)
        while done < end:
            if handle_batch is not None:
                count = handle_batch(messages, done)
                self.counters.requests += count
                done += count
                if done == end:
                    break
            self.receive(messages[done])
            done += 1
            if not self.accepts:
                break
        return done

    def flush(self) -> bool:
        """Write some of what is queued, and retry what was held. False: there is more to do, be it to close the
        connection."""
        self.goes_on = False
        if self.closing is not None:
            return False
        if self._held is not None and self._room.queue_ready:
            message, self._held = self._held, None
            self._serve(REQUEST_HEADER.unpack_from(message)[0], message)
        left = FLUSH_MAX
        try:
            while left and self._responses and self._link.put_response(self._responses[0]):
                self._account.remove(len(self._responses.popleft()))
                left -= 1
            while left and self._events and self._link.put_event(self._events[0]):
                self._account.remove(len(self._events.popleft()))
                self.counters.sent += 1
                left -= 1
            self.goes_on = not left and self.has_queued
        except BadRing as error:
            self.cut(str(error))
        return self._held is None and not self.has_queued and self.closing is None

    def set_flow(self, *, synchronizing: bool, critical: bool) -> None:
        """Let the client know whether it may send."""
        waits_for_sync = synchronizing and self.service.service_id != ServiceId.VOTEQUORUM
        word = HOLD if critical or waits_for_sync else RUN
        if word == self.flow or self.closing is not None:
            return
        self.flow = word
        self.counters.flow_control_count += word != RUN
        try:
            self._link.set_flow(word)
        except BadRing as error:
            self.cut(str(error))

    def cut(self, reason: str) -> None:
        """The connection has to be closed."""
        if self.closing is None:
            self.closing = reason
            self._with_work[self] = None

    def closed(self) -> None:
        """The connection is gone."""
        if self.closing is None:
            self.closing = ""
        self._with_work.pop(self, None)
        self._held = None
        self._account.close()
        self._responses.clear()
        self._events.clear()
        self._account.queued_bytes = 0
        self._front.close()

    # -- the front's side --------------------------------------------------------------------------------------------

    @property
    def credentials(self) -> Credentials:
        return self._credentials

    def respond(self, message: bytes) -> None:
        if self.closing is not None:
            return None
        self.counters.responses += 1
        try:
            if not self._responses and self._link.put_response(message):
                return None
        except BadRing as error:
            return self.cut(str(error))
        return self._queue(self._responses, message)

    def send_event(self, message: bytes) -> None:
        if self.closing is not None:
            return None
        counters = self.counters
        counters.dispatched += 1
        try:
            if not self._events and self._link.put_event(message):
                counters.sent += 1
                return None
        except BadRing as error:
            return self.cut(str(error))
        counters.retries += 1
        return self._queue(self._events, message)

    def send_events(self, messages: Sequence[bytes]) -> None:
        written = 0
        if self.closing is None and not self._events:
            try:
                written = self._link.put_events(messages)
            except BadRing as error:
                return self.cut(str(error))
            self.counters.dispatched += written
            self.counters.sent += written
        for message in messages[written:]:
            self.send_event(message)
        return None

    # -- within ------------------------------------------------------------------------------------------------------

    def _serve(self, ident: int, message: bytes) -> None:
        if ident in self._flow_controlled and not self._room.queue_ready:
            return self._try_later(ident, message)
        try:
            answer = self._handle(ident, message)
        except ServiceError as error:
            if error.code is Code.TRY_AGAIN:
                return self._try_later(ident, message)
            if ident not in self.service.unanswered:
                self.respond(response(_REFUSED, error.code))
            return None
        if answer is not None:
            self.respond(answer)
        return None

    def _try_later(self, ident: int, message: bytes) -> None:
        """The client can try again where there is a response; where there is none it believes the message sent."""
        self.counters.overload += 1
        if ident in self.service.unanswered:
            self._held = message
            self._with_work[self] = None
        else:
            self.respond(response(_REFUSED, Code.TRY_AGAIN))

    def _refuse_invalid(self, ident: int) -> None:
        if ident == DISCONNECT:
            return self.cut("")
        self.counters.invalid += 1
        if ident not in self.service.unanswered:
            self.respond(response(_REFUSED, Code.INVALID_PARAM))
        return None

    def _queue(self, queue: deque[bytes], message: bytes) -> None:
        if len(message) > self._link.message_max:
            return self.cut(f"a message of {len(message)} bytes is more than the client takes")
        queue.append(message)
        self._with_work[self] = None
        return self._account.add(len(message))
