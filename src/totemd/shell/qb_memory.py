"""Files in /dev/shm that are shared with a client: rings and their semaphores.

A client owns its files and may truncate them at any moment. Touching mapped memory behind a file's end kills a process
(SIGBUS), and no check beforehand helps against a truncation that comes just after it; files in a file system cannot be
sealed against it either. So the daemon touches no mapped memory at all. It moves bytes with pread(2) and pwrite(2),
which come short or make the file longer, and it counts semaphores by futex(2): FUTEX_WAKE_OP adds to a word and wakes
who waits in one step, within the kernel, for which a missing page is an error like any other (EFAULT). Only for futex's
sake one page of each header is mapped.
"""

import ctypes
import errno
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from struct import Struct
from typing import Final

from totemd.errors import BadRing, MachineError
from totemd.ipc.ports import Credentials
from totemd.qb import ring
from totemd.qb.ring import RingReader, RingWriter
from totemd.shell.access_lists import ENTER, READ, WRITE, let_in

DIRECTORY: Final = Path("/dev/shm")
DIRECTORY_PREFIX: Final = "qb-"
BASE_NAME: Final = "qb"
DIRECTIONS: Final = ("request", "response", "event")

_WORD: Final = Struct("=I")
_FUTEX_NUMBERS: Final = {"x86_64": 202, "aarch64": 98, "riscv64": 98, "loongarch64": 98, "ppc64le": 221}
"""Of the system call futex(2), where a semaphore's count is the first word of its eight or more (64-bit, little
endian)."""
_WAKE_OP: Final = 5
_ADD: Final = 1 << 28
_LESS_THAN: Final = 2 << 24
"""FUTEX_OP: add, and wake no more if the word was less than 0 before (which it never is)."""
_STEP_MAX: Final = 2047
"""Largest number that fits into FUTEX_OP's field."""
_READ_WRITE: Final = 3
_SHARED: Final = 1

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_LIBC.mmap.restype = ctypes.c_void_p
_LIBC.mmap.argtypes = [
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
]  # fmt: skip
_LIBC.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_LIBC.syscall.restype = ctypes.c_long
_SYSCALL: Final = _LIBC.syscall
_FUTEX: Final = _FUTEX_NUMBERS.get(platform.machine(), -1) if sys.maxsize > 1 << 32 else -1
_NO_MAP: Final = ctypes.c_void_p(-1).value


def _operation(step: int) -> int:
    return _ADD | _LESS_THAN | (step & 0xFFF) << 12


class SharedFile:
    """A file that the client has, too."""

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self, offset: int, size: int) -> bytes:
        try:
            return os.pread(self._descriptor, size, offset)
        except OSError as error:
            raise BadRing(f"shared memory cannot be read: {error.strerror}") from None

    def write(self, offset: int, data: bytes) -> None:
        try:
            written = os.pwrite(self._descriptor, data, offset)
        except OSError as error:
            raise BadRing(f"shared memory cannot be written: {error.strerror}") from None
        if written < len(data):
            raise BadRing("shared memory cannot be written: no space")


class SharedSemaphore:
    """The semaphore in a ring's header."""

    __slots__ = ("_add_one", "_file", "_page", "_take_one")

    def __init__(self, descriptor: int) -> None:
        """`descriptor`: of the header, which is long enough. MachineError if it cannot be mapped."""
        self._file = SharedFile(descriptor)
        begin = ring.SEMAPHORE // ring.PAGE * ring.PAGE
        page: int | None = _LIBC.mmap(None, ring.PAGE, _READ_WRITE, _SHARED, descriptor, begin)
        if page is None or page == _NO_MAP:
            raise MachineError(f"cannot map shared memory: {os.strerror(ctypes.get_errno())}")
        self._page: int | None = page
        # Made here, for this is in every message's way.
        self._add_one = self._adding(1)
        self._take_one = self._adding(-1)

    def _adding(self, step: int) -> Callable[[], int]:
        """A system call that adds `step` to the count, and wakes who waits for it."""
        if self._page is None:
            return _no_semaphore
        address = ctypes.c_void_p(self._page + ring.SEMAPHORE % ring.PAGE)
        numbers = (_FUTEX, _WAKE_OP, 1 if step > 0 else 0, 0, _operation(step))
        number, operation, waiters, none, change = map(ctypes.c_long, numbers)
        return partial(_SYSCALL, number, address, operation, waiters, none, address, change)

    def post(self, count: int) -> None:
        if count != 1:
            self._change(count, 1, self._add_one)
        elif self._add_one() < 0:
            raise _gone()

    def take(self, count: int) -> None:
        if count != 1:
            self._change(count, -1, self._take_one)
        elif self._take_one() < 0:
            raise _gone()

    def _change(self, count: int, sign: int, one: Callable[[], int]) -> None:
        while count:
            step = min(count, _STEP_MAX)
            change = one if step == 1 else self._adding(sign * step)
            if change() < 0:
                raise _gone()
            count -= step

    def value(self) -> int:
        data = self._file.read(ring.SEMAPHORE, _WORD.size)
        if len(data) < _WORD.size:
            raise BadRing("a ring's header has been cut off")
        value: int = _WORD.unpack(data)[0]
        return value

    def close(self) -> None:
        """Unmap. Not to be used any more."""
        if self._page is not None:
            _LIBC.munmap(self._page, ring.PAGE)
            self._page = None
            self._add_one = self._take_one = _no_semaphore


def _no_semaphore() -> int:
    ctypes.set_errno(errno.EFAULT)
    return -1


def _gone() -> BadRing:
    return BadRing(f"a ring's semaphore is gone: {os.strerror(ctypes.get_errno())}")


def new_semaphore(value: int = 0) -> bytes:
    """The bytes of a semaphore for more than one process, as this machine's C library makes it."""
    memory = ctypes.create_string_buffer(ring.SEMAPHORE_SIZE)
    if _LIBC.sem_init(memory, 1, value) != 0:
        raise MachineError(f"cannot make a semaphore: {os.strerror(ctypes.get_errno())}")
    return memory.raw


def check_machine() -> None:
    """MachineError, with the reason, where semaphores cannot be counted in the way that this module does it."""
    if _FUTEX < 0 or sys.byteorder != "little":
        raise MachineError(f"shared semaphores of {platform.machine()} machines are not known")
    try:
        _try_semaphore()
    except OSError as error:
        raise MachineError(f"cannot make shared memory: {error.strerror or error}") from None


def _try_semaphore() -> None:
    with ExitStack() as opened:
        descriptor = os.memfd_create("totemd-semaphore")
        opened.callback(os.close, descriptor)
        os.ftruncate(descriptor, ring.HEADER_SIZE)
        os.pwrite(descriptor, new_semaphore(5), ring.SEMAPHORE)
        semaphore = SharedSemaphore(descriptor)
        opened.callback(semaphore.close)
        try:
            semaphore.post(1)
            semaphore.post(3)
            semaphore.take(5)
        except BadRing as error:
            raise MachineError(str(error)) from None
        found = os.pread(descriptor, ring.SEMAPHORE_SIZE, ring.SEMAPHORE)
        if found != new_semaphore(4):
            raise MachineError("semaphores of this machine's C library are of an unknown kind")


class ClientDirectory:
    """A directory in /dev/shm for one connection; removed at the end with the files made here."""

    def __init__(self, owner: Credentials, descriptor: int) -> None:
        """`descriptor`: of the connection. OSError."""
        prefix = f"{DIRECTORY_PREFIX}{os.getpid()}-{owner.pid}-{descriptor}-"
        self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=DIRECTORY))
        self._owner = owner
        self._names: list[str] = []
        self._descriptors: list[int] = []
        self._identity = _identity(os.lstat(self.path))

    def make(self, name: str) -> int:
        """A new file that the client may read and write; its descriptor lives as long as the directory. OSError."""
        descriptor = os.open(self.path / name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._descriptors.append(descriptor)
        self._names.append(name)
        os.fchmod(descriptor, 0o600)
        self._give_away(descriptor, READ | WRITE)
        return descriptor

    def give_away(self) -> None:
        """Let the client in, now that all files are there. OSError."""
        self.path.chmod(0o770)
        self._give_away(self.path, READ | WRITE | ENTER)

    def _give_away(self, what: Path | int, permissions: int) -> None:
        """To the client; root needs no more than it has. A daemon that may not give files away lets the client in."""
        owner = self._owner
        if (owner.uid, owner.gid) != (os.geteuid(), os.getegid()):
            try:
                os.chown(what, owner.uid, owner.gid)
            except PermissionError:
                if owner.uid not in (0, os.geteuid()):
                    let_in(what, owner.uid, permissions)

    def __enter__(self) -> "ClientDirectory":
        return self

    def __exit__(self, *_: object) -> None:
        """Close and remove. The directory is the client's: there may be anything else in its place by now."""
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()
        with suppress(OSError):
            directory = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if _identity(os.fstat(directory)) == self._identity:
                    for name in self._names:
                        with suppress(OSError):
                            os.unlink(name, dir_fd=directory)
                    os.rmdir(self.path)
            finally:
                os.close(directory)


class SharedMemory:
    """The three rings of one connection."""

    def __init__(self, service: str, credentials: Credentials, descriptor: int, message_max: int) -> None:
        """Make the files, and give them to the client. MachineError: there is no space, or it may not be given away."""
        self._size = ring.data_size(message_max)
        self._opened = ExitStack()
        try:
            self._directory = self._opened.enter_context(ClientDirectory(credentials, descriptor))
            self.directory = self._directory.path
            names = [f"{BASE_NAME}-{direction}-{service}" for direction in DIRECTIONS]
            request, response, event = map(self._make_ring, names)
            self._directory.give_away()
        except OSError as error:
            self.close()
            raise MachineError(f"cannot make shared memory: {error.strerror or error}") from None
        except MachineError:
            self.close()
            raise
        self.paths = tuple(str(self.directory / name) for name in names)
        self.flow_file = request[0]
        self.requests = RingReader(*request, self._size, message_max)
        self.responses = RingWriter(*response, self._size)
        self.events = RingWriter(*event, self._size)

    def _make_ring(self, name: str) -> tuple[SharedFile, SharedFile, SharedSemaphore]:
        header, data = self._directory.make(f"{name}-header"), self._directory.make(f"{name}-data")
        path = str(self.directory / name)
        os.ftruncate(data, self._size)
        content = ring.new_header(self._size, f"{path}-header".encode(), f"{path}-data".encode(), new_semaphore())
        if os.pwrite(header, content, 0) < len(content):
            raise MachineError("cannot make shared memory: no space")
        semaphore = SharedSemaphore(header)
        self._opened.callback(semaphore.close)
        return SharedFile(header), SharedFile(data), semaphore

    def close(self) -> None:
        """Unmap, close and remove everything."""
        self._opened.close()


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def sweep(services: frozenset[str]) -> int:
    """Remove what daemons that are dead have left of these services' connections; how many directories."""
    ours = {
        f"{BASE_NAME}-{direction}-{service}-{part}"
        for direction in DIRECTIONS
        for service in services
        for part in ("header", "data")
    }
    ours.update(f"{BASE_NAME}-control-{service}" for service in services)
    removed = 0
    with suppress(OSError):
        for entry in os.scandir(DIRECTORY):
            with suppress(OSError, ValueError):
                if entry.name.startswith(DIRECTORY_PREFIX) and entry.is_dir(follow_symlinks=False):
                    pid = int(entry.name.split("-", 2)[1])
                    if _is_dead(pid) and ours.issuperset(os.listdir(entry.path)):
                        shutil.rmtree(entry.path, ignore_errors=True)
                        removed += 1
    return removed


def _is_dead(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        # Anybody may make a directory whose name has a number that is no process's.
        pass
    return False
