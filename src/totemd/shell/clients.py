"""The native socket: accepts clients, moves bytes between their connections and the node's sessions."""

import os
import socket
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio

from totemd.errors import MachineError
from totemd.ipc.ports import Credentials
from totemd.ipc.session import Session
from totemd.limits import CLIENTS_MAX
from totemd.node import Node

READ_SIZE: Final = 256 * 1024
FAREWELL_S: Final = 2.0
"""How long a client that is being closed may take to read what is left for it."""

_UCRED = struct.Struct("3i")


class Connection:
    """One client: its socket, its session and what has not been written yet."""

    def __init__(self, sock: socket.socket, session: Session) -> None:
        self.socket = sock
        self.session = session
        self.unwritten = bytearray()
        self.wants_to_write = trio.Event()
        self.broken = False

    def flush(self) -> None:
        """Write what the session has and the socket takes, now."""
        if self.session.has_output:
            for chunk in self.session.take_output():
                self.unwritten += chunk
        if not self.unwritten or self.broken:
            return
        try:
            count = self.socket.send(self.unwritten)
        except BlockingIOError:
            count = 0
        except OSError:
            self.broken = True
            self.wants_to_write.set()
            return
        if count:
            del self.unwritten[:count]
            self.session.written(count)
        if self.unwritten:
            self.wants_to_write.set()


class Clients:
    """All connections. `pump` performs the node's effects; it is called after every input of a client."""

    def __init__(self, node: Node, path: Path, pump: Callable[[], None]) -> None:
        """Bind the socket; MachineError if it cannot be, or another daemon serves it."""
        self._node = node
        self._path = path
        self._pump = pump
        self._connections: set[Connection] = set()
        self._listener = listen(path)

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
                if len(self._connections) >= CLIENTS_MAX:
                    sock.close()
                    continue
                nursery.start_soon(self._serve_one, sock)

    def flush(self) -> None:
        """Write what sessions have for their clients."""
        for connection in self._connections:
            if connection.session.has_output:
                connection.flush()

    async def drain(self) -> None:
        """Give clients a moment to read their last events."""
        with trio.move_on_after(FAREWELL_S):
            while any(connection.unwritten and not connection.broken for connection in self._connections):
                await trio.sleep(0.01)
                for connection in self._connections:
                    connection.flush()

    def close(self) -> None:
        """Stop listening and remove the socket's name."""
        self._listener.close()
        self._path.unlink(missing_ok=True)

    async def _serve_one(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        credentials = peer_credentials(sock)
        connection = Connection(sock, self._node.open_session(credentials, trio.current_time()))
        self._connections.add(connection)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, connection)
                await self._read(connection)
                with trio.move_on_after(FAREWELL_S):
                    while (connection.unwritten or connection.session.has_output) and not connection.broken:
                        connection.flush()
                        if connection.unwritten:
                            await trio.lowlevel.wait_writable(sock)
                nursery.cancel_scope.cancel()
        finally:
            self._connections.discard(connection)
            self._node.session_closed(connection.session, trio.current_time())
            sock.close()
            self._pump()

    async def _read(self, connection: Connection) -> None:
        session = connection.session
        while session.closing is None and not connection.broken:
            await trio.lowlevel.wait_readable(connection.socket)
            try:
                data = connection.socket.recv(READ_SIZE)
            except BlockingIOError:
                continue
            except OSError:
                return
            if not data:
                return
            self._node.session_receive(session, data, trio.current_time())
            self._pump()
            while session.has_pending_input:
                await trio.lowlevel.checkpoint()
                self._node.session_receive(session, b"", trio.current_time())
                self._pump()

    async def _write(self, connection: Connection) -> None:
        """Continue when a client's socket was full; end the reader when the connection broke or is to be closed."""
        while True:
            await connection.wants_to_write.wait()
            connection.wants_to_write = trio.Event()
            while connection.unwritten and not connection.broken:
                await trio.lowlevel.wait_writable(connection.socket)
                connection.flush()
            if connection.broken or connection.session.closing is not None:
                # Wakes a reader that waits for a client which does not speak.
                try:
                    connection.socket.shutdown(socket.SHUT_RD)
                except OSError:
                    connection.broken = True


def listen(path: Path) -> socket.socket:
    """A listening socket at `path`; what a dead daemon left there is replaced, a living one's is not."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        _remove_stale(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.setblocking(False)
        listener.bind(str(path))
        # Everybody may connect; who may do anything is decided by the kernel's word on who it is.
        path.chmod(0o666)
        listener.listen(128)
    except OSError as error:
        raise MachineError(f"cannot listen on {path}: {error.strerror or error}") from error
    return listener


def _remove_stale(path: Path) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise MachineError(f"{path} is in the way: it is no socket; remove it or choose another --run-dir")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
    raise MachineError(f"another totemd serves {path}; stop it or choose another --run-dir")


def peer_credentials(sock: socket.socket) -> Credentials:
    """Who is at the other end, as the kernel knows it (unix(7))."""
    pid, uid, gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return Credentials(pid, uid, gid)
