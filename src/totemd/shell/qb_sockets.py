"""The abstract sockets of corosync's services, and the credentials that come with a client's first bytes."""

import errno
import os
import socket
import struct
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Final

from totemd.errors import MachineError
from totemd.ipc.ports import Credentials

BACKLOG: Final = 128
_PATH_SIZE: Final = 108
_UCRED: Final = struct.Struct("3i")
_ANCILLARY_SIZE: Final = socket.CMSG_SPACE(_UCRED.size)


def abstract_address(name: str) -> bytes:
    """As libqb has it: filled with NULs to the end of the address."""
    return ("\0" + name).encode().ljust(_PATH_SIZE, b"\0")


class QbSockets:
    """The listening sockets, by their service's name."""

    def __init__(self, names: Iterable[str]) -> None:
        """All or none: MachineError says what is in the way."""
        self.by_name: dict[str, socket.socket] = {}
        with ExitStack() as opened:
            for name in names:
                self.by_name[name] = opened.enter_context(_listen(name))
            self._opened = opened.pop_all()

    def close(self) -> None:
        """Give the names back."""
        self._opened.close()


def _listen(name: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        listener.bind(abstract_address(name))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise MachineError(f'the socket "@{name}" is taken: corosync, or another totemd, runs here') from None
        raise MachineError(f'cannot listen on "@{name}": {error.strerror or error}') from None
    return listener


def receive_with_credentials(sock: socket.socket, size: int) -> tuple[bytes, Credentials | None]:
    """Up to `size` bytes, and who sent them, as the kernel says. OSError as recvmsg(2)."""
    data, ancillary, _, _ = sock.recvmsg(size, _ANCILLARY_SIZE)
    credentials = None
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS and len(content) >= _UCRED.size:
            credentials = Credentials(*_UCRED.unpack_from(content))
        elif level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            close_received(content)
    return data, credentials


def close_received(content: bytes) -> None:
    """Descriptors that a client has sent without being asked must not stay open."""
    for (descriptor,) in struct.iter_unpack("i", content[: len(content) // 4 * 4]):
        os.close(descriptor)
