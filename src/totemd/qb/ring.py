"""One direction of a connection by shared memory: chunks in a ring (protocol/, chapter "libqb sockets").

The client has the same memory and may write anything there at any time, or cut the files off. Therefore nothing that
decides what we do is read back from it: the reader's place in a ring that we read, and the writer's place in one that
we write, are kept here. What must be read (the chunk, the other side's place) is checked, and everything is moved by
reads and writes of files, which end with an error where the file ends; access to mapped memory would end the process.
"""

from collections.abc import Sequence
from struct import Struct
from typing import Final, Protocol

from totemd.errors import BadRing

WORD: Final = 4
"""Bytes of the unit in which places are counted."""
PAGE: Final = 4096
CHUNK_COMMITTED: Final = 0xA1A1A1A1
CHUNK_HEADER: Final = Struct("=II")
"""A chunk's length, bytes, and its mark; its payload follows."""
CHUNK_HEADER_SIZE: Final = CHUNK_HEADER.size
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
_read_chunk_header: Final = CHUNK_HEADER.unpack_from

READ_AT_ONCE: Final = 65536
"""Bytes read for many requests, or for a few, at first: nearly every request is smaller."""
GUESS: Final = 256
LARGE: Final = 65536
"""A message of so many bytes is taken alone."""
WRITE_AT_ONCE: Final = 65536
"""Bytes of messages that are collected before they are written."""

_PADDING: Final = tuple(bytes(-size % WORD) for size in range(WORD))


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
        self._guess = GUESS
        """Bytes of a chunk, by the last one, but not too few."""

    def take(self) -> bytes | None:
        """The next message, None if there is none. Tell the client by `release` soon. BadRing: nothing to make sense
        of."""
        messages = self.take_many(1)
        return messages[0] if messages else None

    def take_many(self, count: int) -> list[bytes]:
        """The next messages, up to so many and hardly more than READ_AT_ONCE bytes; a LARGE one comes alone. Else as
        `take`."""
        if not self._available:
            # Memory that has been used before may look like a message: only the count tells.
            self._available = max(0, self._semaphore.value() - self._taken)
        messages: list[bytes] = []
        left = count if count < self._available else self._available
        if left:
            try:
                self._take_into(messages, left)
            except BadRing:
                # What is before it is all right.
                if not messages:
                    raise
            self._taken += len(messages)
            self._available -= len(messages)
        return messages

    def _take_into(self, messages: list[bytes], left: int) -> None:
        data, at, taken = b"", 0, 0
        while left and taken < READ_AT_ONCE:
            begin = at + CHUNK_HEADER_SIZE
            if begin > len(data):
                # About as many bytes as so many chunks have.
                room = self._size - self._at
                ahead = self._guess
                if left > 1:
                    ahead *= min(left, READ_AT_ONCE // ahead or 1)
                data = self._data.read(self._at, ahead if ahead < room else room)
                if len(data) < CHUNK_HEADER_SIZE:
                    data = self._read(self._at, CHUNK_HEADER_SIZE)
                at, begin = 0, CHUNK_HEADER_SIZE
            length, mark = _read_chunk_header(data, at)
            if mark != CHUNK_COMMITTED:
                raise BadRing(f"a request's mark is {mark:#x}")
            if length > self._message_max:
                raise BadRing(f"a request of {length} bytes, more than {self._message_max}")
            if length >= LARGE and messages:
                return
            end = begin + length
            if end <= len(data):
                messages.append(data[begin:end])
            else:
                messages.append(self._read(self._at, CHUNK_HEADER_SIZE + length)[CHUNK_HEADER_SIZE:])
                data = b""
            chunk = CHUNK_HEADER_SIZE + -(-length // WORD) * WORD
            self._guess = chunk if chunk > GUESS else GUESS
            self._at = (self._at + chunk) % self._size
            at += chunk
            taken += chunk
            left -= 1

    def put_back(self, messages: Sequence[bytes]) -> None:
        """Take the last of the messages again next time: they are still in the ring. Not behind a `release`."""
        back = sum(CHUNK_HEADER.size + -(-len(message) // WORD) * WORD for message in messages)
        self._at = (self._at - back) % self._size
        self._taken -= len(messages)
        self._available += len(messages)

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
        self._parts: list[bytes] = []
        """What is to be written, from the offset `_parts_at` on, and how many bytes that are."""
        self._parts_at = 0
        self._parts_size = 0
        self._last_length = -1
        self._last_header = b""
        self.unannounced = 0
        """Messages that have been written only."""

    def write(self, message: bytes) -> bool:
        """Write a message; False: there is no room now. BadRing: nothing to make sense of."""
        return self.write_all((message,)) > 0

    def write_all(self, messages: Sequence[bytes]) -> int:
        """Write messages as long as there is room; how many. BadRing: nothing to make sense of."""
        parts = self._parts
        count = 0
        free = self._free()
        for message in messages:
            length = len(message)
            if free < length + CHUNK_SPARE:
                self._look()
                free = self._free()
                if free < length + CHUNK_SPARE:
                    break
            if free == self._size:
                free -= WORD
            if length != self._last_length:
                self._last_length, self._last_header = length, CHUNK_HEADER.pack(length, CHUNK_COMMITTED)
            parts.append(self._last_header)
            parts.append(message)
            chunk = CHUNK_HEADER.size + length
            if length % WORD:
                parts.append(_PADDING[length % WORD])
                chunk += -length % WORD
            self._parts_size += chunk
            self._at = (self._at + chunk) % self._size
            free -= chunk
            count += 1
            if self._parts_size >= WRITE_AT_ONCE:
                self._write_parts()
        self.unannounced += count
        return count

    def _write_parts(self) -> None:
        at, room = self._parts_at, self._size - self._parts_at
        data = b"".join(self._parts)
        self._parts.clear()
        self._parts_size = 0
        self._parts_at = self._at
        if len(data) <= room:
            self._data.write(at, data)
        else:
            self._data.write(at, data[:room])
            self._data.write(0, data[room:])

    def announce(self) -> None:
        """Have the client read what has been written. BadRing: nothing to make sense of."""
        self.publish()
        self.show_place()

    def publish(self) -> None:
        """Count what has been written: the client can read it from here on. `show_place` is to follow. BadRing."""
        count, self.unannounced = self.unannounced, 0
        if self._parts:
            self._write_parts()
        self._semaphore.post(count)

    def show_place(self) -> None:
        """For those who look at a ring; whoever reads from it goes by the semaphore. BadRing."""
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
