"""One direction of a connection by shared memory: chunks in a ring (protocol/, chapter "libqb sockets").

The client has the same memory and may write anything there at any time, or cut the files off. Therefore nothing that
decides what we do is read back from it: the reader's place in a ring that we read, and the writer's place in one that
we write, are kept here. What must be read (the chunk, the other side's place) is checked, and everything is moved by
reads and writes of files, which end with an error where the file ends; access to mapped memory would end the process.
"""

from struct import Struct
from typing import Final, Protocol

from totemd.errors import BadRing

WORD: Final = 4
"""Bytes of the unit in which places are counted."""
PAGE: Final = 4096
CHUNK_COMMITTED: Final = 0xA1A1A1A1
CHUNK_HEADER: Final = Struct("=II")
"""A chunk's length, bytes, and its mark; its payload follows."""
CHUNK_SPARE: Final = 12
"""Bytes that must be free besides a chunk's payload."""

WRITE_PLACE: Final = 0
READ_PLACE: Final = 4
"""Offsets in the header: two places, in words."""
SEMAPHORE: Final = 8208
"""Offset in the header: a process-shared semaphore that counts the chunks to be read."""
SEMAPHORE_SIZE: Final = 32
FLOW: Final = 8240
"""Offset in the header of the ring of requests: what may be sent now."""
HEADER_SIZE: Final = 8252

_HEADER_START: Final = Struct("=III4096s4096si")
_PLACE: Final = Struct("=I")

GUESS: Final = 4096
"""Bytes read at first: nearly every request is smaller."""


class File(Protocol):
    """A file that is shared with the client."""

    def read(self, offset: int, size: int) -> bytes:
        """Fewer bytes if the file ends before. BadRing if it cannot be read."""

    def write(self, offset: int, data: bytes) -> None:
        """BadRing if not all can be written."""


class Semaphore(Protocol):
    """The semaphore in a ring's header. BadRing if its memory is gone."""

    def post(self, count: int) -> None:
        """Count so many more, and wake who waits."""

    def take(self, count: int) -> None:
        """Count so many less, without looking."""

    def value(self) -> int: ...


def data_size(message_max: int) -> int:
    """Bytes of a ring's data for messages of up to `message_max` bytes."""
    return -(-(message_max + CHUNK_SPARE + 1) // PAGE) * PAGE


def new_header(size: int, header_path: bytes, data_path: bytes, semaphore: bytes) -> bytes:
    """The header of an empty ring of `size` bytes. `semaphore` is a new one as the C library makes it."""
    start = _HEADER_START.pack(0, 0, size // WORD, header_path, data_path, 1)
    return (start + semaphore.ljust(SEMAPHORE_SIZE, b"\0")).ljust(HEADER_SIZE, b"\0")


class RingReader:
    """Takes what the client has put into a ring."""

    def __init__(self, header: File, data: File, semaphore: Semaphore, size: int, message_max: int) -> None:
        """`size`: bytes of the data; `message_max`: a longer message is an error."""
        self._header = header
        self._data = data
        self._semaphore = semaphore
        self._size = size
        self._message_max = message_max
        self._at = 0
        """Offset of the next chunk, bytes."""
        self._taken = 0
        """Since the last `release`."""
        self._available = 0
        """How many more there are, by the last look."""

    def take(self) -> bytes | None:
        """The next message, None if there is none. Tell the client by `release` soon. BadRing: nothing to make sense
        of."""
        if not self._available:
            # Memory that has been used before may look like a message: only the count tells.
            self._available = self._semaphore.value() - self._taken
            if self._available <= 0:
                self._available = 0
                return None
        at = self._at
        start = self._data.read(at, min(CHUNK_HEADER.size + GUESS, self._size - at))
        if len(start) < CHUNK_HEADER.size:
            start = self._read(at, CHUNK_HEADER.size)
        length, mark = CHUNK_HEADER.unpack_from(start)
        if mark != CHUNK_COMMITTED:
            raise BadRing(f"a request's mark is {mark:#x}")
        if length > self._message_max:
            raise BadRing(f"a request of {length} bytes, more than {self._message_max}")
        end = CHUNK_HEADER.size + length
        if len(start) < end:
            start = self._read(at, end)
        message = start[CHUNK_HEADER.size : end]
        self._at = (at + CHUNK_HEADER.size + -(-length // WORD) * WORD) % self._size
        self._taken += 1
        self._available -= 1
        return message

    def _read(self, at: int, size: int) -> bytes:
        """So many bytes from the offset `at` on, which go on at the beginning where the ring ends."""
        room = self._size - at
        found = self._data.read(at, min(size, room))
        if size > room:
            found += self._data.read(0, size - room)
        if len(found) < size:
            raise BadRing("the ring of requests has been cut off")
        return found

    def release(self) -> None:
        """Give the room of what has been taken back. The count goes first: a ring whose places are the same while it
        counts chunks looks full to the client."""
        if self._taken:
            self._semaphore.take(self._taken)
            self._taken = 0
            self._header.write(READ_PLACE, _PLACE.pack(self._at // WORD))


class RingWriter:
    """Puts messages into a ring for the client: what has been written is there for it once it is announced."""

    def __init__(self, header: File, data: File, semaphore: Semaphore, size: int) -> None:
        self._header = header
        self._data = data
        self._semaphore = semaphore
        self._size = size
        self._at = 0
        """Offset of the next chunk, bytes."""
        self._read_at = 0
        """Where the client was reading when we last had to know."""
        self.unannounced = 0
        """Messages that have been written only."""

    def write(self, message: bytes) -> bool:
        """Write a message; False: there is no room now. BadRing: nothing to make sense of."""
        length = len(message)
        if self._free() < length + CHUNK_SPARE:
            self._look()
            if self._free() < length + CHUNK_SPARE:
                return False
        at = self._at
        chunk = CHUNK_HEADER.pack(length, CHUNK_COMMITTED) + message
        room = self._size - at
        if len(chunk) <= room:
            self._data.write(at, chunk)
        else:
            self._data.write(at, chunk[:room])
            self._data.write(0, chunk[room:])
        self._at = (at + CHUNK_HEADER.size + -(-length // WORD) * WORD) % self._size
        self.unannounced += 1
        return True

    def announce(self) -> None:
        """Have the client read what has been written. BadRing: nothing to make sense of."""
        count, self.unannounced = self.unannounced, 0
        self._semaphore.post(count)
        # For those who look at a ring; whoever reads from it goes by the semaphore.
        self._header.write(WRITE_PLACE, _PLACE.pack(self._at // WORD))

    def put(self, message: bytes) -> bool:
        """Write a message and announce it; False: there is no room now. BadRing: nothing to make sense of."""
        if not self.write(message):
            return False
        self.announce()
        return True

    def _free(self) -> int:
        """Bytes that may be used; less than there are, so that an empty ring and a full one differ."""
        if self._at == self._read_at:
            return self._size
        return (self._read_at - self._at) % self._size - WORD

    def _look(self) -> None:
        place = self._header.read(READ_PLACE, _PLACE.size)
        if len(place) < _PLACE.size:
            raise BadRing("a ring's header has been cut off")
        words = _PLACE.unpack(place)[0]
        if words >= self._size // WORD:
            raise BadRing(f"the client reads at word {words} of {self._size // WORD}")
        self._read_at = words * WORD
