"""One connection of the trio client, from its hello to its end.

    callers -> call() -> outbox -> write task -> socket
    socket -> read task -> replies to callers, events to subscriptions' queues

The read task stops while too many events wait and nobody awaits a reply: the daemon's bounded backlog then fills and it
cuts us off with a reason. While a reply is awaited it goes on reading, because a member that answers each event with a
multicast would otherwise wait for a reply that stands behind its own events.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TypeVar

import trio

from totemd.client.errors import CannotConnect, ConnectionLost, ProtocolError, Refused, TotemdClientError, TryAgain
from totemd.client.protocol import (
    POST,
    QUEUED_BYTES_MAX,
    QUEUED_BYTES_PAUSE,
    ClientProtocol,
    Incoming,
    Pushed,
    Ready,
    Reply,
    too_many_events,
    why_not_connected,
)
from totemd.client.records import Welcome
from totemd.client.requests import Request

T = TypeVar("T")

HELLO_TIMEOUT_S = 10.0
"""How long the daemon may take to answer our hello."""

READY_POLL_S = 1.0
"""After try_again: ask again after this even if no "ready" came."""

OUTBOX_FRAMES = 16
"""Requests that wait for the socket; past it callers wait."""

_RECEIVE_SIZE_BYTES = 262_144


class Backlog:
    """How much waits in all queues of one client, and the bell that rings when it shrinks."""

    def __init__(self) -> None:
        self.queued_bytes = 0
        self._bell: trio.Event | None = None

    def add(self, cost_bytes: int) -> None:
        self.queued_bytes += cost_bytes

    def remove(self, cost_bytes: int) -> None:
        self.queued_bytes -= cost_bytes
        if self._bell is not None and self.queued_bytes <= QUEUED_BYTES_PAUSE:
            self.ring()

    def ring(self) -> None:
        """Let the reader look again."""
        if self._bell is not None:
            self._bell.set()
            self._bell = None

    async def wait(self) -> None:
        """Wait for the bell (one reader at a time)."""
        self._bell = trio.Event()
        await self._bell.wait()


class Sink(Protocol):
    """Where a subscription's events go."""

    id: int

    def begun(self, value: object) -> None:
        """The subscribing request was granted with `value`; its events follow."""

    def put(self, event: Any, cost_bytes: int) -> None:
        """One event."""


class _Waiter:
    """A caller that awaits its reply; no reply after the bell means that the connection has failed."""

    __slots__ = ("bell", "reply")

    def __init__(self) -> None:
        self.bell = trio.Event()
        self.reply: Reply | None = None


class Link:
    """Made by `open_link`; `run` must be running for `call` to return."""

    def __init__(self, stream: trio.SocketStream, protocol: ClientProtocol, welcome: Welcome, backlog: Backlog) -> None:
        self.welcome = welcome
        self.failure: TotemdClientError | None = None
        self.sinks: dict[int, Sink] = {}
        self.ready = trio.Event()
        """The next "ready": take it before the request that may be refused, wait for it after."""
        self._stream = stream
        self._protocol = protocol
        self._backlog = backlog
        self.refused: Refused | None = None
        """Why a post was refused, until somebody is told."""
        self._waiters: dict[int, _Waiter] = {}
        self._impatient = 0
        self._outbox_in, self._outbox_out = trio.open_memory_channel[bytes](OUTBOX_FRAMES)

    async def run(self) -> TotemdClientError:
        """Read and write until the connection ends; returns why."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write)
            try:
                failure = await self._read()
                self.fail(failure)
            finally:
                self.fail(ConnectionLost("this client was closed"))
                nursery.cancel_scope.cancel()
        return failure

    def fail(self, failure: TotemdClientError) -> None:
        """Wake everybody who waits for this connection."""
        if self.failure is not None:
            return
        self.failure = failure
        for waiter in self._waiters.values():
            waiter.bell.set()
        self.ready.set()
        self._outbox_out.close()

    async def call(self, request: Request[T], sink: Sink | None = None) -> T:
        """Send `request` and wait for its reply. Cancelled: the daemon may still carry it out."""
        if self.failure is not None:
            raise self.failure
        request_id, frame = self._protocol.request(request)
        if sink is not None:
            sink.id = request_id
            self.sinks[request_id] = sink
        waiter = self._waiters[request_id] = _Waiter()
        try:
            with self.reading():
                await self._exchange(frame, waiter)
            assert waiter.reply is not None
            if waiter.reply.error is not None:
                raise waiter.reply.error
            return request.decode(waiter.reply.value)
        except BaseException:
            self.sinks.pop(request_id, None)
            raise
        finally:
            del self._waiters[request_id]

    async def persist(self, request: Request[T], sink: Sink | None = None) -> T:
        """Call, and call again after each "ready", until it is no longer refused with try_again."""
        while True:
            ready = self.ready
            with suppress(TryAgain):
                return await self.call(request, sink)
            with trio.move_on_after(READY_POLL_S), self.reading():
                await ready.wait()

    async def post(self, request: Request[None]) -> None:
        """Send `request`, which has no reply but a refusal. Waits while the daemon takes no more."""
        self.tell_refusal()
        if self.failure is not None:
            raise self.failure
        with self.reading():
            await self._send(self._protocol.post(request))

    @property
    def may_post(self) -> bool:
        """Whether the daemon knows quiet multicasts."""
        return self._protocol.may_post

    def tell_refusal(self) -> None:
        """Raise what a post was refused with, once."""
        refused, self.refused = self.refused, None
        if refused is not None:
            raise refused

    async def _send(self, frame: bytes) -> None:
        try:
            await self._outbox_in.send(frame)
        except trio.BrokenResourceError:
            assert self.failure is not None
            raise self.failure from None

    async def _exchange(self, frame: bytes, waiter: _Waiter) -> None:
        await self._send(frame)
        await waiter.bell.wait()
        if waiter.reply is None:
            assert self.failure is not None
            raise self.failure

    @contextmanager
    def reading(self) -> Iterator[None]:
        """While this lasts, the socket is read although events pile up."""
        self._impatient += 1
        self._backlog.ring()
        try:
            yield
        finally:
            self._impatient -= 1

    async def _write(self) -> None:
        try:
            async for frame in self._outbox_out:
                frames = [frame]
                with suppress(trio.WouldBlock):
                    while True:
                        frames.append(self._outbox_out.receive_nowait())
                await self._stream.send_all(b"".join(frames))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            # The read task meets the same end and knows the daemon's reason for it.
            await trio.sleep(math.inf)

    async def _read(self) -> TotemdClientError:
        try:
            while True:
                while (incoming := self._protocol.take()) is not None:
                    self._sort(incoming)
                while self._backlog.queued_bytes > QUEUED_BYTES_PAUSE and not self._impatient:
                    await self._backlog.wait()
                data = await self._stream.receive_some(_RECEIVE_SIZE_BYTES)
                if not data:
                    return self._protocol.ended()
                self._protocol.append(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            return self._protocol.ended(str(error.__cause__ or error))
        except TotemdClientError as error:
            return error

    def _sort(self, incoming: Incoming) -> None:
        if isinstance(incoming, Reply):
            sink = self.sinks.get(incoming.id)
            if sink is not None and incoming.error is None:
                sink.begun(incoming.value)
            waiter = self._waiters.get(incoming.id)
            if waiter is not None:
                waiter.reply = incoming
                waiter.bell.set()
            elif incoming.id == POST and incoming.error is not None:
                self.refused = self.refused or incoming.error
        elif isinstance(incoming, Pushed):
            sink = self.sinks.get(incoming.of)
            if sink is not None:
                sink.put(incoming.event, incoming.cost_bytes)
                if self._backlog.queued_bytes > QUEUED_BYTES_MAX:
                    raise too_many_events()
        elif isinstance(incoming, Ready):
            self.ready.set()
            self.ready = trio.Event()

    async def aclose(self) -> None:
        """Close the socket."""
        await self._stream.aclose()


async def open_link(path: str, name: str, backlog: Backlog) -> Link:
    """Connect and exchange hellos. Raises CannotConnect, ProtocolError, or Refused ("access")."""
    try:
        with trio.fail_after(HELLO_TIMEOUT_S):
            stream = await trio.open_unix_socket(path)
            protocol = ClientProtocol(name)
            try:
                welcome = await _hello(stream, protocol)
            except BaseException:
                await trio.aclose_forcefully(stream)
                raise
        return Link(stream, protocol, welcome, backlog)
    except trio.TooSlowError:
        raise CannotConnect(path, why_not_connected(path, TimeoutError())) from None
    except OSError as error:
        raise CannotConnect(path, why_not_connected(path, error)) from None
    except (ConnectionLost, trio.BrokenResourceError) as error:
        raise CannotConnect(path, f"the daemon at {path} did not let us in: {error}") from None


async def _hello(stream: trio.SocketStream, protocol: ClientProtocol) -> Welcome:
    with suppress(trio.BrokenResourceError):
        # Who is refused is told why and cut off without being heard.
        await stream.send_all(protocol.hello())
    while True:
        incoming = protocol.take()
        if isinstance(incoming, Welcome):
            return incoming
        if incoming is not None:
            raise ProtocolError("the daemon spoke before its hello")
        data = await stream.receive_some(_RECEIVE_SIZE_BYTES)
        if not data:
            raise protocol.ended()
        protocol.append(data)
