"""The way of messages by datagrams, for clients where `system.qb_ipc_type` is socket.

A message is a datagram, so that none is larger than what the kernel takes as one (net.core.wmem_max); libqb's clients
take part whatever the daemon chooses. Anybody may send to an abstract name: datagrams of other users are dropped.
"""

import errno
import os
import select
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final

from totemd.errors import BadRing, MachineError
from totemd.ipc.ports import Credentials
from totemd.qb.session import QbSession
from totemd.shell.qb_connection import FLOW, QbConnection, Watch
from totemd.shell.qb_memory import BASE_NAME, ClientDirectory, SharedFile
from totemd.shell.qb_sockets import abstract_address, receive_with_credentials

CONTROL_SIZE: Final = 24
CONTROL_FLOW: Final = 4
"""Of the control file: the flow word of requests, behind a count that only libqb's own server needs."""

FOREIGN_PER_TURN: Final = 16
"""Datagrams of other users that are dropped at once; they may come without end."""


class Datagrams:
    """The two sockets of one connection, and its control file. Also the connection's `Link`."""

    def __init__(self, service: str, credentials: Credentials, descriptor: int, message_max: int) -> None:
        """MachineError: there is no space, or it may not be given to the client."""
        self.message_max = message_max
        self._owner = credentials
        self._opened = ExitStack()
        try:
            directory = self._opened.enter_context(ClientDirectory(credentials, descriptor))
            name = f"{BASE_NAME}-control-{service}"
            control = directory.make(name)
            os.ftruncate(control, CONTROL_SIZE)
            self._control = SharedFile(control)
            self.control = str(directory.path / name)
            self.base = str(directory.path / f"{BASE_NAME}-{service}")
            self.requests = self._bind("request")
            self.requests.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            self._events = self._bind("event-tx")
            directory.give_away()
        except OSError as error:
            self.close()
            raise MachineError(f"cannot make a connection's sockets: {error.strerror or error}") from None
        self._unconnected = {self.requests: f"{self.base}-response", self._events: f"{self.base}-event"}

    def _bind(self, name: str) -> socket.socket:
        sock = self._opened.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        sock.setblocking(False)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, self.message_max)
        sock.bind(abstract_address(f"{self.base}-{name}"))
        return sock

    def put_response(self, message: bytes) -> bool:
        return self._send(self.requests, message)

    def put_event(self, message: bytes) -> bool:
        return self._send(self._events, message)

    def put_events(self, messages: Sequence[bytes]) -> int:
        for count, message in enumerate(messages):
            if not self._send(self._events, message):
                return count
        return len(messages)

    def _send(self, sock: socket.socket, message: bytes) -> bool:
        try:
            if sock in self._unconnected:
                sock.connect(abstract_address(self._unconnected[sock]))
                del self._unconnected[sock]
            sock.send(message)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.ENOBUFS) or sock in self._unconnected:
                # The client reads slowly, or has not made its own sockets yet.
                return False
            if error.errno == errno.EMSGSIZE:
                raise BadRing(f"a message of {len(message)} bytes is no datagram; see net.core.wmem_max") from None
            raise BadRing("") from None
        return True

    def set_flow(self, word: int) -> None:
        self._control.write(CONTROL_FLOW, FLOW.pack(word))

    def receive(self) -> bytes | None:
        """The next request, None if there is none for now. BadRing: the client is gone."""
        for _ in range(FOREIGN_PER_TURN):
            try:
                message, sender = receive_with_credentials(self.requests, self.message_max)
            except BlockingIOError:
                return None
            except OSError:
                raise BadRing("") from None
            if sender is not None and sender.uid == self._owner.uid:
                return message
        return None

    def close(self) -> None:
        """Close and remove everything."""
        self._opened.close()


class DatagramConnection(QbConnection):
    """A client that sends datagrams. Its stream says only when it ends."""

    def __init__(self, stream: socket.socket, datagrams: Datagrams, session: QbSession, watch: Watch) -> None:
        super().__init__(stream, session)
        self._datagrams = datagrams
        self._watch = watch
        self._descriptor = datagrams.requests.fileno()

    @property
    def descriptors(self) -> tuple[int, ...]:
        return self.stream.fileno(), self._descriptor

    def handle(self, descriptor: int, events: int) -> None:
        if descriptor == self._descriptor:
            # Not watched until it has been emptied, which may have to wait.
            self._watch(descriptor, 0)
            self.announced = 1
            return
        try:
            if self.stream.recv(4096):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self.session.cut("")

    def take(self, count: int) -> Sequence[bytes]:
        message = self._datagrams.receive()
        if message is None:
            self._watch(self._descriptor, select.EPOLLIN)
            return ()
        return (message,)

    def put_back(self, requests: Sequence[bytes]) -> None:
        """Never asked for: one that is taken alone is handled."""

    def give_back(self) -> None:
        """What is taken is gone from the socket."""

    def close(self) -> None:
        super().close()
        self._datagrams.close()
