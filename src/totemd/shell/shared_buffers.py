"""Files in /dev/shm that clients of libcpg make for multicasts without a copy.

A client names a path, so that the path is hostile: only files directly in /dev/shm with libcpg's prefix are opened, no
links are followed, and the file must be the client's own and have no other name. It is read with pread(2) and not
mapped: a client that truncates a mapped file would kill the daemon (SIGBUS).
"""

import errno
import os
import stat
from contextlib import suppress
from typing import Final

from totemd.errors import Code, ServiceError
from totemd.ipc.ports import Credentials
from totemd.limits import MESSAGE_SIZE_MAX

DIRECTORY: Final = "/dev/shm"
PREFIX: Final = b"corosync_zerocopy-"
OPEN_MAX: Final = 128
"""Buffers of all clients; each takes a descriptor."""
SIZE_MAX: Final = MESSAGE_SIZE_MAX + 65536
"""Bytes of a buffer: a message and what stands in front of it."""

_NOT_A_FILE: Final = (errno.ELOOP, errno.ENXIO, errno.ENAMETOOLONG)


class FileBuffers:
    """All buffers of this daemon's clients. Implements `ipc.ports.SharedBuffers`."""

    def __init__(self, directory: str = DIRECTORY) -> None:
        self._directory = directory
        self._open: set[FileBuffer] = set()

    def __len__(self) -> int:
        return len(self._open)

    def open(self, path: bytes, size_bytes: int, owner: Credentials) -> "FileBuffer":
        """Open a client's file of at least `size_bytes`, and remove its name."""
        name = self._name(path)
        if size_bytes > SIZE_MAX:
            raise ServiceError(Code.INVALID_PARAM, f"a buffer has at most {SIZE_MAX} bytes, not {size_bytes}")
        try:
            directory = os.open(self._directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise _refusal(error) from None
        try:
            return self._open_in(directory, name, size_bytes, owner)
        finally:
            os.close(directory)

    def forget(self, buffer: "FileBuffer") -> None:
        """It has been closed."""
        self._open.discard(buffer)

    def _name(self, path: bytes) -> bytes:
        directory, _, name = path.rpartition(b"/")
        if directory != os.fsencode(self._directory) or not name.startswith(PREFIX) or b"\0" in name:
            raise ServiceError(Code.INVALID_PARAM, f"a buffer is a file {self._directory}/{PREFIX.decode()}*")
        return name

    def _open_in(self, directory: int, name: bytes, size_bytes: int, owner: Credentials) -> "FileBuffer":
        # O_NONBLOCK: a fifo must not hold the daemon up
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(name, flags, dir_fd=directory)
        except OSError as error:
            raise _refusal(error) from None
        try:
            _check(os.fstat(descriptor), size_bytes, owner)
            with suppress(OSError):
                os.unlink(name, dir_fd=directory)
            if len(self._open) >= OPEN_MAX:
                raise ServiceError(Code.NO_RESOURCES, f"{OPEN_MAX} buffers are open, the most allowed")
        except ServiceError:
            os.close(descriptor)
            raise
        buffer = FileBuffer(descriptor, size_bytes, self)
        self._open.add(buffer)
        return buffer


class FileBuffer:
    """One file, without a name by now. Implements `ipc.ports.SharedBuffer`."""

    def __init__(self, descriptor: int, size_bytes: int, buffers: FileBuffers) -> None:
        self._descriptor = descriptor
        self._size_bytes = size_bytes
        self._buffers = buffers
        self._closed = False

    def read(self, offset: int, size_bytes: int) -> bytes:
        """What is there now; shorter, if the file is."""
        count = min(size_bytes, self._size_bytes - offset)
        if count <= 0:
            return b""
        try:
            return os.pread(self._descriptor, count, offset)
        except OSError as error:
            raise _refusal(error) from None

    def write(self, offset: int, data: bytes) -> None:
        """Change the file."""
        try:
            os.pwrite(self._descriptor, data, offset)
        except OSError as error:
            raise _refusal(error) from None

    def close(self) -> None:
        """Give it up; calling it again is fine."""
        if not self._closed:
            self._closed = True
            os.close(self._descriptor)
            self._buffers.forget(self)


def _check(status: os.stat_result, size_bytes: int, owner: Credentials) -> None:
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1 or status.st_uid != owner.uid:
        raise ServiceError(Code.ACCESS, f"the buffer is not a file of user {owner.uid}'s own")
    if status.st_size < size_bytes:
        raise ServiceError(Code.INVALID_PARAM, f"the buffer has {status.st_size} bytes, not {size_bytes}")


def _refusal(error: OSError) -> ServiceError:
    code = Code.NO_RESOURCES
    if isinstance(error, PermissionError):
        code = Code.ACCESS
    elif isinstance(error, FileNotFoundError | IsADirectoryError) or error.errno in _NOT_A_FILE:
        code = Code.INVALID_PARAM
    return ServiceError(code, f"the buffer cannot be used: {error.strerror}")
