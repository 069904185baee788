"""The native socket's place in the file system: one daemon has it, and what a dead one left there is replaced."""

import fcntl
import os
import socket
import stat
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

from totemd.errors import MachineError

BACKLOG: Final = 128
"""Connections that wait to be accepted."""


class Listener:
    """The listening socket at `path`. Its directory is locked for as long, so that no other daemon takes the name: a
    lock ends with its process, however that ends, and unlike a name two daemons cannot find it free at once."""

    def __init__(self, path: Path) -> None:
        """Lock and bind; MachineError says what is in the way."""
        self.path = path
        with ExitStack() as opened:
            try:
                self.socket = self._open(path, opened)
            except OSError as error:
                raise MachineError(f"cannot listen on {path}: {error.strerror or error}") from error
            self._opened = opened.pop_all()

    def _open(self, path: Path, opened: ExitStack) -> socket.socket:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        opened.callback(os.close, directory)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MachineError(f"another totemd serves {path}; stop it or choose another --run-dir") from None
        _remove_stale(path)
        listener = opened.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        listener.setblocking(False)
        listener.bind(str(path))
        opened.callback(_unlink, path)
        # Everybody may connect; who may do anything is decided by the kernel's word on who it is.
        path.chmod(0o666)
        listener.listen(BACKLOG)
        return listener

    def close(self) -> None:
        """Remove the name, stop listening and let another daemon have the directory, in this order."""
        self._opened.close()


def _remove_stale(path: Path) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise MachineError(f"{path} is in the way: it is no socket; remove it or choose another --run-dir")
    path.unlink()


def _unlink(path: Path) -> None:
    # The directory may have become read-only, or be gone.
    with suppress(OSError):
        path.unlink()
