"""The front of cpg for libcpg: one connection is one process in at most one group [LIB-301].

Two things are better than in corosync: a connection whose leave has been delivered may join again, and a multicast with
the guarantee "safe" is delivered only once every member has it.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from totemd.errors import Code, ServiceError
from totemd.ids import NodeId
from totemd.ipc.ports import SharedBuffers
from totemd.ipc.services import Services
from totemd.limits import CPG_DATA_MAX, ITERATIONS_MAX
from totemd.qb import cpg_messages as messages
from totemd.qb.api import Port, QbService
from totemd.qb.codec import response
from totemd.qb.cpg_messages import CpgRequest, EventEncoder, IterationType, delivered_run
from totemd.qb.handling import demand_size
from totemd.qb.zero_copy import ZeroCopyBuffers
from totemd.record import record
from totemd.services.base import ServiceId
from totemd.services.cpg import CpgFragment, CpgGroup, CpgRun
from totemd.wire.groups import Buffer

_Entries = Iterator[tuple[bytes, NodeId, int]]

_ENCODER: Final = EventEncoder()
"""Shared by all connections; it remembers an event, so that more than one node in a program does no harm."""
_MULTICAST: Final = int(CpgRequest.MULTICAST)
_MULTICAST_SIZE: Final = messages.MULTICAST.size
_WHOLE_MULTICAST: Final = messages.WHOLE_MULTICAST
_SMALL: Final = messages.SMALL
_SAFE: Final = messages.GUARANTEE_SAFE
_FRAGMENTS: Final = {int(kind): kind for kind in CpgFragment}


class CpgFront:
    """One connection."""

    def __init__(self, services: Services, port: Port) -> None:
        self._cpg = services.cpg
        self._node = services.node
        self._pid = port.credentials.pid
        self._send = port.send_event
        self._send_all = port.send_events
        self._process: tuple[bytes, int] | None = None
        """Group and process id of the last join."""
        self._iterations: dict[int, _Entries] = {}
        self._last_handle = 0
        shared: SharedBuffers = services.shared_buffers
        self._buffers = ZeroCopyBuffers(shared, port.credentials)
        self._cpg.connect(self)

    def handle(self, function: int, message: bytes) -> bytes | None:
        if function == _MULTICAST:
            try:
                self._multicast(message)
            except ServiceError as error:
                self._report(error)
                raise
            return None
        request = _REQUESTS[function]
        try:
            demand_size(message, request.size)
            return request.serve(self, request.answer, message)
        except ServiceError as error:
            return response(request.answer, error.code)

    def handle_batch(self, messages: Sequence[bytes], first: int) -> int:
        """Queue plain multicasts: not safe, and right in every respect."""
        found: list[Buffer] = []
        unpack = _WHOLE_MULTICAST.unpack_from
        for index in range(first, len(messages)):
            message = messages[index]
            size = len(message)
            if size < _MULTICAST_SIZE:
                break
            ident, said, guarantee, count = unpack(message)
            if ident != _MULTICAST or said != size or guarantee == _SAFE or count > size - _MULTICAST_SIZE:
                break
            if count <= _SMALL:
                found.append(message[_MULTICAST_SIZE : _MULTICAST_SIZE + count])
            elif count <= CPG_DATA_MAX:
                found.append(memoryview(message)[_MULTICAST_SIZE : _MULTICAST_SIZE + count])
            else:
                break
        return self._cpg.multicast_all(self, found, fill=False) if found else 0

    def close(self) -> None:
        self._iterations.clear()
        self._buffers.close()
        self._cpg.disconnect(self)

    def push(self, event: object) -> None:
        """Queue an event of the service."""
        message = _ENCODER.encode(event)
        if message is not None:
            self._send(message)

    def push_run(self, run: CpgRun) -> None:
        """Queue the events of messages that came together."""
        self._send_all(delivered_run(run))

    # membership

    def _join(self, answer: int, message: bytes) -> bytes:
        length, name, pid, flags = messages.JOIN.unpack_from(message)
        group = messages.group_name(length, name)
        wants_configuration = bool(flags & messages.FLAG_INITIAL_CONFIGURATION)
        self._cpg.join(self, group, pid, initial_configuration=wants_configuration)
        self._process = (group, pid)
        return response(answer)

    def _leave(self, answer: int, message: bytes) -> bytes:
        length, name, pid = messages.LEAVE.unpack_from(message)
        if (messages.group_name(length, name), pid) != self._process:
            raise ServiceError(Code.NOT_EXIST, "this connection is not in that group")
        self._cpg.leave(self)
        return response(answer)

    def _finalize(self, answer: int, message: bytes) -> bytes:
        self._cpg.disconnect(self)
        return response(answer)

    def _membership(self, answer: int, message: bytes) -> bytes:
        group = messages.group_name(*messages.MEMBERSHIP.unpack_from(message))
        return messages.membership_response(answer, self._cpg.members(group))

    def _local_get(self, answer: int, message: bytes) -> bytes:
        return messages.local_response(answer, self._node.nodeid)

    # multicasts

    def _multicast(self, message: bytes) -> None:
        demand_size(message, _MULTICAST_SIZE)
        guarantee, size = messages.MULTICAST.unpack_from(message)
        data = message[_MULTICAST_SIZE : _MULTICAST_SIZE + size]
        if len(data) < size:
            raise ServiceError(Code.INVALID_PARAM, f"a multicast says {size} bytes and has {len(data)}")
        self._cpg.multicast(self, data, safe=guarantee == _SAFE)

    def _report(self, error: ServiceError) -> None:
        """Nobody but the log can be told of a multicast that is dropped. Always in the same words: so it is bounded."""
        if error.code is not Code.TRY_AGAIN:
            text = f"dropped a multicast of process {self._pid}: {error.code.name}"
            self._node.log("warning", "CPG", text)

    def _partial_multicast(self, answer: int, message: bytes) -> bytes:
        guarantee, total, size, part = messages.PARTIAL_MULTICAST.unpack_from(message)
        begin = messages.PARTIAL_MULTICAST.size
        fragment = message[begin : begin + size]
        kind = _FRAGMENTS.get(part)
        if len(fragment) < size or kind is None:
            raise ServiceError(
                Code.INVALID_PARAM, f"a fragment of kind {part} says {size} bytes and has {len(fragment)}"
            )
        self._cpg.partial_multicast(self, fragment, kind, total, safe=guarantee == _SAFE)
        return response(answer)

    def _zero_copy_allocate(self, answer: int, message: bytes) -> bytes:
        size, path = messages.ZERO_COPY_ALLOCATE.unpack_from(message)
        self._buffers.allocate(path.split(b"\0", 1)[0], size)
        return response(answer)

    def _zero_copy_free(self, answer: int, message: bytes) -> bytes:
        _, address = messages.ZERO_COPY_FREE.unpack_from(message)
        self._buffers.free(address)
        return response(answer)

    def _zero_copy_execute(self, answer: int, message: bytes) -> bytes:
        guarantee, data = self._buffers.request(*messages.HANDLE.unpack_from(message))
        self._cpg.multicast(self, data, safe=guarantee == _SAFE)
        return response(answer)

    # iterations

    def _iteration_initialize(self, answer: int, message: bytes) -> bytes:
        length, name, kind = messages.ITERATION_INITIALIZE.unpack_from(message)
        # of the other types libcpg leaves the name as it happens to be
        group = messages.group_name(length, name) if kind == IterationType.ONE_GROUP else b""
        if len(self._iterations) >= ITERATIONS_MAX:
            raise ServiceError(Code.NO_RESOURCES, f"this connection has {ITERATIONS_MAX} iterations, the most allowed")
        self._last_handle += 1
        self._iterations[self._last_handle] = self._snapshot(kind, group)
        return messages.handle_response(answer, self._last_handle)

    def _snapshot(self, kind: int, group: bytes) -> _Entries:
        match kind:
            case IterationType.NAMES:
                return ((known.group, 0, 0) for known in _in_order(self._cpg.groups(by_age=True)))
            case IterationType.ONE_GROUP:
                return _processes((CpgGroup(group, self._cpg.members(group)),))
            case IterationType.ALL:
                return _processes(_in_order(self._cpg.groups(by_age=True)))
        raise ServiceError(Code.INVALID_PARAM, f"there is no iteration of type {kind}")

    def _iteration_next(self, answer: int, message: bytes) -> bytes:
        entry = next(self._iteration(message), None)
        if entry is None:
            raise ServiceError(Code.NO_SECTIONS, "the iteration is at its end")
        return messages.entry_response(answer, *entry)

    def _iteration_finalize(self, answer: int, message: bytes) -> bytes:
        self._iteration(message)
        (handle,) = messages.HANDLE.unpack_from(message)
        del self._iterations[handle]
        return response(answer)

    def _iteration(self, message: bytes) -> _Entries:
        (handle,) = messages.HANDLE.unpack_from(message)
        entries = self._iterations.get(handle)
        if entries is None:
            raise ServiceError(Code.LIBRARY, f"this connection has no iteration {handle}")
        return entries


def _in_order(groups: tuple[CpgGroup, ...]) -> list[CpgGroup]:
    """As corosync shows them [LIB-303]: descending by their first process, and those of one process youngest first."""
    return sorted(groups, key=lambda known: (known.members[0].nodeid, known.members[0].pid))[::-1]


def _processes(groups: Sequence[CpgGroup]) -> _Entries:
    """Each group's first process, and then the others descending, as corosync shows them."""
    return (
        (known.group, member.nodeid, member.pid)
        for known in groups
        for member in (*known.members[:1], *known.members[:0:-1])
    )


@record
class _Request:
    """How a request is served: the least size, bytes; by what; the response's id."""

    size: int
    serve: Callable[[CpgFront, int, bytes], bytes]
    answer: int


_REQUESTS: Final[dict[int, _Request]] = {
    CpgRequest.JOIN: _Request(messages.JOIN.size, CpgFront._join, 0),
    CpgRequest.LEAVE: _Request(messages.LEAVE.size, CpgFront._leave, 1),
    CpgRequest.MEMBERSHIP: _Request(messages.MEMBERSHIP.size, CpgFront._membership, 3),
    CpgRequest.LOCAL_GET: _Request(16, CpgFront._local_get, 7),
    CpgRequest.ITERATION_INITIALIZE: _Request(messages.ITERATION_INITIALIZE.size, CpgFront._iteration_initialize, 9),
    CpgRequest.ITERATION_NEXT: _Request(messages.HANDLE.size, CpgFront._iteration_next, 10),
    CpgRequest.ITERATION_FINALIZE: _Request(messages.HANDLE.size, CpgFront._iteration_finalize, 11),
    CpgRequest.FINALIZE: _Request(16, CpgFront._finalize, 12),
    CpgRequest.ZERO_COPY_ALLOCATE: _Request(messages.ZERO_COPY_ALLOCATE.size, CpgFront._zero_copy_allocate, 0),
    CpgRequest.ZERO_COPY_FREE: _Request(messages.ZERO_COPY_FREE.size, CpgFront._zero_copy_free, 0),
    CpgRequest.ZERO_COPY_EXECUTE: _Request(messages.HANDLE.size, CpgFront._zero_copy_execute, 2),
    CpgRequest.PARTIAL_MULTICAST: _Request(messages.PARTIAL_MULTICAST.size, CpgFront._partial_multicast, 18),
}

SERVICE: Final[QbService] = QbService(
    name="cpg",
    service_id=ServiceId.CPG,
    functions=len(CpgRequest),
    flow_controlled=frozenset(
        (
            CpgRequest.JOIN,
            CpgRequest.LEAVE,
            CpgRequest.MULTICAST,
            CpgRequest.FINALIZE,
            CpgRequest.ZERO_COPY_ALLOCATE,
            CpgRequest.ZERO_COPY_FREE,
            CpgRequest.ZERO_COPY_EXECUTE,
            CpgRequest.PARTIAL_MULTICAST,
        )
    ),
    unanswered=frozenset((CpgRequest.MULTICAST,)),
    make=CpgFront,
)
