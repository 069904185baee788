"""What clients of corosync's libraries send: the handshake, rings in shared memory, and requests to every service."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Sequence
from typing import Final

from chunking import chunks
from live_node import Host, configuration, lone_node, settle
from totemd.errors import BadRing
from totemd.ipc.ports import Credentials
from totemd.limits import CLIENT_BACKLOG_BYTES_MAX, MESSAGE_SIZE_MAX
from totemd.node.effects import ReadConfiguration
from totemd.qb import handshake, ring
from totemd.qb.codec import REQUEST_HEADER, RESPONSE_HEADER
from totemd.qb.ring import RingReader, RingWriter
from totemd.qb.services import QB_SERVICES
from totemd.qb.session import QbSession


def library_handshake(data: bytes) -> None:
    """The first bytes of a connection, and the answers to them."""
    try:
        message_max = handshake.decode_request(data[: handshake.REQUEST_SIZE].ljust(handshake.REQUEST_SIZE, b"\0"))
    except BadRing:
        return
    assert handshake.REPLY_SIZE <= message_max <= MESSAGE_SIZE_MAX
    size = ring.data_size(message_max)
    assert size % ring.PAGE == 0
    assert size > message_max + ring.CHUNK_SPARE
    answer = handshake.accept(handshake.ConnectionType.SHARED_MEMORY, message_max, 7, "a", "b", "c")
    assert len(answer) == len(handshake.refuse(11)) == handshake.REPLY_SIZE


# Rings

RING_SIZE: Final = 4096
RING_MESSAGE_MAX: Final = 3000
CLIENT_DATA, CLIENT_HEADER, CUT_DATA, CUT_HEADER, CHUNK, TAKE, RELEASE, PUT = range(8)
"""What happens to a ring: the client writes somewhere (an offset, two bytes, and what), cuts a file off (its new size),
puts a message in as it should; we take one, give its room back, or put one (its size)."""


class Memory:
    """A file of the client's, which must be touched within `size` alone."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.bytes = bytearray(size)

    def read(self, offset: int, size: int) -> bytes:
        assert offset >= 0
        assert 0 <= size <= self.size - offset
        return bytes(self.bytes[offset : offset + size])

    def write(self, offset: int, data: bytes) -> None:
        assert 0 <= offset <= self.size - len(data)
        self.change(offset, data)

    def change(self, offset: int, data: bytes) -> None:
        """As pwrite(2): the file becomes longer where it must."""
        self.bytes.extend(bytes(max(0, offset - len(self.bytes))))
        self.bytes[offset : offset + len(data)] = data


class Count:
    """A semaphore in a header that may be cut off."""

    def __init__(self, header: Memory) -> None:
        self._header = header

    def value(self) -> int:
        data = self._header.read(ring.SEMAPHORE, 4)
        if len(data) < 4:
            raise BadRing("gone")
        return int.from_bytes(data, "little")

    def _add(self, step: int) -> None:
        self._header.change(ring.SEMAPHORE, (self.value() + step & 0xFFFFFFFF).to_bytes(4, "little"))

    def post(self, count: int) -> None:
        self._add(count)

    def take(self, count: int) -> None:
        self._add(-count)


def library_ring(data: bytes) -> None:
    """Two rings over the same memory, whose other end is a client that does as the chunks say. Nothing but BadRing,
    nothing outside of the files, no message longer than allowed."""
    memory, header = Memory(RING_SIZE), Memory(ring.HEADER_SIZE)
    reader = RingReader(header, memory, Count(header), RING_SIZE, RING_MESSAGE_MAX)
    writer = RingWriter(header, memory, Count(header), RING_SIZE)
    place = 0
    for kind, content in chunks(data, 128):
        what, number = kind % 8, int.from_bytes(content[:2], "little")
        if what == CLIENT_DATA:
            memory.change(number % RING_SIZE, content[2 : 2 + RING_SIZE - number % RING_SIZE])
        elif what == CLIENT_HEADER:
            header.change(number % ring.HEADER_SIZE, content[2 : 2 + ring.HEADER_SIZE - number % ring.HEADER_SIZE])
        elif what == CUT_DATA:
            del memory.bytes[number:]
        elif what == CUT_HEADER:
            del header.bytes[number:]
        elif what == CHUNK:
            place = _put(memory, header, place, content)
        else:
            try:
                if what == TAKE:
                    message = reader.take()
                    assert message is None or len(message) <= RING_MESSAGE_MAX
                elif what == RELEASE:
                    reader.release()
                else:
                    writer.put(bytes(number % RING_SIZE))
            except BadRing:
                return


def _put(memory: Memory, header: Memory, place: int, content: bytes) -> int:
    """A message at the offset `place`, as libqb puts it; where the next one goes."""
    for offset, word in enumerate(struct.pack("=II", len(content), ring.CHUNK_COMMITTED) + content):
        memory.change((place + offset) % RING_SIZE, bytes([word]))
    count = Count(header)
    with contextlib.suppress(BadRing):
        count.post(1)
    return (place + ring.CHUNK_HEADER.size + -(-len(content) // ring.WORD) * ring.WORD) % RING_SIZE


# Requests

RAW_REQUEST, TOKEN, STALLED, SECOND = 8, 16, 32, 64
"""Bits of a chunk's kind, beside the service's number: the header is the client's own (otherwise the first byte is the
request's id); then the token goes round; the client reads nothing meanwhile; another client of the service asks."""


class Client:
    """The way to a client. Whatever it is sent must say its own size."""

    message_max = MESSAGE_SIZE_MAX

    def __init__(self) -> None:
        self.stalled = False
        self.responses = 0

    def put_response(self, message: bytes) -> bool:
        self.responses += not self.stalled
        return self._put(message)

    def put_event(self, message: bytes) -> bool:
        return self._put(message)

    def put_events(self, messages: Sequence[bytes]) -> int:
        return sum(self._put(message) for message in messages)

    def set_flow(self, word: int) -> None:
        assert word in (0, 2)

    def _put(self, message: bytes) -> bool:
        assert RESPONSE_HEADER.unpack_from(message)[1] == len(message) <= self.message_max
        return not self.stalled


class Buffer:
    """What a client has in a file: its path, again and again."""

    def __init__(self, content: bytes) -> None:
        self._content = bytearray(content)

    def read(self, offset: int, size_bytes: int) -> bytes:
        return bytes(self._content[offset : offset + size_bytes])

    def write(self, offset: int, data: bytes) -> None:
        self._content[offset : offset + len(data)] = data

    def close(self) -> None:
        pass


class Buffers:
    """Every path is a file."""

    def open(self, path: bytes, size_bytes: int, owner: Credentials) -> Buffer:
        return Buffer(path * 40)


def library_requests(data: bytes) -> None:
    """Clients of all services of a live node of one. Every request has one response at most; what is queued is bounded;
    and in the end nothing is left of them, unless they have ended the node."""
    host, now = lone_node()
    node = host.node
    node.front.shared_buffers = Buffers()
    services = list(QB_SERVICES.values())
    links = [Client() for _ in range(2 * len(services))]
    sessions = [
        node.qb.open(services[number % len(services)], Credentials(4711 + number, 0, 0), link)
        for number, link in enumerate(links)
    ]
    for kind, content in chunks(data, 64):
        number = (kind & 7) % len(services) + (len(services) if kind & SECOND else 0)
        link, session = links[number], sessions[number]
        link.stalled = bool(kind & STALLED)
        node.set_time(now)
        if session.accepts:
            before = link.responses
            session.receive_all([_request(kind, content)])
            assert link.responses <= before + 1
        if kind & TOKEN:
            now = _go_on(host, now)
            if node.ended:
                break
        _flush(host, sessions)
    for session in sessions:
        node.qb.close(session)
    settle(host, now)
    assert not node.qb.sessions
    assert not node.qb.with_work
    assert node.ended or not node.cpg.groups()


def _request(kind: int, content: bytes) -> bytes:
    if kind & RAW_REQUEST:
        return content
    ident, body = content[0] if content else 0, content[1:]
    return REQUEST_HEADER.pack(ident, REQUEST_HEADER.size + len(body)) + body


def _go_on(host: Host, now: float) -> float:
    """The token goes round; the file is read if somebody wants that."""
    effects = host.take()
    if any(isinstance(effect, ReadConfiguration) for effect in effects):
        host.node.configuration_read(configuration(1, 1), now)
    return settle(host, now)


def _flush(host: Host, sessions: list[QbSession]) -> None:
    host.node.qb.tell_flow()
    for session in list(host.node.qb.with_work):
        if session.flush():
            del host.node.qb.with_work[session]
    for session in sessions:
        assert session.queued_bytes <= CLIENT_BACKLOG_BYTES_MAX + MESSAGE_SIZE_MAX
