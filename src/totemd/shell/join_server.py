"""Where nodes with a ticket knock: a TLS server, open only while there is a ticket that somebody may bring.

Strangers cost little: connections are few at once and short, the first message is small, and who has not shown a ticket
makes room for who comes next. All decisions are in `cluster.joining`.
"""

import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import trio

from totemd.cluster.join_messages import (
    FIRST_MAX,
    FROM_JOINER_MAX,
    LENGTH_SIZE,
    Hello,
    Refused,
    decode,
    encode,
)
from totemd.cluster.joining import Close, Propose, Send, Sponsor, SponsorAction
from totemd.cluster.ticket import secret_digest
from totemd.errors import BadPacket

CONNECTIONS_MAX: Final = 16
"""At once; past it the oldest that has shown no ticket is cut off."""

ACCEPT_PAUSE_S: Final = 0.02
"""Between connections: the handshakes of a flood leave the ring its time."""

GREETING_TIMEOUT_S: Final = 10.0
"""For the TLS handshake and the first message."""

ANSWER_TIMEOUT_S: Final = 60.0
"""For each message after that: the joiner probes, or writes to its disk."""

Log = Callable[[str, str], None]
Carry = Callable[[Sponsor, str], Awaitable[list[SponsorAction]]]
"""Carries out the change of that kind that a sponsor asks for; gives what the sponsor wants done then."""


class _Visitor:
    """One connection."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.sponsor: Sponsor | None = None


class JoinServer:
    """Listens at one address while `serve` runs."""

    def __init__(self, context: ssl.SSLContext, new_sponsor: Callable[[], Sponsor], carry: Carry, log: Log) -> None:
        self._context = context
        self._new_sponsor = new_sponsor
        self._carry = carry
        self._log = log
        self._visitors: dict[_Visitor, None] = {}

    @property
    def busy(self) -> bool:
        """Whether somebody is here who has shown a ticket."""
        return any(visitor.sponsor is not None and visitor.sponsor.authenticated for visitor in self._visitors)

    async def serve(self, listener: trio.SocketListener) -> None:
        """Serve until cancelled. The connections that have shown a ticket are ended as well then."""
        async with trio.open_nursery() as nursery, listener:
            while True:
                try:
                    stream = await listener.accept()
                except OSError as error:
                    # No descriptors left, most likely.
                    self._log("warning", f"cannot accept a joining node's connection: {error.strerror or error}")
                    await trio.sleep(1)
                    continue
                if not self._make_room():
                    await trio.aclose_forcefully(stream)
                    continue
                visitor = _Visitor()
                self._visitors[visitor] = None
                nursery.start_soon(self._receive, visitor, stream)
                await trio.sleep(ACCEPT_PAUSE_S)

    def _make_room(self) -> bool:
        """Whether there is room for one more."""
        if len(self._visitors) < CONNECTIONS_MAX:
            return True
        for visitor in self._visitors:
            if visitor.sponsor is None or not visitor.sponsor.authenticated:
                visitor.scope.cancel()
                del self._visitors[visitor]
                return True
        return False

    def _is_here(self, ticket_digest: bytes) -> bool:
        return any(
            visitor.sponsor is not None and visitor.sponsor.ticket_digest == ticket_digest for visitor in self._visitors
        )

    async def _receive(self, visitor: _Visitor, stream: trio.SocketStream) -> None:
        source = _peer(stream)
        try:
            with visitor.scope:
                secured = trio.SSLStream(stream, self._context, server_side=True)
                try:
                    await self._converse(visitor, secured)
                except BadPacket as error:
                    # Without what it sent, so that lines of a flood are the same line and most of them only counted.
                    self._log("warning", f"a joining node at {source} is cut off: {error.reason}")
                    self._log("debug", f"a joining node at {source} is cut off: {error}")
                except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError, ssl.SSLError, OSError):
                    pass
        finally:
            self._visitors.pop(visitor, None)
            with trio.CancelScope(shield=True):
                # Without a word of goodbye in TLS: the last message has said it.
                await trio.aclose_forcefully(stream)
        if visitor.sponsor is not None:
            try:
                await self._perform(visitor.sponsor, None, visitor.sponsor.disconnected())
            finally:
                visitor.sponsor.forget()

    async def _converse(self, visitor: _Visitor, stream: "trio.SSLStream[trio.SocketStream]") -> None:
        with trio.fail_after(GREETING_TIMEOUT_S):
            await stream.do_handshake()
            reader = _Reader(stream)
            body = await reader.take(FIRST_MAX)
        message = decode(body)
        sponsor = self._new_sponsor()
        if isinstance(message, Hello) and self._is_here(secret_digest(message.secret)):
            busy = Refused("busy", ("somebody else is joining with this ticket just now",))
            await self._perform(sponsor, stream, [Send(busy), Close()])
            return
        visitor.sponsor = sponsor
        going_on = await self._perform(sponsor, stream, sponsor.receive(message))
        while going_on:
            with trio.fail_after(ANSWER_TIMEOUT_S):
                body = await reader.take(FROM_JOINER_MAX)
            going_on = await self._perform(sponsor, stream, sponsor.receive(decode(body)))

    async def _perform(
        self, sponsor: Sponsor, stream: "trio.SSLStream[trio.SocketStream] | None", actions: list[SponsorAction]
    ) -> bool:
        """Whether the conversation goes on."""
        while actions:
            action = actions.pop(0)
            if isinstance(action, Send):
                if stream is not None:
                    with trio.fail_after(ANSWER_TIMEOUT_S):
                        await stream.send_all(encode(action.message))
            elif isinstance(action, Propose):
                actions += await self._carry(sponsor, action.kind)
            elif isinstance(action, Close):
                if stream is not None:
                    with trio.move_on_after(1.0), suppress(trio.BrokenResourceError):
                        # Until the other end has read it all.
                        await stream.receive_some(1)
                return False
        return True


class _Reader:
    """Takes messages out of a stream."""

    def __init__(self, stream: "trio.SSLStream[trio.SocketStream]") -> None:
        self._stream = stream
        self._buffer = bytearray()

    async def take(self, size_max: int) -> bytes:
        """The next message's body. BadPacket if it is larger than `size_max`, BrokenResourceError at the end."""
        await self._fill(LENGTH_SIZE)
        size = int.from_bytes(self._buffer[:LENGTH_SIZE], "big")
        if size > size_max:
            raise BadPacket("bad join message", f"{size} bytes, more than {size_max}")
        await self._fill(LENGTH_SIZE + size)
        body = bytes(self._buffer[LENGTH_SIZE : LENGTH_SIZE + size])
        del self._buffer[: LENGTH_SIZE + size]
        return body

    async def _fill(self, size: int) -> None:
        while len(self._buffer) < size:
            data = await self._stream.receive_some(65536)
            if not data:
                raise trio.BrokenResourceError
            self._buffer += data


def _peer(stream: trio.SocketStream) -> str:
    try:
        return str(stream.socket.getpeername()[0])
    except OSError:
        return "an address that is gone"
