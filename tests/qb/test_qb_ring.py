"""Rings in shared memory: against libqb's own, and against memory that makes no sense."""

import ctypes
import os
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from ring_memory import Count, Memory
from totemd.errors import BadRing
from totemd.ipc.ports import Credentials
from totemd.qb import ring
from totemd.qb.ring import RingReader, RingWriter
from totemd.shell.qb_memory import SharedFile, SharedMemory, SharedSemaphore, check_machine, new_semaphore

CREATE, SHARED_PROCESS = 1, 8
SIZE = 4096
"""Bytes of a small ring's data."""
MESSAGE_MAX = 3000


class LibqbRing:
    """A ring that libqb has made, and the files it consists of."""

    def __init__(self) -> None:
        self._qb = qb = ctypes.CDLL("libqb.so.100", use_errno=True)
        qb.qb_rb_open.restype = ctypes.c_void_p
        for function in (qb.qb_rb_chunk_write, qb.qb_rb_chunk_read, qb.qb_rb_space_free, qb.qb_rb_chunks_used):
            function.restype = ctypes.c_ssize_t
        name = f"totemd-{os.getpid()}-{id(self)}"
        rb = qb.qb_rb_open(name.encode(), ctypes.c_size_t(SIZE - 100), CREATE | SHARED_PROCESS, ctypes.c_size_t(4))
        assert rb, os.strerror(ctypes.get_errno())
        self._ring = ctypes.c_void_p(rb)
        self._opened = ExitStack()
        self._opened.callback(qb.qb_rb_close, self._ring)
        self.header, self.data = (self._open(f"/dev/shm/qb-{name}-{part}") for part in ("header", "data"))
        self.semaphore = SharedSemaphore(self.header)
        self._opened.callback(self.semaphore.close)
        assert os.fstat(self.data).st_size == SIZE
        assert os.fstat(self.header).st_size >= ring.HEADER_SIZE

    def _open(self, path: str) -> int:
        descriptor = os.open(path, os.O_RDWR)
        self._opened.callback(os.close, descriptor)
        return descriptor

    def write(self, message: bytes) -> bool:
        written: int = self._qb.qb_rb_chunk_write(self._ring, message, ctypes.c_size_t(len(message)))
        assert written in (len(message), -11)
        return written >= 0

    def read(self) -> bytes | None:
        buffer = ctypes.create_string_buffer(SIZE)
        got: int = self._qb.qb_rb_chunk_read(self._ring, buffer, ctypes.c_size_t(SIZE), ctypes.c_int32(0))
        return None if got < 0 else buffer.raw[:got]

    @property
    def free(self) -> int:
        return int(self._qb.qb_rb_space_free(self._ring))

    @property
    def used(self) -> int:
        return int(self._qb.qb_rb_chunks_used(self._ring))

    def close(self) -> None:
        self._opened.close()


class AgainstLibqb(RuleBasedStateMachine):
    """Chunks go through a ring whose one end is libqb's and whose other end is ours."""

    we_write: bool

    def __init__(self) -> None:
        super().__init__()
        self.theirs = LibqbRing()
        parts = (SharedFile(self.theirs.header), SharedFile(self.theirs.data), self.theirs.semaphore)
        self.writer = RingWriter(*parts, SIZE)
        self.reader = RingReader(*parts, SIZE, MESSAGE_MAX)
        self.there: deque[bytes] = deque()

    @rule(size=st.one_of(st.integers(0, 40), st.integers(0, MESSAGE_MAX)), fill=st.binary(min_size=1, max_size=5))
    def write(self, size: int, fill: bytes) -> None:
        message = (fill * size)[:size]
        expected = self.theirs.free >= size + ring.CHUNK_SPARE
        assert (self.writer.put(message) if self.we_write else self.theirs.write(message)) == expected
        if expected:
            self.there.append(message)
        assert self.theirs.used == len(self.there)

    @precondition(lambda self: self.there)
    @rule(count=st.integers(1, 5))
    def read(self, count: int) -> None:
        for _ in range(min(count, len(self.there))):
            assert (self.theirs.read() if self.we_write else self.reader.take()) == self.there.popleft()
        if not self.we_write:
            self.reader.release()
        assert self.theirs.used == len(self.there)

    @precondition(lambda self: not self.there)
    @rule()
    def read_nothing(self) -> None:
        assert (self.theirs.read() if self.we_write else self.reader.take()) is None

    def teardown(self) -> None:
        self.theirs.close()


@pytest.mark.corosync
@pytest.mark.parametrize("we_write", [True, False], ids=["libqb reads", "libqb writes"])
def test_ring_is_libqbs(we_write: bool) -> None:
    run_state_machine_as_test(type("Machine", (AgainstLibqb,), {"we_write": we_write}))


def test_semaphores_of_this_machine_are_known() -> None:
    check_machine()


@given(
    header=st.binary(max_size=64),
    data=st.one_of(
        st.binary(max_size=200),
        st.builds(
            lambda length, rest: ring.CHUNK_HEADER.pack(length, ring.CHUNK_COMMITTED) + rest,
            st.integers(0, 2**32 - 1),
            st.binary(max_size=SIZE - 8),
        ),
    ),
    count=st.integers(0, 2**31),
)
def test_spoilt_ring_is_an_error_or_nothing(header: bytes, data: bytes, count: int) -> None:
    """However it is spoilt: messages of bounded size, nothing, or BadRing."""
    reader = RingReader(Memory(header, ring.HEADER_SIZE), Memory(data, SIZE), Count(count), SIZE, MESSAGE_MAX)
    with suppress(BadRing):
        for _ in range(20):
            message = reader.take()
            if message is None:
                break
            assert len(message) <= MESSAGE_MAX
            reader.release()


@given(places=st.lists(st.binary(max_size=12), max_size=30), size=st.integers(0, MESSAGE_MAX))
def test_reader_that_lies_about_its_place(places: list[bytes], size: int) -> None:
    """What is written stays within the ring, whatever place the client claims to have."""
    header = Memory(bytes(ring.HEADER_SIZE))
    writer = RingWriter(header, Memory(bytes(SIZE)), Count(), SIZE)
    with suppress(BadRing):
        for place in places:
            header.content[0:12] = place
            writer.put(bytes(size))


@contextmanager
def shared_memory() -> Iterator[SharedMemory]:
    memory = SharedMemory("test", Credentials(os.getpid(), os.geteuid(), os.getegid()), 1, MESSAGE_MAX)
    try:
        yield memory
    finally:
        memory.close()
    assert not memory.directory.exists()


@pytest.mark.parametrize("part", ["header", "data"])
def test_truncated_files_end_the_connection_alone(part: str) -> None:
    """A file may be cut off at any moment: no access kills us, and the client's is the only loss."""
    with shared_memory() as memory:
        assert memory.responses.put(b"before")
        header = os.open(f"{memory.paths[0]}-header", os.O_WRONLY)
        os.pwrite(header, new_semaphore(1), ring.SEMAPHORE)
        os.close(header)
        for path in memory.paths:
            os.truncate(f"{path}-{part}", 0)
        if part == "header":
            with pytest.raises(BadRing, match="semaphore is gone"):
                memory.responses.put(b"behind")
        with pytest.raises(BadRing, match="cut off"):
            memory.requests.take()


def test_new_rings_are_empty() -> None:
    with shared_memory() as memory:
        assert memory.requests.take() is None
        header = os.open(f"{memory.paths[0]}-header", os.O_RDONLY)
        content = os.read(header, 2 * ring.HEADER_SIZE)
        os.close(header)
        assert len(content) == ring.HEADER_SIZE
        assert content[ring.SEMAPHORE : ring.SEMAPHORE + ring.SEMAPHORE_SIZE] == new_semaphore()
        assert content[12 : 12 + len(memory.paths[0]) + 8] == f"{memory.paths[0]}-header\0".encode()
