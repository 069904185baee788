"""The native socket: accepts clients, moves bytes between their connections and the node's sessions."""

import resource
import select
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from math import inf
from typing import Final

import trio

from totemd.ipc.frames import encode_frame
from totemd.ipc.ports import Credentials
from totemd.ipc.session import Session
from totemd.limits import CLIENTS_MAX
from totemd.node import Node
from totemd.shell.listener import Listener

READ_SIZE: Final = 64 * 1024
"""Of a client's requests so many bytes are read between two turns of the ring."""

FAREWELL_S: Final = 2.0
"""How long a client that is being closed may take to read what is left for it."""

HELLO_TIMEOUT_S: Final = 10.0
"""How long a client may be connected without a hello: strangers must not use the connections up."""

DESCRIPTORS_RESERVED: Final = 64
"""Descriptors that clients cannot take: the ring's, the disk's and the log's."""

_UCRED = struct.Struct("3i")


class Connection:
    """One client: its socket, its session and what has not been written yet."""

    def __init__(self, sock: socket.socket, session: Session, full: set["Connection"]) -> None:
        """`full`: where connections stand whose socket takes no more for now."""
        self.socket = sock
        self._full = full
        self.session = session
        self.unwritten = bytearray()
        self.wants_to_write = trio.Event()
        self.broken = False
        self.watched = False
        """Whether its descriptor is in the epoll."""
        self.reading = trio.CancelScope()
        """Cancelled when no more is to be read: the client may be silent for ever."""

    def flush(self) -> None:
        """Write what the session has and the socket takes, now."""
        if self.session.has_output:
            for chunk in self.session.take_output():
                self.unwritten += chunk
        if self.unwritten and not self.broken:
            self._send()
        if self.broken or self.session.closing is not None:
            self.reading.cancel()

    async def flush_all(self) -> None:
        """Write until nothing is left. One task at a time may be in here."""
        while self.unwritten and not self.broken:
            await trio.lowlevel.wait_writable(self.socket)
            self.flush()

    def _send(self) -> None:
        try:
            count = self.socket.send(self.unwritten)
        except BlockingIOError:
            count = 0
        except OSError:
            self.broken = True
            self._full.discard(self)
            return
        if count:
            del self.unwritten[:count]
            self.session.written(count)
        if self.unwritten:
            self._full.add(self)
            self.wants_to_write.set()
        else:
            self._full.discard(self)


class Clients:
    """All connections. `pump` performs the node's effects; it is called after every input of a client."""

    def __init__(self, node: Node, listener: Listener, pump: Callable[[], None], epoll: select.epoll) -> None:
        """`epoll` becomes readable when a client that has been greeted wants something; then call `ready`."""
        self._node = node
        self._listener = listener.socket
        self._epoll = epoll
        self.by_descriptor: dict[int, Connection] = {}
        """Those whose descriptors are in the epoll."""
        self._unfinished: dict[Connection, None] = {}
        """Those that have sent more than has been handled."""
        self._by_session: dict[Session, Connection] = {}
        self._full: set[Connection] = set()
        self._pump = pump
        self._connections: set[Connection] = set()
        self._connections_max = connections_max(CLIENTS_MAX)
        self._ending = False

    async def serve(self) -> None:
        """Accept and serve clients until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                await trio.lowlevel.wait_readable(self._listener)
                try:
                    sock, _ = self._listener.accept()
                except BlockingIOError:
                    continue
                except OSError:
                    # Out of descriptors: clients wait in the backlog until some are closed.
                    await trio.sleep(0.1)
                    continue
                sock.setblocking(False)
                if len(self._connections) >= self._connections_max:
                    refuse(sock, f"{self._connections_max} connections are open, the most allowed")
                else:
                    nursery.start_soon(self._serve_one, sock)

    def flush(self) -> None:
        """Write what sessions have for their clients."""
        front = self._node.front
        if front.resumable:
            for session in front.resumable:
                self._unfinished[self._by_session[session]] = None
            front.resumable.clear()
        with_output = front.with_output
        if not with_output:
            return
        for session in with_output:
            connection = self._by_session.get(session)
            if connection is not None:
                connection.flush()
        with_output.clear()

    @property
    def busy(self) -> bool:
        """Whether `go_on` has something to do."""
        return bool(self._unfinished)

    def ready(self, descriptor: int, _events: int) -> None:
        """Read and handle some of what a client sent, now."""
        connection = self.by_descriptor[descriptor]
        if connection.reading.cancel_called:
            self._forget(connection)
            return
        if connection in self._unfinished:
            return
        try:
            data = connection.socket.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._handle(connection, data)
        else:
            connection.reading.cancel()

    def go_on(self) -> None:
        """Handle some more of what a client has sent before; each has its turn."""
        connection = next(iter(self._unfinished))
        del self._unfinished[connection]
        self._handle(connection, b"")

    def _handle(self, connection: Connection, data: bytes) -> None:
        session = connection.session
        self._node.session_receive(session, data, trio.current_time())
        if session.blocked is connection.watched:
            self._watch(connection, on=not session.blocked)
        if session.has_pending_input:
            self._unfinished[connection] = None
        elif session.closing is not None:
            connection.reading.cancel()
        self._pump()

    def _watch(self, connection: Connection, *, on: bool) -> None:
        """Hear more of a connection, or nothing for now; before its hello its task listens."""
        if not connection.session.greeted or connection.watched is on:
            return
        connection.watched = on
        if on:
            self.by_descriptor[connection.socket.fileno()] = connection
            self._epoll.register(connection.socket.fileno(), select.EPOLLIN)
        else:
            del self.by_descriptor[connection.socket.fileno()]
            self._epoll.unregister(connection.socket.fileno())

    def _forget(self, connection: Connection) -> None:
        """Hear no more of a connection: its task ends it."""
        self._unfinished.pop(connection, None)
        self._watch(connection, on=False)

    async def drain(self) -> None:
        """Give clients a moment to read their last events."""
        self._ending = True
        with trio.move_on_after(FAREWELL_S):
            while any(connection.unwritten and not connection.broken for connection in self._connections):
                await trio.sleep(0.01)
                for connection in self._connections:
                    connection.flush()

    async def _serve_one(self, sock: socket.socket) -> None:
        session = self._node.open_session(peer_credentials(sock), trio.current_time())
        connection = Connection(sock, session, self._full)
        self._connections.add(connection)
        self._by_session[session] = connection
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, connection)
                with connection.reading:
                    await self._greet(connection)
                if connection.reading.cancelled_caught and not session.greeted and not connection.broken:
                    session.close(f"no hello within {HELLO_TIMEOUT_S:.0f} s")
                nursery.cancel_scope.cancel()
            with trio.move_on_after(FAREWELL_S):
                connection.flush()
                await connection.flush_all()
        finally:
            self._connections.discard(connection)
            self._full.discard(connection)
            del self._by_session[session]
            self._forget(connection)
            self._report(session)
            self._node.session_closed(session, trio.current_time())
            sock.close()
            self._pump()

    def _report(self, session: Session) -> None:
        """Tell the operator of a client that did not go by itself."""
        if session.closing is None or self._ending:
            return
        who = f"a client of user {session.credentials.uid}"
        if session.greeted:
            # Of strangers there may be many; their lines are to be the same, for the log counts those.
            who = (
                f"{session.client_name or 'client'} (process {session.credentials.pid}, user {session.credentials.uid})"
            )
        self._node.log("warning", "IPC", f"{who} was disconnected: {session.closing}")

    async def _greet(self, connection: Connection) -> None:
        """Hear the client's hello, have the loop hear the rest, and stay until nothing more is to be read."""
        session = connection.session
        connection.reading.deadline = trio.current_time() + HELLO_TIMEOUT_S
        while not session.greeted:
            if session.closing is not None or connection.broken:
                return
            await trio.lowlevel.wait_readable(connection.socket)
            try:
                data = connection.socket.recv(READ_SIZE)
            except BlockingIOError:
                continue
            except OSError:
                return
            if not data:
                return
            self._handle(connection, data)
        connection.reading.deadline = inf
        await trio.sleep_forever()

    async def _write(self, connection: Connection) -> None:
        """Go on where a client's socket was full."""
        while True:
            await connection.wants_to_write.wait()
            connection.wants_to_write = trio.Event()
            await connection.flush_all()


def connections_max(wanted: int, *, each: int = 1, others: int = 0) -> int:
    """How many connections that take `each` so many descriptors this process may have, up to `wanted`, after asking for
    enough (setrlimit(2)). `others` is what others may take: half of all, if there are less than enough."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    asked = each * wanted + others + DESCRIPTORS_RESERVED
    if soft != resource.RLIM_INFINITY and soft < asked:
        with suppress(OSError, ValueError):
            resource.setrlimit(
                resource.RLIMIT_NOFILE, (asked if hard == resource.RLIM_INFINITY else min(hard, asked), hard)
            )
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    return max(1, min(wanted, (soft - min(others, soft // 2) - DESCRIPTORS_RESERVED) // each))


def refuse(sock: socket.socket, message: str) -> None:
    """Close a connection that there is no room for, with the reason."""
    with suppress(OSError):
        sock.send(encode_frame({"error": {"code": "no_resources", "message": message}}))
    sock.close()


def peer_credentials(sock: socket.socket) -> Credentials:
    """Who is at the other end, as the kernel knows it (unix(7))."""
    pid, uid, gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return Credentials(pid, uid, gid)
