"""One client of corosync's libraries: its stream, the way of its messages and its session."""

import select
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from struct import Struct
from typing import Final

from totemd.errors import BadRing
from totemd.qb import ring
from totemd.qb.ring import LARGE
from totemd.qb.session import QbSession
from totemd.shell.qb_memory import SharedMemory

NOTICES_PER_TURN: Final = 1024
"""Bytes read from a stream at once."""
REQUESTS_PER_TURN: Final = 128
"""Requests of one client before others, and the ring, have their turn; each LARGE_BYTES count as one more."""
LARGE_BYTES: Final = 4096
UNSERVED_MAX: Final = 1_000_000
"""Requests that a client may announce ahead; a ring has no room for so many."""
NOTICES_MAX: Final = 4096
"""Bytes written to a stream at once."""

FLOW: Final = Struct("=i")

Watch = Callable[[int, int], None]
"""Changes for which events (epoll(7)) a descriptor is watched."""


class QbConnection(ABC):
    """What of one client is open."""

    def __init__(self, stream: socket.socket, session: QbSession) -> None:
        self.stream = stream
        self.session = session
        self.announced = 0
        """Requests that have been announced and not been taken; at most so many are there."""

    @property
    def descriptors(self) -> tuple[int, ...]:
        """To be watched."""
        return (self.stream.fileno(),)

    @abstractmethod
    def handle(self, descriptor: int, events: int) -> None:
        """A descriptor has something; what follows for the client's requests is for `serve`."""

    @abstractmethod
    def take(self, count: int) -> Sequence[bytes]:
        """The next requests, up to so many; none if there are none. BadRing."""

    @abstractmethod
    def put_back(self, requests: Sequence[bytes]) -> None:
        """The last of them are to be taken again."""

    @abstractmethod
    def give_back(self) -> None:
        """What has been taken may be written over. BadRing."""

    @property
    def has_requests(self) -> bool:
        """Whether `serve` has something to do, now."""
        return self.announced > 0 and self.session.accepts

    def serve(self) -> None:
        """Handle a few requests; `give_back` is to follow, once their consequences are on their way."""
        session = self.session
        left = REQUESTS_PER_TURN
        if not session.accepts:
            return
        try:
            while left > 0 and self.announced:
                messages = self.take(left)
                if not messages:
                    # A byte too many, and no more than that.
                    self.announced = 0
                    break
                if len(messages[0]) >= LARGE:
                    # So that there is room for the next.
                    self.give_back()
                handled = session.receive_all(messages)
                if handled < len(messages):
                    self.put_back(messages[handled:])
                    break
                if self.announced and not session.accepts:
                    break
                left -= handled + sum(map(len, messages)) // LARGE_BYTES
        except BadRing as error:
            session.cut(str(error))

    def close(self) -> None:
        """Close and remove everything; the session has been told."""
        self.stream.close()


class MemoryLink:
    """The way to the client: rings for messages, and one byte in the stream for each event.

    Events are announced together, by `announce`: many may come of one packet of the ring."""

    def __init__(
        self,
        stream: socket.socket,
        memory: SharedMemory,
        message_max: int,
        watch: Watch,
        unannounced: dict["MemoryLink", None],
    ) -> None:
        """`unannounced`: where links put themselves that have events to announce."""
        self._stream = stream
        self._memory = memory
        self._message_max = message_max
        self._watch = watch
        self._unannounced = unannounced
        self._events = memory.events
        self._put_response = memory.responses.put
        self._write_event = memory.events.write
        self._owed = 0
        """Bytes that the stream had no room for."""
        self.session: QbSession | None = None

    @property
    def message_max(self) -> int:
        return self._message_max

    def put_response(self, message: bytes) -> bool:
        if self._events.unannounced:
            # They happened before.
            self.announce()
        return self._put_response(message)

    def put_event(self, message: bytes) -> bool:
        if self._write_event(message):
            self._unannounced[self] = None
            return True
        if self._events.unannounced:
            # What is not announced will never be read, and no room be made.
            self.announce()
        return False

    def put_events(self, messages: Sequence[bytes]) -> int:
        count = self._events.write_all(messages)
        if count:
            self._unannounced[self] = None
        if count < len(messages) and self._events.unannounced:
            self.announce()
        return count

    def announce(self) -> None:
        """Let the client know of the events that have been put. BadRing."""
        count = self._events.unannounced
        if not count:
            return
        self._events.publish()
        if not self._owed:
            try:
                count -= self._stream.send(bytes(min(count, NOTICES_MAX)))
            except BlockingIOError:
                pass
            except OSError:
                raise BadRing("") from None
            if count:
                self._watch(self._stream.fileno(), select.EPOLLIN | select.EPOLLOUT)
        self._owed += count
        # The client is awake by now.
        self._events.show_place()

    def pay(self) -> None:
        """Write owed bytes. BadRing: the client is gone."""
        if not self._owed:
            return
        try:
            self._owed -= self._stream.send(bytes(min(self._owed, NOTICES_MAX)))
        except BlockingIOError:
            return
        except OSError:
            raise BadRing("") from None
        if not self._owed:
            self._watch(self._stream.fileno(), select.EPOLLIN)

    def set_flow(self, word: int) -> None:
        self._memory.flow_file.write(ring.FLOW, FLOW.pack(word))


class MemoryConnection(QbConnection):
    """A client that shares memory with us."""

    def __init__(self, stream: socket.socket, memory: SharedMemory, link: MemoryLink, session: QbSession) -> None:
        super().__init__(stream, session)
        self._memory = memory
        self._link = link
        link.session = session
        self._requests = memory.requests
        self._receive = stream.recv

    def handle(self, descriptor: int, events: int) -> None:
        if events & select.EPOLLOUT:
            try:
                self._link.pay()
            except BadRing as error:
                self.session.cut(str(error))
            if events == select.EPOLLOUT:
                return
        # What the stream has: a byte for each request, or its end.
        try:
            count = len(self._receive(NOTICES_PER_TURN))
        except BlockingIOError:
            return
        except OSError:
            count = 0
        self.announced += count
        if not count:
            self.session.cut("")
        elif self.announced > UNSERVED_MAX:
            self.session.cut(f"{self.announced} requests are announced and wait")

    def take(self, count: int) -> Sequence[bytes]:
        messages = self._requests.take_many(min(count, self.announced))
        self.announced -= len(messages)
        return messages

    def put_back(self, requests: Sequence[bytes]) -> None:
        self._requests.put_back(requests)
        self.announced += len(requests)

    def give_back(self) -> None:
        self._requests.release()

    def close(self) -> None:
        super().close()
        self._memory.close()
