"""Service "votequorum": votes, expected votes, the verdict and the quorum device (protocol/, "Library messages").

The service has a socket only where votes are counted: with a quorum provider.
"""

from collections.abc import Callable
from enum import IntEnum, IntFlag
from struct import Struct
from typing import Final

from totemd.errors import Code, ServiceError
from totemd.ids import RingId
from totemd.ipc.services import Services
from totemd.qb.api import Port, QbService
from totemd.qb.codec import response, ring_id
from totemd.qb.handling import Later, c_string, fields
from totemd.services.base import ServiceId
from totemd.services.votequorum.events import ExpectedVotesChanged, NodelistChanged, NodeStanding, QuorumChanged
from totemd.services.votequorum.service import VoteQuorum
from totemd.wire.votequorum import DEVICE_NODEID

U32_MAX: Final = 2**32 - 1


class Request(IntEnum):
    """Ids of the requests."""

    GETINFO = 0
    SETEXPECTED = 1
    SETVOTES = 2
    TRACKSTART = 3
    TRACKSTOP = 4
    QDEVICE_REGISTER = 5
    QDEVICE_UNREGISTER = 6
    QDEVICE_UPDATE = 7
    QDEVICE_POLL = 8
    QDEVICE_MASTER_WINS = 9


class Reply(IntEnum):
    """Ids of responses and events. All responses but that to GETINFO are of STATUS."""

    STATUS = 0
    GETINFO = 1
    QUORUM = 3
    EXPECTED_VOTES = 4
    NODELIST = 5


class Track(IntFlag):
    """What a tracker wants: the present state, the present state and changes, changes alone."""

    CURRENT = 1
    CHANGES = 2
    CHANGES_ONLY = 4


_GETINFO: Final = Struct("=16xI")
_INFO: Final = Struct("=9I255s5x")
_SETEXPECTED: Final = Struct("=16xI")
_SETVOTES: Final = Struct("=16xII")
_TRACKSTART: Final = Struct("=16xQI")
_NAME: Final = Struct("=16x255s")
_UPDATE: Final = Struct("=16x255s255s")
_POLL: Final = Struct("=16x255sxi4xI4xQ")
_MASTER_WINS: Final = Struct("=16x255sxI")
_QUORUM: Final = Struct("=I4xQI4x")
_STANDING: Final = Struct("=II")
_EXPECTED_VOTES: Final = Struct("=QI4x")
_NODE_COUNT: Final = Struct("=I4x")
_CONTEXT: Final = Struct("=Q")
_NODEID: Final = Struct("=I")

_DONE: Final = response(Reply.STATUS)


class VotequorumFront:
    """One connection."""

    def __init__(self, services: Services, port: Port) -> None:
        if services.votequorum is None:
            raise ServiceError(Code.NOT_EXIST, "nobody counts votes here: there is no quorum provider")
        self._votes: VoteQuorum = services.votequorum
        self._port = port
        self._context = 0
        self._tracking = False
        self._handlers: Final[dict[int, Callable[[bytes], bytes | None]]] = {
            Request.GETINFO: self._get_info,
            Request.SETEXPECTED: self._set_expected,
            Request.SETVOTES: self._set_votes,
            Request.TRACKSTART: self._track_start,
            Request.TRACKSTOP: self._track_stop,
            Request.QDEVICE_REGISTER: self._register,
            Request.QDEVICE_UNREGISTER: self._unregister,
            Request.QDEVICE_UPDATE: self._update,
            Request.QDEVICE_POLL: self._poll,
            Request.QDEVICE_MASTER_WINS: self._master_wins,
        }

    def handle(self, function: int, message: bytes) -> bytes | None:
        """Serve a request (see `totemd.qb.api.Front`)."""
        return self._handlers[function](message)

    def close(self) -> None:
        """Track no more. A quorum device stays registered: its vote runs out when it does not poll in time."""
        if self._tracking:
            self._tracking = False
            self._votes.track_stop(self)

    def push(self, event: object) -> None:
        """Queue an event of the service."""
        if isinstance(event, QuorumChanged):
            body = _QUORUM.pack(event.quorate, self._context, len(event.nodes))
            body += b"".join(map(_standing, event.nodes))
            self._port.send_event(response(Reply.QUORUM, body=body))
        elif isinstance(event, NodelistChanged):
            body = _CONTEXT.pack(self._context) + ring_id(event.ring) + _NODE_COUNT.pack(len(event.nodes))
            body += b"".join(map(_NODEID.pack, event.nodes))
            self._port.send_event(response(Reply.NODELIST, body=body))
        elif isinstance(event, ExpectedVotesChanged):
            body = _EXPECTED_VOTES.pack(self._context, min(event.expected_votes, U32_MAX))
            self._port.send_event(response(Reply.EXPECTED_VOTES, body=body))

    # requests about votes

    def _get_info(self, message: bytes) -> bytes:
        (nodeid,) = fields(_GETINFO, message)
        try:
            info = self._votes.get_info(nodeid)
        except ServiceError as error:
            return response(Reply.GETINFO, error.code, bytes(_INFO.size))
        counts = (
            info.votes,
            info.expected_votes,
            info.highest_expected,
            info.total_votes,
            info.quorum,
            info.flags,
            info.qdevice_votes,
        )
        bounded = (min(count, U32_MAX) for count in counts)
        return response(Reply.GETINFO, body=_INFO.pack(info.nodeid, info.state, *bounded, info.qdevice_name))

    def _set_expected(self, message: bytes) -> bytes:
        (expected,) = fields(_SETEXPECTED, message)
        self._votes.set_expected(expected)
        return _DONE

    def _set_votes(self, message: bytes) -> bytes:
        votes, nodeid = fields(_SETVOTES, message)
        self._votes.set_votes(nodeid, votes)
        return _DONE

    # tracking

    def _track_start(self, message: bytes) -> bytes:
        context, flags = fields(_TRACKSTART, message)
        former, self._context = self._context, context
        try:
            self._votes.track_start(
                self,
                current=bool(flags & (Track.CURRENT | Track.CHANGES)),
                changes=bool(flags & (Track.CHANGES | Track.CHANGES_ONLY)),
            )
        except ServiceError:
            self._context = former
            raise
        self._tracking = bool(flags & (Track.CHANGES | Track.CHANGES_ONLY))
        return _DONE

    def _track_stop(self, message: bytes) -> bytes:
        self._votes.track_stop(self)
        self._tracking = False
        return _DONE

    # the quorum device

    def _register(self, message: bytes) -> bytes | None:
        (name,) = fields(_NAME, message)
        later = Later(self._port)

        def answer(refusal: ServiceError | None) -> None:
            later.give(_DONE if refusal is None else response(Reply.STATUS, refusal.code))

        self._votes.device.register(c_string(name), answer)
        return later.leave_open()

    def _unregister(self, message: bytes) -> bytes:
        (name,) = fields(_NAME, message)
        self._votes.device.unregister(c_string(name))
        return _DONE

    def _update(self, message: bytes) -> bytes:
        old_name, new_name = fields(_UPDATE, message)
        self._votes.device.update(c_string(old_name), c_string(new_name))
        return _DONE

    def _poll(self, message: bytes) -> bytes:
        name, cast_vote, representative, seq = fields(_POLL, message)
        self._votes.device.poll(c_string(name), bool(cast_vote), RingId(representative, seq))
        return _DONE

    def _master_wins(self, message: bytes) -> bytes:
        name, allow = fields(_MASTER_WINS, message)
        self._votes.device.master_wins(c_string(name), bool(allow))
        return _DONE


def _standing(node: NodeStanding) -> bytes:
    # The quorum device has no state in corosync either; whether it lives is a flag of GETINFO.
    return _STANDING.pack(node.nodeid, 0 if node.nodeid == DEVICE_NODEID else node.state)


SERVICE: Final[QbService] = QbService(
    name="votequorum",
    service_id=ServiceId.VOTEQUORUM,
    functions=len(Request),
    flow_controlled=frozenset(),
    unanswered=frozenset(),
    make=VotequorumFront,
)
