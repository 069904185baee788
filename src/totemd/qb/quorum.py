"""The front of the quorum service for libquorum, models 0 and 1 [LIB-401].

The models are the service's: a connection of model 0 hears of verdicts only, one of model 1 also who joined and left.
"""

from collections.abc import Callable, Sequence
from struct import Struct
from typing import Final

from totemd.errors import Code, ServiceError
from totemd.ids import NodeId
from totemd.ipc.services import Services
from totemd.qb.api import Port, QbService
from totemd.qb.codec import response, ring_id
from totemd.qb.handling import demand_size
from totemd.record import record
from totemd.services.base import ServiceId
from totemd.services.quorum import (
    MODEL_MEMBERSHIP,
    MODEL_NOTIFICATION,
    MembershipChanged,
    QuorumNotification,
)

_TRACK_CURRENT: Final = 1
_TRACK_CHANGES: Final = 2
_TRACK_CHANGES_ONLY: Final = 4

EVENT_NOTIFICATION: Final = 3
EVENT_QUORUM: Final = 6
EVENT_NODELIST: Final = 7

_VALUE: Final = Struct("=16xI4x")
"""A request with one field."""
_U32: Final = Struct("=I4x")
_I32: Final = Struct("=i4x")
_U64: Final = Struct("=Q")


class QuorumFront:
    """One connection."""

    def __init__(self, services: Services, port: Port) -> None:
        self._quorum = services.quorum
        self._send = port.send_event
        self._model = MODEL_NOTIFICATION

    def handle(self, function: int, message: bytes) -> bytes | None:
        request = _REQUESTS[function]
        try:
            demand_size(message, request.size)
            return response(request.answer, body=request.serve(self, message))
        except ServiceError as error:
            return response(request.answer, error.code)

    def close(self) -> None:
        self._quorum.track_stop(self)

    def push(self, event: object) -> None:
        """Queue an event of the service."""
        if type(event) is QuorumNotification:
            self._send(notification(event) if self._model == MODEL_NOTIFICATION else quorum(event))
        elif type(event) is MembershipChanged and self._model == MODEL_MEMBERSHIP:
            self._send(nodelist(event))

    def _get_quorate(self, message: bytes) -> bytes:
        return _U32.pack(self._quorum.get_quorate())

    def _track_start(self, message: bytes) -> bytes:
        (flags,) = _VALUE.unpack_from(message)
        current = bool(flags & (_TRACK_CURRENT | _TRACK_CHANGES))
        changes = bool(flags & (_TRACK_CHANGES | _TRACK_CHANGES_ONLY))
        self._quorum.track_start(self, self._model, current=current, changes=changes)
        return b""

    def _track_stop(self, message: bytes) -> bytes:
        self._quorum.track_stop(self)
        return b""

    def _get_type(self, message: bytes) -> bytes:
        return _U32.pack(self._quorum.get_type())

    def _choose_model(self, message: bytes) -> bytes:
        (model,) = _VALUE.unpack_from(message)
        if model not in (MODEL_NOTIFICATION, MODEL_MEMBERSHIP):
            raise ServiceError(Code.INVALID_PARAM, f"libquorum's models are 0 and 1, not {model}")
        self._model = model
        return _U32.pack(self._quorum.get_type())


def notification(event: QuorumNotification) -> bytes:
    """The verdict for model 0."""
    body = _I32.pack(event.quorate) + _U64.pack(event.ring.seq) + _list((len(event.members),), event.members)
    return response(EVENT_NOTIFICATION, body=body)


def quorum(event: QuorumNotification) -> bytes:
    """The verdict for model 1."""
    body = _I32.pack(event.quorate) + ring_id(event.ring) + _list((len(event.members),), event.members)
    return response(EVENT_QUORUM, body=body)


def nodelist(event: MembershipChanged) -> bytes:
    """The members, who joined and who left; for model 1."""
    lists = (event.members, event.joined, event.left)
    nodes = [nodeid for nodeids in lists for nodeid in nodeids]
    return response(EVENT_NODELIST, body=ring_id(event.ring) + _list([len(nodeids) for nodeids in lists], nodes))


def _list(counts: Sequence[int], nodes: Sequence[NodeId]) -> bytes:
    """Counts on 8-byte boundaries, and nodes right behind the last one; so four bytes trail the nodes."""
    return Struct("=" + "4x".join("I" * len(counts)) + f"{len(nodes)}I4x").pack(*counts, *nodes)


@record
class _Request:
    """How a request is served: the least size, bytes; by what, returning the fields; the response's id."""

    size: int
    serve: Callable[[QuorumFront, bytes], bytes]
    answer: int


_REQUESTS: Final = (
    _Request(16, QuorumFront._get_quorate, 0),
    _Request(_VALUE.size, QuorumFront._track_start, 1),
    _Request(16, QuorumFront._track_stop, 2),
    _Request(16, QuorumFront._get_type, 4),
    _Request(_VALUE.size, QuorumFront._choose_model, 5),
)
"""By request id."""

SERVICE: Final[QbService] = QbService(
    name="quorum",
    service_id=ServiceId.QUORUM,
    functions=len(_REQUESTS),
    flow_controlled=frozenset(),
    unanswered=frozenset(),
    make=QuorumFront,
)
